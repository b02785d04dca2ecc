/* The transport on the audio thread: one output for each track, all from one call of `render`. */

import { Transport } from "./transport.js";

class TransportProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.transport = null;
    this.port.onmessage = ({ data: [name, value] }) => {
      if (name === "load") this.transport = new Transport(sampleRate, value[0], value[1]);
      else if (name === "end") this.ended = true;
      else if (name === "speed") this.transport.speed = value;
      else this.transport[name](value);
      this.shown = -1;
    };
  }

  process(_, outputs) {
    if (this.ended) return false;
    const { transport } = this;
    if (!transport) return true;
    transport.tick(currentTime);
    transport.render(outputs, 0, outputs[0][0].length);
    const shown = transport.playing && !transport.waits ? transport.heard : -2 - Number(transport.waits);
    if (shown !== this.shown) {
      this.shown = shown;
      this.port.postMessage({ position: transport.heard, time: currentTime, playing: transport.playing, waits: transport.waits });
    }
    return true;
  }
}

registerProcessor("transport", TransportProcessor);
