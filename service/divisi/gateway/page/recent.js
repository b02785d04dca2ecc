/* The jobs of this browser, newest first; they survive a reload. */

import { keptAs } from "./place.js";

const STORED = keptAs("recent");
const MOST = 20;

export function recentJobs() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "[]");
  } catch {
    return [];
  }
}

/** @param {{hash: string, name: string, models: string[], time: string}} entry */
export function remember(entry) {
  const others = recentJobs().filter(({ hash }) => hash !== entry.hash);
  localStorage.setItem(STORED, JSON.stringify([entry, ...others].slice(0, MOST)));
}

export function forget(hash) {
  localStorage.setItem(STORED, JSON.stringify(recentJobs().filter((entry) => entry.hash !== hash)));
}
