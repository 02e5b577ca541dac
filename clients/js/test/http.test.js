// What comes back over HTTP, and what does not.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { client, server } from './support/stage.js';

test('an answer that is none of the service’s is a failure, whatever its status', async () => {
  const chat = client();
  for (const status of [200, 502]) {
    server.answer = () => ({ status, body: '<html>Log in to the hotel’s network</html>' });
    await assert.rejects(chat.users.get('u2'), { code: 'bad_response', status });
  }
});

test('all that is wrong with a request is told', async () => {
  server.answer = () => ({ status: 400, body: { code: 'validation_failed', message: ['limit is no number', 'offset is negative'] } });
  await assert.rejects(client().conversations.list({ limit: 'a', offset: -1 }), { code: 'validation_failed', message: 'limit is no number; offset is negative' });
});

test('a request without an answer in time fails', async (t) => {
  // The scripted server answers at once: this one takes the request, and is silent.
  const sockets = [];
  const silent = net.createServer((socket) => sockets.push(socket));
  await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    sockets.forEach((socket) => socket.destroy());
    silent.close();
  });
  const chat = client({ url: `http://127.0.0.1:${silent.address().port}`, timeoutMs: 200 });
  await assert.rejects(chat.users.get('u2'), { code: 'network' });
});

test('a search in one conversation asks for that one', async () => {
  server.answer = () => ({ body: { messages: [], hasMore: false } });
  const chat = client();
  await chat.search('flat', { conversationId: 'c1', limit: 5, snippets: true });
  await chat.search('flat');
  assert.deepEqual(server.requests.map(({ url }) => url), ['/api/v1/chat/users/u1/search?q=flat&conversation_id=c1&limit=5&snippets=true', '/api/v1/chat/users/u1/search?q=flat']);
});

test('conversations are listed all, unread ones, by a name, or by both', async () => {
  server.answer = () => ({ body: { conversations: [], hasMore: false } });
  const chat = client();
  for (const query of [undefined, { unread: true }, { q: 'zey', limit: 5 }, { unread: true, q: '100% a&b' }, { unread: false, q: '' }]) await chat.conversations.list(query);
  assert.deepEqual(server.requests.map(({ url }) => url.replace(/\?$/, '')), [
    '', '?unread=true', '?q=zey&limit=5', '?unread=true&q=100%25+a%26b', '?unread=false&q=',
  ].map((query) => `/api/v1/chat/users/u1/conversations${query}`));
});

test('one conversation is asked for by its id, as the user that asks', async () => {
  const conversation = { id: 'c/1', lastSeq: 3 };
  server.answer = () => ({ body: conversation });
  assert.deepEqual(await client({ userId: 'me/you' }).conversations.get('c/1'), conversation);
  assert.deepEqual(server.requests.map(({ method, url }) => [method, url.replace(/\?$/, '')]), [['GET', '/api/v1/chat/users/me%2Fyou/conversations/c%2F1']]);
  server.answer = () => ({ status: 404, body: { code: 'conversation_not_found', message: 'none' } });
  await assert.rejects(client().conversations.get('c2'), { code: 'conversation_not_found', status: 404 });
});

test('a mark over HTTP waits for nothing, and may outlive the page and the client', async () => {
  server.answer = () => ({ body: { conversationId: 'c/1', userId: 'me/you', markedCount: 2, readSeq: 7 } });
  const asked = [];
  const chat = client({ userId: 'me/you', fetch: (address, init) => {
    asked.push(init.keepalive);
    return fetch(address, init);
  } });
  const marked = chat.conversations.markRead('c/1', 7);
  chat.close();
  assert.equal((await marked).readSeq, 7);
  await chat.conversations.markRead('c2');
  assert.deepEqual(server.requests.map(({ method, url }) => [method, url]), [
    ['PUT', '/api/v1/chat/conversations/c%2F1/read?user_id=me%2Fyou&up_to_seq=7'], ['PUT', '/api/v1/chat/conversations/c2/read?user_id=me%2Fyou'],
  ]);
  assert.deepEqual(asked, [true, true]);
  server.answer = () => ({ body: [] });
  await chat.users.list();
  assert.equal(asked[2], false);
});

test('one message is asked for by its id, as the user that asks', async () => {
  const message = { id: 'm/1', seq: 3 };
  server.answer = () => ({ body: message });
  assert.deepEqual(await client({ userId: 'me/you' }).messages.get('m/1'), message);
  assert.deepEqual(server.requests.map(({ method, url }) => [method, url]), [['GET', '/api/v1/chat/messages/m%2F1?user_id=me%2Fyou']]);
  server.answer = () => ({ status: 403, body: { code: 'not_a_participant', message: 'none of yours' } });
  await assert.rejects(client().messages.get('m2'), { code: 'not_a_participant', status: 403 });
});

test('people are listed by role, by whether they are active, by their ids, or by several of that', async () => {
  const chat = client();
  for (const query of [{ role: 'seller', q: 'a' }, { active: true }, { role: 'broker', active: true, q: 'a' }, { role: 'broker', active: false }, { active: undefined }, { role: '' }, { ids: ['u1', 'u2'], active: true }, undefined]) await chat.users.list(query);
  assert.deepEqual(server.requests.map(({ url }) => url.replace(/\?$/, '')), [
    '?role=seller&q=a', '?active=true', '?role=broker&active=true&q=a', '?role=broker&active=false', '', '', '?ids=u1%2Cu2&active=true', '',
  ].map((query) => `/api/v1/users/${query}`));
});

test('no id is a mistake, not a request for a whole list', async () => {
  const chat = client();
  for (const id of ['', undefined, null]) {
    for (const call of [chat.users.get, chat.conversations.get, chat.conversations.markRead, chat.messages.get, chat.messages.list]) await assert.rejects(call(id), /^TypeError: needs an id$/);
  }
  assert.deepEqual(server.requests, []);
});

test('requests go through a fetch of the application’s own', async () => {
  server.answer = () => ({ body: { id: 'u2' } });
  const fetch = (url, init) => globalThis.fetch(url, { ...init, headers: { ...init.headers, authorization: 'of the gateway' } });
  assert.deepEqual(await client({ fetch }).users.get('u2'), { id: 'u2' });
  assert.equal(server.requests[0].authorization, 'of the gateway');
  await assert.rejects(client({ fetch: () => Promise.reject(new Error('logged out')) }).users.get('u2'), { code: 'network', message: /logged out/ });
});

test('requests are made where AbortSignal has no timeout', async (t) => {
  const { timeout } = AbortSignal;
  delete AbortSignal.timeout;
  t.after(() => (AbortSignal.timeout = timeout));
  server.answer = () => ({ body: { id: 'u2' } });
  assert.deepEqual(await client().users.get('u2'), { id: 'u2' });
});

test('an error names the request, as the service’s log does', async () => {
  server.answer = () => ({ status: 500, headers: { 'x-request-id': 'r-17' }, body: { code: 'internal', message: 'see the log' } });
  await assert.rejects(client().users.get('u2'), { code: 'internal', requestId: 'r-17' });
  server.answer = () => ({ status: 500, body: { code: 'internal', message: 'see the log' } });
  await assert.rejects(client().users.get('u2'), { requestId: null });
});
