const SHOWN_MS = 3_000;
const TOUCHES = ["wheel", "touchstart", "pointerdown", "keydown"] as const;

/**
 * Brings an element of `page` into the middle of the window and lights it up for a moment. It stays
 * in the middle meanwhile, while what stands above it comes to its height, unless a person moves.
 * Returns what ends it at once.
 */
export function spotlight(element: HTMLElement, page: HTMLElement): () => void {
  const ended = new AbortController();
  const { signal } = ended;
  const center = () => element.scrollIntoView({ block: "center" });
  const watch = new ResizeObserver(center);
  const end = () => {
    clearTimeout(timer);
    ended.abort();
    watch.disconnect();
    element.classList.remove("spotlit");
  };
  const timer = setTimeout(end, SHOWN_MS);
  const moved = () => watch.disconnect();
  for (const touch of TOUCHES) addEventListener(touch, moved, { signal, capture: true });
  element.classList.add("spotlit");
  center();
  watch.observe(page);
  return end;
}
