/** One conversation of a client of pgchat.js, as a list that is kept right: see README.md. */
import { newId } from './pgchat.js';

const GONE = ['conversation_not_found', 'not_a_participant'];

/** A reload brings back as many as were shown, at most so many. */
const MOST = 1_000;

const UNKNOWN = { firstName: null, lastName: null, avatarUrl: null };

/** The list, or `error`, has the failure, too. */
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Of two states of a message the later one; of two of one time it is read if either says so. */
function put(messages, message) {
  const known = messages.get(message.id);
  if (known?.updatedAt > message.updatedAt) return;
  const isRead = message.isRead || (known?.updatedAt === message.updatedAt && known.isRead);
  const now = { ...message, isRead };
  if (!isSame(known, now)) messages.set(now.id, now);
}

/** What was deleted before is not marked. */
const isUnread = ({ seq, senderId, isRead, deletedAt }, readerId, upToSeq) => seq <= upToSeq && senderId !== readerId && !isRead && !deletedAt;

function mark(messages, { readerId, upToSeq }, except) {
  for (const [id, message] of messages) {
    if (isUnread(message, readerId, upToSeq) && !except?.has(id)) messages.set(id, { ...message, isRead: true });
  }
}

export function openConversation(chat, { with: otherId, id, pageSize = 50, typingSeconds = 6, minDelayMs = 500 }) {
  if (!otherId === !id) throw new TypeError('needs with or id');
  const listeners = new Set();
  const outgoing = new Map(); // by clientMessageId
  let known = new Map();
  let floor = 0; // the oldest `seq` that is loaded
  let newest = 0; // `seq` of pages and events: the answer to a send may overtake the events before it
  let hasOlder = false;
  let state = 'loading';
  let isTyping = false;
  let toldTyping = 0;
  let marking = 0;
  let shown, conversation, people, gone, error, reading, older, opening, typingTimer;

  function changed() {
    const stored = [...known.values()].sort((one, other) => one.seq - other.seq);
    const next = [...stored, ...[...outgoing.values()].map(unsent)];
    if (next.length !== shown?.length || next.some((message, at) => message !== shown[at])) shown = Object.freeze(next);
    for (const listener of listeners) {
      try {
        listener();
      } catch (failure) {
        console.error(failure);
      }
    }
  }

  function participant(isOther) {
    if (!people || !(otherId || chat.userId)) return undefined;
    const { participant1, participant2 } = people;
    return isOther === (otherId ? participant1.id === otherId : participant1.id !== chat.userId) ? participant1 : participant2;
  }

  // What is told

  function take(message) {
    // A page may lack a row before its event has come.
    const { id, seq, deletedAt } = message;
    if (seq >= floor && !(deletedAt && seq <= newest && !known.has(id))) put(known, message);
    if (reading) put(reading.told, message);
    arrived(message);
  }

  /** In place of what waits. */
  function arrived(message) {
    if (message.senderId !== chat.userId) return;
    outgoing.get(message.clientMessageId)?.resolve?.(message);
    outgoing.delete(message.clientMessageId);
  }

  function told(message) {
    const { seq, senderId } = message;
    take(message);
    if (seq > newest && senderId !== chat.userId) heard(false);
    if (seq > newest + 1 && state === 'ready') load(); // there is a gap
    newest = Math.max(newest, seq);
    if (reading) reading.newest = Math.max(reading.newest, seq);
  }

  function read(upTo) {
    mark(known, upTo);
    if (!reading) return;
    const { told, marks } = reading;
    mark(told, upTo);
    if (!(marks.get(upTo.readerId)?.upToSeq > upTo.upToSeq)) marks.set(upTo.readerId, upTo);
  }

  function heard(is) {
    clearTimeout(typingTimer);
    isTyping = is;
    if (is) typingTimer = setTimeout(() => changed(heard(false)), typingSeconds * 1_000);
  }

  const here = (listener) => (data) => {
    if (data.conversationId !== id) return;
    listener(data);
    changed();
  };

  const offs = [
    ...['chat_message', 'message_updated', 'message_deleted'].map((type) => chat.on(type, here(told))),
    chat.on('messages_read', here(read)),
    chat.on('typing', here(({ userId, isTyping }) => userId === chat.userId || heard(isTyping))),
    chat.on('outgoing', here(({ state, message, error, content, messageType, clientMessageId }) => {
      if (state === 'queued') wait({ content, messageType, clientMessageId });
      else if (state === 'failed') fail(clientMessageId, error);
      else take(message);
    })),
    chat.on('conversation_created', (created) => !id && [created.participant1Id, created.participant2Id].includes(otherId) && adopt(created)),
    chat.on('connected', ({ resumed, limits }) => {
      typingSeconds = limits?.typingSeconds ?? typingSeconds;
      return (resumed && ['ready', 'deleted'].includes(state)) || load();
    }),
    chat.on('resync_required', () => load()),
  ];

  // Loading

  const begin = () => (reading = { told: new Map(), marks: new Map(), newest: 0 });

  /** Anew; what is told meanwhile is put on top of the page, which may be older. */
  function load() {
    if (state === 'closed') return undefined;
    reading?.wake?.();
    const mine = begin();
    state = 'loading';
    mine.done = quiet(keepLoading(mine));
    changed();
    return mine.done;
  }

  async function keepLoading(mine) {
    for (let tries = 0; reading === mine; tries++) {
      try {
        const page = await pages(mine);
        if (reading === mine) return loaded(mine, page);
      } catch (failure) {
        if (reading === mine) await failed(mine, failure, tries);
      }
    }
    return reading?.done;
  }

  async function failed(mine, failure, tries) {
    const { code, status, retryAfterMs = 0 } = failure;
    const isGone = GONE.includes(code);
    if (isGone) {
      gone = true;
      mine.told.clear();
      if (!conversation) return loaded(mine, { messages: [], hasMore: false });
      conversation = undefined;
      if (otherId) id = undefined;
      if (!tries) return; // the two may have another one by now
    }
    error = failure;
    if (!isGone && [400, 403, 404].includes(status) && code !== 'bad_response') {
      reading = undefined;
      state = 'failed';
      changed();
      throw failure;
    }
    changed();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, retryAfterMs + Math.random() * Math.min(30_000, minDelayMs * 2 ** tries));
      mine.wake = () => resolve(clearTimeout(timer));
    });
  }

  async function pages(mine) {
    const page = { messages: [], hasMore: false };
    if (!conversation) {
      const found = otherId ? (await chat.conversations.list({ with: otherId, limit: 1 })).conversations[0] : await chat.conversations.get(id);
      if (!found || reading !== mine) return page;
      ({ id } = conversation = people = found);
    }
    const enough = Math.max(pageSize, Math.min(known.size, MOST));
    do {
      const { messages, hasMore } = await chat.messages.list(id, { limit: Math.min(enough, 200), before: page.messages.at(-1)?.seq });
      page.messages.push(...messages);
      page.hasMore = hasMore;
    } while (page.hasMore && page.messages.length < enough && reading === mine);
    return page;
  }

  function loaded(mine, page) {
    const before = known;
    known = new Map();
    add(mine, page);
    newest = page.messages[0]?.seq ?? 0;
    for (const message of mine.told.values()) take(message);
    newest = Math.max(newest, mine.newest);
    for (const [key, message] of before) if (isSame(known.get(key), message)) known.set(key, message);
    gone &&= !conversation;
    state = gone ? 'deleted' : 'ready';
    changed();
  }

  function add({ told, marks }, { messages, hasMore }) {
    const page = new Map(messages.map((message) => [message.id, message]));
    for (const upTo of marks.values()) mark(page, upTo, told);
    for (const [key, message] of page) {
      put(known, message);
      if (told.has(key)) put(known, told.get(key));
      arrived(message);
    }
    hasOlder = hasMore;
    floor = hasMore ? messages.at(-1).seq : 0;
    reading = error = undefined;
  }

  async function readOlder() {
    for (;;) {
      while (reading) await reading.done;
      if (!hasOlder) return;
      const mine = begin();
      try {
        const page = await chat.messages.list(id, { limit: pageSize, before: floor });
        if (reading === mine) return changed(add(mine, page));
      } catch (failure) {
        if (reading === mine) {
          reading = undefined;
          changed(error = failure);
          throw failure;
        }
      }
    }
  }

  // Sending

  function wait(data) {
    const { state, at = new Date().toISOString(), resolve } = outgoing.get(data.clientMessageId) ?? {};
    if (state !== 'pending') outgoing.set(data.clientMessageId, { state: 'pending', data, at, resolve });
  }

  function fail(clientMessageId, error) {
    const waiting = outgoing.get(clientMessageId); // unless its event has come
    if (waiting?.state === 'pending') Object.assign(waiting, { state: 'failed', error, shown: undefined });
  }

  function unsent(waiting) {
    const sender = participant(false) ?? UNKNOWN;
    const { data, state, error, at } = waiting;
    if (waiting.shown?.sender === sender) return waiting.shown;
    return (waiting.shown = { ...data, id: data.clientMessageId, conversationId: id, senderId: chat.userId, sender, createdAt: at, state, error });
  }

  function send(content, { messageType = 'text', clientMessageId } = {}) {
    const isAgain = ({ state, data }) => state === 'failed' && data.content === content && data.messageType === messageType;
    clientMessageId ??= [...outgoing.values()].find(isAgain)?.data.clientMessageId ?? newId();
    return dispatch({ content, messageType, clientMessageId });
  }

  function dispatch(data) {
    wait(data);
    toldTyping = 0;
    const sent = new Promise((resolve, reject) => {
      outgoing.get(data.clientMessageId).resolve = resolve; // its event may come first
      deliver(data).then(resolve, reject);
    });
    changed();
    return quiet(sent);
  }

  /** By the end the conversation may be gone, and then no event is heard. */
  async function deliver(data) {
    const { clientMessageId } = data;
    const waiting = outgoing.get(clientMessageId);
    try {
      if (!id || opening) await opened();
      const message = await chat.send({ conversationId: id, ...data });
      if (outgoing.delete(clientMessageId)) changed();
      return message;
    } catch (failure) {
      if (outgoing.get(clientMessageId) === waiting) changed(fail(clientMessageId, failure));
      throw failure;
    }
  }

  /** A conversation is made with its first message, not by looking. */
  const opened = () => (opening ??= chat.conversations.open(otherId).then((made) => id || adopt(made)).finally(() => (opening = undefined)));

  function adopt(found) {
    ({ id } = conversation = people = found);
    load();
  }

  load();

  return {
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    get messages() { return shown; },
    get hasOlder() { return hasOlder; },
    get state() { return state; },
    get error() { return error; },
    get id() { return id; },
    get other() { return participant(true); },
    get isTyping() { return isTyping; },
    loadOlder: () => (older ??= quiet(readOlder().finally(() => (older = undefined)))),
    send,
    retry(clientMessageId) {
      const waiting = outgoing.get(clientMessageId);
      return waiting?.state === 'failed' ? dispatch(waiting.data) : undefined;
    },
    discard(clientMessageId) {
      if (outgoing.get(clientMessageId)?.state !== 'failed') return; // what is under way may be stored
      outgoing.delete(clientMessageId);
      changed();
    },
    markRead: (upToSeq = newest) => quiet(markRead(upToSeq)),
    setTyping(is = true) {
      if (!id || (is ? Date.now() - toldTyping < typingSeconds * 400 : !toldTyping)) return;
      toldTyping = is && Date.now();
      chat.typing(id, is);
    },
    close() {
      for (const off of offs) off();
      listeners.clear();
      clearTimeout(typingTimer);
      state = 'closed';
      hasOlder = false;
      reading?.wake?.();
      reading = undefined;
    },
  };

  async function markRead(upToSeq) {
    while (state === 'loading') await reading.done; // there may be a gap
    const isMeant = (message) => message.seq > marking && isUnread(message, chat.userId, upToSeq);
    if (state !== 'ready' || ![...known.values()].some(isMeant)) return;
    marking = upToSeq;
    await chat.markRead(id, upToSeq).finally(() => (marking = 0)); // its event has an order, its answer none
  }
}
