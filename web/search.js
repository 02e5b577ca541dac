// What a search finds: people to talk to, and messages. Where people are not listed, those with whom there is a conversation.
import { avatar, empty, fill, fullName, h, say } from './dom.js';
import { mayHelp, passes, reason, Retry } from './failure.js';
import { language, stamp } from './time.js';
import { Turn } from './turn.js';

const PAUSE_MS = 200;
/** What was found for another text is shown as long as this, while the answer is on its way. */
const OUTDATED_MS = 800;
const MOST = 30;

export class Search {
  #asked = 0;
  #timer;
  #outdated;
  #shown; // resolves when what was asked for last is; never, where something else is asked for before
  #turns = { people: new Turn(), messages: new Turn() };
  #retry = new Retry();
  #again; // asks once more for all that could not be had; not while it is being asked for

  /** `openUser(id)`, `openMessage(message)`: what a result does. */
  constructor(model, { openUser, openMessage }) {
    Object.assign(this, { model, openUser, openMessage });
    this.people = h('section');
    this.messages = h('section');
    this.nothing = h('div');
    this.found = h('div.found-all', {}, this.people, this.messages, this.nothing);
    this.wait = h('div.skeletons.late', { hidden: true }, ...Array.from({ length: 3 }, () => h('div.skeleton')));
    this.count = h('p.unseen', { role: 'status' });
    this.element = h('div.results', {}, this.count, this.found, this.wait);
    this.off = model.on('back', () => this.#retry.now());
  }

  close() {
    this.off();
    this.clear();
  }

  /** With an empty text: everybody. */
  show(text) {
    const empty = this.#blank();
    this.#stop();
    this.count.textContent = ''; // the same number again is said again
    this.#wait(true);
    const asked = ++this.#asked;
    this.#shown = new Promise((resolve) => {
      this.#timer = setTimeout(async () => {
        if (await this.#ask(asked, text.trim())) resolve();
      }, empty ? 0 : PAUSE_MS);
    });
  }

  /** The first of what is found by the text as it is now. */
  async openFirst() {
    await this.#shown;
    this.found.querySelector('.row')?.click();
  }

  clear() {
    this.#stop();
    this.#asked++;
    this.#wait(false);
    for (const part of this.found.children) fill(part, '', () => []);
    this.count.textContent = '';
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#retry.done();
    this.#again = undefined;
  }

  #blank() {
    return [...this.found.children].every((part) => !part.childElementCount);
  }

  /** Until the answer is here what is shown is that of another text: it looks like it, and does not stay for long. */
  #wait(waits) {
    clearTimeout(this.#outdated);
    this.element.setAttribute('aria-busy', String(waits));
    this.wait.hidden = !waits || !this.#blank();
    if (!waits) return;
    this.#outdated = setTimeout(() => {
      say(this.count, 'Searching…');
      // Whoever has gone to a row meanwhile stays there.
      if (this.found.contains(document.activeElement)) return;
      for (const part of this.found.children) fill(part, '', () => []);
      this.wait.hidden = false;
    }, OUTDATED_MS);
  }

  /** `had`: what has been answered already and is not asked for again. Whether it is still what is wanted. */
  async #ask(asked, text, had = {}) {
    this.#again = undefined;
    const ask = (part, run) => (had[part] ?? run().then((answer) => ({ ...answer, asked }), (error) => ({ error })));
    const isWanted = () => asked === this.#asked;
    const [people, messages] = await Promise.all([
      ask('people', () => this.#findPeople(isWanted, text)),
      ask('messages', () => this.#searchMessages(isWanted, text)),
    ]);
    if (asked !== this.#asked) return false;
    const again = (isAskedFor) => {
      const had = (answer) => (answer.error && isAskedFor(answer.error) ? undefined : answer);
      return this.#ask(asked, text, { people: had(people), messages: had(messages) });
    };
    this.#again = () => again(mayHelp);
    const error = [people, messages].map((answer) => answer.error).find((it) => it && passes(it));
    if (error) this.#retry.after(error, () => again(passes));
    else this.#retry.done();
    this.#wait(false);
    this.#draw(text, people, messages);
    return true;
  }

  /** Those of one's own conversations are found also where nobody may list people, and however far down the list they are. */
  async #findPeople(isWanted, text) {
    const { chat, directory, unread } = this.model;
    if (directory && !unread.isOn) return this.#turns.people.take(isWanted, () => chat.users.list({ limit: MOST, ...(text && { q: text }) }));
    if (!text) return { users: [] };
    const { conversations, hasMore } = await this.#turns.people.take(isWanted, () => chat.conversations.list({ limit: MOST, q: text, ...(unread.isOn && { unread: true }) }));
    return { users: conversations.map((conversation) => this.model.other(conversation)), hasMore };
  }

  /** Not among the conversations with something unread: the service knows no such search. */
  async #searchMessages(isWanted, text) {
    if (!text || this.model.unread.isOn) return { messages: [] };
    return this.#turns.messages.take(isWanted, () => this.model.chat.search(text, { limit: MOST, snippets: true }));
  }

  #now() {
    if (!this.#again) return;
    this.element.setAttribute('aria-busy', 'true');
    this.#retry.cancel();
    this.#again();
  }

  /** What is there already stays as it is, and so does who has gone to it. */
  #draw(text, people, messages) {
    const held = this.found.contains(document.activeElement);
    const others = people.users?.filter(({ id }) => id !== this.model.userId);
    const { directory, unread } = this.model;
    const wanted = text ? 'searched' : 'listed';
    const name = `${text ? 'more' : 'part'} of a name.`;
    const parts = [
      this.#part(this.people, { heading: unread.isOn ? 'Unread conversations' : directory ? 'People' : 'Conversations', wanted, more: `type ${name}`, narrower: `Type ${name}` }, people, others?.map((user) => () => this.#person(user))),
      this.#part(this.messages, { heading: 'Messages', wanted, more: 'add a word.', narrower: 'Try rarer words, or more of them.' }, messages, messages.messages?.map((message) => () => this.#message(message))),
    ];
    const nothing = parts.every((said) => said === '');
    const lacks = text && unread.isOn ? ['search', 'Nothing found', `Of those with something unread nobody’s name matches “${text}”.`]
      : text ? ['search', 'Nothing found', `Neither a ${directory ? 'person' : 'conversation'} nor a message matches “${text}”. Messages are found by whole words.`]
      : ['users', 'Nobody to write to', directory ? 'pgchat sees no other users.' : 'This service lists no people.'];
    fill(this.nothing, nothing ? `nothing ${text}` : '', () => (nothing ? [empty(...lacks)] : []));
    if (held && !this.found.contains(document.activeElement)) (this.found.querySelector('button') ?? this.element.closest('.list')).focus();
    const { length } = this.found.querySelectorAll('.row');
    say(this.count, nothing ? lacks[1] : [length && `${length} found`, ...parts].filter(Boolean).join('. '));
  }

  /**
   * What was found under its heading, or why it was not to be had. `more`, `narrower`: what to do where there is more, and where it
   * took too long. Returns what is to be said of it, besides what was found.
   */
  #part(element, { heading, wanted, more, narrower }, { error, asked, hasMore }, rows) {
    if (error?.code === 'search_off' || error?.code === 'directory_off') {
      // Nothing has failed, and nothing is to be done about it.
      const text = `${heading} are not searched here.`;
      fill(element, text, () => [h('p.small.quiet.pad', {}, text)]);
      return text;
    }
    if (error) {
      const text = `${heading} could not be ${wanted}: ${reason(error, narrower)}`;
      fill(element, text, () => [h('p.small.problem.pad', {}, text), mayHelp(error) && h('p.pad', {}, h('button.button.compact', { type: 'button', onclick: () => this.#now() }, 'Try now'))].filter(Boolean));
      return text;
    }
    fill(element, `found ${asked}`, () => (rows.length ? [h('h2.pad', {}, heading), h('ul', {}, ...rows.map((row) => row())), hasMore && h('p.small.quiet.pad', {}, `There are more: ${more}`)].filter(Boolean) : []));
    return rows.length ? undefined : '';
  }

  #person(user) {
    const online = this.model.presence.get(user.id)?.isOnline ?? user.isOnline;
    return h('li', {}, h('button.row', { type: 'button', onclick: () => this.openUser(user.id) }, avatar(user, online),
      h('span.row-text', {}, h('strong', { dir: 'auto' }, fullName(user)), online && h('span.unseen', {}, 'online'),
        h('span.quiet.small', {}, [user.role, user.isActive === false && 'deactivated'].filter(Boolean).join(' · ')))));
  }

  #message(message) {
    const other = message.otherParticipant;
    const who = message.senderId === this.model.userId ? 'You: ' : '';
    return h('li', {}, h('button.row', { type: 'button', onclick: () => this.openMessage(message) }, avatar(other),
      h('span.row-text', {},
        h('span.row-top', {}, h('strong', { dir: 'auto' }, fullName(other)), h('time.quiet.small', { datetime: message.createdAt, lang: language }, stamp(message.createdAt))),
        h('span.excerpt.small', {}, who, h('bdi', {}, ...message.snippet.map(({ text, match }) => (match ? h('mark', {}, text) : text)))))));
  }
}
