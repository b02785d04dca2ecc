/* A link to this result that opens without a key until it expires. */

import { request } from "./api.js";
import { announce, h } from "./dom.js";
import { dateTime, t } from "./language.js";
import { ROOT } from "./place.js";
import { showProblem } from "./problem_view.js";

const DAY_SECONDS = 86400;

export function shareButton(path) {
  const place = h("span", { role: "status" });
  const share = async () => {
    try {
      const { shared, expires_at: expiresAt } = await (await request(`${path}/links?seconds=${DAY_SECONDS}`, { method: "POST" })).json();
      if (!shared) {
        place.textContent = t("share.none");
        return;
      }
      const address = new URL(`#/shared=${encodeURIComponent(shared)}`, ROOT).href;
      const field = h("input", { type: "text", readOnly: true, value: address, "aria-label": t("share.link") });
      place.replaceChildren(field, ` ${t("share.until", { time: dateTime(expiresAt) })}`);
      field.select();
      await navigator.clipboard?.writeText(address).then(() => announce(t("share.copied")), () => {});
    } catch (error) {
      showProblem(error);
    }
  };
  return h("p", { className: "share" }, h("button", { className: "plain", onclick: share }, t("share.button")), place);
}
