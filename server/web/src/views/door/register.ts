import { h } from "../../dom";
import type { Step } from "../door";
import { field, Form, newPassword } from "../form";
import { heading, HEADING, switchTo, wide } from "./parts";
import { providers } from "./providers";
import { signIn } from "./signin";

/** Making an account. */
export const register: Step = (door) => {
  const name = (key: string, label: string, autocomplete: string) =>
    field({ name: key, label, autocomplete, maxlength: 100 });
  return new Form({
    class: "door-form",
    labelledBy: HEADING,
    submit: "Create account",
    submitClass: wide,
    content: [
      ...heading("Create your account", "Your memories, on every device you own."),
      h(
        "div",
        { class: "field-pair" },
        name("firstName", "First name", "given-name"),
        name("lastName", "Last name", "family-name"),
      ),
      field({ name: "email", label: "E-mail", type: "email", autocomplete: "username" }),
      newPassword({ name: "password", label: "Password" }),
    ],
    foot: [providers(door), switchTo(door, "Already have an account? ", "Sign in", signIn)],
    send: async (form) => {
      const given = (field: string) => form.value(field).trim();
      const [email, firstName, lastName] = [given("email"), given("firstName"), given("lastName")];
      await door.session.register({ email, password: form.value("password"), firstName, lastName });
    },
  }).element;
};
