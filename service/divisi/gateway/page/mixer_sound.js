/* The player of a mixer's stems: by their previews, heard as soon as a piece of each is here, or by the files themselves. */

import { Peaks } from "./drawing.js";
import { t } from "./language.js";
import { keepFiles } from "./offline.js";
import { loadTracks, Player, playingRate } from "./player.js";
import { PreviewStream } from "./preview_stream.js";
import { showProblem } from "./problem_view.js";

/** The sum of stems and residual, which is the recording. */
export const MIXTURE = "mixture";

const sumName = (mixer) => (mixer.bar.canCompare ? MIXTURE : undefined);

/** The stems themselves, fetched and decoded one after the other. */
export async function openStems(mixer, signal) {
  const { input } = mixer.job;
  const rate = playingRate(input, mixer.rows.length);
  const onProgress = (place, count) => mixer.bar.say(t("loading.count", { place: place + 1, count }));
  const tracks = await loadTracks(mixer.rows.map(({ track }) => track), rate, { signal, onProgress });
  if (!mixer.peaks) {
    mixer.peaks = Peaks.of(tracks);
    mixer.draw();
  }
  const player = await Player.open(tracks, rate, signal, { sumName: sumName(mixer) });
  mixer.bar.say(rate < (input.sample_rate ?? 0) / 1.5 ? t("mixer.less-treble") : "");
  return player;
}

/** Previews; what follows the first piece comes while it plays. */
export async function openPreviews(mixer, signal) {
  mixer.bar.say(t("loading"));
  const files = mixer.rows.map(({ track }) => ({ name: track.name, href: track.preview }));
  const stream = new PreviewStream(files, mixer.seconds, signal);
  await stream.open((facts) => playingRate(facts, files.length, 2));
  const first = await stream.bring(stream.pieceAt(mixer.position), 1);
  const player = await Player.open(stream.emptyTracks(), stream.rate, signal, { sumName: sumName(mixer), pieceLength: stream.pieceLength });
  const give = (piece) => {
    player.fill(piece);
    if (mixer.hearsMixture) mixer.balance(); // as loud as the stems that are here
  };
  give(first);
  // For the next time, without a network; where there is no room for it, there is none.
  const keep = (whole) => whole && keepFiles(new Map(whole)).catch(() => {});
  stream.run(() => player.position, give).then(keep, showProblem);
  mixer.bar.say("");
  return player;
}
