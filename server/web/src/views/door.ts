import { MemoError } from "@memory-app/client";
import { h, setAttribute } from "../dom";
import { icon, mark } from "../icons";
import type { Session } from "../session";

const rules: [name: string, test: RegExp][] = [
  ["8 characters or more", /.{8}/su],
  ["a lower-case letter", /[a-z]/],
  ["an upper-case letter", /[A-Z]/],
  ["a digit", /\d/],
  ["one of @ $ ! % * ? &", /[@$!%*?&]/],
];

type Mode = "login" | "register";

/** Signing in and signing up. It leaves by the session's own `changed` event. */
export class Door {
  readonly element = h("main", { class: "door" });
  #session: Session;
  #mode: Mode = "login";

  constructor(session: Session) {
    this.#session = session;
    this.#render();
  }

  #render(): void {
    const registering = this.#mode === "register";
    const name = (key: string, label: string, complete: string) =>
      field({ name: key, label, autocomplete: complete, maxlength: 100 });
    const password = field({
      name: "password",
      label: "Password",
      type: "password",
      autocomplete: registering ? "new-password" : "current-password",
      maxlength: 1024,
    });
    const checks = rules.map(([text]) => h("li", {}, icon("check"), text));
    const input = password.querySelector("input")!;
    if (registering) {
      const list = h("ul", { class: "rules", id: "rules", "aria-label": "The password needs" });
      list.append(...checks);
      password.append(list);
      input.setAttribute("aria-describedby", "password-error rules");
      input.addEventListener("input", () => {
        rules.forEach(([, test], index) => {
          checks[index]!.classList.toggle("met", test.test(input.value));
        });
      });
    }
    const problem = h("p", { class: "form-error", role: "alert" });
    problem.textContent = this.#session.endedBecause
      ? "Your session ended. Sign in again: changes made on this device are kept."
      : "";
    const submit = h("button", { class: "button button-primary button-wide", type: "submit" });
    submit.append(registering ? "Create account" : "Sign in");
    const form = h(
      "form",
      { class: "door-form", novalidate: true, "aria-labelledby": "door-title" },
      h("h1", { id: "door-title" }, registering ? "Create your account" : "Welcome back"),
      h(
        "p",
        { class: "door-lead" },
        registering ? "Your memories, on every device you own." : "Sign in to your memories.",
      ),
      registering &&
        h(
          "div",
          { class: "field-pair" },
          name("firstName", "First name", "given-name"),
          name("lastName", "Last name", "family-name"),
        ),
      field({ name: "email", label: "E-mail", type: "email", autocomplete: "username" }),
      password,
      problem,
      submit,
      h(
        "p",
        { class: "door-switch" },
        registering ? "Already have an account? " : "New here? ",
        h(
          "button",
          {
            class: "link-button",
            type: "button",
            on: { click: () => this.#switch(registering ? "login" : "register") },
          },
          registering ? "Sign in" : "Create an account",
        ),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit(form, submit, problem);
    });
    this.element.replaceChildren(story(), h("div", { class: "door-side" }, form));
    form.querySelector("input")?.focus();
  }

  #switch(mode: Mode): void {
    this.#mode = mode;
    this.#render();
  }

  async #submit(
    form: HTMLFormElement,
    submit: HTMLButtonElement,
    problem: HTMLElement,
  ): Promise<void> {
    problem.textContent = "";
    for (const input of form.querySelectorAll("input")) showError(input, "");
    const value = (name: string) =>
      (form.elements.namedItem(name) as HTMLInputElement | null)?.value ?? "";
    const email = value("email").trim();
    const password = value("password");
    submit.disabled = true;
    try {
      if (this.#mode === "login") {
        if (!complete(form)) return;
        await this.#session.login({ email, password, rememberMe: true });
      } else {
        const missing = rules.filter(([, test]) => !test.test(password)).map(([text]) => text);
        if (!complete(form, missing)) return;
        const [firstName, lastName] = [value("firstName").trim(), value("lastName").trim()];
        await this.#session.register({ email, password, firstName, lastName });
      }
    } catch (error) {
      if (!(error instanceof MemoError)) throw error;
      problem.textContent = showDetails(form, error) ? "" : error.message;
    } finally {
      submit.disabled = false;
    }
  }
}

interface Field {
  name: string;
  label: string;
  type?: string;
  autocomplete: string;
  maxlength?: number;
}

function field({ name, label, type = "text", autocomplete, maxlength = 255 }: Field): HTMLElement {
  const input = h("input", {
    id: name,
    name,
    type,
    autocomplete,
    maxlength,
    required: true,
    spellcheck: "false",
    autocapitalize: type === "text" ? "words" : "none",
    "aria-describedby": `${name}-error`,
  });
  input.addEventListener("input", () => showError(input, ""));
  const reveal =
    type === "password" &&
    h(
      "button",
      {
        class: "icon-button field-reveal",
        type: "button",
        "aria-label": "Show password",
        "aria-pressed": "false",
        on: {
          click: ({ currentTarget }) => {
            const shown = input.type === "password";
            input.type = shown ? "text" : "password";
            (currentTarget as Element).setAttribute("aria-pressed", String(shown));
          },
        },
      },
      icon("eye"),
    );
  return h(
    "div",
    { class: "field" },
    h("label", { for: name }, label),
    h("div", { class: "field-box" }, input, reveal),
    h("p", { class: "field-error", id: `${name}-error`, role: "alert" }),
  );
}

function showError(input: HTMLInputElement, message: string): void {
  setAttribute(input, "aria-invalid", message ? "true" : undefined);
  input.closest(".field")!.querySelector(".field-error")!.textContent = message;
}

/** Marks empty fields, and a password that misses part of the rule. */
function complete(form: HTMLFormElement, missing: string[] = []): boolean {
  let first: HTMLInputElement | undefined;
  for (const input of form.querySelectorAll("input")) {
    let message = input.value.trim() ? "" : "Fill this in.";
    if (!message && input.name === "password" && missing.length > 0) {
      message = `The password still needs ${missing.join(", ")}.`;
    }
    if (!message) continue;
    showError(input, message);
    first ??= input;
  }
  first?.focus();
  return first === undefined;
}

/** Puts what the server says of fields beside them. False when it named none of them. */
function showDetails(form: HTMLFormElement, error: MemoError): boolean {
  let first: HTMLInputElement | undefined;
  for (const [name, message] of Object.entries(error.details ?? {})) {
    const input = form.elements.namedItem(name);
    if (!(input instanceof HTMLInputElement)) continue;
    showError(input, String(message));
    first ??= input;
  }
  first?.focus();
  return first !== undefined;
}

function story(): HTMLElement {
  const points: [string, string][] = [
    ["Always yours", "Write offline. Everything is on your device and catches up by itself."],
    ["Everywhere at once", "Every keystroke reaches your other devices while you type."],
    ["Saved means saved", "“Saved” shows once your words are on the server's disk, not before."],
  ];
  return h(
    "section",
    { class: "door-story", "aria-label": "About" },
    h("div", { class: "brand" }, mark(), h("span", {}, "Memory")),
    h("p", { class: "door-line" }, "Keep what matters."),
    h(
      "ul",
      { class: "door-points" },
      ...points.map(([title, text]) => h("li", {}, h("strong", {}, title), h("span", {}, text))),
    ),
  );
}
