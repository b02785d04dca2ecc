/* What a finished job has to save, and what was measured of it, below its mixer. */

import { save } from "./api.js";
import { h } from "./dom.js";
import { number, partName, percent, t } from "./language.js";
import { showProblem } from "./problem_view.js";

export function downloads({ file_name: fileName, links, mixes, resynthesis, pitch, views }) {
  const stem = fileName.replace(/\.[^.]+$/, "");
  const button = (label, href, name) => h("button", { className: "plain", onclick: () => save(href, name).catch(showProblem) }, label);
  const mix = ({ part, in_front: front, without }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, partName(part)),
      h("td", {}, front && button(t("downloads.front"), front, `${stem} - ${part} in front`)),
      h("td", {}, without && button(t("downloads.without"), without, `${stem} - without ${part}`)),
    );
  return h(
    "details",
    { className: "downloads", open: true },
    h("summary", {}, t("downloads")),
    h(
      "p",
      {},
      links.archive && button(t("downloads.all"), links.archive, `${stem} - stems.zip`),
      resynthesis && button(t("downloads.sung"), resynthesis.href, resynthesis.file_name),
      pitch?.map((file) => button(file.name, file.href, file.file_name)),
      views?.report && button(t("downloads.report"), views.report, `${stem} - report.png`),
    ),
    mixes?.length ? h("table", { className: "mixes" }, h("caption", {}, t("downloads.mixes")), h("tbody", {}, mixes.map(mix))) : null,
  );
}

/** What was measured, for whoever wants decibels; nothing where nothing was. */
export function figures({ stems, scores, confidence }) {
  const clean = (stem) => confidence?.find((one) => one.stem === stem)?.mean ?? null;
  const score = (stem) => scores?.find((one) => one.stem === stem)?.si_sdr_db ?? null;
  const measured = stems.filter(({ name }) => clean(name) !== null || score(name) !== null);
  if (!measured.length) return "";
  const cell = (value, words) => h("td", {}, value === null ? "–" : words(value));
  const row = ({ name }) => h("tr", {}, h("th", { scope: "row" }, partName(name)), cell(clean(name), percent), scores?.length && cell(score(name), (value) => `${number(value, 1)} dB`));
  const columns = ["figures.part", "figures.clean", ...(scores?.length ? ["figures.si-sdr"] : [])];
  return h(
    "details",
    { className: "downloads" },
    h("summary", {}, t("figures")),
    h("table", { className: "figures" }, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, t(name))))), h("tbody", {}, measured.map(row))),
  );
}
