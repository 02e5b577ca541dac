// Each row of the close-code table, and what else a server may say, over real sockets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import WebSocket from 'ws';
import { createChatClient } from '../pgchat.js';
import { client, clients, connected, server, stopped } from './support/stage.js';
import { eventually, next, online } from './support/wait.js';

for (const code of [1001, 1012, 1013, 4408, 1000, 1002, 1006, 1011]) {
  test(`after ${code} it reconnects with its cursor, and sends again what had no answer`, async () => {
    const [chat, first] = await connected();
    first.send('chat_message', { id: 'm1', updatedAt: '1' }, 'cursor-7');
    await next(chat, 'chat_message');
    const sent = chat.send({ conversationId: 'c1', content: 'hello', clientMessageId: 'once' });
    const asked = await first.read();
    if (code === 1006) first.ws.terminate();
    else first.close(code, 'because');
    const { closeCode } = await next(chat, 'status', ({ status }) => status === 'waiting');
    assert.equal(closeCode, code);

    const second = await server.connection();
    assert.equal(server.handshakes[1].url.searchParams.get('cursor'), 'cursor-7');
    second.greet({ resumed: true });
    const again = await second.read();
    assert.deepEqual(again.data, asked.data);
    assert.equal(again.data.clientMessageId, 'once');
    second.send('ack', { requestId: again.requestId, message: { id: 'm2' } });
    assert.deepEqual(await sent, { id: 'm2' });
    assert.deepEqual(chat.errors, []);
  });
}

test('after 1012 it waits as long as server_closing asked', async () => {
  const [chat, connection] = await connected();
  connection.send('server_closing', { reconnectAfterMs: 300 });
  connection.close(1012);
  const { retryInMs } = await next(chat, 'status', ({ status }) => status === 'waiting');
  assert.ok(retryInMs >= 300 && retryInMs <= 310, `${retryInMs}`);
  (await server.connection()).greet();
  await online(chat);
});

test('after 1009 the biggest frame under way fails, the others are sent again', async () => {
  const [chat, first] = await connected();
  const small = chat.send({ conversationId: 'c1', content: 'small' });
  const big = chat.send({ conversationId: 'c2', content: 'b'.repeat(5_000) });
  await first.read();
  await first.read();
  first.close(1009, 'frame too big');
  await assert.rejects(big, { code: 'frame_too_big', closeCode: 1009 });

  const second = await server.connection();
  second.greet();
  const again = await second.read();
  assert.equal(again.data.content, 'small');
  second.send('ack', { requestId: again.requestId, message: { id: 'm1' } });
  await small;
  assert.deepEqual(second.inbox, []);
});

test('after 1009 with nothing under way it stops: there is nothing that it could mend', async () => {
  const [chat, connection] = await connected();
  connection.close(1009);
  const { error } = await stopped(chat);
  assert.equal(error.code, 'frame_too_big');
  assert.equal(chat.errors[0], error);
});

test('after 4401 without getToken it stops and says so', async () => {
  const [chat, connection] = await connected();
  connection.close(4401, 'token expired');
  const { error } = await stopped(chat);
  assert.deepEqual([error.code, error.closeCode, error.message], ['unauthorized', 4401, 'token expired']);
  assert.deepEqual(chat.errors, [error]);
});

test('after 4403 it stops, what waits is rejected, and connect() tries again', async () => {
  const [chat, connection] = await connected();
  const sent = chat.send({ conversationId: 'c1', content: 'hello' });
  await connection.read();
  connection.close(4403, 'user deactivated');
  await assert.rejects(sent, { code: 'not_allowed', closeCode: 4403 });
  assert.equal(chat.status, 'stopped');
  await assert.rejects(chat.send({ conversationId: 'c1', content: 'more' }), { code: 'stopped' });
  assert.equal(chat.errors.length, 1);

  chat.connect();
  (await server.connection()).greet();
  await online(chat);
});

for (const [status, code] of [[404, 'user_not_found'], [403, 'forbidden'], [400, 'validation_failed'], [401, 'unauthorized']]) {
  test(`a handshake refused with ${status} for good stops it, with the reason that a browser hides`, async () => {
    server.refuse = status;
    server.answer = () => ({ status, body: { statusCode: status, code, message: 'the reason' } });
    const chat = client();
    const { error } = await stopped(chat);
    assert.deepEqual([error.code, error.status, error.message], [code, status, 'the reason']);
    assert.deepEqual(chat.errors, [error]);
  });
}

test('a handshake that is refused for a while is tried again, after Retry-After', async () => {
  server.refuse = 503;
  server.answer = () => ({ status: 503, headers: { 'retry-after': '1' }, body: { code: 'unavailable', message: 'closing' } });
  const chat = client();
  const { retryInMs } = await next(chat, 'status', ({ status }) => status === 'waiting');
  assert.ok(retryInMs >= 1000, `${retryInMs}`);
  assert.equal(chat.errors[0].code, 'unavailable');
  server.refuse = undefined;
  (await server.connection()).greet();
  await online(chat);
});

test('a service that nobody reaches is told of by the status, and is no error', async () => {
  const { url } = server;
  await server.close();
  const chat = client({ url });
  const { error } = await next(chat, 'status', ({ status, attempt }) => status === 'waiting' && attempt === 2);
  assert.equal(error.code, 'network');
  assert.deepEqual(chat.errors, []);
});

test('a proxy’s 404 page is no reason to stop', async () => {
  server.refuse = 404;
  server.answer = () => ({ status: 404, body: '<html>no such host</html>' });
  const chat = client();
  await next(chat, 'status', ({ status }) => status === 'waiting');
  assert.equal(chat.errors[0].code, 'bad_response');
  server.refuse = undefined;
  (await server.connection()).greet();
  await online(chat);
});

test('repeats are dropped by id and updatedAt, changes are not', async () => {
  const [chat, first] = await connected();
  const got = [];
  for (const type of ['chat_message', 'message_updated']) chat.on(type, ({ id, updatedAt }) => got.push(`${type} ${id} ${updatedAt}`));
  first.send('chat_message', { id: 'a', updatedAt: '1' }, 'k1');
  first.send('chat_message', { id: 'b', updatedAt: '1' }, 'k2');
  first.close(1013);
  const second = await server.connection();
  second.greet({ resumed: true });
  second.send('chat_message', { id: 'a', updatedAt: '1' });
  second.send('message_updated', { id: 'b', updatedAt: '2' });
  second.send('chat_message', { id: 'c', updatedAt: '3' }, 'k3');
  await next(chat, 'chat_message', ({ id }) => id === 'c');
  assert.deepEqual(got, ['chat_message a 1', 'chat_message b 1', 'message_updated b 2', 'chat_message c 3']);
});

test('the queue is bounded and says when it is full', async () => {
  const chat = client({ maxQueue: 2 });
  const full = next(chat, 'queue_full');
  const outgoing = [];
  chat.on('outgoing', ({ state, content }) => outgoing.push(`${content} ${state}`));
  const kept = [1, 2].map((n) => chat.send({ conversationId: 'c1', content: `${n}` }));
  await assert.rejects(chat.send({ conversationId: 'c1', content: '3' }), { code: 'queue_full' });
  assert.deepEqual(await full, { limit: 2 });

  const connection = await server.connection();
  connection.greet();
  for (const content of ['1', '2']) {
    const asked = await connection.read();
    assert.equal(asked.data.content, content);
    await connection.caughtUp();
    assert.deepEqual(connection.inbox, [], 'one of a conversation is under way at a time');
    connection.send('ack', { requestId: asked.requestId, message: { id: content } });
  }
  await Promise.all(kept);
  assert.deepEqual(outgoing, ['1 queued', '2 queued', '3 queued', '3 failed', '1 sent', '2 sent']);
});

test('a send that is refused for a while is tried again before what came after it', async () => {
  const [chat, connection] = await connected({ minDelayMs: 5 });
  const sent = ['1', '2'].map((content) => chat.send({ conversationId: 'c1', content }));
  const refused = await connection.read();
  connection.send('error', { requestId: refused.requestId, code: 'unavailable', message: 'busy' });
  for (const content of ['1', '2']) {
    const asked = await connection.read();
    assert.equal(asked.data.content, content);
    connection.send('ack', { requestId: asked.requestId, message: { content } });
  }
  assert.deepEqual(await Promise.all(sent), [{ content: '1' }, { content: '2' }]);
});

test('a send that is always refused fails after maxTries', async () => {
  const [chat, connection] = await connected({ minDelayMs: 1, maxTries: 3 });
  const sent = chat.send({ conversationId: 'c1', content: 'x' });
  for (let tries = 0; tries < 3; tries++) {
    const { requestId } = await connection.read();
    connection.send('error', { requestId, code: 'too_many_requests', message: 'slow down' });
  }
  await assert.rejects(sent, { code: 'too_many_requests', message: 'slow down' });
});

test('a send that is refused for good is rejected at once, with the reason', async () => {
  const [chat, connection] = await connected();
  const sent = chat.send({ conversationId: 'c1', content: 'x' });
  const { requestId } = await connection.read();
  connection.send('error', { requestId, code: 'not_a_participant', message: 'not yours' });
  await assert.rejects(sent, { code: 'not_a_participant', message: 'not yours' });
});

test('a command without an answer in time, and a ping without one, end the connection; the command is sent again over the next', async () => {
  const [chat, first] = await connected({ timeoutMs: 3_000 });
  first.answersPings = false;
  const sent = chat.send({ conversationId: 'c1', content: 'x' });
  await first.read();
  const second = await server.connection();
  second.greet();
  const { requestId } = await second.read();
  second.send('ack', { requestId, message: { id: 'm1' } });
  await sent;
  assert.equal(chat.statuses.find(({ status }) => status === 'waiting').reason, 'no answer in time');
});

test('a command over which the connection is lost again and again fails after maxTries; what only waits does not', async () => {
  const [chat, first] = await connected({ maxTries: 3, maxQueue: 2 });
  const sent = chat.send({ conversationId: 'c1', content: 'poison' });
  const behind = chat.send({ conversationId: 'c1', content: 'behind' });
  const failed = assert.rejects(sent, { code: 'disconnected', closeCode: 1011 });
  let connection = first;
  for (let tries = 0; tries < 3; tries++) {
    const asked = await connection.read();
    assert.equal(asked.data.content, 'poison');
    connection.close(1011, 'failed');
    connection = await server.connection();
    connection.greet();
  }
  const { requestId, data } = await connection.read();
  assert.equal(data.content, 'behind');
  await failed;
  connection.send('ack', { requestId, message: { id: 'm1' } });
  assert.deepEqual(await behind, { id: 'm1' });
});

test('a listener that throws and a frame that is no JSON are error events, and nothing ends', async () => {
  const [chat, connection] = await connected();
  chat.on('typing', () => { throw new Error('mine'); });
  connection.send('typing', { conversationId: 'c', userId: 'u2', isTyping: true });
  connection.ws.send('not json');
  connection.send('error', { code: 'validation_failed', message: 'unasked' });
  connection.ws.send('null');
  connection.ws.send('{"type":"of_later_versions"}');
  connection.send('chat_message', { id: 'm', updatedAt: '1' });
  await next(chat, 'chat_message');
  assert.equal(chat.errors.length, 4);
  assert.ok(chat.errors[3] instanceof TypeError);
  assert.equal(chat.errors[0].message, 'mine');
  assert.ok(chat.errors[1] instanceof SyntaxError);
  assert.equal(chat.errors[2].code, 'validation_failed');
});

test('without a listener an error goes to the console', async (t) => {
  const logged = t.mock.method(console, 'error', () => {});
  const chat = createChatClient({ url: server.url, userId: 'u1', WebSocket, minDelayMs: 10 });
  clients.push(chat);
  const connection = await server.connection();
  connection.greet();
  connection.close(4403, 'deactivated');
  await stopped(chat);
  await eventually(() => logged.mock.callCount() === 1);
  assert.equal(logged.mock.calls[0].arguments[0].code, 'not_allowed');
});

test('a listener of errors that throws is told to the console, and not to itself', async (t) => {
  const logged = t.mock.method(console, 'error', () => {});
  const [chat, connection] = await connected();
  let told = 0;
  chat.on('error', () => {
    if (++told > 3) return;
    throw new Error('mine');
  });
  connection.send('error', { code: 'validation_failed', message: 'unasked' });
  await eventually(() => logged.mock.callCount() > 0 || told > 1);
  assert.deepEqual([told, logged.mock.calls.map(({ arguments: [error] }) => error.message)], [1, ['mine']]);
});

test('close() ends it: nothing reconnects, and what waits is rejected', async () => {
  const [chat, connection] = await connected();
  const sent = chat.send({ conversationId: 'c1', content: 'x' });
  const gone = new Promise((resolve) => connection.ws.once('close', resolve));
  chat.close();
  await assert.rejects(sent, { code: 'closed' });
  await assert.rejects(chat.send({ conversationId: 'c1', content: 'too late' }), { code: 'closed' });
  assert.equal(chat.queued, 0);
  await gone;
  assert.equal(chat.status, 'closed');
  assert.equal(server.handshakes.length, 1);
});

test('a listener may close it on any event, and it stays closed', async () => {
  for (const type of ['frame', 'status', 'connected']) {
    const chat = client({ stableMs: 20 });
    chat.on(type, () => chat.status === 'closed' || chat.close());
    if (type !== 'status') (await server.connection()).greet();
    await eventually(() => chat.status === 'closed');
    // Nothing of it is left that would change its mind.
    const { closed } = await Promise.race([next(chat, 'status', () => true, 200), new Promise((resolve) => setTimeout(resolve, 100, { closed: true }))]);
    assert.ok(closed && chat.status === 'closed', type);
  }
});

test('a listener that closes it as soon as it is online hears of no connection afterwards, and no cursor of that one is kept', async () => {
  const chat = client();
  const told = [];
  chat.on('connected', () => told.push('connected'));
  chat.on('status', ({ status }) => status === 'online' && chat.close());
  (await server.connection()).greet();
  await eventually(() => chat.status === 'closed');
  assert.deepEqual([told, chat.cursor], [[], undefined]);
});
