/* Which view the address asks for: `#/` start, `#/jobs/{id}` mixer, `#/groups/{id}` comparison, `#/shared=…` either. */

import { apiKey } from "./api.js";
import { CompareView } from "./compare_view.js";
import { byId, h } from "./dom.js";
import { JobView } from "./job_view.js";
import { currentLanguage, LANGUAGES, rememberLanguage, speak } from "./language.js";
import { startOffline } from "./offline.js";
import { askForKey, clearProblem, showProblem } from "./problem_view.js";
import { StartView } from "./start_view.js";

let view = /** @type {StartView | JobView | CompareView | null} */ (null);

async function show() {
  view?.close();
  clearProblem();
  view = await viewOf(location.hash);
  byId("view").replaceChildren(view.element);
  byId("key-button").hidden = !apiKey.get();
}

async function viewOf(hash) {
  const [, kind, id] = hash.match(/^#\/(jobs|groups)\/([0-9a-z]{26})$/) ?? [];
  if (kind === "jobs") return new JobView(`/v1/jobs/${id}`);
  if (kind === "groups") return new CompareView(`/v1/groups/${id}`);
  // Escapes one by one: letters cut links short, and half an escape must not break the page.
  const shared = (hash.match(/^#\/shared=(.+)$/)?.[1] ?? "").replaceAll(/%[0-7][0-9a-f]/gi, (escape) => decodeURIComponent(escape));
  const [, sharedKind] = shared.match(/^(?:\/[\w.~-]+)*\/v1\/(jobs|groups)\//) ?? [];
  if (!sharedKind) return new StartView();
  return sharedKind === "jobs" ? new JobView(shared, { isShared: true }) : new CompareView(shared, { isShared: true });
}

/** In another language: what is shown is shown anew in it. */
async function changeLanguage(event) {
  try {
    await speak(event.target.value);
    rememberLanguage(event.target.value);
    await show();
  } catch (error) {
    event.target.value = currentLanguage();
    showProblem(error);
  }
}

async function start() {
  await speak();
  const choice = byId("language");
  choice.replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, lang: code, selected: code === currentLanguage() }, name)));
  choice.addEventListener("change", changeLanguage);
  byId("key-button").addEventListener("click", askForKey);
  window.addEventListener("hashchange", show);
  await show();
  await startOffline();
}

// Without words there is nothing to say it with.
start().catch(() => (byId("view").textContent = "The service cannot be reached. Load this page again."));

