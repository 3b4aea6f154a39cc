// Times for people: relative words with the absolute beside them, and countdowns that all tick on one timer.

import { html, useEffect, useState } from "./vendor/preact-htm.js";

// The page is in English, with the clock that has no noon to mistake.
const LOCALE = "en-GB";
const listeners = new Set();
setInterval(() => listeners.forEach((listener) => listener()), 1_000);

/** The present in milliseconds, renewed each second. */
export function useNow() {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const listener = () => set(Date.now());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return now;
}

/** `11:42`, or `2:03:11`, or `3 d 4 h`; never negative. */
export function clock(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [d, h, m, s] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h}:${two(m)}:${two(s)}`;
  return `${m}:${two(s)}`;
}

/** `9 s left`, `12 min left`, `2 h 5 min left`, `3 d 4 h left`: in a list, where a clock would be taken for a time of day. */
export function left(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [d, h, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (d > 0) return `${d} d ${h} h left`;
  if (h > 0) return `${h} h ${m} min left`;
  return m > 0 ? `${m} min left` : `${seconds} s left`;
}

/** `just now`, `3 min ago`, `2 h ago`, then a date. */
export function ago(iso, now) {
  const then = Date.parse(iso);
  const seconds = Math.round((now - then) / 1000);
  if (Number.isNaN(then)) return "";
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return day(iso, now);
}

/** The time of day when it was today, else the date: what a list of settled calls shows. */
export function when(iso, now) {
  return isToday(iso, now) ? hourMinute(iso) : day(iso, now);
}

/** `14:05`: under a heading that says the day. */
export const hourMinute = (iso) => new Date(iso).toLocaleTimeString(LOCALE, { hour: "2-digit", minute: "2-digit" });

export function isToday(iso, now = Date.now()) {
  return new Date(iso).toDateString() === new Date(now).toDateString();
}

/** The time of day with seconds. */
export function clockTime(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? String(iso) : date.toLocaleTimeString(LOCALE);
}

/** `Saturday 21 November`: the heading over a day's calls. */
export const longDay = (iso) => new Date(iso).toLocaleDateString(LOCALE, { weekday: "long", day: "numeric", month: "long" });

/** `1.2 s`, `340 ms`, `4 min`: how long something took. */
export function took(milliseconds) {
  if (milliseconds < 1_000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (milliseconds < 3_600_000) return `${Math.round(milliseconds / 60_000)} min`;
  return `${(milliseconds / 3_600_000).toFixed(1)} h`;
}

/** A time that stays right: `3 min ago`, with the absolute time on hover. */
export function Ago({ at }) {
  const now = useNow();
  return at ? html`<time datetime=${at} title=${absolute(at)}>${ago(at, now)}</time>` : null;
}

/** The time left until `at`, as `words` has it; under a minute it is set in bold. */
export function Countdown({ at, words = clock }) {
  const now = useNow();
  const rest = Date.parse(at) - now;
  return html`<time datetime=${at} title=${absolute(at)} class=${rest < 60_000 ? "left soon" : "left"}>${words(rest)}</time>`;
}

/** Date and time with seconds and zone. */
export function absolute(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? String(iso) : date.toLocaleString(LOCALE, { dateStyle: "medium", timeStyle: "long" });
}

function day(iso, now) {
  const date = new Date(iso);
  const sameYear = date.getFullYear() === new Date(now).getFullYear();
  return date.toLocaleDateString(LOCALE, { day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) });
}
