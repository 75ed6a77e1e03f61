import type { Identities } from "@memory-app/client";
import { h } from "../../dom";
import { icon } from "../../icons";
import { qrCode } from "../../qr";
import { field, Form } from "../form";
import { currentPassword, unfolding } from "./security";
import { actionButton, panel, type Context } from "./section";

const ID = "two-factor";

/** Codes of an authenticator: turning them on, in three steps, and off. */
export function twoFactorPanel(
  context: Context,
  ways: Identities,
  show: (ways: Identities) => void,
): HTMLElement {
  const { client } = context;
  const element = panel(ID, "Two-factor");
  const fill = (...content: Node[]) => {
    element.replaceChildren(element.firstElementChild!, ...content);
    // Who was in the form before goes on in this one.
    element.querySelector<HTMLElement>("input")?.focus();
  };
  const refresh = async () => show(await client.call("account.identities", {}));

  const propose = new Form({
    class: "settings-form",
    labelledBy: "enable-two-factor",
    submit: "Go on",
    content: [currentPassword("enable-password", "password")],
    send: async (form) => {
      const proposed = await client.call("account.enableTwoFactor", {
        password: form.value("password"),
      });
      fill(...scan(proposed.uri, proposed.secret), confirm.element);
    },
  });
  const confirm = new Form({
    class: "settings-form",
    labelledBy: ID,
    submit: "Turn it on",
    content: [code("confirm-code", "Code that the app shows")],
    send: async (form) => {
      const answer = await client.call("account.confirmTwoFactor", {
        code: form.value("code").trim(),
      });
      fill(...kept(answer.recoveryCodes, refresh));
    },
  });
  const remove = new Form({
    class: "settings-form",
    labelledBy: "disable-two-factor",
    submit: "Turn it off",
    submitClass: "button button-danger",
    content: [
      currentPassword("disable-password", "password"),
      code("disable-code", "Code, or a recovery code"),
    ],
    send: async (form) => {
      const given = { password: form.value("password"), code: form.value("code").trim() };
      await client.call("account.disableTwoFactor", given);
      await refresh();
    },
  });

  if (ways.twoFactor) {
    const left = ways.recoveryCodesLeft;
    element.append(
      h(
        "p",
        { class: "fact" },
        h("strong", {}, "On"),
        h("span", { class: "badge", "data-good": String(left > 2) }, codesLeft(left)),
      ),
      unfolding("disable-two-factor", "Turn it off", remove),
    );
  } else if (ways.hasPassword) {
    const lead = "Signing in asks for a code of an app on your phone as well.";
    element.append(
      h("p", { class: "panel-lead" }, lead),
      unfolding("enable-two-factor", "Turn it on", propose),
    );
  } else {
    element.append(h("p", { class: "panel-lead" }, "Set a password first."));
  }
  return element;
}

function scan(uri: string, secret: string): Node[] {
  const spaced = secret.match(/.{1,4}/g)!.join(" ");
  return [
    h("p", { class: "panel-lead" }, "Scan this with an authenticator app, or type the key in."),
    h(
      "div",
      { class: "scan" },
      qrCode(uri, "QR code for an authenticator app"),
      h("div", {}, h("p", {}, "Key"), h("code", { class: "secret" }, spaced), copy(secret)),
    ),
  ];
}

/** The recovery codes, this once. */
function kept(codes: string[], done: () => Promise<void>): Node[] {
  return [
    h("p", { class: "form-done", role: "status" }, "Two-factor is on."),
    h(
      "p",
      { class: "panel-lead" },
      "Keep these recovery codes somewhere safe: each stands in for a code once, if your phone " +
        "is lost. They are not shown again.",
    ),
    h(
      "ul",
      { class: "codes", "aria-label": "Recovery codes" },
      ...codes.map((text) => h("li", {}, h("code", {}, text))),
    ),
    h(
      "div",
      { class: "panel-actions" },
      copy(codes.join("\n")),
      actionButton("I have kept them", done, { look: "button button-primary" }),
    ),
  ];
}

function code(id: string, label: string): HTMLElement {
  return field({
    id,
    name: "code",
    label,
    autocomplete: "one-time-code",
    inputmode: "text",
    maxlength: 40,
  });
}

function codesLeft(count: number): string {
  return count === 1 ? "1 recovery code left" : `${count} recovery codes left`;
}

function copy(text: string): HTMLElement {
  const said = h("span", { role: "status" }, "Copy");
  const click = () => {
    navigator.clipboard.writeText(text).then(
      () => (said.textContent = "Copied"),
      () => (said.textContent = "Select and copy it yourself"),
    );
  };
  return h("button", { class: "button", type: "button", on: { click } }, icon("copy"), said);
}
