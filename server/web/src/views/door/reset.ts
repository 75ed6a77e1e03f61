import { MemoError } from "@memory-app/client";
import type { Step } from "../door";
import { Form, newPassword } from "../form";
import { forgot } from "./forgot";
import { heading, HEADING, switchTo, wide } from "./parts";
import { signInSaying } from "./signin";

const DONE = "The password is set, and you are signed out everywhere. Sign in with it.";
const BROKEN = "The link is not whole: open it from the message once more.";

/** Setting a new password, by the token of a link. */
export function reset(token: string): Step {
  return (door) => {
    const form = new Form({
      class: "door-form",
      labelledBy: HEADING,
      submit: "Set the password",
      submitClass: wide,
      content: [
        ...heading("Set a new password", "It signs you out on all your devices."),
        newPassword({ name: "password", label: "New password" }),
      ],
      foot: [switchTo(door, "Link too old? ", "Send another", forgot)],
      send: async (form) => {
        if (!token) throw new MemoError("invalid_request", BROKEN);
        await door.session.api.reset(token, form.value("password"));
        // Somebody signed in here finds out by their connection whether that was their account.
        if (door.session.user) door.leave();
        else door.go(signInSaying(DONE));
      },
    });
    if (!token) form.say(BROKEN, "problem");
    return form.element;
  };
}
