import { MemoError } from "@memory-app/client";
import type { Step } from "../door";
import { field, Form } from "../form";
import { heading, HEADING, switchTo, wide } from "./parts";
import { signIn } from "./signin";

/** The second step of signing in. `name` is what the call has the code as. */
export function secondFactor(
  name: "code" | "twoFactorCode",
  send: (code: string) => Promise<void>,
): Step {
  return (door) =>
    new Form({
      class: "door-form",
      labelledBy: HEADING,
      submit: "Sign in",
      submitClass: wide,
      content: [
        ...heading("One more step", "Your account asks for a code from your authenticator app."),
        field({
          name,
          label: "Code",
          autocomplete: "one-time-code",
          inputmode: "text",
          maxlength: 40,
          hint: "Six digits. Without the app at hand, one of your recovery codes.",
        }),
      ],
      foot: [switchTo(door, "", "Back to signing in", signIn)],
      send: async (form) => {
        const code = form.value(name).trim();
        if (code.length < 6) {
          throw new MemoError("invalid_request", undefined, {
            details: { [name]: "has six digits, a recovery code more" },
          });
        }
        await send(code);
      },
    }).element;
}
