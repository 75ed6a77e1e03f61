import { MemoError } from "@memory-app/client";
import type { Identities, Identity } from "@memory-app/client";
import type { Provider } from "../../api";
import { h } from "../../dom";
import { providerMark } from "../../icons";
import { leaveFor, providerNames, type Returned } from "../../oauth";
import { shortTime } from "../../time";
import { sentence } from "../../refusal";
import { actionButton, panel, type Context } from "./section";

/** The providers that may be signed in with. `back` comes from one's page, to be linked now. */
export function providersPanel(
  context: Context,
  ways: Identities,
  offered: Provider[],
  show: (ways: Identities) => void,
  back?: Returned,
): HTMLElement | "" {
  const { client } = context;
  const linked = new Map(ways.identities.map((identity) => [identity.provider, identity]));
  const names = [...new Set([...offered, ...linked.keys()])];
  if (names.length === 0) return "";
  const said = h("p", { class: "form-error", role: "alert" });
  const link = async ({ provider, finish }: Returned) => {
    if (!finish) throw new MemoError("cancelled", `${providerNames[provider]} linked nothing.`);
    const { code, redirectUri, state } = finish;
    show(await client.call("account.link", { provider, code, redirectUri, state }));
  };
  if (back) {
    link(back).catch((error: unknown) => {
      if (!(error instanceof MemoError)) throw error;
      said.textContent = sentence(error);
    });
  }
  const row = (name: Provider) => {
    const identity = linked.get(name);
    const title = providerNames[name];
    const button = identity
      ? actionButton(
          "Unlink",
          async () => show(await client.call("account.unlink", { provider: name })),
          { name: `Unlink ${title}` },
        )
      : actionButton("Link", () => leaveFor(context.session.api, name, "link"), {
          name: `Link ${title}`,
        });
    return h(
      "li",
      { class: "entry" },
      providerMark(name),
      h("div", { class: "entry-text" }, h("strong", {}, title), h("span", {}, about(identity))),
      button,
    );
  };
  return panel(
    "providers-panel",
    "Sign in with",
    h("ul", { class: "entries" }, ...names.map(row)),
    said,
  );
}

function about(identity: Identity | undefined): string {
  if (!identity) return "Not linked";
  const used = identity.lastUsedAt ? `used ${shortTime(identity.lastUsedAt)}` : "not used yet";
  return [identity.email, used].filter(Boolean).join(" · ");
}
