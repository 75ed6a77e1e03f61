// Search, the place in the contents, and buttons to copy examples. The page reads well without.

const root = document.documentElement;
const search = document.querySelector(".search input");
const found = document.querySelector("#found");
const menu = document.querySelector(".menu");
const chapters = [...document.querySelectorAll(".chapter")];
const links = new Map(
  [...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]),
);

root.classList.add("scripted");

function headingOf(section) {
  return section.getAttribute("aria-labelledby");
}

function fits(section, words) {
  const text = section.textContent.toLowerCase();
  return words.every((word) => text.includes(word));
}

function show(section, visible) {
  section.hidden = !visible;
  const item = links.get(headingOf(section));
  (item.closest("li") ?? item.closest("section")).hidden = !visible;
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const chapter of chapters) {
    const entries = [...chapter.querySelectorAll(".entry")];
    const fitting = new Set(entries.filter((entry) => fits(entry, words)));
    for (const entry of entries) show(entry, fitting.has(entry));
    const visible = fitting.size > 0 || (entries.length === 0 && fits(chapter, words));
    show(chapter, visible || words.length === 0);
    count += entries.length ? fitting.size : Number(visible);
  }
  if (words.length === 0) found.textContent = "";
  else if (count === 0) found.textContent = `Nothing matches “${search.value.trim()}”.`;
  else found.textContent = `${count} ${count === 1 ? "section matches" : "sections match"}.`;
  soon();
}

function clear() {
  search.value = "";
  filter();
}

function openContents(open) {
  root.classList.toggle("contents", open);
  menu.setAttribute("aria-expanded", String(open));
}

search.addEventListener("input", () => {
  filter();
  scrollTo({ top: 0, behavior: "instant" });
});
search.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    clear();
    search.blur();
  }
  if (event.key === "Enter") {
    const first = document.querySelector(".entry:not([hidden])");
    if (first) location.hash = headingOf(first);
  }
});
menu.addEventListener("click", () => openContents(!root.classList.contains("contents")));

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
  if (event.key === "Escape") openContents(false);
});

// A link may lead to what the search has hidden.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  openContents(false);
  const target = document.getElementById(link.hash.slice(1));
  if (target?.closest("[hidden]")) clear();
});

const headings = [...document.querySelectorAll("main h1, main h2")];
let current;

// The section being read is the last one whose heading has come up under the bar.
function follow() {
  const shown = headings.filter((heading) => !heading.closest("[hidden]"));
  const above = shown.filter((heading) => heading.getBoundingClientRect().top < 120);
  const link = links.get((above.at(-1) ?? shown[0])?.id);
  if (link === current) return;
  current?.classList.remove("here");
  current?.removeAttribute("aria-current");
  current = link;
  current?.classList.add("here");
  current?.setAttribute("aria-current", "true");
  current?.scrollIntoView({ block: "nearest" });
}

let due = false;
function soon() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    follow();
  });
}
addEventListener("scroll", soon, { passive: true });
addEventListener("resize", soon);
follow();

for (const figure of document.querySelectorAll("figure")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(figure.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  figure.append(button);
}
