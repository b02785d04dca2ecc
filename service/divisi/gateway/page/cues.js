/* Clicks and tones beside the music: a count-in, the note to begin on, a cue before an entry. Made here, not recorded. */

const [FIRST_CLICK_HZ, CLICK_HZ] = [1760, 1320];
const CLICK_SECONDS = 0.04;
const FADE_SECONDS = 0.02;

export class Cues {
  /** @param {BaseAudioContext} context whose clock they keep */
  constructor(context) {
    this.context = context;
    this.open();
  }

  open() {
    this.out = new GainNode(this.context);
    this.out.connect(this.context.destination);
  }

  /** Clicks on every beat from `start` on, the first one higher. */
  count(beats, secondsPerBeat, start) {
    for (let beat = 0; beat < beats; beat++) {
      this.sound("square", beat ? CLICK_HZ : FIRST_CLICK_HZ, start + beat * secondsPerBeat, CLICK_SECONDS, 0.2);
    }
  }

  /** A plain tone to take a pitch from. */
  tone(hertz, seconds, loudness = 0.4) {
    this.sound("triangle", hertz, this.context.currentTime + 0.01, seconds, loudness);
  }

  /** @param {OscillatorType} type */
  sound(type, hertz, start, seconds, loudness) {
    const oscillator = new OscillatorNode(this.context, { type, frequency: hertz });
    const gain = new GainNode(this.context, { gain: 0 });
    const fade = Math.min(FADE_SECONDS, seconds / 4);
    gain.gain.setValueAtTime(0, start).linearRampToValueAtTime(loudness, start + (type === "square" ? 0.001 : fade));
    gain.gain.setValueAtTime(loudness, start + seconds - fade).linearRampToValueAtTime(0, start + seconds);
    oscillator.connect(gain).connect(this.out);
    oscillator.start(start);
    oscillator.stop(start + seconds);
  }

  /** Ends what sounds, and what was to sound. */
  silence() {
    this.out.disconnect();
    this.open();
  }
}

/** Tempo of the last taps, in beats a minute; null before there are two. A pause begins anew. */
export class Taps {
  constructor() {
    this.times = [];
  }

  tap(seconds) {
    if (this.times.length && seconds - this.times.at(-1) > LONGEST_BEAT_SECONDS) this.times = [];
    this.times = [...this.times, seconds].slice(-MOST_TAPS);
    const count = this.times.length - 1;
    return count ? (60 * count) / (this.times.at(-1) - this.times[0]) : null;
  }
}

const LONGEST_BEAT_SECONDS = 3;
const MOST_TAPS = 9;
