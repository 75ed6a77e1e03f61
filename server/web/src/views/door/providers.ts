import { MemoError } from "@memory-app/client";
import { h } from "../../dom";
import { providerMark } from "../../icons";
import { leaveFor, providerNames } from "../../oauth";
import { sentence } from "../../refusal";
import type { Door } from "../door";

/** Buttons for the providers that the server is set up with; without any, nothing. */
export function providers(door: Door): HTMLElement {
  const place = h("div", { class: "providers" });
  void show(door, place);
  return place;
}

async function show(door: Door, place: HTMLElement): Promise<void> {
  const { api } = door.session;
  const names = await api.providers().catch((error: unknown) => {
    if (error instanceof MemoError) return []; // out of reach: the form says so when it is sent
    throw error;
  });
  if (names.length === 0) return;
  const problem = h("p", { class: "form-error", role: "alert" });
  const buttons = names.map((name) => {
    const button = h(
      "button",
      { class: "button button-wide", type: "button" },
      providerMark(name),
      `Continue with ${providerNames[name]}`,
    );
    button.addEventListener("click", () => {
      button.disabled = true;
      problem.textContent = "";
      leaveFor(api, name, "sign-in")
        .catch((error: unknown) => {
          if (!(error instanceof MemoError)) throw error;
          problem.textContent = sentence(error);
        })
        .finally(() => (button.disabled = false));
    });
    return button;
  });
  place.append(h("p", { class: "providers-or" }, "or"), ...buttons, problem);
}
