// What somebody has read: as far as they have looked, told in few marks, and counted here without asking anybody.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertReadAsSeen, badge, lowestSeen, noteMarks, reader, unread, waitsForOlder } from './reader.js';
import { assertAtEnd, assertLast, at, bubble, drawn, eventually, isListOf, LUKASZ, PATIENCE_MS, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** Somebody who has so many numbered messages of Łukasz, all of them unread, but the first `isRead`. */
async function numbered(all, isRead = 0) {
  const { user, conversation } = await reader();
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read) select '${conversation}', '${LUKASZ}', 'number ' || n, n <= ${isRead} from generate_series(1, ${all}) n`);
  return { user, conversation };
}

const opened = async (user, conversation, options) => {
  const page = await visit(at(replica.url, talking(user, conversation)), { before: `(${noteMarks})(); (${waitsForOlder})();`, ...options });
  await page.locator('.divider.new').waitFor();
  return page;
};

const scroll = (page, pixels) => page.locator('.scroller').evaluate((it, by) => new Promise((done) => {
  it.scrollTop += by;
  requestAnimationFrame(() => requestAnimationFrame(done));
}), pixels);

const look = (page, state) => page.evaluate((value) => {
  Object.defineProperty(document, 'visibilityState', { value, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}, state);

test('who reads on has read what they have seen, who goes back loses none of it, and the list says what is left without being read', async () => {
  const { user, conversation } = await numbered(150);
  const page = await opened(user, conversation);
  await assertReadAsSeen(page, conversation, 150);
  let lists = 0;
  page.on('request', (request) => (lists += isListOf(request.url(), user)));
  let left;
  for (let times = 0; times < 3; times++) {
    await scroll(page, 900);
    left = await assertReadAsSeen(page, conversation, 150);
    await badge(page, left > 99 ? '99' : String(left)).waitFor();
    await eventually(() => page.title(), `(${left}) pgchat`);
  }
  await scroll(page, -1_800);
  await drawn(page);
  assert.equal(await unread(conversation), String(left));
  assert.equal(lists, 0);
  // A message that comes is one more; at the end there is none.
  await post(replica.url, LUKASZ, 'number 151', conversation);
  await eventually(() => page.title(), `(${left + 1}) pgchat`);
  await page.getByRole('button', { name: /^Jump to the latest/ }).click();
  await assertLast(page, 'number 151');
  await eventually(() => unread(conversation), '0');
  await eventually(() => page.title(), 'pgchat');
});

test('while somebody reads on, marks are half a second apart, and each is for more than the one before', async () => {
  const { user, conversation } = await numbered(290);
  const page = await opened(user, conversation);
  // A frame for each message, until there are some marks; of whoever is far ahead of them the next one is waited for, so that the end is never reached.
  await page.locator('.scroller').evaluate(async (it, patience) => {
    const { marks } = window;
    const until = performance.now() + patience;
    let [told, from] = [marks.length, it.scrollTop];
    while (marks.length < 5 && performance.now() < until) {
      if (it.scrollTop - from < 1_500) it.scrollTop += 40;
      await new Promise(requestAnimationFrame);
      if (marks.length > told) [told, from] = [marks.length, it.scrollTop];
    }
  }, PATIENCE_MS);
  await assertReadAsSeen(page, conversation, 290);
  const marks = await page.evaluate(() => window.marks);
  assert.ok(marks.length >= 5, JSON.stringify(marks));
  marks.slice(1).forEach(({ upTo, at: now }, before) => assert.ok(upTo > marks[before].upTo && now - marks[before].at > 490, JSON.stringify(marks)));
});

test('a message whose end is below the window has not been read', async () => {
  const { user, conversation } = await reader('one', Array.from({ length: 30 }, (_, line) => `line ${line}`).join('\n'), 'three');
  const page = await opened(user, conversation, { viewport: { width: 1280, height: 500 } });
  await eventually(() => unread(conversation), '2');
  await scroll(page, 100);
  await drawn(page);
  assert.equal(await unread(conversation), '2');
  await scroll(page, 2_000);
  await eventually(() => unread(conversation), '0');
});

test('in a tab that nobody sees nothing is read, and what was seen before is told at once', async () => {
  const { user, conversation } = await numbered(150);
  const page = await opened(user, conversation);
  await assertReadAsSeen(page, conversation, 150);
  await page.evaluate(() => {
    // The pause between two marks does not end by itself.
    window.timers = window.setTimeout;
    window.setTimeout = (then, ms, ...more) => (ms > 0 && ms <= 500 ? 0 : window.timers(then, ms, ...more));
  });
  await scroll(page, 300);
  await scroll(page, 300);
  await look(page, 'hidden');
  const left = await assertReadAsSeen(page, conversation, 150);
  await scroll(page, 600);
  await post(replica.url, LUKASZ, 'number 151', conversation);
  await eventually(() => page.title(), `(${left + 1}) pgchat`);
  await drawn(page);
  assert.equal(await unread(conversation), String(left + 1));
  await page.evaluate(() => (window.setTimeout = window.timers));
  await look(page, 'visible');
  await eventually(async () => Number(await unread(conversation)), 151 - (await lowestSeen(page)));
});

for (const [how, leave] of [
  ['signs out', (page) => page.getByRole('button', { name: 'Be somebody else' }).click()],
  ['closes the page', (page) => page.goto('about:blank')],
]) {
  test(`who ${how} while a mark is under way has read all the same what they saw since`, async () => {
    const { user, conversation } = await numbered(150);
    const page = await opened(user, conversation);
    await assertReadAsSeen(page, conversation, 150);
    // The next mark gets no answer, and so no other one follows it.
    const before = await page.evaluate(() => {
      window.unanswered = new Set();
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        const { type, requestId } = JSON.parse(text);
        if (type === 'mark_read' && !window.unanswered.size) {
          window.unanswered.add(requestId);
          const hears = this.onmessage;
          this.onmessage = (event) => window.unanswered.has(JSON.parse(event.data).data?.requestId) || hears(event);
        }
        return send.call(this, text);
      };
      return window.marks.length;
    });
    await scroll(page, 300);
    await eventually(() => page.evaluate(() => window.marks.length), before + 1);
    const left = await assertReadAsSeen(page, conversation, 150);
    await scroll(page, 600);
    const seen = await lowestSeen(page);
    assert.ok(150 - seen < left);
    assert.equal(await page.evaluate(() => window.marks.length), before + 1);
    assert.equal(await unread(conversation), String(left));
    await leave(page);
    await eventually(() => unread(conversation), String(150 - seen));
  });
}

test('who was led past what is unread, by a search, has read nothing of it until they have seen it, or come to the end', async () => {
  const { user, conversation } = await numbered(300, 20);
  await replicas.sql(`update messages set content = content || ' bittern' where conversation_id = '${conversation}' and seq in (15, 150)`);
  const found = async (which) => {
    const page = await visit(at(replica.url, user));
    await badge(page, '99').waitFor();
    await page.getByRole('searchbox').fill('bittern');
    await page.locator('.results .row', { hasText: `number ${which} bittern` }).click();
    await page.locator('.message.found').waitFor();
    return page;
  };
  const page = await found(150);
  await scroll(page, 400);
  await drawn(page);
  assert.equal(await unread(conversation), '280');
  await page.close();
  // From before it one comes to it.
  const other = await found(15);
  await scroll(other, 400);
  await assertReadAsSeen(other, conversation, 300);
  await other.getByRole('button', { name: /^Jump to the latest/ }).click();
  await assertAtEnd(other);
  await eventually(() => unread(conversation), '0');
});

test('what comes into sight because the window grows has been read', async () => {
  const { user, conversation } = await numbered(60);
  const page = await opened(user, conversation, { viewport: { width: 1280, height: 420 } });
  const left = await assertReadAsSeen(page, conversation, 60);
  await page.setViewportSize({ width: 1280, height: 800 });
  await eventually(() => unread(conversation), (now) => Number(now) < left);
  await assertReadAsSeen(page, conversation, 60);
  await bubble(page, 'number 1').waitFor();
});
