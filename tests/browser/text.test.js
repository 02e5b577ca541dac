// What people write, as it is shown: addresses, from right to left, very long.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { module } from './module.js';
import { AMELIE, assertFocus, assertLast, at, box, bubble, CONVERSATION, drawn, eventually, LUKASZ, PHONE, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

async function shown(options) {
  const page = await visit(at(replica.url, talking(AMELIE)), options);
  await page.locator('.message').first().waitFor();
  return page;
}

test('a web address in a message is a link to it, and nothing else is', async () => {
  const page = await shown();
  for (const [text, addresses] of [
    ['See https://example.com/a_(b)?x=1&y=2. Or (http://example.com/c), or "HTTPS://example.com/d"!', ['https://example.com/a_(b)?x=1&y=2', 'http://example.com/c', 'HTTPS://example.com/d']],
    ['価格はhttps://example.com/価格。よろしく', ['https://example.com/価格']],
    ['https://example.com/\u202egnp.exe', ['https://example.com/']],
    ['https:// and http://. and javascript:alert(1)//https and ftp://example.com', []],
    ['https://[x', []],
    [`https://example.com/${'!'.repeat(60_000)}a ${'https://('.repeat(400)}`, [`https://example.com/${'!'.repeat(60_000)}a`]],
  ]) {
    const { id } = await post(replica.url, LUKASZ, text);
    const message = page.locator('.message').last();
    if (text.length > 10_000) await message.getByRole('button', { name: 'Show all' }).click();
    await assertLast(page, text);
    const links = await message.locator('a').evaluateAll((all) => all.map((a) => [a.textContent, a.getAttribute('href'), a.target, a.rel]));
    assert.deepEqual(links, addresses.map((address) => [address, address, '_blank', 'noopener noreferrer']));
    await replicas.sql(`delete from messages where id = '${id}'`);
    await message.getByText('This message was deleted').waitFor();
    assert.equal(await message.locator('a').count(), 0);
  }
  await post(replica.url, LUKASZ, `The routes: ${replica.url}/docs/`);
  const opened = page.waitForEvent('popup');
  await page.getByRole('link', { name: '/docs/' }).click();
  const popup = await opened;
  await popup.locator('.information-container').first().waitFor();
  assert.equal(await popup.evaluate(() => window.opener), null);
});

test('a link that has the focus keeps it when the message has been read', async () => {
  const page = await shown();
  const text = 'Read https://example.com/offer, please';
  await post(replica.url, AMELIE, text);
  const link = page.getByRole('link', { name: 'https://example.com/offer' });
  await link.focus();
  await visit(at(replica.url, talking(LUKASZ)));
  await page.locator('.message', { has: link }).getByTitle('read', { exact: true }).waitFor();
  await assertFocus(link);
});

for (const [device, options] of [['a desktop', {}], ['a phone', PHONE]]) {
  test(`what is cut is the end, of a name and of a message that are written from right to left too, on ${device}`, async () => {
    const long = 'שלום, האם אפשר לראות את הדירה ביום חמישי אחרי חמש או אולי ביום שישי בבוקר?';
    const name = 'אביגיל-מרים רוזנצווייג-בן יהודה מירושלים';
    const [user, id] = (await replicas.sql(`with other as (insert into users (first_name, last_name, email) values ('${name}', '${name}', gen_random_uuid() || '@example.com') returning id),
      conversation as (insert into conversations (participant1_id, participant2_id) select '${AMELIE}', id from other returning id, participant2_id)
      select participant2_id, id from conversation`)).split('|');
    const page = await visit(at(replica.url, AMELIE), options);
    const row = page.locator(`[data-conversation="${id}"]`);
    await row.waitFor();
    /** Whether the first letter of `text` is in sight within the element. */
    const begins = (locator, text) => locator.evaluate((element, wanted) => {
      const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      while (walker.nextNode() && !walker.currentNode.data.includes(wanted[0]));
      const range = document.createRange();
      const start = walker.currentNode.data.indexOf(wanted[0]);
      range.setStart(walker.currentNode, start);
      range.setEnd(walker.currentNode, start + 1);
      const [letter, box] = [range.getBoundingClientRect(), element.getBoundingClientRect()];
      return letter.width > 0 && letter.left >= box.left - 1 && letter.right <= box.right + 1;
    }, text);
    for (const sender of [user, AMELIE]) {
      await post(replica.url, sender, long, id);
      await eventually(() => row.locator('.who, .excerpt').allTextContents(), sender === AMELIE ? ['You: ', long] : [long]);
      assert.ok(await begins(row.locator('.excerpt'), long), 'the message in the list');
      assert.ok(await begins(row.locator('strong'), name), 'the name in the list');
    }
    await row.getByRole('button').click();
    await bubble(page, long).first().waitFor();
    assert.ok(await begins(page.getByRole('heading', { level: 2 }), name), 'the name above the messages');
    const [face, title] = await Promise.all(['.avatar', 'h2'].map((part) => box(page.locator('.thread-head').locator(part))));
    assert.ok(title.x - face.x - face.width < 24, 'it stands beside the face');
  });
}

test('marks that are stacked on a letter stay within their message', async () => {
  const page = await shown();
  await post(replica.url, LUKASZ, `Marks: e${'\u0316'.repeat(60)}`);
  await post(replica.url, AMELIE, 'Beside what is free below them');
  await bubble(page, 'Beside what is free below them').getByTitle(/^(sent|read)$/).waitFor();
  await drawn(page);
  const { x, y, height } = await box(bubble(page, 'Beside what is free below them'));
  const below = () => page.screenshot({ clip: { x, y, width: 200, height } });
  const marks = page.locator('.message .content', { hasText: 'Marks: ' });
  const painted = async () => {
    const without = await marks.evaluate((it) => (it.style.visibility = 'hidden')).then(below);
    return !without.equals(await marks.evaluate((it) => (it.style.visibility = '')).then(below));
  };
  assert.equal(await painted(), false, 'they are painted below it');
  // With these fonts they would be.
  await marks.evaluate((it) => (it.closest('.bubble').style.overflow = 'visible'));
  assert.equal(await painted(), true, 'no font stacks them');
});

test('of a very long message the list shows the beginning, and that is read aloud; the thread has all of it', async () => {
  const page = await shown();
  await page.getByRole('button', { name: 'Frames of the socket' }).click();
  const text = `Now: ${'blah '.repeat(12_000)}`.trim();
  await post(replica.url, LUKASZ, text);
  await page.locator('.message').last().getByRole('button', { name: 'Show all' }).click();
  await assertLast(page, text);
  await page.locator('.frames .gist', { hasText: 'Now: blah' }).first().waitFor();
  for (const place of ['.list .excerpt', '.frames .gist', '[aria-live="polite"]']) {
    const lengths = await page.locator(place, { hasText: 'Now: blah' }).evaluateAll((all) => all.map(({ textContent }) => textContent.length));
    assert.ok(lengths.length && lengths.every((length) => length < 400), `${place}: ${lengths}`);
  }
});

test('the beginning of a message ends between characters, also where these are two units long', async () => {
  const page = await shown();
  const begins = async (text) => {
    await post(replica.url, LUKASZ, text);
    await page.locator(`[data-conversation="${CONVERSATION}"] .excerpt`, { hasText: text.slice(0, 4) }).waitFor();
    return page.locator(`[data-conversation="${CONVERSATION}"] .excerpt`).textContent();
  };
  for (const first of ['odd', 'even']) assert.match(await begins(`${first}${'😀'.repeat(200)}`), /^(odd|even)(😀){140,}$/u);
});

test('what is longer than a message can be is not sent, and stays where it is written', async () => {
  const page = await shown();
  const field = page.getByRole('textbox', { name: 'Message' });
  const long = 'ü'.repeat(32_769);
  await field.fill(long);
  await page.locator('.composer').getByText('This is longer than a message can be (65,536 bytes).').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Send', exact: true }).isDisabled());
  await field.press('Enter');
  assert.equal(await field.inputValue(), long);
  // What is around it is not sent.
  await field.fill(` ${long.slice(1)}\n`);
  await page.locator('.composer .problem').waitFor({ state: 'hidden' });
  await field.press('Enter');
  await page.locator('.message.mine', { hasText: long.slice(1, 200) }).last().getByTitle(/^(sent|read)$/).waitFor();
});

test('on a phone the buttons of one’s message come when it is tapped, and go with the next tap', async () => {
  const page = await shown(PHONE);
  await post(replica.url, AMELIE, 'Tap me');
  const message = bubble(page, 'Tap me');
  const opacity = () => message.locator('.message-tools').evaluate((it) => getComputedStyle(it).opacity);
  await message.waitFor();
  assert.equal(await opacity(), '0');
  await message.locator('.content').tap();
  await eventually(opacity, '1');
  await message.locator('.content').tap();
  await eventually(opacity, '0');
});

test('the page, SQL and so the service know the same characters that nobody sees', async () => {
  const { isInvisible } = await module('dom.js');
  const found = await replicas.sql('select string_agg(to_hex(code), \' \' order by code) from generate_series(1, 1114111) code where code not between 55296 and 57343 and chat_is_invisible(chr(code))');
  const known = Array.from({ length: 0x10ffff }, (_, at) => at + 1).filter((code) => (code < 0xd800 || code > 0xdfff) && isInvisible(String.fromCodePoint(code)));
  assert.equal(known.map((code) => code.toString(16)).join(' '), found);
  assert.ok(isInvisible(''));
});

test('what nobody would see is not sent, and a joiner in what can be seen is', async () => {
  const page = await shown();
  const field = page.getByRole('textbox', { name: 'Message' });
  const send = page.getByRole('button', { name: 'Send', exact: true });
  for (const text of [' \n', '\u200b', '\u2800 \u3164\ufeff']) {
    await field.fill(text);
    assert.ok(await send.isDisabled());
    await field.press('Enter');
    assert.equal(await field.inputValue(), text);
  }
  const family = '👩\u200d👩\u200d👧';
  await field.fill(family);
  await send.click();
  await assertLast(page, family);
});

test('who has no name, or blanks for one, is somebody all the same', async () => {
  for (const name of ['', '   ', '\u200b', ' \u3164\u2800']) {
    const id = await replicas.sql(`with other as (insert into users (first_name, last_name, email) values ('${name}', '', gen_random_uuid() || '@example.com') returning id)
      insert into conversations (participant1_id, participant2_id) select '${AMELIE}', id from other returning id`);
    const page = await visit(at(replica.url, talking(AMELIE, id)));
    await page.getByRole('heading', { name: 'Somebody without a name' }).waitFor();
    const row = page.locator(`[data-conversation="${id}"]`);
    assert.deepEqual([await row.locator('strong').textContent(), await row.locator('.avatar').textContent()], ['Somebody without a name', '?']);
  }
});

test('on a phone Enter breaks the line, and Send sends and leaves the keyboard where it is', async () => {
  const page = await shown(PHONE);
  const field = page.getByRole('textbox', { name: 'Message' });
  await field.tap();
  await page.keyboard.type('one');
  await page.keyboard.press('Enter');
  await page.keyboard.type('two');
  await page.getByRole('button', { name: 'Send' }).tap();
  await assertLast(page, 'one\ntwo');
  await assertFocus(field);
  assert.equal(await field.inputValue(), '');
  // With a keyboard of its own there is Ctrl.
  await page.keyboard.type('three');
  await page.keyboard.press('Control+Enter');
  await bubble(page, 'three').waitFor();
});
