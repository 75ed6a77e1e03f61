import { MemoError } from "@memory-app/client";
import { h } from "../../dom";
import type { Door, Step } from "../door";
import { field, Form } from "../form";
import { secondFactor } from "./code";
import { forgot } from "./forgot";
import { heading, HEADING, switchTo, wide } from "./parts";
import { providers } from "./providers";
import { register } from "./register";

/** Signing in with a password, or with a provider. */
export const signIn: Step = (door) => signInForm(door).element;

/** The same, with something to say first. */
export function signInSaying(text: string, kind: "done" | "problem" = "done"): Step {
  return (door) => {
    const form = signInForm(door);
    form.say(text, kind);
    return form.element;
  };
}

function signInForm(door: Door): Form {
  const { session } = door;
  const remember = h("input", { type: "checkbox", name: "rememberMe", checked: true });
  const forgotten = h(
    "button",
    {
      class: "link-button",
      type: "button",
      on: {
        click: () => {
          door.email = form.value("email").trim();
          door.go(forgot);
        },
      },
    },
    "Forgot password?",
  );
  const form = new Form({
    class: "door-form",
    labelledBy: HEADING,
    submit: "Sign in",
    submitClass: wide,
    content: [
      ...heading("Welcome back", "Sign in to your memories."),
      field({
        name: "email",
        label: "E-mail",
        type: "email",
        autocomplete: "username",
        value: door.email,
      }),
      field({
        name: "password",
        label: "Password",
        type: "password",
        autocomplete: "current-password",
        maxlength: 1024,
      }),
      h(
        "div",
        { class: "door-row" },
        h("label", { class: "check" }, remember, "Remember me for 30 days"),
        forgotten,
      ),
    ],
    foot: [providers(door), switchTo(door, "New here? ", "Create an account", register)],
    send: async (form) => {
      const email = form.value("email").trim();
      const password = form.value("password");
      const rememberMe = form.checked("rememberMe");
      door.email = email;
      try {
        await session.login({ email, password, rememberMe });
      } catch (error) {
        if (!(error instanceof MemoError) || error.code !== "two_factor_required") throw error;
        const send = (code: string) => session.login({ email, password, rememberMe, code });
        door.go(secondFactor("code", send));
      }
    },
  });
  if (session.endedBecause) {
    const text = "Your session ended. Sign in again: changes made on this device are kept.";
    form.say(text, "problem");
  }
  return form;
}
