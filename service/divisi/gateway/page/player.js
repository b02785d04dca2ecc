/* Decoded tracks through one transport on one AudioContext clock: transport → gain → pan → meter → out, for each track.
 * Views decide what is heard by setting gains; every change is a short fade.
 */

import { getBytes } from "./api.js";
import { openTransport } from "./transport_node.js";
import { openTransposer } from "./transposer.js";

const FADE_SECONDS = 0.008;
const METER_SAMPLES = 2048;
const LOUDNESS_SAMPLES = 200000; // of each track, spread over it
const MOST_BYTES = (/** @type {{deviceMemory?: number}} */ (navigator).deviceMemory ?? 8) <= 4 ? 5e8 : 1.5e9;
const [LEAST_RATE, MOST_RATE] = [8000, 96000];

/** The rate to play at: the recording's own, unless its tracks would not fit in memory. Hz. */
export function playingRate({ sample_rate: rate = 44100, num_samples: samples = 0, num_channels: channels = 2 }, numTracks) {
  let playing = Math.min(Math.max(rate, LEAST_RATE), MOST_RATE);
  const bytes = () => (4 * samples * Math.min(channels, 2) * numTracks * playing) / rate;
  while (bytes() > MOST_BYTES && playing > 11025) playing /= 2;
  return playing;
}

/**
 * Fetches and decodes one after the other: a phone never holds two files' worth of scratch memory.
 * @param {{name: string, href: string}[]} files
 * @param {number} sampleRate Hz
 * @param {{signal?: AbortSignal, onProgress?: (place: number, count: number) => void}} how
 */
export async function loadTracks(files, sampleRate, { signal, onProgress } = {}) {
  const decoder = new OfflineAudioContext(1, 1, sampleRate);
  const tracks = [];
  for (const [place, { name, href }] of files.entries()) {
    onProgress?.(place, files.length);
    const buffer = await decoder.decodeAudioData(await getBytes(href, signal));
    tracks.push({ name, channels: channelsOf(buffer) });
  }
  return tracks;
}

/** The sum of all tracks as one more: stems and residual are the recording. */
export function sumOf(name, tracks) {
  const length = Math.max(...tracks.map(({ channels }) => channels[0].length));
  const count = Math.max(...tracks.map(({ channels }) => channels.length));
  const sums = Array.from({ length: count }, () => new Float32Array(length));
  for (const { channels } of tracks) {
    sums.forEach((sum, c) => {
      const signal = channels[Math.min(c, channels.length - 1)];
      for (let i = 0; i < signal.length; i++) sum[i] += signal[i];
    });
  }
  return { name, channels: sums };
}

function channelsOf(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, c) => new Float32Array(buffer.getChannelData(c)));
  if (channels.length <= 2) return channels;
  return [channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length)];
}

export class Player {
  /** Opens the sound; call it from a press of a key or button. The tracks' samples go over to the audio thread.
   * @param {AbortSignal} signal by which it was given up since: there is no sound then
   */
  static async open(tracks, sampleRate, signal) {
    const context = new AudioContext({ sampleRate, latencyHint: "interactive" });
    const products = productsOf(tracks); // before the samples go over
    try {
      const transport = await openTransport(context, tracks.map(({ channels }) => channels));
      signal.throwIfAborted();
      return new Player(context, transport, tracks.map(({ name }) => name), products);
    } catch (error) {
      context.close();
      throw error;
    }
  }

  constructor(context, transport, names, products) {
    this.context = context;
    this.transport = transport;
    this.names = names;
    this.products = products;
    this.master = new GainNode(context);
    this.master.connect(context.destination);
    this.transposer = null; // its delay counts while it is in use
    this.semitones = 0;
    this.wantedSemitones = 0;
    this.opening = null;
    this.strips = new Map(names.map((name, place) => [name, this.strip(place)]));
    this.clock = { position: 0, time: 0, playing: false };
    this.speed = 1;
    this.begin = 0; // when it is to play, after a count-in
    this.onclock = () => {};
    transport.onclock = (clock) => {
      this.clock = clock;
      this.onclock();
    };
  }

  strip(place) {
    const gain = new GainNode(this.context);
    const pan = new StereoPannerNode(this.context);
    const meter = new AnalyserNode(this.context, { fftSize: METER_SAMPLES, smoothingTimeConstant: 0 });
    this.transport.connect(place, gain);
    gain.connect(pan).connect(meter).connect(this.master);
    return { gain, pan, meter, scratch: new Float32Array(METER_SAMPLES) };
  }

  /** Also while it is counted in. */
  get playing() {
    return this.clock.playing || this.context.currentTime < this.begin;
  }

  /** Seconds into the recording of what is heard now. */
  get position() {
    const { position, time, playing } = this.clock;
    const since = playing ? Math.min(0.1, Math.max(0, this.context.currentTime - time)) : 0;
    const delay = playing && this.semitones ? this.transposer.delaySeconds : 0;
    return Math.max(0, position / this.context.sampleRate + (since - delay) * this.speed);
  }

  /** @param {(context: BaseAudioContext) => number} countIn sounds a count-in on the clock that it is given, and says how many seconds it takes */
  async play(countIn = () => 0) {
    await this.context.resume();
    const seconds = countIn(this.context);
    const time = this.context.currentTime;
    this.begin = time + seconds;
    if (!seconds) this.clock = { ...this.clock, playing: true, time };
    this.transport.send("playAt", this.begin);
  }

  pause() {
    this.begin = 0;
    this.clock = { ...this.clock, playing: false };
    this.transport.send("pause");
  }

  seek(seconds) {
    const position = Math.round(seconds * this.context.sampleRate);
    this.clock = { ...this.clock, position, time: this.context.currentTime };
    this.transport.send("seek", position);
  }

  /** @param {[number, number] | null} loop seconds */
  setLoop(loop) {
    this.transport.send("setLoop", loop && loop.map((edge) => edge * this.context.sampleRate));
  }

  setSpeed(speed) {
    this.speed = speed;
    this.transport.send("speed", speed);
  }

  /** Half tones up, -12 to 12; the sound goes through the transposer only where there are any. */
  async setSemitones(semitones) {
    this.wantedSemitones = semitones;
    if (semitones) this.opening ??= openTransposer(this.context);
    try {
      this.transposer = (await this.opening) ?? null;
    } catch (error) {
      this.opening = null; // to be tried again
      throw error;
    }
    if (this.wantedSemitones !== semitones) return; // another key was chosen while it loaded
    await this.transposer?.set(semitones);
    if (Boolean(semitones) !== Boolean(this.semitones)) this.wire(semitones ? this.transposer.node : null);
    this.semitones = semitones;
  }

  /** What stands between master and loudspeaker, if anything. */
  wire(node) {
    this.master.disconnect();
    this.transposer?.node.disconnect();
    if (node) this.master.connect(node).connect(this.context.destination);
    else this.master.connect(this.context.destination);
  }

  setGain(name, gain) {
    this.strips.get(name).gain.gain.setTargetAtTime(gain, this.context.currentTime, FADE_SECONDS);
  }

  setPan(name, pan) {
    this.strips.get(name).pan.pan.setTargetAtTime(pan, this.context.currentTime, FADE_SECONDS);
  }

  setVolume(gain) {
    this.master.gain.setTargetAtTime(gain, this.context.currentTime, FADE_SECONDS);
  }

  /** RMS of what a track adds now, in dBFS. */
  level(name) {
    const { meter, scratch } = this.strips.get(name);
    meter.getFloatTimeDomainData(scratch);
    const power = scratch.reduce((sum, sample) => sum + sample * sample, 0) / scratch.length;
    return 10 * Math.log10(power + 1e-12);
  }

  /** RMS over the whole recording of the tracks at these gains, by name. */
  loudness(gains) {
    const weights = this.names.map((name) => gains.get(name) ?? 0);
    let power = 0;
    this.products.forEach((row, a) => row.forEach((product, b) => (power += weights[a] * weights[b] * product)));
    return Math.sqrt(Math.max(0, power));
  }

  close() {
    this.transport.send("end");
    this.context.close();
  }
}

/** Mean products of all pairs of tracks: what any mix of them will weigh. */
function productsOf(tracks) {
  const signals = tracks.map(({ channels }) => channels[0]);
  const length = Math.max(...signals.map((signal) => signal.length));
  const step = Math.max(1, Math.floor(length / LOUDNESS_SAMPLES));
  const products = tracks.map(() => tracks.map(() => 0));
  for (let a = 0; a < tracks.length; a++) {
    for (let b = 0; b <= a; b++) {
      let sum = 0;
      for (let i = 0; i < length; i += step) sum += (signals[a][i] || 0) * (signals[b][i] || 0);
      products[a][b] = products[b][a] = sum / (length / step);
    }
  }
  return products;
}
