/* A link to this result that opens without a key until it expires, and whether the result is kept for good. */

import { request, unreachable } from "./api.js";
import { announce, h } from "./dom.js";
import { dateTime, t } from "./language.js";
import { ROOT } from "./place.js";
import { showProblem } from "./problem_view.js";

const DAY_SECONDS = 86400;

const MODULE = new URL("vendored/uqr.mjs", import.meta.url).href;
const QUIET = 4; // modules around the code, which readers need

/** The address to point a phone at, as a picture. */
async function qrCode(address) {
  const { encode } = await import(MODULE).catch(() => Promise.reject(unreachable()));
  const { data, size } = encode(address, { border: 0 });
  const dark = data.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : "")).join(""));
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", dark.join(""));
  picture.setAttribute("viewBox", `${-QUIET} ${-QUIET} ${size + 2 * QUIET} ${size + 2 * QUIET}`);
  picture.setAttribute("class", "qr");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", t("share.qr"));
  picture.append(path);
  return picture;
}

/**
 * @param {{links: {self: string}, is_kept?: boolean}} result a job or a comparison; to one that is kept, links last as long
 * @param {Node | string} beside the button
 */
export function shareButton(result, beside = "") {
  const place = h("span", { role: "status" });
  const share = async () => {
    try {
      const path = `${result.links.self}/links${result.is_kept ? "" : `?seconds=${DAY_SECONDS}`}`;
      const { shared, expires_at: expiresAt } = await (await request(path, { method: "POST" })).json();
      if (!shared) {
        place.textContent = t("share.none");
        return;
      }
      const address = new URL(`#/shared=${encodeURIComponent(shared)}`, ROOT).href;
      const field = h("input", { type: "text", readOnly: true, value: address, "aria-label": t("share.link") });
      place.replaceChildren(field, ` ${result.is_kept ? t("share.kept") : t("share.until", { time: dateTime(expiresAt) })} `, await qrCode(address));
      field.select();
      await navigator.clipboard?.writeText(address).then(() => announce(t("share.copied")), () => {});
    } catch (error) {
      showProblem(error);
    }
  };
  return h("p", { className: "share" }, h("button", { className: "plain", onclick: share }, t("share.button")), beside, place);
}

/**
 * @param job that may be kept until it is erased
 * @param {() => void} onchange called when `job` says something else
 */
export function keepButton(job, onchange) {
  const button = h("button", { className: "toggle", title: t("keep.hint"), onclick: () => keep() }, t("keep.button"));
  const show = () => button.setAttribute("aria-pressed", String(Boolean(job.is_kept)));
  const keep = async () => {
    try {
      const { is_kept: isKept, expires_at: expiresAt } = await (await request(`${job.links.self}/keep`, { method: job.is_kept ? "DELETE" : "PUT" })).json();
      Object.assign(job, { is_kept: isKept, expires_at: expiresAt });
      onchange();
      show();
    } catch (error) {
      showProblem(error);
    }
  };
  show();
  return button;
}
