import type { IconName } from "./icons";

/** The colours to choose from; a category made elsewhere may have any other. */
export const colors: readonly [value: string, name: string][] = [
  ["#3B82F6", "Blue"],
  ["#06B6D4", "Cyan"],
  ["#10B981", "Green"],
  ["#84A51B", "Olive"],
  ["#F59E0B", "Amber"],
  ["#F97316", "Orange"],
  ["#EF4444", "Red"],
  ["#EC4899", "Pink"],
  ["#8B5CF6", "Violet"],
  ["#78716C", "Stone"],
];

/** The icons to choose from, by the name that a category keeps. */
export const categoryIcons: Readonly<Record<string, [icon: IconName, name: string]>> = {
  folder: ["folder", "Folder"],
  briefcase: ["briefcase", "Briefcase"],
  user: ["user", "Person"],
  users: ["users", "People"],
  home: ["home", "House"],
  "book-open": ["open-book", "Open book"],
  plane: ["plane", "Aeroplane"],
  heart: ["heart", "Heart"],
  wallet: ["wallet", "Wallet"],
  palette: ["palette", "Palette"],
  star: ["star", "Star"],
  bookmark: ["bookmark", "Bookmark"],
  flag: ["flag", "Flag"],
  lightbulb: ["bulb", "Light bulb"],
  music: ["music", "Music"],
  camera: ["camera", "Camera"],
  film: ["film", "Film"],
  coffee: ["coffee", "Cup"],
  leaf: ["leaf", "Leaf"],
  sun: ["sun", "Sun"],
  globe: ["globe", "Globe"],
  gift: ["gift", "Gift"],
  "shopping-cart": ["cart", "Shopping cart"],
  "message-circle": ["chat", "Speech bubble"],
};

const HEX = /^#[0-9a-f]{6}$/i;

export function categoryIcon(name: string | null): IconName {
  return (name !== null && Object.hasOwn(categoryIcons, name) && categoryIcons[name]![0]) || "folder";
}

/** Gives the element the colour of a category, which its style sheet calls `--category`. */
export function tint(element: HTMLElement, color: string | null): void {
  if (color !== null && HEX.test(color)) element.style.setProperty("--category", color);
  else element.style.removeProperty("--category");
}
