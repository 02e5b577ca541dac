// The button that leads to the latest messages, with how many have come while one looked at older ones.
import { h, icon } from './dom.js';

const LABEL = 'Jump to the latest messages';

export class Jump {
  /** `leave`: gives the focus to something else, when the button goes. */
  constructor({ jump, leave }) {
    this.leave = leave;
    this.count = h('span.badge', { hidden: true });
    this.element = h('button.jump', { type: 'button', hidden: true, 'aria-label': LABEL, onclick: jump }, icon('down'), this.count);
  }

  /** `isThere`: one is at the latest already; `come`: so many have come. */
  update(isThere, come) {
    if (isThere && document.activeElement === this.element) this.leave();
    this.element.hidden = isThere;
    this.count.hidden = !come;
    this.count.textContent = come;
    this.element.setAttribute('aria-label', come ? `${LABEL}: ${come} new` : LABEL);
  }
}
