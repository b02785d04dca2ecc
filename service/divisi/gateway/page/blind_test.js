/* A/B/X: two cells of a row, one of them again as X; whoever hears a difference says which. Counts and weighs answers. */

import { announce, h } from "./dom.js";
import { number, percent, t } from "./language.js";
import { showProblem } from "./problem_view.js";

export class BlindTest {
  constructor(view) {
    this.view = view;
    this.isRunning = false;
    this.right = 0;
    this.trials = 0;
    this.element = h("section", { className: "blind", "aria-labelledby": "blind-title" });
    this.showSetUp();
  }

  showSetUp() {
    const rows = [...this.view.rows.values()].filter(({ cells }) => cells.length > 1);
    this.element.hidden = rows.length === 0;
    if (!rows.length) return;
    const choice = (label, options) => {
      const select = h("select", {}, options.map(([value, words]) => h("option", { value }, words)));
      return { select, element: h("label", {}, `${label} `, select) };
    };
    const voice = choice(t("compare.voice"), rows.map((row) => [row.voice, row.words]));
    const cells = () => this.view.rows.get(voice.select.value).cells;
    const first = choice("A", cells().map(({ name, words }) => [name, words]));
    const second = choice("B", cells().map(({ name, words }) => [name, words]));
    second.select.selectedIndex = 1;
    voice.select.addEventListener("change", () => {
      for (const { select } of [first, second]) select.replaceChildren(...cells().map(({ name, words }) => h("option", { value: name }, words)));
      second.select.selectedIndex = 1;
    });
    const begin = () => {
      const [a, b] = [first, second].map(({ select }) => cells().find(({ name }) => name === select.value));
      if (a !== b) this.begin(a, b).catch(showProblem);
    };
    this.element.replaceChildren(
      h("h2", { id: "blind-title" }, t("blind")),
      h("p", { className: "facts" }, t("blind.how")),
      h("div", { className: "presets" }, voice.element, first.element, second.element, h("button", { className: "primary", onclick: begin }, t("blind.begin"))),
    );
  }

  async begin(a, b) {
    await this.view.playerOf(a.voice);
    this.isRunning = true;
    this.a = a;
    this.b = b;
    this.right = 0;
    this.trials = 0;
    this.nextTrial("");
  }

  nextTrial(verdict) {
    this.x = crypto.getRandomValues(new Uint8Array(1))[0] % 2 ? this.a : this.b;
    const hear = (cell, letter) => h("button", { className: "toggle", onclick: (event) => this.hear(cell, event.currentTarget), "aria-pressed": "false" }, letter);
    this.players = h("div", { className: "buttons" }, hear(this.a, "A"), hear(this.b, "B"), hear(this.x, "X"));
    this.element.replaceChildren(
      h("h2", { id: "blind-title" }, t("blind")),
      h("p", {}, verdict),
      this.players,
      h(
        "div",
        { className: "buttons" },
        h("button", { onclick: () => this.answer(this.a) }, t("blind.is", { letter: "A" })),
        h("button", { onclick: () => this.answer(this.b) }, t("blind.is", { letter: "B" })),
        h("button", { className: "plain", onclick: () => this.end() }, t("blind.end")),
      ),
    );
  }

  async hear(cell, button) {
    for (const other of this.players.children) other.setAttribute("aria-pressed", String(other === button));
    await this.view.play(cell).catch(showProblem);
  }

  answer(cell) {
    this.trials += 1;
    this.right += cell === this.x ? 1 : 0;
    const chance = chanceOf(this.right, this.trials);
    const share = chance < 0.1 ? t("percent", { number: number(100 * chance, 1) }) : percent(chance);
    const verdict = t(cell === this.x ? "blind.right" : "blind.wrong", { right: this.right, trials: this.trials, percent: share });
    this.nextTrial(verdict);
    announce(verdict);
  }

  end() {
    this.isRunning = false;
    this.view.player?.pause();
    this.showSetUp();
  }
}

/** Probability of at least `right` of `trials` by tossing a coin. */
export function chanceOf(right, trials) {
  let sum = 0;
  let ways = 1;
  for (let k = 0; k <= trials; k++) {
    if (k >= right) sum += ways;
    ways = (ways * (trials - k)) / (k + 1);
  }
  return sum / 2 ** trials;
}
