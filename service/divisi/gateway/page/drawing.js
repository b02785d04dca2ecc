/* What the worker measured, drawn: waveforms from peaks, F0 over spectrograms, strips of confidence. */

import { cssColour } from "./dom.js";

const [LOWEST_HZ, HIGHEST_HZ] = [50, 8000]; // edges of the spectrograms, on a logarithmic scale

/** A canvas's context in CSS pixels, cleared, at the screen's own resolution. */
function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

/** Levels of the tracks of peaks.json as Int8Array pairs of least and most, decoded when first asked for. */
export class Peaks {
  constructor(body, decoded = new Map()) {
    this.body = body;
    this.decoded = decoded;
    // Stems and true sources on one scale; mixtures are louder than any of them and would make them all small.
    const peaks = Object.entries(body.tracks).map(([name, { peak }]) => (["mixture", "resynthesis"].includes(name) ? 0 : peak));
    this.highest = Math.max(1e-6, ...peaks);
  }

  /** The same from samples, for jobs whose worker made none. */
  static of(tracks) {
    const length = Math.max(...tracks.map(({ channels }) => channels[0].length));
    const step = Math.max(64, Math.ceil(length / 4096));
    const body = { levels: [{ samples_per_point: step, num_points: Math.ceil(length / step) }], tracks: {} };
    const decoded = new Map();
    for (const { name, channels } of tracks) {
      const pairs = new Float32Array(2 * body.levels[0].num_points);
      channels[0].forEach((sample, i) => {
        const point = 2 * Math.floor(i / step);
        pairs[point] = Math.min(pairs[point], sample);
        pairs[point + 1] = Math.max(pairs[point + 1], sample);
      });
      const peak = pairs.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
      body.tracks[name] = { peak, levels: [] };
      decoded.set(`${name}/0`, Int8Array.from(pairs, (value) => Math.round((127 * value) / peak)));
    }
    return new Peaks(body, decoded);
  }

  has(name) {
    return name in this.body.tracks;
  }

  /** The coarsest level with at least `numPoints` points. */
  level(name, numPoints) {
    const levels = this.body.levels;
    let place = levels.length - 1;
    while (place > 0 && levels[place].num_points < numPoints) place--;
    const key = `${name}/${place}`;
    if (!this.decoded.has(key)) {
      const bytes = Uint8Array.from(atob(this.body.tracks[name].levels[place]), (letter) => letter.charCodeAt(0));
      this.decoded.set(key, new Int8Array(bytes.buffer));
    }
    return { pairs: this.decoded.get(key), scale: Math.min(1, this.body.tracks[name].peak / this.highest) / 127 };
  }

  draw(canvas, name) {
    const { context, width, height } = surface(canvas);
    if (!this.has(name) || !width) return;
    const { pairs, scale } = this.level(name, width);
    const numPoints = pairs.length / 2;
    context.fillStyle = cssColour(canvas);
    const middle = height / 2;
    for (let x = 0; x < width; x++) {
      const first = Math.floor((x * numPoints) / width);
      const last = Math.max(first + 1, Math.floor(((x + 1) * numPoints) / width));
      let [low, high] = [127, -127];
      for (let i = first; i < last && i < numPoints; i++) {
        low = Math.min(low, pairs[2 * i]);
        high = Math.max(high, pairs[2 * i + 1]);
      }
      const top = middle - high * scale * middle;
      context.fillRect(x, top, 1, Math.max(1, (high - low) * scale * middle));
    }
  }
}

/** Draws the pitch of one voice on the spectrogram's scale. */
export function drawPitch(canvas, pitch, voice, durationSeconds) {
  const { context, width, height } = surface(canvas);
  const track = pitch?.voices?.[voice]?.f0_hz;
  if (!track || !width) return;
  const y = (hz) => height * (1 - Math.log(hz / LOWEST_HZ) / Math.log(HIGHEST_HZ / LOWEST_HZ));
  for (const [colour, thickness] of [["#000a", 4], [cssColour(canvas, "--voice-bright"), 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.lineJoin = "round";
    context.beginPath();
    let before = 0;
    track.forEach((hz, frame) => {
      const x = ((frame * pitch.hop_seconds) / durationSeconds) * width;
      // A leap of more than a fourth from one frame to the next is another note's start, not a glide.
      if (hz > 0 && before > 0 && Math.abs(Math.log2(hz / before)) < 0.42) context.lineTo(x, y(hz));
      else if (hz > 0) context.moveTo(x, y(hz));
      before = hz;
    });
    context.stroke();
  }
}

/** Draws one cell for each step: the surer, the fuller. Where the stem is silent there is none. */
export function drawConfidence(canvas, values, stepSeconds, durationSeconds) {
  const { context, width, height } = surface(canvas);
  context.fillStyle = cssColour(canvas);
  values.forEach((value, step) => {
    if (value === null) return;
    const x = ((step * stepSeconds) / durationSeconds) * width;
    const wide = (stepSeconds / durationSeconds) * width;
    context.globalAlpha = 0.15 + 0.85 * value;
    context.fillRect(x, 0, Math.max(1, wide - 1), height);
  });
}
