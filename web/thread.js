// The messages of the open conversation. Only a window of them is in the document, however far one scrolls: it is moved
// as its ends come near, and what one looks at stays where it is.
import { Announcer } from './announcer.js';
import { empty, fill, h, icon, place, say } from './dom.js';
import { atOnce, forget, soon } from './draw.js';
import { reason, Retry } from './failure.js';
import { mark, placeOf, unmark } from './found.js';
import { dayDivider, messageElement, newDivider, reaches } from './message.js';
import { dayKey, dayName } from './time.js';

const STEP = 60;
const MOST = 220;
/** Messages of one sender within this time stand close together. */
const TOGETHER_MS = 5 * 60_000;
const NEAR_END_PX = 48;
/** What is seen above the line of new messages. */
const ABOVE_NEW_PX = 8;
const JUMP = 'Jump to the latest messages';

export class Thread {
  #elements = new Map();
  #first = 0; // index in the timeline's messages
  #end = 0; // past the last one shown; Infinity: whatever comes
  #off = [];
  #oldest;
  #edition; // of the timeline's stretch that the indexes are of
  #away = 0; // arrived while one looked at older ones
  #unfolded = new Set(); // the keys of long messages that are shown as a whole
  #draw = () => this.#render();
  #editing; // the id of the message that is being edited
  #retry = new Retry();
  #failure; // what waits for that
  #wanted; // where to begin, `{seq, snippet}`, while that has not come
  #unseen = false; // nobody has looked yet since it was opened at its end, or at what is new
  #behind = false; // it was opened at what is new, and one has not been at its end since
  #found; // the seq of the message that a search led to
  #marked; // in it, what was searched for
  #top = 0; // as it was last seen: somebody may have scrolled of whom no event has told yet

  constructor(model, actions) {
    this.model = model;
    this.actions = { ...actions, unfold: (element) => this.#unfold(element) };
    this.list = h('ol.messages');
    this.before = h('div.edge');
    this.after = h('div.edge');
    this.scroller = h('div.scroller', { tabindex: '0', role: 'region', 'aria-label': 'Messages', onscroll: () => this.#scrolled() }, this.before, this.list, this.after);
    this.count = h('span.badge', { hidden: true });
    this.jump = h('button.jump', { type: 'button', hidden: true, 'aria-label': JUMP, onclick: () => this.toLatest() }, icon('down'), this.count);
    this.announcer = new Announcer();
    this.element = h('div.thread', {}, this.scroller, this.jump, this.announcer.element);
    // The keyboard of a phone, or a growing composer, takes room from below.
    this.resized = new ResizeObserver(() => this.follow());
    this.resized.observe(this.scroller);
  }

  close() {
    this.#off.forEach((off) => off());
    this.#retry.done();
    this.announcer.close();
    forget(this.#draw);
    if (this.timeline) this.timeline.lookedAt = undefined;
    unmark(this.#marked);
    this.resized.disconnect();
  }

  /** At the end, where not all that is new fits there at its first message, or at the message `seq`, that a search has found; its `snippet` says where in it. */
  async show(conversationId, seq, snippet = []) {
    this.#off.forEach((off) => off());
    if (this.timeline) this.timeline.lookedAt = undefined;
    this.conversationId = conversationId;
    this.timeline = this.model.timeline(conversationId);
    this.timeline.lookedAt = () => (this.#isPinned() ? undefined : this.#anchor()?.element.message.seq);
    this.#off = [
      this.model.on(conversationId, () => this.#told()),
      this.model.on('back', () => this.timeline.failed && this.#again(true)),
      this.model.on('arrived', (message) => message.conversationId === conversationId && this.#arrived(message)),
      this.model.on('refused', ({ conversationId: id, error }) => id === conversationId && this.announcer.say(`Not sent: ${reason(error)}`)),
    ];
    this.#elements.clear();
    this.#unfolded.clear();
    this.#away = 0;
    this.announcer.forget();
    this.#found = seq;
    unmark(this.#marked);
    this.#window(0, 0);
    this.pinned = true;
    this.#retry.done();
    this.#failure = undefined;
    const { unreadCount = 0, lastSeq } = this.model.conversations.get(conversationId) ?? {};
    const wanted = { seq, snippet, unreadCount, lastSeq };
    this.#wanted = wanted;
    this.#told();
    if (seq !== undefined || !this.timeline.started || this.timeline.hasNewer) await this.timeline.start(seq);
    await this.#begin(wanted);
  }

  /** What is wanted has come, or could not be had: then there is what was there before. */
  async #begin(wanted) {
    if (this.#wanted !== wanted) return;
    const { timeline } = this;
    const { seq, snippet, unreadCount, lastSeq } = wanted;
    const atEnd = seq === undefined;
    timeline.opened(this.model.userId, unreadCount, lastSeq);
    wanted.seeking = atEnd;
    if (atEnd) await timeline.olderUntilNew();
    wanted.seeking = false;
    if (this.#wanted !== wanted) return;
    const { messages, failed, firstNew } = timeline;
    if (failed !== 'start') this.#wanted = undefined;
    // In a pane that is not shown it is not known what fits.
    const line = atEnd && this.scroller.clientHeight ? messages.findIndex((message) => message.seq === firstNew) : -1;
    const from = line < 0 ? messages.length - (atEnd ? STEP : MOST) : line - STEP;
    this.#window(from, timeline.hasNewer || from + MOST < messages.length ? Math.min(messages.length, from + MOST) : Infinity);
    this.pinned = this.#unseen = atEnd;
    this.#behind = false;
    const found = seq === undefined ? undefined : messages.find((message) => message.seq === seq);
    const place = found && !found.deletedAt && placeOf(found.content, snippet);
    if (place && !reaches(found.content, place.end)) this.#unfolded.add(this.#key(found));
    this.#render();
    if (found) {
      this.#lookAt(this.list.querySelector('.found'), place);
      this.#scrolled(); // no scroll event comes if it is at the end already
    } else if (line >= 0) this.#lookAtNew();
    if (this.#behind) timeline.holdNew();
    this.read();
  }

  async toLatest() {
    this.#wanted = undefined;
    if (this.timeline.hasNewer) await this.timeline.start();
    this.#found = undefined;
    unmark(this.#marked);
    this.#window(this.timeline.messages.length - STEP);
    this.pinned = true;
    this.#render();
    this.read();
  }

  /** The message with that id is being edited; without one, none is. */
  edits(id) {
    this.#editing = id;
    if (this.timeline) soon(this.#draw);
  }

  /** Another part of the timeline is shown from now on. */
  #window(first, end = Infinity) {
    this.#first = Math.max(0, first);
    this.#end = end;
    this.#edition = this.timeline.edition;
    this.#oldest = this.timeline.messages[0]?.seq;
    this.#top = 0;
  }

  /** What can be seen has been read, and what is new when it is opened; not what is to be seen once it has come. */
  read() {
    const looked = document.visibilityState === 'visible' && this.element.isConnected && this.scroller.clientHeight > 0;
    if (!looked || this.#wanted || !(this.#isPinned() || this.#unseen)) return;
    const { hasNewer, loading, failed } = this.timeline;
    if (hasNewer || loading === 'start' || failed === 'start') return;
    this.#away = 0;
    this.#unseen = false;
    if (this.pinned) this.#behind = false;
    this.#updateJump();
    this.model.markRead(this.conversationId);
  }

  #arrived(message) {
    // One's own, from another device: who reads older ones meanwhile goes on reading them. Sending here leads to the end by itself.
    if (message.senderId === this.model.userId) {
      this.timeline.newFrom(undefined);
      this.#behind = false;
      return;
    }
    this.announcer.arrived(message);
    if (!this.#isPinned()) this.#away++;
    this.read();
    // The first that nobody has looked at; but who has not read on to the end has the same line above it.
    if (!this.#behind && this.model.conversations.get(this.conversationId)?.unreadCount === 1) this.timeline.newFrom(message.seq);
    soon(this.#draw);
  }

  #told() {
    soon(this.#draw);
    const { error, loading } = this.timeline;
    if (loading) return;
    this.read(); // read anew, it may be more than any event told of
    if (error === this.#failure) return;
    this.#failure = error;
    if (error) this.#retry.after(error, () => this.#again(true));
    else this.#retry.done();
  }

  #render() {
    forget(this.#draw);
    if (this.#wanted?.seeking) this.#window(0, 0); // nothing moves under one's eyes
    const { messages, outgoing, hasNewer, firstNew } = this.timeline;
    const anchor = this.#isPinned() ? undefined : this.#anchor();
    const held = this.element.contains(document.activeElement);
    this.#aim(anchor?.element.message.seq);
    const end = Math.min(this.#end, messages.length);
    const atEnd = end === messages.length && !hasNewer;

    const children = [];
    const used = new Set();
    const use = (key, make) => {
      used.add(key);
      if (!this.#elements.has(key)) this.#elements.set(key, make());
      children.push(this.#elements.get(key));
      return children.at(-1);
    };
    let previous = messages[this.#first - 1];
    let yesterday = previous && dayKey(previous.createdAt);
    const show = (message, more) => {
      const day = dayKey(message.createdAt);
      if (day !== yesterday) say(use(`day ${day}`, dayDivider).firstChild, dayName(message.createdAt));
      if (message.seq && message.seq === firstNew) use('new', newDivider);
      const mine = message.senderId === this.model.userId;
      const joined = previous?.senderId === message.senderId && Date.parse(message.createdAt) - Date.parse(previous.createdAt) < TOGETHER_MS;
      const key = this.#key(message);
      const element = use(key, () => messageElement(this.actions));
      element.update({ message, mine, joined, state: mine ? (message.isRead ? 'read' : 'sent') : '', found: message.seq === this.#found && this.#found !== undefined, editing: message.id === this.#editing && this.#editing !== undefined, latency: this.model.latencies.get(message.id), unfolded: this.#unfolded.has(key), ...more });
      element.key = key;
      previous = message;
      yesterday = day;
    };
    for (const message of messages.slice(this.#first, end)) {
      const edited = this.model.outbox.edited(message);
      show(edited, edited !== message && { state: 'queued' });
    }
    if (atEnd) {
      for (const { at, state, error, ...message } of outgoing.values()) {
        show({ ...message, senderId: this.model.userId, createdAt: at }, { state, error });
      }
    }
    for (const key of this.#elements.keys()) if (!used.has(key)) this.#elements.delete(key);
    place(this.list, children);
    this.#edges(!children.length);
    // What had the focus is gone: a button that was pressed, or those of a message that was deleted.
    if (held && document.activeElement === document.body) this.scroller.focus({ preventScroll: true });

    if (anchor) this.#hold(anchor);
    else if (this.pinned) this.#toBottom();
    this.#updateJump();
    this.announcer.announce();
  }

  /** Keeps the window on what was shown, `looked` at where that is not the end, when the messages under its indexes have changed. */
  #aim(looked) {
    const { messages, hasNewer, edition } = this.timeline;
    const oldest = messages[0]?.seq;
    if (edition !== this.#edition) {
      // Read anew: the indexes are of a stretch that is gone.
      const at = looked === undefined ? messages.length : messages.findLastIndex(({ seq }) => seq <= looked);
      this.#first = Math.max(0, at - STEP);
      this.#end = at + STEP < messages.length || hasNewer ? at + STEP : Infinity;
    } else if (this.#oldest !== undefined && oldest !== this.#oldest) {
      // Pages that came in before the first message move the indexes.
      const moved = messages.findIndex(({ seq }) => seq === this.#oldest);
      if (moved > 0) {
        // Those that were waited for are shown at once: at the very top there is no room to keep anything in its place.
        this.#first = this.#first === 0 ? Math.max(0, moved - STEP) : this.#first + moved;
        this.#end += moved;
      }
    }
    this.#edition = edition;
    this.#oldest = oldest;
    // What arrives while nobody scrolls does not pile up in the document, either.
    if (Math.min(this.#end, messages.length) - this.#first > MOST) {
      if (this.pinned) this.#first = messages.length - STEP;
      else this.#end = this.#first + MOST;
    }
  }

  #edges(blank) {
    const { loading, error, failed, hasOlder, hasNewer, started, isGone } = this.timeline;
    const wait = ['loading', () => [h('span.spinner', { role: 'img', 'aria-label': 'Loading messages' })]];
    const fault = error && [`failed ${reason(error)}`, () => [h('span.problem', { role: 'alert' }, `Messages could not be loaded: ${reason(error)}`), h('button.button.compact', { type: 'button', onclick: () => this.#again() }, 'Try again')]];
    const nothing = ['', () => []];
    fill(this.before, ...(isGone ? ['gone', () => [h('div', { role: 'alert' }, empty('chat', 'This conversation is gone', 'It was deleted, with all of its messages.'))]]
      : error && failed !== 'newer' ? fault
      : loading === 'older' || (loading && blank) ? wait
      : started && blank ? ['none', () => [empty('chat', 'No messages yet', 'Say hello: what you write arrives at once.')]]
      : started && !hasOlder && this.#first === 0 ? ['beginning', () => [h('span', {}, 'The beginning of this conversation')]]
      : nothing));
    this.before.classList.toggle('whole', blank && (isGone || (started && !error)));
    fill(this.after, ...(failed === 'newer' ? fault : loading === 'newer' || (hasNewer && loading) ? wait : nothing));
  }

  /** The read that failed, once more, and on from there; `quiet`: nobody asked for it, and what is shown stays until it has come. */
  async #again(quiet = false) {
    const { timeline } = this;
    this.#retry.cancel();
    await timeline.again(quiet);
    if (timeline !== this.timeline || timeline.failed) return;
    if (this.#wanted) await this.#begin(this.#wanted);
    else this.#scrolled();
  }

  /** What stands above stays where it is, and what is folded again leaves its button under the finger. */
  #unfold(element) {
    const button = element.querySelector('.unfold');
    const { top } = button.getBoundingClientRect();
    const folds = this.#unfolded.delete(element.key);
    if (!folds) this.#unfolded.add(element.key);
    this.pinned = false;
    this.#render();
    if (folds) this.scroller.scrollTop += button.getBoundingClientRect().top - top;
    this.#scrolled();
  }

  /** One's own is the same while it is sent and when it is stored. */
  #key({ senderId, clientMessageId, id }) {
    return `message ${(senderId === this.model.userId && clientMessageId) || id}`;
  }

  #isPinned() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    // Where the window has grown, the end itself has moved up.
    if (scrollTop < Math.min(this.#top, scrollHeight - clientHeight) - NEAR_END_PX) this.pinned = false;
    return this.pinned;
  }

  /** Whoever is at the end stays there, when room has been taken from the messages or given back. */
  follow() {
    if (this.#isPinned()) this.#toBottom();
  }

  /** The first message that can be seen, and where. */
  #anchor() {
    const top = this.scroller.getBoundingClientRect().top;
    for (const element of this.list.children) {
      const rectangle = element.getBoundingClientRect();
      if (rectangle.bottom > top && element.message) return { element, offset: rectangle.top };
    }
    return undefined;
  }

  #hold({ element, offset }) {
    if (!element.isConnected) return;
    const { scrollTop } = this.scroller;
    this.scroller.scrollTop += element.getBoundingClientRect().top - offset;
    this.#top += this.scroller.scrollTop - scrollTop; // nobody has scrolled
  }

  /** The message that was found, and of a long one the words. */
  #lookAt(element, place) {
    if (!element) return;
    this.#marked = place && mark(element.querySelector('.content'), place);
    const { height } = element.getBoundingClientRect();
    this.#center(this.#marked && height > this.scroller.clientHeight ? this.#marked : element);
  }

  /** The line above what is new goes to the top, with the day that begins there, if it is not in sight at the end. */
  #lookAtNew() {
    const { scroller } = this;
    const line = this.list.querySelector('.day:has(+ .new)') ?? this.list.querySelector('.new');
    const above = scroller.getBoundingClientRect().top - line.getBoundingClientRect().top;
    this.#behind = above > 0;
    if (!this.#behind) return;
    this.pinned = false;
    scroller.scrollTop -= above + ABOVE_NEW_PX;
    this.#top = scroller.scrollTop;
    this.#updateJump();
  }

  /** An element, or a Range. */
  #center(element) {
    const [inner, outer] = [element, this.scroller].map((it) => it.getBoundingClientRect());
    this.scroller.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  }

  #toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#top = this.scroller.scrollTop;
  }

  #updateJump() {
    if (this.pinned && document.activeElement === this.jump) this.scroller.focus({ preventScroll: true });
    this.jump.hidden = this.pinned;
    this.count.hidden = !this.#away;
    this.count.textContent = this.#away;
    this.jump.setAttribute('aria-label', this.#away ? `${JUMP}: ${this.#away} new` : JUMP);
  }

  #scrolled() {
    if (!this.timeline?.started || this.#wanted?.seeking) return;
    atOnce(this.#draw);
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    if (!clientHeight) return;
    const up = scrollTop < this.#top - 1;
    this.#top = scrollTop;
    if (up) this.timeline.letGoNew();
    const { messages, hasNewer, failed } = this.timeline;
    const below = scrollHeight - clientHeight - scrollTop;
    const shownToEnd = this.#end >= messages.length && !hasNewer;
    const wasPinned = this.pinned;
    // Where nobody scrolled up, it was the end that went down: room was taken from below since this event came up.
    this.pinned = shownToEnd && (below < NEAR_END_PX || (wasPinned && !up));
    if (this.pinned && !wasPinned) this.read();
    this.#updateJump();
    const near = clientHeight * 2;
    // What failed waits for its button, or for the connection: to tell of it moves what is around it, and that is scrolling too. So does
    // all else where a place could not be read that one is to be led to.
    const reads = (what) => failed !== what && failed !== 'start';
    if (scrollTop < near) {
      if (this.#first > 0) this.#move(-STEP);
      // Where more is new than was loaded, the line stays in sight until somebody scrolls up.
      else if (reads('older') && (up || !this.timeline.isNewAbove)) this.timeline.older();
    } else if (below < near && !shownToEnd) {
      if (this.#end < messages.length) this.#move(STEP);
      else if (reads('newer')) this.timeline.newer()?.then(() => this.#move(STEP));
    }
  }

  /** Moves the window by as many messages, and keeps it from growing without end. */
  #move(by) {
    atOnce(this.#draw);
    const { length } = this.timeline.messages;
    let end = Math.min(this.#end, length);
    if (by < 0) {
      this.#first = Math.max(0, this.#first + by);
      if (end - this.#first > MOST) this.#end = this.#first + MOST;
    } else {
      end = Math.min(length, end + by);
      this.#end = end === length && !this.timeline.hasNewer ? Infinity : end;
      this.#first = Math.max(this.#first, end - MOST);
    }
    this.#render();
  }
}
