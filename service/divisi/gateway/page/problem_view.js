/* What went wrong and what to do about it, in one place at the top of the page; asks for the key when one is wanted. */

import { apiKey, Problem } from "./api.js";
import { byId, h } from "./dom.js";

const place = () => byId("problem");

export function showProblem(error) {
  if (error?.name === "AbortError") return;
  const isOurs = error instanceof Problem;
  if (!isOurs) console.error(error);
  const undecodable = error?.name === "EncodingError" ? "This browser cannot decode the stems. Choose WAV, FLAC or MP3 stems." : null;
  place().replaceChildren(
    h("div", {}, h("strong", {}, isOurs ? error.message : (undecodable ?? "Something went wrong in the page.")), h("p", {}, isOurs ? error.advice : undecodable ? "" : `Reload it and try again. (${error})`)),
    h("button", { className: "toggle", "aria-label": "Dismiss", onclick: clearProblem }, "✕"),
  );
  place().hidden = false;
  if (isOurs && error.wantsKey) askForKey();
  else place().scrollIntoView({ block: "nearest" });
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
