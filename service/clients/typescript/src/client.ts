/** A divisi server: one recording in, one stem a voice out. Runs in browsers and in node.
 *
 *     const client = new Client("https://divisi.example", { apiKey: "dv_…" });
 *     const stems = await client.separate(file, { voices: ["soprano", "alto"] });  // Map { "soprano" => Blob, … }
 */

import type { Job, JobPage, Problem, RequestOptions, Stem } from "./records.ts";

export type * from "./records.ts";

/** A recording; or null where the option `source_url` says where it is. */
export type Recording = Blob | null;

export interface SubmitOptions extends RequestOptions {
  /** The same key with the same content gives the same job. */
  idempotencyKey?: string;
}

export interface WaitOptions {
  /** Called with the job as it stands. */
  onProgress?: (job: Job) => void;
  /** Ends the waiting; the job goes on. */
  signal?: AbortSignal;
}

const SHORTEST_PAUSE_SECONDS = 0.25;
const LONGEST_PAUSE_SECONDS = 5;
/** Looks in a row that may fail while the server is away. */
const MOST_FAILURES = 7;
const ENDED = new Set<string>(["succeeded", "failed", "cancelled"]);

/** What the server refused, or a job failed with. */
export class DivisiError extends Error {
  readonly code: string;
  /** Of the answer; 0: there was none. */
  readonly status: number;
  /** What a person can do. */
  readonly advice: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, code: string, status: number, advice?: string, retryAfterSeconds?: number) {
    super(message);
    this.name = "DivisiError";
    this.code = code;
    this.status = status;
    this.advice = advice;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export class Client {
  readonly #server: string;
  readonly #headers: Record<string, string>;

  /** `server`: its address, with the path that it is served below, if there is one. */
  constructor(server: string, { apiKey }: { apiKey?: string } = {}) {
    this.#server = server.replace(/\/+$/, "");
    this.#headers = apiKey ? { Authorization: `Bearer ${apiKey}` } : {};
  }

  /** Stems of one recording by name. The job is erased on the server once all are here; on failure it stays. */
  async separate(recording: Recording, options: SubmitOptions & WaitOptions = {}): Promise<Map<string, Blob>> {
    const { onProgress, signal, ...asked } = options;
    const job = await this.wait((await this.submit(recording, asked)).id, { onProgress, signal });
    const stems = await this.stems(job);
    await this.delete(job.id);
    return stems;
  }

  /** Sends a recording and queues its separation. */
  async submit(recording: Recording, options: SubmitOptions = {}): Promise<Job> {
    const { idempotencyKey, ...asked } = options;
    const fields = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null);
    const texts = fields.map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : String(value)]);
    const headers: Record<string, string> = idempotencyKey ? { "Idempotency-Key": idempotencyKey } : {};
    if (recording === null) {
      return this.#json("POST", `v1/jobs?${new URLSearchParams(texts)}`, { headers });
    }
    const form = new FormData();
    for (const [name, text] of texts as [string, string][]) form.append(name, text);
    form.append("file", recording);
    return this.#json("POST", "v1/jobs", { headers, body: form });
  }

  /** The job as it stands. */
  get(jobId: string): Promise<Job> {
    return this.#json("GET", `v1/jobs/${jobId}`);
  }

  /** Jobs, newest first, a page at a time. */
  jobs(cursor?: string): Promise<JobPage> {
    return this.#json("GET", cursor ? `v1/jobs?${new URLSearchParams({ cursor })}` : "v1/jobs");
  }

  /** The job as it stands, again and again, and last as it ended, however that was. */
  async *progress(jobId: string, signal?: AbortSignal): AsyncGenerator<Job, void, void> {
    const began = performance.now();
    let failures = 0;
    while (true) {
      signal?.throwIfAborted();
      let pause = Math.min(Math.max(SHORTEST_PAUSE_SECONDS, (performance.now() - began) / 10_000), LONGEST_PAUSE_SECONDS);
      try {
        const job = await this.get(jobId);
        failures = 0;
        yield job;
        if (ENDED.has(job.state)) return;
      } catch (error) {
        const mayPass = error instanceof DivisiError && [0, 429, 503].includes(error.status);
        if (!mayPass || ++failures >= MOST_FAILURES) throw error;
        pause = Math.max(pause, error.retryAfterSeconds ?? 2 ** failures / 4);
      }
      await new Promise((resolve) => setTimeout(resolve, pause * 1000));
    }
  }

  /** The job once it succeeded; throws what it failed with. */
  async wait(jobId: string, { onProgress, signal }: WaitOptions = {}): Promise<Job> {
    let last: Job | undefined;
    for await (const job of this.progress(jobId, signal)) {
      onProgress?.(job);
      last = job;
    }
    if (last?.state === "succeeded") return last;
    const problem = last?.problem;
    const message = problem?.detail ?? problem?.title ?? `job ${jobId} was ${last?.state}`;
    throw new DivisiError(message, problem?.code ?? `job-${last?.state}`, problem?.status ?? 0, problem?.advice);
  }

  /** The stems of a job that succeeded by name, each checked against its SHA-256. */
  async stems(job: Job): Promise<Map<string, Blob>> {
    const stems = await Promise.all(job.stems.map((stem) => this.stem(stem)));
    return new Map(job.stems.map((stem, place) => [stem.name, stems[place] as Blob]));
  }

  /** One stem. */
  async stem(stem: Stem): Promise<Blob> {
    const content = await (await this.#request("GET", this.#addressOf(stem.href))).arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    if (Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") !== stem.sha256) {
      throw new DivisiError(`${stem.name} arrived with other bytes than the server announced`, "download-failed", 0);
    }
    return new Blob([content], { type: stem.media_type });
  }

  /** Stops a job and keeps its record. */
  cancel(jobId: string): Promise<Job> {
    return this.#json("POST", `v1/jobs/${jobId}/cancel`);
  }

  /** Cancels a job if it has not ended, and erases its audio and record. */
  async delete(jobId: string): Promise<void> {
    await this.#request("DELETE", this.#addressOf(`/v1/jobs/${jobId}`));
  }

  /** An address that the server gave: only its proxy knows below which path that is. */
  #addressOf(href: string): string {
    return href.startsWith("/") ? `${this.#server}/${href.slice(href.lastIndexOf("/v1/") + 1)}` : href;
  }

  async #json<Answer>(method: string, path: string, request: RequestInit = {}): Promise<Answer> {
    return (await (await this.#request(method, `${this.#server}/${path}`, request)).json()) as Answer;
  }

  async #request(method: string, address: string, request: RequestInit = {}): Promise<Response> {
    // The key goes to the server alone: a store that links lead to has its own ways.
    const own = address.startsWith(`${this.#server}/`) ? this.#headers : {};
    let answer: Response;
    try {
      answer = await fetch(address, { ...request, method, headers: { ...own, ...(request.headers as object) } });
    } catch (error) {
      throw new DivisiError(`${this.#server} does not answer (${error})`, "unavailable", 0);
    }
    if (!answer.ok) throw await problemOf(answer);
    return answer;
  }
}

async function problemOf(answer: Response): Promise<DivisiError> {
  const problem = (await answer.json().catch(() => ({}))) as Partial<Problem>;
  const message = problem.detail ?? problem.title ?? `the server answered ${answer.status}`;
  const pause = Number(answer.headers.get("Retry-After") ?? Number.NaN);
  const retry = Number.isNaN(pause) ? undefined : pause;
  return new DivisiError(message, problem.code ?? "unknown", answer.status, problem.advice, retry);
}
