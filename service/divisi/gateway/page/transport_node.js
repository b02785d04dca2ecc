/* The transport as a node with one output for each track: on the audio thread, or, where a page that came over plain
 * HTTP from another machine gets no worklets, in a script processor, which every browser still has.
 */

import { unreachable } from "./api.js";
import { Transport } from "./transport.js";

const SCRIPT_FRAMES = 4096;
const MOST_SCRIPT_TRACKS = 15; // and their sum

/**
 * @param {BaseAudioContext} context
 * @param tracks channels of each
 * @param {{hasSum?: boolean, pieceLength?: number}} kind as `Transport` has it
 */
export async function openTransport(context, tracks, kind = {}) {
  return context.audioWorklet ? openWorklet(context, tracks, kind) : openScript(context, tracks, kind);
}

async function openWorklet(context, tracks, kind) {
  // A module that cannot be fetched is reported as an AbortError, which elsewhere is the visitor's own doing.
  await context.audioWorklet.addModule(new URL("transport_worklet.js", import.meta.url)).catch(() => Promise.reject(unreachable()));
  const numberOfOutputs = tracks.length + Number(kind.hasSum ?? false);
  const node = new AudioWorkletNode(context, "transport", {
    numberOfInputs: 0,
    numberOfOutputs,
    outputChannelCount: new Array(numberOfOutputs).fill(2),
  });
  const opened = {
    onclock: null,
    connect: (track, destination) => node.connect(destination, track),
    send: (name, value) => node.port.postMessage([name, value]),
  };
  node.port.onmessage = ({ data }) => opened.onclock?.(data);
  node.port.postMessage(["load", [tracks, kind]], tracks.flat().map(({ buffer }) => buffer));
  return opened;
}

function openScript(context, tracks, kind) {
  const transport = new Transport(context.sampleRate, tracks.slice(0, MOST_SCRIPT_TRACKS), kind);
  const width = 2 * transport.blocks.length;
  const node = context.createScriptProcessor(SCRIPT_FRAMES, 0, width);
  const splitter = new ChannelSplitterNode(context, { numberOfOutputs: width });
  node.connect(splitter);
  const opened = {
    onclock: null,
    connect(track, destination) {
      const pair = new ChannelMergerNode(context, { numberOfInputs: 2 });
      for (const side of [0, 1]) if (2 * track < width) splitter.connect(pair, 2 * track + side, side);
      pair.connect(destination);
    },
    send(name, value) {
      if (name === "speed") transport.speed = value;
      else if (name === "end") node.disconnect();
      else transport[name](value);
    },
  };
  node.onaudioprocess = ({ outputBuffer, playbackTime }) => {
    const outputs = transport.blocks.map((_, t) => [outputBuffer.getChannelData(2 * t), outputBuffer.getChannelData(2 * t + 1)]);
    transport.tick(playbackTime);
    transport.render(outputs, 0, SCRIPT_FRAMES);
    opened.onclock?.({ position: transport.heard, time: playbackTime, playing: transport.playing, waits: transport.waits });
  };
  return opened;
}
