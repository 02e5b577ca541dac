// What of a conversation has been read: what somebody has looked at, whether at its end or when it was opened.

export class Reading {
  /** So many have arrived while one looked at older ones. */
  away = 0;
  #unseen = false; // nobody has looked yet since it was opened at its end, or at what is new
  #behind = false; // it was opened at what is new, and one has not been at its end since

  /** `element`: where the messages are shown, at `position` (a ScrollPosition); `isOpening`: what is wanted has not come; `changed`: what is to be told of it. */
  constructor(model, { element, position, isOpening, changed }) {
    Object.assign(this, { model, element, position, isOpening, changed });
  }

  /** Another conversation, or the same anew. */
  clear(timeline) {
    this.timeline = timeline;
    this.away = 0;
  }

  /** It is shown: at its end, unless a search led elsewhere, or what is new begins far from there. */
  opened(atEnd) {
    this.#unseen = atEnd;
    this.#behind = false;
  }

  /** What is new begins above what fits: one is led there, and the line stays until one has read on. */
  ledToNew() {
    this.#behind = true;
    this.timeline.holdNew();
  }

  /** What can be seen has been read, and what is new when it is opened; not what is to be seen once it has come. */
  read() {
    const { position } = this;
    const looked = document.visibilityState === 'visible' && this.element.isConnected && position.scroller.clientHeight > 0;
    if (!looked || this.isOpening() || !(position.isPinned() || this.#unseen)) return;
    const { hasNewer, loading, failed, conversationId } = this.timeline;
    if (hasNewer || loading === 'start' || failed === 'start') return;
    this.away = 0;
    this.#unseen = false;
    if (position.pinned) this.#behind = false;
    this.changed();
    this.model.markRead(conversationId);
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
