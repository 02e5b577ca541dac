// What is told of something that one need not look at: it goes by itself, but not while somebody is at it.
import { h, iconButton } from './dom.js';

const SHOWN_MS = 6_000;

export class Notice {
  #text = h('div.notice', { role: 'alert' });
  #timer;

  /** `refocus`: gives the focus to something else, where it was here and this goes. */
  constructor({ refocus }) {
    this.refocus = refocus;
    const keep = () => clearTimeout(this.#timer);
    const leave = () => this.#goSoon();
    this.element = h('div.notice-box', { hidden: true, onpointerenter: keep, onpointerleave: leave, onfocusin: keep, onfocusout: leave },
      this.#text, iconButton('close', 'Close the notice', { onclick: () => this.close() }));
  }

  tell(text) {
    this.#text.textContent = text;
    this.element.hidden = false;
    this.#goSoon();
  }

  close() {
    clearTimeout(this.#timer);
    const held = this.element.contains(document.activeElement);
    this.element.hidden = true;
    if (held) this.refocus();
  }

  #goSoon() {
    clearTimeout(this.#timer);
    if (this.element.matches(':hover, :focus-within')) return;
    this.#timer = setTimeout(() => this.close(), SHOWN_MS);
  }
}
