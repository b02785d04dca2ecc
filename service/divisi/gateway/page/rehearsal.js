/* What singers rehearse with, below the transport: named passages that are kept with the job, a count-in, the note that a
 * part begins on, a cue before it comes in again. Whoever opens a link uses what was kept; the owner keeps it.
 */

import { getTagged, request, saveText } from "./api.js";
import { Cues, Taps } from "./cues.js";
import { announce, clockTime, h } from "./dom.js";
import { number, partName, partWithin, t } from "./language.js";
import { showProblem } from "./problem_view.js";

const NOTHING = { passages: [], beats_per_minute: null, count_in_beats: 0 };
const COUNTS = [0, 1, 2, 3, 4, 6, 8];
const USUAL_TEMPO = 80; // for a count-in where no tempo was set, nor found in the recording
const [SLOWEST, FASTEST] = [20, 400];
const TONE_SECONDS = 1.5;
const LONG_REST_SECONDS = 4;
const CUE_SECONDS = 2; // before the entry, at any speed

export class RehearsalPanel {
  /**
   * @param mixer that plays
   * @param {{body: any, tag: string | null} | null} kept as the service has it; null: it has no place for it
   * @param {{canKeep: boolean}} rights of the visitor
   */
  constructor(mixer, kept, { canKeep }) {
    this.mixer = mixer;
    this.kept = kept?.body ?? NOTHING;
    this.tag = kept?.tag;
    this.canKeep = canKeep && kept !== null;
    this.taps = new Taps();
    this.entries = [];
    this.position = 0;
    this.list = h("ul", { className: "passages", "aria-label": t("rehearsal.passages") });
    this.said = h("span", { className: "note", role: "status" });
    this.element = h("section", { className: "rehearsal", "aria-label": t("rehearsal") }, this.list, this.passageForm(), this.tempoControls(), this.noteControls());
    this.showPassages();
    this.showLoop(null);
  }

  // Passages

  passageForm() {
    this.nameField = h("input", { type: "text", maxLength: 80, placeholder: t("rehearsal.name-example"), "aria-label": t("rehearsal.name") });
    this.keepButton = h("button", { type: "submit" }, t("rehearsal.keep"));
    const edge = (name, place) => h("button", { type: "button", className: "plain", onclick: () => this.mixer.bar.setEdgeHere(place) }, t(name));
    return h(
      "form",
      { className: "presets", onsubmit: (event) => this.add(event) },
      edge("rehearsal.from-here", 0),
      edge("rehearsal.to-here", 1),
      this.canKeep && [this.nameField, this.keepButton],
      (this.exportButton = h("button", { type: "button", className: "plain", title: t("rehearsal.export-hint"), onclick: () => this.exportLabels() }, t("rehearsal.export"))),
      (this.exportAllButton = h("button", { type: "button", className: "plain", title: t("rehearsal.export-all-hint"), onclick: () => this.exportAll() }, t("rehearsal.export-all"))),
    );
  }

  showPassages() {
    const { passages } = this.kept;
    this.list.hidden = this.exportButton.hidden = this.exportAllButton.hidden = passages.length === 0;
    this.list.replaceChildren(
      ...passages.map(({ name, start_seconds: start, duration_seconds: seconds }, place) =>
        h(
          "li",
          {},
          h("button", { onclick: () => this.choose(place) }, h("strong", {}, name), ` ${clockTime(start)}–${clockTime(start + seconds)}`),
          this.canKeep && h("button", { className: "toggle small", "aria-label": t("start.forget-one", { name }), title: t("start.forget"), onclick: () => this.remove(place) }, "✕"),
        ),
      ),
    );
  }

  choose(place) {
    const passage = this.kept.passages[place];
    if (!passage) return;
    const { start_seconds: start, duration_seconds: seconds, name } = passage;
    this.mixer.setLoop([start, Math.min(this.mixer.seconds, start + seconds)]);
    this.mixer.seek(start);
    announce(name);
  }

  showLoop(loop) {
    this.keepButton.disabled = loop === null;
    this.keepButton.title = loop ? "" : t("bar.loop-hint");
  }

  async add(event) {
    event.preventDefault();
    const { loop } = this.mixer.bar;
    if (!loop || !this.canKeep) return;
    const name = this.nameField.value.trim() || t("rehearsal.unnamed", { number: this.kept.passages.length + 1 });
    const passage = { name, start_seconds: loop[0], duration_seconds: loop[1] - loop[0] };
    const add = ({ passages }) => ({ passages: [...passages, passage].sort((a, b) => a.start_seconds - b.start_seconds) });
    if (await this.keep(add)) this.nameField.value = "";
  }

  remove(place) {
    const gone = JSON.stringify(this.kept.passages[place]);
    return this.keep(({ passages }) => ({ passages: passages.filter((one) => JSON.stringify(one) !== gone) }));
  }

  /** Passages as labels that Audacity and others import. */
  exportLabels() {
    const line = ({ name, start_seconds: start, duration_seconds: seconds }) => `${start.toFixed(6)}\t${(start + seconds).toFixed(6)}\t${name}\n`;
    this.save(this.kept.passages.map(line).join(""), "txt");
  }

  /** All that is kept, as `divisi rehearsal` and the API take it. */
  exportAll() {
    this.save(JSON.stringify(this.kept, null, 2), "json");
  }

  save(text, ending) {
    saveText(text, `${this.mixer.job.file_name.replace(/\.[^.]+$/, "")} - passages.${ending}`);
  }

  /** Changes something, with the job where the visitor may; true when that went well. */
  async keep(change) {
    const before = this.kept;
    this.kept = { ...before, ...change(before) };
    try {
      if (this.canKeep) await this.store(change);
    } catch (error) {
      this.kept = before;
      showProblem(error);
    }
    this.showPassages();
    this.showTempo();
    return this.kept !== before;
  }

  /** In the place of what was seen of it; what somebody else has kept meanwhile is changed likewise. */
  async store(change) {
    const { rehearsal } = this.mixer.job.links;
    for (;;) {
      try {
        /** @type {Record<string, string>} */
        const headers = { "Content-Type": "application/json", ...(this.tag ? { "If-Match": this.tag } : {}) };
        this.tag = (await request(rehearsal, { method: "PUT", body: JSON.stringify(this.kept), headers })).headers.get("ETag");
        return;
      } catch (error) {
        if (error.code !== "rehearsal-changed") throw error;
        const { body, tag } = await getTagged(rehearsal);
        Object.assign(this, { tag, kept: { ...body, ...change(body) } });
      }
    }
  }

  // Tempo and count-in

  tempoControls() {
    this.tempoField = h("input", { type: "number", min: SLOWEST, max: FASTEST, step: "any", onchange: () => this.setTempo(Number(this.tempoField.value) || null) });
    this.countChoice = h("select", { onchange: () => this.keep(() => ({ count_in_beats: Number(this.countChoice.value) })) }, COUNTS.map((count) => h("option", { value: count }, count ? t("rehearsal.beats", { count }) : t("rehearsal.none"))));
    const controls = h(
      "div",
      { className: "presets" },
      h("label", {}, `${t("rehearsal.count-in")} `, this.countChoice),
      h("label", {}, `${t("rehearsal.tempo")} `, this.tempoField),
      h("button", { className: "plain", title: t("rehearsal.tap-hint"), onclick: () => this.tap() }, t("rehearsal.tap")),
    );
    this.showTempo();
    return controls;
  }

  showTempo() {
    const { beats_per_minute: tempo, count_in_beats: count } = this.kept;
    this.tempoField.value = tempo ? String(Math.round(10 * tempo) / 10) : "";
    this.countChoice.value = String(COUNTS.includes(count) ? count : 0);
  }

  setTempo(tempo) {
    return this.keep(() => ({ beats_per_minute: tempo && Math.min(FASTEST, Math.max(SLOWEST, tempo)) }));
  }

  /** Taps go with what is heard; the tempo that is kept is the one as sung. The last tap decides. */
  tap() {
    const tempo = this.taps.tap(performance.now() / 1000);
    if (!tempo) return;
    const sung = this.mixer.player?.playing ? tempo / this.mixer.bar.speed : tempo;
    this.tempoField.value = String(Math.round(10 * sung) / 10);
    clearTimeout(this.tapped);
    this.tapped = setTimeout(() => this.setTempo(sung), 1000);
  }

  /** Sounds the count-in, if there is one; seconds until the music begins. */
  countIn(context) {
    const { beats_per_minute: tempo, count_in_beats: beats } = this.kept;
    if (!beats) return 0;
    const secondsPerBeat = 60 / (tempo ?? this.mixer.ruler.tempoAt(this.mixer.position) ?? USUAL_TEMPO) / this.mixer.bar.speed;
    this.cuesOf(context).count(beats, secondsPerBeat, context.currentTime + 0.05);
    return 0.05 + beats * secondsPerBeat;
  }

  // Notes and entries

  noteControls() {
    const parts = this.mixer.rows.filter(({ name, track }) => !track.isResidual && name !== "accompaniment"); // those with notes
    if (!this.mixer.hasPitch) return "";
    this.entryChoice = h("select", { onchange: () => this.chooseEntries() }, h("option", { value: "" }, t("rehearsal.none")), parts.map(({ name }) => h("option", { value: name }, partName(name))));
    return h(
      "div",
      { className: "presets" },
      h("span", { id: "notes-label" }, t("rehearsal.notes")),
      h("span", { className: "buttons", role: "group", "aria-labelledby": "notes-label" }, parts.map(({ name }) => h("button", { onclick: () => this.soundNote(name) }, `♪ ${partName(name)}`))),
      h("label", { title: t("rehearsal.entry-hint") }, `${t("rehearsal.entry")} `, this.entryChoice),
      this.said,
    );
  }

  async notesOf(part) {
    return (await this.mixer.fetchPitch())?.voices?.[part]?.notes ?? [];
  }

  /** The note that a part sings here, or next. */
  async soundNote(part) {
    const context = this.mixer.soundContext();
    const here = this.mixer.position;
    const note = (await this.notesOf(part)).find(({ end_seconds: end }) => end > here + 0.05);
    if (!note) {
      this.said.textContent = t("rehearsal.no-note", { part: partWithin(part) });
      return;
    }
    const { semitones } = this.mixer.bar;
    this.cuesOf(context).silence();
    this.cues.tone(note.f0_hz * 2 ** (semitones / 12), TONE_SECONDS);
    this.said.textContent = `${partName(part)}: ${noteName(note.midi + semitones)}`;
  }

  async chooseEntries() {
    this.entries = entriesIn(await this.notesOf(this.entryChoice.value));
  }

  /** Called on and on while it plays: the note of an entry, a little before it. */
  passed(position, context) {
    const before = this.position;
    this.position = position;
    const lead = CUE_SECONDS * this.mixer.bar.speed;
    const entry = this.entries.find(({ start_seconds: start }) => before < start - lead && position >= start - lead);
    if (!entry || position - before > 1) return; // a leap is no passing
    this.cuesOf(context).tone(entry.f0_hz * 2 ** (this.mixer.bar.semitones / 12), 0.5, 0.25);
    this.said.textContent = t("rehearsal.entry-now", { part: partWithin(this.entryChoice.value), seconds: number(CUE_SECONDS) });
  }

  cuesOf(context) {
    if (this.cues?.context !== context) this.cues = new Cues(context);
    return this.cues;
  }

  silence() {
    this.cues?.silence();
  }

  key(key) {
    if (key === "t" || key === "T") this.tap();
    else this.choose(Number(key) - 1);
  }
}

/** Notes that a part begins with after a long rest. */
export function entriesIn(notes) {
  return notes.filter(({ start_seconds: start }, place) => start - (notes[place - 1]?.end_seconds ?? 0) >= LONG_REST_SECONDS);
}

/** Scientific names, which every notation program shows: 69 is A4. */
export const noteName = (midi) => `${["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"][midi % 12]}${Math.floor(midi / 12) - 1}`;
