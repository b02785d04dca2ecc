/* A set of learning tracks: of a part or of all, at the speed and in the key that the mixer plays in. The service makes it
 * when it is first asked for, and says how far it is. Who opened a link gets the usual set, as sung: a link takes no options.
 */

import { getJson, isFinal, MOST_SILENT, save, unreachable } from "./api.js";
import { h } from "./dom.js";
import { partName, t } from "./language.js";
import { showProblem } from "./problem_view.js";

const LOOK_SECONDS = 1;
const FORMATS = ["mp3", "ogg", "flac", "wav"];

/**
 * @param mixer whose job, speed and key they are of
 * @param {{canChoose: boolean}} rights of the visitor
 */
export function learningTracks(mixer, { canChoose }) {
  const { job, bar, closing } = mixer;
  if (!job.links.tracks) return "";
  const option = (value, words) => h("option", { value }, words);
  const parts = job.mixes.map(({ part }) => option(part, partName(part)));
  const part = h("select", {}, option("", t("tracks.all")), parts);
  const format = h("select", {}, FORMATS.map((name) => option(name, name.toUpperCase())));
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": t("tracks") });
  const button = h("button", { onclick: () => make() }, t(canChoose ? "tracks.make" : "tracks.make-usual"));
  const files = h("ul", { className: "files" });

  /** Of what is chosen now, whatever is changed while it is made. */
  function address() {
    if (!canChoose) return job.links.tracks;
    const asked = new URLSearchParams({ format: format.value });
    if (part.value) asked.set("parts", part.value);
    if (bar.speed !== 1) asked.set("speed", String(Math.round(100 * bar.speed)));
    if (bar.semitones) asked.set("semitones", String(bar.semitones));
    return `${job.links.tracks}?${asked}`;
  }

  async function readySet() {
    const asked = address();
    for (let silent = 0; silent < MOST_SILENT; silent++) {
      try {
        const set = await getJson(asked, closing.signal);
        if (set.state === "ready") return set;
        progress.value = set.progress;
        silent = 0;
      } catch (error) {
        if (isFinal(error)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_SECONDS * 1000));
    }
    throw unreachable("problem.silent");
  }

  async function make() {
    button.disabled = true;
    progress.hidden = false;
    const wanted = part.value;
    files.replaceChildren();
    try {
      const set = await readySet();
      if (canChoose || !wanted) await save(set.archive, `${job.file_name.replace(/\.[^.]+$/, "")} - learning tracks.zip`);
      else files.append(...set.tracks.filter((track) => track.part === wanted).map(fileOf));
    } catch (error) {
      showProblem(error);
    } finally {
      button.disabled = false;
      progress.hidden = true;
    }
  }

  const fileOf = ({ href, file_name: name }) => h("li", {}, h("button", { className: "plain", onclick: () => save(href, name).catch(showProblem) }, name));

  return h(
    "section",
    { className: "tracks", "aria-label": t("tracks") },
    h("strong", {}, t("tracks")),
    h("p", { className: "facts" }, t(canChoose ? "tracks.how" : "tracks.how-usual")),
    h("div", { className: "presets" }, h("label", {}, `${t("figures.part")} `, part), canChoose && h("label", {}, `${t("tracks.format")} `, format), button),
    progress,
    files,
  );
}
