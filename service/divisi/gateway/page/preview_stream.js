/* Stems to hear at once: previews, which are MP3 files of a constant rate, fetched and decoded piece by piece, from where
 * it plays onwards. All frames of such a file are equally long, in bytes as in samples, so a stretch of time is a range of
 * bytes. A piece is decoded with some frames before it, which only bring the decoder to where it would be.
 */

import { bytesBetween, isFinal, MOST_SILENT } from "./api.js";

const FRAME_SAMPLES = 1152;
const DELAY_SAMPLES = 1105; // that encoder and decoder put in front: LAME's 576, and 529
const LEAD_FRAMES = 10; // bits of a frame may lie up to 511 bytes before it, and each frame overlaps the last one
const TAIL_FRAMES = 2;
const PIECE_FRAMES = 56; // two seconds
const PIECES_AHEAD = 5; // in one go, where nothing waits for them
const RETRY_SECONDS = 2;
const KBPS = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const RATES = [44100, 48000, 32000];

/** What the header of an MPEG 1, layer III frame says.
 * @param {Iterable<number>} header its four bytes
 */
export function frameOf(header) {
  const [, , third, fourth] = [...header];
  const rate = RATES[(third >> 2) & 3];
  return { rate, numBytes: Math.floor((144000 * KBPS[third >> 4]) / rate), numChannels: fourth >> 6 === 3 ? 1 : 2 };
}

export class PreviewStream {
  /**
   * @param {{name: string, href: string}[]} files
   * @param {number} seconds of the recording
   * @param {AbortSignal} signal by which it ends
   */
  constructor(files, seconds, signal) {
    this.files = files;
    this.seconds = seconds;
    this.signal = signal;
    this.parts = files.map(() => []); // bytes of each file, by piece
  }

  /** Looks at the first file; all are of one kind. `rateFor` chooses the rate to play at, in Hz. */
  async open(rateFor) {
    const { rate, numBytes, numChannels } = frameOf(new Uint8Array(await bytesBetween(this.files[0].href, 0, 4, this.signal)));
    this.numBytes = numBytes;
    this.numChannels = numChannels;
    this.rate = rateFor({ sample_rate: rate, num_samples: this.seconds * rate, num_channels: numChannels });
    this.share = this.rate / rate;
    this.pieceLength = PIECE_FRAMES * FRAME_SAMPLES * this.share;
    this.length = Math.ceil(this.seconds * this.rate);
    this.isHere = new Array(Math.ceil(this.length / this.pieceLength)).fill(false);
    this.decoder = new OfflineAudioContext(1, 1, this.rate);
  }

  /** Room for all there will be: 16 bits a sample, as long as the recording. */
  emptyTracks() {
    const channels = () => Array.from({ length: this.numChannels }, () => new Int16Array(this.length));
    return this.files.map(({ name }) => ({ name, channels: channels() }));
  }

  pieceAt(seconds) {
    return Math.min(this.isHere.length - 1, Math.floor((seconds * this.rate) / this.pieceLength));
  }

  /** Fetches all, what is about to be heard first. `whereNow` says where that is, in seconds; `give` takes the pieces.
   * @returns {Promise<[string, Blob][] | undefined>} the files, by address; nothing when it was given up
   */
  async run(whereNow, give) {
    for (let failed = 0; !this.signal.aborted; ) {
      const piece = this.missingFrom(this.pieceAt(whereNow()));
      if (piece < 0) return this.files.map(({ href }, file) => [href, new Blob(this.parts[file].filter(Boolean), { type: "audio/mpeg" })]);
      const isUrgent = piece === this.pieceAt(whereNow());
      try {
        give(await this.bring(piece, isUrgent ? 1 : PIECES_AHEAD));
        failed = 0;
      } catch (error) {
        failed += 1;
        if (isFinal(error) || failed === MOST_SILENT) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_SECONDS * 1000));
      }
    }
  }

  missingFrom(piece) {
    const later = this.isHere.indexOf(false, piece);
    return later < 0 ? this.isHere.indexOf(false) : later;
  }

  /** Fetches some pieces of every file, from this one to the next that is there. */
  async bring(piece, most) {
    const until = this.isHere.indexOf(true, piece);
    const end = Math.min(piece + most, until < 0 ? this.isHere.length : until);
    const tracks = await Promise.all(this.files.map((_, file) => this.decode(file, piece, end)));
    this.isHere.fill(true, piece, end);
    return { start: Math.round(piece * this.pieceLength), tracks };
  }

  /** Samples of one file, from one piece to another: float32 for each channel. */
  async decode(file, piece, end) {
    const first = Math.max(0, piece * PIECE_FRAMES - LEAD_FRAMES);
    const after = end * PIECE_FRAMES + TAIL_FRAMES;
    // The first frame of the file holds no audio; it comes with the first piece.
    const from = piece === 0 ? 0 : (first + 1) * this.numBytes;
    const asked = await bytesBetween(this.files[file].href, from, (after + 1) * this.numBytes, this.signal);
    const own = (frames) => Math.max(0, (frames + 1) * this.numBytes - from);
    this.parts[file][piece] = asked.slice(piece === 0 ? 0 : own(piece * PIECE_FRAMES), end === this.isHere.length ? undefined : own(end * PIECE_FRAMES));
    const bytes = piece === 0 ? asked.slice(this.numBytes) : asked;
    const whole = Math.floor(bytes.byteLength / this.numBytes) * FRAME_SAMPLES * this.share;
    const buffer = await this.decoder.decodeAudioData(bytes);
    // Where a decoder leaves out samples at the start, as some do, it is so many less.
    const skipped = Math.max(0, Math.round(whole) - buffer.length);
    const start = Math.round(((piece * PIECE_FRAMES - first) * FRAME_SAMPLES + DELAY_SAMPLES) * this.share) - skipped;
    const length = Math.min(Math.round(end * this.pieceLength), this.length) - Math.round(piece * this.pieceLength);
    return Array.from({ length: this.numChannels }, (_, c) => {
      const decoded = buffer.getChannelData(Math.min(c, buffer.numberOfChannels - 1)).subarray(start, start + length);
      const samples = new Float32Array(length);
      samples.set(decoded);
      return samples;
    });
  }
}
