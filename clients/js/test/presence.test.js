// Whose presence is watched, by however many callers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, connected, server } from './support/stage.js';
import { next } from './support/wait.js';

/** The users of the next frame, which is answered. */
async function asked(connection) {
  const { type, requestId, data } = await connection.read();
  assert.equal(type, 'watch_presence');
  connection.send('ack', { requestId });
  return data.userIds;
}

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
  const offs = [chat.watchPresence(['a', 'b', 'a'])];
  assert.deepEqual(await asked(connection), ['a', 'b']);
  offs.push(chat.watchPresence(new Set(['b', 'c'])));
  assert.deepEqual(await asked(connection), ['a', 'b', 'c']);
  offs[0]();
  assert.deepEqual(await asked(connection), ['b', 'c']);
  offs[0](); // once more says nothing
  offs[1]();
  assert.deepEqual(await asked(connection), []);
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
  assert.equal((await asked(connection)).length, 300);
  assert.throws(() => chat.watchPresence(users(200, 501)), { name: 'ChatError', code: 'too_many_watched', message: 'over 500 users' });
  const off = chat.watchPresence(users(200, 500));
  assert.deepEqual((await asked(connection)), users(0, 500));
  assert.throws(() => chat.watchPresence(['one more']), { code: 'too_many_watched' });
  off();
  assert.equal((await asked(connection)).length, 300);
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

test('how many the service takes is what each connection says, and the option counts until then', async () => {
  const [chat, first] = await connected({ maxWatched: 1 }, { limits: { maxWatchedUsers: 2 } });
  assert.throws(() => chat.watchPresence(['a', 'b', 'c']), { code: 'too_many_watched', message: 'over 2 users' });
  chat.watchPresence(['a', 'b']);
  assert.deepEqual(await asked(first), ['a', 'b']);
  first.close(1012);
  const second = await server.connection();
  second.greet({ limits: { maxWatchedUsers: 3 } });
  assert.deepEqual(await asked(second), ['a', 'b']);
  chat.watchPresence(['c']);
  assert.deepEqual(await asked(second), ['a', 'b', 'c']);
  assert.deepEqual(chat.errors, []);
});

test('of more than the service takes, as it says later than they were watched, the first ones are, and that is an error', async () => {
  const chat = client();
  const off = chat.watchPresence(['a']);
  chat.watchPresence(['b', 'c', 'd']);
  const connection = await server.connection();
  connection.greet({ limits: { maxWatchedUsers: 3 } });
  assert.deepEqual(await asked(connection), ['a', 'b', 'c']);
  assert.deepEqual(chat.errors.map(({ code, message }) => [code, message]), [['too_many_watched', 'over 3 users']]);
  off();
  assert.deepEqual(await asked(connection), ['b', 'c', 'd']);
  assert.equal(chat.errors.length, 1);
});

test('many callers, each in a turn of its own, are told together once the frame under way is answered', async () => {
  const [chat, connection] = await connected();
  const all = users(0, 300);
  for (const id of all) {
    chat.watchPresence([id]);
    await Promise.resolve();
  }
  const first = await connection.read();
  assert.deepEqual(first.data.userIds, ['user 0']);
  await connection.caughtUp();
  assert.deepEqual(connection.inbox, [], 'one at a time');
  connection.send('ack', { requestId: first.requestId });
  assert.deepEqual(await asked(connection), all);
  await connection.caughtUp();
  assert.deepEqual([connection.inbox, chat.errors], [[], []]);
});

for (const code of ['too_many_requests', 'unavailable', 'request_timeout', 'internal']) {
  test(`what is refused with ${code} is told again, as it is by then`, async () => {
    const [chat, connection] = await connected();
    chat.watchPresence(['a']);
    const { requestId } = await connection.read();
    chat.watchPresence(['b']);
    connection.send('error', { requestId, code, message: 'later' });
    assert.deepEqual(await asked(connection), ['a', 'b']);
    await connection.caughtUp();
    assert.deepEqual([connection.inbox, chat.errors], [[], []]);
  });
}

test('what is refused for a while, again and again, is an error once, and still told again', async () => {
  const [chat, connection] = await connected({ maxTries: 2 });
  chat.watchPresence(['a']);
  for (let times = 0; times < 4; times++) {
    connection.send('error', { requestId: (await connection.read()).requestId, code: 'too_many_requests', message: 'slow down' });
  }
  assert.deepEqual(await asked(connection), ['a']);
  assert.deepEqual(chat.errors.map(({ code }) => code), ['too_many_requests']);
});

test('what is refused with an error of the service is given up after the third time', async () => {
  const [chat, connection] = await connected();
  chat.watchPresence(['a']);
  for (let times = 0; times < 3; times++) {
    connection.send('error', { requestId: (await connection.read()).requestId, code: 'internal', message: 'see the log' });
  }
  assert.equal((await next(chat, 'error')).code, 'internal');
  chat.watchPresence(['b']);
  assert.deepEqual(await asked(connection), ['a', 'b'], 'the next change is told');
});

test('a refusal is no matter of the next connection', async () => {
  const [chat, first] = await connected();
  chat.watchPresence(['a']);
  first.send('error', { requestId: (await first.read()).requestId, code: 'too_many_requests', message: 'slow down' });
  first.close(1012);
  const second = await server.connection();
  second.greet();
  assert.deepEqual(await asked(second), ['a']);
});

test('what is no list of ids is refused at once, and spoils nothing for others', async () => {
  const [chat, connection] = await connected();
  for (const wrong of ['abc', [''], [undefined], ['a', 7], [['a']], new Set([null])]) {
    assert.throws(() => chat.watchPresence(wrong), { name: 'TypeError', message: 'userIds must be a list of ids' });
  }
  chat.watchPresence(['a']);
  assert.deepEqual(await asked(connection), ['a']);
  assert.deepEqual(chat.errors, []);
});
