// The hand-drawn icons: stroke paths on a 24 × 24 field, coloured by the text around them.

import { html } from "./vendor/preact-htm.js";

const PATHS = {
  inbox: ["M4 13l2.500-8h11L20 13v6H4z", "M4 13h5l1 2h4l1-2h5"],
  history: ["M12 4a8 8 0 1 1-7.500 5.200", "M4 4.500v5h5", "M12 8v4.500l3 2"],
  agents: ["M12 5.500a3.500 3.500 0 1 1 0 7 3.500 3.500 0 0 1 0-7z", "M5 20c1-4 4-5.500 7-5.500s6 1.500 7 5.500"],
  policies: ["M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6z"],
  help: ["M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16z", "M9.800 9.800c.2-1.400 1.100-2 2.300-2 1.300 0 2.200.8 2.200 1.900 0 1.700-2.300 1.700-2.300 3.300", "M12 16.200v.1"],
  back: ["M14.500 5.500L8 12l6.500 6.500"],
  next: ["M9.500 5.500L16 12l-6.500 6.500"],
  stop: ["M8.500 3.500h7l5 5v7l-5 5h-7l-5-5v-7z", "M9 12h6"],
  play: ["M8 5.500l10 6.500-10 6.500z"],
  check: ["M5 12.500l4.500 4.500L19 7"],
  cross: ["M6.500 6.500l11 11", "M17.500 6.500l-11 11"],
  link: ["M10 14a4 4 0 0 0 6 .5l2.500-2.500a4 4 0 0 0-5.700-5.700L11.500 7.500", "M14 10a4 4 0 0 0-6-.5L5.500 12a4 4 0 0 0 5.700 5.700l1.300-1.200"],
  server: ["M5 5h14v5.500H5z", "M5 13.500h14V19H5z", "M8 7.800h.1", "M8 16.200h.1"],
  away: ["M4 8.500a12 12 0 0 1 16 0", "M7.500 12.500a7 7 0 0 1 9 0", "M12 17v.1", "M4.500 20L19.500 4"],
  quiet: ["M4 13.500l2-7.500h12l2 7.500V19H4z", "M4 13.500h4.500l1 2h5l1-2H20", "M9.500 10.500h5"],
};

/** One icon; it says nothing to a screen reader, the control around it does. */
export function Icon({ name, size = 20 }) {
  return html`<svg class="icon" viewBox="0 0 24 24" width=${size} height=${size} aria-hidden="true" focusable="false">
    ${PATHS[name].map((d) => html`<path d=${d} />`)}
  </svg>`;
}
