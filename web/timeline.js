// The messages of one conversation that are loaded: an unbroken stretch, in the order of `seq`, and what is on its way.

const PAGE = 100;
/** Where more are unread than are loaded: more are, up to so many, when the conversation is opened. No more are kept where nobody looks. */
const ENOUGH = 4 * PAGE;
/** And waited for so long: what has come is not withheld. */
const PATIENCE_MS = 2_000;
/** Whether that many, or more, are to be loaded from the end, `lastSeq`, until `seq` is: then it begins there. */
export const isFar = (seq, lastSeq) => Boolean(seq) && lastSeq - seq >= ENOUGH;
/** The service knows no such conversation, or none of this user's: which of the two it need not say. */
const GONE = ['conversation_not_found', 'not_a_participant'];

export class Timeline {
  messages = [];
  /** Sent by this page and not stored yet, by clientMessageId. */
  outgoing = new Map();
  hasOlder = true;
  hasNewer = false;
  /** `older`, `newer` or `start` while that is being read. */
  loading = '';
  /** Why the last read failed, and which it was, as in `loading`; cleared by the next one, or once it has come after all. */
  error = undefined;
  failed = '';
  /** The first message that was unread when the conversation was opened, once it is loaded. */
  unreadFrom = undefined;
  /** Above which message the line stays, whatever is loaded. */
  #newHeld = undefined;
  started = false;
  /** Counts how often the stretch was read anew, or cut. */
  edition = 0;
  /** The `seq` that somebody looks at, where it is not the end; set by who shows this. */
  lookedAt = undefined;
  #again = () => {};
  /** So many unread messages are older than `before`, and not loaded yet, of what goes up to `lastSeq`: `{readerId, count, before, lastSeq}`. */
  #unread = undefined;
  /** Nothing has been marked as read here since it was opened. */
  #isAsOpened = false;
  /** Told while a page was being read, which may not have it yet: what to do with the page. */
  #meanwhile = [];
  /** Resolves when the read that is under way has ended. */
  #underWay = undefined;

  constructor(chat, conversationId, changed) {
    Object.assign(this, { chat, conversationId, changed });
  }

  /** From the end, or around `seq`. What was loaded is dropped. */
  start(seq) {
    return this.#start(() => seq);
  }

  /** `where`: around which `seq`. It is asked once more when that has come: somebody may have scrolled on meanwhile. */
  #start(where) {
    return this.#read('start', async () => {
      let seq, messages, hasMore, newest, beyond;
      const covers = (at) => (at === undefined ? !beyond?.messages.length : (!hasMore || messages.at(-1).seq <= at) && (!beyond?.messages.length || at <= newest));
      do {
        seq = where();
        const query = seq === undefined ? {} : { before: seq + PAGE / 2 };
        ({ messages, hasMore } = await this.chat.messages.list(this.conversationId, { limit: PAGE, ...query }));
        newest = messages[0]?.seq ?? 0;
        beyond = seq === undefined ? undefined : await this.chat.messages.list(this.conversationId, { after: newest, limit: 1 });
      } while (where() !== seq && !covers(where()));
      this.messages = messages.reverse();
      this.hasOlder = hasMore;
      this.hasNewer = Boolean(beyond?.messages.length);
      this.started = true;
      this.edition++;
    });
  }

  /** There may be gaps: what is looked at is read anew, anything else once somebody looks at it. */
  async reload() {
    while (this.loading) await this.#underWay;
    if (this.lookedAt) return this.#start(() => this.lookedAt?.());
    this.#fails();
    this.#drop();
  }

  /**
   * Nobody looks at it any more: of many messages the last ones are kept, for whoever comes back; of a place far from the end, where nobody
   * comes back to, none. A page that is on its way is put beside what is here, and then it is seen whether that is too much.
   */
  trim() {
    if (this.loading) return void this.#underWay.then(() => this.lookedAt || this.trim());
    if (this.messages.length <= ENOUGH) return;
    if (this.hasNewer) return this.#drop();
    this.messages = this.messages.slice(-PAGE);
    this.hasOlder = true;
    this.edition++;
  }

  #drop() {
    Object.assign(this, { messages: [], hasOlder: true, hasNewer: false, started: false });
  }

  /** The read that failed, once more; `quiet`: as long as it has not come it has failed. */
  again(quiet = false) {
    return this.#again(quiet);
  }

  older() {
    if (!this.hasOlder || !this.messages.length) return undefined;
    return this.#read('older', async () => {
      const { messages, hasMore } = await this.chat.messages.list(this.conversationId, { limit: PAGE, before: this.messages[0].seq });
      this.messages.unshift(...messages.reverse());
      this.hasOlder = hasMore;
    });
  }

  /** What is older, until the first unread message is there, within reason; a page that is slow to come is shown once it has. */
  async olderUntilNew() {
    this.#isAsOpened = true;
    let timer;
    let isLate = false;
    let isTried = false;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, PATIENCE_MS))).then(() => (isLate = true));
    // Another read may be under way: of whoever has opened it a moment ago, or because there may be gaps.
    const isWanted = () => this.isNewAbove && this.hasOlder && this.messages.length > 0 && this.messages.length < ENOUGH;
    // A page that failed before is asked for once more: whoever comes back is not to be led to where it failed then.
    const hasFailed = () => this.failed && (isTried || this.failed !== 'older');
    while (!isLate && isWanted() && !hasFailed() && this.started) {
      isTried = true;
      await Promise.race([late, this.loading ? this.#underWay : this.older()]);
    }
    clearTimeout(timer);
    this.#isAsOpened = false;
  }

  newer() {
    if (!this.hasNewer) return undefined;
    return this.#read('newer', async () => {
      const { messages, hasMore } = await this.chat.messages.list(this.conversationId, { limit: PAGE, after: this.messages.at(-1).seq });
      this.hasNewer = hasMore;
      this.messages.push(...messages);
    });
  }

  async #read(what, read, quiet = false) {
    while (this.loading) {
      // One page more is asked for again by scrolling; what is to be shown anew must come.
      if (what !== 'start') return;
      await this.#underWay;
    }
    let ended;
    this.#underWay = new Promise((resolve) => (ended = resolve));
    this.loading = what;
    if (!quiet) this.#fails();
    this.changed();
    try {
      await read();
      this.#findUnread();
      this.#fails();
    } catch (error) {
      this.#fails(what, error);
      this.#again = (again) => this.#read(what, read, again);
      if (this.isGone) this.#drop();
    }
    this.loading = '';
    for (const tell of this.#meanwhile.splice(0)) tell();
    ended();
    this.changed();
  }

  #fails(failed = '', error = undefined) {
    Object.assign(this, { failed, error });
  }

  /** There is no such conversation any more. */
  get isGone() {
    return this.failed === 'start' && GONE.includes(this.error.code);
  }

  /** Whether anything here waits, or was not taken and can be had back: where the conversation is gone, only as long as one looks at it. */
  get isUnsent() {
    return [...this.outgoing.values()].some(({ error }) => this.lookedAt || !(this.isGone || GONE.includes(error?.code)));
  }

  /** A message as it is now: new, or changed. Returns whether it is new here; undefined where what is loaded does not tell. */
  put(message) {
    if (message.clientMessageId) this.outgoing.delete(message.clientMessageId);
    if (this.loading) this.#meanwhile.push(() => this.put(message));
    const { messages } = this;
    // Nearly always at the end.
    let at = messages.length;
    while (at > 0 && messages[at - 1].seq > message.seq) at--;
    if (messages[at - 1]?.seq === message.seq) {
      const { updatedAt, isRead } = messages[at - 1];
      // `read` knows no new `updatedAt`, and the answer to a send, or a page, may be older than the mark.
      if (updatedAt === message.updatedAt) messages[at - 1] = { ...message, isRead: isRead || message.isRead };
      else if (updatedAt < message.updatedAt) messages[at - 1] = message;
      return false;
    }
    // Beyond a gap; before there is anything, all of it is older.
    if (at === 0 ? this.hasOlder : at === messages.length && this.hasNewer) return undefined;
    messages.splice(at, 0, message);
    if (!this.lookedAt && !this.loading) this.trim();
    return true;
  }

  read(readerId, upToSeq) {
    if (this.loading) this.#meanwhile.push(() => this.read(readerId, upToSeq));
    this.messages.forEach((message, at) => {
      if (message.seq <= upToSeq && message.senderId !== readerId && !message.isRead) this.messages[at] = { ...message, isRead: true };
    });
  }

  /** `readerId` opens it with so many unread of what goes up to `lastSeq`. From now on they will be marked as read: they are counted, not asked about. */
  opened(readerId, count, lastSeq) {
    this.newFrom(undefined);
    if (!count) return;
    const theirs = this.hasNewer ? [] : this.#to(readerId).filter(({ seq }) => seq <= lastSeq);
    const unread = theirs.filter(({ isRead }) => !isRead);
    // The count is too high where some have gone meanwhile: if an older one is read, all that are unread are loaded.
    if (unread.length >= count || theirs[0]?.isRead) return this.newFrom((unread.at(-count) ?? unread[0])?.seq);
    this.#unread = { readerId, count: count - unread.length, before: this.hasNewer ? lastSeq + 1 : this.messages[0]?.seq, lastSeq };
    this.#findUnread();
  }

  /** `readerId` opens it where `seq` was the first unread message, and is loaded. Returns whether any is unread there. */
  openedAt(readerId, seq) {
    this.newFrom(this.#to(readerId).find((message) => message.seq >= seq && !message.isRead)?.seq);
    return this.unreadFrom !== undefined;
  }

  /** From there on all is new to who looks at it; undefined: nothing is. */
  newFrom(seq) {
    this.#newHeld = undefined;
    this.#found(seq);
  }

  #found(seq) {
    this.unreadFrom = seq;
    this.#unread = undefined;
  }

  /** More may come that nobody asked for: the line is not to go from under anybody's eyes. */
  holdNew() {
    if (this.isNewAbove) this.#newHeld = this.firstNew;
  }

  letGoNew() {
    if (this.#newHeld === undefined) return;
    this.#newHeld = undefined;
    this.changed();
  }

  /** The first unread message is older than what is loaded. */
  get isNewAbove() {
    return Boolean(this.#unread) && !this.hasNewer;
  }

  /** Above which message a line tells that it is new from there on: the oldest of the other one's that is loaded, as long as the first unread one is not. */
  get firstNew() {
    return this.#newHeld ?? (this.isNewAbove ? this.#to(this.#unread.readerId)[0]?.seq : this.unreadFrom);
  }

  #findUnread() {
    // The last one of then may have been deleted outright.
    if (!this.#unread || (this.hasNewer && !(this.last?.seq >= this.#unread.before - 1))) return;
    const { readerId, count, before, lastSeq } = this.#unread;
    const theirs = this.#to(readerId).filter(({ seq }) => seq <= lastSeq);
    const older = theirs.filter(({ seq }) => seq < before).length;
    if (older < count && this.hasOlder) return;
    const counted = theirs.slice(Math.max(0, older - count));
    // The count is too high where some have gone meanwhile; as long as nothing was marked, the messages tell.
    const first = this.#isAsOpened && counted.find(({ isRead }) => !isRead);
    this.#found((first || counted[0])?.seq);
  }

  /** The `seq`s of what is unread to `readerId` and goes up to `seq`, as far as it is loaded. */
  unreadUpTo(readerId, upTo) {
    return this.#to(readerId).filter(({ seq, isRead }) => seq <= upTo && !isRead).map(({ seq }) => seq);
  }

  /** Whether anything before `seq` may be unread to `readerId`, of what goes from `first` on. */
  hasUnread(readerId, first, seq) {
    const isLoaded = !this.hasOlder || this.messages[0]?.seq <= first;
    return first < seq && (!isLoaded || this.unreadUpTo(readerId, seq - 1).some((it) => it >= first));
  }

  /** What the other one has said to `readerId`. */
  #to(readerId) {
    return this.messages.filter(({ senderId, deletedAt }) => senderId !== readerId && !deletedAt);
  }

  get last() {
    return this.messages.at(-1);
  }
}
