// Above the open conversation: with whom it is, whether they are there, and what shows the service at work.
import { avatar, fill, fullName, h, iconButton, say } from './dom.js';
import { language, lastSeen, stamp } from './time.js';

export class ThreadHead {
  #face = h('span.face');
  #title = h('h2', { dir: 'auto' });
  #state = h('span.small.quiet', { role: 'status' });

  /** `back`: to the list; `toggle(tool)`: opens one of `tools`, or closes it. */
  constructor(model, { back, toggle }) {
    this.model = model;
    const tool = (name, iconName, label) => iconButton(iconName, label, { 'aria-expanded': 'false', onclick: () => toggle(name) });
    /** The buttons, by the name of what they open. */
    this.tools = { insert: tool('insert', 'database', 'A message from SQL'), frames: tool('frames', 'code', 'Frames of the socket') };
    const leave = iconButton('back', 'Back to the conversations', { onclick: back });
    leave.classList.add('back');
    this.element = h('header.thread-head', {}, leave, this.#face, h('div.row-text', {}, this.#title, this.#state), this.tools.insert, this.tools.frames);
  }

  /** Without a conversation nothing is said of anybody any more. */
  draw(conversation) {
    if (!conversation) return this.#say('');
    const other = this.model.other(conversation);
    const presence = this.model.presence.get(other.id);
    const typing = this.model.typists.has(conversation.id);
    fill(this.#face, `${other.id} ${fullName(other)} ${presence?.isOnline}`, () => [avatar(other, presence?.isOnline)]);
    say(this.#title, fullName(other));
    this.#state.classList.toggle('typing-text', typing);
    if (typing) this.#say('typing…');
    else if (presence?.isOnline) this.#say('Online');
    else if (presence) this.#say(lastSeen(presence.lastSeenAt), presence.lastSeenAt);
    else this.#say('');
  }

  /** `text` ends with the time of `when`, where there is one: that is in the language of times. */
  #say(text, when) {
    const time = when ? stamp(when) : '';
    const parts = () => [text.slice(0, text.length - time.length), time && h('time', { datetime: when, lang: language }, time)].filter(Boolean);
    fill(this.#state, text, parts);
  }
}
