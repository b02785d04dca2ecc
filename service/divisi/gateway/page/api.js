/* The service as the page sees it: JSON, uploads with progress, events that resume, downloads; all with the key. */

import { t } from "./language.js";
import { forgetJobs } from "./offline.js";
import { addressOf, keptAs } from "./place.js";

const KEY = keptAs("key");
export const MOST_SILENT = 10; // seconds for which the service may be away while a job is waited for

/** A refusal: `message` says what happened, `advice` what to do. */
export class Problem extends Error {
  constructor(body, status) {
    super(body.detail ?? body.title ?? t("problem.status", { status }));
    this.code = body.code ?? "";
    this.status = status;
    this.requestId = body.request_id;
    this.advice = body.advice ?? t((body.fault ?? (status >= 500 ? "service" : "caller")) === "service" ? "advice.service" : "advice.caller");
  }

  get wantsKey() {
    return this.status === 401 || this.code === "scope-missing";
  }
}

/** @param what names the words that say what happened */
export const unreachable = (what = "problem.unreachable") => new Problem({ code: "unreachable", detail: t(what), advice: t("advice.unreachable") }, 0);

export const apiKey = {
  get: () => localStorage.getItem(KEY) ?? "",
  set: (key) => {
    if (key.trim() !== apiKey.get()) forgetJobs();
    if (key) localStorage.setItem(KEY, key.trim());
    else localStorage.removeItem(KEY);
  },
};

/** Headers take no other characters; without this it would seem that the service cannot be reached. */
function authorization() {
  const key = apiKey.get();
  if (/[^\x21-\x7e]/.test(key)) throw new Problem({ code: "key-invalid", detail: t("problem.key-characters"), advice: t("advice.another-key") }, 401);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The answer, or a Problem. */
export async function request(path, options = {}) {
  const headers = { ...authorization(), ...options.headers };
  let response;
  try {
    response = await fetch(addressOf(path), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!response.ok) throw new Problem(await response.json().catch(() => ({})), response.status);
  return response;
}

/** The answer's body as "json", "arrayBuffer" or "blob"; it may break off long after the answer began. */
async function bodyOf(response, kind) {
  try {
    return await response[kind]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable("problem.answer-broke");
  }
}

export const getJson = async (path, signal) => bodyOf(await request(path, { signal }), "json");
export const getBytes = async (path, signal) => bodyOf(await request(path, { signal }), "arrayBuffer");
export const bytesBetween = async (path, start, end, signal) => bodyOf(await request(path, { signal, headers: { Range: `bytes=${start}-${end - 1}` } }), "arrayBuffer");
export const getBlob = async (path, signal) => bodyOf(await request(path, { signal }), "blob");

/** What there may be or not: null when the service has none. */
export const getJsonIfAny = (path) => ifAny(getJson(path));

/** JSON, and the tag by which the service knows what was seen of it. */
export async function getTagged(path) {
  const response = await request(path);
  return { body: await bodyOf(response, "json"), tag: response.headers.get("ETag") };
}

/** What is waited for, or null when the service has none. */
export async function ifAny(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Problem && [404, 405, 409].includes(error.status)) return null;
    throw error;
  }
}

/** Sends a form; `onProgress` gets 0..1. Only XMLHttpRequest reports how far an upload is. */
export function upload(form, idempotencyKey, onProgress) {
  const xhr = new XMLHttpRequest();
  const answer = new Promise((resolve, reject) => {
    xhr.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    xhr.onload = () => {
      if (xhr.status < 300) resolve(xhr.response);
      else reject(new Problem(xhr.response ?? {}, xhr.status));
    };
    xhr.onerror = () => reject(unreachable("problem.upload-broke"));
    xhr.onabort = () => reject(new DOMException("cancelled", "AbortError"));
  });
  xhr.open("POST", addressOf("/v1/jobs"));
  xhr.responseType = "json";
  xhr.setRequestHeader("Idempotency-Key", idempotencyKey);
  for (const [name, value] of Object.entries(authorization())) xhr.setRequestHeader(name, value);
  xhr.send(form);
  return { answer, abort: () => xhr.abort() };
}

/** True for what asking again will not change: a refusal, or that it was given up. */
export const isFinal = (error) => error.name === "AbortError" || (error instanceof Problem && error.status >= 400 && error.status < 500);

/** The job's events to their end; resumes where a connection broke off. EventSource could not show the key. */
export async function* events(path, signal) {
  let lastId = "";
  for (let silent = 0; silent < MOST_SILENT; silent++) {
    try {
      const response = await request(path, { signal, headers: lastId ? { "Last-Event-ID": lastId } : {} });
      for await (const event of parseEvents(response.body)) {
        silent = 0;
        lastId = event.id || lastId;
        const body = JSON.parse(event.data);
        yield body;
        if (["succeeded", "failed", "cancelled"].includes(body.state)) return;
      }
    } catch (error) {
      if (isFinal(error)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw unreachable("problem.silent");
}

async function* parseEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const event = {};
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
      }
      text = text.slice(end + 2);
      if (event.data) yield event;
    }
  }
}

/** Saves a file of the service: by its address where that is enough, else through memory, with the key. */
export async function save(path, fileName) {
  if (!apiKey.get()) return saveAddress(addressOf(path), fileName);
  const response = await request(path);
  const [, encoded] = (response.headers.get("Content-Disposition") ?? "").match(/filename\*=utf-8''([^;]+)/i) ?? [];
  return saveAddress(URL.createObjectURL(await bodyOf(response, "blob")), encoded ? decodeURIComponent(encoded) : fileName);
}

/** Saves a text of the page's own as a file. */
export const saveText = (text, fileName) => saveAddress(URL.createObjectURL(new Blob([text], { type: "text/plain" })), fileName);

function saveAddress(address, fileName) {
  const link = document.createElement("a");
  link.href = address;
  link.download = fileName;
  document.body.append(link);
  link.click();
  link.remove();
  if (address.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(address), 60000);
}
