// What stands before the first message and after the last one: that more comes, that it could not be had, or that there is none.
import { empty, fill, h } from './dom.js';
import { reason } from './failure.js';

export class Edges {
  before = h('div.edge');
  after = h('div.edge');

  /** `again`: asks once more for what could not be had. */
  constructor(again) {
    this.again = again;
  }

  /** `isBlank`: no message is shown; `isAtTop`: the first one that is loaded is. */
  draw(timeline, { isBlank, isAtTop }) {
    const { loading, error, failed, hasOlder, hasNewer, started, isGone } = timeline;
    const wait = ['loading', () => [h('span.spinner', { role: 'img', 'aria-label': 'Loading messages' })]];
    const fault = error && [`failed ${reason(error)}`, () => this.#fault(error)];
    const nothing = ['', () => []];
    fill(this.before, ...(isGone ? ['gone', () => [h('div', { role: 'alert' }, empty('chat', 'This conversation is gone', 'It was deleted, with all of its messages.'))]]
      : error && failed !== 'newer' ? fault
      : loading === 'older' || (loading && isBlank) ? wait
      : started && isBlank ? ['none', () => [empty('chat', 'No messages yet', 'Say hello: what you write arrives at once.')]]
      : started && !hasOlder && isAtTop ? ['beginning', () => [h('span', {}, 'The beginning of this conversation')]]
      : nothing));
    this.before.classList.toggle('whole', isBlank && (isGone || (started && !error)));
    fill(this.after, ...(failed === 'newer' ? fault : loading === 'newer' || (hasNewer && loading) ? wait : nothing));
  }

  #fault(error) {
    return [h('span.problem', { role: 'alert' }, `Messages could not be loaded: ${reason(error)}`), h('button.button.compact', { type: 'button', onclick: () => this.again() }, 'Try again')];
  }
}
