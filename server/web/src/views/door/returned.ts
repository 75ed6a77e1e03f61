import { MemoError } from "@memory-app/client";
import { h } from "../../dom";
import { icon } from "../../icons";
import { providerNames, type Returned } from "../../oauth";
import { sentence } from "../../refusal";
import type { Door, Step } from "../door";
import { secondFactor } from "./code";
import { heading, HEADING } from "./parts";
import { signInSaying } from "./signin";

/** Back from a provider's page: the sign-in is finished by itself. */
export function returned(back: Returned | undefined): Step {
  return (door) => {
    void finish(door, back);
    return h(
      "section",
      { class: "door-form", "aria-labelledby": HEADING, "aria-busy": "true" },
      h("div", { class: "door-sign", "aria-hidden": "true" }, icon("spinner")),
      ...heading("One moment", "You are being signed in."),
    );
  };
}

async function finish(door: Door, back: Returned | undefined): Promise<void> {
  if (!back) {
    return door.go(signInSaying("That sign-in was not begun in this tab. Start again.", "problem"));
  }
  const { provider, purpose, finish } = back;
  if (!finish || purpose === "link") {
    const name = providerNames[provider];
    const text = finish ? `Sign in, then link ${name} again.` : `${name} did not sign you in.`;
    return door.go(signInSaying(text, "problem"));
  }
  const send = (twoFactorCode?: string) =>
    door.session.finishOAuth(provider, { ...finish, twoFactorCode });
  try {
    await send();
  } catch (error) {
    if (!(error instanceof MemoError)) throw error;
    const asked = error.code === "two_factor_required";
    door.go(asked ? secondFactor("twoFactorCode", send) : signInSaying(sentence(error), "problem"));
  }
}
