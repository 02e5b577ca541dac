// What is known of one conversation's messages, whatever comes in which order: this needs no browser, and nobody who answers late.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { module } from './module.js';

const { isFar, Timeline } = await module('timeline.js');

const message = (seq, more) => ({ id: `m${seq}`, seq, senderId: 'other', isRead: false, updatedAt: '1', content: `${seq}`, ...more });

/** Of a conversation with so many messages. `answer`: is called with each page, and what it returns is waited for; `deleted`: the numbers of those that are. */
function timeline(count, answer = () => {}, deleted = []) {
  const all = Array.from({ length: count }, (_, at) => message(at + 1, deleted.includes(at + 1) && { deletedAt: '1' }));
  const list = async (id, { limit, before = Infinity, after }) => {
    const found = after === undefined ? all.filter(({ seq }) => seq < before).reverse() : all.filter(({ seq }) => seq > after);
    const page = { messages: found.slice(0, limit), hasMore: found.length > limit };
    await answer(page);
    return page;
  };
  return new Timeline({ messages: { list } }, 'c1', () => {});
}

const numbers = ({ messages }) => messages.map(({ seq }) => seq);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at);

test('of a long conversation that is left the last messages are kept, and older ones are read again; far from the end, where one does not come back to, none is kept', async () => {
  let wait = () => {};
  const it = timeline(700, () => wait());
  await it.start();
  for (let times = 0; times < 3; times++) await it.older();
  it.trim();
  assert.deepEqual(numbers(it), range(301, 700), 'so many are kept');
  await it.older();
  let come;
  wait = () => new Promise((resolve) => (come = resolve));
  const older = it.older();
  it.lookedAt = () => undefined;
  it.trim();
  come();
  await older;
  assert.deepEqual(numbers(it), range(101, 700), 'a page that is on its way fits, and somebody has come back');
  wait = () => {};
  const { edition } = it;
  it.lookedAt = undefined;
  it.trim();
  assert.deepEqual([numbers(it), it.hasOlder, it.edition], [range(601, 700), true, edition + 1]);
  it.put(message(701));
  await it.older();
  assert.deepEqual(numbers(it), range(501, 701));
  // Of a place far up the end is not here.
  await it.start(150);
  for (let times = 0; times < 4; times++) await it.newer();
  assert.equal(it.messages.length, 500);
  it.trim();
  assert.deepEqual([it.messages, it.started, it.hasOlder, it.hasNewer], [[], false, true, false]);
});

test('of a long conversation that is left while a page is on its way, or that goes on where nobody looks, no more is kept either', async () => {
  let wait = () => {};
  const it = timeline(700, () => wait());
  await it.start();
  for (let times = 0; times < 3; times++) await it.older();
  let come;
  wait = () => new Promise((resolve) => (come = resolve));
  const older = it.older();
  it.trim();
  assert.deepEqual(numbers(it), range(301, 700));
  come();
  await older;
  assert.deepEqual([numbers(it), it.hasOlder], [range(601, 700), true]);
  for (let seq = 701; seq <= 1000; seq++) it.put(message(seq));
  assert.deepEqual(numbers(it), range(601, 1000), 'so many are kept');
  assert.equal(it.put(message(1001)), true);
  assert.deepEqual([numbers(it), it.hasOlder], [range(902, 1001), true]);
  // Where somebody looks, all that is shown stays.
  it.lookedAt = () => undefined;
  for (let seq = 1002; seq <= 1500; seq++) it.put(message(seq));
  assert.deepEqual(numbers(it), range(902, 1500));
});

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

test('what is told while a page is read stands there as it is told, also where the page does not have it yet', async () => {
  let tell;
  const it = timeline(150, () => tell());
  it.lookedAt = () => undefined;
  for (const [read, seq] of [[() => it.start(), 150], [() => it.older(), 50], [() => it.reload(), 140]]) {
    tell = () => {
      it.put(message(seq, { updatedAt: '2', content: 'edited' }));
      it.put(message(151));
      it.read('me', seq - 1);
    };
    await read();
    const [before, edited] = it.messages.filter((found) => [seq - 1, seq].includes(found.seq));
    assert.deepEqual([before.isRead, edited.content, it.last.seq], [true, 'edited', 151]);
  }
});

test('before anything is loaded nothing is there, whatever is told', () => {
  const it = timeline(3);
  assert.equal(it.put(message(3)), undefined);
  assert.deepEqual(it.messages, []);
});

test('what there may be gaps in is dropped, and so is a page of it that is on its way', async () => {
  const answers = [];
  const it = timeline(300, () => new Promise((answer) => answers.push(answer)));
  const reads = [it.start()];
  answers.pop()();
  await reads[0];
  reads.push(it.older(), it.reload());
  answers.pop()();
  await Promise.all(reads);
  assert.deepEqual([it.messages, it.started, it.hasOlder, it.hasNewer], [[], false, true, false]);
});

test('one page is read at a time; what is read anew comes after it', async () => {
  const asked = [];
  const it = timeline(500, ({ messages }) => asked.push(messages[0].seq));
  await it.start();
  await Promise.all([it.older(), it.older(), it.start()]);
  assert.deepEqual(asked, [500, 400, 500]);
});

test('there is nothing before the first message, nor after the last', async () => {
  let asked = 0;
  const it = timeline(3, () => asked++);
  assert.equal(it.older(), undefined);
  await it.start();
  assert.deepEqual([it.older(), it.newer(), asked], [undefined, undefined, 1]);
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

  it.opened('me', 400, 400);
  while (it.hasOlder) await it.older();
  assert.equal(it.unreadFrom, 1);

  it.opened('me', 0, 400);
  assert.equal(it.unreadFrom, undefined);
  await it.start();
  it.opened('me', 350, 400);
  it.newFrom(undefined); // one has said something
  while (it.hasOlder) await it.older();
  assert.equal(it.unreadFrom, undefined);
});

test('what is new is looked for in four pages; where it begins before those, it is new from the first message of them on until more is loaded', async () => {
  for (const [unread, pages, from] of [[0, 1, undefined], [100, 1, 401], [101, 2, 400], [400, 4, 101], [401, 4, 101]]) {
    let asked = 0;
    const it = timeline(500, () => asked++);
    await it.start();
    it.opened('me', unread, 500);
    await it.olderUntilNew();
    assert.deepEqual([asked, it.firstNew, it.isNewAbove], [pages, from, unread > 400], `${unread} unread`);
    await it.older();
    assert.deepEqual([it.firstNew, it.isNewAbove], [unread ? 501 - unread : undefined, false], `${unread} unread`);
  }
  // Whoever was led elsewhere by a search is told nothing of it there.
  const it = timeline(700);
  await it.start(300);
  it.opened('me', 100, 700);
  assert.deepEqual([it.firstNew, it.isNewAbove], [undefined, false]);
});

test('of what is new from so far up that it is not loaded from the end, the first unread message is found where it stands, or behind it', async () => {
  assert.deepEqual([isFar(101, 500), isFar(100, 500), isFar(null, 500), isFar(undefined, undefined)], [false, true, false, false]);
  const it = timeline(700, (page) => {
    for (const one of page.messages) Object.assign(one, { isRead: one.seq <= 60, senderId: one.seq === 61 ? 'me' : 'other' });
  }, [62]);
  await it.start(50);
  assert.deepEqual([it.openedAt('me', 50), it.firstNew, it.isNewAbove], [true, 63, false]);
  await it.start(5);
  assert.deepEqual([it.openedAt('me', 5), it.firstNew], [false, undefined]);
});

test('what is new is found also where the conversation is opened again, or read anew, while it is looked for', async () => {
  const it = timeline(600);
  it.lookedAt = () => undefined;
  const open = () => {
    it.opened('me', 250, 600);
    return it.olderUntilNew();
  };
  for (const meanwhile of [open, () => it.reload()]) {
    await it.start();
    const first = open();
    assert.equal(it.loading, 'older');
    const second = meanwhile();
    await first;
    assert.equal(it.firstNew, 351);
    await second;
    assert.equal(it.firstNew, 351);
  }
  // It is read anew before the first page is asked for.
  await it.start();
  const anew = it.reload();
  await open();
  assert.equal(it.firstNew, 351);
  await anew;
});

test('the line of what is new never stands above one’s own message, also where it is above the oldest that are loaded', async () => {
  const it = timeline(700, ({ messages }) => messages.forEach((found) => found.seq % 100 < 3 && (found.senderId = 'me')));
  await it.start();
  it.opened('me', 650, 700);
  await it.olderUntilNew();
  assert.deepEqual([it.isNewAbove, it.messages[0].seq, it.firstNew], [true, 301, 303]);
});

test('where older messages cannot be read, what is loaded is shown as new', async () => {
  let refuses = false;
  const it = timeline(500, () => refuses && Promise.reject(new Error('no')));
  await it.start();
  it.opened('me', 300, 500);
  refuses = true;
  await it.olderUntilNew();
  assert.deepEqual([it.failed, it.firstNew], ['older', 401]);
  refuses = false;
  for (let times = 0; times < 2; times++) await (it.failed ? it.again() : it.older());
  assert.deepEqual([it.failed, it.firstNew], ['', 201]);
});

test('older messages that are slow to come are not waited for: what is loaded is shown as new, and more once it has come', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let answer;
  const it = timeline(600, ({ messages }) => messages[0].seq < 600 && new Promise((resolve) => (answer = resolve)));
  await it.start();
  it.opened('me', 150, 600);
  const search = it.olderUntilNew();
  t.mock.timers.tick(60_000);
  await search;
  assert.deepEqual([it.loading, it.firstNew], ['older', 501]);
  // All of it is marked as read meanwhile.
  it.read('me', 600);
  const come = new Promise((resolve) => (it.changed = resolve));
  answer();
  await come;
  assert.deepEqual([it.loading, it.firstNew, it.messages.length], ['', 451, 200]);
});

test('the line stays where it was shown until it is let go, and what ends that anything is new ends that, too', async () => {
  const it = timeline(700);
  const open = async () => {
    await it.start();
    it.opened('me', 450, 700);
    it.holdNew();
    while (it.isNewAbove) await it.older();
  };
  await open();
  assert.equal(it.firstNew, 601);
  it.letGoNew();
  assert.equal(it.firstNew, 251);
  for (const seq of [undefined, 701]) {
    await open();
    it.newFrom(seq);
    assert.equal(it.firstNew, seq);
  }
});

test('neither one’s own messages nor deleted ones are unread, and some may have been read by themselves', async () => {
  const long = timeline(200, undefined, [60, 70, 180]);
  await long.start();
  long.opened('me', 149, 200);
  await long.older();
  assert.equal(long.unreadFrom, 49);

  const it = timeline(0);
  await it.start();
  [{ senderId: 'me' }, { isRead: true }, {}, { senderId: 'me' }, { deletedAt: '1' }, { isRead: true }, {}].forEach((more, at) => it.put(message(at + 1, more)));
  it.opened('me', 2, 7);
  assert.equal(it.unreadFrom, 3);
  it.opened('me', 1, 7);
  assert.equal(it.unreadFrom, 7);
});

test('a count that has more than are unread by now does no harm', async () => {
  const gone = timeline(300);
  await gone.start();
  gone.read('me', 299);
  gone.opened('me', 2, 300);
  assert.equal(gone.unreadFrom, 300);
  await gone.older();
  assert.equal(gone.unreadFrom, 300);

  const short = timeline(3);
  await short.start();
  short.opened('me', 5, 3);
  assert.equal(short.unreadFrom, 1);

  // One of them is deleted before it is loaded.
  const long = timeline(150, undefined, [20]);
  await long.start();
  long.opened('me', 150, 150);
  assert.equal(long.unreadFrom, undefined);
  await long.older();
  assert.equal(long.unreadFrom, 1);
});

test('what is read does not stand below the line, where one that was counted is deleted before the first unread message is found', async () => {
  // All that is loaded is unread, or a part of the page before it, too.
  for (const [unread, deleted] of [[100, 550], [150, 550], [150, 480]]) {
    const it = timeline(600, ({ messages }) => messages.forEach((found) => (found.isRead = found.seq <= 600 - unread)), [deleted]);
    await it.start();
    it.opened('me', unread, 600);
    await it.olderUntilNew();
    assert.equal(it.firstNew, 601 - unread, `${unread} unread, ${deleted} deleted`);
  }
});

test('what comes while the conversation is being opened is none of those that were counted', async () => {
  let tell = () => {};
  const it = timeline(10, () => tell());
  tell = () => it.put(message(11));
  await it.start();
  it.opened('me', 2, 10);
  assert.equal(it.unreadFrom, 9);
});

test('the last message of when it was opened may be no more by the time that one gets there', async () => {
  const it = timeline(300);
  await it.start(120);
  it.opened('me', 200, 301);
  while (it.hasNewer) await it.newer();
  assert.equal(it.unreadFrom, 101);
});

test('of a conversation that is gone no message stays, also where only that it is not one’s own is told; once it is there again it is read', async () => {
  for (const code of ['conversation_not_found', 'not_a_participant']) {
    let refusal;
    const it = timeline(150, () => refusal && Promise.reject(refusal));
    it.lookedAt = () => undefined;
    await it.start();
    refusal = Object.assign(new Error('no'), { code: 'internal' });
    await it.reload();
    assert.deepEqual([it.isGone, it.messages.length], [false, 100]);
    refusal = Object.assign(new Error('no'), { code });
    await it.older();
    assert.deepEqual([it.isGone, it.messages.length], [false, 100]);
    await it.reload();
    assert.deepEqual([it.isGone, it.messages.length], [true, 0]);
    it.put(message(151));
    assert.deepEqual(it.messages, []);
    refusal = undefined;
    await it.again();
    assert.deepEqual([it.isGone, it.messages.length, it.last.seq], [false, 100, 150]);
  }
});
