import type { Action, Library } from "../library";
import { categoryIcon } from "../palette";
import type { Row } from "../row";
import { editCategory } from "./categoryform";
import { ask } from "./dialog";
import { openMenu, type Anchor, type MenuEntry } from "./menu";
import type { Toasts } from "./toast";

/** What can be done with memories, one or many, wherever they are shown. */
export class Actions {
  #library: Library;
  #toasts: Toasts;
  #leave: (ids: readonly string[]) => void;

  /** `leave` is called before memories go to the trash: whoever shows one shows it no more. */
  constructor(library: Library, toasts: Toasts, leave: (ids: readonly string[]) => void) {
    this.#library = library;
    this.#toasts = toasts;
    this.#leave = leave;
  }

  /** Everything there is to do, as a menu. `select` starts choosing several. */
  menu(rows: readonly Row[], at: Anchor, select?: () => void): void {
    const first = rows[0];
    if (!first) return;
    const label = rows.length === 1 ? first.title || "Untitled" : `${rows.length} memories`;
    const entries = first.deletedAt ? this.#trashed(rows) : this.#living(rows, at);
    if (select) entries.push("line", { label: "Select", icon: "select", run: select });
    openMenu(at, label, entries);
  }

  #trashed(rows: readonly Row[]): MenuEntry[] {
    return [
      { label: "Restore", icon: "restore", run: () => void this.restore(rows) },
      {
        label: "Delete for good",
        icon: "trash",
        danger: true,
        run: () => void this.purge(rows),
      },
    ];
  }

  #living(rows: readonly Row[], at: Anchor): MenuEntry[] {
    const starred = rows.every((row) => row.isFavorite);
    const archived = rows.every((row) => row.isArchived);
    const entries: MenuEntry[] = [
      {
        label: starred ? "Remove from favourites" : "Add to favourites",
        icon: "star",
        run: () => void this.#do(rows, starred ? "unfavorite" : "favorite"),
      },
      { label: "Category…", icon: "folder", run: () => this.categorize(rows, at) },
      {
        label: archived ? "Take out of the archive" : "Archive",
        icon: archived ? "unarchive" : "archive",
        run: () => void this.archive(rows, !archived),
      },
    ];
    if (rows.some(isOwn)) {
      const run = () => void this.delete(rows);
      entries.push("line", { label: "Move to trash", icon: "trash", danger: true, run });
    }
    return entries;
  }

  /** A menu of the categories, to put memories into one. */
  categorize(rows: readonly Row[], at: Anchor): void {
    const now = rows[0]?.categoryId ?? null;
    const same = rows.every((row) => row.categoryId === now);
    const put = (id: string | null) => void this.#do(rows, "categorize", id);
    const entries: MenuEntry[] = this.#library.categories.map(({ id, name, icon, color }) => ({
      label: name,
      icon: categoryIcon(icon),
      color,
      checked: same && now === id,
      run: () => put(id),
    }));
    const none: MenuEntry = {
      label: "No category",
      icon: "close",
      checked: same && (now === null || !this.#library.category(now)),
      run: () => put(null),
    };
    const create: MenuEntry = {
      label: "New category…",
      icon: "plus",
      run: () => void editCategory(this.#library).then((id) => id && put(id)),
    };
    openMenu(at, "Category", [...entries, none, "line", create]);
  }

  async favorite(rows: readonly Row[], favorite: boolean): Promise<void> {
    await this.#do(rows, favorite ? "favorite" : "unfavorite");
  }

  async archive(rows: readonly Row[], archive: boolean): Promise<void> {
    await this.#do(rows, archive ? "archive" : "unarchive");
    this.#toasts.show(archive ? `${said(rows)} in the archive.` : `${said(rows)} back in the list.`, {
      label: "Undo",
      run: () => void this.#do(rows, archive ? "unarchive" : "archive"),
    });
  }

  /** Moves to the trash those that are the account's own. */
  async delete(rows: readonly Row[]): Promise<void> {
    const own = rows.filter(isOwn);
    if (own.length === 0) {
      this.#toasts.show("Only its owner can delete a memory.", "error");
      return;
    }
    this.#leave(own.map((row) => row.id));
    await this.#do(own, "delete");
    this.#toasts.show(`${said(own)} in the trash.`, {
      label: "Undo",
      run: () => void this.#do(own, "restore"),
    });
  }

  async restore(rows: readonly Row[]): Promise<void> {
    await this.#do(rows, "restore");
    this.#toasts.show(`${said(rows)} back.`);
  }

  /** Asks, and answers whether it was done. */
  async purge(rows: readonly Row[]): Promise<boolean> {
    const one = rows.length === 1;
    const sure = await ask({
      title: one ? `Delete “${titleOf(rows[0]!)}” for good?` : `Delete ${rows.length} memories for good?`,
      text:
        `${one ? "It is" : "They are"} removed from all devices, with threads, files and ` +
        "history. This cannot be undone.",
      confirm: "Delete for good",
    });
    if (sure) await this.#do(rows, "purge");
    return sure;
  }

  #do(rows: readonly Row[], action: Action, categoryId?: string | null): Promise<void> {
    const ids = rows.map((row) => row.id);
    return this.#library.change(ids, action, categoryId);
  }
}

function isOwn(row: Row): boolean {
  return row.role === "owner";
}

function titleOf(row: Row): string {
  return row.title || "Untitled";
}

/** The beginning of a sentence about them. */
function said(rows: readonly Row[]): string {
  return rows.length === 1 ? `“${titleOf(rows[0]!)}” is` : `${rows.length} memories are`;
}
