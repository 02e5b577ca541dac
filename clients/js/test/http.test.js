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
