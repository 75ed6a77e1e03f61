import { MemoError } from "@memory-app/client";
import { h, setAttribute, type Child } from "../dom";
import { icon } from "../icons";
import { ofField, sentence } from "../refusal";

type Control = HTMLInputElement | HTMLSelectElement;

export interface FieldOptions {
  name: string;
  label: string;
  /** Default: the name. Has to differ where two forms of a page have fields of one name. */
  id?: string;
  type?: string;
  autocomplete?: string;
  inputmode?: string;
  value?: string;
  maxlength?: number;
  /** Default: true. */
  required?: boolean;
  hint?: string;
}

/** A labelled input with room for what is wrong with it. A password can be shown. */
export function field(options: FieldOptions): HTMLDivElement {
  const { name, label, id = name, type = "text", value, hint } = options;
  const input = h("input", {
    id,
    name,
    type,
    autocomplete: options.autocomplete ?? "off",
    inputmode: options.inputmode,
    maxlength: options.maxlength ?? 255,
    required: options.required ?? true,
    spellcheck: "false",
    autocapitalize: type === "text" && !options.inputmode ? "words" : "none",
    "aria-describedby": hint ? `${id}-error ${id}-hint` : `${id}-error`,
  });
  if (value !== undefined) input.value = value;
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
  return labelled(label, input, h("div", { class: "field-box" }, input, reveal), hint);
}

export interface ChoiceOptions {
  name: string;
  label: string;
  id?: string;
  value: string;
  options: Child[];
  hint?: string;
}

/** A labelled select. `options` are its `option` and `optgroup` elements. */
export function choice({ name, label, id = name, value, options, hint }: ChoiceOptions) {
  const describedBy = hint ? `${id}-error ${id}-hint` : `${id}-error`;
  const select = h("select", { id, name, "aria-describedby": describedBy }, ...options);
  select.value = value;
  return labelled(label, select, h("div", { class: "field-box" }, select), hint);
}

function labelled(label: string, control: Control, box: HTMLElement, hint?: string) {
  control.addEventListener("input", () => showError(control, ""));
  return h(
    "div",
    { class: "field" },
    h("label", { for: control.id }, label),
    box,
    hint && h("p", { class: "field-hint", id: `${control.id}-hint` }, hint),
    h("p", { class: "field-error", id: `${control.id}-error`, role: "alert" }),
  );
}

const rules: [name: string, test: RegExp][] = [
  ["8 characters or more", /.{8}/su],
  ["a lower-case letter", /[a-z]/],
  ["an upper-case letter", /[A-Z]/],
  ["a digit", /\d/],
  ["one of @ $ ! % * ? &", /[@$!%*?&]/],
];

/** What a password that somebody makes still lacks. */
function lacking(password: string): string {
  const missing = rules.filter(([, test]) => !test.test(password)).map(([text]) => text);
  return missing.length > 0 ? `The password still needs ${missing.join(", ")}.` : "";
}

/** A password that is made here: its rules are ticked off as it is typed. */
export function newPassword(options: Omit<FieldOptions, "type" | "autocomplete">): HTMLDivElement {
  const id = options.id ?? options.name;
  const element = field({
    ...options,
    type: "password",
    autocomplete: "new-password",
    maxlength: 1024,
  });
  const input = element.querySelector("input")!;
  const checks = rules.map(([text]) => h("li", {}, icon("check"), text));
  const list = h("ul", { class: "rules", id: `${id}-rules`, "aria-label": "The password needs" });
  list.append(...checks);
  element.append(list);
  input.dataset.makes = "password";
  input.setAttribute("aria-describedby", `${id}-error ${id}-rules`);
  input.addEventListener("input", () => {
    rules.forEach(([, test], index) => {
      checks[index]!.classList.toggle("met", test.test(input.value));
    });
  });
  return element;
}

export interface FormOptions {
  class: string;
  /** The id of its heading. */
  labelledBy: string;
  submit: string;
  /** Of the button that submits. */
  submitClass?: string;
  content: Child[];
  /** Below the button. */
  foot?: Child[];
  /**
   * Does what the form is for. What it answers is shown as done. A `MemoError` that it throws is
   * shown at the fields that it names, or else above the button.
   */
  send: (form: Form) => Promise<string | void>;
}

/** Fields and a button: what is wrong is told where it is, and nothing is sent twice. */
export class Form {
  readonly element: HTMLFormElement;
  #submit: HTMLButtonElement;
  #problem = h("p", { class: "form-error", role: "alert" });
  #done = h("p", { class: "form-done", role: "status" });
  #send: FormOptions["send"];

  constructor(options: FormOptions) {
    this.#send = options.send;
    const look = options.submitClass ?? "button button-primary";
    this.#submit = h("button", { class: look, type: "submit" }, options.submit);
    this.element = h(
      "form",
      { class: options.class, novalidate: true, "aria-labelledby": options.labelledBy },
      ...options.content,
      this.#problem,
      this.#done,
      this.#submit,
      ...(options.foot ?? []),
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submitted();
    });
  }

  value(name: string): string {
    return this.#control(name)?.value ?? "";
  }

  checked(name: string): boolean {
    const control = this.#control(name);
    return control instanceof HTMLInputElement && control.checked;
  }

  /** Says what is wrong, beside the fields if the error names any. */
  refuse(error: MemoError): void {
    if (!this.#atFields(error)) this.say(sentence(error), "problem");
  }

  say(text: string, kind: "problem" | "done" = "done"): void {
    this.#problem.textContent = kind === "problem" ? text : "";
    this.#done.textContent = kind === "done" ? text : "";
  }

  /** Empties every field. */
  clear(): void {
    this.element.reset();
    for (const control of this.#controls()) control.dispatchEvent(new Event("input"));
  }

  async #submitted(): Promise<void> {
    if (this.#submit.disabled) return;
    this.say("");
    for (const control of this.#controls()) if (control.closest(".field")) showError(control, "");
    if (!this.#complete()) return;
    this.#submit.disabled = true;
    try {
      this.say((await this.#send(this)) ?? "");
    } catch (error) {
      if (!(error instanceof MemoError)) throw error;
      this.refuse(error);
    } finally {
      this.#submit.disabled = false;
    }
  }

  #control(name: string): Control | null {
    return this.element.elements.namedItem(name) as Control | null;
  }

  #controls(): Control[] {
    return [...this.element.querySelectorAll<Control>("input, select")];
  }

  /** Marks empty fields, and a new password that misses part of the rule. */
  #complete(): boolean {
    let first: Control | undefined;
    for (const control of this.#controls()) {
      let message = control.required && !control.value.trim() ? "Fill this in." : "";
      if (!message && control.dataset.makes === "password") message = lacking(control.value);
      if (!message) continue;
      showError(control, message);
      first ??= control;
    }
    first?.focus();
    return first === undefined;
  }

  /** Puts what the server says of fields beside them. False when it named none of them. */
  #atFields(error: MemoError): boolean {
    let first: Control | undefined;
    for (const [name, message] of Object.entries(error.details ?? {})) {
      const control = this.#control(name);
      const label = control?.closest(".field")?.querySelector("label")?.textContent;
      if (!control || !label) continue;
      showError(control, ofField(label, String(message)));
      first ??= control;
    }
    first?.focus();
    return first !== undefined;
  }
}

function showError(control: Control, message: string): void {
  setAttribute(control, "aria-invalid", message ? "true" : undefined);
  control.closest(".field")!.querySelector(".field-error")!.textContent = message;
}
