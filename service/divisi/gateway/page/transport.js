/* Plays many tracks from one position: overlapping grains, cut at the same sample of every track, so that no track can
 * run away from the others. At speed 1 the grains add up to the recording itself; at other speeds each grain is moved
 * by up to a third of its length to where the mixture continues best (WSOLA: Verhelst and Roelands, ICASSP 1993).
 * Seeks and loops are one grain's crossfade. Pure computation: the worklet and the fallback drive it.
 */

const HOP_SECONDS = 0.03; // grains of 60 ms: several periods of a bass, short against a note
const SEARCH = 0.35; // of a hop, to both sides
const COARSE_STEP = 4; // samples
const TEMPLATE_STEP = 8; // samples

export class Transport {
  /**
   * @param {number} sampleRate Hz
   * @param {(Float32Array | Int16Array)[][]} tracks channels of each track, all of one length
   * @param {{hasSum?: boolean, pieceLength?: number}} kind with the sum of all tracks as one more; of tracks that come in
   *   pieces, how many samples a piece has (0: they are all here)
   */
  constructor(sampleRate, tracks, { hasSum = false, pieceLength = 0 } = {}) {
    this.tracks = tracks;
    this.hasSum = hasSum;
    this.pieceLength = pieceLength;
    this.isHere = []; // by piece
    this.waits = false; // for a piece
    this.length = Math.max(0, ...tracks.map((channels) => channels[0].length));
    this.hop = Math.max(128, Math.round((HOP_SECONDS * sampleRate) / 128) * 128);
    this.window = Float32Array.from({ length: 2 * this.hop }, (_, i) => 0.5 - 0.5 * Math.cos((Math.PI * i) / this.hop));
    this.blocks = tracks.map((channels) => channels.map(() => new Float32Array(this.hop)));
    this.tails = tracks.map((channels) => channels.map(() => new Float32Array(this.hop)));
    const most = Math.max(0, ...tracks.map((channels) => channels.length));
    if (hasSum) this.blocks.push(Array.from({ length: most }, () => new Float32Array(this.hop)));
    this.reach = Math.round(this.hop * SEARCH);
    this.wanted = new Float32Array(this.hop); // how the mixture goes on, and where it may be found
    this.around = new Float32Array(this.hop + 2 * (this.reach + COARSE_STEP));
    this.speed = 1;
    this.loop = null; // [first sample, sample after the last]
    this.position = 0; // where the next grain is due
    this.grain = -1; // where the last grain was cut; -1: nothing to continue from
    this.heard = 0; // position of what is being played
    this.cursor = this.hop;
    this.playing = false;
    this.due = null; // when to play; null: nobody has asked
    this.isSilent = false; // nothing sounds any more
  }

  play() {
    if (this.position >= this.length) this.position = 0;
    if (this.isSilent) this.cursor = this.hop; // at once, not where the next grain would have been
    this.playing = true;
    this.due = null;
  }

  /** Takes pieces that were missing: samples of each track's channels from `start` on. */
  fill({ start, tracks }) {
    tracks.forEach((channels, t) => channels.forEach((samples, c) => this.tracks[t][c].set(samples, start)));
    const first = Math.round(start / this.pieceLength);
    const count = Math.ceil(tracks[0][0].length / this.pieceLength);
    for (let piece = first; piece < first + count; piece++) this.isHere[piece] = true;
  }

  /** Whether all that the next grain may need is here. */
  hasNext() {
    if (!this.pieceLength) return true;
    const first = Math.floor(Math.max(0, this.position - this.reach) / this.pieceLength);
    const last = Math.floor(Math.min(this.length - 1, this.position + this.reach + 3 * this.hop) / this.pieceLength);
    for (let piece = first; piece <= last; piece++) if (!this.isHere[piece]) return false;
    return true;
  }

  /** Plays from that time on, by the clock that `tick` is given. */
  playAt(time) {
    this.due = time;
  }

  /** Says what time it is before every stretch that is rendered. */
  tick(time) {
    if (this.due !== null && time >= this.due) this.play();
  }

  pause() {
    this.playing = false;
    this.due = null;
  }

  seek(sample) {
    this.position = Math.min(Math.max(0, Math.round(sample)), this.length);
    this.grain = -1;
    this.heard = this.position;
  }

  setLoop(loop) {
    this.loop = loop && loop[1] - loop[0] >= this.hop ? loop.map((edge) => Math.round(edge)) : null;
    if (this.loop && this.position >= this.loop[1]) this.seek(this.loop[0]);
  }

  /** Fills `outputs[track][channel]` from `offset` on with `count` samples. */
  render(outputs, offset, count) {
    for (let done = 0; done < count; ) {
      if (this.cursor === this.hop) this.nextGrain();
      const some = Math.min(count - done, this.hop - this.cursor);
      for (let t = 0; t < outputs.length; t++) {
        const blocks = this.blocks[t];
        for (let c = 0; c < outputs[t].length; c++) {
          const block = blocks[Math.min(c, blocks.length - 1)];
          outputs[t][c].set(block.subarray(this.cursor, this.cursor + some), offset + done);
        }
      }
      this.cursor += some;
      done += some;
    }
  }

  nextGrain() {
    this.cursor = 0;
    if (this.playing && this.position >= this.length) this.playing = false;
    for (let t = 0; t < this.tails.length; t++) {
      for (let c = 0; c < this.tails[t].length; c++) {
        this.blocks[t][c].set(this.tails[t][c]);
        this.tails[t][c].fill(0);
      }
    }
    this.isSilent = !this.playing && this.grain < 0;
    this.waits = this.playing && !this.hasNext();
    if (!this.playing || this.waits) {
      this.grain = -1;
      this.sumUp();
      return;
    }
    const start = this.chooseStart();
    this.addGrain(start);
    this.sumUp();
    this.heard = start;
    this.grain = start;
    this.position = this.speed === 1 ? start + this.hop : this.position + this.hop * this.speed;
    if (this.loop && start < this.loop[1] && this.position >= this.loop[1]) {
      this.position -= this.loop[1] - this.loop[0];
      this.grain = -1;
    }
  }

  addGrain(start) {
    const { hop, window } = this;
    const from = Math.max(0, -start);
    for (let t = 0; t < this.tracks.length; t++) {
      for (let c = 0; c < this.tracks[t].length; c++) {
        const signal = this.tracks[t][c];
        const scale = scaleOf(signal);
        const until = Math.min(2 * hop, signal.length - start);
        const block = this.blocks[t][c];
        const tail = this.tails[t][c];
        for (let i = from; i < Math.min(hop, until); i++) block[i] += scale * window[i] * signal[start + i];
        for (let i = Math.max(hop, from); i < until; i++) tail[i - hop] = scale * window[i] * signal[start + i];
      }
    }
  }

  /** The sum of all tracks' blocks in the last one. */
  sumUp() {
    if (!this.hasSum) return;
    this.blocks.at(-1).forEach((sum, c) => {
      sum.fill(0);
      for (let t = 0; t < this.tracks.length; t++) {
        const block = this.blocks[t][Math.min(c, this.blocks[t].length - 1)];
        for (let i = 0; i < sum.length; i++) sum[i] += block[i];
      }
    });
  }

  chooseStart() {
    const due = Math.round(this.position);
    const natural = this.grain + this.hop;
    if (this.grain < 0 || due === natural) return due;
    const first = due - this.reach - COARSE_STEP;
    this.mixDown(this.wanted, natural);
    this.mixDown(this.around, first);
    let best = this.bestStart(first, due - this.reach, due + this.reach, COARSE_STEP);
    best = this.bestStart(first, best - COARSE_STEP + 1, best + COARSE_STEP - 1, 1);
    return best;
  }

  /** The start in [first, last] whose grain is most like the natural continuation; `around` begins at `origin`. */
  bestStart(origin, first, last, step) {
    const { wanted, around, hop } = this;
    let best = Math.max(0, first);
    let bestScore = -Infinity;
    for (let start = best; start <= last; start += step) {
      let product = 0;
      let energy = 1e-9;
      for (let i = 0; i < hop; i += TEMPLATE_STEP) {
        const sample = around[start - origin + i];
        product += sample * wanted[i];
        energy += sample * sample;
      }
      const score = product / Math.sqrt(energy);
      if (score > bestScore) [best, bestScore] = [start, score];
    }
    return best;
  }

  /** All tracks from `start` on as one channel. */
  mixDown(into, start) {
    into.fill(0);
    const from = Math.max(0, -start);
    for (const channels of this.tracks) {
      for (const signal of channels) {
        const scale = scaleOf(signal);
        const until = Math.min(into.length, signal.length - start);
        for (let i = from; i < until; i++) into[i] += scale * signal[start + i];
      }
    }
  }
}

/** Full scale is 1. */
const scaleOf = (signal) => (signal instanceof Int16Array ? 1 / 32768 : 1);
