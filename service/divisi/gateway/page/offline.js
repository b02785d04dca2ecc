/* The page without a network: a service worker keeps its files and the jobs that were opened; previews that came in whole
 * are kept here, in its cache. Only where pages are safe: on HTTPS and on this machine.
 */

import { addressOf, ROOT } from "./place.js";

const JOBS = "divisi-jobs"; // as `service_worker.js` has it

/** Once for the page; what it has loaded so far is kept. */
export async function startOffline() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  try {
    await serviceWorker.register(new URL("service_worker.js", import.meta.url), { scope: ROOT.pathname });
    const { active } = await serviceWorker.ready;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    active.postMessage([ROOT.href, ...loaded.filter((name) => name.startsWith(new URL("page/", ROOT).href))]);
  } catch {
    return; // a browser that keeps nothing, such as a private window
  }
}

/** Keeps files of the service that are here whole.
 * @param {Map<string, Blob>} files by address
 */
export async function keepFiles(files) {
  if (!("caches" in window)) return;
  const cache = await caches.open(JOBS);
  for (const [path, file] of files) await cache.put(addressOf(path), new Response(file, { headers: { "Content-Type": file.type } }));
}

/** Forgets all jobs: whoever has another key, or none, does not see them. */
export const forgetJobs = () => "caches" in window && caches.delete(JOBS);
