import { syntaxTree } from "@codemirror/language";
import type { Extension, Range } from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, WidgetType } from "@codemirror/view";
import type { DecorationSet, ViewUpdate } from "@codemirror/view";
import type { SyntaxNodeRef } from "@lezer/common";

const hidden = Decoration.replace({});
const lines = {
  Blockquote: Decoration.line({ class: "md-quote-line" }),
  FencedCode: Decoration.line({ class: "md-code-line" }),
  ListItem: Decoration.line({ class: "md-item" }),
};
const number = Decoration.mark({ class: "md-number" });

/** Markdown as it reads: its marks show only where the caret is, to be edited there. */
export function markup(): Extension {
  class Markup {
    decorations: DecorationSet;

    constructor(view: EditorView) {
      this.decorations = decorate(view);
    }

    update(update: ViewUpdate): void {
      const parsed = syntaxTree(update.startState) !== syntaxTree(update.state);
      const moved = update.selectionSet || update.focusChanged || update.viewportChanged;
      if (update.docChanged || moved || parsed) this.decorations = decorate(update.view);
    }
  }
  return ViewPlugin.fromClass(Markup, { decorations: (plugin) => plugin.decorations });
}

function decorate(view: EditorView): DecorationSet {
  const { state, hasFocus } = view;
  const ranges: Range<Decoration>[] = [];
  const edited = (from: number, to: number) =>
    hasFocus && state.selection.ranges.some((range) => range.from <= to && range.to >= from);
  const eachLine = (node: SyntaxNodeRef, decoration: Decoration, last = node.to) => {
    for (let at = node.from; at <= last; ) {
      const line = state.doc.lineAt(at);
      ranges.push(decoration.range(line.from));
      at = line.to + 1;
    }
  };
  /** Hides a mark, and the space that sets it off. */
  const hide = (node: SyntaxNodeRef, spaced = false) => {
    const space = spaced && state.sliceDoc(node.to, node.to + 1) === " " ? 1 : 0;
    if (node.to + space > node.from) ranges.push(hidden.range(node.from, node.to + space));
  };

  const visit = (node: SyntaxNodeRef) => {
    const parent = node.node.parent ?? node;
    switch (node.name) {
      case "Blockquote":
      case "FencedCode":
        eachLine(node, lines[node.name]);
        break;
      case "ListItem":
        eachLine(node, lines.ListItem, node.from);
        break;
      case "HeaderMark":
      case "QuoteMark": {
        const line = state.doc.lineAt(node.from);
        if (!edited(line.from, line.to)) hide(node, true);
        break;
      }
      case "CodeMark":
        if (parent.name === "FencedCode") break;
      // falls through: the marks of inline code are like the others
      case "EmphasisMark":
      case "StrikethroughMark":
        if (!edited(parent.from, parent.to)) hide(node);
        break;
      case "LinkMark":
      case "LinkTitle":
      case "URL":
        if (parent.name === "Link" && !edited(parent.from, parent.to)) hide(node);
        break;
      case "ListMark":
        item(node);
        break;
      case "TaskMarker": {
        const done = state.sliceDoc(node.from, node.to).toLowerCase() === "[x]";
        const widget = new Checkbox(done, node.from);
        const end = state.sliceDoc(node.to, node.to + 1) === " " ? node.to + 1 : node.to;
        ranges.push(Decoration.replace({ widget }).range(node.from, end));
        break;
      }
    }
  };

  const item = (node: SyntaxNodeRef) => {
    const end = node.to + 1;
    if (state.sliceDoc(node.to, end) !== " " || edited(node.from, node.to)) return;
    const ordered = node.node.parent?.parent?.name === "OrderedList";
    if (ordered) ranges.push(number.range(node.from, end));
    else if (/^\[[ xX]\]/.test(state.sliceDoc(end, end + 3))) hide(node, true);
    else ranges.push(Decoration.replace({ widget: new Bullet() }).range(node.from, end));
  };

  for (const { from, to } of view.visibleRanges) {
    syntaxTree(state).iterate({ from, to, enter: visit });
  }
  return Decoration.set(ranges, true);
}

class Bullet extends WidgetType {
  override eq(): boolean {
    return true;
  }

  override toDOM(): HTMLElement {
    const bullet = document.createElement("span");
    bullet.className = "md-bullet";
    bullet.textContent = "•";
    return bullet;
  }
}

class Checkbox extends WidgetType {
  constructor(
    readonly done: boolean,
    readonly at: number,
  ) {
    super();
  }

  override eq(other: Checkbox): boolean {
    return this.done === other.done && this.at === other.at;
  }

  override toDOM(view: EditorView): HTMLElement {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.className = "md-task";
    box.checked = this.done;
    box.setAttribute("aria-label", "Done");
    box.addEventListener("change", () => {
      if (view.state.readOnly) box.checked = this.done;
      else {
        const insert = this.done ? "[ ]" : "[x]";
        view.dispatch({ changes: { from: this.at, to: this.at + 3, insert } });
      }
    });
    return box;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}
