// How long each message took to get here.

const KEPT = 1000;
/** An older message was not sent a moment ago: of a replay it would be an age. */
const MOST_MS = 5_000;

/** When each message left, by clientMessageId: both panes of the page share the clock and this table. */
const departures = new Map();

function keep(map, key, value) {
  map.set(key, value);
  if (map.size > KEPT) map.delete(map.keys().next().value);
}

export const departed = (clientMessageId) => keep(departures, clientMessageId, performance.now());

export class Latencies {
  #all = new Map();

  /** `{ms, exact}` of the message with that id, where it is known. */
  get(id) {
    return this.#all.get(id);
  }

  /** Without the departure it is a difference of two clocks. */
  arrived({ id, clientMessageId, createdAt }) {
    const left = departures.get(clientMessageId);
    const ms = left ? performance.now() - left : Date.now() - Date.parse(createdAt);
    if (left || (ms >= 0 && ms < MOST_MS)) keep(this.#all, id, { ms, exact: Boolean(left) });
  }
}
