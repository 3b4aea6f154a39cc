// One-key shortcuts: off while typing, while a dialog is open, for half a second after the list moved under the reviewer,
// and for good when the reviewer says so (WCAG 2.1.4).

import { useEffect } from "./vendor/preact-htm.js";

const SETTLE = 500;
const OFF = "countersign.keys.off";
let deadUntil = 0;

/** What the keys do, for the help sheet. */
export const KEYS = [
  ["j  k", "next, previous call"], ["Enter", "open the call"], ["a", "approve (low severity at once; medium asks for Enter; never high or critical)"],
  ["d", "deny (high and critical ask for Enter)"], ["r", "write a reason"], ["/", "filter"], ["?", "this help"], ["Esc", "back, or leave the field"],
];

/** Makes the shortcuts deaf for a moment: what is selected is not what it was when the finger moved. */
export function settle() {
  deadUntil = performance.now() + SETTLE;
}

export const keysOff = () => localStorage.getItem(OFF) === "1";
export const setKeysOff = (off) => (off ? localStorage.setItem(OFF, "1") : localStorage.removeItem(OFF));

/** Runs `handlers[key]` for plain key presses while the component is on the page. */
export function useKeys(handlers) {
  useEffect(() => {
    const listener = (event) => {
      const handler = handlers[event.key];
      if (!handler || event.ctrlKey || event.metaKey || event.altKey || event.repeat && !"jk".includes(event.key)) return;
      if (event.key !== "Escape" && (keysOff() || isTyping(event.target) || document.querySelector("dialog[open]"))) return;
      // Enter and space on a control belong to that control.
      if (event.key === "Enter" && event.target.closest?.("button, a, summary, input, textarea, select")) return;
      if ("ad".includes(event.key) && performance.now() < deadUntil) return;
      event.preventDefault();
      handler(event);
    };
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  });
}

const isTyping = (element) => element.matches?.("input, textarea, select, [contenteditable]");
