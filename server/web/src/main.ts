import { Api } from "./api";
import { Session } from "./session";
import { Door } from "./views/door";
import { JoinView, takeInvitation } from "./views/join";
import { Shell } from "./views/shell";
import { Toasts } from "./views/toast";
import { Workspace } from "./workspace";

/** Shows the door or the shell, whichever the session calls for. */
class Console {
  #session: Session;
  #toasts: Toasts;
  #root: HTMLElement;
  #shown: { workspace: Workspace; shell: Shell } | undefined;
  #turn: Promise<void> = Promise.resolve();

  constructor(root: HTMLElement, session: Session, toasts: Toasts) {
    this.#root = root;
    this.#session = session;
    this.#toasts = toasts;
    this.#session.on("changed", () => this.show());
  }

  /** One change of account after the other: opening the stores takes a moment. */
  show(): void {
    this.#turn = this.#turn.then(() => this.#show()).catch(storageFailed(this.#toasts));
  }

  async #show(): Promise<void> {
    const { user } = this.#session;
    if (user && this.#shown?.workspace.user.id === user.id) return;
    this.#shown?.shell.destroy();
    this.#shown?.workspace.close();
    this.#shown = undefined;
    const invitation = takeInvitation();
    if (!user) {
      if (invitation) this.#toasts.show("Sign in or create an account to join the memory.");
      this.#root.replaceChildren(new Door(this.#session).element);
      return;
    }
    const workspace = await Workspace.open(user, this.#session);
    const shell = new Shell(workspace, this.#session, this.#toasts);
    this.#shown = { workspace, shell };
    this.#root.replaceChildren(shell.element);
    if (invitation) new JoinView(workspace, invitation);
  }
}

function storageFailed(toasts: Toasts): (error: unknown) => void {
  return (error) => {
    toasts.show(`This browser's storage can't be used: ${String(error)}`, "error");
  };
}

const toasts = new Toasts();
document.body.append(toasts.element);
Session.open(new Api())
  .then((session) => new Console(document.getElementById("app")!, session, toasts).show())
  .catch(storageFailed(toasts));

if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("/sw.js").catch(() => {
    // Without one (a private window, plain http) only the reload without a network is lost.
  });
}
