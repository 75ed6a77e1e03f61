import { MemoError } from "@memory-app/client";
import type { MemoryClient } from "@memory-app/client";
import { h, type Child } from "../../dom";
import { icon, type IconName } from "../../icons";
import type { Profile } from "../../profile";
import type { Session } from "../../session";
import { sentence } from "../../refusal";
import type { Workspace } from "../../workspace";

/** What the sections of the settings work with. */
export interface Context {
  client: MemoryClient;
  session: Session;
  profile: Profile;
  workspace: Workspace;
  /** The account is no more: nothing of it stays on this device, and the door is shown. */
  leave: () => Promise<void>;
  /** Ends with the section: whatever it listens to should end then. */
  signal: AbortSignal;
}

/** A titled part of a section. */
export function panel(id: string, title: string, ...content: Child[]): HTMLElement {
  return h(
    "section",
    { class: "panel", "aria-labelledby": id },
    h("h4", { id }, title),
    ...content,
  );
}

/**
 * What is fetched first: a spinner, then what `load` makes of it, or why not and a way to retry.
 * What failed is tried again by itself when the server can be reached again.
 */
export function loaded({ client, signal }: Context, load: () => Promise<Node>): HTMLElement {
  const place = h("div", { class: "loaded" });
  let failed = false;
  const fail = (error: MemoError) => {
    failed = true;
    place.replaceChildren(unreachable(sentence(error), attempt));
  };
  const attempt = () => {
    // A call would wait for a connection, and whoever looks at the page with it.
    if (client.status === "offline") return fail(new MemoError("unavailable"));
    failed = false;
    place.replaceChildren(
      h("p", { class: "loading", role: "status" }, icon("spinner"), "One moment…"),
    );
    load()
      .then((content) => place.replaceChildren(content))
      .catch((error: unknown) => {
        if (!(error instanceof MemoError)) throw error;
        fail(error);
      });
  };
  const stop = client.on("status", (status) => {
    if (status === "online" && failed) attempt();
  });
  signal.addEventListener("abort", stop);
  attempt();
  return place;
}

function unreachable(text: string, again: () => void): HTMLElement {
  return h(
    "div",
    { class: "empty", role: "alert" },
    icon("offline"),
    h("p", {}, text),
    h("button", { class: "button", type: "button", on: { click: again } }, "Try again"),
  );
}

/**
 * A button that does one thing at once: it waits while that is under way, and says beside it what
 * came of it.
 */
export function actionButton(
  label: string,
  act: () => Promise<string | void>,
  { look = "button", sign, name }: { look?: string; sign?: IconName; name?: string } = {},
): HTMLElement {
  const outcome = h("span", { class: "action-outcome", role: "status" });
  const button = h(
    "button",
    { class: look, type: "button", "aria-label": name },
    sign && icon(sign),
    label,
  );
  const run = async () => {
    button.disabled = true;
    outcome.textContent = "";
    outcome.dataset.failed = "false";
    try {
      outcome.textContent = (await act()) ?? "";
    } catch (error) {
      if (!(error instanceof MemoError)) throw error;
      outcome.dataset.failed = "true";
      outcome.textContent = sentence(error);
    } finally {
      button.disabled = false;
    }
  };
  button.addEventListener("click", () => void run());
  return h("span", { class: "action" }, button, outcome);
}
