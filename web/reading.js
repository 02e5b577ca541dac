// What of a conversation has been read: as far down as somebody has looked, from the first unread message on; and all of it, at its end.

export class Reading {
  /** So many have arrived while one looked at older ones. */
  away = 0;
  #behind = false; // it was opened at what is new, and one has not been at its end since
  #from = Infinity; // the `seq` of the first message that was seen since it was opened: from there on one reads

  /**
   * `element`: where the messages are shown, at `position` (a ScrollPosition); `seen()`: which are in sight, `{from, to}`; `isOpening`: what is
   * wanted has not come; `changed`: what is to be told of it.
   */
  constructor(model, { element, position, seen, isOpening, changed }) {
    Object.assign(this, { model, element, position, seen, isOpening, changed });
  }

  /** Another conversation, or the same anew. */
  clear(timeline) {
    this.timeline = timeline;
    this.away = 0;
  }

  /** It is shown: at its end, at what is new, or where a search led to. */
  opened() {
    this.#behind = false;
    this.#from = Infinity;
  }

  /** What is new begins above what fits: one is led there, and the line stays until one has read on. */
  ledToNew() {
    this.#behind = true;
    this.timeline.holdNew();
  }

  /** What can be seen has been read; not what is to be seen once it has come. Where nobody looks any more, what was seen is told. */
  read() {
    const { position } = this;
    if (document.visibilityState !== 'visible') return this.model.marks.flush();
    if (!this.element.isConnected || !position.scroller.clientHeight || this.isOpening()) return;
    const { hasNewer, loading, failed, conversationId, last } = this.timeline;
    if (loading === 'start' || failed === 'start') return;
    if (!position.isPinned() || hasNewer) return this.#readOn();
    this.away = 0;
    this.#behind = false;
    this.changed();
    this.model.markRead(conversationId, last?.seq);
  }

  /** Who was led past what is unread has not read it: a mark is for all up to somewhere. */
  #readOn() {
    const { model, timeline } = this;
    const { conversationId } = timeline;
    const { unreadCount, firstUnreadSeq } = model.conversations.get(conversationId) ?? {};
    const seen = unreadCount ? this.seen() : undefined;
    if (!seen) return;
    this.#from = Math.min(this.#from, seen.from);
    if (!timeline.hasUnread(model.userId, firstUnreadSeq, this.#from)) model.markRead(conversationId, seen.to);
  }

  /** One's own, from another device: who reads older ones meanwhile goes on reading them. Sending here leads to the end by itself. */
  saidOneself() {
    this.timeline.newFrom(undefined);
    this.#behind = false;
  }

  /** Another's has arrived. */
  arrived({ seq }) {
    if (!this.position.isPinned()) this.away++;
    this.read();
    // The first that nobody has looked at; but who has not read on to the end has the same line above it.
    if (!this.#behind && this.model.conversations.get(this.timeline.conversationId)?.unreadCount === 1) this.timeline.newFrom(seq);
  }
}
