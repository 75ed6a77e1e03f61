import type { UpdateAccount, User } from "@memory-app/client";
import { h, type Child } from "../../dom";
import { nameOf } from "../../presence";
import { setTheme } from "../../theme";
import { choice, field, Form } from "../form";
import { ThemePicker } from "../themes";
import { picture } from "./picture";
import { panel, type Context } from "./section";

/** Those that a person may choose among; an account's own is added where it is another. */
const languages = (
  "ar bg ca cs da de el en en-GB en-US es et fa fi fr he hi hr hu id it ja ko lt lv nb nl pl pt " +
  "pt-BR ro ru sk sl sr sv th tr uk vi zh-Hans zh-Hant"
).split(" ");

/** What an account tells of itself. */
export function profileSection(context: Context): HTMLElement {
  const { profile } = context;
  const { user } = profile;
  const name = h("strong");
  const show = (now: User) => (name.textContent = nameOf(now));
  show(user);
  context.signal.addEventListener("abort", profile.on("changed", show));
  const form = new Form({
    class: "settings-form",
    labelledBy: "about-you",
    submit: "Save",
    content: [
      h(
        "div",
        { class: "field-pair" },
        field({
          name: "firstName",
          label: "First name",
          value: user.firstName ?? "",
          autocomplete: "given-name",
          maxlength: 100,
        }),
        field({
          name: "lastName",
          label: "Last name",
          value: user.lastName ?? "",
          autocomplete: "family-name",
          maxlength: 100,
        }),
      ),
      field({
        name: "username",
        label: "Username",
        value: user.username ?? "",
        autocomplete: "nickname",
        maxlength: 30,
        required: false,
        hint: "3 to 30 letters and digits. May be left empty.",
      }),
      field({
        name: "phoneNumber",
        label: "Phone",
        value: user.phoneNumber ?? "",
        type: "tel",
        autocomplete: "tel",
        maxlength: 24,
        required: false,
        hint: "With its country code, like +351 912 345 678.",
      }),
      h(
        "div",
        { class: "field-pair" },
        choice({
          name: "timezone",
          label: "Time zone",
          value: user.timezone,
          options: timezones(user.timezone),
        }),
        choice({
          name: "language",
          label: "Language",
          value: user.language,
          options: languageOptions(user.language),
        }),
      ),
    ],
    send: async (form) => {
      await profile.update(changed(profile.user, form));
      return "Saved.";
    },
  });
  const picker = new ThemePicker("settings-theme", (value) => {
    setTheme(value);
    void profile.prefer(value);
  });
  return h(
    "div",
    {},
    h(
      "div",
      { class: "who" },
      h("div", { class: "who-name" }, name, h("span", {}, user.email)),
      picture(context),
    ),
    panel("about-you", "About you", form.element),
    panel(
      "appearance",
      "Appearance",
      h("p", { class: "panel-lead" }, "For this device, and for those that never chose."),
      picker.element,
    ),
  );
}

/** What differs from the account as it is. What was left empty is cleared. */
function changed(user: User, form: Form): UpdateAccount {
  const given: UpdateAccount = {
    firstName: form.value("firstName").trim(),
    lastName: form.value("lastName").trim(),
    username: form.value("username").trim() || null,
    phoneNumber: form.value("phoneNumber").replace(/[\s().-]/g, "") || null,
    timezone: form.value("timezone"),
    language: form.value("language"),
  };
  const entries = Object.entries(given) as [keyof UpdateAccount & keyof User, string | null][];
  return Object.fromEntries(entries.filter(([name, value]) => value !== user[name]));
}

/** All that this browser knows, by their region. */
function timezones(current: string): Child[] {
  const names = new Set([...Intl.supportedValuesOf("timeZone"), "UTC", current]);
  const regions = new Map<string, string[]>();
  for (const name of [...names].sort()) {
    const region = name.includes("/") ? name.slice(0, name.indexOf("/")) : "Other";
    regions.set(region, [...(regions.get(region) ?? []), name]);
  }
  return [...regions].map(([region, members]) =>
    h("optgroup", { label: region }, ...members.map((name) => timezone(name, region))),
  );
}

function timezone(name: string, region: string): HTMLElement {
  const place = name.startsWith(`${region}/`) ? name.slice(region.length + 1) : name;
  return h("option", { value: name }, place.replaceAll("_", " ").replaceAll("/", " · "));
}

function languageOptions(current: string): Child[] {
  const names = new Intl.DisplayNames(undefined, { type: "language" });
  const named = [...new Set([...languages, current])].map((tag) => [tag, said(names, tag)] as const);
  return named
    .sort(([, one], [, other]) => one.localeCompare(other))
    .map(([tag, name]) => h("option", { value: tag }, name));
}

function said(names: Intl.DisplayNames, tag: string): string {
  try {
    return names.of(tag) ?? tag;
  } catch {
    return tag; // one that this browser cannot read
  }
}
