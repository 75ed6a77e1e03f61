const KEY = "memo.theme";

export const themes = ["system", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

/** The theme this browser chose; "system" follows the device. */
export function theme(): Theme {
  const stored = localStorage.getItem(KEY);
  return themes.find((name) => name === stored) ?? "system";
}

export function setTheme(name: Theme): void {
  localStorage.setItem(KEY, name);
  applyTheme();
}

/** Takes the account's theme where none was chosen on this device. */
export function adoptTheme(preference: string): void {
  const name = themes.find((one) => one === preference);
  if (name && name !== "system" && localStorage.getItem(KEY) === null) setTheme(name);
}

export function applyTheme(): void {
  document.documentElement.dataset.theme = theme();
}
