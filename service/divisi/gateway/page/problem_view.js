/* What went wrong and what to do about it, in one place at the top of the page; asks for the key when one is wanted. */

import { apiKey, Problem } from "./api.js";
import { byId, h } from "./dom.js";
import { currentLanguage, t, wordsIfAny } from "./language.js";

const place = () => byId("problem");

export function showProblem(error) {
  if (error?.name === "AbortError") return;
  const isOurs = error instanceof Problem;
  if (!isOurs) console.error(error);
  const [first, second] = isOurs ? saying(error) : error?.name === "EncodingError" ? [t("problem.undecodable"), ""] : [t("problem.page"), t("problem.reload", { error })];
  place().replaceChildren(
    h("div", {}, h("strong", {}, first), h("p", {}, second)),
    h("button", { className: "toggle", "aria-label": t("problem.dismiss"), onclick: clearProblem }, "✕"),
  );
  place().hidden = false;
  if (isOurs && error.wantsKey) askForKey();
  else place().scrollIntoView({ block: "nearest" });
}

/** What happened and what to do. The service says both in English; in another language what to do comes first. */
function saying({ code, status, message, advice }) {
  const translated = wordsIfAny(`advice.${code}`);
  if (currentLanguage() === "en" || code === "unreachable" || !code) return [message, advice];
  return [translated ?? t(status >= 500 ? "advice.service" : "advice.caller"), message];
}

export function clearProblem() {
  place().hidden = true;
  place().replaceChildren();
}

/** Opens the dialog for the key; what was shown loads again with it. */
export function askForKey() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("key-dialog"));
  if (dialog.open) return; // somebody may be typing
  const input = /** @type {HTMLInputElement} */ (dialog.querySelector("input"));
  input.value = apiKey.get();
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue !== "save") return;
    apiKey.set(input.value);
    clearProblem();
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  };
  dialog.showModal();
}
