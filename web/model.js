// What one signed-in user has: the client, the conversations, who is there. Views are told what changed, and read it here.
import { createChatClient } from '../client/pgchat.js';
import { attend } from './attention.js';
import { reason, Retry, sentence } from './failure.js';
import { Latencies } from './latency.js';
import { Listing } from './listing.js';
import { Marks } from './marks.js';
import { Outbox } from './outbox.js';
import { Timeline } from './timeline.js';
import { Typing } from './typing.js';
import { UnreadFilter } from './unread_filter.js';

/** Between two looks at what is left unread, while messages are deleted, or read elsewhere. */
const RECOUNT_MS = 1_000;

const ALL_READ = { unreadCount: 0, firstUnreadSeq: null };

export class Model {
  /** `loading`, `ready`, or the error. */
  state = 'loading';
  /** Known while there is a connection. */
  presence = new Map();
  timelines = new Map();
  latencies = new Latencies();
  connection = { status: 'idle' };
  /** Each connection tells the service's own. Until then its defaults, and nobody is watched. */
  limits = { maxMessageBytes: 65_536, maxWatchedUsers: 0, typingSeconds: 6 };
  replicaId = undefined;
  /** Whether the user may list and search people, as each connection says. */
  directory = true;
  me = undefined;
  #listeners = new Map();
  /** Up to which `seq` this page has marked conversations, and in which list that is counted: `{upTo, list}`. */
  #marked = new Map();
  #loading = '';
  /** What is shown of conversations may have gaps: they are to be read again. */
  #stale = false;
  /** Why the last reload failed. */
  #missed = undefined;
  #retry = new Retry();
  /** Settled when what is being read has come, or failed: the list, and the conversations that are open. */
  #loaded = undefined;
  #reread = [];
  /** A fault that is shown already, where what it concerns would be. */
  #told = undefined;
  /** How many are unread may have become less since that was asked for; it is being asked for, or was a moment ago. */
  #uncounted = false;
  #recounting = false;
  #unwatch = () => {};
  #unattend;
  /** Whose presence is told, as one text. */
  #watched = '';

  constructor(options) {
    const chat = createChatClient(options);
    this.chat = chat;
    this.userId = options.userId;
    this.#unattend = attend(chat);
    this.listing = new Listing(chat, {
      isOpen: (id) => Boolean(this.timelines.get(id)?.lookedAt),
      marking: () => this.marks.some,
      changed: () => {
        this.#watch();
        this.tell('conversations');
      },
      counted: () => this.tell('conversations'),
      failed: (error) => this.listing.retry.isAgain || this.tell('notice', `More conversations could not be loaded: ${reason(error)}`),
    });
    this.unread = new UnreadFilter(chat, this.listing, {
      changed: () => this.tell('conversations'),
      failed: (error) => this.unread.retry.isAgain || this.tell('notice', `${this.unread.isStale ? 'The' : 'More'} unread conversations could not be loaded: ${reason(error)}`),
      anew: () => this.load(false),
    });
    this.marks = new Marks(chat, (error) => {
      this.#failed(error);
      this.#recount(); // it was taken for read
    });
    this.outbox = new Outbox(chat, {
      timelines: this.timelines,
      timeline: (id) => this.timeline(id),
      changed: (message) => this.#changed(message),
      tell: (topic, data) => this.tell(topic, data),
    });
    this.typists = new Typing(chat, (conversationId) => this.tell('typing', conversationId), this.limits.typingSeconds);
    chat.on('status', (status) => this.#status(status));
    chat.on('connected', ({ limits, resumed, cursor }) => {
      this.limits = limits;
      this.typists.lasts(limits.typingSeconds);
      this.tell('limits');
      this.#watch();
      return this.#back(() => {
        const isNew = this.state !== 'ready';
        // A cursor that is of no use is repeated, and resync_required comes next.
        if (!resumed && cursor !== chat.cursor) return this.#resync();
        if (isNew || this.#missed) this.load(isNew);
      });
    });
    addEventListener('online', this.#online);
    chat.on('resync_required', () => this.#resync());
    chat.on('chat_message', (message) => this.#arrived(message));
    chat.on('message_updated', (message) => {
      // It may have been read, and be unread again, whatever else was changed; but not where it was known to be unread, however many are edited.
      if (!message.isRead && message.senderId !== this.userId && this.#known(message)?.isRead !== false) this.#recount();
      this.#changed(message);
    });
    chat.on('message_deleted', (message) => {
      const unread = !message.isRead && message.senderId !== this.userId && this.listing.unreadIn(message.conversationId);
      // Whether it was counted cannot be told: it may have gone before this page was told of it, or while the list was read.
      if (unread || this.#loading) this.#recount();
      this.#changed(message);
    });
    chat.on('messages_read', (read) => this.#read(read));
    chat.on('conversation_created', (conversation) => this.#created(conversation, true));
    chat.on('typing', ({ conversationId, isTyping }) => this.typists.heard(conversationId, isTyping));
    chat.on('presence', (presence) => {
      this.presence.set(presence.userId, presence);
      this.tell('presence');
    });
    chat.on('queue_full', ({ limit }) => this.tell('notice', `${limit} messages wait already; this one was not taken. Wait for the connection.`));
    chat.on('frame', (frame) => this.tell('frame', { ...frame, at: Date.now() }));
    chat.on('error', (error) => this.#failed(error));
  }

  /** "Today" is another day now. */
  newDay() {
    this.tell('conversations');
    for (const id of this.timelines.keys()) this.tell(id);
  }

  on(topic, listener) {
    if (!this.#listeners.has(topic)) this.#listeners.set(topic, new Set());
    this.#listeners.get(topic).add(listener);
    return () => this.#listeners.get(topic)?.delete(listener);
  }

  tell(topic, data) {
    for (const listener of this.#listeners.get(topic) ?? []) listener(data);
  }

  close() {
    this.#listeners.clear();
    removeEventListener('online', this.#online);
    this.#retry.done();
    this.listing.retry.done();
    this.unread.retry.done();
    this.typists.close();
    this.#unattend();
    this.marks.flush();
    this.chat.close();
  }

  /**
   * What is shown, from the service: the list, and unless nothing can be missing there, the conversations that are open. Asked
   * for while it is under way, it is done once more.
   */
  load(stale = true) {
    this.#stale ||= stale;
    if (this.#loading) this.#loading = 'again';
    else this.#loaded = this.#loadUntilQuiet();
    return this.#loaded;
  }

  async #loadUntilQuiet() {
    do {
      this.#loading = 'once';
      await this.#load();
    } while (this.#loading === 'again');
    this.#loading = '';
  }

  /** Rejected where not all has come: the client is then told once more that too much was missed. Of a conversation that is gone nothing will come. */
  async #resync() {
    await this.load();
    await Promise.all(this.#reread);
    this.#told = this.#missed ?? [...this.timelines.values()].find(({ error, isGone }) => error && !isGone)?.error;
    if (this.#told) throw this.#told;
  }

  async #load() {
    this.#retry.cancel();
    const { listing } = this;
    listing.begin();
    try {
      const [me] = await Promise.all([this.chat.users.get(this.chat.userId), listing.read()]);
      await listing.read();
      await this.unread.readAnew();
      this.userId = me.id;
      this.me = me;
      if (listing.take()) this.#loading = 'again';
      listing.count(); // nobody waits for it, and the list is there without it
      this.state = 'ready';
      this.#watch(this.#stale);
      if (this.#stale) this.#reread = [...this.timelines.values()].map((timeline) => timeline.reload());
      this.#stale = false;
      this.#missed = undefined;
      this.#retry.done();
      listing.retry.done();
    } catch (error) {
      listing.drop();
      if (this.state !== 'ready') this.state = error;
      else if (!this.#missed) this.tell('notice', `Reloading failed: ${reason(error)}`);
      this.#missed = error;
      if (this.connection.status !== 'closed') this.#retry.after(error, () => this.load(false));
    }
    this.tell('conversations');
  }

  /** How many are left unread is known to the service. It is asked once for all that is told within a moment. */
  async #recount() {
    this.#uncounted = true;
    if (this.#recounting) return;
    this.#recounting = true;
    while (this.#uncounted && !['closed', 'stopped'].includes(this.connection.status)) {
      this.#uncounted = false;
      await this.load(false);
      await new Promise((resolve) => setTimeout(resolve, RECOUNT_MS));
    }
    this.#recounting = false;
  }

  get conversations() {
    return this.listing.conversations;
  }

  other({ participant1, participant2 }) {
    return participant1.id === this.userId ? participant2 : participant1;
  }

  isOnline(userId) {
    return this.presence.get(userId)?.isOnline ?? false;
  }

  timeline(conversationId) {
    let timeline = this.timelines.get(conversationId);
    if (!timeline) {
      timeline = new Timeline(this.chat, conversationId, () => this.tell(conversationId));
      this.timelines.set(conversationId, timeline);
    }
    return timeline;
  }

  async open(userId) {
    const conversation = await this.chat.conversations.open(userId);
    if (!this.conversations.has(conversation.id)) this.#created(conversation);
    return conversation.id;
  }

  /**
   * What goes up to `seq` has been seen, and is marked as read. Failures are told by the connection's state, and by what is then
   * unread again: the next time that somebody looks it is marked again.
   */
  markRead(conversationId, seq) {
    const conversation = this.conversations.get(conversationId);
    if (!conversation?.unreadCount || !seq || seq < conversation.firstUnreadSeq) return;
    const timeline = this.timeline(conversationId);
    const isAll = seq >= timeline.last?.seq && !timeline.hasNewer;
    const isNew = ({ firstUnreadSeq }) => (it) => it >= (firstUnreadSeq ?? Infinity);
    const seen = timeline.unreadUpTo(this.userId, seq);
    if (!isAll && !seen.some(isNew(conversation))) return;
    this.listing.change(conversationId, (listed) => {
      this.#marked.set(conversationId, { upTo: seq, list: this.conversations });
      // What was marked before, or has been read by the time that the list is, is not counted any more.
      const left = listed.unreadCount - seen.filter(isNew(listed)).length;
      if (left <= 0 || seq >= (listed.lastMessage?.seq ?? 0)) Object.assign(listed, ALL_READ);
      else Object.assign(listed, { unreadCount: left, firstUnreadSeq: Math.max(seq + 1, listed.firstUnreadSeq) });
    });
    this.tell('conversations');
    this.marks.mark(conversationId, seq, isAll);
  }

  /** As this page has it, if it has it. */
  #known({ id, conversationId }) {
    const is = (message) => message?.id === id;
    return [this.conversations.get(conversationId)?.lastMessage].find(is) ?? this.timelines.get(conversationId)?.messages.findLast(is);
  }

  /** As it is now; undefined where there is none any more. */
  async message({ id, conversationId, seq }) {
    const is = (message) => message.id === id;
    const here = this.timelines.get(conversationId)?.messages.find(is);
    return here ?? (await this.chat.messages.list(conversationId, { before: seq + 1, limit: 1 })).messages.find(is);
  }

  // --- What the client tells ---

  #status(status) {
    this.connection = status;
    this.replicaId = status.replicaId ?? this.replicaId;
    this.directory = status.directory ?? this.directory;
    if (status.status !== 'online' && this.presence.size) {
      this.presence.clear();
      this.tell('presence');
    }
    if (status.status === 'stopped' && this.state === 'loading') {
      this.state = status.error;
      this.tell('conversations');
    }
    this.tell('status', status);
  }

  /** There is a connection again: what is waited for may be had. `reload()`: reads what was missed. Returns what that does. */
  #back(reload) {
    const loaded = reload();
    if (this.#uncounted) this.#recount();
    this.listing.retry.now();
    this.unread.retry.now();
    this.tell('back');
    return loaded;
  }

  #online = () => this.#back(() => this.#missed && this.load(false));

  #arrived(message) {
    this.latencies.arrived(message);
    const mine = message.senderId === this.userId;
    if (!mine) this.typists.heard(message.conversationId, false);
    const conversation = this.conversations.get(message.conversationId);
    const isNewThere = this.timelines.get(message.conversationId)?.put(message);
    // Frames of what a page has brought already may be behind it; and one's own is there as soon as it is answered.
    const isNew = (mine ? undefined : isNewThere) ?? (!conversation || message.seq > conversation.lastSeq);
    const isUnread = !mine && !message.isRead && !message.deletedAt;
    this.listing.change(message.conversationId, (listed) => {
      if (message.seq <= listed.lastSeq) return;
      listed.lastSeq = message.seq;
      listed.lastMessage = message;
      if (!isUnread) return;
      listed.unreadCount++;
      listed.firstUnreadSeq ??= message.seq;
    });
    if (!conversation) {
      if (isUnread) this.listing.unlistedArrived();
      this.load(false);
    }
    this.tell('conversations');
    this.tell(message.conversationId);
    // What was missed may have been deleted since.
    if (isNew && !message.deletedAt) this.tell('arrived', message);
  }

  #changed(message) {
    this.timelines.get(message.conversationId)?.put(message);
    this.listing.change(message.conversationId, (listed) => {
      const last = listed.lastMessage;
      if (last?.id === message.id && last.updatedAt < message.updatedAt) listed.lastMessage = message;
    });
    this.tell('conversations');
    this.tell(message.conversationId);
    this.tell('changed', message);
  }

  #read({ conversationId, readerId, upToSeq }) {
    this.timelines.get(conversationId)?.read(readerId, upToSeq);
    const mine = readerId === this.userId;
    this.listing.change(conversationId, (listed) => {
      const last = listed.lastMessage;
      if (last && last.senderId !== readerId && last.seq <= upToSeq) listed.lastMessage = { ...last, isRead: true };
      if (mine && upToSeq >= listed.lastSeq) Object.assign(listed, ALL_READ);
    });
    // In another window, up to somewhere: how many are left is known to the service.
    const marked = this.#marked.get(conversationId);
    const isCounted = marked?.list === this.conversations && upToSeq <= marked.upTo;
    if (mine && !isCounted && this.listing.unreadIn(conversationId)) this.#recount();
    this.tell('conversations');
    this.tell(conversationId);
  }

  #created(conversation, isNew = false) {
    this.listing.add(conversation, isNew);
    this.#watch();
    this.tell('conversations');
  }

  #failed(error) {
    console.warn(error);
    if (error === this.#told) return;
    if (this.connection.status === 'stopped') return; // told where the connection's state is
    // That tells the rest, too.
    const quiet = ['disconnected', 'closed', 'stopped', 'network', 'unavailable', 'no_token', 'handshake_refused'];
    const proxys = error.status >= 500 && this.connection.status !== 'online';
    if (!quiet.includes(error.code) && !proxys) this.tell('notice', sentence(error));
  }

  /** The client tells the service again after each reconnect. `anew`: something was missed, perhaps of that too. */
  #watch(anew = false) {
    const others = [...new Set(this.listing.sorted().map((conversation) => this.other(conversation).id))].slice(0, this.limits.maxWatchedUsers);
    const watched = others.toSorted().join();
    if (watched === this.#watched && !anew) return; // each of them would be told once more
    this.#watched = watched;
    this.#unwatch();
    this.#unwatch = this.chat.watchPresence(others);
  }
}
