// Long conversations: what one looks at stays where it is, whatever comes in above or below.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { assertAtEnd, assertLast, at, balancer, box, CUT, cutOff, drawn, eventually, held, LUKASZ, PATIENCE_MS, patient, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0', REPLAY_EVENTS: '20' });

let reader;
let conversation;
/** Somebody new, who has one conversation, with Łukasz. */
beforeEach(async () => {
  const ids = await replicas.sql(`with reader as (insert into users (first_name, last_name, email) values ('Reader', 'of much', gen_random_uuid() || '@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select id, '${LUKASZ}' from reader returning participant1_id, id`);
  [reader, conversation] = ids.split('|');
});

/** Inserted by another program: each third by Łukasz, or all by `sender`. */
const messages = (from, to, sender, isRead = false) => replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read)
  select '${conversation}', ${sender ? `'${sender}'` : `case n % 3 when 0 then '${LUKASZ}'::uuid else '${reader}' end`}, 'message ' || n || repeat(' and more', n % 17), ${isRead}
    from generate_series(${from}, ${to}) n`);

/** So many, all of them read: a conversation with these opens at its end. */
const history = (count, sender) => messages(1, count, sender, true);

const numbers = (page) => page.locator('.message .content').evaluateAll((all) => all.map(({ textContent }) => Number(/message (\d+)/.exec(textContent)[1])));

/** Scrolls up or down until `number` is in the document, and then into sight. */
async function scrollTo(page, number) {
  await page.evaluate(async ([wanted, patience]) => {
    const find = () => [...document.querySelectorAll('.message')].find(({ textContent }) => textContent.includes(`message ${wanted} `));
    const above = () => Number(/message (\d+)/.exec(document.querySelector('.message .content').textContent)[1]) > wanted;
    const deadline = performance.now() + patience;
    while (!find()) {
      if (performance.now() > deadline) throw new Error(`message ${wanted} is not to be found from ${document.querySelector('.messages').textContent}`);
      document.querySelector('.scroller').scrollTop += above() ? -500 : 500;
      await new Promise(requestAnimationFrame);
    }
    find().scrollIntoView({ block: 'center' });
  }, [number, PATIENCE_MS]);
  return place(page, number);
}

/** Where in the window `number` is. */
async function place(page, number) {
  await drawn(page);
  return (await box(page.locator('.message', { has: page.locator('.content', { hasText: new RegExp(`^message ${number}\\b`) }) }))).y;
}

/** Where it was, it still is. */
async function assertStays(page, number, before) {
  const now = await place(page, number);
  assert.ok(Math.abs(now - before) <= 1, `message ${number} moved from ${before} to ${now}`);
}

function assertUnbroken(shown) {
  assert.deepEqual(shown, shown.map((_, at) => shown[0] + at));
}

test('1,500 messages are scrolled from the last to the first, with few of them in the document', async () => {
  await history(1500);
  const page = await visit(at(replica.url, talking(reader, conversation)));
  await page.locator('.message', { hasText: 'message 1500' }).waitFor();

  const walked = await page.evaluate(async () => {
    const scroller = document.querySelector('.scroller');
    const number = (element) => Number(/message (\d+)/.exec(element.querySelector('.content').textContent)[1]);
    const frame = () => new Promise(requestAnimationFrame);
    const seen = new Set();
    let most = 0;
    let jumps = 0;
    let moved = 0;
    let beginnings = 0;
    const saysBeginning = () => document.querySelector('.edge').textContent === 'The beginning of this conversation';
    const deadline = performance.now() + 600_000; // so that it ends: how fast it goes is not asked here
    const settle = async (done) => {
      while (!done()) {
        if (performance.now() > deadline) return false;
        await frame();
      }
      return true;
    };
    const look = () => {
      const numbers = [...document.querySelectorAll('.message')].map(number);
      most = Math.max(most, numbers.length);
      numbers.forEach((n, at) => {
        seen.add(n);
        if (at && n !== numbers[at - 1] + 1) jumps++;
      });
      if (numbers[0] !== 1 && saysBeginning()) beginnings++;
    };
    look();
    while (performance.now() < deadline && !(number(document.querySelector('.message')) === 1 && scroller.scrollTop === 0)) {
      // What one looks at must not move under one's eyes while older ones come in above.
      scroller.scrollTop -= 1_200;
      const looked = [...document.querySelectorAll('.message')].find((element) => element.getBoundingClientRect().top > 200);
      const before = looked?.getBoundingClientRect().top;
      await frame();
      await frame();
      if (looked?.isConnected) moved = Math.max(moved, Math.abs(looked.getBoundingClientRect().top - before));
      if (scroller.scrollTop === 0) await settle(() => scroller.scrollTop > 0 || number(document.querySelector('.message')) === 1);
      look();
    }
    return { seen: seen.size, most, jumps, moved, beginnings, at: number(document.querySelector('.message')), saysBeginning: saysBeginning() };
  });
  const { seen, jumps, at: first, beginnings, saysBeginning } = walked;
  assert.deepEqual({ seen, jumps, first, beginnings, saysBeginning }, { seen: 1500, jumps: 0, first: 1, beginnings: 0, saysBeginning: true });
  assert.ok(walked.moved <= 1, `what one looks at moved by ${walked.moved} px`);
  assert.ok(walked.most <= 300, `${walked.most} messages in the document`);

  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  await page.locator('.message', { hasText: 'message 1500' }).waitFor();
});

test('what one sends from elsewhere does not take one away from what one reads', async () => {
  await history(300);
  const page = await visit(at(replica.url, talking(reader, conversation)));
  await page.locator('.message', { hasText: 'message 300' }).waitFor();
  const before = await scrollTo(page, 231);
  await messages(301, 302, reader);
  await messages(303, 303, LUKASZ);
  await page.locator('.jump .badge').getByText('1', { exact: true }).waitFor();
  await assertStays(page, 231, before);
  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  await page.locator('.message', { hasText: 'message 303' }).waitFor();
  assert.deepEqual((await numbers(page)).slice(-3), [301, 302, 303]);
});

test('who is at the end stays there when room is taken from below in the moment in which something comes', async () => {
  await history(60);
  const page = await visit(at(replica.url, talking(reader, conversation)));
  await page.locator('.message', { hasText: 'message 60' }).waitFor();
  await page.evaluate(() => {
    const composer = document.querySelector('.composer');
    composer.querySelector('textarea').value = 'One more';
    composer.requestSubmit();
    // The event of the scrolling is still to come.
    composer.style.paddingBottom = '200px';
  });
  await page.locator('.message', { hasText: 'One more' }).getByTitle(/^(sent|read)$/).waitFor();
  await drawn(page);
  await assertAtEnd(page);
  // And who scrolls up, however slowly, is let go.
  for (let times = 0; times < 20; times++) await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done((document.querySelector('.scroller').scrollTop -= 6)))));
  await page.getByRole('button', { name: 'Jump to the latest messages' }).waitFor();
});

test('what arrives does not pile up in the document', async () => {
  await history(50);
  const page = await visit(at(replica.url, talking(reader, conversation)));
  await page.locator('.message', { hasText: 'message 50' }).waitFor();
  await messages(51, 450);
  await page.locator('.message', { hasText: 'message 450' }).waitFor();
  const shown = await numbers(page);
  assert.ok(shown.length <= 220, `${shown.length} messages in the document`);
  assertUnbroken(shown);
  await assertAtEnd(page);
});

for (const where of ['at the end', 'far above it']) {
  test(`more was missed than is sent again: what one looks at, ${where}, is read anew and stays`, async () => {
    await history(400);
    const front = await balancer([replica.port]);
    const page = await visit(at(front.url, talking(reader, conversation)), { forgive: CUT });
    await page.locator('.message', { hasText: 'message 400' }).waitFor();
    const above = where !== 'at the end';
    // All pages are loaded, and the window stands far from the first of them.
    const before = above && (await scrollTo(page, 20), await scrollTo(page, 290));
    await cutOff(front, page);
    await messages(401, 440, LUKASZ);
    await replicas.sql(`update messages set content = 'message 292 otherwise' where conversation_id = '${conversation}' and content like 'message 292 %'`);
    const resynced = page.waitForResponse((response) => response.url().includes(`${conversation}/messages`));
    front.refuse = false;
    await resynced;
    if (above) {
      await page.getByText('message 292 otherwise', { exact: true }).waitFor();
      await page.locator('.banner').waitFor({ state: 'hidden' });
      await assertStays(page, 290, before);
      assertUnbroken(await numbers(page));
      await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
    }
    await page.locator('.message', { hasText: 'message 440' }).waitFor();
    const shown = await numbers(page);
    assertUnbroken(shown);
    assert.deepEqual([shown.length >= 40, shown.at(-1)], [true, 440]);
  });
}

test('more was missed than is sent again, and one scrolls on while that is read anew: what one looks at then stays', async () => {
  await history(400);
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(reader, conversation)), { forgive: CUT });
  await page.locator('.message', { hasText: 'message 400' }).waitFor();
  await scrollTo(page, 20);
  await scrollTo(page, 290);
  await cutOff(front, page);
  await messages(401, 440, LUKASZ);
  await replicas.sql(`update messages set content = 'message 119 otherwise' where conversation_id = '${conversation}' and seq = 119`);
  const { asked, release } = await held(page, '**/messages?*before=*');
  front.refuse = false;
  await asked();
  const before = await scrollTo(page, 120);
  release();
  await page.getByText('message 119 otherwise', { exact: true }).waitFor();
  await assertStays(page, 120, before);
  await scrollTo(page, 60);
  assertUnbroken(await numbers(page));
  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  await page.locator('.message', { hasText: 'message 440' }).waitFor();
  assertUnbroken(await numbers(page));
});

test('older messages that could not be read are asked for again by the button, or with the next connection, and not by each scrolling', async () => {
  await history(300);
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(reader, conversation)), { forgive: /^Failed to load resource|^WebSocket connection/, before: patient });
  await page.locator('.message', { hasText: 'message 300' }).waitFor();
  const older = '**/messages?*before=*';
  let asked = 0;
  await page.route(older, (route) => {
    asked++;
    return route.abort();
  });
  const scroller = page.locator('.scroller');
  const up = () => scroller.evaluate(async (it) => {
    for (let frames = 0; frames < 60; frames++) {
      it.scrollTop = frames % 2;
      await new Promise(requestAnimationFrame);
    }
  });
  const again = page.locator('.edge').getByRole('button', { name: 'Try again' });
  await up();
  await again.waitFor();
  await up();
  assert.equal(asked, 1);
  await again.click();
  await eventually(() => asked, 2);
  await again.waitFor();
  await up();
  assert.equal(asked, 2);

  await cutOff(front, page);
  await page.unroute(older);
  front.refuse = false;
  await page.locator('.banner').getByRole('button', { name: 'Try now' }).click();
  await again.waitFor({ state: 'detached' });
  await scrollTo(page, 150);
  assertUnbroken(await numbers(page));
});

test('newer messages that could not be read: it is said where they would stand', async () => {
  await history(400);
  await replicas.sql(`update messages set content = 'message 100 heron' where conversation_id = '${conversation}' and seq = 100`);
  const page = await visit(at(replica.url, reader), { forgive: /^Failed to load resource/ });
  await page.locator('.list .row').first().waitFor();
  await page.getByRole('searchbox').fill('heron');
  await page.locator('.results .row', { hasText: 'heron' }).click();
  await page.locator('.message.found').waitFor();
  await page.route('**/messages?*after=*', (route) => route.abort());
  await page.locator('.scroller').evaluate((it) => (it.scrollTop = it.scrollHeight));
  const fault = page.locator('.messages + .edge');
  await fault.getByText(/^Messages could not be loaded/).waitFor();
  await page.unroute('**/messages?*after=*');
  await fault.getByRole('button', { name: 'Try again' }).click();
  await scrollTo(page, 180);
  assertUnbroken(await numbers(page));
});

test('a search that leads to the end of a conversation leaves one there: what comes next is seen, and read', async () => {
  await messages(1, 6);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${conversation}', '${LUKASZ}', 'a spoonbill')`);
  const page = await visit(at(replica.url, reader));
  await page.getByRole('searchbox').fill('spoonbill');
  await page.locator('.results .row', { hasText: 'spoonbill' }).click();
  await page.locator('.message.found', { hasText: 'a spoonbill' }).waitFor();
  await assertAtEnd(page);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${conversation}', '${LUKASZ}', 'and another one')`);
  await assertLast(page, 'and another one');
  await assertAtEnd(page);
  await eventually(() => replicas.sql(`select count(*) from messages where conversation_id = '${conversation}' and sender_id = '${LUKASZ}' and not is_read`), '0');
});

test('who goes on from where a search led to, down to the end, sees what comes there', async () => {
  await messages(1, 90);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${conversation}', '${LUKASZ}', 'a spoonbill')`);
  await messages(91, 120);
  const page = await visit(at(replica.url, reader));
  await page.getByRole('searchbox').fill('spoonbill');
  await page.locator('.results .row', { hasText: 'spoonbill' }).click();
  await page.locator('.message.found', { hasText: 'a spoonbill' }).waitFor();
  await page.locator('.scroller').evaluate((it) => (it.scrollTop = it.scrollHeight));
  await assertAtEnd(page);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${conversation}', '${LUKASZ}', 'and another one')`);
  await assertLast(page, 'and another one');
  await assertAtEnd(page);
});

test('what comes while one looks elsewhere stands below a line', async () => {
  await history(90, LUKASZ);
  const page = await visit(at(replica.url, talking(reader, conversation)));
  await page.locator('.message', { hasText: 'message 90' }).waitFor();
  await page.locator('.list .badge').waitFor({ state: 'detached' });
  await page.locator('.scroller').evaluate((it) => (it.scrollTop -= 900));
  await page.getByRole('button', { name: 'Jump to the latest messages' }).waitFor();
  await messages(91, 92, LUKASZ);
  await page.locator('.jump .badge').getByText('2', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Jump to the latest messages: 2 new', exact: true }).click();
  await page.locator('.divider.new + .message', { hasText: 'message 91' }).waitFor();
  // The same while nobody looks at the page at all.
  const look = (state) => page.evaluate((value) => {
    Object.defineProperty(document, 'visibilityState', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  await look('hidden');
  await messages(93, 94, LUKASZ);
  await page.locator('.divider.new + .message', { hasText: 'message 93' }).waitFor();
  await page.locator('.list .badge', { hasText: /^2\b/ }).waitFor();
  await look('visible');
  await page.locator('.list .badge').waitFor({ state: 'detached' });
  await drawn(page);
  assert.equal(await page.locator('.divider.new').count(), 1);
});

test('a hundred and fifty messages at once are marked as read in a few marks: one is under way at a time', async () => {
  await messages(1, 3, LUKASZ);
  const page = await visit(at(replica.url, talking(reader, conversation)), {
    // The service takes a mark when the test says so.
    before: () => {
      Object.assign(window, { marks: [], holding: false, held: [] });
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        const { type, data } = JSON.parse(text);
        if (type === 'mark_read') window.marks.push(data.upToSeq);
        if (type === 'mark_read' && window.holding) window.held.push(() => send.call(this, text));
        else send.call(this, text);
      };
    },
  });
  const marks = () => page.evaluate(() => window.marks);
  const unread = () => replicas.sql(`select count(*) from messages where conversation_id = '${conversation}' and not is_read`);
  await page.locator('.message', { hasText: 'message 3' }).waitFor();
  await eventually(unread, '0');
  await page.evaluate(() => (window.holding = true));
  await messages(4, 153, LUKASZ);
  await page.locator('.message', { hasText: 'message 153' }).waitFor();
  await page.locator('.list .badge').waitFor({ state: 'detached' });
  assert.deepEqual(await marks(), [3, 4]);
  await page.evaluate(() => {
    window.holding = false;
    window.held.forEach((go) => go());
  });
  await eventually(unread, '0');
  assert.deepEqual(await marks(), [3, 4, 153]);
  assert.ok(await page.locator('.notice').isHidden());
});
