/* Which models take the recording: the service's default first, the others in groups that find the same voices, best
 * figure first. Many of them wait behind a summary, so that who only wants stems sees one.
 */

import { checkedIn, h } from "./dom.js";
import { modelTitle, number, partName, t, wordsIfAny } from "./language.js";

const MOST_OPEN = 3;

export class ModelChooser {
  /** @param onchange called when other models are chosen */
  constructor(onchange) {
    this.onchange = onchange;
    this.cards = /** @type {any[]} */ ([]);
    this.element = h("fieldset", { className: "choices models" }, h("legend", {}, t("models.one")), h("p", {}, "…"));
  }

  /** Cards of the chosen models. */
  get chosen() {
    const ids = checkedIn(this.element);
    return this.cards.filter(({ id }) => ids.includes(id));
  }

  show(cards, standard) {
    const isFirst = ({ id }) => id === standard;
    this.cards = [...cards].sort((a, b) => Number(isFirst(b)) - Number(isFirst(a)) || Math.sign(meanOf(b) - meanOf(a)) || 0);
    const first = this.cards.filter(isFirst);
    const list = (some) => h("div", { className: "model-list" }, some.map((card) => this.choice(card, isFirst(card))));
    const legend = h("legend", {}, t(cards.length > 1 ? "models.several" : "models.one"));
    if (cards.length <= MOST_OPEN) this.element.replaceChildren(legend, list(this.cards));
    else {
      const others = this.cards.filter((card) => !isFirst(card));
      const groups = groupBy(others, voicesOf);
      this.summary = h("summary", {}, "");
      this.element.replaceChildren(
        legend,
        list(first),
        h("details", {}, this.summary, [...groups].map(([voices, some]) => h("div", { role: "group", "aria-label": voices }, h("p", { className: "facts" }, voices), list(some)))),
      );
    }
    this.changed();
  }

  choice(card, isFirst) {
    const { is_offered: isOffered, needs = [] } = card;
    const figure = figureOf(card);
    const about = wordsIfAny(`about.${card.id}`) ?? card.description;
    const box = h("input", { type: "checkbox", name: "model", value: card.id, checked: isFirst, disabled: isOffered === false, onchange: () => this.changed() });
    return h(
      "label",
      { className: "choice", title: about },
      box,
      h(
        "span",
        {},
        h("strong", {}, modelTitle(card.id, card.title)),
        " ",
        figure && h("span", { className: "figure", title: figure.measured }, figure.words),
        h("small", {}, isOffered === false ? t("models.not-now", { needs: needs.join(", ") || t("models.needs") }) : firstSentence(about)),
      ),
    );
  }

  changed() {
    const hidden = this.chosen.filter(({ id }) => this.summary?.parentElement.querySelector(`input[value="${id}"]`)).length;
    const count = this.cards.length - 1;
    if (this.summary) this.summary.textContent = [t("models.others", { count }), hidden && t("models.chosen", { count: hidden })].filter(Boolean).join(" · ");
    this.onchange();
  }
}

const meanOf = ({ quality }) => quality?.[0]?.mean ?? -Infinity;
const voicesOf = ({ stems }) => stems.map(partName).join(", ") || t("models.any-parts");
const firstSentence = (text) => text.split(/(?<=[.;])\s/)[0].replace(/\s*;$/, ".");

function figureOf({ quality }) {
  const [first] = quality ?? [];
  if (first?.mean === undefined || first.mean === null) return null;
  const unit = first.metric.match(/^(.+) in (\S+)$/);
  return { words: unit ? `${unit[1]} ${number(first.mean, 1)} ${unit[2]}` : `${first.metric} ${number(first.mean, 1)}`, measured: `${first.test_set}; ${first.protocol}` };
}

function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
