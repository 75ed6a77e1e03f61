// The service worker: keeps the app's own files, so that it starts without a network.
// What it keeps is written in by the build, and so is a version that changes with the files.
declare const self: ServiceWorkerGlobalScope;
declare const SHELL: string[];
declare const VERSION: string;

const CACHE = `memo-shell-${VERSION}`;
const PATIENCE_MS = 3_000;

self.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(CACHE);
    await cache.addAll(SHELL.map((path) => new Request(path, { cache: "reload" })));
    await self.skipWaiting();
  };
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  const takeOver = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith("memo-shell-"));
    await Promise.all(old.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(takeOver());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== self.location.origin) return;
  if (url.pathname === "/") event.respondWith(newest(event.request));
  else if (SHELL.includes(url.pathname)) event.respondWith(kept(event.request));
});

/** The page itself comes from the network while that answers, so that a release shows at once. */
async function newest(request: Request): Promise<Response> {
  try {
    const answer = await fetch(request, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.ok) return answer;
  } catch {
    // Offline, or the server is down: the kept page will do.
  }
  return kept(request, "/");
}

async function kept(request: Request, path: string = request.url): Promise<Response> {
  return (await caches.match(path)) ?? fetch(request);
}

export {};
