// What is known of one conversation's messages, whatever comes in which order: this needs no browser, and nobody who answers late.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

// No package says that it is a module: only browsers read it otherwise.
const source = readFileSync(new URL('../../web/timeline.js', import.meta.url), 'utf8');
const { Timeline } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const message = (seq, more) => ({ id: `m${seq}`, seq, senderId: 'other', isRead: false, updatedAt: '1', content: `${seq}`, ...more });

/** Of a conversation with so many messages. */
function timeline(count) {
  const all = Array.from({ length: count }, (_, at) => message(at + 1));
  const list = async (id, { limit, before = Infinity, after }) => {
    const found = after === undefined ? all.filter(({ seq }) => seq < before).reverse() : all.filter(({ seq }) => seq > after);
    return { messages: found.slice(0, limit), hasMore: found.length > limit };
  };
  return new Timeline({ messages: { list } }, 'c1', () => {});
}

const numbers = ({ messages }) => messages.map(({ seq }) => seq);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at);

test('a message that is told late stands where its number says', async () => {
  const it = timeline(3);
  await it.start();
  for (const seq of [6, 4, 5, 4]) it.put(message(seq));
  assert.deepEqual(numbers(it), [1, 2, 3, 4, 5, 6]);
});

test('what is older than what stands there changes nothing, and nothing becomes unread again', async () => {
  const it = timeline(2);
  await it.start();
  it.put(message(2, { updatedAt: '3', content: 'edited twice' }));
  it.put(message(2, { updatedAt: '2', content: 'edited' }));
  assert.equal(it.last.content, 'edited twice');
  it.read('me', 2);
  it.put(message(2, { updatedAt: '3', content: 'edited twice' }));
  assert.deepEqual(it.messages.map(({ isRead }) => isRead), [true, true]);
});

test('who reads marks what the other one wrote, up to there and no further', async () => {
  const it = timeline(3);
  await it.start();
  it.put(message(4, { senderId: 'me' }));
  it.read('me', 2);
  assert.deepEqual(it.messages.map(({ isRead }) => isRead), [true, true, false, false]);
  it.read('other', 4);
  assert.deepEqual(it.messages.map(({ isRead }) => isRead), [true, true, false, true]);
});

test('the stretch that is loaded has no gap: what comes beyond it waits until one gets there', async () => {
  const it = timeline(300);
  await it.start(150);
  assert.deepEqual(numbers(it), range(100, 199));
  it.put(message(301));
  it.put(message(7, { updatedAt: '2' }));
  assert.deepEqual(numbers(it), range(100, 199));
  it.put(message(120, { updatedAt: '2', content: 'within' }));
  assert.equal(it.messages.find(({ seq }) => seq === 120).content, 'within');
  await it.older();
  assert.deepEqual(numbers(it), range(1, 199));
  for (let times = 0; times < 2; times++) await it.newer();
  assert.deepEqual([numbers(it), it.hasOlder, it.hasNewer], [range(1, 300), false, false]);
  it.put(message(301));
  assert.equal(it.last.seq, 301);
});

test('the first unread message is known as soon as it is loaded, whatever was loaded first', async () => {
  const it = timeline(400);
  await it.start();
  it.opened('me', 250, 400);
  assert.equal(it.unreadFrom, undefined);
  // All of it is marked as read meanwhile.
  it.read('me', 400);
  await it.older();
  assert.equal(it.unreadFrom, undefined);
  await it.older();
  assert.equal(it.unreadFrom, 151);

  // From a place that a search led to, down to the end.
  await it.start(120);
  it.opened('me', 250, 400);
  while (it.hasNewer) {
    assert.equal(it.unreadFrom, undefined);
    await it.newer();
  }
  assert.equal(it.unreadFrom, 151);

  it.opened('me', 0, 400);
  assert.equal(it.unreadFrom, undefined);
  it.opened('me', 350, 400);
  it.newFrom(undefined); // one has said something
  while (it.hasOlder) await it.older();
  assert.equal(it.unreadFrom, undefined);
});

test('neither one’s own messages nor deleted ones are unread, and some may have been read by themselves', async () => {
  const it = timeline(0);
  await it.start();
  [{ senderId: 'me' }, { isRead: true }, {}, { senderId: 'me' }, { deletedAt: '1' }, { isRead: true }, {}].forEach((more, at) => it.put(message(at + 1, more)));
  it.opened('me', 2, 7);
  assert.equal(it.unreadFrom, 3);
  it.opened('me', 1, 7);
  assert.equal(it.unreadFrom, 7);
});
