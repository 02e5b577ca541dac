// Above a user's chat, while there is no connection: why, when the next try is, and what waits for it.
import { h, icon, say } from './dom.js';
import { sentence } from './failure.js';

export class Banner {
  element = h('div.banner', { role: 'status', tabindex: '-1', hidden: true });
  #countdown;

  /** `leave`: to be somebody else; `refocus`: gives the focus to something else, where it was in the banner and that goes. */
  constructor(model, { leave, refocus }) {
    Object.assign(this, { model, leave, refocus });
  }

  close() {
    clearInterval(this.#countdown);
  }

  /** What the client tells of its connection. */
  show({ status, retryInMs, error, closeCode = error?.closeCode }) {
    clearInterval(this.#countdown);
    if (status === 'online') this.#hide();
    else if (status === 'waiting') this.#waits(error, retryInMs);
    else if (status === 'connecting' && !this.element.hidden) this.#say('warn', [this.model.replicaId ? 'Reconnecting…' : 'Connecting…']);
    else if (status === 'stopped') this.#stopped(error, closeCode);
  }

  #waits(error, retryInMs) {
    const { model } = this;
    const until = performance.now() + retryInMs;
    const reason = error?.code === 'no_token' ? 'There is no token yet.' : error?.code === 'handshake_refused' ? sentence(error) : model.replicaId ? 'Connection lost.' : 'No connection yet.';
    // A screen reader says why, and not each second.
    const [why, left, waiting] = [h('span'), h('span', { role: 'timer', 'aria-live': 'off' }), h('span')];
    const show = () => {
      const seconds = Math.ceil((until - performance.now()) / 1000);
      say(why, navigator.onLine === false ? 'You are offline.' : reason);
      say(left, seconds > 0 ? `Trying again in ${seconds}\u00a0s.` : 'Trying again…');
      say(waiting, model.outbox.waiting ? `${model.outbox.waiting}\u00a0waiting to be sent.` : '');
    };
    show();
    this.#countdown = setInterval(show, 500);
    this.#say('warn', [why, ' ', left, ' ', waiting], this.#connect('Try now'));
  }

  #stopped(error, closeCode) {
    const text = closeCode === 4403 ? 'This user may not use the chat.' : `Disconnected: ${error?.message ?? 'the service refused the connection'}.`;
    this.#say('bad', [text], this.#connect('Try again'), h('button.button.compact', { type: 'button', onclick: () => this.leave() }, 'Be somebody else'));
  }

  #connect(label) {
    return h('button.button.compact', { type: 'button', onclick: () => this.model.chat.connect() }, label);
  }

  #say(kind, text, ...buttons) {
    const { element } = this;
    const held = element.contains(document.activeElement);
    element.className = `banner ${kind}`;
    element.hidden = false;
    element.replaceChildren(icon('warn'), h('span.banner-text', {}, ...text), h('span.banner-buttons', {}, ...buttons));
    if (held) (element.querySelector('button') ?? element).focus();
  }

  #hide() {
    const held = this.element.contains(document.activeElement);
    this.element.hidden = true;
    if (held) this.refocus();
  }
}
