import { MemoError } from "@memory-app/client";
import type { Identities } from "@memory-app/client";
import { h, type Child } from "../../dom";
import { field, Form } from "../form";
import { currentPassword, unfolding } from "./security";
import { actionButton, loaded, panel, type Context } from "./section";

const WORD = "delete";

/** The end of the account, for who proves to be its owner. */
export function leavingPanel(context: Context): HTMLElement {
  const { client } = context;
  return panel(
    "leaving-panel",
    "Delete your account",
    h(
      "p",
      { class: "panel-lead" },
      "Everything of yours goes at once and for good. Make an archive first, if you want to keep " +
        "anything.",
    ),
    loaded(context, async () => {
      const ways = await client.call("account.identities", {});
      return unfolding("delete-account", "Delete your account…", form(context, ways));
    }),
  );
}

function form({ client, profile, leave, workspace }: Context, ways: Identities): Form {
  const rows = [...workspace.library.rows.values()].filter(({ role }) => role === "owner");
  const shared = rows.filter(({ privacyLevel }) => privacyLevel !== "private").length;
  const element: Form = new Form({
    class: "settings-form",
    labelledBy: "delete-account",
    submit: "Delete my account for good",
    submitClass: "button button-danger",
    content: [
      h("ul", { class: "consequences" }, ...consequences(rows.length, shared)),
      ...proof(client, profile.user.email, ways),
      field({
        id: "delete-confirm",
        name: "confirm",
        label: `Type “${WORD}” to confirm`,
        inputmode: "text",
        maxlength: 20,
      }),
    ],
    send: async (form) => {
      if (form.value("confirm").trim().toLowerCase() !== WORD) {
        const details = { confirm: `Type the word ${WORD}.` };
        throw new MemoError("invalid_request", details.confirm, { details });
      }
      await client.call("account.delete", {
        password: form.value("password") || null,
        code: form.value("code").trim() || null,
      });
      await leave();
    },
  });
  return element;
}

function consequences(own: number, shared: number): Child[] {
  const memories = own === 1 ? "Your memory goes" : `Your ${own.toLocaleString()} memories go`;
  const texts = [
    own === 0
      ? "Your trash, your files and your archives go, and so do your categories."
      : `${memories}, with threads, files and history, and so do your trash and archives.`,
    shared === 1 &&
      "One is shared or open to others: they lose it too. To leave it to somebody, make them its " +
        "owner first, under Share.",
    shared > 1 &&
      `${shared.toLocaleString()} are shared or open to others: they lose them too. To leave one ` +
        "to somebody, make them its owner first, under Share.",
    "What you wrote in the memories of others stays there, without your name.",
    "All your devices are signed out. Nobody can bring anything back, neither you nor we.",
  ];
  return texts.map((text) => text && h("li", {}, text));
}

/** What shows that it is the owner who asks: the password, or a code that is sent. */
function proof(client: Context["client"], email: string, ways: Identities): Child[] {
  if (ways.hasPassword) {
    return [
      currentPassword("delete-password", "password"),
      ways.twoFactor && code("Code of your authenticator, or a recovery code"),
    ];
  }
  const send = actionButton("Send me a code", async () => {
    await client.call("account.sendDeletionCode", {});
    return `Sent to ${email}.`;
  });
  return [send, code("Code from the message")];
}

function code(label: string): HTMLElement {
  return field({
    id: "delete-code",
    name: "code",
    label,
    autocomplete: "one-time-code",
    inputmode: "text",
    maxlength: 40,
  });
}
