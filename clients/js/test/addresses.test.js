// Where requests go: whatever the application puts in, below the service and to the route that was meant.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import WebSocket from 'ws';
import { createChatClient } from '../pgchat.js';
import { client, server } from './support/stage.js';
import { eventually } from './support/wait.js';

test('an id leads to no other route, whatever is in it', async () => {
  const chat = client({ userId: 'me/../you' });
  const id = '../../health?x=1#y';
  await Promise.all([chat.users.get(id), chat.users.list({ role: id }), chat.messages.list(id), chat.conversations.list(), chat.search('q'), chat.unreadCount()]);
  const own = encodeURIComponent('me/../you');
  const other = encodeURIComponent(id);
  assert.deepEqual(server.requests.map(({ url }) => url.replace(/\?.*/, '')).sort(), [
    `chat/conversations/${other}/messages`, `chat/users/${own}/conversations`, `chat/users/${own}/search`, `chat/users/${own}/unread-count`, `users/`, `users/${other}`,
  ].map((path) => `/api/v1/${path}`).sort());
});

test('the service may lie below a path, with slashes behind it or not, and relative to the page', async (t) => {
  for (const url of [`${server.url}/chat`, `${server.url}/chat//`, new URL(`${server.url}/chat/`)]) await client({ url }).users.get('u2');
  globalThis.location = new URL(`${server.url}/app/index.html`);
  t.after(() => delete globalThis.location);
  await client({ url: '/chat' }).users.get('u2');
  await client({ url: undefined }).users.get('u2');
  assert.deepEqual(server.requests.map(({ url }) => url), [...Array(4).fill('/chat/api/v1/users/u2'), '/api/v1/users/u2']);
  await eventually(() => server.handshakes.length === 5);
  assert.deepEqual(server.handshakes.map(({ url }) => url.pathname).sort(), [...Array(4).fill('/chat/ws'), '/ws'].sort());
});

test('what is no URL is told at once, and not tried for ever', () => {
  for (const url of ['chat.example.com', '//']) assert.throws(() => createChatClient({ url, userId: 'u1', WebSocket }), TypeError);
});

test('what is missing is named', () => {
  const url = 'http://127.0.0.1:9';
  assert.throws(() => createChatClient({ userId: 'u1', WebSocket }), /^TypeError: needs url$/);
  assert.throws(() => createChatClient({ url, userId: 'u1', WebSocket: null }), /^TypeError: needs WebSocket$/);
  assert.throws(() => createChatClient({ url, WebSocket }), /^TypeError: needs userId or getToken$/);
});
