import { takeReturned, type Returned } from "./oauth";

/** What somebody comes to this page for, when its address leads to more than the memories. */
export type Entrance =
  | { kind: "verify" | "reset"; token: string }
  | { kind: "returned"; returned: Returned | undefined };

/**
 * Reads the address, and takes what is secret out of it: neither the history nor a shared screen
 * needs it.
 */
export function enter(): Entrance | undefined {
  const { pathname, hash } = location;
  let entrance: Entrance | undefined;
  if (pathname === "/verify") entrance = { kind: "verify", token: hash.slice(1) };
  else if (pathname === "/reset") entrance = { kind: "reset", token: hash.slice(1) };
  else if (pathname === "/signed-in") entrance = { kind: "returned", returned: takeReturned() };
  if (entrance) history.replaceState(null, "", "/");
  return entrance;
}
