import { Api } from "./api";
import { Session } from "./session";
import { Door } from "./views/door";
import { Shell } from "./views/shell";
import { Toasts } from "./views/toast";
import { Workspace } from "./workspace";

/** Shows the door or the shell, whichever the session calls for. */
class Console {
  #session = new Session(new Api());
  #toasts = new Toasts();
  #root: HTMLElement;
  #shown: { workspace: Workspace; shell: Shell } | undefined;
  #turn: Promise<void> = Promise.resolve();

  constructor(root: HTMLElement) {
    this.#root = root;
    document.body.append(this.#toasts.element);
    this.#session.on("changed", () => this.show());
  }

  /** One change of account after the other: opening the stores takes a moment. */
  show(): void {
    this.#turn = this.#turn.then(() => this.#show()).catch((error: unknown) => {
      this.#toasts.show(`This browser's storage can't be used: ${String(error)}`, "error");
    });
  }

  async #show(): Promise<void> {
    const { user } = this.#session;
    if (user && this.#shown?.workspace.user.id === user.id) return;
    this.#shown?.shell.destroy();
    this.#shown?.workspace.close();
    this.#shown = undefined;
    if (!user) {
      this.#root.replaceChildren(new Door(this.#session).element);
      return;
    }
    const workspace = await Workspace.open(user, this.#session);
    const shell = new Shell(workspace, this.#session, this.#toasts);
    this.#shown = { workspace, shell };
    this.#root.replaceChildren(shell.element);
  }
}

new Console(document.getElementById("app")!).show();

if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("/sw.js").catch(() => {
    // Without one (a private window, plain http) only the reload without a network is lost.
  });
}
