// A scripted server for each test, and clients of it whose pauses are short.
import { afterEach, beforeEach } from 'node:test';
import WebSocket from 'ws';
import { createChatClient } from '../../pgchat.js';
import { scripted } from './scripted.js';
import { next, online } from './wait.js';

/** Of the user u1. */
export const JWT = `x.${Buffer.from(JSON.stringify({ sub: 'u1' })).toString('base64url')}.y`;

export let server;
/** They are closed at the end of the test. */
export let clients;
beforeEach(async () => {
  server = await scripted();
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await server.close();
});

export function client(options) {
  const chat = createChatClient({ url: server.url, userId: 'u1', WebSocket, minDelayMs: 10, maxDelayMs: 50, ...options });
  chat.errors = [];
  chat.statuses = [];
  chat.on('error', (error) => chat.errors.push(error));
  chat.on('status', (status) => chat.statuses.push(status));
  clients.push(chat);
  return chat;
}

export async function connected(options, greeting) {
  const chat = client(options);
  const connection = await server.connection();
  connection.greet(greeting);
  await online(chat);
  return [chat, connection];
}

export const stopped = (chat) => next(chat, 'status', ({ status }) => status === 'stopped');
