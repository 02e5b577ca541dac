// What a search finds: people to talk to, and messages.
import { avatar, empty, fullName, h } from './dom.js';
import { stamp } from './time.js';

const PAUSE_MS = 200;

export class Search {
  #asked = 0;
  #timer;

  /** `openUser(id)`, `openMessage(message)`: what a result does. */
  constructor(model, { openUser, openMessage }) {
    Object.assign(this, { model, openUser, openMessage });
    this.element = h('div.results', { 'aria-live': 'polite' });
  }

  /** With an empty text: everybody. */
  show(text) {
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    const settle = (children) => asked === this.#asked && this.element.replaceChildren(...children);
    this.#timer = setTimeout(async () => settle(await this.#find(text.trim())), this.element.childElementCount ? PAUSE_MS : 0);
  }

  async #find(text) {
    const { chat } = this.model;
    const failed = (error) => error;
    const [people, messages] = await Promise.all([
      chat.users.list({ limit: 30, ...(text && { q: text }) }).then(({ users }) => users.filter(({ id }) => id !== this.model.userId), failed),
      text ? chat.search(text, { limit: 30 }).then(({ messages: found }) => found, failed) : [],
    ]);
    const problem = (what, error) => h('p.small.problem.pad', {}, `${what} could not be searched: ${error.message}`);
    const parts = [];
    if (people instanceof Error) parts.push(problem('People', people));
    else if (people.length) parts.push(h('h3.pad', {}, 'People'), h('ul', {}, ...people.map((user) => this.#person(user))));
    if (messages instanceof Error) parts.push(problem('Messages', messages));
    else if (messages.length) parts.push(h('h3.pad', {}, 'Messages'), h('ul', {}, ...messages.map((message) => this.#message(message, text))));
    return parts.length ? parts : [empty('search', 'Nothing found', `Neither a person nor a message matches “${text}”.`)];
  }

  #person(user) {
    return h('li', {}, h('button.row', { type: 'button', onclick: () => this.openUser(user.id) }, avatar(user, this.model.isOnline(user.id)),
      h('span.row-text', {}, h('strong', {}, fullName(user)), h('span.quiet.small', {}, user.role ?? ''))));
  }

  #message(message, text) {
    const conversation = this.model.conversations.get(message.conversationId);
    const other = conversation ? this.model.other(conversation) : message.sender;
    const who = message.senderId === this.model.userId ? 'You: ' : '';
    return h('li', {}, h('button.row', { type: 'button', onclick: () => this.openMessage(message) }, avatar(other),
      h('span.row-text', {},
        h('span.row-top', {}, h('strong', {}, fullName(other)), h('time.quiet.small', { datetime: message.createdAt }, stamp(message.createdAt))),
        h('span.excerpt.small', { dir: 'auto' }, who, ...marked(message.content, text)))));
  }
}

/** The text around the first word that was looked for, with that word marked. */
function marked(content, text) {
  const [word] = text.split(/\s+/);
  const at = content.toLocaleLowerCase().indexOf(word.toLocaleLowerCase());
  if (at < 0) return [content.slice(0, 160)];
  const from = Math.max(0, at - 30);
  const end = at + word.length;
  return [`${from ? '…' : ''}${content.slice(from, at)}`, h('mark', {}, content.slice(at, end)), content.slice(end, end + 130)];
}
