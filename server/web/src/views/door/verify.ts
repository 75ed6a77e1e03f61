import { MemoError } from "@memory-app/client";
import { h } from "../../dom";
import { icon } from "../../icons";
import type { Door, Step } from "../door";
import { Form } from "../form";
import { heading, HEADING, wide } from "./parts";
import { signIn } from "./signin";

const BROKEN = "The link is not whole: open it from the message once more.";

/** Confirming an e-mail address. It takes a press: programs that look at mail follow links too. */
export function verify(token: string): Step {
  return (door) => {
    const form = new Form({
      class: "door-form",
      labelledBy: HEADING,
      submit: "Confirm",
      submitClass: wide,
      content: heading("Confirm your e-mail address", "One press, and it is known to be yours."),
      foot: [h("p", { class: "door-switch" }, onward(door, "Not now"))],
      send: async () => {
        if (!token) throw new MemoError("invalid_request", BROKEN);
        const { user } = await door.session.api.verify(token);
        await door.session.update(user);
        door.go(confirmed(user.email));
      },
    });
    if (!token) form.say(BROKEN, "problem");
    return form.element;
  };
}

function confirmed(email: string): Step {
  return (door) =>
    h(
      "section",
      { class: "door-form", "aria-labelledby": HEADING },
      h("div", { class: "door-sign", "aria-hidden": "true" }, icon("check")),
      ...heading("Thank you", `${email} is confirmed.`),
      onward(door, door.session.user ? "To your memories" : "Sign in", wide),
    );
}

function onward(door: Door, label: string, look = "link-button"): HTMLElement {
  const click = () => (door.session.user ? door.leave() : door.go(signIn));
  return h("button", { class: look, type: "button", on: { click } }, label);
}
