// Whose chat it is: tokens, where they come from, and what becomes of them when they are refused.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { client, connected, JWT, server, stopped } from './support/stage.js';
import { eventually, next, online } from './support/wait.js';

test('after 4401 it gets a new token and reconnects', async () => {
  let made = 0;
  const [chat, connection] = await connected({ getToken: () => `${JWT}${++made}` });
  connection.send('chat_message', { id: 'm1', updatedAt: '1' }, 'cursor-3');
  connection.close(4401, 'token expired');
  (await server.connection()).greet();
  await next(chat, 'status', ({ status }) => status === 'online');
  assert.deepEqual(server.handshakes.map(({ protocols }) => protocols), [`pgchat.v1,bearer.${JWT}1`, `pgchat.v1,bearer.${JWT}2`]);
  assert.equal(server.handshakes[1].url.searchParams.get('cursor'), 'cursor-3');
  assert.ok(!server.handshakes.some(({ url }) => url.href.includes(JWT)), 'a token in a URL');
});

test('token_expiring: a new token goes over the open socket, and is shown to nobody', async () => {
  let made = 0;
  const [chat, connection] = await connected({ getToken: async () => `${JWT}${++made}` });
  const frames = [];
  chat.on('frame', ({ direction, frame }) => direction === 'out' && frames.push(frame));
  connection.send('token_expiring', { expiresAt: 'soon' });
  const asked = await connection.read();
  assert.deepEqual([asked.type, asked.data], ['authenticate', { token: `${JWT}2` }]);
  assert.equal(frames[0].type, 'authenticate');
  assert.ok(!JSON.stringify(frames).includes(JWT));
  connection.send('ack', { requestId: asked.requestId });
  await eventually(() => chat.queued === 0);
  assert.deepEqual([server.handshakes.length, chat.errors], [1, []]);
});

test('what a service says of the end that is no time is no reason to ask without a pause', async (t) => {
  const getToken = t.mock.fn(() => JWT);
  const [chat, connection] = await connected({ getToken });
  connection.send('token_expiring', { expiresAt: 'soon' });
  await next(chat, 'token_expiring');
  // The second call, and then a pause of five seconds: a hundred round trips are far less.
  for (let times = 0; times < 100; times++) await connection.caughtUp();
  assert.deepEqual([getToken.mock.callCount(), connection.inbox, chat.errors], [2, [], []]);
});

for (const [how, end] of [['is lost', (chat, connection) => connection.close(1012)], ['is closed', (chat) => chat.close()]]) {
  test(`a connection that ${how} during a renewal is no error`, async () => {
    let made = 0;
    const [chat, connection] = await connected({ getToken: () => `${JWT}${++made}` });
    connection.send('token_expiring', { expiresAt: 'soon' });
    assert.equal((await connection.read()).type, 'authenticate');
    end(chat, connection);
    await eventually(() => chat.status !== 'online');
    assert.deepEqual([chat.queued, chat.errors], [0, []]);
  });
}

test('a renewal that the service refuses is an error', async () => {
  let made = 0;
  const [chat, connection] = await connected({ getToken: () => `${JWT}${++made}` });
  connection.send('token_expiring', { expiresAt: 'soon' });
  const { requestId } = await connection.read();
  connection.send('error', { requestId, code: 'user_mismatch', message: 'of somebody else' });
  assert.equal((await next(chat, 'error')).code, 'user_mismatch');
});

test('who has no getToken has nothing to say to token_expiring', async () => {
  const [chat, connection] = await connected();
  connection.send('token_expiring', { expiresAt: 'soon' });
  await next(chat, 'token_expiring');
  await connection.caughtUp();
  assert.deepEqual([connection.inbox, chat.queued, chat.errors], [[], 0, []]);
});

test('after a renewal 4401 is about the new token, which is not used again', async () => {
  let made = 0;
  const [chat, connection] = await connected({ getToken: () => `${JWT}${++made}` });
  connection.send('token_expiring', { expiresAt: 'soon' });
  connection.send('ack', { requestId: (await connection.read()).requestId });
  await eventually(() => chat.queued === 0);
  connection.close(4401, 'the new one, too');
  (await server.connection()).greet();
  await next(chat, 'status', ({ status }) => status === 'online');
  assert.deepEqual(server.handshakes.map(({ protocols }) => protocols), [`pgchat.v1,bearer.${JWT}1`, `pgchat.v1,bearer.${JWT}3`]);
});

test('a getToken that fails is an error event, and is asked again', async () => {
  let made = 0;
  const chat = client({
    getToken: () => {
      if (++made === 1) throw new Error('logged out');
      return JWT;
    },
  });
  (await server.connection()).greet();
  await online(chat);
  assert.equal(chat.errors[0].code, 'no_token');
  assert.match(chat.errors[0].message, /logged out/);
});

test('a getToken that is late is an error event; it is not called once more meanwhile, and what it says counts', async () => {
  const answers = [];
  const chat = client({ timeoutMs: 2_000, getToken: () => new Promise((resolve) => answers.push(resolve)) });
  await eventually(() => chat.errors.length >= 2);
  for (const { code, message } of chat.errors) assert.deepEqual([code, message], ['no_token', 'getToken failed: no answer in time']);
  answers[0](JWT);
  (await server.connection()).greet();
  await online(chat);
  assert.deepEqual([answers.length, server.handshakes[0].protocols], [1, `pgchat.v1,bearer.${JWT}`]);
});

test('a token that comes after it was refused once more waits for nobody: one call, whoever needs it', async () => {
  const asked = [];
  let answer;
  const [chat, connection] = await connected({
    getToken: (refusal) => {
      asked.push(refusal);
      return asked.length === 1 ? `${JWT}1` : new Promise((resolve) => (answer = resolve));
    },
  });
  connection.send('token_expiring', { expiresAt: 'soon' });
  connection.send('token_expiring', { expiresAt: 'soon' });
  await eventually(() => answer);
  connection.close(4401, 'token expired');
  await next(chat, 'status', ({ status }) => status === 'connecting');
  const listed = chat.conversations.list();
  answer(`${JWT}2`);
  (await server.connection()).greet();
  await listed;
  assert.equal(asked.length, 2);
  assert.deepEqual([server.handshakes[1].protocols, server.requests[0].authorization], [`pgchat.v1,bearer.${JWT}2`, `Bearer ${JWT}2`]);
});

test('while no new token is to be had the one that expires is used, by requests and by the next socket', async () => {
  const getToken = mock.fn(() => (getToken.mock.callCount() ? Promise.reject('the login is down') : JWT));
  const [chat, connection] = await connected({ getToken });
  connection.send('token_expiring', { expiresAt: 'soon' });
  assert.equal((await next(chat, 'error')).code, 'no_token');
  await chat.conversations.list();
  connection.close(1012);
  (await server.connection()).greet();
  await next(chat, 'status', ({ status }) => status === 'online');
  await chat.unreadCount();
  assert.deepEqual(server.requests.map(({ authorization }) => authorization), [`Bearer ${JWT}`, `Bearer ${JWT}`]);
  assert.deepEqual([server.handshakes[1].protocols, getToken.mock.callCount(), chat.errors.length], [`pgchat.v1,bearer.${JWT}`, 2, 1]);
});

test('a request that is refused while a new token is on its way waits for that one', async () => {
  let answer;
  const getToken = mock.fn(() => (getToken.mock.callCount() ? new Promise((resolve) => (answer = resolve)) : `${JWT}1`));
  const [chat, connection] = await connected({ getToken });
  server.answer = ({ headers }) => (headers.authorization === `Bearer ${JWT}2` ? {} : { status: 401, body: { code: 'token_expired', message: 'the token has expired' } });
  connection.send('token_expiring', { expiresAt: 'soon' });
  await eventually(() => answer);
  const listed = chat.conversations.list();
  await eventually(() => server.requests.length);
  answer(`${JWT}2`);
  await listed;
  const asked = await connection.read();
  assert.deepEqual([asked.type, asked.data], ['authenticate', { token: `${JWT}2` }]);
  assert.deepEqual(server.requests.map(({ authorization }) => authorization), [`Bearer ${JWT}1`, `Bearer ${JWT}2`]);
  assert.equal(getToken.mock.callCount(), 2);
});

test('a new token whose connection is lost before the answer is not refused: the next socket has it', async () => {
  const told = [];
  const [chat, connection] = await connected({ getToken: (refusal) => `${JWT}${told.push(refusal)}` });
  connection.send('token_expiring', { expiresAt: 'soon' });
  assert.equal((await connection.read()).type, 'authenticate');
  connection.close(1012);
  (await server.connection()).greet();
  await next(chat, 'status', ({ status }) => status === 'online');
  assert.equal(server.handshakes[1].protocols, `pgchat.v1,bearer.${JWT}2`);
  assert.deepEqual([told, chat.errors], [[undefined, 'it expires'], []]);
});

test('a getToken that gives nothing is asked again, and nothing is said to the service', async () => {
  let made = 0;
  const chat = client({ getToken: () => (++made === 1 ? null : JWT) });
  (await server.connection()).greet();
  await online(chat);
  assert.deepEqual([chat.errors[0].code, made, server.handshakes.length], ['no_token', 2, 1]);
});

test('getToken is told why the last one was refused', async () => {
  const told = [];
  const getToken = (refusal) => {
    told.push(refusal);
    return `${JWT}${told.length}`;
  };
  server.answer = ({ headers }) => (headers.authorization === `Bearer ${JWT}3` ? {} : { status: 401, body: { code: 'unauthorized', message: 'the signature is wrong' } });
  const [chat, connection] = await connected({ getToken });
  connection.close(4401, 'the token has expired');
  (await server.connection()).greet();
  await next(chat, 'status', ({ status }) => status === 'online');
  await chat.conversations.list();
  const last = server.all.at(-1);
  last.send('token_expiring', { expiresAt: 'soon' });
  await last.read();
  assert.deepEqual(told, [undefined, 'the token has expired', 'the signature is wrong', 'it expires']);
});

test('a request that is refused with a second token, too, fails', async () => {
  let made = 0;
  server.answer = () => ({ status: 401, body: { code: 'token_invalid', message: 'none of yours' } });
  const chat = client({ getToken: () => `${JWT}${++made}` });
  (await server.connection()).greet();
  await online(chat);
  await assert.rejects(chat.users.get('u2'), { code: 'token_invalid', status: 401, message: 'none of yours' });
  assert.deepEqual([made, server.requests.length], [2, 2]);
});

test('without userId it is whoever the service says: the token is not looked into', async () => {
  const number = `x.${Buffer.from('{"sub":42,"chatId":"u1"}').toString('base64url')}.y`;
  for (const token of ['opaque', number]) {
    const chat = client({ userId: undefined, getToken: () => token });
    const connection = await server.connection();
    assert.equal(server.handshakes.at(-1).url.search, '', 'nobody is asked about a user "undefined"');
    assert.equal(chat.userId, undefined);
    server.requests.length = 0;
    await Promise.all([chat.conversations.list(), chat.unreadCount(), chat.search('x'), chat.conversations.get('c1')]);
    assert.deepEqual(server.requests.map(({ url }) => url.split('?')[0]).sort(), [
      '/api/v1/chat/users/me/conversations', '/api/v1/chat/users/me/conversations/c1', '/api/v1/chat/users/me/search', '/api/v1/chat/users/me/unread-count',
    ]);
    connection.greet();
    await online(chat);
    assert.equal(chat.userId, 'u1');
    // From then on it is that user’s: a token of somebody else’s would be refused.
    connection.close(1012);
    (await server.connection()).greet();
    await online(chat);
    assert.equal(server.handshakes.at(-1).url.searchParams.get('user_id'), 'u1');
    assert.deepEqual(chat.errors, []);
    chat.close();
  }
});

test('with tickets the socket is opened by one, asked for with the token', async () => {
  server.answer = () => ({ status: 201, body: { ticket: 't-1', expiresAt: 'soon' } });
  await connected({ getToken: () => JWT, ticket: true });
  assert.deepEqual(server.requests, [{ method: 'POST', url: '/api/v1/ws/ticket?user_id=u1', authorization: `Bearer ${JWT}` }]);
  const [{ url, protocols }] = server.handshakes;
  assert.deepEqual([url.searchParams.get('ticket'), protocols], ['t-1', 'pgchat.v1']);
});

test('a ticket is asked for without a user where the token says who it is', async () => {
  server.answer = () => ({ status: 201, body: { ticket: 't-1', expiresAt: 'soon' } });
  await connected({ userId: undefined, getToken: () => JWT, ticket: true });
  assert.deepEqual(server.requests, [{ method: 'POST', url: '/api/v1/ws/ticket', authorization: `Bearer ${JWT}` }]);
  assert.deepEqual([...server.handshakes[0].url.searchParams], [['ticket', 't-1']]);
});

test('a handshake refused with 401 gets a new token, once for each attempt', async () => {
  let made = 0;
  server.refuse = 401;
  server.answer = ({ headers }) => (headers.authorization === `Bearer ${JWT}2` ? {} : { status: 401, body: { code: 'unauthorized', message: 'expired' } });
  const chat = client({ getToken: () => `${JWT}${++made}` });
  await eventually(() => made === 2);
  server.refuse = undefined;
  (await server.connection()).greet();
  await online(chat);
  assert.equal(server.handshakes.at(-1).protocols, `pgchat.v1,bearer.${JWT}2`);
});

test('a token of somebody else stops it, with the service’s reason, and is no proxy’s fault', async () => {
  server.refuse = 403;
  // Any valid token reads a user; only that user’s own counts what they have not read.
  server.answer = ({ url }) => (url.startsWith('/api/v1/chat/users/u1/unread-count') ? { status: 403, body: { code: 'user_mismatch', message: 'not the token’s user' } } : {});
  const chat = client({ getToken: () => JWT });
  const { error } = await stopped(chat);
  assert.deepEqual([error.code, error.status, chat.errors], ['user_mismatch', 403, [error]]);
  assert.equal(server.handshakes.length, 1);
});
