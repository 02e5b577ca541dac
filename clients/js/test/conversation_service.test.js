// The list of a conversation against the service as it is run: two replicas that share a database.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import WebSocket from 'ws';
import { openConversation } from '../conversation.js';
import { createChatClient } from '../pgchat.js';
import { AMELIE, balancer, cluster, LUKASZ, ZEYNEP } from './support/replicas.js';
import { eventually, online } from './support/wait.js';

const SECRET = 'a secret of the tests, 32 bytes or more';
const CONVERSATION = 'c0000000-0000-4000-8000-000000000001';

let replicas;
let first;
let second;
let front; // of the first one: its sockets can be cut
let closing;

before(async () => {
  replicas = await cluster({ REPLAY_EVENTS: '20' });
  first = await replicas.start();
  second = await replicas.start();
  front = await balancer([first.port]);
});
after(async () => {
  await front.close();
  await replicas.close();
});
beforeEach(() => { closing = []; });
afterEach(() => {
  front.refuse = false;
  for (const it of closing) it.close();
});

function client(url, userId, options) {
  const chat = createChatClient({ url, userId, WebSocket, minDelayMs: 50, maxDelayMs: 500, ...options });
  chat.errors = [];
  chat.on('error', (error) => chat.errors.push(error));
  closing.push(chat);
  return chat;
}

function open(chat, options) {
  const conversation = openConversation(chat, options);
  closing.unshift(conversation);
  return conversation;
}

const ready = (conversation) => eventually(() => conversation.state, 'ready');
const last = ({ messages }, count) => messages.slice(-count).map(({ content, state }) => (state ? `${content}: ${state}` : content));
const insert = (text, count = 1) => replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', '${text}' || n from generate_series(1, ${count}) n`);

/** What the database has, as the list is to show it. */
async function stored() {
  const rows = await replicas.sql(`select seq || ' ' || case when deleted_at is null then content else '' end || ' ' || is_read from messages where conversation_id = '${CONVERSATION}' order by seq`);
  return rows.split('\n');
}
const shown = ({ messages }) => messages.map(({ seq, content, isRead }) => `${seq} ${content} ${isRead}`);

test('two users see the same list across replicas, what they send at once, read, edit and delete', async () => {
  const chats = [client(first.url, AMELIE), client(second.url, LUKASZ)];
  const [amelie, lukasz] = [open(chats[0], { with: LUKASZ }), open(chats[1], { id: CONVERSATION })];
  await Promise.all([ready(amelie), ready(lukasz), ...chats.map(online)]);
  assert.deepEqual([amelie.id, amelie.other.firstName, lukasz.other.firstName], [CONVERSATION, 'Łukasz', 'Amélie']);
  const hello = amelie.send('Hello');
  assert.deepEqual(last(amelie, 1), ['Hello: pending']);
  assert.equal(amelie.messages.at(-1).sender.firstName, 'Amélie');
  await Promise.all([hello, ...Array.from({ length: 20 }, (_, n) => (n % 2 ? amelie : lukasz).send(`at once ${n}`))]);
  const message = await hello;
  await chats[0].edit(message.id, 'Good day');
  await chats[0].delete((await amelie.send('A word too many')).id);
  await eventually(() => lukasz.messages.at(-1).deletedAt);
  await lukasz.markRead();
  const same = async () => assert.deepEqual([shown(amelie), shown(lukasz)], [await stored(), await stored()]);
  await eventually(() => same().then(() => true, (error) => error), (seen) => seen === true);
  assert.equal(amelie.messages.find(({ id }) => id === message.id).content, 'Good day');
  assert.deepEqual(chats.map(({ errors }) => errors), [[], []]);
});

test('who types is shown to the other one, and ends with the message', async () => {
  const chats = [client(first.url, AMELIE), client(second.url, LUKASZ)];
  const [amelie, lukasz] = [open(chats[0], { with: LUKASZ }), open(chats[1], { with: AMELIE })];
  await Promise.all([ready(amelie), ready(lukasz), ...chats.map(online)]);
  lukasz.setTyping();
  await eventually(() => amelie.isTyping);
  await lukasz.send('Here it is');
  await eventually(() => [amelie.isTyping, ...last(amelie, 1)], [false, 'Here it is']);
});

for (const [how, missed] of [['what is sent again', 5], ['more than is sent again', 60]]) {
  test(`after a lost connection the list is what is stored: ${how} was missed, what was said offline comes behind it, what is gone has vanished`, async () => {
    const chat = client(front.url, AMELIE);
    const conversation = open(chat, { id: CONVERSATION, pageSize: 10 });
    await Promise.all([ready(conversation), online(chat)]);
    await insert('gone ');
    await eventually(() => last(conversation, 1), ['gone 1']);
    front.refuse = true;
    front.cut();
    await eventually(() => chat.status === 'waiting');
    const sent = conversation.send('Offline');
    assert.deepEqual(last(conversation, 1), ['Offline: pending']);
    await replicas.sql(`delete from messages where content = 'gone 1' and conversation_id = '${CONVERSATION}'`);
    await insert('missed ', missed);
    front.refuse = false;
    await sent;
    await ready(conversation);
    await eventually(() => last(conversation, 3), [`missed ${missed - 1}`, `missed ${missed}`, 'Offline']);
    while (conversation.hasOlder) await conversation.loadOlder();
    const rows = await stored();
    const seqs = new Set(rows.map((row) => parseInt(row, 10)));
    const gone = conversation.messages.filter(({ seq }) => !seqs.has(seq));
    assert.deepEqual([gone.length, gone.every(({ deletedAt }) => deletedAt)], [missed > 20 ? 0 : 1, true], 'it is shown as deleted, until all is loaded anew');
    assert.deepEqual(shown({ messages: conversation.messages.filter((message) => !gone.includes(message)) }), rows);
    assert.deepEqual(chat.errors, []);
  });
}

test('whoever only looks at somebody makes no conversation; the first message does, and the other one has it at once', async () => {
  const guarded = await replicas.start({ AUTH_MODE: 'jwt', JWT_SECRET: SECRET, SERVER_HOST: '127.0.0.1' });
  const [ada, ben] = (await replicas.sql("insert into users (first_name, last_name, email) select name, 'Nilsson', gen_random_uuid() || '@example.com' from unnest('{Ada,Ben}'::text[]) name returning id")).split('\n');
  const chats = [ada, ben].map((sub) => client(guarded.url, undefined, { getToken: () => token(sub) }));
  const [hers, his] = [open(chats[0], { with: ben }), open(chats[1], { with: ada })];
  await Promise.all([ready(hers), ready(his), ...chats.map(online)]);
  const conversations = () => replicas.sql(`select count(*) from conversations where '${ada}' in (participant1_id, participant2_id)`);
  assert.deepEqual([await conversations(), hers.id, hers.messages], ['0', undefined, []]);
  await Promise.all([hers.send('one'), hers.send('two')]);
  await eventually(() => last(his, 5), ['one', 'two']);
  assert.deepEqual([await conversations(), his.id, his.other.firstName], ['1', hers.id, 'Ada']);

  // Both are deleted by another program, and opened anew by the other one.
  await replicas.sql(`delete from messages where conversation_id = '${his.id}'; delete from conversations where id = '${his.id}'`);
  await eventually(() => [hers.state, his.state, hers.messages.length, his.messages.length], ['deleted', 'deleted', 0, 0]);
  await his.send('again');
  await eventually(() => [hers.state, ...last(hers, 5)], ['ready', 'again']);
  assert.deepEqual(chats.map(({ errors }) => errors), [[], []]);
});

test('one that is nobody’s says so', async () => {
  const chat = client(first.url, ZEYNEP);
  const conversation = open(chat, { id: 'c0000000-0000-4000-8000-00000000ffff' });
  await eventually(() => conversation.state, 'deleted');
  const another = open(chat, { id: 'no id' });
  await eventually(() => [another.state, another.error?.code], ['failed', 'validation_failed']);
});

function token(sub) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}
