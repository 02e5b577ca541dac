// The messages of a thread that are in the document: each with what it is shown as, under the lines of their days.
import { h, place, say } from './dom.js';
import { mark, placeOf, unmark } from './found.js';
import { dayDivider, messageElement, newDivider, reaches } from './message.js';
import { dayKey, dayName } from './time.js';

/** Messages of one sender within this time stand close together. */
const TOGETHER_MS = 5 * 60_000;

export class MessageList {
  element = h('ol.messages');
  /** The id of the message that is being edited. */
  editing = undefined;
  #elements = new Map();
  #unfolded = new Set(); // the keys of long messages that are shown as a whole
  #found; // the seq of the message that a search led to
  #marked; // in it, what was searched for

  constructor(model, actions) {
    Object.assign(this, { model, actions });
  }

  close() {
    unmark(this.#marked);
  }

  /** Another conversation, or the same anew. */
  clear() {
    this.#elements.clear();
    this.#unfolded.clear();
  }

  /** What `window` (a MessageWindow) shows is in the document, and nothing else. Returns whether there is anything. */
  draw(window) {
    const { outgoing, firstNew } = window.timeline;
    const children = [];
    const used = new Set();
    const use = (key, make) => {
      used.add(key);
      if (!this.#elements.has(key)) this.#elements.set(key, make());
      children.push(this.#elements.get(key));
      return children.at(-1);
    };
    let previous = window.before;
    let yesterday = previous && dayKey(previous.createdAt);
    const show = (message, more) => {
      const day = dayKey(message.createdAt);
      if (day !== yesterday) say(use(`day ${day}`, () => dayDivider(message.createdAt)).firstChild, dayName(message.createdAt));
      if (message.seq && message.seq === firstNew) use('new', newDivider);
      const key = this.#key(message);
      const element = use(key, () => messageElement(this.actions));
      element.update(this.#item(message, key, previous, more));
      element.key = key;
      previous = message;
      yesterday = day;
    };
    for (const message of window.messages) {
      const edited = this.model.outbox.edited(message);
      show(edited, edited !== message && { state: 'queued' });
    }
    if (window.isAtEnd) {
      for (const { at, state, error, ...message } of outgoing.values()) {
        show({ ...message, senderId: this.model.userId, createdAt: at }, { state, error });
      }
    }
    for (const key of this.#elements.keys()) if (!used.has(key)) this.#elements.delete(key);
    place(this.element, children);
    return children.length > 0;
  }

  /** What a message is shown as, after `previous`. */
  #item(message, key, previous, more) {
    const { userId, latencies } = this.model;
    const mine = message.senderId === userId;
    return {
      message,
      mine,
      joined: previous?.senderId === message.senderId && Date.parse(message.createdAt) - Date.parse(previous.createdAt) < TOGETHER_MS,
      state: mine ? (message.isRead ? 'read' : 'sent') : '',
      found: message.seq === this.#found && this.#found !== undefined,
      editing: message.id === this.editing && this.editing !== undefined,
      latency: latencies.get(message.id),
      unfolded: this.#unfolded.has(key),
      ...more,
    };
  }

  /** One's own is the same while it is sent and when it is stored. */
  #key({ senderId, clientMessageId, id }) {
    return `message ${(senderId === this.model.userId && clientMessageId) || id}`;
  }

  /** Shows a long message as a whole, or folds it again. Returns whether it was folded. */
  fold(element) {
    const folds = this.#unfolded.delete(element.key);
    if (!folds) this.#unfolded.add(element.key);
    return folds;
  }

  /** A search has led to the message `seq`; without one, none has. */
  find(seq) {
    this.#found = seq;
    unmark(this.#marked);
  }

  /** Where in `message` the `snippet` that a search has found stands; undefined where it does not. It is shown so far from now on. */
  placeOf(message, snippet) {
    const found = message.deletedAt ? undefined : placeOf(message.content, snippet);
    if (found && !reaches(message.content, found.end)) this.#unfolded.add(this.#key(message));
    return found;
  }

  /** Marks that place of the message that was found: `{element, range}`, what of it is there. */
  mark(found) {
    const element = this.element.querySelector('.found');
    if (!element) return {};
    this.#marked = found && mark(element.querySelector('.content'), found);
    return { element, range: this.#marked };
  }

  /** The line above what is new, with the day that begins there. */
  get newLine() {
    return this.element.querySelector('.day:has(+ .new)') ?? this.element.querySelector('.new');
  }
}
