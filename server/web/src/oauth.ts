import type { FinishOAuth } from "@memory-app/client";
import type { Api, Provider } from "./api";

const KEY = "memo.oauth";
const PATH = "/signed-in";

export const providerNames: Record<Provider, string> = { apple: "Apple", google: "Google" };

/** A sign-in that has sent the browser away. */
interface Attempt {
  provider: Provider;
  state: string;
  redirectUri: string;
  purpose: "sign-in" | "link";
}

/** What came back with the browser, and what it was sent away for. */
export interface Returned {
  provider: Provider;
  purpose: Attempt["purpose"];
  /** What to finish the sign-in with; without it the provider's page was left by another way. */
  finish?: FinishOAuth;
}

/**
 * Sends the browser to a provider's page. What only this tab may know of it is kept in its
 * `sessionStorage`: the state proves that whoever comes back is who went.
 */
export async function leaveFor(
  api: Api,
  provider: Provider,
  purpose: Attempt["purpose"],
): Promise<void> {
  const redirectUri = location.origin + PATH;
  const { url, state } = await api.startOAuth(provider, redirectUri);
  const attempt: Attempt = { provider, state, redirectUri, purpose };
  sessionStorage.setItem(KEY, JSON.stringify(attempt));
  location.assign(url);
}

/** What this page's address brings back from a provider. Asked again it is gone. */
export function takeReturned(): Returned | undefined {
  if (location.pathname !== PATH) return undefined;
  const kept = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  if (!kept) return undefined;
  const { provider, state, redirectUri, purpose } = JSON.parse(kept) as Attempt;
  const query = new URLSearchParams(location.search);
  const code = query.get("code");
  if (!code) return { provider, purpose };
  const finish: FinishOAuth = { code, redirectUri, state };
  const user = query.get("user"); // Apple's, on the first sign-in
  try {
    if (user) finish.user = JSON.parse(user) as FinishOAuth["user"];
  } catch {
    // A name that cannot be read is no reason to turn somebody away.
  }
  return { provider, purpose, finish };
}
