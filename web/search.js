// What a search finds: people to talk to, and messages.
import { avatar, empty, fullName, h } from './dom.js';
import { reason } from './model.js';
import { stamp } from './time.js';

const PAUSE_MS = 200;
const MOST = 30;

export class Search {
  #asked = 0;
  #timer;
  #shown; // resolves when what was asked for last is; never, where something else is asked for before

  /** `openUser(id)`, `openMessage(message)`: what a result does. */
  constructor(model, { openUser, openMessage }) {
    Object.assign(this, { model, openUser, openMessage });
    this.found = h('div');
    this.count = h('p.unseen', { role: 'status' });
    this.element = h('div.results', {}, this.count, this.found);
  }

  /** With an empty text: everybody. */
  show(text) {
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    this.#shown = new Promise((resolve) => {
      this.#timer = setTimeout(async () => {
        const children = await this.#find(text.trim());
        if (asked !== this.#asked) return;
        const held = this.found.contains(document.activeElement);
        this.found.replaceChildren(...children);
        // Whoever has gone to a row meanwhile stays at what is found.
        if (held) (this.found.querySelector('.row') ?? this.element.closest('.list')).focus();
        const { length } = this.found.querySelectorAll('.row');
        this.count.textContent = length ? `${length} found` : 'Nothing found';
        resolve();
      }, this.found.childElementCount ? PAUSE_MS : 0);
    });
  }

  /** The first of what is found by the text as it is now. */
  async openFirst() {
    await this.#shown;
    this.found.querySelector('.row')?.click();
  }

  clear() {
    clearTimeout(this.#timer);
    this.#asked++;
    this.found.replaceChildren();
    this.count.textContent = '';
  }

  async #find(text) {
    const { chat } = this.model;
    const failed = (error) => error;
    const [people, messages] = await Promise.all([
      chat.users.list({ limit: MOST, ...(text && { q: text }) }).catch(failed),
      text ? chat.search(text, { limit: MOST, snippets: true }).catch(failed) : { messages: [] },
    ]);
    const others = people.users?.filter(({ id }) => id !== this.model.userId);
    const parts = [
      ...part('People', people, others?.map((user) => this.#person(user)), 'There are more: write a part of a name.'),
      ...part('Messages', messages, messages.messages?.map((message) => this.#message(message)), 'There are more: add a word.'),
    ];
    return parts.length ? parts : [empty('search', 'Nothing found', `Neither a person nor a message matches “${text}”. Messages are found by whole words.`)];
  }

  #person(user) {
    const online = this.model.presence.get(user.id)?.isOnline ?? user.isOnline;
    return h('li', {}, h('button.row', { type: 'button', onclick: () => this.openUser(user.id) }, avatar(user, online),
      h('span.row-text', {}, h('strong', { dir: 'auto' }, fullName(user)), online && h('span.unseen', {}, 'online'),
        h('span.quiet.small', {}, [user.role, !user.isActive && 'deactivated'].filter(Boolean).join(' · ')))));
  }

  #message(message) {
    const conversation = this.model.conversations.get(message.conversationId);
    const other = conversation ? this.model.other(conversation) : message.sender;
    const who = message.senderId === this.model.userId ? 'You: ' : '';
    return h('li', {}, h('button.row', { type: 'button', onclick: () => this.openMessage(message) }, avatar(other),
      h('span.row-text', {},
        h('span.row-top', {}, h('strong', { dir: 'auto' }, fullName(other)), h('time.quiet.small', { datetime: message.createdAt }, stamp(message.createdAt))),
        h('span.excerpt.small', {}, who, h('bdi', {}, ...message.snippet.map(({ text, match }) => (match ? h('mark', {}, text) : text)))))));
  }
}

/** What was found under its heading, or why it was not to be had. */
function part(heading, answer, rows, more) {
  if (answer instanceof Error) return [h('p.small.problem.pad', {}, `${heading} could not be searched: ${reason(answer)}`)];
  if (!rows.length) return [];
  return [h('h3.pad', {}, heading), h('ul', {}, ...rows), answer.hasMore && h('p.small.quiet.pad', {}, more)].filter(Boolean);
}
