// What the server answers and what may be asked of it.
//
// Made of the service's contract by `python -m tests.contract.test_typescript_records`: change that, not this.

export type JobState = "queued" | "running" | "succeeded" | "failed" | "cancelled";
export type Lane = "interactive" | "batch";
export type Layout = "front" | "without" | "left" | "right";

/** What is known of the recording. */
export interface Input {
  container: string | null;
  codec: string | null;
  sample_rate: number | null;
  num_channels: number | null;
  num_samples: number | null;
  duration_seconds: number | null;
  exact: boolean | null;
}

/** A small file to listen to at once: MP3 of a constant rate. */
export interface Preview {
  href: string;
  bytes: number;
  media_type: string;
}

/** One delivered stem. */
export interface Stem {
  name: string;
  href: string;
  file_name: string;
  bytes: number;
  sha256: string;
  media_type: string;
  is_residual: boolean;
  peak: number | null;
  clipped_samples: number;
  preview?: Preview | null;
}

/** One file to download. */
export interface File {
  name: string;
  href: string;
  file_name: string;
  bytes: number;
  sha256: string;
  media_type: string;
}

/** A picture of one track: the mixture, a stem or the residual. */
export interface Track {
  name: string;
  href: string;
}

/** What a page draws without decoding audio. */
export interface Views {
  peaks: string;
  confidence: string;
  report: string;
  spectrograms: Track[];
}

/** How far a stem is to be believed: the share of its energy that is expected to be the voice's own. */
export interface Confidence {
  stem: string;
  mean: number | null;
  step_seconds: number;
  values: (number | null)[];
}

/** A stem measured against the true source that was sent with the recording. */
export interface Score {
  stem: string;
  si_sdr_db: number | null;
  mixture_si_sdr_db: number | null;
  frame_seconds: number;
  frames_si_sdr_db: (number | null)[];
  reference: File | null;
}

/** Practice mixes for one part; made when first asked for. */
export interface Mix {
  part: string;
  in_front: string;
  without: string;
}

/** What a person should know before relying on the result. */
export interface ResultWarning {
  code: string;
  message: string;
  facts: Record<string, any>;
}

/** How the separation went. */
export interface Report {
  conservation_dbfs: number | null;
  warnings?: ResultWarning[];
  real_time_factor: number;
  wall_seconds: number;
  voices: string[];
  are_voices_detected: boolean;
  engine: Record<string, any>;
}

/** What is wrong with one part of a request. */
export interface FieldProblem {
  pointer: string;
  detail: string;
}

/** RFC 9457 problem document; `code` is the part to act on. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  fault: "caller" | "service";
  advice: string;
  instance: string | null;
  request_id: string | null;
  facts: Record<string, any>;
  errors: FieldProblem[];
}

/** Where to go from here. */
export interface Links {
  self: string;
  events: string;
  archive: string | null;
  rehearsal?: string | null;
  tracks?: string | null;
}

/** One job: what was asked, how far it got, and what came of it. */
export interface Job {
  id: string;
  state: JobState;
  progress: number;
  stage: string | null;
  position: number | null;
  eta_seconds: number | null;
  attempt: number;
  model: string;
  model_version: string;
  include_residual: boolean;
  stem_format: string;
  lane: Lane;
  requested_stems: string[] | null;
  fit: Record<string, any> | null;
  requested_voices: string[] | "auto" | null;
  group: string | null;
  file_name: string;
  input: Input;
  submitted_at: string;
  started_at: string | null;
  ended_at: string | null;
  expires_at: string | null;
  is_kept?: boolean;
  stems: Stem[];
  resynthesis: Stem | null;
  pitch: File[];
  views: Views | null;
  confidence: Confidence[];
  scores: Score[];
  mixes: Mix[];
  recording: File | null;
  report: Report | null;
  problem: Problem | null;
  links: Links;
}

/** One page of jobs, newest first. */
export interface JobPage {
  jobs: Job[];
  next_cursor: string | null;
}

/** One voice as one system gives it. */
export interface Cell {
  voice: string;
  stem: Stem | null;
  si_sdr_db: number | null;
}

/** One model on the recording. */
export interface System {
  model: string;
  title: string;
  job: Job;
  cells: Cell[];
  resynthesis: Stem | null;
  mean_si_sdr_db: number | null;
}

/** Voices by systems. */
export interface Comparison {
  group: string;
  file_name: string;
  submitted_at: string;
  state: "running" | "ended";
  input: Input;
  voices: string[];
  references: File[];
  systems: System[];
  table: string;
  folder: string;
}

/** A stretch of the recording that has a name: a loop, or a section of the piece. */
export interface Passage {
  name: string;
  start_seconds: number;
  duration_seconds: number;
}

/** All that is kept; replaced as a whole. */
export interface Rehearsal {
  passages: Passage[];
  beats_per_minute: number | null;
  count_in_beats: number;
}

/** One learning track. */
export interface LearningTrack {
  part: string | null;
  layout: Layout | null;
  title: string;
  file_name: string;
  href: string;
  bytes: number | null;
  sha256: string | null;
}

/** Learning tracks, made alike; the first look begins to make them. */
export interface LearningTracks {
  state: "making" | "ready";
  progress: number;
  tracks: LearningTrack[];
  archive: string;
}

/** What may be asked of a separation; docs/options.md says what each is. */
export interface RequestOptions {
  model?: string;
  stems?: string[];
  voices?: string[];
  include_residual?: boolean;
  stem_format?: "wav" | "wav16" | "wav24" | "wav32f" | "flac" | "ogg" | "mp3";
  lane?: Lane;
  num_sources?: number | null;
  num_bases?: number | null;
  num_iterations?: number | null;
  fft_length?: number | null;
  initialisation?: "circular" | "two_step" | "spots" | null;
  precision?: "single" | "double" | null;
  seed?: number | null;
  spots?: string[];
  source_url?: string | null;
  target?: string | null;
  webhook_url?: string | null;
  webhook_secret?: string | null;
  file_name?: string | null;
}
