import { Api } from "./api";
import { enter, type Entrance } from "./entrance";
import { Session } from "./session";
import { adoptTheme } from "./theme";
import { Door, type Step } from "./views/door";
import { reset } from "./views/door/reset";
import { returned } from "./views/door/returned";
import { verify } from "./views/door/verify";
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
  /** What the address led to: it comes first, whoever is signed in. */
  #entrance: Entrance | undefined;
  #entered = false;

  constructor(root: HTMLElement, session: Session, toasts: Toasts, entrance?: Entrance) {
    this.#root = root;
    this.#session = session;
    this.#toasts = toasts;
    this.#entrance = entrance;
    this.#session.on("changed", (user) => {
      if (user) this.#entrance = undefined;
      this.show();
    });
  }

  /** One change of account after the other: opening the stores takes a moment. */
  show(): void {
    this.#turn = this.#turn.then(() => this.#show()).catch(storageFailed(this.#toasts));
  }

  async #show(): Promise<void> {
    const { user } = this.#session;
    const step = this.#entrance && stepFor(this.#entrance, user !== null);
    if (step) {
      if (this.#entered) return;
      this.#entered = true;
      const leave = () => {
        this.#entrance = undefined;
        this.show();
      };
      this.#root.replaceChildren(new Door(this.#session, step, leave).element);
      return;
    }
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
    adoptTheme(user.themePreference);
    const workspace = await Workspace.open(user, this.#session);
    const shell = new Shell(workspace, this.#session, this.#toasts);
    this.#shown = { workspace, shell };
    this.#root.replaceChildren(shell.element);
    const back = this.#entrance?.kind === "returned" ? this.#entrance.returned : undefined;
    this.#entrance = undefined;
    if (back?.purpose === "link") shell.openSettings("security", back);
    if (invitation) new JoinView(workspace, invitation);
  }
}

/** The form that an address leads to. Who is signed in and back from a provider needs none. */
function stepFor(entrance: Entrance, signedIn: boolean): Step | undefined {
  if (entrance.kind === "returned") return signedIn ? undefined : returned(entrance.returned);
  return entrance.kind === "verify" ? verify(entrance.token) : reset(entrance.token);
}

function storageFailed(toasts: Toasts): (error: unknown) => void {
  return (error) => {
    toasts.show(`This browser's storage can't be used: ${String(error)}`, "error");
  };
}

const entrance = enter();
const toasts = new Toasts();
document.body.append(toasts.element);
Session.open(new Api())
  .then((session) => new Console(document.getElementById("app")!, session, toasts, entrance).show())
  .catch(storageFailed(toasts));

if ("serviceWorker" in navigator) {
  navigator.serviceWorker.register("/sw.js").catch(() => {
    // Without one (a private window, plain http) only the reload without a network is lost.
  });
}
