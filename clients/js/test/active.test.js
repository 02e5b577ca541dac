// Whether the socket makes its user online: by the option, by `setActive`, over reconnects.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, connected, server } from './support/stage.js';
import { eventually } from './support/wait.js';

/** What each handshake so far has said. */
const handshakes = () => server.handshakes.map(({ url }) => url.searchParams.get('active'));

/** What the next frame says, which is answered. */
async function told(connection) {
  const { type, requestId, data } = await connection.read();
  assert.equal(type, 'set_active');
  connection.send('ack', { requestId });
  return data;
}

/** Nothing more was sent, and nothing has failed. Twice: what the first pong may overtake is sent in the turn of what came before it. */
async function thatIsAll(chat, connection) {
  await connection.caughtUp();
  await connection.caughtUp();
  assert.deepEqual([connection.inbox, chat.errors], [[], []]);
}

/** The next connection, greeted. */
async function next() {
  const connection = await server.connection();
  connection.greet();
  return connection;
}

test('a client that says nothing of it leaves it to the service', async () => {
  const [chat, connection] = await connected();
  assert.deepEqual(handshakes(), [null]);
  await thatIsAll(chat, connection);
});

test('a client that is made inactive says so in each handshake, and in no frame', async () => {
  const [chat, first] = await connected({ active: false });
  await thatIsAll(chat, first);
  first.close(1012);
  await thatIsAll(chat, await next());
  assert.deepEqual(handshakes(), ['false', 'false']);
});

test('a change is told, and goes into the next handshakes', async () => {
  const [chat, first] = await connected();
  chat.setActive(false);
  assert.deepEqual(await told(first), { active: false });
  first.close(1012);
  const second = await next();
  await thatIsAll(chat, second);
  chat.setActive(true);
  assert.deepEqual(await told(second), { active: true });
  second.close(1012);
  await thatIsAll(chat, await next());
  assert.deepEqual(handshakes(), [null, 'false', 'true']);
});

test('a change during the handshake is told when that is over', async () => {
  const chat = client({ active: false });
  const connection = await server.connection();
  chat.setActive(true);
  connection.greet();
  assert.deepEqual(await told(connection), { active: true });
  await thatIsAll(chat, connection);
});

test('a change without a connection goes into the next handshake alone', async () => {
  const [chat, first] = await connected({ minDelayMs: 1000, random: () => 0.5 });
  first.close(1012);
  await eventually(() => chat.status === 'waiting');
  chat.setActive(false);
  chat.connect();
  await thatIsAll(chat, await next());
  assert.deepEqual(handshakes(), [null, 'false']);
});

test('of changes in one turn the last is told, of those before the answer the last after it', async () => {
  const [chat, connection] = await connected();
  chat.setActive(false);
  chat.setActive(true);
  chat.setActive(false);
  const { requestId, data } = await connection.read();
  assert.deepEqual(data, { active: false });
  chat.setActive(true);
  chat.setActive(false);
  chat.setActive(true);
  await connection.caughtUp();
  assert.deepEqual(connection.inbox, []);
  connection.send('ack', { requestId });
  assert.deepEqual(await told(connection), { active: true });
  await thatIsAll(chat, connection);
});

test('what is refused for a while is told again, as it is by then', async () => {
  const [chat, connection] = await connected();
  chat.setActive(false);
  const { requestId } = await connection.read();
  connection.send('error', { requestId, code: 'too_many_requests', message: 'slow down' });
  chat.setActive(true);
  assert.deepEqual(await told(connection), { active: true });
  await thatIsAll(chat, connection);
});

test('a service that does not know it is an error', async () => {
  const [chat, connection] = await connected();
  chat.setActive(false);
  const { requestId } = await connection.read();
  connection.send('error', { requestId, code: 'validation_failed', message: 'type must be one of …' });
  await eventually(() => chat.errors.length);
  assert.deepEqual(chat.errors.map(({ code }) => code), ['validation_failed']);
});

test('who closes the client may go on changing it, which says nothing', async () => {
  const [chat, connection] = await connected();
  chat.close();
  chat.setActive(false);
  await eventually(() => connection.ws.readyState === connection.ws.CLOSED);
  assert.deepEqual([connection.inbox, chat.errors], [[], []]);
});
