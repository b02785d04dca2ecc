/* A set of learning tracks as one file: of a part or of all, at the speed and in the key that the mixer plays in. The service
 * makes it when it is first asked for, and says how far it is.
 */

import { getJson, save } from "./api.js";
import { h } from "./dom.js";
import { partName, t } from "./language.js";
import { showProblem } from "./problem_view.js";

const LOOK_SECONDS = 1;
const FORMATS = ["mp3", "ogg", "flac", "wav"];

/** @param mixer whose job, speed and key they are of */
export function learningTracks(mixer) {
  const { job, bar, closing } = mixer;
  if (!job.links.tracks) return "";
  const option = (value, words) => h("option", { value }, words);
  const parts = job.mixes.map(({ part }) => option(part, partName(part)));
  const part = h("select", {}, option("", t("tracks.all")), parts);
  const format = h("select", {}, FORMATS.map((name) => option(name, name.toUpperCase())));
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": t("tracks") });
  const button = h("button", { onclick: () => make() }, t("tracks.make"));

  function query() {
    const asked = new URLSearchParams({ format: format.value });
    if (part.value) asked.set("parts", part.value);
    if (bar.speed !== 1) asked.set("speed", String(Math.round(100 * bar.speed)));
    if (bar.semitones) asked.set("semitones", String(bar.semitones));
    return asked;
  }

  async function make() {
    button.disabled = true;
    progress.hidden = false;
    try {
      const address = `${job.links.tracks}?${query()}`; // as it was asked for, whatever is changed meanwhile
      let set = await getJson(address, closing.signal);
      while (set.state !== "ready") {
        progress.value = set.progress;
        await new Promise((resolve) => setTimeout(resolve, LOOK_SECONDS * 1000));
        set = await getJson(address, closing.signal);
      }
      await save(set.archive, `${job.file_name.replace(/\.[^.]+$/, "")} - learning tracks.zip`);
    } catch (error) {
      showProblem(error);
    } finally {
      button.disabled = false;
      progress.hidden = true;
    }
  }

  return h(
    "section",
    { className: "tracks", "aria-label": t("tracks") },
    h("strong", {}, t("tracks")),
    h("p", { className: "facts" }, t("tracks.how")),
    h("div", { className: "presets" }, h("label", {}, `${t("figures.part")} `, part), h("label", {}, `${t("tracks.format")} `, format), button),
    progress,
  );
}
