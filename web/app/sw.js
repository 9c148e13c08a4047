// Keeps the page itself for times without a network, and shows messages while it is closed. The service writes the line
// with SHELL above this file: its version and the names of its files; a changed file makes a new worker.
/* global SHELL */

const CACHE = `fairturn-${SHELL.version}`;

self.addEventListener("install", (event) => {
  const all = ["./", ...SHELL.files].map((name) => new Request(name, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(all)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("fairturn-") && name !== CACHE);
  event.waitUntil(
    caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))).then(() => self.clients.claim()),
  );
});

/** Only files of the page; the API is never answered from here. */
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const scope = new URL(self.registration.scope);
  if (request.method !== "GET" || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return;
  const wanted = request.mode === "navigate" ? scope.href : request;
  event.respondWith(caches.open(CACHE).then((cache) => cache.match(wanted)).then((kept) => kept ?? fetch(request)));
});

self.addEventListener("push", (event) => {
  let told = {};
  try {
    told = event.data?.json() ?? {};
  } catch {
    told = { body: event.data.text() };
  }
  const shown = { body: told.body ?? "", tag: told.offer_id ?? "fairturn", icon: "icon-192.png", badge: "icon-192.png", data: told };
  event.waitUntil(self.registration.showNotification(told.title ?? "Fairturn", shown));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const id = event.notification.data?.offer_id;
  const url = new URL(id ? `./#/offers/${id}` : "./", self.registration.scope).href;
  event.waitUntil(open(url));
});

async function open(url) {
  const [page] = await self.clients.matchAll({ type: "window" });
  if (!page) return self.clients.openWindow(url);
  await page.focus();
  return page.navigate(url);
}
