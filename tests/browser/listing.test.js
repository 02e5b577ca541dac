// What is known of a user's conversations, whatever is told while they are read: this needs no browser, and nobody who answers late.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { module } from './module.js';

const { Listing } = await module('listing.js');

/** A service with so many conversations, c1 the last active, each with one unread message. It calls `meanwhile` before its answer, by then of the past, is there. */
function service(count) {
  const all = Array.from({ length: count }, (_, at) => ({ id: `c${at + 1}`, unreadCount: 1, createdAt: `${9999 - at}` }));
  const it = { all, asked: [], meanwhile: () => {} };
  const answer = async (asked, value) => {
    it.asked.push(asked);
    await it.meanwhile(asked);
    return value;
  };
  const list = async ({ limit, offset = 0 }) => answer(`${offset}+${limit}`, { conversations: all.slice(offset, offset + limit).map((found) => ({ ...found })), hasMore: all.length > offset + limit });
  const unreadCount = async () => answer('unread', all.reduce((sum, { unreadCount: unread }) => sum + unread, 0));
  it.chat = { conversations: { list }, unreadCount };
  return it;
}

const listing = ({ chat }, { open = [], marking = () => false, failed = () => {} } = {}) => new Listing(chat, { isOpen: (id) => open.includes(id), marking, changed: () => {}, counted: () => {}, failed });

/** As the model does: what was lacking by the time that the first has come is read, too, and what is unread is counted. */
async function load(it) {
  it.begin();
  await it.read();
  await it.read();
  const lacks = it.take();
  it.count();
  await settled();
  return lacks;
}

/** All that needs no time has come. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** The pause after a count is over. */
async function moment() {
  mock.timers.tick(1_000);
  await settled();
}

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

test('of a short list all is known, and nothing asked besides', async () => {
  const few = service(50);
  const it = listing(few);
  assert.equal(await load(it), false);
  assert.deepEqual([few.asked, it.conversations.size, it.hasMore, it.unread], [['0+50'], 50, false, 50]);
  assert.equal(await it.more(), false);
});

test('what is unread in conversations that are not listed counts, and once they are listed once', async () => {
  const many = service(120);
  const it = listing(many);
  await load(it);
  assert.deepEqual([many.asked, it.conversations.size, it.unread, it.unreadIn('c1'), it.unreadIn('c120')], [['0+50', 'unread'], 50, 120, 1, 70]);
  for (let times = 0; times < 2; times++) it.add({ ...many.all[119], unreadCount: 1 });
  assert.deepEqual([it.conversations.size, it.unread, it.unreadIn('c119')], [51, 120, 69]);
  await it.more();
  assert.deepEqual([it.conversations.size, it.unread, it.hasMore], [101, 120, true]);
  // Once all are listed, nothing is unread beside them.
  many.all[110].unreadCount = 0;
  await it.more();
  assert.deepEqual([it.conversations.size, it.unread, it.hasMore, it.unreadIn('gone')], [120, 119, false, 0]);
  assert.deepEqual(many.asked.slice(2), ['50+50', '100+50']);
});

test('what is told while the unread messages are counted is neither counted twice nor lost', async () => {
  // While the list is read, while it is counted, and a moment after: told is what the answer has, or has not yet.
  for (const [when, has] of [['0+50', true], ['0+50', false], ['unread', true], ['unread', false], ['after', true]]) {
    const many = service(60);
    const it = listing(many);
    await load(it);
    await moment();
    const arrives = (asked) => {
      if (asked !== when) return;
      many.meanwhile = () => {};
      many.all[0].unreadCount++;
      if (has) it.change('c1', (listed) => (listed.unreadCount = 2));
    };
    many.meanwhile = arrives;
    many.asked.length = 0;
    await load(it);
    arrives('after');
    if (!has) it.change('c1', (listed) => (listed.unreadCount = 2));
    for (let times = 0; times < 3; times++) await moment();
    assert.deepEqual([it.unread, it.unreadIn('c60')], [61, 10], `${when}, ${has}`);
    assert.ok(many.asked.length <= 3, `${many.asked}`);
  }
});

test('while something is told all the time, what is unread is counted ever more seldom, and at once when the list is read anew', async () => {
  const many = service(60);
  const it = listing(many);
  await load(it);
  const asked = [];
  for (let second = 1; second <= 95; second++) {
    many.asked.length = 0;
    for (let more = 0; more < 5; more++) it.change('c1', (listed) => listed.unreadCount++);
    many.all[0].unreadCount += 5;
    await moment();
    if (many.asked.length) asked.push([second, ...many.asked]);
    assert.deepEqual([it.unread, it.unreadIn('c60')], [60 + 5 * second, 10]);
  }
  assert.deepEqual(asked, [1, 3, 7, 15, 31, 61, 91].map((second) => [second, 'unread']));
  many.all[59].unreadCount = 0;
  many.asked.length = 0;
  await load(it);
  assert.deepEqual([many.asked, it.unreadIn('c60')], [['0+50', 'unread'], 9]);
  await moment();
  assert.equal(many.asked.length, 2);
});

test('what was counted while it was being read is put right when nothing is told any more, however long something was', async () => {
  const many = service(60);
  const it = listing(many);
  await load(it);
  for (let second = 1; second <= 31; second++) {
    it.change('c1', (listed) => listed.unreadCount++);
    many.all[0].unreadCount++;
    // One more is told of while the service is asked, for the last time in a while.
    if (second === 31) {
      many.meanwhile = () => {
        many.meanwhile = () => {};
        it.change('c2', (listed) => listed.unreadCount++);
        many.all[1].unreadCount++;
      };
    }
    await moment();
  }
  assert.deepEqual([many.asked.length, it.unreadIn('c60')], [7, 9]);
  for (let times = 0; times < 2; times++) await moment();
  assert.deepEqual([it.unread, it.unreadIn('c60')], [92, 10]);
  many.asked.length = 0;
  for (let times = 0; times < 60; times++) await moment();
  assert.deepEqual(many.asked, []);
});

test('however often the list is read, what is unread is counted once in a moment, and after the last time', async () => {
  const many = service(60);
  const it = listing(many);
  for (let times = 1; times <= 20; times++) {
    await load(it);
    many.all[59].unreadCount++;
  }
  for (let times = 0; times < 2; times++) await moment();
  assert.deepEqual([many.asked.filter((asked) => asked === 'unread').length, it.unreadIn('c60')], [2, 30]);
});

for (const [which, order, known] of [['earlier', [0, 1], [0, 10]], ['later', [1, 0], [10, 10]]]) {
  test(`of two counts the later one is right, though the answer to the ${which} one comes first`, async () => {
    const many = service(60);
    const it = listing(many);
    const answers = [];
    many.meanwhile = (asked) => asked === 'unread' && new Promise((answer) => answers.push(answer));
    many.all[59].unreadCount = 2;
    await load(it);
    many.all[59].unreadCount = 1;
    await load(it);
    await moment();
    const seen = [];
    for (const at of order) {
      answers[at]();
      await settled();
      seen.push(it.unreadIn('c60'));
    }
    assert.deepEqual([answers.length, seen], [2, known]);
  });
}

test('a list is there without the count of what is unread beside it; what was known of that stands', async () => {
  const many = service(60);
  const it = listing(many);
  const refuse = (asked) => {
    if (asked === 'unread') throw new Error('no');
  };
  many.meanwhile = refuse;
  await load(it);
  assert.deepEqual([it.conversations.size, it.unread], [50, 50]);
  many.meanwhile = () => {};
  await moment();
  await load(it);
  assert.equal(it.unread, 60);
  await moment();
  // One that was not listed, and has a message more by now, is in the list in the place of another one.
  many.meanwhile = refuse;
  many.all.unshift({ ...many.all.pop(), unreadCount: 3 });
  await load(it);
  assert.deepEqual([it.conversations.has('c60'), it.conversations.has('c50'), it.unread, it.unreadIn('c50')], [true, false, 60, 8]);
  let come;
  many.meanwhile = (asked) => asked === 'unread' && new Promise((resolve) => (come = resolve));
  await load(it);
  assert.deepEqual([it.conversations.size, it.unread], [50, 60]);
  await moment();
  come();
  await settled();
  await moment();
  assert.equal(it.unread, 62);
});

test('what is counted before it is told of, or though it is being marked as read, is not counted once more', async () => {
  const many = service(60);
  const it = listing(many);
  await load(it);
  await moment();
  // When the list is read there is no such message, when it is counted there is.
  many.meanwhile = () => {
    many.meanwhile = () => {};
    many.all[0].unreadCount++;
  };
  await load(it);
  assert.equal(it.unread, 60);
  it.change('c1', (listed) => listed.unreadCount++);
  assert.equal(it.unread, 61);
  for (let times = 0; times < 2; times++) await moment();
  assert.deepEqual([it.unread, it.unreadIn('c60')], [61, 10]);

  it.count();
  await settled();
  it.change('c2', (listed) => (listed.unreadCount = 0));
  await moment();
  assert.equal(it.unread, 60, 'the mark is under way');
  many.all[1].unreadCount = 0;
  it.change('c2', () => {}); // that it is read
  for (let times = 0; times < 2; times++) await moment();
  assert.deepEqual([it.unread, it.unreadIn('c60')], [60, 10]);
});

for (const [how, left, unread] of [['it is done', 0, 59], ['it has failed', 1, 60]]) {
  test(`what is being marked as read is not counted once more, however long that takes, and what is unread is right once ${how}`, async () => {
    const many = service(60);
    let marking = false;
    const it = listing(many, { marking: () => marking });
    await load(it);
    await moment();
    many.asked.length = 0;
    it.change('c1', (listed) => (listed.unreadCount = 0));
    marking = true;
    it.count();
    await settled();
    const asked = [];
    for (let second = 0; second <= 95; second++) {
      if (many.asked.length) asked.push(second);
      many.asked.length = 0;
      assert.equal(it.unread, 59, `after ${second} s`);
      await moment();
    }
    assert.deepEqual(asked, [0, 1, 3, 7, 15, 31, 61, 91]);
    // Nobody need tell of it.
    many.all[0].unreadCount = left;
    marking = false;
    for (let times = 0; times < 2; times++) await moment();
    assert.deepEqual([it.unread, many.asked], [unread, ['unread']]);
    for (let times = 0; times < 60; times++) await moment();
    assert.equal(many.asked.length, 1);
  });
}

test('what is less counts at once, also while something is being marked as read; so does the first answer', async () => {
  const many = service(60);
  const it = listing(many, { marking: () => true });
  await load(it);
  assert.equal(it.unread, 60);
  many.all[59].unreadCount = 0;
  await moment();
  assert.equal(it.unread, 59);
});

test('what nobody tells of counts when nothing is told for a moment; what is less, at once', async () => {
  const many = service(60);
  const it = listing(many);
  await load(it);
  await moment();
  many.all[59].unreadCount = 5;
  await load(it);
  assert.equal(it.unread, 60);
  await moment();
  assert.equal(it.unread, 64);
  many.all[59].unreadCount = 0;
  await load(it);
  assert.equal(it.unread, 59);
});

test('what is unread in a conversation that was begun while there was no connection was counted nowhere', async () => {
  const it = listing(service(120));
  await load(it);
  it.add({ id: 'new', unreadCount: 2, createdAt: '99999' }, true);
  assert.deepEqual([it.unread, it.unreadIn('c120')], [122, 70]);
});

test('read anew it is as long as it was, and has those that are open, wherever they stand', async () => {
  const many = service(1000);
  const it = listing(many, { open: ['c590'] });
  await load(it);
  await moment();
  it.add({ ...many.all[589] });
  for (let times = 0; times < 2; times++) await it.more();
  many.asked.length = 0;
  await load(it);
  assert.deepEqual(many.asked, ['0+151', '151+200', '351+200', '551+200', 'unread']);
  assert.equal(it.conversations.has('c590'), true);

  const other = listing(many);
  await load(other);
  await other.more(160);
  await moment();
  many.asked.length = 0;
  await load(other);
  assert.deepEqual([many.asked, other.conversations.size], [['0+200', '200+50', 'unread'], 250]);

  const gone = listing(service(60), { open: ['gone'] });
  gone.add({ id: 'gone', unreadCount: 0, createdAt: '1' });
  await load(gone);
  assert.deepEqual([gone.conversations.size, gone.conversations.has('gone')], [60, false]);
});

test('what is told while the list is read is there afterwards, and that one told of is lacking is said', async () => {
  const many = service(60);
  const it = listing(many);
  await load(it);
  const tell = (run) => {
    many.meanwhile = () => {
      many.meanwhile = () => {};
      run();
    };
  };
  tell(() => {
    it.change('c2', (listed) => (listed.lastSeq = 7));
    it.change('not listed', (listed) => (listed.lastSeq = 7));
    it.add({ id: 'new', unreadCount: 0, createdAt: '99999' });
  });
  assert.equal(await load(it), false);
  assert.deepEqual([it.conversations.get('c2').lastSeq, it.conversations.has('new'), it.sorted()[0].id], [7, true, 'new']);
  // From part to part.
  tell(() => {
    many.all.splice(1, 1);
    it.change('c2', () => {});
  });
  many.all.unshift(...many.all.splice(50, 3));
  many.all.splice(many.all.findIndex(({ id }) => id === 'c2'), 1);
  assert.equal(await load(it), true);
});

test('a page that comes when the list has been read anew leaves no gap in it', async () => {
  const many = service(300);
  const it = listing(many);
  await load(it);
  it.add({ ...many.all[259] });
  let come;
  many.meanwhile = (asked) => asked === '50+50' && new Promise((resolve) => (come = resolve));
  const page = it.more();
  await load(it);
  come();
  assert.equal(await page, true);
  while (it.hasMore) await it.more();
  assert.deepEqual(it.sorted().map(({ id }) => id), many.all.map(({ id }) => id));
});

test('one that is far down is found, none that is not there, and nothing while no answer comes', async () => {
  const many = service(500);
  let failures = 0;
  const it = listing(many, { failed: () => failures++ });
  await load(it);
  const both = await Promise.all([it.find('c400'), it.find('c260')]);
  assert.deepEqual(both.map(({ id }) => id), ['c400', 'c260']);
  assert.deepEqual(many.asked.slice(2), ['50+200', '250+200']);
  many.meanwhile = () => {
    throw Object.assign(new Error('no'), { status: 404 });
  };
  assert.deepEqual([await it.find('nobody'), failures, it.hasMore], [undefined, 1, true]);
  many.meanwhile = () => {};
  assert.deepEqual([await it.find('nobody'), it.hasMore], [undefined, false]);
});

test('what was read by itself is no reason to read more in order, until it is listed in order', async () => {
  const many = service(150);
  const it = listing(many);
  await load(it);
  const limits = async () => {
    many.asked.length = 0;
    await load(it);
    return many.asked.filter((asked) => asked !== 'unread');
  };
  it.addBesides([69, 79].map((at) => ({ ...many.all[at] })));
  assert.deepEqual([await limits(), it.conversations.size], [['0+50'], 50]);
  it.addBesides([{ ...many.all[69] }]);
  await it.more();
  assert.deepEqual([await limits(), it.conversations.size], [['0+100'], 100]);
});

test('the last active come first: who has written, else who was met', async () => {
  const it = listing(service(3));
  await load(it);
  it.change('c3', (listed) => (listed.lastMessage = { createdAt: '99999' }));
  it.change('c1', (listed) => (listed.lastMessage = { createdAt: '1' }));
  assert.deepEqual(it.sorted().map(({ id }) => id), ['c3', 'c2', 'c1']);
});

test('what could not be read anew leaves the list as it was', async () => {
  const many = service(60);
  const it = listing(many);
  await load(it);
  many.meanwhile = () => {
    throw new Error('no');
  };
  it.begin();
  await assert.rejects(it.read());
  it.drop();
  it.change('c1', (listed) => (listed.unreadCount = 0));
  assert.deepEqual([it.conversations.size, it.hasMore, it.unread], [50, true, 59]);
});
