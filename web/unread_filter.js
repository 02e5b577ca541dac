// The conversations with something unread, wherever in the list they are; and those that had when one looked at them last, which stay
// until the filter or what is selected is another one: nothing goes from under anybody's hand.
import { Retry } from './failure.js';

/** How many are read at a time, and by who has that many already: as many as the service gives at most. */
const PAGE = 50;
const MOST = 200;

export class UnreadFilter {
  isOn = false;
  /** There are more that are not listed yet. */
  hasMore = false;
  /** Why they could not be had. */
  error = undefined;
  retry = new Retry();
  /** That was when all was read anew: what is shown is as it was before. */
  isStale = false;
  /** The ids of those that are shown, with something unread or not. */
  #shown = new Set();
  /** The ids of those that were read: what the service has is known down to the last of them. */
  #read = new Set();
  #edition = 0; // counts how often what is read was begun anew
  #reading; // the edition of which more are being read

  /**
   * `listing`: where what is read is added; `changed()`: there are more, or others; `failed(error)`: they did not come; `anew()`: has the list
   * read anew, and this with it.
   */
  constructor(chat, listing, { changed, failed, anew }) {
    Object.assign(this, { chat, listing, changed, failed, anew });
  }

  /** Where all conversations are listed nothing is asked for. */
  toggle(isOn = !this.isOn) {
    if (this.isStale) this.anew();
    this.isOn = isOn;
    this.#shown.clear();
    this.#begin(new Set(), isOn && this.listing.hasMore);
    this.retry.done();
    this.more();
    this.changed();
  }

  /** Another conversation is selected, or none. */
  select(conversationId) {
    this.#shown = new Set([conversationId].filter((id) => this.#shown.has(id)));
  }

  /** Those of `conversations` that are shown. */
  of(conversations) {
    if (!this.isOn) return conversations;
    for (const { id, unreadCount } of conversations) if (unreadCount) this.#shown.add(id);
    return conversations.filter(({ id }) => this.#shown.has(id));
  }

  /** More are being read. */
  get isReading() {
    return this.#reading === this.#edition;
  }

  /** One page at a time, whoever asks for it; and first of all what is shown already. */
  async more() {
    if (this.isStale) return this.anew();
    if (!this.isOn || !this.hasMore || this.isReading) return;
    this.retry.cancel();
    this.error = undefined;
    const edition = this.#edition;
    this.#reading = edition;
    try {
      const { conversations, hasMore } = await this.#page();
      if (edition !== this.#edition) return;
      this.listing.addBesides(conversations);
      for (const { id } of conversations) this.#read.add(id);
      this.hasMore = hasMore;
      this.retry.done();
    } catch (error) {
      if (edition !== this.#edition) return;
      this.#fail(error);
    }
    this.#reading = undefined;
    this.changed();
  }

  #fail(error) {
    this.error = error;
    this.failed(error);
    if (this.chat.status !== 'closed') this.retry.after(error, () => this.more());
  }

  /** Behind what is known. What has been read meanwhile is not in the service's list any more, and what was behind it has moved up: then once more. */
  async #page() {
    for (;;) {
      const offset = this.#known();
      const page = await this.chat.conversations.list({ unread: true, limit: PAGE, offset: offset || undefined });
      if (this.#known() >= offset) return page;
    }
  }

  /** How many with something unread are listed, down to the last one that was read: those that have come since are before it. */
  #known() {
    return this.listing.sorted().filter(({ unreadCount }) => unreadCount).findLastIndex(({ id }) => this.#read.has(id)) + 1;
  }

  /**
   * As many as were read, from the beginning, beside all that is read anew to take the place of the list. That is there without them, too: where they
   * do not come, those that were shown stay as they were.
   */
  async readAnew() {
    if (!this.isOn) return;
    this.retry.cancel();
    const edition = this.#edition;
    try {
      const { read, hasMore } = await this.#anew();
      if (edition !== this.#edition) return;
      this.listing.besides([...read.values()]);
      this.#begin(new Set(read.keys()), hasMore);
      this.retry.done();
    } catch (error) {
      if (edition !== this.#edition) return;
      const { conversations } = this.listing;
      this.listing.besides([...this.#read, ...this.#shown].map((id) => conversations.get(id)).filter(Boolean));
      this.isStale = true;
      this.#fail(error);
    }
  }

  async #anew() {
    const read = new Map();
    let hasMore = true;
    const wanted = Math.max(PAGE, this.#read.size);
    while (hasMore && read.size < wanted) {
      const left = [...read.keys()].filter((id) => this.listing.conversations.get(id)?.unreadCount !== 0);
      const page = await this.chat.conversations.list({ unread: true, limit: wanted > PAGE ? MOST : PAGE, offset: left.length || undefined });
      const { size } = read;
      for (const conversation of page.conversations) read.set(conversation.id, conversation);
      hasMore = page.hasMore;
      if (read.size === size) break;
    }
    return { read, hasMore };
  }

  #begin(read, hasMore) {
    this.#edition++;
    this.#read = read;
    this.hasMore = hasMore;
    this.error = undefined;
    this.isStale = false;
  }
}
