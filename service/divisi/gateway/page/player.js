/* Decoded tracks through one transport on one AudioContext clock: transport → gain → pan → meter → out, for each track.
 * Views decide what is heard by setting gains; every change is a short fade.
 */

import { getBytes } from "./api.js";
import { openTransport } from "./transport_node.js";
import { openTransposer } from "./transposer.js";

const FADE_SECONDS = 0.008;
const METER_SAMPLES = 2048;
const LOUDNESS_SAMPLES = 200000; // of each track or piece, spread over it
const MOST_BYTES = (/** @type {{deviceMemory?: number}} */ (navigator).deviceMemory ?? 8) <= 4 ? 5e8 : 1.5e9;
const [LEAST_RATE, MOST_RATE] = [8000, 96000];

/** The rate to play at: the recording's own, unless its tracks would not fit in memory. Hz. */
export function playingRate({ sample_rate: rate = 44100, num_samples: samples = 0, num_channels: channels = 2 }, numTracks, bytesPerSample = 4) {
  let playing = Math.min(Math.max(rate, LEAST_RATE), MOST_RATE);
  const bytes = () => (bytesPerSample * samples * Math.min(channels, 2) * numTracks * playing) / rate;
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

function channelsOf(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, c) => new Float32Array(buffer.getChannelData(c)));
  if (channels.length <= 2) return channels;
  return [channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length)];
}

export class Player {
  /** Opens the sound; call it from a press of a key or button. The tracks' samples go over to the audio thread.
   * @param tracks name and channels of each
   * @param {number} sampleRate Hz
   * @param {AbortSignal} signal by which it was given up since: there is no sound then
   * @param {{sumName?: string, pieceLength?: number}} kind name of the sum of all tracks, if it is wanted; samples of a
   *   piece, of tracks that come in pieces
   */
  static async open(tracks, sampleRate, signal, { sumName, pieceLength = 0 } = {}) {
    const context = new AudioContext({ sampleRate, latencyHint: "interactive" });
    const names = tracks.map(({ name }) => name);
    const mixed = new Mixed(names, sumName);
    if (!pieceLength) mixed.add(tracks.map(({ channels }) => channels)); // before the samples go over
    try {
      const transport = await openTransport(context, tracks.map(({ channels }) => channels), { hasSum: Boolean(sumName), pieceLength });
      signal.throwIfAborted();
      return new Player(context, transport, sumName ? [...names, sumName] : names, mixed);
    } catch (error) {
      context.close();
      throw error;
    }
  }

  constructor(context, transport, names, mixed) {
    this.context = context;
    this.transport = transport;
    this.names = names;
    this.mixed = mixed;
    this.master = new GainNode(context);
    this.master.connect(context.destination);
    this.transposer = null; // its delay counts while it is in use
    this.semitones = 0;
    this.wantedSemitones = 0;
    this.opening = null;
    this.strips = new Map(names.map((name, place) => [name, this.strip(place)]));
    this.clock = { position: 0, time: 0, playing: false, waits: false };
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
    const { position, time, playing, waits } = this.clock;
    const since = playing && !waits ? Math.min(0.1, Math.max(0, this.context.currentTime - time)) : 0;
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

  /** RMS of the tracks at these gains, by name, over all that is here. */
  loudness(gains) {
    return this.mixed.loudness(gains);
  }

  /** Takes a piece that was missing; its samples go over to the audio thread. */
  fill({ start, tracks }) {
    this.mixed.add(tracks);
    this.transport.send("fill", { start, tracks: tracks.map((channels) => channels.map(words)) });
  }

  close() {
    this.transport.send("end");
    this.context.close();
  }
}

/** float32 as 16-bit words. */
const words = (samples) => Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(32768 * sample))));

/** What mixes of tracks weigh, by the products of all pairs of them; the sum of all tracks is one, too. */
class Mixed {
  constructor(names, sumName) {
    this.names = names;
    this.sumName = sumName;
    this.products = names.map(() => names.map(() => 0));
    this.count = 0;
  }

  /** @param tracks channels of each: some samples of their first are looked at */
  add(tracks) {
    const signals = tracks.map(([first]) => first);
    const length = Math.max(...signals.map((signal) => signal.length));
    const step = Math.max(1, Math.floor(length / LOUDNESS_SAMPLES));
    for (let a = 0; a < signals.length; a++) {
      for (let b = 0; b <= a; b++) {
        let sum = 0;
        for (let i = 0; i < length; i += step) sum += (signals[a][i] || 0) * (signals[b][i] || 0);
        this.products[a][b] += step * sum;
        if (a !== b) this.products[b][a] += step * sum;
      }
    }
    this.count += length;
  }

  /** RMS of the tracks at these gains, by name. */
  loudness(gains) {
    const all = gains.get(this.sumName) ?? 0;
    const weights = this.names.map((name) => (gains.get(name) ?? 0) + all);
    let power = 0;
    this.products.forEach((row, a) => row.forEach((product, b) => (power += weights[a] * weights[b] * product)));
    return Math.sqrt(Math.max(0, power) / Math.max(1, this.count));
  }
}
