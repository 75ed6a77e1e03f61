import { h } from "../../dom";
import { icon } from "../../icons";
import type { Step } from "../door";
import { field, Form } from "../form";
import { heading, HEADING, switchTo, wide } from "./parts";
import { signIn } from "./signin";

/** Asking for a link to set a new password with. */
export const forgot: Step = (door) =>
  new Form({
    class: "door-form",
    labelledBy: HEADING,
    submit: "Send the link",
    submitClass: wide,
    content: [
      ...heading("Forgot your password?", "We send you a link to set a new one with."),
      field({
        name: "email",
        label: "E-mail",
        type: "email",
        autocomplete: "username",
        value: door.email,
      }),
    ],
    foot: [switchTo(door, "", "Back to signing in", signIn)],
    send: async (form) => {
      door.email = form.value("email").trim();
      await door.session.api.forgot(door.email);
      door.go(sent);
    },
  }).element;

/** Nothing here tells whether there is such an account. */
const sent: Step = (door) =>
  h(
    "section",
    { class: "door-form", "aria-labelledby": HEADING },
    h("div", { class: "door-sign", "aria-hidden": "true" }, icon("mail")),
    ...heading(
      "Look at your mail",
      `If ${door.email} has an account here, a link to set a new password is on its way. It works for an hour.`,
    ),
    switchTo(door, "", "Back to signing in", signIn),
  );
