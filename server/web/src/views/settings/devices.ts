import type { DeviceSession } from "@memory-app/client";
import { h } from "../../dom";
import { icon } from "../../icons";
import { fullTime, shortTime } from "../../time";
import { ask } from "../dialog";
import { actionButton, loaded, panel, type Context } from "./section";

/** The devices that are signed in. */
export function devicesSection(context: Context): HTMLElement {
  const { client } = context;
  const load = async (): Promise<Node> => {
    const content = h("div", {});
    const refresh = async () => {
      const { sessions } = await client.call("sessions.list", {});
      content.replaceChildren(list(sessions));
    };
    const end = async (id: string) => {
      await client.call("sessions.end", { id });
      await refresh();
    };
    const endOthers = async (count: number) => {
      const sure = await ask({
        title: count === 1 ? "Sign the other device out?" : `Sign ${count} devices out?`,
        text: "Changes that they have not sent yet stay on them until somebody signs in there.",
        confirm: "Sign out",
      });
      if (!sure) return;
      await client.call("sessions.end", { all: true });
      await refresh();
    };
    const list = (sessions: DeviceSession[]) => {
      const others = sessions.filter(({ current }) => !current).length;
      return panel(
        "devices-panel",
        "Signed in",
        h("ul", { class: "entries" }, ...sessions.map((session) => row(session, end))),
        others > 0 &&
          h(
            "div",
            { class: "panel-actions" },
            actionButton("Sign out all others", () => endOthers(others)),
          ),
      );
    };
    await refresh();
    return content;
  };
  return loaded(context, load);
}

function row(session: DeviceSession, end: (id: string) => Promise<void>): HTMLElement {
  const { id, current, device, address, place, lastActiveAt, createdAt } = session;
  const when = current ? "here and now" : `active ${shortTime(lastActiveAt)}`;
  return h(
    "li",
    { class: "entry", title: `Signed in ${fullTime(createdAt)}` },
    icon("screen"),
    h(
      "div",
      { class: "entry-text" },
      h("strong", {}, device),
      h("span", {}, [when, place, address].filter(Boolean).join(" · ")),
    ),
    current
      ? h("span", { class: "badge", "data-good": "true" }, "This device")
      : actionButton("Sign out", () => end(id), { name: `Sign out ${device}` }),
  );
}
