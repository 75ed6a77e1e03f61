import type { Identities } from "@memory-app/client";
import { h } from "../../dom";
import type { Returned } from "../../oauth";
import { field, Form, newPassword } from "../form";
import { providersPanel } from "./providers";
import { actionButton, loaded, panel, type Context } from "./section";
import { twoFactorPanel } from "./twofactor";

/** What one signs in with. `back` comes from a provider's page, to be linked. */
export function securitySection(context: Context, back?: Returned): HTMLElement {
  const { client } = context;
  let linking = back;
  const load = async (): Promise<Node> => {
    const [ways, offered] = await Promise.all([
      client.call("account.identities", {}),
      context.session.api.providers(),
    ]);
    const content = h("div", {});
    const show = (ways: Identities) =>
      content.replaceChildren(
        emailPanel(context, ways),
        passwordPanel(context, ways),
        twoFactorPanel(context, ways, show),
        providersPanel(context, ways, offered, show, linking),
      );
    show(ways);
    linking = undefined;
    return content;
  };
  return loaded(context, load);
}

function emailPanel({ client, profile, signal }: Context, ways: Identities): HTMLElement {
  const address = h("strong");
  const state = h("span", { class: "badge" });
  const proof = h("div", { class: "panel-actions" });
  const again = actionButton("Send the link again", async () => {
    await client.call("account.sendVerification", {});
    return "Sent: look at your mail.";
  });
  const show = () => {
    const { email, isVerified } = profile.user;
    address.textContent = email;
    state.textContent = isVerified ? "Confirmed" : "Not confirmed";
    state.dataset.good = String(isVerified);
    proof.replaceChildren(...(isVerified ? [] : [again]));
  };
  show();
  signal.addEventListener("abort", profile.on("changed", show));
  const form = new Form({
    class: "settings-form",
    labelledBy: "change-email",
    submit: "Send a link to the new address",
    submitClass: "button",
    content: [
      field({
        id: "new-email",
        name: "email",
        label: "New e-mail",
        type: "email",
        autocomplete: "email",
      }),
      currentPassword("email-password", "password"),
    ],
    send: async (form) => {
      const email = form.value("email").trim();
      await client.call("account.changeEmail", { email, password: form.value("password") });
      form.clear();
      return `A link is on its way to ${email}. The address changes when you follow it.`;
    },
  });
  return panel(
    "email-panel",
    "E-mail",
    h("p", { class: "fact" }, address, state),
    proof,
    ways.hasPassword && unfolding("change-email", "Change the address", form),
  );
}

function passwordPanel({ client, profile, session }: Context, ways: Identities): HTMLElement {
  if (!ways.hasPassword) {
    const send = actionButton("Send a link to set one", async () => {
      await session.api.forgot(profile.user.email);
      return "Sent: look at your mail.";
    });
    const lead = "This account has no password: you sign in with a provider.";
    return panel("password-panel", "Password", h("p", { class: "panel-lead" }, lead), send);
  }
  const form = new Form({
    class: "settings-form",
    labelledBy: "change-password",
    submit: "Change the password",
    submitClass: "button",
    content: [
      currentPassword("current-password", "currentPassword"),
      newPassword({ id: "new-password", name: "newPassword", label: "New password" }),
    ],
    send: async (form) => {
      const [currentPassword, newPassword] = [
        form.value("currentPassword"),
        form.value("newPassword"),
      ];
      await client.call("account.changePassword", { currentPassword, newPassword });
      form.clear();
      return "Changed. Your other devices are signed out.";
    },
  });
  return panel("password-panel", "Password", unfolding("change-password", "Change it", form));
}

/** A field for the password that an account has. */
export function currentPassword(id: string, name: string): HTMLElement {
  return field({
    id,
    name,
    label: "Current password",
    type: "password",
    autocomplete: "current-password",
    maxlength: 1024,
  });
}

/** A form that is seen once it is asked for. */
export function unfolding(id: string, label: string, form: Form): HTMLElement {
  return h("details", { class: "unfolding" }, h("summary", { id }, label), form.element);
}
