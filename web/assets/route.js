// Client-side paths: the server answers each of them with the same page, so every address can be opened directly.

import { useEffect, useState } from "./vendor/preact-htm.js";

const listeners = new Set();

/** Goes to a path of this site without loading the page anew. */
export function go(path) {
  history.pushState(null, "", path);
  scrollTo(0, 0);
  listeners.forEach((listener) => listener());
}

/** Puts another address in the place of the present one: what changes while one types is no step to go back to. */
export function become(path) {
  history.replaceState(null, "", path);
  listeners.forEach((listener) => listener());
}

/** The present address: `{path, query}`; re-renders on each move. */
export function useRoute() {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((n) => n + 1);
    listeners.add(listener);
    addEventListener("popstate", listener);
    return () => { listeners.delete(listener); removeEventListener("popstate", listener); };
  }, []);
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

/** Lets plain clicks on links of this site move inside the page. */
export function followLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (link.origin !== location.origin || link.target || link.pathname.startsWith("/api/")) return;
    event.preventDefault();
    go(link.pathname + link.search + link.hash);
  });
}
