// The list of conversations as the service gives it: in parts, last active first; and what is told of them while it is read.
import { Retry } from './failure.js';

/** How many are read at a time by who scrolls, and by who looks for one of them: as many as the service gives at most. */
const PAGE = 50;
export const MOST = 200;
/** What belongs to an answer may be told so much later. While something is told all the time the pause doubles, up to a bound. */
const MOMENT_MS = 1_000;
const MOST_PAUSE_MS = 30_000;
const moment = () => new Promise((resolve) => setTimeout(resolve, MOMENT_MS));

const unreadOf = (conversations) => conversations.reduce((sum, { unreadCount }) => sum + unreadCount, 0);

export class Listing {
  conversations = new Map();
  hasMore = false;
  /** How many messages are unread in conversations that are not listed, as far as it is known. */
  #unlisted = 0;
  /** The service has said so once: the first answer is better than nothing. */
  #counted = false;
  /** Counts what may have changed that. */
  #changes = 0;
  #counts = 0;
  /** Settled when the service may be asked for it again: once in a moment, however often the list is read. */
  #asked = undefined;
  /** More were asked for, and did not come. */
  retry = new Retry();
  /** How many were read in order; what was opened or begun since is there besides. */
  #inOrder = 0;
  /** The ids of those that are there only because what is unread was read by itself: they are no reason to read more in order. */
  #besides = new Set();
  /** More are being read. */
  #more = undefined;
  /** What is being read to take the place of all. */
  #fresh = undefined;
  /** What was told while that is read, which may not have it yet: `{id, change}`. */
  #meanwhile = [];

  /**
   * `isOpen(id)`: whether somebody looks at it; `marking()`: whether something is being marked as read; `changed()`: there are more;
   * `failed(error)`: they did not come; `counted()`: what is unread.
   */
  constructor(chat, { isOpen, marking, changed, failed, counted }) {
    Object.assign(this, { chat, isOpen, marking, changed, failed, counted });
  }

  // --- All of it anew ---

  begin() {
    this.#fresh = { conversations: new Map(), hasMore: true, inOrder: 0, besides: new Set() };
    this.#meanwhile = [];
  }

  /** As long as anything is lacking; it may be more by the time that it has come. */
  async read() {
    const fresh = this.#fresh;
    while (this.#lacks(fresh)) {
      const left = this.#least - fresh.conversations.size;
      // All are there, but not those that are open: they may be far down.
      const limit = left > 0 ? Math.min(MOST, Math.max(PAGE, left)) : MOST;
      const page = await this.chat.conversations.list({ limit, offset: fresh.inOrder || undefined });
      for (const conversation of page.conversations) fresh.conversations.set(conversation.id, conversation);
      fresh.inOrder += page.conversations.length;
      fresh.hasMore = page.hasMore;
    }
  }

  get #least() {
    return Math.max(PAGE, this.conversations.size - this.#besides.size);
  }

  /** As many as are listed, so that who is far down the list stays there, and those that are open, wherever they stand by now. */
  #lacks({ conversations, hasMore }) {
    if (!hasMore || conversations.size < this.#least) return hasMore;
    return [...this.conversations.keys()].some((id) => !conversations.has(id) && this.isOpen(id));
  }

  /** What was read otherwise, wherever it stands: it is in the list that is being read. */
  besides(conversations) {
    for (const conversation of conversations) {
      if (this.#fresh.conversations.has(conversation.id)) continue;
      this.#fresh.conversations.set(conversation.id, conversation);
      this.#fresh.besides.add(conversation.id);
    }
  }

  /** What was read is the list from now on. Returns whether it lacks one that was told of: it has moved from part to part. */
  take() {
    const before = this.conversations;
    const unlisted = this.#unlisted;
    const told = this.#meanwhile;
    this.conversations = this.#fresh.conversations;
    this.hasMore = this.#fresh.hasMore;
    this.#inOrder = this.#fresh.inOrder;
    this.#besides = this.#fresh.besides;
    this.drop();
    for (const { change } of told) change();
    const without = (one, other) => unreadOf([...one.values()].filter(({ id }) => !other.has(id)));
    this.#unlisted = this.hasMore ? Math.max(0, unlisted + without(before, this.conversations) - without(this.conversations, before)) : 0;
    this.#changes++;
    return told.some(({ id }) => before.has(id) && !this.conversations.has(id));
  }

  /**
   * The service knows how many are unread in those that are not listed. What was told meanwhile may be in its answer, or not: it is
   * asked again as soon as nothing is told for a moment, and if there is no such moment, after the pause. An answer that is higher than
   * what is known may have what is told in a moment, and has what is being marked as read: it counts once nothing was told for a moment,
   * and never if such a mark was under way, however long that takes. The latest call counts.
   */
  async count() {
    const count = ++this.#counts;
    const goesOn = () => count === this.#counts && this.hasMore;
    const take = (unread) => {
      this.#unlisted = Math.max(0, unread - unreadOf([...this.conversations.values()]));
      this.#counted = true;
      this.counted();
    };
    let pause = MOMENT_MS;
    try {
      for (let final = false; !final; pause = Math.min(MOST_PAUSE_MS, 2 * pause)) {
        await this.#asked;
        if (!goesOn()) return;
        const changes = this.#changes;
        // A mark that begins later is a change.
        const marking = this.marking();
        this.#asked = moment();
        const unread = await this.chat.unreadCount();
        if (!goesOn()) return;
        if (!this.#counted || unread <= this.unread) take(unread);
        for (let told, waited = 0; (told !== this.#changes || this.marking()) && waited < pause; waited += MOMENT_MS) {
          told = this.#changes;
          await moment();
        }
        if (!goesOn()) return;
        final = !marking && changes === this.#changes;
        if (final) take(unread);
      }
    } catch { /* what was known stands until the list is read anew */ }
  }

  drop() {
    this.#fresh = undefined;
    this.#meanwhile = [];
  }

  // --- More of it ---

  /** One page at a time, whoever asks for it. Whether it has come. */
  async more(limit = PAGE) {
    return this.hasMore && (this.#more ??= this.#readMore(limit).finally(() => (this.#more = undefined)));
  }

  async #readMore(limit) {
    this.retry.cancel();
    const list = this.conversations;
    try {
      const { conversations, hasMore } = await this.chat.conversations.list({ limit, offset: this.#inOrder });
      // Read anew meanwhile, from its beginning: this page would leave a gap.
      if (this.conversations !== list) return true;
      for (const conversation of conversations) {
        this.#list(conversation);
        this.#besides.delete(conversation.id);
      }
      this.#inOrder += conversations.length;
      this.hasMore = hasMore;
      if (!hasMore) this.#unlisted = 0;
      this.retry.done();
    } catch (error) {
      this.failed(error);
      if (this.chat.status !== 'closed') this.retry.after(error, () => this.more(limit));
      return false;
    }
    this.changed();
    return true;
  }

  /** One of this user's, also one so far down that it was not read yet. */
  async find(id) {
    while (!this.conversations.has(id) && (await this.more(MOST))) { /* one part more */ }
    return this.conversations.get(id);
  }

  // --- What is told ---

  /** `isNew`: begun since the list was read, so that what is unread in it was not counted among those that are not listed. */
  add(conversation, isNew = false) {
    this.#tell(conversation.id, () => this.#list(conversation, isNew));
  }

  /** What is unread, and was read by itself: it may be far behind what is listed in order. */
  addBesides(conversations) {
    for (const conversation of conversations) {
      this.#tell(conversation.id, () => this.#list(conversation) && this.#besides.add(conversation.id));
    }
  }

  /** Unless it is there already. Returns whether it was not. */
  #list(conversation, isNew = false) {
    if (this.conversations.has(conversation.id)) return false;
    this.conversations.set(conversation.id, conversation);
    if (!isNew) this.#unlisted = Math.max(0, this.#unlisted - conversation.unreadCount);
    return true;
  }

  /** Changes what is said of a conversation, and what will be said when the list is being read. */
  change(id, change) {
    this.#tell(id, () => {
      const listed = this.conversations.get(id);
      if (listed) change(listed);
    });
  }

  /** An unread message, in a conversation that is not listed yet: nobody waits for the next count. */
  unlistedArrived() {
    this.#unlisted++;
  }

  #tell(id, change) {
    change();
    this.#changes++;
    if (this.#fresh) this.#meanwhile.push({ id, change });
  }

  /** How many messages are unread in all conversations of this user. */
  get unread() {
    return unreadOf([...this.conversations.values()]) + this.#unlisted;
  }

  /** The same of one conversation; of one that is not listed, of all of those. */
  unreadIn(id) {
    return this.conversations.get(id)?.unreadCount ?? this.#unlisted;
  }

  /** Last active first. */
  sorted() {
    const activeAt = ({ lastMessage, createdAt }) => lastMessage?.createdAt ?? createdAt;
    return [...this.conversations.values()].sort((a, b) => (activeAt(a) === activeAt(b) ? 0 : activeAt(a) < activeAt(b) ? 1 : -1));
  }
}
