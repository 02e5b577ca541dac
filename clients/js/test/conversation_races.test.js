// Whatever comes in whatever order, the list is right: random steps of a model of the service, from a seed.
//
//   PGCHAT_TEST_SEED=7 PGCHAT_TEST_CASES=1000 node --test test/conversation_races.test.js
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openConversation } from '../conversation.js';
import { isInOrder, ME, OTHER, random, Service, settled, CONVERSATION } from './support/model.js';

const SEED = Number(process.env.PGCHAT_TEST_SEED ?? 1);
const CASES = Number(process.env.PGCHAT_TEST_CASES ?? 100);
const STEPS = 120;

/** What may happen next, each as often as it says, where it can. */
function steps(service, conversation, chance) {
  const any = (all) => all[Math.floor(chance() * all.length)];
  const row = () => any([...service.rows.values()]);
  const isOnline = service.at !== undefined;
  const failed = conversation.messages.filter(({ state }) => state === 'failed');
  let said = 0;
  const content = () => `${service.rows.size} ${said++} ${chance()}`;
  return [
    [6, 'another says something', true, () => service.insert(OTHER, content())],
    [2, 'I say something elsewhere', true, () => service.insert(ME, content(), chance() < 0.5 ? `elsewhere ${content()}` : null)],
    [2, 'a message is edited', row(), () => service.edit(row(), content())],
    [1, 'a message is deleted', row(), () => service.remove(row())],
    [1, 'a message is deleted outright', row(), () => service.removeOutright(row())],
    [0.3, 'a message is purged', row(), () => service.purge(row())],
    [1, 'the other reads', row(), () => service.read(OTHER, row().seq)],
    [1, 'I read elsewhere', row(), () => service.read(ME, row().seq)],
    [14, 'an event arrives', service.undelivered, () => service.deliver()],
    [6, 'a page is read', service.requests.length, () => service.look(any(service.requests))],
    [6, 'a page arrives', service.requests.length, () => service.answer(any(service.requests))],
    [1, 'a page is lost', service.requests.length, () => service.fail(any(service.requests))],
    [3, 'I send', true, () => void conversation.send(content())],
    [3, 'it is stored and answered', isOnline && service.commands.length, () => service.carryOut(true)],
    [2, 'it is stored', isOnline && service.commands.length, () => service.carryOut(false)],
    [1, 'it fails', service.commands.length, () => service.refuse()],
    [1, 'I try again', failed.length, () => void conversation.retry(any(failed).clientMessageId)],
    [1, 'I read', true, () => void conversation.markRead()],
    [2, 'I want older ones', conversation.hasOlder, () => void conversation.loadOlder()],
    [1.5, 'the connection is lost', isOnline, () => service.disconnect()],
    [3, 'a connection resumes', !isOnline, () => service.connect(true)],
    [1, 'a connection does not resume', !isOnline, () => service.connect(false)],
  ].filter(([, , isPossible]) => isPossible);
}

function pick(possible, chance) {
  let left = chance() * possible.reduce((sum, [weight]) => sum + weight, 0);
  return possible.find(([weight]) => (left -= weight) < 0) ?? possible[0];
}

/** Nothing that was told is taken back by a page that is older. */
function witness(chat, conversation) {
  const told = new Map();
  const marks = { [ME]: 0, [OTHER]: 0 };
  for (const type of ['chat_message', 'message_updated', 'message_deleted']) {
    chat.on(type, ({ id, updatedAt }) => (told.get(id) > updatedAt) || told.set(id, updatedAt));
  }
  chat.on('messages_read', ({ readerId, upToSeq }) => (marks[readerId] = Math.max(marks[readerId], upToSeq)));
  let last = conversation.messages;
  return () => {
    const { messages } = conversation;
    isInOrder(messages);
    if (messages !== last) assert.notDeepEqual(messages, last, 'another list, with nothing else in it');
    last = messages;
    for (const { id, seq, senderId, updatedAt, isRead, deletedAt } of messages.filter((message) => !message.state)) {
      assert.ok(!(told.get(id) > updatedAt), `${id} is shown as it was before its event`);
      const readerId = senderId === ME ? OTHER : ME;
      assert.ok(isRead || deletedAt || seq > marks[readerId], `${id} was told to be read`);
    }
  };
}

/** All that is under way comes, until there is nothing more. */
async function calm(service, conversation) {
  for (let rounds = 0; rounds < 10_000; rounds++) {
    if (service.at === undefined) service.connect(true);
    while (service.undelivered) service.deliver();
    for (const request of [...service.requests]) service.answer(request);
    while (service.commands.length) service.carryOut(true);
    await settled();
    if (!service.requests.length && !service.undelivered && !service.commands.length && conversation.state === 'ready') return;
    await new Promise((resolve) => setTimeout(resolve));
  }
  assert.fail(`no end: ${conversation.state}, ${conversation.error}`);
}

const told = ({ id, content, isRead }) => [id, content, isRead];

function isWhatIsStored(service, { messages, hasOlder }) {
  const from = hasOlder ? messages[0]?.seq ?? Infinity : 0;
  const rows = [...service.rows.values()].filter(({ seq }) => seq >= from).sort((one, other) => one.seq - other.seq);
  // Of a row that was deleted outright while it was shown, what its event said stays until all is loaded anew.
  const shown = messages.filter(({ id, state, deletedAt }) => !state && (service.rows.has(id) || !deletedAt));
  assert.deepEqual(shown.map(told), rows.map(told));
  for (const { state, clientMessageId } of messages.filter((message) => message.state)) {
    assert.equal(state, 'failed');
    assert.ok(!rows.some((row) => row.clientMessageId === clientMessageId), 'it was stored, and is loaded');
  }
}

async function run(seed) {
  const chance = random(seed);
  const service = new Service();
  const chat = service.chat();
  const before = Math.floor(chance() * 20);
  for (let n = 0; n < before; n++) service.insert(n % 3 ? OTHER : ME, `before ${n}`);
  if (chance() < 0.5) service.connect(false);
  const conversation = openConversation(chat, { ...(chance() < 0.5 ? { with: OTHER } : { id: CONVERSATION }), pageSize: 4, minDelayMs: 0 });
  const look = witness(chat, conversation);
  const done = [];
  try {
    for (let step = 0; step < STEPS; step++) {
      const [, what, , act] = pick(steps(service, conversation, chance), chance);
      done.push(what);
      act();
      await settled();
      look();
    }
    done.push('all comes');
    await calm(service, conversation);
    look();
    isWhatIsStored(service, conversation);
    while (conversation.hasOlder) {
      conversation.loadOlder();
      await calm(service, conversation);
    }
    isWhatIsStored(service, conversation);
  } catch (error) {
    error.message += `\nPGCHAT_TEST_SEED=${seed} PGCHAT_TEST_CASES=1, after:\n  ${done.join('\n  ')}`;
    throw error;
  } finally {
    conversation.close();
  }
}

test(`in ${CASES} random orders of events, pages, sends and failures the list is right, and at the end what is stored`, async () => {
  for (let seed = SEED; seed < SEED + CASES; seed++) await run(seed);
});
