// A service of one conversation and a client of it, of which each step is the test's: what is committed, when an event arrives,
// which state a page shows and when it comes, which connection is lost. Seeded: the same seed makes the same steps.
import assert from 'node:assert/strict';
import { ChatError } from '../../pgchat.js';

export const [ME, OTHER, CONVERSATION] = ['me', 'other', 'c1'];

const summary = (id) => ({ id, firstName: id, lastName: null, avatarUrl: null });
export const about = (id = CONVERSATION) => ({ id, participant1Id: ME, participant2Id: OTHER, participant1: summary(ME), participant2: summary(OTHER) });

/** Of mulberry32. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const copy = (data) => (data.error ? data : structuredClone(data));

/** All that was resolved has been heard. */
export const settled = () => new Promise(setImmediate);

export class Service {
  rows = new Map();
  isGone = false;
  #seq = 0;
  #clock = 0;
  #log = []; // {type, data, id}: what was committed, in its order
  #listeners = {};
  #commands = [];
  requests = [];
  /** The two have a conversation; before, one has to be opened. */
  exists = true;
  typed = [];
  marked = [];
  /** Where the socket has got to in the log; undefined: there is no connection. */
  at = undefined;
  #cursor = undefined;
  #isHeld = false;

  // --- What is committed ---

  #now() {
    return String(++this.#clock).padStart(6, '0');
  }

  #commit(type, row) {
    if (row) this.rows.set(row.id, row);
    this.#log.push({ type, data: row });
    return row;
  }

  insert(senderId, content, clientMessageId = null) {
    const seq = ++this.#seq;
    const at = this.#now();
    return this.#commit('chat_message', { id: `m${seq}`, conversationId: CONVERSATION, senderId, sender: summary(senderId), content, messageType: 'text', isRead: false, seq, clientMessageId, createdAt: at, updatedAt: at, editedAt: null, deletedAt: null });
  }

  edit(row, content) {
    return this.#commit('message_updated', { ...row, content, updatedAt: this.#now(), editedAt: 'then' });
  }

  remove(row) {
    const at = this.#now();
    return this.#commit('message_deleted', { ...row, content: '', updatedAt: at, deletedAt: at });
  }

  /** Another program says that nobody has read it. */
  unread(row) {
    return this.#commit('message_updated', { ...row, isRead: false, updatedAt: this.#now() });
  }

  /** Its row goes, and its event shows it as deleted. */
  removeOutright(row) {
    this.remove(row);
    this.rows.delete(row.id);
  }

  /** Its row goes, of which no event tells: a connection has to be told to load anew. */
  purge(row) {
    this.rows.delete(row.id);
    this.#log.push({ type: 'resync_required', data: { reason: 'purged' } });
  }

  read(readerId, upToSeq) {
    for (const row of this.rows.values()) {
      if (row.seq <= upToSeq && row.senderId !== readerId && !row.isRead && !row.deletedAt) this.rows.set(row.id, { ...row, isRead: true, updatedAt: this.#now() });
    }
    this.#log.push({ type: 'messages_read', data: { conversationId: CONVERSATION, readerId, upToSeq } });
  }

  /** All of it. */
  removeConversation() {
    this.isGone = true;
    this.rows.clear();
    this.#log.push({ type: 'resync_required', data: { reason: 'deleted' } });
  }

  // --- The connection ---

  get undelivered() {
    return this.at === undefined ? 0 : this.#log.length - this.at;
  }

  /** Each frame is an object of its own, as parsed. */
  #emit(type, data) {
    return this.tell(type, copy(data));
  }

  /** Told over the socket, and not stored. */
  tell(type, data) {
    return Promise.all([...(this.#listeners[type] ?? [])].map((listener) => listener(data)));
  }

  /** What a load holds does not count until it has come. */
  async #load(type, data) {
    this.#isHeld = true;
    const at = this.at;
    const loading = (this.held = this.#emit(type, data));
    const isDone = await loading.then(() => true, () => false);
    if (this.held !== loading || !isDone) return;
    this.#isHeld = false;
    this.#cursor = this.at ?? at;
  }

  deliver() {
    const { type, data } = this.#log[this.at++];
    if (type === 'resync_required') this.#load(type, data);
    else this.#emit(type, data);
    if (!this.#isHeld) this.#cursor = this.at;
  }

  disconnect() {
    this.at = undefined;
    this.held = undefined;
    // Whether they were carried out is not known: the client sends them again.
    for (const command of this.#commands) command.isSent = false;
  }

  /** `resumes`: the service can tell what was missed. */
  connect(resumes) {
    const from = this.#cursor;
    const isResumed = from !== undefined && resumes && !this.#log.slice(from).some(({ type }) => type === 'resync_required');
    this.at = this.#log.length;
    this.#isHeld = false;
    if (isResumed) this.#emit('connected', { resumed: true });
    else this.#load('connected', { resumed: false });
    if (isResumed) this.#replay(from);
    else if (from !== undefined) this.#load('resync_required', { reason: 'too much' });
    if (isResumed) this.#cursor = this.at;
  }

  /** Each row once, as it is now, the reads as marks or as rows; of a row that is gone its last event. */
  #replay(from) {
    const missed = this.#log.slice(from);
    const isNew = new Set(missed.filter(({ type }) => type === 'chat_message').map(({ data }) => data.id));
    const last = new Map(missed.filter(({ data }) => data.id).map(({ type, data }) => [data.id, { type, data }]));
    for (const { data } of [...last.values()].sort((one, other) => one.data.seq - other.data.seq)) {
      const row = this.rows.get(data.id) ?? data;
      this.#emit(isNew.has(row.id) ? 'chat_message' : row.deletedAt ? 'message_deleted' : 'message_updated', row);
    }
    for (const { type, data } of missed) if (type === 'messages_read') this.#emit(type, data);
  }

  // --- What is asked ---

  #ask(answer) {
    return new Promise((resolve, reject) => this.requests.push({ answer, resolve, reject }));
  }

  /** The service looks: from now on the answer is what it is. */
  look(request) {
    if (!('seen' in request)) request.seen = request.answer();
  }

  answer(request) {
    this.look(request);
    this.requests.splice(this.requests.indexOf(request), 1);
    if (request.seen instanceof Error) request.reject(request.seen);
    else request.resolve(request.seen);
  }

  fail(request) {
    this.requests.splice(this.requests.indexOf(request), 1);
    request.reject(new ChatError('network', 'lost'));
  }

  #page({ limit = 50, before = Infinity }) {
    if (this.isGone) return new ChatError('conversation_not_found', 'gone', { status: 404 });
    const all = [...this.rows.values()].filter(({ seq }) => seq < before).sort((one, other) => other.seq - one.seq);
    return { messages: copy(all.slice(0, limit)), hasMore: all.length > limit };
  }

  // --- Commands ---

  get commands() {
    return this.#commands;
  }

  /** Carries out the first command; its answer may not come. */
  carryOut(isAnswered) {
    const [command] = this.#commands;
    const { senderId, content, clientMessageId } = command;
    if (this.isGone) return this.refuse('conversation_not_found');
    command.isSent = true;
    command.stored ??= [...this.rows.values()].find((row) => row.senderId === ME && row.clientMessageId === clientMessageId) ?? this.insert(senderId, content, clientMessageId);
    if (isAnswered) this.#end(command, 'sent', this.rows.get(command.stored.id) ?? command.stored);
  }

  /** It fails, whether or not it was carried out. */
  refuse(code = 'disconnected') {
    this.#end(this.#commands[0], 'failed', new ChatError(code, 'lost'));
  }

  #end(command, state, outcome) {
    this.#commands.shift();
    if (state === 'failed') command.reject(outcome);
    else command.resolve(outcome);
    this.#emit('outgoing', { ...command.data, state, ...(state === 'failed' ? { error: outcome } : { message: outcome }) });
  }

  get listeners() {
    return Object.values(this.#listeners).reduce((sum, { size }) => sum + size, 0);
  }

  /** All that was asked for, each as things are by now; what that leads to, too. */
  async answerAll() {
    for (await settled(); this.requests.length; await settled()) for (const request of [...this.requests]) this.answer(request);
  }

  deliverAll() {
    while (this.undelivered) this.deliver();
  }

  /** As createChatClient makes one. */
  chat() {
    return {
      userId: ME,
      on: (type, listener) => {
        (this.#listeners[type] ??= new Set()).add(listener);
        return () => this.#listeners[type].delete(listener);
      },
      send: (data) => {
        const sent = new Promise((resolve, reject) => this.#commands.push({ senderId: ME, ...data, data, resolve, reject }));
        sent.catch(() => {});
        this.#emit('outgoing', { ...data, state: 'queued' });
        return sent;
      },
      markRead: async (conversationId, upToSeq) => {
        this.marked.push(upToSeq);
        this.read(ME, upToSeq);
        return { readSeq: upToSeq };
      },
      typing: (conversationId, isTyping) => this.typed.push(isTyping),
      conversations: {
        list: () => this.#ask(() => ({ conversations: this.isGone || !this.exists ? [] : [about()], hasMore: false })),
        get: () => this.#ask(() => (this.isGone ? new ChatError('conversation_not_found', 'gone', { status: 404 }) : about())),
        open: () => this.#ask(() => {
          this.exists = true;
          return about();
        }),
      },
      messages: { list: (id, query) => this.#ask(() => this.#page(query)) },
    };
  }
}

/** What must hold whenever somebody looks. */
export function isInOrder(messages) {
  assert.ok(Object.isFrozen(messages));
  const stored = messages.filter(({ state }) => !state);
  assert.deepEqual(messages.slice(0, stored.length), stored, 'what is not stored yet comes last');
  for (const [at, { seq }] of stored.entries()) assert.ok(at === 0 || stored[at - 1].seq < seq, `${stored.map((message) => message.seq)}`);
  const ids = messages.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, `twice: ${ids}`);
  const mine = new Set(stored.filter(({ senderId }) => senderId === ME).map(({ clientMessageId }) => clientMessageId));
  for (const { clientMessageId } of messages.slice(stored.length)) assert.ok(!mine.has(clientMessageId), `shown as stored and as waiting: ${clientMessageId}`);
}
