/* The first view: a recording is dropped or chosen, who sings is said, and it is sent; above the button what to expect of
 * it, below it what fewer people need: models, formats, true sources. Then recent jobs.
 */

import { getBlob, getJson, isFinal, Problem, upload } from "./api.js";
import { announce, checkedIn, h } from "./dom.js";
import { dateTime, duration, modelTitle, number, partName, partWithin, t, wordsIfAny } from "./language.js";
import { ModelChooser } from "./model_chooser.js";
import { clearProblem, showProblem } from "./problem_view.js";
import { forget, recentJobs, remember } from "./recent.js";

const SAMPLE = "chorale";
const SONG_SECONDS = 180;
const SAMPLE_SOURCES = ["soprano", "alto", "tenor", "bass"];

export class StartView {
  constructor() {
    this.file = null;
    this.input = h("input", { type: "file", id: "file", accept: "audio/*,video/mp4,video/webm,.flac,.m4a,.aif,.aiff,.caf,.opus", className: "visually-hidden", onchange: () => this.choose(this.input.files[0]) });
    this.chosen = h("span", { className: "chosen", role: "status" });
    this.sampleButton = h("button", { type: "button", className: "plain", onclick: () => this.chooseSample() }, t("start.sample"));
    this.drop = h(
      "div",
      { className: "drop" },
      this.input,
      h("label", { htmlFor: "file", className: "big" }, t("start.choose")),
      h("span", {}, t("start.or-drop"), " · ", this.sampleButton),
      this.chosen,
    );
    this.models = new ModelChooser(() => this.offerVoices());
    this.voices = h("fieldset", { className: "choices" }, h("legend", {}, t("start.who")));
    this.options = h("div", { className: "options" });
    this.sendButton = h("button", { type: "submit", className: "primary", disabled: true }, t("start.separate"));
    this.progress = h("progress", { max: 1, value: 0, "aria-label": t("start.upload") });
    this.sending = h("div", { className: "sending", hidden: true }, this.progress, h("span", {}, t("start.sending")), h("button", { type: "button", className: "plain", onclick: () => this.abort?.() }, t("start.stop")));
    this.sourceFiles = [];
    this.matched = h("p", { className: "facts", role: "status" });
    this.sourceInput = h("input", { type: "file", multiple: true, accept: "audio/*", onchange: () => this.chooseSources([...this.sourceInput.files]) });
    const trueSources = h(
      "details",
      {},
      h("summary", {}, t("start.sources")),
      h("p", { className: "facts" }, t("start.sources-how")),
      h("label", {}, t("start.sources-field"), " ", this.sourceInput),
      this.matched,
    );
    this.expected = h("section", { className: "expected", "aria-label": t("expect") });
    const more = h("details", { className: "more" }, h("summary", {}, t("start.more")), this.models.element, this.options, trueSources);
    this.form = h(
      "form",
      { onsubmit: (event) => this.send(event), onchange: () => (this.key = null) },
      this.drop,
      this.voices,
      this.expected,
      this.sendButton,
      this.sending,
      more,
    );
    this.recent = h("section", { "aria-labelledby": "recent-title" });
    this.element = h("div", { className: "start" }, this.form, this.recent);
    this.listenToDrops();
    this.showRecent();
    this.loadModels();
  }

  close() {
    this.stopListening.abort();
    this.abort?.();
  }

  listenToDrops() {
    this.stopListening = new AbortController();
    const { signal } = this.stopListening;
    const over = (isOver) => this.drop.classList.toggle("over", isOver);
    document.addEventListener("dragover", (event) => (event.preventDefault(), over(true)), { signal });
    document.addEventListener("dragleave", (event) => event.relatedTarget || over(false), { signal });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      this.choose(event.dataTransfer.files[0]);
    }, { signal });
  }

  async loadModels() {
    try {
      const { signal } = this.stopListening;
      const asked = [getJson("/v1/models", signal), getJson("page/options.json", signal)];
      const [{ models, default_model: standard }, options] = await Promise.all(asked);
      this.models.show(models, standard);
      this.offerOptions(options);
    } catch (error) {
      showProblem(error);
    }
  }

  /** Options that the service offers on its page: a choice of values each. Their labels are English. */
  offerOptions(options) {
    const translated = (label) => wordsIfAny(`option.${label}`) ?? label;
    const choice = (standard) => ({ value, label }) => h("option", { value, selected: value === standard }, translated(label));
    const select = ({ name, choices, standard }) => h("select", { name }, choices.map(choice(standard)));
    this.options.replaceChildren(...options.map((option) => h("label", {}, `${translated(option.label)} `, select(option))));
  }

  get chosenModels() {
    return this.models.chosen.map(({ id }) => id);
  }

  /** Voices that all chosen models know; nothing to choose where one of them takes no roster. */
  offerVoices() {
    const cards = this.models.chosen;
    const deaf = cards.find((card) => !card.takes_roster);
    const shared = cards.length ? cards[0].stems.filter((name) => cards.every(({ stems, accompaniment }) => stems.includes(name) && name !== accompaniment)) : [];
    const radio = (value, label, checked) =>
      h("label", { className: "choice" }, h("input", { type: "radio", name: "singing", value, checked, onchange: () => this.showNamed() }), h("span", {}, label));
    this.named = h(
      "div",
      { className: "named", hidden: true, role: "group", "aria-label": t("start.voices") },
      shared.map((name) => h("label", { className: "choice" }, h("input", { type: "checkbox", name: "voice", value: name }), h("span", {}, partName(name)))),
    );
    this.voices.hidden = cards.length === 0;
    this.voices.replaceChildren(
      h("legend", {}, t("start.who")),
      radio("", t("start.everybody"), true),
      ...(deaf ? [h("small", {}, t("start.no-roster", { model: modelTitle(deaf.id, deaf.title) }))] : [radio("auto", t("start.find-out"), false)]),
      ...(!deaf && shared.length ? [radio("named", t("start.only"), false), this.named] : []),
    );
    this.expected.replaceChildren(...(cards.length === 1 ? expectations(cards[0]) : []));
    this.matchSources();
    this.updateButton();
  }

  /** Who sings: "" everybody, "auto" or "named"; undefined before the models are known. */
  get singing() {
    return checkedIn(this.voices)[0];
  }

  showNamed() {
    this.named.hidden = this.singing !== "named";
  }

  choose(file) {
    if (!file) return;
    clearProblem();
    if (this.file) this.forgetSources(); // they were another recording's
    this.key = null;
    this.file = file;
    this.showChosen();
    this.updateButton();
    this.sendButton.focus();
  }

  showChosen() {
    this.chosen.textContent = this.file ? `${this.file.name} · ${t("start.megabytes", { number: number(this.file.size / 1e6, 1) })}` : "";
  }

  async chooseSample() {
    const before = this.file;
    this.chosen.textContent = t("loading");
    try {
      const fetched = [SAMPLE, ...SAMPLE_SOURCES].map((name) => fetchSample(name, this.stopListening.signal));
      const [recording, ...sources] = await Promise.all(fetched);
      if (this.file !== before) return; // another recording was chosen meanwhile
      this.choose(recording);
      this.forgetSources();
      this.chooseSources(sources);
    } catch (error) {
      showProblem(error);
    } finally {
      this.showChosen();
    }
  }

  chooseSources(files) {
    this.key = null;
    this.sourceFiles = files;
    this.matchSources();
  }

  forgetSources() {
    this.sourceInput.value = "";
    this.chooseSources([]);
  }

  /** Sources by the voice that a file's name names; those of voices that no chosen model has are not sent. */
  matchSources() {
    const files = this.sourceFiles;
    const stems = [...new Set(this.models.cards.flatMap((card) => card.stems))];
    this.sources = new Map();
    for (const file of files) {
      const stem = stems.find((name) => file.name.toLowerCase().includes(name.toLowerCase()));
      if (stem) this.sources.set(stem, file);
    }
    this.matched.textContent = files.length ? this.sourcesFor([...this.sources.keys()]) : "";
  }

  sourcesFor(stems) {
    return stems.length ? t("start.sources-for", { voices: stems.map(partWithin).join(", ") }) : t("start.sources-none");
  }

  updateButton() {
    const count = this.chosenModels.length;
    this.sendButton.disabled = !this.file || count === 0;
    this.sendButton.textContent = count > 1 ? t("start.compare", { count }) : t("start.separate");
  }

  formData() {
    const form = new FormData();
    for (const model of this.chosenModels) form.append("model", model);
    for (const { name, value } of this.options.querySelectorAll("select")) form.append(name, value);
    if (this.singing === "auto") form.append("voices", "auto");
    if (this.singing === "named") for (const voice of checkedIn(this.named)) form.append("voices", voice);
    const cards = this.models.chosen;
    for (const [stem, file] of this.sources) if (cards.some(({ stems }) => stems.includes(stem))) form.append(`reference_${stem}`, file, file.name);
    form.append("file", this.file, this.file.name);
    return form;
  }

  async send(event) {
    event.preventDefault();
    if (!this.file || this.abort) return;
    clearProblem();
    if (this.singing === "named" && !checkedIn(this.named).length) {
      showProblem(new Problem({ detail: t("problem.no-voice") }, 422));
      return;
    }
    this.sending.hidden = false;
    this.sendButton.disabled = true;
    announce(t("start.announce"));
    try {
      // Where no answer came, what was sent may have become a job: the next press must not make a second one.
      this.key ??= randomKey();
      const { answer, abort } = upload(this.formData(), this.key, (share) => (this.progress.value = share));
      this.abort = abort;
      const body = await answer;
      this.abort = null;
      this.key = null;
      const hash = body.group ? `#/groups/${body.group}` : `#/jobs/${body.id}`;
      remember({ hash, name: this.file.name, models: this.chosenModels, time: new Date().toISOString() });
      location.hash = hash;
    } catch (error) {
      if (isFinal(error)) this.key = null;
      showProblem(error);
    } finally {
      this.abort = null;
      this.sending.hidden = true;
      this.progress.value = 0;
      this.updateButton();
    }
  }

  showRecent() {
    const jobs = recentJobs();
    this.recent.hidden = jobs.length === 0;
    this.recent.replaceChildren(
      h("h2", { id: "recent-title" }, t("start.recent")),
      h("ul", { className: "recent" }, jobs.map((job) =>
        h(
          "li",
          {},
          h("a", { href: job.hash }, job.name),
          h("span", {}, `${job.models.join(", ")} · ${dateTime(job.time)}`),
          h("button", { className: "toggle small", "aria-label": t("start.forget-one", { name: job.name }), title: t("start.forget"), onclick: () => (forget(job.hash), this.showRecent()) }, "✕"),
        ),
      )),
    );
  }
}

/** What a musician may expect of a model before anything is sent. */
function expectations({ stem_family: family, accompaniment, speed }) {
  const factor = speed?.[0]?.real_time_factor;
  const said = family === "satb" ? ["expect.best", "expect.less", ...(accompaniment ? [] : ["expect.not"])].map((name) => t(name)) : [];
  if (factor) said.push(t("expect.time", { time: duration(factor * SONG_SECONDS) }));
  return said.length ? [h("h2", {}, t("expect")), h("ul", {}, said.map((text) => h("li", {}, text)))] : [];
}

async function fetchSample(name, signal) {
  return new File([await getBlob(`page/sample/${name}.flac`, signal)], `${name}.flac`, { type: "audio/flac" });
}

/** 128 random bits; crypto.randomUUID is missing on plain HTTP. */
function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
