// The client against the service as it is run: replicas that share a database, and a load balancer in front.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import WebSocket from 'ws';
import { createChatClient } from '../pgchat.js';
import { AMELIE, balancer, cluster, LUKASZ, ZEYNEP } from './support/replicas.js';
import { eventually, next, online } from './support/wait.js';

let replicas;
let first;
let second;
let conversationId;
let clients;

before(async () => {
  replicas = await cluster({ SHUTDOWN_GRACE_SECONDS: '15' });
  first = await replicas.start();
  second = await replicas.start();
});
after(() => replicas.close());
beforeEach(() => { clients = []; });
afterEach(() => clients.forEach((chat) => chat.close()));

async function client(url, userId, options) {
  const chat = createChatClient({ url, userId, WebSocket, minDelayMs: 50, maxDelayMs: 500, ...options });
  chat.errors = [];
  chat.on('error', (error) => chat.errors.push(error));
  clients.push(chat);
  await online(chat);
  conversationId ??= (await chat.conversations.open(LUKASZ)).id;
  return chat;
}

/** The messages that arrive from now on, those of each connection by themselves. */
function arrivals(chat) {
  const got = [[]];
  chat.on('connected', () => got.push([]));
  chat.on('chat_message', (message) => got.at(-1).push(message));
  return got;
}

const hasArrived = (got, wanted) => got.flat().some(({ content }) => content === wanted);

/**
 * The contents of those from this one on, each where it came first. No connection has one twice, or an older one after a newer; a
 * replay may begin a little before its cursor, with what the connection before it had, or with what was said before.
 */
function contents(got, { seq: first }) {
  for (const seqs of got.map((messages) => messages.map(({ seq }) => seq))) {
    assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b));
  }
  return [...new Map(got.flat().filter(({ seq }) => seq >= first).map(({ id, content }) => [id, content])).values()];
}

test('two users chat across two replicas', async () => {
  const amelie = await client(first.url, AMELIE);
  const lukasz = await client(second.url, LUKASZ);
  const arrived = next(lukasz, 'chat_message');
  const outgoing = [];
  amelie.on('outgoing', (told) => outgoing.push(told));

  const stored = await amelie.send({ conversationId, content: 'Hello from the first replica' });

  assert.deepEqual(await arrived, stored);
  assert.equal(stored.senderId, AMELIE);
  assert.equal(stored.clientMessageId, outgoing[0].clientMessageId);
  assert.deepEqual(outgoing.map(({ state }) => state), ['queued', 'sent']);
  assert.deepEqual(outgoing[1].message, stored);

  const edited = next(lukasz, 'message_updated');
  assert.equal((await amelie.edit(stored.id, 'Hello again')).content, 'Hello again');
  assert.equal((await edited).content, 'Hello again');

  const read = next(amelie, 'messages_read');
  const marked = await lukasz.markRead(conversationId, stored.seq);
  assert.equal(marked.readSeq, stored.seq);
  assert.deepEqual(await read, { conversationId, readerId: LUKASZ, upToSeq: stored.seq });

  const deleted = next(lukasz, 'message_deleted');
  await amelie.delete(stored.id);
  assert.deepEqual([(await deleted).id, (await deleted).content], [stored.id, '']);
  assert.deepEqual([amelie.errors, lukasz.errors], [[], []]);
});

test('what is asked over HTTP', async () => {
  const amelie = await client(first.url, AMELIE);
  const { conversations, hasMore } = await amelie.conversations.list({ limit: 1 });
  assert.deepEqual([conversations.length, hasMore], [1, true]);
  const opened = next(amelie, 'conversation_created', ({ participant1Id, participant2Id }) => [participant1Id, participant2Id].includes('77777777-7777-4777-8777-777777777777'));
  const made = await amelie.conversations.open('77777777-7777-4777-8777-777777777777');
  assert.equal((await opened).id, made.id);
  assert.equal((await amelie.conversations.open('77777777-7777-4777-8777-777777777777')).id, made.id);
  assert.equal((await amelie.conversations.get(made.id)).id, made.id);

  const page = await amelie.messages.list(conversationId, { after: 0, limit: 2 });
  assert.deepEqual(page.messages.map(({ seq }) => seq), [1, 2]);
  assert.equal(typeof (await amelie.unreadCount()), 'number');
  assert.equal((await amelie.users.get(ZEYNEP)).firstName, 'Zeynep');
  assert.deepEqual((await amelie.users.list({ q: 'omar' })).users.map(({ firstName }) => firstName), ['Omar']);
  assert.ok((await amelie.users.list({ role: 'broker' })).users.every(({ role }) => role === 'broker'));
  assert.deepEqual((await amelie.users.list({ role: 'seller' })).users, []);
  assert.ok((await amelie.users.list({ active: true })).users.every(({ isActive }) => isActive));
  const brokers = (await amelie.users.list({ role: 'broker', active: true })).users;
  assert.ok(brokers.length > 0);
  assert.ok(brokers.every(({ role, isActive }) => role === 'broker' && isActive));

  await assert.rejects(amelie.users.get(conversationId), { code: 'user_not_found', status: 404 });
  await assert.rejects(amelie.messages.list(conversationId, { limit: 0 }), { code: 'validation_failed', status: 400 });
  await assert.rejects(amelie.send({ conversationId, content: ' ' }), { code: 'validation_failed' });
});

test('whose a token is, the service says, by the claim that it looks at', async () => {
  const secret = 'a secret of the tests, 32 bytes or more';
  const asks = await replicas.start({ JWT_SECRET: secret, JWT_USER_CLAIM: 'chatId', SERVER_HOST: '127.0.0.1' });
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 42, chatId: AMELIE, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  const getToken = () => `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
  for (const ticket of [false, true]) {
    const chat = createChatClient({ url: asks.url, getToken, ticket, WebSocket });
    clients.push(chat);
    const errors = [];
    chat.on('error', (error) => errors.push(error));
    assert.equal((await chat.conversations.list({ limit: 1 })).conversations.length, 1);
    const opened = await chat.conversations.open(LUKASZ);
    assert.ok([opened.participant1Id, opened.participant2Id].includes(AMELIE));
    assert.equal((await chat.conversations.get(opened.id)).unreadCount, opened.unreadCount);
    await eventually(() => ['online', 'stopped'].includes(chat.status));
    assert.deepEqual([chat.status, chat.userId, errors], ['online', AMELIE, []]);
    assert.equal((await chat.send({ conversationId: opened.id, content: 'By its claim' })).senderId, AMELIE);
  }
});

test('a replica that is killed: both go on at the other, nothing is lost and nothing comes twice', async () => {
  const doomed = await replicas.start();
  const front = await balancer([doomed.port, second.port]);
  try {
    const amelie = await client(front.url, AMELIE);
    const lukasz = await client(front.url, LUKASZ);
    const [hers, his] = [arrivals(amelie), arrivals(lukasz)];
    const connections = [];
    lukasz.on('connected', (connection) => connections.push(connection));
    const wanted = Array.from({ length: 40 }, (_, n) => `message ${n}`);

    const sent = wanted.map(async (content, n) => {
      const stored = amelie.send({ conversationId, content });
      if (n === 20) await doomed.kill();
      return stored;
    });

    const stored = await Promise.all(sent);
    // What would come twice comes before this.
    await amelie.send({ conversationId, content: 'the last' });
    await eventually(() => [his, hers].every((got) => hasArrived(got, 'the last')));
    for (const got of [his, hers]) assert.deepEqual(contents(got, stored[0]), [...wanted, 'the last']);
    assert.deepEqual(stored.map(({ content }) => content), wanted);
    assert.deepEqual(connections.map(({ resumed }) => resumed), [true]);
    const { messages } = await amelie.messages.list(conversationId, { after: stored[0].seq - 1, limit: 200 });
    assert.deepEqual(messages.map(({ content }) => content), [...wanted, 'the last']);
  } finally {
    await front.close();
  }
});

test('offline: what is sent waits, and goes out in order with the connection', async () => {
  const front = await balancer([first.port]);
  try {
    const amelie = await client(front.url, AMELIE);
    const lukasz = await client(second.url, LUKASZ);
    const his = arrivals(lukasz);
    front.refuse = true;
    front.cut();
    await next(amelie, 'status', ({ status }) => status === 'waiting');
    const sent = ['one', 'two', 'three'].map((content) => amelie.send({ conversationId, content }));
    assert.equal(amelie.queued, 3);
    const missed = arrivals(amelie);
    const meanwhile = await lukasz.send({ conversationId, content: 'meanwhile' });
    front.refuse = false;
    await Promise.all(sent);
    await eventually(() => [his, missed].every((got) => hasArrived(got, 'three')));
    assert.deepEqual(his.flat().map(({ content }) => content), ['meanwhile', 'one', 'two', 'three']);
    assert.deepEqual(contents(missed, meanwhile), ['meanwhile', 'one', 'two', 'three']);
  } finally {
    await front.close();
  }
});

test('a replica that drains says so, and its clients go on at another', async () => {
  const leaving = await replicas.start();
  const front = await balancer([leaving.port, first.port]);
  try {
    const amelie = await client(front.url, AMELIE);
    const closing = next(amelie, 'server_closing');
    const waiting = next(amelie, 'status', ({ status }) => status === 'waiting');
    const back = next(amelie, 'connected');
    const ended = leaving.terminate();
    const { reconnectAfterMs } = await closing;
    const { closeCode, retryInMs } = await waiting;
    assert.equal(closeCode, 1012);
    assert.ok(retryInMs >= reconnectAfterMs, `${retryInMs} < ${reconnectAfterMs}`);
    assert.equal((await back).resumed, true);
    await ended;
  } finally {
    await front.close();
  }
});

test('a frame that is too big for the service (1009) fails alone', async () => {
  const amelie = await client(first.url, AMELIE);
  const big = amelie.send({ conversationId, content: 'x'.repeat(2 * 1024 * 1024) });
  await assert.rejects(big, { code: 'frame_too_big', closeCode: 1009 });
  const stored = await amelie.send({ conversationId, content: 'the next one' });
  assert.equal(stored.content, 'the next one');
});

test('a user that does not exist: it stops, with the reason', async () => {
  const chat = createChatClient({ url: first.url, userId: '99999999-9999-4999-8999-999999999999', WebSocket });
  clients.push(chat);
  chat.on('error', () => {});
  const { error } = await next(chat, 'status', ({ status }) => status === 'stopped');
  assert.deepEqual([error.code, error.status], ['user_not_found', 404]);
});

test('a cursor of an earlier client brings what was missed; one that means nothing asks for a reload', async () => {
  const amelie = await client(first.url, AMELIE);
  const lukasz = await client(second.url, LUKASZ);
  const before = next(amelie, 'chat_message');
  await lukasz.send({ conversationId, content: 'before' });
  await before;
  amelie.close();
  await lukasz.send({ conversationId, content: 'between' });
  const later = createChatClient({ url: second.url, userId: AMELIE, WebSocket, cursor: amelie.cursor });
  clients.push(later);
  const missed = next(later, 'chat_message', ({ content }) => content === 'between');
  assert.equal((await next(later, 'connected')).resumed, true);
  await missed;

  const lost = createChatClient({ url: first.url, userId: AMELIE, WebSocket, cursor: 'nonsense' });
  clients.push(lost);
  const resync = next(lost, 'resync_required');
  assert.equal((await next(lost, 'connected')).resumed, false);
  await resync;
  await eventually(() => lost.cursor !== 'nonsense');
});

test('who is there and who types is told across two replicas, until the client is closed', async () => {
  const lukasz = await client(second.url, LUKASZ);
  const presence = [];
  lukasz.on('presence', (shown) => presence.push(shown));
  lukasz.watchPresence([AMELIE]);
  // Who was there in the test before is missed only after a while.
  await eventually(() => presence.at(-1)?.isOnline === false);
  assert.equal(typeof presence.at(-1).lastSeenAt, 'string');

  const amelie = await client(first.url, AMELIE);
  await eventually(() => presence.at(-1).isOnline);
  assert.equal(presence.at(-1).userId, AMELIE);
  assert.equal((await lukasz.users.get(AMELIE)).isOnline, true);

  const typing = next(lukasz, 'typing');
  amelie.typing(conversationId);
  assert.deepEqual(await typing, { conversationId, userId: AMELIE, isTyping: true });
  const stopped = next(lukasz, 'typing', ({ isTyping }) => !isTyping);
  await amelie.send({ conversationId, content: 'typed' });
  await stopped;

  amelie.setActive(false);
  await eventually(() => !presence.at(-1).isOnline);
  const heard = next(amelie, 'chat_message', ({ content }) => content === 'unseen');
  await lukasz.send({ conversationId, content: 'unseen' });
  await heard;
  amelie.setActive(true);
  await eventually(() => presence.at(-1).isOnline);

  amelie.close();
  await eventually(() => !presence.at(-1).isOnline);
  assert.deepEqual([...amelie.errors, ...lukasz.errors], []);
});
