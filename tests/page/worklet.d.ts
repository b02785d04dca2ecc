// What an AudioWorklet has beside the language; TypeScript's own libraries know pages only.
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare const currentTime: number;
declare const sampleRate: number;
declare function registerProcessor(name: string, processor: new (options?: any) => AudioWorkletProcessor): void;
