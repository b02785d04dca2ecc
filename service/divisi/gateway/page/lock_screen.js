/* Controls where the phone has them: on the locked screen, on headphones, in the car. Browsers show them for media elements
 * only, so a silent one plays along; with it they let the sound go on in the background.
 */

const SILENT_SECONDS = 10; // shorter ones are taken for a signal
const SILENT_RATE = 8000;

export class LockScreen {
  /** @param {{title: string, toggle: () => void, skip: (seconds: number) => void, seek: (seconds: number) => void}} mixer */
  constructor({ title, toggle, skip, seek }) {
    const session = navigator.mediaSession;
    if (!session) return;
    this.session = session;
    session.metadata = new MediaMetadata({ title, artist: "divisi", artwork: [{ src: new URL("icon.png", import.meta.url).href, sizes: "512x512", type: "image/png" }] });
    /** @type {Record<string, MediaSessionActionHandler>} */
    const actions = { play: toggle, pause: toggle, seekbackward: () => skip(-5), seekforward: () => skip(5), seekto: ({ seekTime }) => seek(seekTime), previoustrack: () => seek(0) };
    for (const [name, action] of Object.entries(actions)) session.setActionHandler(/** @type {MediaSessionAction} */ (name), action);
    this.address = URL.createObjectURL(silence());
    this.audio = new Audio(this.address);
    this.audio.loop = true;
  }

  /** As it is now; call it when that changes. */
  show({ playing, position, seconds, speed }) {
    if (!this.session) return;
    this.session.playbackState = playing ? "playing" : "paused";
    this.session.setPositionState?.({ duration: seconds, position: Math.min(position, seconds), playbackRate: speed });
    if (playing) this.audio.play().catch(() => {}); // a browser may refuse it; the music plays all the same
    else this.audio.pause();
  }

  close() {
    if (!this.session) return;
    this.audio.pause();
    URL.revokeObjectURL(this.address);
    this.session.metadata = null;
    this.session.playbackState = "none";
    for (const name of ["play", "pause", "seekbackward", "seekforward", "seekto", "previoustrack"]) this.session.setActionHandler(/** @type {MediaSessionAction} */ (name), null);
  }
}

/** Ten seconds of nothing, as a WAV file of 8 bits. */
function silence() {
  const length = SILENT_SECONDS * SILENT_RATE;
  const file = new DataView(new ArrayBuffer(44 + length));
  const text = (at, letters) => [...letters].forEach((letter, i) => file.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  file.setUint32(4, 36 + length, true);
  text(8, "WAVEfmt ");
  [16, 0x00010001, SILENT_RATE, SILENT_RATE, 0x00080001].forEach((value, i) => file.setUint32(16 + 4 * i, value, true));
  text(36, "data");
  file.setUint32(40, length, true);
  new Uint8Array(file.buffer).fill(128, 44);
  return new Blob([file], { type: "audio/wav" });
}
