/* What makes the page open without a network: its own files, and the jobs that were opened here. The network goes first; what
 * it gives is kept, and given when there is none. Previews are asked for in pieces, and kept whole (`offline.js`).
 */

const PAGE = "divisi-page";
const JOBS = "divisi-jobs"; // `offline.js` empties it when the key is changed
const worker = /** @type {any} */ (self);
const ROOT = new URL(worker.registration.scope).pathname;
const UNOPENED_MS = 90 * 86400e3; // of a job that nobody opens any more
const JOB = /^(.*\/v1\/jobs\/[0-9a-z]{26})(\/shared)?$/;
const KEPT_OF_JOBS = /\/v1\/jobs\/[0-9a-z]{26}(\/(shared|rehearsal|(peaks|pitch|bars)\.json|previews\/[^/]+))?$/;

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));
worker.addEventListener("message", (event) => event.waitUntil(Promise.all([keepPage(event.data), tidy()])));
worker.addEventListener("fetch", (event) => {
  const name = cacheOf(event.request);
  if (name) event.respondWith(answer(event.request, name));
});

/** Which cache keeps the answer to a request, if any does. */
function cacheOf({ method, url }) {
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== location.origin || !pathname.startsWith(ROOT)) return null;
  if (pathname === ROOT || pathname.startsWith(`${ROOT}page/`)) return PAGE;
  return KEPT_OF_JOBS.test(pathname) ? JOBS : null;
}

/** What a page had loaded before there was a service worker. */
async function keepPage(addresses) {
  const cache = await caches.open(PAGE);
  await Promise.all(addresses.map(async (address) => (await cache.match(address)) ?? cache.add(address).catch(() => {})));
}

async function answer(request, name) {
  const range = request.headers.get("Range");
  const cache = await caches.open(name);
  const kept = () => cache.match(request.url, { ignoreVary: true });
  if (range) return (await pieceOf(await kept(), range)) ?? fetch(request);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request.url, response.clone()).catch(() => {}); // there may be no room
    else if ([404, 410].includes(response.status)) await forget(cache, new URL(request.url).pathname);
    return response;
  } catch (error) {
    const found = await kept();
    if (found) return found;
    throw error;
  }
}

/** Forgets what is no longer there; with a job, all that was kept of it. */
async function forget(cache, gone) {
  const [, job] = gone.match(JOB) ?? [];
  for (const kept of await cache.keys()) {
    const { pathname } = new URL(kept.url);
    if (pathname === gone || (job && pathname.startsWith(`${job}/`)) || pathname === job) await cache.delete(kept);
  }
}

/** Forgets jobs whose time is over, and those that were not opened for months. */
async function tidy() {
  const cache = await caches.open(JOBS);
  const kept = (await cache.keys()).map(({ url }) => ({ url, path: new URL(url).pathname }));
  const staying = new Set();
  for (const { url, path } of kept) {
    const [, job] = path.match(JOB) ?? [];
    if (job && (await isCurrent(await cache.match(url, { ignoreVary: true })))) staying.add(job);
  }
  const stays = (path) => staying.has(path.slice(0, path.indexOf("/v1/jobs/") + "/v1/jobs/".length + 26));
  await Promise.all(kept.filter(({ path }) => !stays(path)).map(({ url }) => cache.delete(url, { ignoreVary: true })));
}

async function isCurrent(job) {
  if (!job) return false;
  const { expires_at: expiresAt } = await job.json().catch(() => ({}));
  const opened = Date.parse(job.headers.get("Date") ?? "");
  return !(expiresAt && Date.parse(expiresAt) < Date.now()) && !(Date.now() - opened > UNOPENED_MS);
}

/** The bytes that `bytes=start-end` asks for, of a file that is kept whole. */
async function pieceOf(kept, range) {
  const [, start, end] = range.match(/^bytes=(\d+)-(\d+)$/) ?? [];
  if (!kept || !start) return null;
  const piece = (await kept.blob()).slice(Number(start), Number(end) + 1);
  return new Response(piece, { status: 206, headers: { "Content-Type": "audio/mpeg" } });
}
