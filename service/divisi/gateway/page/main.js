/* Which view the address asks for: `#/` start, `#/jobs/{id}` mixer, `#/groups/{id}` comparison, `#/shared=…` either. */

import { apiKey } from "./api.js";
import { CompareView } from "./compare_view.js";
import { byId } from "./dom.js";
import { JobView } from "./job_view.js";
import { askForKey, clearProblem } from "./problem_view.js";
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

window.addEventListener("hashchange", show);
byId("key-button").addEventListener("click", askForKey);
show();

