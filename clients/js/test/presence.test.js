// Whose presence is watched, by however many callers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, connected, server } from './support/stage.js';
import { next } from './support/wait.js';

const users = (from, to) => Array.from({ length: to - from }, (_, n) => `user ${from + n}`);

test('watched users are watched again after a reconnect', async () => {
  const [chat, first] = await connected();
  chat.watchPresence(['a', 'b']);
  assert.deepEqual((await first.read()).data, { userIds: ['a', 'b'] });
  first.close(1012);
  const second = await server.connection();
  second.greet();
  assert.deepEqual((await second.read()).data, { userIds: ['a', 'b'] });
  await second.caughtUp();
  assert.deepEqual(second.inbox, []);
});

test('several callers watch together, a user as long as one of them does', async () => {
  const [chat, connection] = await connected();
  const asked = async () => {
    const { type, data } = await connection.read();
    assert.equal(type, 'watch_presence');
    return data.userIds;
  };
  const offs = [chat.watchPresence(['a', 'b', 'a'])];
  assert.deepEqual(await asked(), ['a', 'b']);
  offs.push(chat.watchPresence(new Set(['b', 'c'])));
  assert.deepEqual(await asked(), ['a', 'b', 'c']);
  offs[0]();
  assert.deepEqual(await asked(), ['b', 'c']);
  offs[0](); // once more says nothing
  offs[1]();
  assert.deepEqual(await asked(), []);
  await connection.caughtUp();
  assert.deepEqual([connection.inbox, chat.errors], [[], []]);
});

test('what changes in one turn is told once', async () => {
  const [chat, connection] = await connected();
  chat.watchPresence(['a'])();
  chat.watchPresence(['b']);
  chat.watchPresence(['c']);
  assert.deepEqual((await connection.read()).data, { userIds: ['b', 'c'] });
  await connection.caughtUp();
  assert.deepEqual(connection.inbox, []);
});

test('what is watched, and no more, while there is no connection is told at the next one', async () => {
  const chat = client();
  chat.watchPresence(['a']);
  const off = chat.watchPresence(['b']);
  const connection = await server.connection();
  off();
  connection.greet();
  assert.deepEqual((await connection.read()).data, { userIds: ['a'] });
  await connection.caughtUp();
  assert.deepEqual([connection.inbox, chat.errors], [[], []]);
});

test('more than the service takes are refused at once, and not told again', async () => {
  const [chat, connection] = await connected();
  chat.watchPresence(users(0, 300));
  assert.equal((await connection.read()).data.userIds.length, 300);
  assert.throws(() => chat.watchPresence(users(200, 501)), { name: 'ChatError', code: 'too_many_watched', message: 'over 500 users' });
  const off = chat.watchPresence(users(200, 500));
  assert.deepEqual((await connection.read()).data.userIds, users(0, 500));
  assert.throws(() => chat.watchPresence(['one more']), { code: 'too_many_watched' });
  off();
  assert.equal((await connection.read()).data.userIds.length, 300);
  connection.close(1012);
  const second = await server.connection();
  second.greet();
  assert.deepEqual((await second.read()).data.userIds, users(0, 300));
  assert.deepEqual(chat.errors, []);
});

test('a service that takes more or less says so by an option', async () => {
  const [chat, connection] = await connected({ maxWatched: 2 });
  assert.throws(() => chat.watchPresence(['a', 'b', 'c']), { code: 'too_many_watched' });
  chat.watchPresence(['a', 'b', 'a']);
  const { requestId } = await connection.read();
  connection.send('error', { requestId, code: 'validation_failed', message: 'userIds must name at most 1 users' });
  assert.equal((await next(chat, 'error')).code, 'validation_failed');
});
