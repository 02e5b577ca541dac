// Commands: in which order they go out, and when they go out once more.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChatError } from '../pgchat.js';
import { client, connected, server } from './support/stage.js';
import { eventually } from './support/wait.js';

const command = ({ type, data }) => [type, data];

for (const code of ['unavailable', 'too_many_requests', 'request_timeout', 'internal']) {
  test(`a command that is refused with ${code} is sent again, the same as it was`, async () => {
    const [chat, connection] = await connected({ minDelayMs: 1 });
    const edited = chat.edit('m1', 'otherwise');
    const asked = await connection.read();
    connection.send('error', { requestId: asked.requestId, code, message: 'not now' });
    const again = await connection.read();
    assert.deepEqual(again, asked);
    connection.send('ack', { requestId: again.requestId, message: { id: 'm1' } });
    assert.deepEqual(await edited, { id: 'm1' });
    assert.deepEqual(chat.errors, []);
  });
}

test('what waits as long as the service has asked for waits so long over the next connection, too', async () => {
  const [chat, first] = await connected({ minDelayMs: 1 });
  const edited = chat.edit('m1', 'otherwise');
  const asked = await first.read();
  const since = performance.now();
  first.send('error', { requestId: asked.requestId, code: 'too_many_requests', message: 'not now', retryAfterMs: 1_500 });
  await first.caughtUp();
  first.close(1012);
  const second = await server.connection();
  second.greet();
  assert.deepEqual(await second.read(), asked);
  const waited = performance.now() - since;
  assert.ok(waited >= 1_500, `${waited} ms`);
  second.send('ack', { requestId: asked.requestId, message: { id: 'm1' } });
  assert.deepEqual(await edited, { id: 'm1' });
});

test('what is refused with internal each time is rejected after three tries, and what waited for it goes out', async () => {
  const [chat, connection] = await connected({ minDelayMs: 1 });
  const refused = assert.rejects(chat.send({ conversationId: 'c1', content: 'refused' }), { code: 'internal', message: 'a trigger’s' });
  const behind = chat.send({ conversationId: 'c1', content: 'behind' });
  const contents = [];
  for (let times = 0; times < 4; times++) {
    const { requestId, data } = await connection.read();
    contents.push(data.content);
    if (times < 3) connection.send('error', { requestId, code: 'internal', message: 'a trigger’s' });
    else connection.send('ack', { requestId, message: { id: 'm1' } });
  }
  assert.deepEqual(contents, ['refused', 'refused', 'refused', 'behind']);
  await refused;
  assert.deepEqual(await behind, { id: 'm1' });
});

test('a send that failed says under which id it may be sent again, each under its own, as its outgoing event does', async () => {
  const [chat, connection] = await connected();
  const outgoing = [];
  chat.on('outgoing', ({ state, error }) => state === 'failed' && outgoing.push(error));
  const sends = ['mine', undefined].map((clientMessageId, n) => chat.send({ conversationId: `c${n}`, content: 'x', clientMessageId }));
  const [, { data }] = [await connection.read(), await connection.read()];
  connection.close(4403, 'deactivated');
  const [first, second] = (await Promise.allSettled(sends)).map(({ reason }) => reason);
  assert.deepEqual([first.clientMessageId, second.clientMessageId], ['mine', data.clientMessageId]);
  for (const error of [first, second]) assert.deepEqual([error instanceof ChatError, error.name, error.code, error.message, error.closeCode], [true, 'ChatError', 'not_allowed', 'deactivated', 4403]);
  assert.deepEqual(outgoing, [first, second]);
  assert.deepEqual(chat.errors.map(({ code, clientMessageId }) => [code, clientMessageId]), [['not_allowed', undefined]], 'that of the connection is nobody’s');
});

test('edits and the deletion of one message go out one after the other; those of another one, and a mark as read, wait for none of them', async () => {
  const [chat, connection] = await connected({ minDelayMs: 1 });
  const message = { conversationId: 'c1', content: 'a', messageType: 'text', clientMessageId: 'id' };
  const done = [chat.send(message), chat.edit('m1', 'b'), chat.edit('m1', 'c'), chat.delete('m1'), chat.edit('m2', 'd'), chat.markRead('c1', 7), chat.markRead('c1', 8)];
  const first = [await connection.read(), await connection.read(), await connection.read(), await connection.read()];
  assert.deepEqual(first.map(command), [
    ['send_message', message], ['edit_message', { messageId: 'm1', content: 'b' }], ['edit_message', { messageId: 'm2', content: 'd' }],
    ['mark_read', { conversationId: 'c1', upToSeq: 7 }],
  ]);
  await connection.caughtUp();
  assert.deepEqual(connection.inbox, []);
  const [sent, edit, other, mark] = first;
  connection.send('error', { requestId: edit.requestId, code: 'unavailable', message: 'not now' });
  const again = await connection.read();
  assert.deepEqual(again, edit);
  const answer = ({ requestId }) => connection.send('ack', { requestId, message: {} });
  answer(again);
  const then = [await connection.read()];
  answer(then[0]);
  then.push(await connection.read());
  answer(then[1]);
  assert.deepEqual(then.map(command), [['edit_message', { messageId: 'm1', content: 'c' }], ['delete_message', { messageId: 'm1' }]]);
  answer(mark);
  const next = await connection.read();
  assert.deepEqual(command(next), ['mark_read', { conversationId: 'c1', upToSeq: 8 }]);
  [sent, other, next].forEach(answer);
  await Promise.all(done);
});

test('what is only true for the moment is not sent after the connection that it was meant for', async () => {
  const [chat, first] = await connected();
  chat.typing('c1');
  await first.read();
  first.close(1012);
  await eventually(() => chat.status !== 'online');
  chat.typing('c1');
  const second = await server.connection();
  second.greet();
  const sent = chat.send({ conversationId: 'c1', content: 'typed' });
  const asked = await second.read();
  assert.deepEqual([asked.type, asked.data.messageType], ['send_message', 'text']);
  second.send('ack', { requestId: asked.requestId, message: {} });
  await sent;
  await second.caughtUp();
  assert.deepEqual([second.inbox, chat.errors], [[], []]);
});

test('while a token is waited for it may be closed, and opens no socket when one comes', async () => {
  let answer;
  const chat = client({ getToken: () => new Promise((resolve) => (answer = resolve)) });
  await eventually(() => answer);
  chat.close();
  answer('a.b.c');
  // An HTTP request that waits for the same token is behind the socket.
  await chat.users.get('u2');
  assert.deepEqual([server.handshakes.length, chat.status], [0, 'closed']);
});
