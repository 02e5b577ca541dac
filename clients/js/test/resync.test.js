// Nothing is known yet, or too much was missed: which cursor counts while it is loaded over HTTP.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, connected, server } from './support/stage.js';
import { eventually, next } from './support/wait.js';

test('resync_required goes on from the cursor of its frame', async () => {
  const [chat, first] = await connected({ cursor: 'old' });
  assert.equal(server.handshakes[0].url.searchParams.get('cursor'), 'old');
  first.send('resync_required', { reason: 'too much' }, 'fresh');
  await next(chat, 'resync_required');
  first.close(1001);
  await server.connection();
  assert.equal(server.handshakes[1].url.searchParams.get('cursor'), 'fresh');
});

/** The cursors of the handshakes. */
const cursors = () => server.handshakes.map(({ url }) => url.searchParams.get('cursor'));

/** A reload each time that one is asked for, in either way, ended by the test: `done()`, `failed(error)`. */
function reloads(chat) {
  const all = [];
  const load = () => new Promise((done, failed) => all.push({ done, failed }));
  chat.on('connected', ({ resumed }) => resumed || load());
  chat.on('resync_required', load);
  return all;
}

/** Resumed from its cursor. */
const resumed = () => connected({ cursor: 'old' }, { cursor: 'old', resumed: true });

test('a reload that had not ended when the connection was lost is asked for again, by a connection without a cursor: nothing is missed', async () => {
  const [chat, first] = await resumed();
  const [hers, also] = [reloads(chat), reloads(chat)];
  first.send('resync_required', { reason: 'too much' }, 'fresh');
  first.send('chat_message', { id: 'm1', updatedAt: '1' }, 'after');
  await next(chat, 'chat_message');
  assert.equal(chat.cursor, 'old');
  first.close(1013);
  const second = await server.connection();
  // The service might take the old cursor, and then nobody would ask for the reload.
  second.greet({ cursor: 'start 2' });
  await eventually(() => hers.length === 2);
  // The first reload began before what the second one is for.
  hers[0].done();
  also[0].done();
  hers[1].done();
  second.send('chat_message', { id: 'm2', updatedAt: '1' }, 'after 2');
  await next(chat, 'chat_message');
  assert.equal(chat.cursor, undefined, 'not all are done');
  also[1].done();
  await eventually(() => chat.cursor === 'after 2');
  second.close(1013);
  await server.connection();
  assert.deepEqual([cursors(), chat.errors], [['old', null, 'after 2'], []]);
});

test('a reload that fails is asked for again after each reconnect, until one has ended', async () => {
  const [chat, first] = await resumed();
  const all = reloads(chat);
  first.send('resync_required', { reason: 'too much' }, 'fresh');
  let connection = first;
  for (let times = 1; times <= 3; times++) {
    await eventually(() => all.length === times);
    all[times - 1].failed(new Error('not loaded'));
    await eventually(() => chat.errors.length === times);
    connection.close(1013);
    connection = await server.connection();
    connection.greet({ cursor: `start ${times}` });
  }
  await eventually(() => all.length === 4);
  all[3].done();
  await eventually(() => chat.cursor === 'start 3');
  connection.close(1013);
  await server.connection();
  assert.deepEqual(cursors(), ['old', null, null, null, 'start 3']);
});

test('what was seen before is told again when all is loaded anew', async () => {
  const [chat, connection] = await connected();
  const got = [];
  chat.on('chat_message', ({ id }) => got.push(id));
  connection.send('chat_message', { id: 'm1', updatedAt: '1' });
  connection.send('resync_required', { reason: 'a crash took something back' }, 'fresh');
  connection.send('chat_message', { id: 'm1', updatedAt: '1' });
  await eventually(() => got.length === 2);
});

test('a reload that ends while there is no connection counts', async () => {
  const [chat, first] = await resumed();
  const all = reloads(chat);
  first.send('resync_required', { reason: 'too much' }, 'fresh');
  await eventually(() => all.length);
  server.refuse = 503;
  first.close(1013);
  await eventually(() => cursors().length > 1);
  assert.equal(chat.cursor, 'old');
  all[0].done();
  await eventually(() => cursors().at(-1) === 'fresh');
  server.refuse = undefined;
  await server.connection();
  assert.equal(cursors().at(-1), 'fresh');
});

test('a reload that ends during the next handshake does not count for what that connection asks for', async () => {
  const [chat, first] = await resumed();
  const all = reloads(chat);
  first.send('resync_required', { reason: 'too much' }, 'fresh');
  await eventually(() => all.length);
  first.close(1013);
  const second = await server.connection();
  all[0].done();
  await eventually(() => chat.cursor === 'fresh');
  second.greet({ cursor: 'start 2' });
  await eventually(() => all.length === 2);
  // Not the old one: by that a page would tell a greeting that repeats what it was asked with, behind which a reload is asked for once more.
  assert.equal(chat.cursor, undefined);
  // The app has cleared what the first reload brought.
  all[1].failed(new Error('not loaded'));
  await eventually(() => chat.errors.length);
  second.close(1013);
  await server.connection();
  assert.deepEqual(cursors(), ['old', null, null]);
});

for (const [how, fail] of [['a reload that fails', () => Promise.reject(new Error('not loaded'))], ['a listener that throws', () => { throw new Error('not loaded'); }]]) {
  test(`after ${how} it is asked for again until one succeeds, and the failure is an error event`, async () => {
    const [chat, first] = await resumed();
    const off = chat.on('resync_required', fail);
    first.send('resync_required', { reason: 'too much' }, 'fresh');
    first.send('chat_message', { id: 'm1', updatedAt: '1' }, 'after');
    await next(chat, 'chat_message');
    await eventually(() => chat.errors.length);
    assert.deepEqual(chat.errors.map(({ message }) => message), ['not loaded']);
    first.close(1013);
    const second = await server.connection();
    off();
    second.greet({ cursor: 'start 2' });
    await eventually(() => chat.cursor === 'start 2');
    assert.deepEqual(cursors(), ['old', null]);
  });
}

test('a reload that is rejected without a reason has failed, too', async () => {
  const [chat, connection] = await connected({ cursor: 'old' }, { cursor: 'old' });
  chat.on('resync_required', () => Promise.reject());
  connection.send('resync_required', { reason: 'too much' }, 'fresh');
  connection.send('chat_message', { id: 'm1', updatedAt: '1' }, 'after');
  await next(chat, 'chat_message');
  await eventually(() => chat.errors.length);
  assert.equal(chat.cursor, 'old');
});

for (const [how, end, errors] of [['fails', ({ failed }) => failed(new Error('not loaded')), ['not loaded']], ['has not ended', () => {}, []]]) {
  test(`after a first load that ${how} the next connection begins without a cursor, so that all is loaded once more`, async () => {
    const chat = client();
    const loads = reloads(chat);
    const first = await server.connection();
    first.greet();
    await eventually(() => loads.length);
    end(loads[0]);
    first.send('chat_message', { id: 'm1', updatedAt: '1' }, 'after');
    await next(chat, 'chat_message');
    first.close(1013);
    const second = await server.connection();
    second.greet({ cursor: 'start 2' });
    await eventually(() => loads.length === 2);
    loads[0].done(); // of what came before the first connection
    second.send('chat_message', { id: 'm2', updatedAt: '1' }, 'after 2');
    await next(chat, 'chat_message');
    assert.equal(chat.cursor, undefined);
    loads[1].done();
    await eventually(() => chat.cursor === 'after 2');
    second.close(1013);
    await server.connection();
    assert.deepEqual([cursors(), chat.errors.map(({ message }) => message)], [[null, null, 'after 2'], errors]);
  });
}

test('a first load that ends during the next handshake does not count for the load that this connection asks for', async () => {
  const chat = client();
  const loads = reloads(chat);
  const first = await server.connection();
  first.greet({ cursor: 'start' });
  await eventually(() => loads.length);
  first.close(1013);
  const second = await server.connection();
  loads[0].done();
  await eventually(() => chat.cursor === 'start');
  second.greet({ cursor: 'start 2' });
  await eventually(() => loads.length === 2);
  loads[1].failed(new Error('not loaded'));
  await eventually(() => chat.errors.length);
  second.close(1013);
  await server.connection();
  assert.deepEqual(cursors(), [null, null, null]);
});

test('a listener’s promise that is rejected is an error event, whatever it listens to', async () => {
  const [chat, connection] = await connected();
  chat.on('typing', async () => { throw new Error('mine'); });
  connection.send('typing', { conversationId: 'c', userId: 'u2', isTyping: true });
  assert.equal((await next(chat, 'error')).message, 'mine');
});
