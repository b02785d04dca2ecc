/* Another key while it plays: the whole mix, after its faders, through Signalsmith Stretch on the audio thread. One pair
 * of channels is transposed whatever the number of stems, and stems cannot drift apart by it. The module comes when a
 * visitor first transposes; in the key as sung nothing is in the way of the sound.
 */

import { unreachable } from "./api.js";

const MODULE = new URL("vendored/SignalsmithStretch.mjs", import.meta.url).href;
const FORMANTS_FROM = 3; // semitones: from here on voices would sound like other people's
const FORMANT_BASE_HZ = 100; // how finely formants are looked for: the lowest error of 60, 100, 150, 220 and 400
// Steady tones come out within a cent of their pitch; with the library's own 30 ms it was 5.
const BLOCKS = { blockMs: 120, intervalMs: 15 };
const HALF_TONES = 12; // most, up or down

export const SEMITONES = Array.from({ length: 2 * HALF_TONES + 1 }, (_, i) => HALF_TONES - i);

/** Worklets are there on HTTPS and on this machine only. */
export const canTranspose = () => "AudioWorkletNode" in window && window.isSecureContext;

/** @param {BaseAudioContext} context */
export async function openTransposer(context) {
  const { default: SignalsmithStretch } = await import(MODULE).catch(() => Promise.reject(unreachable()));
  SignalsmithStretch.moduleUrl = MODULE; // else it would make its worklet of a blob
  const node = await SignalsmithStretch(context, { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [2] });
  await node.configure(BLOCKS);
  const delaySeconds = await node.latency();
  return {
    node,
    delaySeconds,
    /** Half tones up; formants stay where they are when it is more than two. */
    set: (semitones) => node.schedule({ active: true, semitones, formantCompensation: Math.abs(semitones) >= FORMANTS_FROM, formantBaseHz: FORMANT_BASE_HZ }),
  };
}
