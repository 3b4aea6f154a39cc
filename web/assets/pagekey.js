// The second half of the sign-in: a key that the broker gives to this page alone. The cookie goes to every port of the
// host, so other programs of this machine may learn it; what is stored here belongs to this origin, port included.

const NAME = "countersign.x";
const SHAPE = /^#x=([\w-]{43})$/;

/** Takes the key out of the address, where a one-time link leaves it; run before anything else reads the address. */
export function takePageKey() {
  const found = SHAPE.exec(location.hash);
  if (!found) return;
  keepPageKey(found[1]);
  history.replaceState(history.state, "", location.pathname + location.search);
}

/** The key, or null where this browser has none. */
export function pageKey() {
  try {
    return localStorage.getItem(NAME);
  } catch {
    return null;
  }
}

/** Keeps the key for all windows of this origin; null forgets it. */
export function keepPageKey(key) {
  try {
    if (key) localStorage.setItem(NAME, key);
    else localStorage.removeItem(NAME);
  } catch {
    // A browser that stores nothing cannot decide; the page says so when it finds no key.
  }
}
