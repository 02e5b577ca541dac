// The messages of the open conversation: where one begins in them, and what is asked for and drawn as one scrolls. What is in
// the document is message_window.js's, where one is in it scroll_position.js's, what has been read reading.js's.
import { Announcer } from './announcer.js';
import { h } from './dom.js';
import { atOnce, forget, soon } from './draw.js';
import { Edges } from './edges.js';
import { reason, Retry } from './failure.js';
import { Jump } from './jump.js';
import { MessageList } from './message_list.js';
import { MessageWindow, MOST, STEP } from './message_window.js';
import { Reading } from './reading.js';
import { ScrollPosition } from './scroll_position.js';
import { isFar } from './timeline.js';

export class Thread {
  #window = new MessageWindow();
  #off = [];
  #draw = () => {
    this.#render();
    this.reading.read(); // what has come into sight
  };
  #retry = new Retry();
  #failure; // what waits for that
  #wanted; // where to begin, `{seq, snippet}`, while that has not come

  constructor(model, actions) {
    this.model = model;
    this.messages = new MessageList(model, { ...actions, unfold: (element) => this.#unfold(element) });
    this.edges = new Edges(() => this.#again());
    this.scroller = h('div.scroller', { tabindex: '0', role: 'region', 'aria-label': 'Messages', onscroll: () => this.#scrolled() }, this.edges.before, this.messages.element, this.edges.after);
    this.position = new ScrollPosition(this.scroller);
    this.jump = new Jump({ jump: () => this.toLatest(), leave: () => this.#focus() });
    this.announcer = new Announcer();
    this.element = h('div.thread', {}, this.scroller, this.jump.element, this.announcer.element);
    this.reading = new Reading(model, { element: this.element, position: this.position, seen: () => this.position.seen(this.messages.element.children), isOpening: () => Boolean(this.#wanted), changed: () => this.#updateJump() });
    // The keyboard of a phone, or a growing composer, takes room from below.
    this.resized = new ResizeObserver(() => {
      this.follow();
      if (this.timeline) this.reading.read();
    });
    this.resized.observe(this.scroller);
  }

  close() {
    this.#leave(undefined);
    this.#retry.done();
    this.announcer.close();
    forget(this.#draw);
    this.messages.close();
    this.resized.disconnect();
  }

  /** Nobody looks at the conversation any more, unless it is `next`, for another place in it: then what is there stays until that has come. */
  #leave(next) {
    this.#off.forEach((off) => off());
    if (!this.timeline || this.timeline === next) return;
    this.timeline.lookedAt = undefined;
    this.timeline.trim();
  }

  // --- Where one begins ---

  /** At the end, where not all that is new fits there at its first message, however far up, or at the message `seq`, that a search has found; its `snippet` says where in it. */
  async show(conversationId, seq, snippet = []) {
    const timeline = this.model.timeline(conversationId);
    this.#leave(seq === undefined ? undefined : timeline);
    this.timeline = timeline;
    this.timeline.lookedAt = () => (this.position.isPinned() ? undefined : this.#anchor()?.element.message.seq);
    this.#off = [
      this.model.on(conversationId, () => this.#told()),
      this.model.on('back', () => this.timeline.failed && this.#again(true)),
      this.model.on('arrived', (message) => message.conversationId === conversationId && this.#arrived(message)),
      this.model.on('refused', ({ conversationId: id, error }) => id === conversationId && this.announcer.say(`Not sent: ${reason(error)}`)),
    ];
    this.messages.clear();
    this.messages.find(seq);
    this.reading.clear(this.timeline);
    this.announcer.forget();
    this.#showFrom(0, 0);
    this.position.pinned = true;
    this.#retry.done();
    this.#failure = undefined;
    const { unreadCount = 0, firstUnreadSeq, lastSeq } = this.model.conversations.get(conversationId) ?? {};
    const newAt = seq === undefined && this.scroller.clientHeight && isFar(firstUnreadSeq, lastSeq) ? firstUnreadSeq : undefined;
    const wanted = { seq, snippet, unreadCount, newAt, lastSeq };
    this.#wanted = wanted;
    this.#told();
    const at = seq ?? newAt;
    if (at !== undefined || !this.timeline.started || this.timeline.hasNewer) await this.timeline.start(at);
    await this.#begin(wanted);
  }

  /** What is wanted has come, or could not be had: then there is what was there before. */
  async #begin(wanted) {
    if (this.#wanted !== wanted) return;
    const { timeline } = this;
    const { seq, snippet } = wanted;
    const atEnd = seq === undefined;
    await this.#findNew(wanted);
    if (this.#wanted !== wanted) return;
    const { messages, failed, firstNew } = timeline;
    if (failed !== 'start') this.#wanted = undefined;
    // In a pane that is not shown it is not known what fits.
    const line = atEnd && this.scroller.clientHeight ? messages.findIndex((message) => message.seq === firstNew) : -1;
    const from = line < 0 ? messages.length - (atEnd ? STEP : MOST) : line - STEP;
    this.#showFrom(from, timeline.hasNewer || from + MOST < messages.length ? Math.min(messages.length, from + MOST) : Infinity);
    this.position.pinned = atEnd;
    this.reading.opened();
    const found = atEnd ? undefined : messages.find((message) => message.seq === seq);
    const place = found && this.messages.placeOf(found, snippet);
    this.#render();
    if (found) {
      this.#lookAt(place);
      this.#scrolled(); // no scroll event comes if it is at the end already
    } else if (line >= 0) this.#lookAtNew();
    this.reading.read();
  }

  /** The first unread message: what is around it, if it is far from the end, and otherwise all from there on is loaded. */
  async #findNew(wanted) {
    const { timeline } = this;
    const { seq, unreadCount, newAt, lastSeq } = wanted;
    if (newAt !== undefined) {
      if (timeline.openedAt(this.model.userId, newAt)) return;
      // What was unread there has been read, or is gone, since that was told.
      if (!timeline.failed) {
        wanted.newAt = undefined;
        await timeline.start();
      }
      if (this.#wanted !== wanted) return;
    }
    timeline.opened(this.model.userId, unreadCount, lastSeq);
    wanted.seeking = seq === undefined;
    if (wanted.seeking) await timeline.olderUntilNew();
    wanted.seeking = false;
  }

  async toLatest() {
    const { timeline } = this;
    this.#wanted = undefined;
    if (timeline.hasNewer) await timeline.start();
    // Another conversation, or another place in this one, was opened meanwhile.
    if (timeline !== this.timeline || this.#wanted) return;
    this.messages.find(undefined);
    this.#showFrom(timeline.messages.length - STEP);
    this.position.pinned = true;
    this.#render();
    this.reading.read();
  }

  /** Another part of the timeline is shown from now on. */
  #showFrom(first, end) {
    this.#window.show(this.timeline, first, end);
    this.position.forget();
  }

  /** The message that was found, and of a long one the words. */
  #lookAt(place) {
    const { element, range } = this.messages.mark(place);
    if (!element) return;
    const { height } = element.getBoundingClientRect();
    this.position.center(range && height > this.scroller.clientHeight ? range : element);
  }

  /** The line above what is new goes to the top, if it is not in sight at the end. Where that is far, one is not at it in any case. */
  #lookAtNew() {
    const isFarUp = this.timeline.hasNewer;
    if (!this.position.lowerToTop(this.messages.newLine) && !isFarUp) return;
    this.position.pinned = false;
    this.reading.ledToNew();
    this.#updateJump();
    if (isFarUp) this.#scrolled(); // more is wanted, where no scroll event comes
  }

  // --- What is told ---

  /** What can be seen may have been read: somebody looks, or looks again; or nobody does any more. */
  read() {
    if (this.timeline) this.reading.read();
  }

  /** The message with that id is being edited; without one, none is. */
  edits(id) {
    this.messages.editing = id;
    if (this.timeline) soon(this.#draw);
  }

  #arrived(message) {
    if (message.senderId === this.model.userId) return this.reading.saidOneself();
    this.announcer.arrived(message);
    this.reading.arrived(message);
    soon(this.#draw);
  }

  #told() {
    soon(this.#draw);
    const { error, loading } = this.timeline;
    if (loading) return;
    this.reading.read(); // read anew, it may be more than any event told of
    if (error === this.#failure) return;
    this.#failure = error;
    if (error) this.#retry.after(error, () => this.#again(true));
    else this.#retry.done();
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

  // --- What is drawn ---

  #render() {
    forget(this.#draw);
    if (this.#wanted?.seeking) this.#showFrom(0, 0); // nothing moves under one's eyes
    const anchor = this.position.isPinned() ? undefined : this.#anchor();
    const held = this.element.contains(document.activeElement);
    this.#window.aim(anchor?.element.message.seq, this.position.pinned);
    const isBlank = !this.messages.draw(this.#window);
    this.edges.draw(this.timeline, { isBlank, isAtTop: this.#window.first === 0 });
    // What had the focus is gone: a button that was pressed, or those of a message that was deleted.
    if (held && document.activeElement === document.body) this.#focus();
    if (anchor) this.position.hold(anchor);
    else if (this.position.pinned) this.position.toBottom();
    this.#updateJump();
    this.announcer.announce();
  }

  /** What stands above stays where it is, and what is folded again leaves its button under the finger. */
  #unfold(element) {
    const button = element.querySelector('.unfold');
    const { top } = button.getBoundingClientRect();
    const folds = this.messages.fold(element);
    this.position.pinned = false;
    this.#render();
    if (folds) this.scroller.scrollTop += button.getBoundingClientRect().top - top;
    this.#scrolled();
  }

  #anchor() {
    return this.position.anchor(this.messages.element.children);
  }

  #updateJump() {
    this.jump.update(this.position.pinned, this.reading.away);
  }

  #focus() {
    this.scroller.focus({ preventScroll: true });
  }

  // --- Scrolling ---

  /** Whoever is at the end stays there, when room has been taken from the messages or given back. */
  follow() {
    this.position.follow();
  }

  #scrolled() {
    if (!this.timeline?.started || this.#wanted?.seeking) return;
    atOnce(this.#draw);
    if (!this.scroller.clientHeight) return;
    const up = this.position.moved();
    if (up) this.timeline.letGoNew();
    this.position.settle(this.#window.isAtEnd, up);
    this.reading.read();
    this.#updateJump();
    this.#more(up);
  }

  /** Near an end of what is shown more is, and more is asked for where that is all that is loaded. */
  #more(up) {
    const { timeline } = this;
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    const near = clientHeight * 2;
    // What failed waits for its button, or for the connection: to tell of it moves what is around it, and that is scrolling too. So does
    // all else where a place could not be read that one is to be led to.
    const reads = (what) => timeline.failed !== what && timeline.failed !== 'start';
    const hasOlder = scrollTop < near && (this.#window.first > 0 || timeline.hasOlder);
    const hasNewer = scrollHeight - clientHeight - scrollTop < near && !this.#window.isAtEnd;
    // Where little is loaded in a high window, both ends are near: then it goes by the way in which one scrolls.
    if (hasOlder && (up || !hasNewer)) {
      if (this.#window.first > 0) this.#move(-STEP);
      // Where more is new than was loaded, the line stays in sight until somebody scrolls up.
      else if (reads('older') && (up || !timeline.isNewAbove)) timeline.older();
    } else if (hasNewer) {
      if (this.#window.end < timeline.messages.length) this.#move(STEP);
      else if (reads('newer')) timeline.newer()?.then(() => this.#move(STEP));
    }
  }

  #move(by) {
    atOnce(this.#draw);
    this.#window.move(by);
    this.#render();
  }
}
