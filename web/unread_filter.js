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
  /** The ids of those that are shown, with something unread or not. */
  #shown = new Set();
  /** The ids of those that were read: what the service has is known down to the last of them. */
  #read = new Set();
  #edition = 0; // counts how often what is read was begun anew
  #reading; // the edition of which more are being read

  /** `listing`: where what is read is added; `changed()`: there are more, or others; `failed(error)`: they did not come. */
  constructor(chat, listing, { changed, failed }) {
    Object.assign(this, { chat, listing, changed, failed });
  }

  /** Where all conversations are listed nothing is asked for. */
  toggle(isOn = !this.isOn) {
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

  /** One page at a time, whoever asks for it. */
  async more() {
    if (!this.isOn || !this.hasMore || this.isReading) return;
    this.retry.cancel();
    this.error = undefined;
    const edition = this.#edition;
    this.#reading = edition;
    try {
      const { conversations, hasMore } = await this.#page();
      if (edition !== this.#edition) return;
      for (const conversation of conversations) {
        this.listing.add(conversation);
        this.#read.add(conversation.id);
      }
      this.hasMore = hasMore;
      this.retry.done();
    } catch (error) {
      if (edition !== this.#edition) return;
      this.error = error;
      this.failed(error);
      if (this.chat.status !== 'closed') this.retry.after(error, () => this.more());
    }
    this.#reading = undefined;
    this.changed();
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

  /** As many as were read, from the beginning, beside all that is read anew to take the place of the list. */
  async readAnew() {
    if (!this.isOn) return;
    const edition = this.#edition;
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
    if (edition !== this.#edition) return;
    this.listing.besides([...read.values()]);
    this.#begin(new Set(read.keys()), hasMore);
  }

  #begin(read, hasMore) {
    this.#edition++;
    this.#read = read;
    this.hasMore = hasMore;
    this.error = undefined;
  }
}
