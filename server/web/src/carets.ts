import { Annotation, RangeSet, type Extension, type Range } from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin, WidgetType } from "@codemirror/view";
import type { DecorationSet, ViewUpdate } from "@codemirror/view";
import type { MemoryDocument, User } from "@memory-app/client";
import * as Y from "yjs";
import { peers, type Peer } from "./presence";

const moved = Annotation.define<true>();

/**
 * The carets and selections of everybody else in the body, and this one's own told to them.
 *
 * Colours are classes of the style sheet: a style that a peer sends would be a peer's to choose.
 */
export function carets(document: MemoryDocument, me: User): Extension {
  const text = document.doc.getText("content");

  class Carets {
    decorations: DecorationSet = RangeSet.empty;
    #changed = ({ added, updated, removed }: Record<"added" | "updated" | "removed", number[]>) => {
      const others = [...added, ...updated, ...removed].some(
        (client) => client !== document.awareness.clientID,
      );
      if (others) this.view.dispatch({ annotations: moved.of(true) });
    };

    constructor(readonly view: EditorView) {
      document.awareness.on("change", this.#changed);
      this.decorations = this.#decorate(view);
    }

    update(update: ViewUpdate): void {
      this.#tell(update.view);
      const told = update.transactions.some((transaction) => transaction.annotation(moved));
      if (told || update.docChanged) this.decorations = this.#decorate(update.view);
    }

    destroy(): void {
      document.awareness.off("change", this.#changed);
      document.awareness.setLocalStateField("cursor", null);
    }

    #tell(view: EditorView): void {
      const { anchor, head } = view.state.selection.main;
      const place = (index: number): unknown =>
        Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, index));
      const cursor = view.hasFocus ? { anchor: place(anchor), head: place(head) } : null;
      const told: unknown = document.awareness.getLocalState()?.cursor ?? null;
      if (JSON.stringify(told) !== JSON.stringify(cursor)) {
        document.awareness.setLocalStateField("cursor", cursor);
      }
    }

    #decorate(view: EditorView): DecorationSet {
      const length = view.state.doc.length;
      const ranges: Range<Decoration>[] = [];
      for (const peer of peers(document, me)) {
        const selection = resolve(peer, text);
        if (!selection) continue;
        const anchor = Math.min(selection[0], length);
        const head = Math.min(selection[1], length);
        if (anchor !== head) {
          const mark = Decoration.mark({ class: `peer-selection peer-${peer.color}` });
          ranges.push(mark.range(Math.min(anchor, head), Math.max(anchor, head)));
        }
        const side = head > anchor ? -1 : 1;
        ranges.push(Decoration.widget({ widget: new Caret(peer), side }).range(head));
      }
      return Decoration.set(ranges, true);
    }
  }

  return [
    ViewPlugin.fromClass(Carets, { decorations: (plugin) => plugin.decorations }),
    EditorView.domEventObservers({
      // Focus is no change of the document's state, but it is of what others see.
      blur: (_event, view) => view.dispatch({ annotations: moved.of(true) }),
      focus: (_event, view) => view.dispatch({ annotations: moved.of(true) }),
    }),
  ];
}

class Caret extends WidgetType {
  constructor(readonly peer: Peer) {
    super();
  }

  override eq(other: Caret): boolean {
    return this.peer.name === other.peer.name && this.peer.color === other.peer.color;
  }

  override toDOM(): HTMLElement {
    const caret = document.createElement("span");
    caret.className = `peer-caret peer-${this.peer.color}`;
    caret.setAttribute("aria-hidden", "true");
    caret.dataset.name = this.peer.name; // drawn by the style sheet: it is no part of the text
    return caret;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

/** Where the peer's selection stands in the text as it is here; a wrong one stands nowhere. */
function resolve(peer: Peer, text: Y.Text): [anchor: number, head: number] | undefined {
  const cursor = peer.cursor as { anchor?: unknown; head?: unknown } | null | undefined;
  try {
    const ends = [cursor?.anchor, cursor?.head].map((end) => {
      if (!end || !text.doc) return undefined;
      const position = Y.createRelativePositionFromJSON(end);
      const found = Y.createAbsolutePositionFromRelativePosition(position, text.doc);
      return found?.type === text ? found.index : undefined;
    });
    return ends.includes(undefined) ? undefined : (ends as [number, number]);
  } catch {
    return undefined;
  }
}
