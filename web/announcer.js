// What a screen reader is told of messages where one looks: of those that arrive, and of one's own that is refused.
import { beginning, fullName, h } from './dom.js';

/** Between two announcements. What comes meanwhile is counted: all of it would have to be said. */
const PAUSE_MS = 3_000;

export class Announcer {
  element = h('div.unseen', { 'aria-live': 'polite' });
  /** Not announced yet. */
  #arrived = [];
  /** The timer, while an announcement is a short time ago. */
  #pause;

  arrived(message) {
    this.#arrived.push(message);
  }

  announce() {
    if (!this.#arrived.length || this.#pause) return;
    const arrived = this.#arrived.splice(0);
    const last = arrived.at(-1);
    this.say(`${arrived.length > 1 ? `${arrived.length} new messages. ` : ''}${fullName(last.sender)}: ${beginning(last.content)}`);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.announce();
    }, PAUSE_MS);
  }

  say(text) {
    this.element.textContent = text;
  }

  /** One looks elsewhere. */
  forget() {
    this.#arrived = [];
  }

  close() {
    clearTimeout(this.#pause);
  }
}
