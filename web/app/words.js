// Every word the page says, from locales/*.json; numbers, distances and times as the reader's language writes them.

import { get, put } from "./db.js";

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español", pl: "Polski" };

let language = "en";
let words = {};
let units = "km";
const formats = new Map();

/** The first language of the reader's own list that the page speaks. */
export async function preferred() {
  const kept = await get("kept", "language").catch(() => undefined);
  const wanted = [kept, ...navigator.languages].filter(Boolean).map((tag) => tag.slice(0, 2).toLowerCase());
  return wanted.find((tag) => tag in LANGUAGES) ?? "en";
}

export async function speak(tag) {
  const wanted = tag in LANGUAGES ? tag : "en";
  const answer = await fetch(`locales/${wanted}.json`);
  if (!answer.ok) return;
  words = await answer.json();
  language = wanted;
  document.documentElement.lang = wanted;
  await put("kept", "language", wanted).catch(() => {});
}

export const speaking = () => language;

export function measureIn(wanted) {
  units = wanted === "mi" ? "mi" : "km";
}

/** The text of a key, its {names} filled in; `n` chooses between plural forms. */
export function t(key, values = {}) {
  let text = words[key];
  if (text === undefined) return key;
  if (typeof text === "object") text = text[format("PluralRules", {}).select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

/** The text of `group.code`, or the code itself in readable form where a policy has words of its own. */
export function coded(group, code) {
  const key = `${group}.${code}`;
  return words[key] === undefined ? String(code).replaceAll("_", " ") : t(key);
}

function format(kind, options) {
  const name = kind + language + JSON.stringify(options);
  if (!formats.has(name)) formats.set(name, new Intl[kind](language, options));
  return formats.get(name);
}

export const number = (value) => format("NumberFormat", { maximumFractionDigits: 1 }).format(value);
export const percent = (value) => format("NumberFormat", { style: "percent" }).format(value);

const counted = (value, unit) =>
  format("NumberFormat", { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 0 }).format(value);

export function distance(km) {
  const [unit, value] = units === "mi" ? ["mile", km / 1.609344] : ["kilometer", km];
  const digits = value < 10 ? 1 : 0;
  return format("NumberFormat", { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }).format(value);
}

/** A length of time in two units at most: 2 days 3 hr, 3 hr 5 min, 4 min 10 sec. */
export function length(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const found = parts.findIndex(([, size]) => seconds >= size);
  const first = found < 0 ? parts.length - 1 : found;
  return parts
    .slice(first, first + 2)
    .map(([unit, size], place) => counted(Math.floor((place ? seconds % parts[first][1] : seconds) / size), unit))
    .join(" ");
}

export function moment(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  return format("DateTimeFormat", today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" }).format(at);
}

export function country(code) {
  try {
    return format("DisplayNames", { type: "region" }).of(code);
  } catch {
    return code;
  }
}
