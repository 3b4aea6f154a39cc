// The websocket that follows the ledger: resumes after the last cursor, backs off while the broker is away, and notices
// a line that is only half open.

const QUIET_LIMIT = 45_000;
const FIRST_PAUSE = 400;
const LONGEST_PAUSE = 8_000;
const CURSOR_UNKNOWN = 4410;

/**
 * Follows the ledger until `close()`.
 * `onEntry(frame)` gets entries and notes; `onUp()` runs at each (re)connection; `onDown()` when the line is lost;
 * `onLostPlace()` when the broker does not know the cursor any more; `probe()` resolves while the broker answers.
 */
export function follow({ cursor, onEntry, onUp, onDown, onLostPlace, probe }) {
  const line = { cursor, socket: null, pause: FIRST_PAUSE, timer: 0, lastSeen: 0, closed: false };

  function connect() {
    clearTimeout(line.timer);
    if (line.closed || line.socket) return;
    const query = new URLSearchParams({ only: "reviewed" });
    if (line.cursor) query.set("after", line.cursor);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/live?${query}`);
    line.socket = socket;
    socket.onopen = () => {
      line.lastSeen = Date.now();
      line.pause = FIRST_PAUSE;
      onUp();
    };
    socket.onmessage = (message) => {
      line.lastSeen = Date.now();
      receive(message.data);
    };
    socket.onclose = (event) => lost(socket, event.code);
  }

  function receive(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame.cursor) line.cursor = frame.cursor;
    onEntry(frame);
  }

  function lost(socket, code) {
    if (line.socket !== socket) return;
    line.socket = null;
    if (line.closed) return;
    if (code === CURSOR_UNKNOWN) {
      line.cursor = null;
      onLostPlace();
    }
    onDown();
    line.timer = setTimeout(connect, line.pause * (0.75 + Math.random() / 2));
    line.pause = Math.min(line.pause * 2, LONGEST_PAUSE);
  }

  async function watch() {
    const socket = line.socket;
    if (!socket || socket.readyState !== WebSocket.OPEN || Date.now() - line.lastSeen < QUIET_LIMIT) return;
    try {
      await probe();
      line.lastSeen = Date.now();
    } catch {
      socket.onclose = null;
      socket.close();
      lost(socket, 0);
    }
  }

  function hurry() {
    if (document.visibilityState !== "visible" || line.socket) return;
    line.pause = FIRST_PAUSE;
    connect();
  }

  const watchdog = setInterval(watch, 5_000);
  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  connect();

  return {
    /** Sets where the next connection goes on. */
    setCursor(next) { line.cursor = next; },
    close() {
      line.closed = true;
      clearTimeout(line.timer);
      clearInterval(watchdog);
      removeEventListener("online", hurry);
      document.removeEventListener("visibilitychange", hurry);
      line.socket?.close();
    },
  };
}
