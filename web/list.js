// The conversations of a user, with what is unread in them; or what a search finds.
import { avatar, beginning, empty, fill, fullName, h, icon, iconButton, isComposing, place, say } from './dom.js';
import { draft, editDraft } from './drafts.js';
import { forget, soon } from './draw.js';
import { reason, sentence } from './failure.js';
import { Search } from './search.js';
import { fullTime, language, stamp } from './time.js';

export class List {
  #rows = new Map();
  #draw = () => this.render();

  constructor(model, { open, openUser, openMessage, leave }) {
    Object.assign(this, { model, open });
    const finish = (run) => (found) => {
      this.stopSearch();
      run(found);
    };
    this.search = new Search(model, { openUser: finish(openUser), openMessage: finish(openMessage) });
    this.me = h('div.me', {});
    this.input = h('input.field.search-field', {
      type: 'search', placeholder: 'People and messages', 'aria-label': 'Search people and messages', autocomplete: 'off',
      'aria-keyshortcuts': 'Control+K Meta+K', title: 'Search (Ctrl+K)', oninput: () => this.#searched(),
    });
    this.plus = iconButton('plus', 'New conversation', { onclick: () => this.startSearch(true) });
    this.leave = iconButton('users', 'Be somebody else', { onclick: leave });
    this.cancel = iconButton('close', 'Close the search', { hidden: true, onclick: () => this.stopSearch(true) });
    this.unread = h('button.filter', { type: 'button', 'aria-pressed': 'false', onclick: () => this.#filter() }, icon('check'), 'Unread');
    this.told = h('span.unseen', { role: 'status' });
    this.rows = h('ul');
    this.fault = h('div.fault.small');
    this.body = h('div.list-body', { onscroll: () => this.#scrolled() }, this.rows);
    this.element = h('nav.list', { 'aria-label': 'Conversations', tabindex: '-1', onkeydown: (event) => this.#key(event) },
      h('div.list-head', {}, this.me, this.plus, this.leave),
      h('div.search-line', {}, h('span.search-box', {}, icon('search'), this.input), this.cancel),
      h('div.filters', {}, this.unread, this.told), this.body);
    this.offs = ['conversations', 'presence', 'typing', 'status'].map((topic) => model.on(topic, () => soon(this.#draw)));
    this.render();
  }

  close() {
    this.offs.forEach((off) => off());
    this.search.close();
    forget(this.#draw);
  }

  /** `everybody`: lists people before anything is typed. */
  startSearch(everybody = false) {
    this.input.focus();
    if (!everybody) return;
    if (this.model.unread.isOn) this.#filter(); // whom one has not written to yet is nowhere among those
    this.#show(true);
  }

  stopSearch(refocus = false) {
    if (refocus) this.input.focus();
    this.input.value = '';
    this.#show(false);
  }

  /** Shows only what is unread, or all again; of what is typed, too. */
  #filter() {
    this.model.unread.toggle();
    this.#offer();
    this.body.scrollTop = 0;
    this.#searched();
  }

  #searched() {
    this.#show(Boolean(this.input.value.trim()));
  }

  #show(searching) {
    this.searching = searching;
    this.cancel.hidden = !searching;
    if (searching) {
      this.#fill('search', () => this.search.element);
      this.search.show(this.input.value);
    } else {
      this.search.clear();
      this.render();
    }
  }

  /** The arrows go through what is listed, from the field above it; there Enter takes the first. */
  #key(event) {
    const { key, target } = event;
    const inField = target === this.input;
    const rows = [...this.body.querySelectorAll('.row')];
    const at = rows.indexOf(target);
    if (isComposing(event) || !(inField || at >= 0)) return;
    if (key === 'Escape' && this.searching) this.stopSearch(true);
    else if (key === 'Enter' && inField && this.input.value.trim()) this.search.openFirst();
    else if (key === 'ArrowDown') rows[at + 1]?.focus();
    else if (key === 'ArrowUp' && !inField) (rows[at - 1] ?? this.input).focus();
    else return;
    event.preventDefault();
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.body;
    if (this.searching || scrollHeight - scrollTop - clientHeight >= 300) return;
    const { unread, listing } = this.model;
    // What failed waits for its button, or for the connection.
    if (!unread.isOn) listing.more();
    else if (!unread.error) unread.more();
  }

  #renderMe() {
    const { me, connection, replicaId } = this.model;
    if (!me) return;
    const online = connection.status === 'online';
    const state = online ? `Online at replica ${shortId(replicaId)}` : { connecting: 'Connecting…', waiting: 'Reconnecting…', stopped: 'Disconnected', closed: 'Disconnected', idle: '' }[connection.status];
    fill(this.me, `${fullName(me)} ${state}`, () => [avatar(me, online), h('span.row-text', {}, h('strong', { dir: 'auto' }, fullName(me)), h('span.quiet.small.replica', { title: replicaId ? `Replica ${replicaId}` : '' }, state))]);
  }

  /** What can be searched. Where people cannot be listed there is nobody to choose. */
  #offer() {
    const { directory, unread } = this.model;
    this.plus.hidden = !directory;
    this.unread.setAttribute('aria-pressed', String(unread.isOn));
    this.input.placeholder = unread.isOn ? 'Unread, by name' : directory ? 'People and messages' : 'Names and messages';
    this.input.setAttribute('aria-label', unread.isOn ? 'Search unread conversations' : `Search ${directory ? 'people' : 'conversations'} and messages`);
  }

  select(conversationId) {
    if (conversationId !== this.selected) this.model.unread.select(conversationId);
    this.selected = conversationId;
    this.render();
  }

  render() {
    forget(this.#draw);
    this.#renderMe();
    const { model } = this;
    if (this.plus.hidden === model.directory) this.#offer();
    if (this.searching) return;
    if (model.state === 'loading') {
      this.#fill('loading', () => skeletons('Loading conversations'));
    } else if (model.state instanceof Error) {
      // Where the client has given up, the banner says why, and has the button.
      const why = model.connection.status !== 'stopped' && sentence(model.state);
      this.#fill(`failed ${why}`, () => empty('warn', 'The conversations could not be loaded', why, why && h('button.button', { type: 'button', onclick: () => model.load() }, 'Try again')));
    } else if (!model.conversations.size) {
      if (!model.directory) this.#fill('none to choose', () => empty('chat', 'No conversations yet', 'Conversations are started elsewhere; this service lists no people.'));
      else this.#fill('none', () => empty('chat', 'No conversations yet', 'Choose somebody to write to.', h('button.button.primary', { type: 'button', onclick: () => this.startSearch(true) }, 'New conversation')));
    } else this.#renderRows(model.unread.of(model.listing.sorted()));
    this.#tell();
  }

  #renderRows(conversations) {
    const { error, isReading, hasMore } = this.model.unread;
    const away = (label, onclick) => h('button.button', { type: 'button', onclick }, label);
    if (conversations.length) {
      place(this.rows, conversations.map((conversation) => this.#row(conversation)));
      this.#renderFault();
      this.#fill('rows', () => h('div', {}, this.rows, this.fault));
    } else if (isReading || (hasMore && !error)) {
      this.#fill('loading', () => skeletons('Loading conversations'));
    } else if (error) {
      this.#fill(`unread failed ${sentence(error)}`, () => empty('warn', 'The unread conversations could not be loaded', sentence(error), away('Try again', () => this.model.unread.more())));
    } else this.#fill('nothing unread', () => empty('checks', 'Nothing unread', 'You have read everything there is.', away('Show all', () => this.#filter())));
  }

  /** Below what the filter shows: that there is more, or that it may be otherwise by now. */
  #renderFault() {
    const { isOn, error, isStale } = this.model.unread;
    const what = isOn && error && `${isStale ? 'These' : 'More'} could not be loaded${isStale ? ' anew' : ''}: ${reason(error)}`;
    const held = this.fault.contains(document.activeElement);
    const again = () => h('button.button.compact', { type: 'button', onclick: () => this.model.unread.more() }, 'Try again');
    fill(this.fault, what || '', () => (what ? [h('span.problem', {}, what), again()] : []));
    if (held && !this.fault.contains(document.activeElement)) this.element.focus();
  }

  /** Whoever does not see it hears how much the filter leaves. */
  #tell() {
    const { unread } = this.model;
    if (!unread.isOn || this.searching) return say(this.told, '');
    if (unread.isReading) return;
    const { length } = this.model.listing.sorted().filter(({ unreadCount }) => unreadCount);
    say(this.told, length ? `${length}${unread.hasMore ? ' or more' : ''} unread conversation${length > 1 ? 's' : ''}` : 'Nothing unread');
  }

  /** What is there already stays as it is, and so does the focus; else it goes to what takes its place. */
  #fill(what, make) {
    const held = this.body.contains(document.activeElement);
    if (fill(this.body, what, () => [make()]) && held) (this.body.querySelector('button') ?? this.element).focus();
  }

  /** What the other one has not been told, and why: `[why, text]`. Of what was not taken nothing else tells who looks elsewhere. */
  #unsent(id) {
    const { userId, timelines } = this.model;
    const failed = [...timelines.get(id)?.outgoing.values() ?? []].find(({ state }) => state === 'failed');
    const edit = editDraft(userId, id);
    return failed ? ['Not sent: ', failed.content] : edit ? ['Edit: ', edit.text] : ['Draft: ', draft(userId, id)];
  }

  #row(conversation) {
    const { model } = this;
    let row = this.#rows.get(conversation.id);
    if (!row) {
      const button = h('button.row', { type: 'button', onclick: () => this.open(conversation.id) });
      row = h('li', { 'data-conversation': conversation.id }, button);
      row.button = button;
      this.#rows.set(conversation.id, row);
    }
    const other = model.other(conversation);
    const { lastMessage: last, unreadCount } = conversation;
    const online = model.isOnline(other.id);
    const typing = model.typists.has(conversation.id);
    const selected = conversation.id === this.selected;
    const [what, text] = selected ? [] : this.#unsent(conversation.id);
    const unsent = beginning(text ?? '');
    const signature = [what, fullName(other), last?.id, last?.updatedAt, last?.isRead, last && stamp(last.createdAt), unreadCount, online, typing, selected, unsent].join('|');
    if (row.signature === signature) return row;
    row.signature = signature;
    const mine = last?.senderId === model.userId;
    const said = last ? (last.deletedAt ? 'Message deleted' : beginning(last.content)) : 'No messages yet';
    const preview = typing ? [h('span.typing-text', {}, 'typing…')]
      : unsent ? [h('span.who.problem', {}, what), h('span.excerpt', { dir: 'auto' }, unsent)]
      : [mine && h('span.who', {}, 'You: '), h('span.excerpt', { dir: 'auto' }, said)];
    row.button.classList.toggle('unread', unreadCount > 0);
    if (selected) row.button.setAttribute('aria-current', 'true');
    else row.button.removeAttribute('aria-current');
    row.button.replaceChildren(avatar(other, online), h('span.row-text', {},
      h('span.row-top', {}, h('strong', { dir: 'auto' }, fullName(other)), online && h('span.unseen', {}, 'online'), last && h('time.quiet.small', { datetime: last.createdAt, lang: language, title: fullTime(last.createdAt) }, stamp(last.createdAt))),
      h('span.row-bottom.small', {}, ...preview,
        unreadCount > 0 ? h('span.badge', {}, unreadCount > 99 ? '99+' : String(unreadCount), h('span.unseen', {}, ' unread')) : mine && last && !last.deletedAt && !unsent && h('span.mark', { title: last.isRead ? 'read' : 'sent' }, icon(last.isRead ? 'checks' : 'check')))));
    return row;
  }
}

const skeletons = (label) => h('div.skeletons', { role: 'status', 'aria-label': label }, ...Array.from({ length: 6 }, () => h('div.skeleton')));

/** The end of an id, which tells two apart better than its beginning. */
export const shortId = (id) => id?.slice(-6) ?? '';
