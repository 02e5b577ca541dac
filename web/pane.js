// One user's chat: sign in, then the list beside the thread, or one of them where the pane is narrow.
import { Banner } from './banner.js';
import { Composer } from './composer.js';
import { ask, askToken } from './dialogs.js';
import { beginning, empty, fill, fullName, h, icon, isComposing, isSearchKey, say } from './dom.js';
import { forget, soon } from './draw.js';
import { draft, editDraft, keepDraft, keepEdit } from './drafts.js';
import { reason, sentence } from './failure.js';
import { Frames } from './frames.js';
import { Insert } from './insert.js';
import { List, shortId } from './list.js';
import { Model } from './model.js';
import { Notice } from './notice.js';
import { SignIn } from './sign_in.js';
import { Thread } from './thread.js';
import { ThreadHead } from './thread_head.js';

export class Pane {
  #unfollow = () => {};
  #draw = () => this.#render();
  /** Counts what one turns to here: an answer that comes later takes nobody away from it. */
  #turns = 0;
  /** What was chosen last: it may take a moment until it is found. The address names it from the first moment on. */
  opening;
  /** `{userId, conversationId}`: what is opened if the token that is asked for, or was given, turns out to be that user's. */
  wanted;

  /** `changed`: another user or conversation; `online`: the socket is open; `suggested`: `{userId, conversationId}`, who goes first where one chooses, and what is opened for them. */
  constructor({ name, url, second = false, changed = () => {}, online = () => {}, suggested = () => ({}), cancel }) {
    Object.assign(this, { name, url, second, changed, online, suggested, cancel });
    this.element = h('section.pane', { 'aria-label': name });
    this.element.addEventListener('keydown', (event) => this.key(event));
    this.seen = () => this.thread?.read();
    document.addEventListener('visibilitychange', this.seen);
  }

  /** `wanted`: whom and what the address named. */
  signIn(wanted) {
    const held = this.#hasFocus();
    this.#leave();
    this.wanted = wanted;
    const { url, second, cancel } = this;
    const askToken = (refusal) => this.#askToken(refusal);
    const { userId, conversationId } = wanted ?? this.suggested();
    const chosen = (who) => {
      if (who.userId) this.start(who, who.userId === userId ? conversationId : undefined);
      else this.start(who, conversationId, userId);
    };
    const { element } = new SignIn({ url, second, cancel, askToken, suggested: userId, chosen });
    this.element.replaceChildren(element);
    if (held) element.focus();
    this.changed();
  }

  /** `who`: `{userId}`, or `{getToken}`: then the conversation is opened if the token is that of the user `owner`. */
  start(who, conversationId, owner) {
    const held = this.#hasFocus();
    this.#leave();
    this.wanted = conversationId && owner && { userId: owner, conversationId };
    const model = new Model({ url: this.url, ...who });
    this.model = model;
    this.list = new List(model, {
      open: (id) => this.open(id),
      openUser: (userId) => this.#openUser(userId),
      openMessage: ({ conversationId: id, seq, snippet }) => this.open(id, { seq, snippet }),
      leave: () => this.leaving(() => this.signIn()),
    });
    this.frames = new Frames(model, () => this.toggle('frames', false));
    this.insert = new Insert(() => this.toggle('insert', false));
    this.composer = new Composer({
      send: (content) => {
        this.thread.toLatest();
        model.outbox.send(this.conversationId, content);
      },
      save: (message, content) => model.outbox.edit(message, content).catch((error) => {
        // Where one looks, the editor says it.
        if (this.conversationId !== message.conversationId) this.notice.tell(`Not changed: ${reason(error)}`);
        throw error;
      }),
      edits: (message) => this.thread?.edits(message?.id),
      fitted: () => this.thread?.follow(),
      draft: (id) => draft(model.userId, id),
      keep: (id, text) => keepDraft(model.userId, id, text),
      editDraft: (id) => editDraft(model.userId, id),
      keepEdit: (id, edit) => keepEdit(model.userId, id, edit),
      maxBytes: model.limits.maxMessageBytes,
      typing: (isTyping) => model.typists.tell(this.conversationId, isTyping),
      editLast: () => {
        const { messages, hasNewer } = this.thread.timeline ?? {};
        if (!messages || hasNewer) return; // the last one is not among them
        const mine = messages.findLast(({ senderId, deletedAt, messageType }) => senderId === model.userId && !deletedAt && messageType === 'text');
        if (mine) this.composer.edit(model.outbox.edited(mine));
      },
    });
    this.composer.element.addEventListener('input', () => this.#stay());
    this.thread = new Thread(model, {
      edit: (message) => this.composer.edit(message),
      remove: (message) => this.#confirmRemoval(message),
      again: (message) => model.outbox.again(message),
      takeBack: (message) => {
        model.outbox.discard(message);
        this.composer.element.hidden = false;
        this.composer.takeBack(message.content);
      },
      discard: (message) => model.outbox.discard(message),
    });
    const refocus = () => (this.conversationId ? this.composer.input : this.list.element).focus();
    this.banner = new Banner(model, { leave: () => this.leaving(() => this.signIn()), refocus });
    this.notice = new Notice({ refocus });
    this.bar = h('p.pane-bar.small');
    this.head = new ThreadHead(model, { back: () => this.back(), toggle: (tool) => this.toggle(tool) });
    this.conversation = h('section.conversation', { hidden: true, 'aria-label': 'Conversation' }, this.head.element, this.thread.element, this.composer.element);
    this.nothing = h('div.nothing');
    this.element.replaceChildren(h('h1.unseen', {}, 'Chat'), this.bar, this.banner.element, h('div.columns', {}, this.list.element, this.conversation, this.nothing), h('div.tools', {}, this.insert.element, this.frames.element), this.notice.element);
    // A screen reader lists the regions of both panes together.
    if (this.second) for (const region of this.element.querySelectorAll('nav, section[aria-label], [role="region"]')) region.ariaLabel += `, ${this.name.toLowerCase()}`;
    if (held) this.list.element.focus();
    model.on('status', (status) => this.#status(status));
    model.on('notice', (text) => this.notice.tell(text));
    model.on('refused', ({ conversationId: id, error }) => id !== this.conversationId && this.notice.tell(`Not sent: ${reason(error)}`));
    model.on('changed', (message) => this.composer.changed(message));
    model.on('back', () => this.#lookUp());
    model.on('limits', () => this.composer.limit(model.limits.maxMessageBytes));
    for (const topic of ['presence', 'typing', 'conversations', 'status']) model.on(topic, () => soon(this.#draw));
    if (conversationId) {
      this.opening = conversationId;
      this.#openOnceListed(conversationId);
    }
    this.changed();
  }

  #openOnceListed(conversationId, place) {
    const { model } = this;
    const off = model.on('conversations', () => {
      if (model.state !== 'ready') return;
      off();
      const isTheirs = !this.wanted || this.wanted.userId === model.userId;
      this.wanted = undefined;
      if (this.opening !== conversationId) return;
      if (isTheirs) this.open(conversationId, { ...place, isLate: true });
      else this.opening = undefined;
    });
  }

  /** Who is here, and in which conversation, for the address; as long as that is not known, what it named. */
  get place() {
    const userId = this.model?.userId;
    return userId || !this.wanted ? [userId, this.opening] : [this.wanted.userId, this.wanted.conversationId];
  }

  #leave() {
    forget(this.#draw);
    this.banner?.close();
    this.model?.close();
    this.asking?.dialog.close();
    this.question?.close();
    this.thread?.close();
    this.list?.close();
    this.model = this.thread = this.list = this.conversationId = this.opening = undefined;
    this.element.classList.remove('reading');
  }

  close() {
    this.#leave();
    document.removeEventListener('visibilitychange', this.seen);
    this.element.remove();
  }

  /** With that user; where there is no conversation yet it is begun, which takes a moment. */
  async #openUser(userId) {
    const { model } = this;
    const turn = ++this.#turns;
    try {
      const conversationId = await model.open(userId);
      if (model === this.model && turn === this.#turns) await this.open(conversationId);
    } catch (error) {
      if (model === this.model) this.notice.tell(sentence(error));
    }
  }

  /** At the message `seq`, and of that at the `snippet`, that a search has found. `isLate`: it was chosen a while ago, when it was not known yet. */
  async open(conversationId, { seq, snippet, isLate = false } = {}) {
    const { model } = this;
    this.#turns++;
    this.opening = conversationId;
    const conversation = model.conversations.get(conversationId) ?? (await model.listing.find(conversationId));
    // Somebody or something else was chosen meanwhile.
    if (model !== this.model || this.opening !== conversationId) return;
    if (!conversation) {
      // Nothing, or not all of the list could be read yet: a search may be faster.
      if (model.state !== 'ready' || model.listing.hasMore) return this.#openOnceListed(conversationId, { seq, snippet });
      this.opening = this.conversationId;
      this.changed();
      model.tell('notice', 'This conversation was not found.');
      return;
    }
    this.conversationId = conversationId;
    this.#unfollow();
    this.#unfollow = model.on(conversationId, () => soon(this.#draw));
    this.composer.element.hidden = false;
    this.element.classList.add('reading');
    this.conversation.hidden = false;
    this.nothing.hidden = true;
    this.list.select(conversationId);
    this.#renderHead();
    this.composer.show(conversationId);
    this.insert.show(conversation, this.model.other(conversation));
    this.changed();
    // On a phone the keyboard would cover what one came to read. Who is busy elsewhere, as in the other pane, stays there.
    const { scroller } = this.thread;
    if (document.activeElement === document.body || (this.#hasFocus() && !this.#isSearching(isLate))) (matchMedia('(pointer: fine)').matches ? this.composer.input : scroller).focus({ preventScroll: true });
    await this.thread.show(conversationId, seq, snippet);
    await this.#lookUp();
  }

  /** The message of an edit that was begun before this page was there, as it is by now, or whether it is there any more. */
  async #lookUp() {
    const { model, composer } = this;
    const { editing } = composer ?? {};
    if (!editing || editing.content !== undefined) return;
    try {
      composer.changed((await model.message(editing)) ?? { ...editing, deletedAt: true });
    } catch { /* it is asked for once more when there is a connection again; else the service refuses the edit */ }
  }

  /** Whoever writes in a conversation stays in it, whatever else was about to be opened: the rest of it would go there. */
  #stay() {
    this.#turns++;
    if (this.opening === this.conversationId) return;
    this.opening = this.conversationId;
    this.changed();
  }

  back() {
    this.#turns++;
    const left = this.conversationId;
    this.opening = undefined;
    this.element.classList.remove('reading');
    this.conversation.hidden = true;
    this.nothing.hidden = false;
    this.conversationId = undefined;
    this.#unfollow();
    this.composer.show();
    this.list.select(undefined);
    (this.list.element.querySelector(`[data-conversation="${left}"] button`) ?? this.list.element).focus();
    this.changed();
  }

  toggle(tool, open) {
    const { element } = this[tool];
    const held = element.contains(document.activeElement);
    this[tool].toggle(open);
    const button = this.head.tools[tool];
    button.setAttribute('aria-expanded', String(!element.hidden));
    if (held) button.focus();
  }

  /** Whether one works in this pane with the keyboard: what takes the place of what had the focus is then given it. */
  #hasFocus() {
    return this.element.contains(document.activeElement);
  }

  /** Who types a search is left there: Enter would send the rest of it. `isLate`: also who is about to, as the search is not what led here. */
  #isSearching(isLate) {
    return this.list.searching || (isLate && document.activeElement === this.list.input);
  }

  #render() {
    if (!this.model) return; // left in the turn that asked for it
    this.#renderHead();
    this.#renderBar();
    this.#renderNothing();
  }

  /** Side by side, each pane says whose it is, and which replica serves it. */
  #renderBar() {
    const { me, replicaId, connection } = this.model;
    const where = connection.status === 'online' ? `replica ${shortId(replicaId)}` : 'no connection';
    if (me) fill(this.bar, `${fullName(me)} ${where}`, () => [h('strong', { dir: 'auto' }, fullName(me)), h('span', {}, where)]);
  }

  /** In the place of a conversation; where there are none the list says what to do. */
  #renderNothing() {
    const { state, conversations } = this.model;
    const some = state === 'ready' && conversations.size > 0;
    fill(this.nothing, String(some), () => (some ? [empty('chat', 'Choose a conversation', 'Or begin a new one with the + above the list.')] : []));
  }

  #renderHead() {
    this.#closeComposer();
    this.head.draw(this.model.conversations.get(this.conversationId));
  }

  /** Nobody can write in a conversation that is gone; what was typed stays, for who wants it elsewhere. */
  #closeComposer() {
    const { element, input } = this.composer;
    const { isGone, loading } = this.model.timelines.get(this.conversationId) ?? {};
    if (loading) return; // it is found out once more
    element.hidden = Boolean(isGone) && !input.value;
    if (element.hidden && element.contains(document.activeElement)) this.thread.scroller.focus({ preventScroll: true });
  }

  // --- The connection ---

  #status(status) {
    const { error, closeCode = error?.closeCode } = status;
    const { model } = this;
    const isStopped = status.status === 'stopped';
    if (closeCode === 4401 && this.asking) say(this.asking.why, 'The one in use has expired.');
    if (status.status === 'online') this.online(model.replicaId);
    if (isStopped && (error?.status === 401 || closeCode === 4401)) {
      this.signIn(model.userId && { userId: model.userId, conversationId: this.opening }); // the address named somebody, but this service wants a token
    } else this.banner.show(status);
  }

  /** A new token, when the old one is refused or about to expire: one dialog, however often it is asked for. */
  #askToken(refusal) {
    this.asking ??= this.#tokenDialog(refusal === 'it expires' ? 'The one in use is about to expire.' : `The service refused the one in use: ${refusal}.`);
    return this.asking.token;
  }

  #tokenDialog(text) {
    const { model } = this;
    let asked;
    const token = new Promise((resolve, reject) => {
      const given = (it, isLeft) => {
        this.asking = undefined;
        if (it) return resolve(it);
        reject(new Error('none was given'));
        if (model !== this.model) return;
        if (isLeft) this.signIn();
        else this.leaving(() => this.signIn()); // closed by the browser; who stays is asked again
      };
      asked = askToken(text, { leave: (then) => this.leaving(then), given });
    });
    return { ...asked, token };
  }

  // --- Small things ---

  /** `then`, at once, or if one does not mind what is lost with this chat. */
  leaving(then) {
    this.question?.close();
    if (!this.model?.outbox.isUnsent) return then();
    const about = [h('p', {}, 'What waits to be sent, or could not be, is lost with this chat.')];
    this.question = ask('Leave what was not sent?', { about, stay: 'Stay', go: ['Leave it'] }, then);
  }

  #confirmRemoval(message) {
    const about = [h('p.excerpt.quoted', { dir: 'auto' }, beginning(message.content)), h('p.quiet.small', {}, 'It is emptied for both of you; in its place it says that it was deleted.')];
    ask('Delete this message?', { about, stay: 'Keep it', go: [icon('trash'), 'Delete'] }, () => {
      this.thread.scroller.focus({ preventScroll: true }); // the button that one came from goes with the message
      this.model.outbox.remove(message).catch((error) => this.notice.tell(`Not deleted: ${reason(error)}`));
    });
  }

  /** What a key does here that is pressed in this pane, or nowhere. */
  key(event) {
    if (!this.model || isComposing(event)) return;
    if (isSearchKey(event)) {
      event.preventDefault();
      if (this.listIsHidden()) this.back();
      this.list.startSearch();
    } else if (event.key === 'Escape' && this.conversationId && !event.defaultPrevented && event.target.closest('.conversation')) {
      if (this.listIsHidden()) this.back();
      else (this.list.element.querySelector('[aria-current]') ?? this.list.element).focus();
    }
  }

  /** Where the pane is narrow, one of the list and the conversation is shown. */
  listIsHidden() {
    return Boolean(this.list) && !this.list.element.offsetParent;
  }
}
