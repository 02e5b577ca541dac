// A conversation as a list: one step after the other, against a model of the service; in random orders in conversation_races.test.js.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { openConversation } from '../conversation.js';
import { ChatError } from '../pgchat.js';
import { about, CONVERSATION, isInOrder, ME, OTHER, Service, settled } from './support/model.js';

let service;
let conversation;
let told; // how often
beforeEach(() => { service = new Service(); });
afterEach(() => {
  isInOrder(conversation.messages);
  conversation.close();
  mock.timers.reset();
});

function open(options) {
  conversation = openConversation(service.chat(), { id: CONVERSATION, pageSize: 3, minDelayMs: 0, ...options });
  told = 0;
  conversation.subscribe(() => told++);
}

/** With what there is by then, and connected. */
async function opened(options) {
  service.connect(false);
  open(options);
  await service.answerAll();
  assert.equal(conversation.state, 'ready');
}

const seqs = () => conversation.messages.map(({ seq }) => seq);
const contents = () => conversation.messages.map(({ content, state }) => (state ? `${content}: ${state}` : content));
const say = (...all) => all.map((content) => service.insert(OTHER, content));

test('the last page is shown, then those before it, in the order of seq', async () => {
  say('1', '2', '3', '4', '5', '6', '7');
  await opened();
  assert.deepEqual([seqs(), conversation.hasOlder], [[5, 6, 7], true]);
  const older = conversation.loadOlder();
  assert.equal(conversation.loadOlder(), older, 'one page at a time');
  await service.answerAll();
  await older;
  assert.deepEqual([seqs(), conversation.hasOlder], [[2, 3, 4, 5, 6, 7], true]);
  conversation.loadOlder();
  await service.answerAll();
  assert.deepEqual([seqs(), conversation.hasOlder], [[1, 2, 3, 4, 5, 6, 7], false]);
  await conversation.loadOlder();
  assert.equal(service.requests.length, 0);
});

test('events are shown before the history has come, and a page that is older than they are changes nothing', async () => {
  const [, second] = say('1', '2');
  service.connect(false);
  open();
  await settled();
  service.answer(service.requests[0]);
  await settled();
  service.look(service.requests[0]);
  say('3');
  service.edit(second, 'two');
  service.read(ME, 3);
  service.deliverAll();
  assert.deepEqual(contents(), ['two', '3']);
  await service.answerAll();
  assert.deepEqual(contents(), ['1', 'two', '3']);
  assert.deepEqual(conversation.messages.map(({ isRead }) => isRead), [true, true, true]);
});

test('of two states of a message the later one stays; of two of one time it is read if either says so', async () => {
  const [was] = say('1');
  await opened();
  const state = () => conversation.messages.map(({ content, isRead }) => [content, isRead])[0];
  service.tell('message_updated', { ...was, isRead: true });
  assert.deepEqual(state(), ['1', true]);
  service.tell('message_updated', { ...was, isRead: false });
  assert.deepEqual(state(), ['1', true]);
  const edited = { ...was, content: 'one', updatedAt: '1' };
  service.tell('message_updated', edited);
  assert.deepEqual(state(), ['one', false], 'unread again');
  service.tell('message_updated', { ...was, isRead: true });
  assert.deepEqual(state(), ['one', false]);
});

test('what is unread again after it was marked stays so, though a page comes that was asked for before', async () => {
  const [first] = say('1', '2');
  await opened();
  service.disconnect();
  service.connect(false);
  service.read(ME, 2);
  service.unread(first);
  service.deliverAll();
  await service.answerAll();
  assert.deepEqual(conversation.messages.map(({ isRead }) => isRead), [false, true]);
});

test('what was deleted before the others were read is not marked, nor worth a mark', async () => {
  const [first] = say('1', '2');
  await opened();
  service.remove(first);
  service.read(ME, 2);
  service.deliverAll();
  assert.deepEqual(conversation.messages.map(({ isRead }) => isRead), [false, true]);
  await conversation.markRead();
  assert.deepEqual(service.marked, []);
});

test('a row that the page lacks, because it was deleted outright, does not come back with its event', async () => {
  const [, second] = say('1', '2', '3');
  service.connect(false);
  open();
  service.removeOutright(second);
  await service.answerAll();
  assert.deepEqual(seqs(), [1, 3]);
  const before = conversation.messages;
  service.deliverAll();
  assert.equal(conversation.messages, before);
});

test('what comes again changes nothing, and what has not changed is the same object, after a reload, too', async () => {
  const [first] = say('1', '2');
  await opened();
  const before = conversation.messages;
  service.tell('message_updated', first);
  assert.equal(conversation.messages, before);
  service.disconnect();
  service.connect(false);
  await service.answerAll();
  assert.equal(conversation.messages, before);
  say('3');
  service.deliverAll();
  assert.notEqual(conversation.messages, before);
  assert.deepEqual(conversation.messages.slice(0, 2).map((message, at) => message === before[at]), [true, true]);
  assert.throws(() => conversation.messages.push(first), TypeError);
});

test('a gap before an event is loaded', async () => {
  say('1');
  await opened();
  say('2', '3');
  service.at++; // the second one gets lost
  service.deliverAll();
  assert.equal(conversation.state, 'loading');
  await service.answerAll();
  assert.deepEqual(seqs(), [1, 2, 3]);
});

test('after a resync what is gone goes, and as many as were shown are there', async () => {
  const [, , third] = say('1', '2', '3', '4', '5', '6', '7', '8', '9');
  await opened();
  conversation.loadOlder();
  await service.answerAll();
  conversation.loadOlder();
  await service.answerAll();
  assert.equal(seqs().length, 9);
  service.purge(third);
  service.deliverAll();
  assert.equal(seqs().length, 9, 'until it has come');
  await service.answerAll();
  assert.deepEqual([seqs(), conversation.hasOlder], [[1, 2, 4, 5, 6, 7, 8, 9], false]);
});

test('older ones that are asked for while all is loaded anew are those before what has come then', async () => {
  const [first] = say('1', '2', '3', '4', '5', '6', '7');
  await opened();
  const older = conversation.loadOlder();
  await settled();
  service.look(service.requests[0]);
  service.purge(first);
  service.deliverAll();
  await service.answerAll();
  await older;
  assert.deepEqual(seqs(), [2, 3, 4, 5, 6, 7]);
});

for (const [how, first, second] of [
  ['the event comes before the answer', () => service.deliverAll(), () => service.carryOut(true)],
  ['the answer comes before the event', () => service.carryOut(true), () => service.deliverAll()],
  ['the event comes before the send fails', () => service.deliverAll(), () => service.refuse()],
]) {
  test(`what is sent is shown at once, and once: ${how}`, async () => {
    await opened();
    const sent = conversation.send('Hello');
    assert.deepEqual(contents(), ['Hello: pending']);
    assert.equal(conversation.messages[0].sender.id, ME);
    await settled();
    service.carryOut(false);
    first();
    await settled();
    assert.deepEqual(contents(), ['Hello']);
    second();
    await settled();
    assert.deepEqual(contents(), ['Hello']);
    assert.equal((await sent).seq, 1);
  });
}

test('what failed stays until it is stored after all, is sent again under its id, or is discarded', async () => {
  await opened();
  const sent = conversation.send('Hello');
  await settled();
  service.carryOut(false);
  service.refuse();
  await assert.rejects(sent, { code: 'disconnected' });
  assert.deepEqual(contents(), ['Hello: failed']);
  const [failed] = conversation.messages;
  assert.equal(failed.error.code, 'disconnected');
  const again = conversation.retry(failed.clientMessageId);
  assert.deepEqual(contents(), ['Hello: pending']);
  assert.equal(service.commands[0].clientMessageId, failed.clientMessageId);
  service.refuse();
  await assert.rejects(again, { code: 'disconnected' });
  service.deliverAll();
  assert.deepEqual(contents(), ['Hello'], 'it was stored the first time');
  conversation.send('Never');
  service.refuse('validation_failed');
  await settled();
  const [, never] = conversation.messages;
  conversation.discard(never.clientMessageId);
  assert.deepEqual(contents(), ['Hello']);
  assert.equal(conversation.retry(never.clientMessageId), undefined);
});

test('what is sent once more after it failed has the same id; after it was stored, and while it waits, another one', async () => {
  await opened();
  conversation.send('Hello');
  service.refuse();
  await settled();
  const [{ clientMessageId }] = conversation.messages;
  conversation.send('Hello');
  conversation.send('Hello');
  assert.deepEqual(service.commands.map((command) => command.clientMessageId === clientMessageId), [true, false]);
  service.carryOut(true);
  service.carryOut(true);
  conversation.send('Hello');
  assert.notEqual(service.commands[0].clientMessageId, clientMessageId);
  conversation.send('viewing', { messageType: 'file', clientMessageId: 'viewing:17' });
  assert.deepEqual([service.commands[1].messageType, service.commands[1].clientMessageId], ['file', 'viewing:17']);
});

test('what another part of the page sends in this conversation is shown, too, and what the other one calls the same is another message', async () => {
  await opened();
  service.chat().send({ conversationId: CONVERSATION, content: 'Hello', messageType: 'text', clientMessageId: 'x' });
  service.chat().send({ conversationId: 'another', content: 'Not here', messageType: 'text', clientMessageId: 'y' });
  assert.deepEqual(contents(), ['Hello: pending']);
  service.insert(OTHER, 'Theirs', 'x');
  service.deliverAll();
  assert.deepEqual(contents(), ['Theirs', 'Hello: pending']);
});

test('by looking at somebody no conversation is made; it is with the first message, and those behind it keep their order', async () => {
  service.exists = false;
  await opened({ id: undefined, with: OTHER });
  assert.deepEqual([conversation.id, service.exists, conversation.messages], [undefined, false, []]);
  const sent = [conversation.send('1'), conversation.send('2')];
  assert.deepEqual(contents(), ['1: pending', '2: pending']);
  service.fail(service.requests[0]);
  await Promise.all(sent.map((each) => assert.rejects(each, { code: 'network' })));
  assert.deepEqual(contents(), ['1: failed', '2: failed']);
  conversation.retry(conversation.messages[0].clientMessageId);
  conversation.retry(conversation.messages[1].clientMessageId);
  await service.answerAll();
  assert.deepEqual([conversation.id, conversation.other.id], [CONVERSATION, OTHER]);
  service.carryOut(true);
  service.carryOut(true);
  assert.deepEqual([contents(), seqs()], [['1', '2'], [1, 2]]);
});

test('what is sent while the conversation is being opened does not overtake what waits for that, though its event has come', async () => {
  service.exists = false;
  await opened({ id: undefined, with: OTHER });
  conversation.send('1');
  await settled();
  service.exists = true;
  service.tell('conversation_created', about());
  assert.equal(conversation.id, CONVERSATION);
  conversation.send('2');
  await settled();
  assert.deepEqual(service.commands, []);
  await service.answerAll();
  assert.deepEqual(service.commands.map(({ content }) => content), ['1', '2']);
  service.carryOut(true);
  service.carryOut(true);
  await settled();
  assert.deepEqual(contents(), ['1', '2']);
});

test('a conversation that the other one opens is there, though the answer that there is none comes later', async () => {
  service.exists = false;
  service.connect(false);
  open({ id: undefined, with: OTHER });
  await settled();
  for (const request of service.requests) service.look(request);
  service.exists = true;
  service.tell('conversation_created', about());
  say('Hello');
  service.deliverAll();
  await service.answerAll();
  assert.deepEqual([conversation.id, contents()], [CONVERSATION, ['Hello']]);
});

test('a conversation that was deleted says so; another one of the two takes its place', async () => {
  say('1');
  await opened({ id: undefined, with: OTHER });
  service.removeConversation();
  service.deliverAll();
  await service.answerAll();
  assert.deepEqual([conversation.state, conversation.messages, conversation.id, conversation.error], ['deleted', [], undefined, undefined]);
  service.disconnect();
  service.connect(false);
  await service.answerAll();
  assert.equal(conversation.state, 'deleted');
  service.isGone = false;
  service.tell('conversation_created', about('c2'));
  await service.answerAll();
  assert.deepEqual([conversation.state, conversation.id], ['ready', 'c2']);
});

test('what was told while all was loaded anew is not shown once it turns out that the conversation is gone', async () => {
  say('1');
  await opened({ id: undefined, with: OTHER });
  service.tell('resync_required', {});
  say('2');
  service.deliverAll();
  assert.deepEqual(contents(), ['1', '2']);
  service.removeConversation();
  await service.answerAll();
  assert.deepEqual([conversation.state, conversation.messages], ['deleted', []]);
});

test('what waits when the conversation is deleted fails, and makes another one when it is sent again', async () => {
  await opened({ id: undefined, with: OTHER });
  const sent = conversation.send('Hello');
  service.removeConversation();
  service.deliverAll();
  await service.answerAll();
  service.refuse('not_a_participant');
  await assert.rejects(sent, { code: 'not_a_participant' });
  assert.deepEqual([conversation.state, contents(), conversation.messages[0].sender.id], ['deleted', ['Hello: failed'], ME]);
  service.isGone = false;
  conversation.retry(conversation.messages[0].clientMessageId);
  assert.deepEqual(contents(), ['Hello: pending']);
  await service.answerAll();
  service.carryOut(true);
  assert.deepEqual([conversation.state, contents()], ['ready', ['Hello']]);
});

test('what was stored in a conversation that is deleted by the time of its answer does not wait on', async () => {
  await opened({ id: undefined, with: OTHER });
  const sent = conversation.send('Hello');
  service.carryOut(false);
  service.removeConversation();
  service.at = service.at + service.undelivered - 1; // its event was missed
  service.deliverAll();
  await service.answerAll();
  service.isGone = false;
  service.carryOut(true);
  assert.equal((await sent).content, 'Hello');
  assert.deepEqual(contents(), []);
});

test('one that was opened by its id and is not there says so, and the client is not asked to load it again', async () => {
  service.removeConversation();
  service.connect(false);
  open();
  service.disconnect();
  service.connect(false);
  await service.answerAll();
  await service.held;
  assert.equal(conversation.state, 'deleted');
});

test('a load that fails is tried again, and its error is there until then; one that cannot succeed is not', async () => {
  say('1');
  service.connect(false);
  open();
  await settled();
  service.fail(service.requests[0]);
  await settled();
  assert.deepEqual([conversation.state, conversation.error.code], ['loading', 'network']);
  while (!service.requests.length) await new Promise(setImmediate);
  await service.answerAll();
  assert.deepEqual([conversation.state, conversation.error, contents()], ['ready', undefined, ['1']]);
  conversation.close();

  open();
  service.disconnect();
  service.connect(false);
  await settled();
  for (const request of [...service.requests]) request.seen = new ChatError('user_mismatch', 'another', { status: 403 });
  await service.answerAll();
  await assert.rejects(service.held, { code: 'user_mismatch' });
  assert.deepEqual([conversation.state, conversation.error.code], ['failed', 'user_mismatch']);
});

test('a connection that resumes loads at once what waits to be loaded again, and nothing that is there', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  await opened({ minDelayMs: 60_000 });
  service.tell('connected', { resumed: true });
  assert.deepEqual([conversation.state, service.requests.length], ['ready', 0]);
  const loaded = service.tell('resync_required', {});
  await settled();
  service.fail(service.requests[0]);
  await settled();
  assert.deepEqual([conversation.state, service.requests.length], ['loading', 0]);
  service.tell('connected', { resumed: true });
  await service.answerAll();
  assert.equal(conversation.state, 'ready');
  await loaded; // without its pause, of which no time passes here
});

test('older ones that cannot be loaded are told, and can be asked for again', async () => {
  say('1', '2', '3', '4');
  await opened();
  const older = conversation.loadOlder();
  service.fail(service.requests[0]);
  await assert.rejects(older, { code: 'network' });
  assert.deepEqual([conversation.error.code, seqs()], ['network', [2, 3, 4]]);
  conversation.loadOlder();
  await service.answerAll();
  assert.deepEqual([conversation.error, seqs()], [undefined, [1, 2, 3, 4]]);
});

test('what is shown is marked as read, once, where there is anything to mark, and only once nothing is missing before it', async () => {
  say('1', '2');
  service.connect(false);
  open();
  const marked = conversation.markRead(2);
  await settled();
  assert.deepEqual(service.marked, []);
  await service.answerAll();
  await marked;
  assert.deepEqual(service.marked, [2]);
  service.deliverAll();
  await conversation.markRead();
  assert.deepEqual(service.marked, [2]);
  assert.deepEqual(conversation.messages.map(({ isRead }) => isRead), [true, true]);
  service.insert(ME, 'mine');
  service.deliverAll();
  await conversation.markRead();
  assert.deepEqual(service.marked, [2]);
  say('4');
  service.deliverAll();
  await Promise.all([conversation.markRead(), conversation.markRead()]);
  assert.deepEqual(service.marked, [2, 4]);
});

test('what another program says is unread again is so, though the answer to the mark before comes later', async () => {
  const [first] = say('1');
  service.connect(false);
  const chat = service.chat();
  let answer;
  chat.markRead = (_, upToSeq) => {
    service.read(ME, upToSeq);
    return new Promise((resolve) => (answer = () => resolve({ readSeq: upToSeq })));
  };
  conversation = openConversation(chat, { id: CONVERSATION });
  await service.answerAll();
  const marked = conversation.markRead();
  await settled();
  service.unread(service.rows.get(first.id));
  service.deliverAll();
  answer();
  await marked;
  assert.deepEqual(conversation.messages.map(({ isRead }) => isRead), [false]);
});

test('that the other one types ends with their message, by their word, and by itself', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  await opened();
  const types = (isTyping, userId = OTHER) => service.tell('typing', { conversationId: CONVERSATION, userId, isTyping });
  types(true, ME);
  assert.equal(conversation.isTyping, false);
  types(true);
  assert.equal(conversation.isTyping, true);
  types(false);
  assert.equal(conversation.isTyping, false);
  types(true);
  say('1');
  service.deliverAll();
  assert.equal(conversation.isTyping, false);
  service.tell('connected', { resumed: true, limits: { typingSeconds: 9 } });
  types(true);
  mock.timers.tick(8_999);
  const before = told;
  assert.equal(conversation.isTyping, true);
  mock.timers.tick(1);
  assert.deepEqual([conversation.isTyping, told], [false, before + 1]);
});

test('that one types oneself is told again before it has ended, and after a message anew', async () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
  await opened();
  conversation.setTyping(false);
  for (let ms = 0; ms < 6_000; ms += 100) {
    conversation.setTyping();
    mock.timers.tick(100);
  }
  assert.deepEqual(service.typed, [true, true, true]);
  conversation.send('Hello');
  conversation.setTyping();
  conversation.setTyping(false);
  conversation.setTyping(false);
  assert.deepEqual(service.typed, [true, true, true, true, false]);
});

test('a listener that throws keeps nothing from the others, and one that has left hears nothing', async (t) => {
  const complained = t.mock.method(console, 'error', () => {});
  await opened();
  const heard = [];
  const off = conversation.subscribe(() => { throw new Error('a listener’s'); });
  const leave = conversation.subscribe(() => heard.push('left'));
  conversation.subscribe(() => heard.push(contents()));
  leave();
  say('1');
  service.deliverAll();
  assert.deepEqual(heard, [['1']]);
  assert.equal(complained.mock.calls[0].arguments[0].message, 'a listener’s');
  off();
});

test('once it is closed nothing listens, nothing is loaded or timed, and what was sent is still sent', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  say('1', '2', '3', '4');
  await opened();
  service.tell('typing', { conversationId: CONVERSATION, userId: OTHER, isTyping: true });
  const sent = conversation.send('Hello');
  const older = conversation.loadOlder();
  service.disconnect();
  service.connect(false);
  const { held } = service;
  await settled();
  for (const request of [...service.requests]) service.fail(request);
  await settled();
  conversation.close();
  await Promise.all([older, held]);
  assert.deepEqual([service.listeners, service.requests.length, conversation.state, conversation.hasOlder], [0, 0, 'closed', false]);
  const before = told;
  mock.timers.tick(60_000);
  await settled();
  assert.deepEqual([service.requests.length, told], [0, before]);
  service.carryOut(true);
  assert.equal((await sent).content, 'Hello');
});

test('whose conversation it is must be said in one way', () => {
  open();
  for (const options of [{}, { id: CONVERSATION, with: OTHER }]) assert.throws(() => openConversation(service.chat(), options), TypeError);
});
