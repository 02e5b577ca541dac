// Whose chat it is: somebody of the directory where the service believes its callers, else the bearer of a token.
import { ChatError } from '../client/pgchat.js';
import { avatar, empty, fill, fullName, h, icon, isComposing, say } from './dom.js';
import { Retry, sentence } from './failure.js';
import { Turn } from './turn.js';

const PAUSE_MS = 200;
const PATIENCE_MS = 15_000;

/**
 * `chosen({userId})` or `chosen({getToken})`. `second`: for the second pane; `suggested`: the user that goes first;
 * `askToken(refusal)`: asks for each token behind the first.
 */
export class SignIn {
  #asked = 0;
  #timer;
  #retry = new Retry();
  #turn = new Turn();

  constructor({ url, chosen, second, suggested, askToken, cancel }) {
    Object.assign(this, { url, second, chosen, suggested, askToken });
    this.people = h('ul.people');
    this.status = h('div', { role: 'status' });
    this.input = h('input.field', { type: 'search', placeholder: 'Find somebody by name', 'aria-label': 'Find somebody by name', autocomplete: 'off', oninput: () => this.#load() });
    this.directory = h('div.stack.directory', {}, this.input, this.status, this.people);
    this.title = h('h1', {}, second ? 'Who is on the other side?' : 'Who are you?');
    this.lead = h('p.quiet', {}, second ? 'The second pane is another browser’s view, in the same window.' : 'Choose somebody to be.');
    this.card = h('div.card', {}, this.title, this.lead, this.directory, cancel && h('button.button', { type: 'button', onclick: cancel }, 'Close this pane'));
    this.element = h('div.sign-in', { tabindex: '-1' }, this.card);
    this.#load();
  }

  /** `quiet`: as long as nothing has come, what was said of it stays. */
  #load(quiet = false) {
    clearTimeout(this.#timer);
    this.#retry.cancel();
    const asked = ++this.#asked;
    if (!quiet && !this.people.childElementCount) this.#say('loading', () => [h('div.skeletons', { 'aria-label': 'Loading people' }, ...Array.from({ length: 4 }, () => h('div.skeleton')))]);
    this.#timer = setTimeout(() => this.#ask(asked), asked === 1 ? 0 : PAUSE_MS);
  }

  async #ask(asked) {
    const isWanted = () => asked === this.#asked;
    try {
      const { status, users, hasMore, code = 'bad_response', message } = await this.#turn.take(isWanted, () => this.#list(this.input.value.trim()));
      if (!isWanted()) return;
      if (status === 401) this.#token();
      else if (users) this.#show(users, hasMore);
      else throw new ChatError(code, message, { status });
      const lacking = await this.#lacking(users ?? []);
      if (isWanted()) this.people.prepend(...lacking.map((user) => this.#row(user)));
    } catch (error) {
      if (isWanted()) this.#failed(error);
    }
  }

  /** What the service says of those with `text` in their names, with the `status` of its answer. */
  async #list(text) {
    const address = new URL('api/v1/users/', this.url);
    address.searchParams.set('limit', '60');
    if (text) address.searchParams.set('q', text);
    const response = await fetch(address, { signal: AbortSignal.timeout(PATIENCE_MS) }).catch((cause) => Promise.reject(new ChatError('network', String(cause), { cause })));
    const answer = await response.json().catch(() => ({})); // a proxy's page
    return { ...answer, status: response.status };
  }

  /** Who is suggested need not be among the first of so many people, who are there meanwhile. */
  async #lacking(users) {
    if (!this.suggested || !users.length || this.input.value.trim() || users.some(({ id }) => id === this.suggested)) return [];
    try {
      const response = await fetch(new URL(`api/v1/users/${this.suggested}`, this.url), { signal: AbortSignal.timeout(PATIENCE_MS) });
      return response.ok ? [await response.json()] : [];
    } catch {
      return []; // there are the others
    }
  }

  #show(users, hasMore) {
    this.#retry.done();
    const first = ({ id }) => id === this.suggested;
    const sorted = [...users.filter(first), ...users.filter((user) => !first(user))];
    const everybody = !this.input.value.trim();
    if (users.length) this.#say('', () => []);
    else if (everybody) this.#say('nobody', () => [empty('users', 'Nobody is there yet', ['pgchat sees no users: there are none, or the database does not show them to it. For trials, ', h('code', {}, 'pgchat demo-data'), ' adds some people.'], h('button.button', { type: 'button', onclick: () => this.#load() }, 'Look again'))]);
    else this.#say('no match', () => [empty('users', 'Nobody by that name', 'The directory has only users of the host system.')]);
    if (!this.second) say(this.lead, 'Nobody asks for a password here: this service believes its callers. Choose somebody to be.'); // it has answered a caller without a token
    this.people.replaceChildren(...sorted.map((user) => this.#row(user)),
      ...(hasMore ? [h('li.small.quiet.pad', {}, 'There are more: type part of a name.')] : []));
    // What is found is less: the card does not shrink under one's hands.
    if (everybody) this.directory.style.flexBasis = `${this.directory.offsetHeight - this.people.clientHeight + this.people.scrollHeight}px`;
  }

  #row(user) {
    const told = [user.role, !user.isActive && 'deactivated', user.id === this.suggested && 'in this conversation'].filter(Boolean).join(' · ');
    return h('li', {}, h('button.row', { type: 'button', onclick: () => this.chosen({ userId: user.id }) }, avatar(user, user.isOnline),
      h('span.row-text', {}, h('strong', { dir: 'auto' }, fullName(user)), user.isOnline && h('span.unseen', {}, 'online'), h('span.quiet.small', {}, told))));
  }

  #failed(error) {
    this.people.replaceChildren();
    this.#retry.after(error, () => this.element.isConnected && this.#load(true));
    const why = sentence(error, `Type ${this.input.value.trim() ? 'more' : 'part'} of a name.`);
    this.#say(`failed ${why}`, () => [empty('warn', 'The service cannot be reached', why, h('button.button', { type: 'button', onclick: () => this.#load() }, 'Try again'))]);
  }

  #say(what, make) {
    const held = this.status.contains(document.activeElement);
    if (fill(this.status, what, make) && held) this.input.focus();
  }

  #token() {
    this.title.textContent = 'Sign in';
    this.lead.textContent = 'This service asks for a token. It stays in this tab’s memory and is forgotten with it.';
    this.directory.classList.remove('directory');
    this.directory.replaceChildren(tokenForm({}, (token) => {
      let first = token;
      const getToken = (refusal) => {
        if (!first) return this.askToken(refusal);
        const given = first;
        first = undefined;
        return given;
      };
      this.chosen({ getToken });
    }));
  }
}

/** A field for a JWT; for trying things out `pgchat token` prints one. `other`: a button beside that with the `label`. */
export function tokenForm({ label = 'Sign in', other = false }, submit) {
  const input = h('textarea.field.token', { rows: '4', 'aria-label': 'Token', placeholder: 'eyJ…', autocomplete: 'off', spellcheck: 'false', required: true });
  const fault = h('p.small.problem', { role: 'alert' });
  const onsubmit = (event) => {
    event.preventDefault();
    const token = input.value.trim();
    const wellFormed = /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token);
    fault.textContent = wellFormed ? '' : 'That is no JSON Web Token: one has three parts, with dots between them.';
    if (wellFormed) submit(token);
  };
  // A token is one line, however often the field breaks that.
  input.onkeydown = (event) => {
    if (event.key !== 'Enter' || isComposing(event)) return;
    event.preventDefault();
    input.form.requestSubmit();
  };
  const go = h('button.button.primary', { type: 'submit' }, icon('check'), label);
  return h('form.stack', { onsubmit }, input, fault, h('p.small.quiet', {}, 'For trying things out: ', h('code', {}, 'pgchat token --user UUID'), ' prints one.'),
    other ? h('div.dialog-buttons', {}, other, go) : go);
}
