// The page in the hand: what a finger hits, the keyboard that covers a part of the page, the notch, and that nothing is made larger or
// drawn away by itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertAtEnd, at, box, CONVERSATION, drawn, eventually, LUKASZ, PHONE, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** What can be pressed and is lower or narrower than a finger hits: 44 px. Links in what somebody has written are as high as its lines. */
const tooSmall = (page) => page.evaluate(() => [...document.querySelectorAll('button, a[href], input, textarea, summary')]
  .filter((it) => it.checkVisibility() && !it.closest('.content'))
  .map((it) => [it, it.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 43.9 || height < 43.9)
  .map(([it, { width, height }]) => `${it.className || it.tagName} ${it.ariaLabel ?? it.textContent}: ${width} × ${height}`));

/** Fields for which a phone would make the page larger. */
const smallText = (page) => page.evaluate(() => [...document.querySelectorAll('input, textarea')].filter((it) => parseFloat(getComputedStyle(it).fontSize) < 16).map((it) => it.ariaLabel));

test('all that is pressed is 44 px high and wide, and no field makes a phone zoom', async () => {
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${CONVERSATION}', '${AMELIE}', repeat('a line' || chr(10), 60))`);
  const page = await visit(replica.url, PHONE);
  const check = async (what) => assert.deepEqual([await tooSmall(page), await smallText(page)], [[], []], what);
  await page.locator('.people .row').first().waitFor();
  await check('choosing a user');
  await page.goto(at(replica.url, AMELIE));
  await page.locator('.list .row').first().waitFor();
  await check('the list');
  await page.getByRole('searchbox').fill('a');
  await page.locator('.results .row').first().waitFor();
  await check('a search');
  await page.getByRole('button', { name: 'Close the search' }).tap();
  await page.locator(`[data-conversation="${CONVERSATION}"] button`).tap();
  await page.locator('.message .unfold:not([hidden])').last().waitFor();
  for (const name of ['A message from SQL', 'Frames of the socket']) await page.getByRole('button', { name }).tap();
  await page.locator('.frames li').first().waitFor();
  await check('a conversation, with its tools');
  await page.getByRole('textbox', { name: 'Message' }).press('ArrowUp');
  await page.getByText('Editing your message').waitFor();
  await check('an edit');
  await page.goto('about:blank');
  await page.goto(at(replica.url, talking(AMELIE), talking(LUKASZ)));
  await page.locator('.pane:nth-child(2) .message').first().waitFor();
  await check('two users');
});

test('with a mouse all of it may be smaller', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  await page.locator('.message').first().waitFor();
  assert.notDeepEqual(await tooSmall(page), []);
});

/** For `before`: a phone whose keyboard covers the page: `window.keyboard(height, {scale, offsetTop})`. */
const covering = () => {
  const seen = Object.assign(new EventTarget(), { width: 360, height: 740, offsetTop: 0, scale: 1 });
  Object.defineProperty(window, 'visualViewport', { value: seen });
  window.keyboard = (height, more) => {
    Object.assign(seen, { height: 740 - height, offsetTop: 0, scale: 1 }, more);
    seen.dispatchEvent(new Event('resize'));
  };
};

const keyboard = async (page, ...how) => {
  await page.evaluate((all) => window.keyboard(...all), how);
  await drawn(page);
};

test('where the keyboard covers a part of the page, what is left has the whole of it, and who is at the end stays there', async () => {
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read) select '${CONVERSATION}', '${LUKASZ}', 'line ' || n, true from generate_series(1, 40) n`);
  const page = await visit(at(replica.url, talking(AMELIE)), { ...PHONE, before: covering });
  await page.locator('.message').last().waitFor();
  const composer = page.locator('.composer');
  const end = async (locator) => {
    const { y, height } = await box(locator);
    return y + height;
  };
  assert.equal(await end(composer), 740);
  await keyboard(page, 320);
  assert.equal(await end(composer), 420);
  await assertAtEnd(page);
  assert.equal((await box(page.locator('.thread-head'))).y, 0);
  // The browser has moved the page up, so that the field is in sight.
  await keyboard(page, 320, { offsetTop: 120 });
  assert.deepEqual([(await box(page.locator('.thread-head'))).y, await end(composer)], [120, 540]);
  await assertAtEnd(page);
  await keyboard(page, 0);
  assert.deepEqual([(await box(page.locator('.thread-head'))).y, await end(composer)], [0, 740]);
  await assertAtEnd(page);
});

test('a page that somebody makes larger with two fingers stays as it is, and so does one that a bar of the browser’s covers', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { ...PHONE, before: covering });
  await page.locator('.message').last().waitFor();
  for (const how of [[370, { scale: 2, offsetTop: 100 }], [60, {}]]) {
    await keyboard(page, ...how);
    const { y, height } = await box(page.locator('.composer'));
    assert.equal(y + height, 740);
  }
});

test('a question stands above the keyboard', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { ...PHONE, before: covering });
  await page.getByRole('button', { name: /^Delete message/ }).last().focus();
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await keyboard(page, 400, { offsetTop: 50 });
  const { y, height } = await box(dialog);
  assert.ok(y >= 50 && y + height <= 390, `${y} + ${height}`);
});

test('the notch, the corners and the bar at the edge of a phone cover nothing', async () => {
  const insets = { top: 47, left: 44, right: 30, bottom: 34 };
  const { width, height } = PHONE.viewport;
  const page = await visit(at(replica.url, AMELIE), PHONE);
  assert.match(await page.locator('meta[name="viewport"]').getAttribute('content'), /viewport-fit=cover/);
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setSafeAreaInsetsOverride', { insets });
  /** What can be pressed or read and is not in the rest of the window. */
  const covered = (below) => page.evaluate(([room, downTo]) => [...document.querySelectorAll(':is(button, a, input, textarea, h2, strong, time, .content)')]
    .filter((it) => it.checkVisibility({ opacityProperty: true }) && !it.closest('.unseen') && !it.closest(downTo))
    .filter((it) => {
      const { left, right, top, bottom } = it.getBoundingClientRect();
      return left < room.left || right > room.right + 0.5 || top < room.top || bottom > room.bottom + 0.5;
    })
    .map((it) => it.ariaLabel ?? it.textContent), [{ left: insets.left, right: width - insets.right, top: insets.top, bottom: height - insets.bottom }, below]);
  await page.locator('.list .row').first().waitFor();
  await eventually(() => box(page.locator('.top')).then((bar) => bar.height), (bar) => bar > 52 + 46);
  assert.deepEqual(await covered('.list-body'), []);
  // The last row can be scrolled above the bar.
  await page.locator('.list-body').evaluate((it) => (it.scrollTop = it.scrollHeight));
  const last = await box(page.locator('.list .row').last());
  assert.ok(last.y + last.height <= height - insets.bottom, `${last.y} + ${last.height}`);
  await page.locator(`[data-conversation="${CONVERSATION}"] button`).tap();
  await page.locator('.message').last().waitFor();
  assert.deepEqual(await covered('.scroller'), []);
});

test('on a phone a conversation has the whole of the window, and two users have the bar above them', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), PHONE);
  await page.locator('.message').last().waitFor();
  const bar = page.getByRole('banner').filter({ has: page.getByRole('link', { name: 'pgchat' }) });
  assert.equal((await box(page.locator('.thread-head'))).y, 0);
  await page.getByRole('button', { name: 'Back to the conversations' }).tap();
  await bar.waitFor();
  await page.goto('about:blank');
  await page.goto(at(replica.url, talking(AMELIE), talking(LUKASZ)));
  await page.locator('.pane:nth-child(2) .message').first().waitFor();
  await bar.waitFor();
});

test('a phone reloads nothing because somebody pulls the page down, and keeps no look of a mouse', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), PHONE);
  await page.locator('.message').last().waitFor();
  const style = (selector, name) => page.locator(selector).first().evaluate((it, what) => getComputedStyle(it)[what], name);
  assert.deepEqual([await style('html', 'overscrollBehaviorY'), await style('.scroller', 'overscrollBehaviorY')], ['none', 'contain']);
  await page.getByRole('button', { name: 'Back to the conversations' }).tap();
  await page.locator('.list .row').first().waitFor();
  const grounds = await page.locator('.list .row').evaluateAll((rows) => rows.map((row) => getComputedStyle(row).backgroundColor));
  assert.deepEqual(new Set(grounds), new Set(['rgba(0, 0, 0, 0)']));
});
