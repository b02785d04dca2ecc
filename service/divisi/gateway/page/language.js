/* The page in the visitor's language: a file of words for each, of which the page loads one. The choice stays in this
 * browser. What the service says of one recording or model (the detail of a problem, a card) is English everywhere.
 */

import { keptAs } from "./place.js";

export const LANGUAGES = { en: "English", de: "Deutsch", es: "Español", fr: "Français", it: "Italiano" };
const STORED = keptAs("language");

let words = {};
let language = "en";
let locale = "en"; // the same with the visitor's country, for dates

/** The language that was chosen here, else the first of the browser's that there is, else English. */
function preferred() {
  const wanted = [localStorage.getItem(STORED) ?? "", ...navigator.languages].map((tag) => tag.slice(0, 2).toLowerCase());
  return wanted.find((code) => code in LANGUAGES) ?? "en";
}

/** Loads the words, and says what `index.html` says in them; everything else is said after it. */
export async function speak(code = preferred()) {
  const response = await fetch(new URL(`words.${code}.json`, import.meta.url));
  words = await response.json();
  language = document.documentElement.lang = code;
  locale = navigator.languages.find((tag) => tag.startsWith(code)) ?? code;
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-words]"))) {
    element.textContent = t(element.dataset.words);
  }
}

export const currentLanguage = () => language;

export const rememberLanguage = (code) => localStorage.setItem(STORED, code);

/** The words of this name, if the language has any. */
export const wordsIfAny = (name) => words[name];

/**
 * The words of this name, with values in place of `{their names}`; where a number decides their form, by `values.count`.
 * @param {string} name
 * @param {Record<string, string | number>} values
 */
export function t(name, values = {}) {
  const found = words[name];
  if (found === undefined) throw new Error(`no words are called ${name}`);
  const text = typeof found === "string" ? found : (found[new Intl.PluralRules(language).select(Number(values.count))] ?? found.other);
  return text.replaceAll(/\{(\w+)\}/g, (_, value) => String(values[value]));
}

export const number = (value, digits = 0) => value.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const percent = (share) => t("percent", { number: number(100 * share) });

/** @param {Intl.DateTimeFormatOptions} style */
export const dateTime = (time, style = { dateStyle: "medium", timeStyle: "short" }) => new Date(time).toLocaleString(locale, style);

export function duration(seconds) {
  if (seconds < 90) return t("seconds", { number: number(Math.max(1, seconds)) });
  return seconds < 5400 ? t("minutes", { number: number(seconds / 60) }) : t("hours", { number: number(seconds / 3600, 1) });
}

/** How much of a stem is its own voice, in words; a share of 0.91 is 10 dB of SI-SDR, 0.7 is 4 dB. */
export const cleanness = (share) => t(share >= 0.85 ? "clean.high" : share >= 0.7 ? "clean.middle" : "clean.low");

/** What a model is called; those that this project makes have words in every language. */
export const modelTitle = (model, title) => wordsIfAny(`model.${model}`) ?? title;

/** A stem as singers call it, within a sentence: the words for its part, the others as they are; `alto_2` is "alto 2". */
export function partWithin(stem) {
  const [, part, rest] = stem.match(/^([a-z]+)(.*)$/) ?? [null, stem, ""];
  return (wordsIfAny(`part.${part}`) ?? part) + rest.replaceAll(/[_-]/g, " ");
}

/** The same by itself: "Alto 2". */
export function partName(stem) {
  const name = partWithin(stem);
  return name.charAt(0).toLocaleUpperCase(language) + name.slice(1);
}
