/* How far each of several models is. Made once and then only changed, so that the focus stays where it is. */

import { request } from "./api.js";
import { h } from "./dom.js";
import { isEnded } from "./job_view.js";
import { modelTitle, percent, t } from "./language.js";
import { showProblem } from "./problem_view.js";

export class CompareWaiting {
  constructor(systems, { canCancel }) {
    this.systems = systems;
    this.lines = new Map(systems.map(({ job, title }) => [job.id, { words: h("span", {}), bar: h("progress", { max: 1, "aria-label": t("job.progress-of", { name: modelTitle(job.model, title) }) }) }]));
    this.element = h(
      "div",
      { className: "waiting" },
      [...this.lines.values()].map(({ words, bar }) => h("label", {}, words, bar)),
      canCancel && h("button", { className: "plain", onclick: () => this.cancel() }, t("job.cancel")),
    );
  }

  show(systems) {
    this.systems = systems;
    for (const { job, title } of systems) {
      const { words, bar } = this.lines.get(job.id);
      bar.value = isEnded(job.state) ? 1 : job.progress;
      const name = { queued: "waiting", running: "working", succeeded: "done", cancelled: "cancelled" }[job.state] ?? "failed";
      words.textContent = t(`compare.${name}`, { name: modelTitle(job.model, title), percent: percent(job.progress) });
    }
  }

  /** Stops what has not ended; what has is shown. */
  async cancel() {
    for (const { job } of this.systems.filter((one) => !isEnded(one.job.state))) {
      await request(`/v1/jobs/${job.id}/cancel`, { method: "POST" }).catch((error) => error.status === 409 || showProblem(error));
    }
  }
}
