// Very long messages: the thread shows the first of them, and all of it to who asks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertFocus, assertLast, at, box, CONVERSATION, drawn, eventually, LUKASZ, PHONE, post, replica, replicas, say, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** 64 KiB, and no two parts of it alike. */
const LONG = Array.from({ length: 12_000 }, (_, n) => `w${n}`).join(' ').slice(0, 65_000).trim();

async function shown(options) {
  const page = await visit(at(replica.url, talking(AMELIE)), options);
  await page.locator('.message').first().waitFor();
  return page;
}

const last = (page) => page.locator('.message').last();
const button = (message, name = 'Show all') => message.getByRole('button', { name });
const text = (message) => message.locator('.content').textContent();
const top = async (locator) => (await box(locator)).y;

for (const [device, options] of [['a desktop', {}], ['a phone', PHONE]]) {
  test(`of a message of 64 KiB the first part is shown, and all of it by the keyboard, on ${device}`, async () => {
    const page = await shown(options);
    await post(replica.url, LUKASZ, LONG);
    const message = last(page);
    await button(message).waitFor();
    const { height } = await box(message);
    assert.ok(height < page.viewportSize().height * 1.5, `${height} px`);
    const [fold, time] = await Promise.all(['.unfold', 'time'].map((part) => box(message.locator(part))));
    assert.ok(fold.x + fold.width < time.x && fold.y < time.y + time.height && time.y < fold.y + fold.height, 'the button and the time stand in one line');
    const first = await text(message);
    assert.ok(first.length > 700 && LONG.startsWith(`${first} `), 'whole words of the beginning');
    assert.ok(await page.getByRole('button', { name: 'Jump to the latest messages' }).isHidden());
    assert.equal(await button(message).getAttribute('aria-expanded'), 'false');

    const before = await top(message);
    await button(message).focus();
    await page.keyboard.press('Enter');
    const less = page.getByRole('button', { name: 'Show less' });
    await less.waitFor();
    assert.equal(await less.getAttribute('aria-expanded'), 'true');
    await assertFocus(less);
    assert.equal(await text(message), LONG);
    assert.ok(Math.abs((await top(message)) - before) <= 1, `what one reads moved: ${await top(message)}, ${before}`);
    // What is copied is all of it.
    await message.locator('.content').evaluate((it) => getSelection().selectAllChildren(it));
    assert.equal(await page.evaluate(() => String(getSelection())), LONG);

    // What comes meanwhile takes nobody away, and does not fold it.
    const open = page.locator('.message', { has: less });
    const scroll = async (by) => {
      await page.locator('.scroller').evaluate((it, px) => (it.scrollTop += px), by);
      await drawn(page);
    };
    await scroll(1000);
    const reading = await top(open);
    await post(replica.url, LUKASZ, 'Next');
    await page.locator('.jump .badge').getByText('1', { exact: true }).waitFor();
    assert.ok(Math.abs((await top(open)) - reading) <= 1, `what one reads moved: ${await top(open)}, ${reading}`);

    // Folded in the middle of it, the button stays under the finger.
    await scroll(2000);
    const under = await top(less);
    assert.ok(under > 0 && under < page.viewportSize().height, `it is in sight: ${under}`);
    await page.keyboard.press('Space');
    const more = page.locator('.message', { hasText: 'w1 w2' }).getByRole('button', { name: 'Show all' });
    await more.last().waitFor();
    assert.ok((await top(more.last())) < page.viewportSize().height && (await top(more.last())) > 0);
  });
}

test('a message of many lines is folded, too; one that is only a little longer than what is shown is not', async () => {
  const page = await shown();
  const lines = (count) => Array.from({ length: count }, (_, n) => `line ${n + 1}`).join('\n');
  await post(replica.url, LUKASZ, lines(2000));
  await button(last(page)).waitFor();
  assert.equal(await text(last(page)), lines(24));
  for (const short of [lines(36), 'word '.repeat(310).trim()]) {
    await post(replica.url, LUKASZ, short);
    await assertLast(page, short);
    assert.equal(await button(last(page)).count(), 0);
  }
});

test('the fold cuts no address and no character in two, and an edit or a deletion is seen', async () => {
  const page = await shown();
  const address = `https://example.com/${'a'.repeat(100)}`;
  const around = `${'x'.repeat(950)} ${address} ${'y '.repeat(1000)}`.trim();
  const { id } = await post(replica.url, LUKASZ, around);
  await button(last(page)).waitFor();
  assert.equal(await text(last(page)), 'x'.repeat(950));
  assert.equal(await last(page).getByRole('link').count(), 0);
  await button(last(page)).click();
  assert.equal(await last(page).getByRole('link').getAttribute('href'), address);

  await replicas.sql(`update messages set content = 'short now' where id = '${id}'`);
  await assertLast(page, 'short now');
  assert.equal(await last(page).getByRole('button').count(), 0);

  await post(replica.url, LUKASZ, `a${'😀'.repeat(2000)}`);
  await button(last(page)).waitFor();
  assert.match(await text(last(page)), /^a(😀)+$/u);
  await post(replica.url, LUKASZ, `https://example.com/${'b'.repeat(5000)}`);
  await eventually(() => text(last(page)), (shown) => shown.startsWith('https'));
  assert.equal(await last(page).getByRole('link').count(), 0);
  await button(last(page)).click();
  assert.equal((await last(page).getByRole('link').getAttribute('href')).length, 5020);

  // One's own, from the moment in which it leaves.
  await say(page, LONG);
  await page.locator('.messages > .mine:last-child').getByTitle(/^(sent|read)$/).waitFor();
  assert.ok((await text(last(page))).length < 2000);
  await button(last(page)).click();
  assert.equal(await text(last(page)), LONG);
  await replicas.sql(`delete from messages where conversation_id = '${CONVERSATION}' and length(content) > 2000`);
  await last(page).getByText('This message was deleted').waitFor();
  assert.equal(await button(last(page), /Show/).count(), 0);
});

for (const [device, options] of [['a desktop', {}], ['a phone', PHONE]]) {
  test(`what a search finds beyond the fold is in sight and marked, on ${device}`, async () => {
    const page = await shown(options);
    const other = `${LONG.slice(0, 30_000)} see https://example.com/a-bird and this heron stands here ${LONG.slice(30_000, 55_000)}`;
    await post(replica.url, LUKASZ, other);
    await post(replica.url, AMELIE, `A heron, too, on ${device}`);
    await page.locator('.message', { hasText: `A heron, too, on ${device}` }).waitFor();
    const search = async (words, excerpt) => {
      if (device === 'a phone') await page.getByRole('button', { name: 'Back to the conversations' }).click();
      await page.getByRole('searchbox').fill(words);
      await page.locator('.results .row', { hasText: excerpt }).first().click();
    };
    const marked = () => page.evaluate(() => {
      const [range] = CSS.highlights.get('found');
      const [inner, outer] = [range, document.querySelector('.scroller')].map((it) => it.getBoundingClientRect());
      return { text: String(range), before: String(range.startContainer.data ?? '').slice(0, range.startOffset).slice(-10), seen: inner.height > 0 && inner.top >= outer.top && inner.bottom <= outer.bottom };
    });
    const all = () => page.evaluate(() => CSS.highlights.get('found').size);
    await search('"heron stands"', 'heron stands');
    await page.locator('.message.found').getByRole('button', { name: 'Show less' }).waitFor();
    await page.waitForFunction(() => CSS.highlights.get('found').size === 1);
    assert.deepEqual(await marked(), { text: 'heron', before: ' and this ', seen: true });
    assert.equal(await text(page.locator('.message.found')), other);

    // What stands in the part that is shown unfolds nothing.
    await search('w17', 'w17');
    await page.locator('.message.found').getByRole('button', { name: 'Show all' }).waitFor();
    await page.waitForFunction(() => [...CSS.highlights.get('found')].some((range) => String(range) === 'w17'));
    assert.equal((await marked()).seen, true);
    assert.equal(await all(), 1, 'the former mark is gone');
    await page.getByRole('textbox', { name: 'Message' }).fill('Seen');
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.waitForFunction(() => !CSS.highlights.get('found').size);
  });
}
