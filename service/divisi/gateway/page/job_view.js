/* One job from the queue to its result: position, likely time and progress while it waits and runs, then the mixer. */

import { events, getJson, getTagged, ifAny, Problem, request } from "./api.js";
import { announce, h } from "./dom.js";
import { dateTime, duration, number, partName, partWithin, percent, t, wordsIfAny } from "./language.js";
import { MixerView } from "./mixer_view.js";
import { showProblem } from "./problem_view.js";
import { keepButton, shareButton } from "./share.js";

const LOOK_SECONDS = 2; // position and likely time are not among the events

export class JobView {
  /** @param {string} path of the job, or a shared link to it */
  constructor(path, { isShared = false } = {}) {
    this.path = path;
    this.isShared = isShared;
    this.stopping = new AbortController();
    this.element = h("div", { className: "job" }, h("p", {}, t("loading")));
    this.start();
  }

  close() {
    this.stopping.abort();
    this.mixer?.close();
  }

  async start() {
    try {
      let job = await getJson(this.path, this.stopping.signal);
      if (!isEnded(job.state)) {
        this.showWaiting(job);
        await this.follow(job);
        job = await getJson(this.path, this.stopping.signal);
      }
      const { rehearsal } = job.links;
      this.showEnd(job, rehearsal ? await ifAny(getTagged(rehearsal)) : null);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.element.replaceChildren(h("p", {}, h("a", { href: "#/" }, t("job.another"))));
      showProblem(error);
    }
  }

  showWaiting(job) {
    this.bar = h("progress", { max: 1, value: job.progress, "aria-label": t("job.progress") });
    this.state = h("strong", { className: "state" });
    this.facts = h("span", { className: "facts" });
    this.element.replaceChildren(
      h("h1", {}, job.file_name),
      h("div", { className: "waiting" }, this.state, this.facts, this.bar, h("button", { className: "plain", onclick: () => this.cancel() }, t("job.cancel"))),
    );
    this.showProgress(job);
  }

  /** To the job's end, by its events; beside them a look now and then for position and likely time. */
  async follow(job) {
    const { signal } = this.stopping;
    const look = async () => {
      const now = await getJson(this.path).catch(() => null);
      if (now && !isEnded(now.state) && !signal.aborted) this.showProgress(now);
    };
    const clock = setInterval(look, LOOK_SECONDS * 1000);
    try {
      for await (const event of events(job.links.events, signal)) this.showProgress(event);
    } finally {
      clearInterval(clock);
    }
  }

  showProgress({ state, progress, stage, position, eta_seconds: eta }) {
    this.bar.value = Math.max(this.bar.value, progress ?? 0);
    const text = t(["queued", "running"].includes(state) ? `job.${state}` : "job.finishing");
    if (this.state.textContent !== text) announce(text);
    this.state.textContent = text;
    const facts = [];
    if (state === "queued" && position) facts.push(t("job.before", { count: position }));
    if (state === "running") facts.push(percent(this.bar.value), stage ? (wordsIfAny(`stage.${stage}`) ?? stage) : "");
    if (eta) this.eta = t("job.left", { time: duration(eta) });
    if (this.eta && !isEnded(state)) facts.push(this.eta);
    this.facts.textContent = facts.filter(Boolean).join(" · ");
  }

  async cancel() {
    try {
      await request(`${this.path}/cancel`, { method: "POST" });
    } catch (error) {
      showProblem(error);
    }
  }

  showEnd(job, kept) {
    if (job.state !== "succeeded") {
      this.element.replaceChildren(
        h("h1", {}, job.file_name),
        h("p", {}, t(job.state === "cancelled" ? "job.cancelled" : "job.failed")),
        h("p", {}, h("a", { href: "#/" }, t("job.another"))),
      );
      if (job.problem) showProblem(new Problem(job.problem, job.problem.status));
      return;
    }
    announce(t("job.ready"));
    this.mixer = new MixerView(job, kept, { canKeep: !this.isShared });
    const facts = [job.model, t("job.of-sound", { time: duration(job.input.duration_seconds ?? 0) })];
    if (job.report?.are_voices_detected) facts.push(t("job.found", { voices: job.report.voices.map(partWithin).join(", ") }));
    const end = h("span", {}, endOf(job));
    this.element.replaceChildren(
      h("h1", {}, job.file_name),
      h("p", { className: "facts" }, facts.join(" · "), end, ...(!this.isShared && job.group ? [" · ", h("a", { href: `#/groups/${job.group}` }, t("job.compare"))] : [])),
      warnings(job),
      this.mixer.element,
      this.isShared ? "" : shareButton(job, keepButton(job, () => end.replaceChildren(endOf(job)))),
    );
  }
}

/** How long the result stays. */
function endOf({ is_kept: isKept, expires_at: expiresAt }) {
  if (isKept) return ` · ${t("job.kept-on")}`;
  return expiresAt ? ` · ${t("job.kept", { time: dateTime(expiresAt, { dateStyle: "short", timeStyle: "short" }) })}` : "";
}

/** What to know before relying on the stems, if anything. */
function warnings(job) {
  const found = job.report?.warnings ?? [];
  return found.length ? h("ul", { className: "warnings", "aria-label": t("job.warnings") }, found.map((warning) => h("li", {}, warningText(warning)))) : "";
}

/** In the visitor's language where it has words for it; the service says more of it, in English. */
function warningText({ code, message, facts }) {
  if (!wordsIfAny(`warning.${code}`)) return message;
  const rounded = Object.entries(facts ?? {}).map(([name, value]) => [name, name.endsWith("_share") ? percent(value) : name === "stem" ? partName(value) : typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : 1) : value]);
  return t(`warning.${code}`, Object.fromEntries(rounded));
}

export const isEnded = (state) => ["succeeded", "failed", "cancelled"].includes(state);
