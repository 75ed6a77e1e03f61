import { defaultKeymap } from "@codemirror/commands";
import { markdownKeymap, markdownLanguage } from "@codemirror/lang-markdown";
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import { EditorView, drawSelection, keymap, placeholder } from "@codemirror/view";
import type { MemoryDocument, User } from "@memory-app/client";
import { tags as t } from "@lezer/highlight";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import { UndoManager } from "yjs";
import { carets } from "./carets";
import { markup } from "./markup";

// Classes, not colours: the style sheet holds the look of both themes.
const prose = HighlightStyle.define([
  { tag: t.heading1, class: "md-h1" },
  { tag: t.heading2, class: "md-h2" },
  { tag: [t.heading3, t.heading4, t.heading5, t.heading6], class: "md-h3" },
  { tag: t.strong, class: "md-strong" },
  { tag: t.emphasis, class: "md-emphasis" },
  { tag: t.strikethrough, class: "md-strike" },
  { tag: t.monospace, class: "md-code" },
  { tag: t.quote, class: "md-quote" },
  { tag: [t.link, t.url], class: "md-link" },
  { tag: [t.processingInstruction, t.contentSeparator, t.labelName], class: "md-mark" },
]);

/** The body of a memory: its document's text, in an editor that looks like a page. */
export class Editor {
  readonly element: HTMLElement;
  #view: EditorView;
  #writable = new Compartment();
  #isWritable = true;
  #undo: UndoManager;

  constructor(document: MemoryDocument, user: User, onEscape: () => void) {
    const text = document.doc.getText("content");
    this.#undo = new UndoManager(text);
    const escape = () => {
      onEscape();
      return true;
    };
    this.#view = new EditorView({
      state: EditorState.create({
        doc: text.toString(),
        extensions: [
          this.#writable.of([]),
          EditorView.lineWrapping,
          drawSelection(),
          markdownLanguage,
          syntaxHighlighting(prose),
          markup(),
          placeholder("Write something worth remembering…"),
          Prec.high(keymap.of(markdownKeymap)),
          keymap.of([
            ...yUndoManagerKeymap,
            { key: "Escape", run: escape },
            ...defaultKeymap,
          ]),
          yCollab(text, null, { undoManager: this.#undo }),
          carets(document, user),
          EditorView.contentAttributes.of({
            "aria-label": "Body",
            autocapitalize: "sentences",
            autocorrect: "on",
            spellcheck: "true",
          }),
        ],
      }),
    });
    this.element = this.#view.dom;
  }

  setWritable(writable: boolean): void {
    if (writable === this.#isWritable) return;
    this.#isWritable = writable;
    const extension = [EditorState.readOnly.of(!writable), EditorView.editable.of(writable)];
    this.#view.dispatch({ effects: this.#writable.reconfigure(extension) });
  }

  focus(): void {
    this.#view.focus();
  }

  destroy(): void {
    this.#view.destroy();
    this.#undo.destroy();
  }
}
