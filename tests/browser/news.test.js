// What is new in the conversation that one looks at: the line above it, and what a screen reader is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertReadAsSeen, badge, heard, listen, noteMarks, reader, unread, waitsForOlder } from './reader.js';
import { AMELIE, assertAtEnd, assertLast, at, box, bubble, drawn, eventually, held, lateFrames, LUKASZ, PHONE, post, replica, replicas, say, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

test('above the first unread message there is a line, and what one says oneself ends that it is new', async () => {
  const { user, conversation } = await reader('one', 'two', 'three', 'four');
  await replicas.sql(`update messages set is_read = true where conversation_id = '${conversation}' and content in ('one', 'two')`);
  const page = await visit(at(replica.url, user));
  await badge(page, 2).waitFor();
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  await page.locator('.divider.new + .message', { hasText: 'three' }).waitFor();
  await eventually(() => unread(conversation), '0');
  assert.equal(await page.locator('.divider.new').count(), 1);
  await post(replica.url, user, 'From my telephone', conversation);
  await bubble(page, 'From my telephone').waitFor();
  await page.locator('.divider.new').waitFor({ state: 'detached' });
});

test('what one says in a conversation ends that anything above is new there, also where the answer is faster than the event', async () => {
  const { user, conversation } = await reader('one');
  const page = await visit(at(replica.url, user), { before: lateFrames });
  await badge(page, 1).waitFor();
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  const line = page.locator('.divider.new');
  await line.waitFor();
  await say(page, 'rather late');
  await eventually(() => page.evaluate(() => window.late.length), 2);
  await page.evaluate(() => window.late.find(({ type }) => type === 'ack')());
  await bubble(page, 'rather late').getByTitle('sent').waitFor();
  await page.evaluate(() => window.late.find(({ type }) => type === 'chat_message')());
  await line.waitFor({ state: 'detached' });
});

/** Somebody with so many messages of Łukasz, `count` of them unread. */
async function unreadOf(all, count) {
  const { user, conversation } = await reader();
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read)
    select '${conversation}', case when n % 5 = 0 and n <= ${all - count} then '${user}'::uuid else '${LUKASZ}' end, 'number ' || n, n <= ${all - count} from generate_series(1, ${all}) n`);
  return { user, conversation };
}

/** They open that conversation from the list. `options`: of `visit`. */
async function openUnread(all, count, { before = () => {}, ...options } = {}) {
  const { user, conversation } = await unreadOf(all, count);
  const page = await visit(at(replica.url, user), { ...options, before: `(${waitsForOlder})(); (${before})();` });
  let pages = 0;
  page.on('request', (request) => (pages += request.url().includes(`/${conversation}/messages`)));
  const open = () => page.locator(`[data-conversation="${conversation}"] button`).click();
  await badge(page).waitFor();
  await open();
  return { user, conversation, page, open, pages: () => pages };
}

const separator = (page) => page.getByRole('separator', { name: 'New messages' });
const firstNew = (page, text) => page.locator('.divider.new + .message', { has: page.getByText(text, { exact: true }) }).waitFor();

/** The line is in sight, at the top of the messages. */
async function assertAtLine(page) {
  const [line, { y }] = await Promise.all([separator(page), page.locator('.scroller')].map(box));
  assert.ok(line.y >= y && line.y < y + 80, `the line is at ${line.y}, the messages begin at ${y}`);
}

/** Scrolls up until `text` stands below the line. */
const scrollToLine = (page, text) => eventually(() => page.locator('.scroller').evaluate((it) => {
  it.scrollTop -= 500;
  return document.querySelector('.divider.new + .message .content')?.textContent;
}), text);

for (const [where, options] of [['a desktop', {}], ['a phone', PHONE]]) {
  test(`where more is unread than fits, the conversation opens at the first of it, what is seen is read, and at the end all of it, on ${where}`, async () => {
    const { conversation, page, open } = await openUnread(200, 150, options);
    await firstNew(page, 'number 51');
    await assertAtLine(page);
    const left = await assertReadAsSeen(page, conversation, 200);
    assert.ok(left > 100 && left < 150, `${left} are left`);
    await assertAtLine(page);
    await page.getByRole('button', { name: 'Jump to the latest messages', exact: true }).click();
    await assertLast(page, 'number 200');
    await assertAtEnd(page);
    await eventually(() => unread(conversation), '0');
    await badge(page).waitFor({ state: 'detached' });
    // Of what comes while one is there nothing is new.
    await post(replica.url, LUKASZ, 'number 201', conversation);
    await assertLast(page, 'number 201');
    await scrollToLine(page, 'number 51');
    assert.equal(await separator(page).count(), 1);
    // Whoever comes back has seen it.
    await page.getByRole('textbox', { name: 'Message' }).press('Escape');
    await open();
    await assertLast(page, 'number 201');
    await assertAtEnd(page);
    assert.equal(await separator(page).count(), 0);
  });
}

test('what is unread and fits is read at the end', async () => {
  const { conversation, page } = await openUnread(200, 3);
  await firstNew(page, 'number 198');
  await assertAtEnd(page);
  await eventually(() => unread(conversation), '0');
});

test('where a day begins with the first unread message, the conversation opens at the day', async () => {
  const { user, conversation } = await reader();
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read, created_at)
    select '${conversation}', '${LUKASZ}', 'number ' || n, n <= 60, now() - interval '1 day' * case when n <= 60 then 2 else 0 end from generate_series(1, 120) n`);
  const page = await visit(at(replica.url, talking(user, conversation)));
  await firstNew(page, 'number 61');
  const [day, { y }] = await Promise.all([page.locator('.divider.day', { hasText: 'Today' }), page.locator('.scroller')].map(box));
  assert.ok(day.y >= y && day.y < y + 40, `the day is at ${day.y}, the messages begin at ${y}`);
});

test('the first unread message is looked for in the pages before the last one, too', async () => {
  const { conversation, page, pages } = await openUnread(600, 250);
  await firstNew(page, 'number 351');
  await assertAtLine(page);
  assert.equal(pages(), 3);
  await assertReadAsSeen(page, conversation, 600);
});

test('who opens the conversation once more while the first unread message is looked for is led to it', async () => {
  const { user, conversation } = await unreadOf(600, 250);
  const page = await visit(at(replica.url, user), { before: waitsForOlder });
  const { asked, release } = await held(page, (url) => url.pathname.includes(conversation) && url.searchParams.has('before'));
  const row = page.locator(`[data-conversation="${conversation}"] button`);
  await row.click();
  await asked();
  await row.click();
  await drawn(page);
  release();
  await firstNew(page, 'number 351');
  await assertAtLine(page);
  await assertReadAsSeen(page, conversation, 600);
});

/** Scrolls down until `text` is the last message in the document. */
const scrollDownTo = (page, text) => eventually(() => page.locator('.scroller').evaluate((it) => {
  it.scrollTop += 2_000;
  return [...document.querySelectorAll('.message .content')].at(-1)?.textContent;
}), text);

for (const [where, options] of [['a desktop', {}], ['a phone', PHONE]]) {
  test(`where the first unread message is very far up, the conversation opens there, and all of it is read once one has come to its end, on ${where}`, async () => {
    const { conversation, page, open, pages } = await openUnread(700, 650, { ...options, before: noteMarks });
    await firstNew(page, 'number 51');
    await assertAtLine(page);
    await drawn(page);
    await assertAtLine(page);
    // Who comes back before that is led to what is below what was seen.
    const left = await assertReadAsSeen(page, conversation, 700);
    assert.ok(left > 600 && left < 650, `${left} are left`);
    await page.getByRole('textbox', { name: 'Message' }).press('Escape');
    await open();
    await firstNew(page, `number ${700 - left + 1}`);
    await assertAtLine(page);
    await badge(page, '99').waitFor({ state: 'attached' });
    await scrollDownTo(page, 'number 700');
    await eventually(() => unread(conversation), '0');
    await badge(page).waitFor({ state: 'detached' });
    const marks = (await page.evaluate(() => window.marks)).map(({ upTo }) => upTo);
    assert.equal(marks.at(-1), 700);
    assert.deepEqual(marks, [...new Set(marks)].toSorted((a, b) => a - b));
    // Who comes back then begins at the end. So many are not kept: older ones are read again.
    await page.getByRole('textbox', { name: 'Message' }).press('Escape');
    await open();
    await assertLast(page, 'number 700');
    await assertAtEnd(page);
    const before = pages();
    await eventually(() => page.locator('.scroller').evaluate((it) => (it.scrollTop -= 500)).then(pages), (asked) => asked > before);
  });
}

test('in a high window, in which both ends of what is loaded are near, one comes to the end as well', async () => {
  const { conversation, page } = await openUnread(700, 700, { viewport: { width: 1920, height: 1080 } });
  await page.locator('.message', { has: page.getByText('number 1', { exact: true }) }).waitFor();
  await scrollDownTo(page, 'number 700');
  // It is drawn there before it is in sight.
  await eventually(() => page.locator('.scroller').evaluate((it) => (it.scrollTop += 2_000)).then(() => unread(conversation)), '0');
});

test('who goes to the latest messages from the first unread one, very far up, has read them, and finds the line again', async () => {
  const { conversation, page } = await openUnread(700, 650);
  await firstNew(page, 'number 51');
  await page.getByRole('button', { name: 'Jump to the latest messages', exact: true }).click();
  await assertLast(page, 'number 700');
  await assertAtEnd(page);
  await eventually(() => unread(conversation), '0');
  await scrollToLine(page, 'number 51');
  assert.equal(await separator(page).count(), 1);
});

test('what comes while one is very far up is below the same line, and counted beside the way to the end', async () => {
  const { conversation, page } = await openUnread(700, 650);
  await firstNew(page, 'number 51');
  await post(replica.url, LUKASZ, 'number 701', conversation);
  const jump = page.getByRole('button', { name: 'Jump to the latest messages: 1 new', exact: true });
  await jump.waitFor();
  await drawn(page);
  await firstNew(page, 'number 51');
  await assertAtLine(page);
  await jump.click();
  await assertLast(page, 'number 701');
  await assertAtEnd(page);
  await eventually(() => unread(conversation), '0');
});

test('where what was unread very far up has been read meanwhile, the conversation opens at what is', async () => {
  const { user, conversation } = await unreadOf(700, 650);
  const page = await visit(at(replica.url, user), { before: waitsForOlder });
  await badge(page, '99').waitFor();
  const { asked, release } = await held(page, (url) => url.pathname.includes(conversation) && url.searchParams.get('before') === '101');
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  await asked();
  await replicas.sql(`update messages set is_read = true where conversation_id = '${conversation}' and seq <= 690`);
  release();
  await assertLast(page, 'number 700');
  await firstNew(page, 'number 691');
  await eventually(() => unread(conversation), '0');
});

test('where older messages came only once they were asked for again, the line stays in sight until one scrolls up', async () => {
  const { user, conversation } = await unreadOf(700, 350);
  const page = await visit(at(replica.url, user), { forgive: /503/, before: waitsForOlder });
  let refuses = true;
  await page.route((url) => url.pathname.includes(conversation) && url.searchParams.has('before'), (route) => (refuses ? route.fulfill({ status: 503 }) : route.continue()));
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  const again = page.getByRole('button', { name: 'Try again' });
  await again.waitFor();
  await firstNew(page, 'number 601');
  await assertAtLine(page);
  refuses = false;
  // Asked for by itself: what is at the top tells of it, and goes.
  await again.waitFor({ state: 'detached' });
  await drawn(page);
  await firstNew(page, 'number 601');
  await assertAtLine(page);
  await scrollToLine(page, 'number 351');
  assert.equal(await separator(page).count(), 1);
});

test('older messages that are slow to come withhold nothing that has come: the line stands above that until one scrolls up', async () => {
  const { user, conversation } = await unreadOf(600, 250);
  // The client does not give up, either.
  const page = await visit(at(replica.url, user), { before: () => (AbortSignal.timeout = () => new AbortController().signal) });
  const { asked, release } = await held(page, (url) => url.pathname.includes(conversation) && url.searchParams.has('before'));
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  await asked();
  await firstNew(page, 'number 501');
  await assertAtLine(page);
  await drawn(page);
  // What is above it has not been seen.
  assert.equal(await unread(conversation), '250');
  release();
  await page.getByRole('img', { name: 'Loading messages' }).waitFor({ state: 'detached' });
  await drawn(page);
  await firstNew(page, 'number 501');
  await assertAtLine(page);
  await scrollToLine(page, 'number 351');
  assert.equal(await separator(page).count(), 1);
});

test('what comes before one has read on to the end is below the same line', async () => {
  const { conversation, page } = await openUnread(200, 150);
  await firstNew(page, 'number 51');
  const left = await assertReadAsSeen(page, conversation, 200);
  await post(replica.url, LUKASZ, 'number 201', conversation);
  const jump = page.getByRole('button', { name: 'Jump to the latest messages: 1 new', exact: true });
  await jump.waitFor();
  await drawn(page);
  await firstNew(page, 'number 51');
  await assertAtLine(page);
  assert.equal(await unread(conversation), String(left + 1));
  await jump.click();
  await eventually(() => unread(conversation), '0');
  // Now one has: what comes while one looks at older ones is new by itself.
  await page.locator('.scroller').evaluate((it) => (it.scrollTop -= 900));
  await page.getByRole('button', { name: 'Jump to the latest messages', exact: true }).waitFor();
  await post(replica.url, LUKASZ, 'number 202', conversation);
  await page.getByRole('button', { name: 'Jump to the latest messages: 1 new', exact: true }).click();
  await firstNew(page, 'number 202');
});

test('a conversation that opens where nobody sees it is read once somebody does, from the first unread message on', async () => {
  const { conversation, page } = await openUnread(200, 150, { before: () => Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true }) });
  await firstNew(page, 'number 51');
  await drawn(page);
  assert.equal(await unread(conversation), '150');
  await page.evaluate(() => {
    Object.defineProperty(document, 'visibilityState', { value: 'visible' });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await assertReadAsSeen(page, conversation, 200);
  await assertAtLine(page);
});

test('who answers at the first unread message is led to the end, and nothing is new any more', async () => {
  const { page } = await openUnread(700, 650);
  await firstNew(page, 'number 51');
  await say(page, 'an answer');
  await assertLast(page, 'an answer');
  await assertAtEnd(page);
  await bubble(page, 'an answer').getByTitle(/^(sent|read)$/).waitFor();
  await page.locator('.scroller').evaluate((it) => (it.scrollTop -= 900));
  await drawn(page);
  assert.equal(await separator(page).count(), 0);
});

test('a screen reader is told of what comes where one looks, and of nothing else', async () => {
  const { user, conversation } = await reader('one');
  const elsewhere = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${user}', '${AMELIE}') returning id`);
  const page = await visit(at(replica.url, talking(user, conversation)));
  await bubble(page, 'one').waitFor();
  await listen(page);
  await post(replica.url, AMELIE, 'elsewhere', elsewhere);
  await page.locator(`[data-conversation="${elsewhere}"]`).getByText('elsewhere', { exact: true }).waitFor();
  await post(replica.url, user, 'mine', conversation);
  await bubble(page, 'mine').waitFor();
  await post(replica.url, LUKASZ, 'two', conversation);
  await eventually(() => heard(page), ['Łukasz Wiśniewski: two']);
});

test('a screen reader is told once of what comes, though the list or the conversation had it before', async () => {
  const { user, conversation } = await reader('one');
  const elsewhere = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${user}', '${AMELIE}') returning id`);
  await post(replica.url, AMELIE, 'to be deleted', elsewhere);
  const page = await visit(at(replica.url, user), { before: lateFrames });
  const come = async () => {
    await eventually(() => page.evaluate(() => window.late.length), 1);
    await page.evaluate(() => window.late.pop()());
    await drawn(page);
  };
  const row = page.locator(`[data-conversation="${conversation}"]`);
  await row.locator('.badge').waitFor();
  await post(replica.url, LUKASZ, 'late, after the conversation', conversation);
  await eventually(() => page.evaluate(() => window.late.length), 1);
  await row.getByRole('button').click();
  await bubble(page, 'late, after the conversation').waitFor();
  await listen(page);
  await come();
  await post(replica.url, LUKASZ, 'late, after the list', conversation);
  // How many are left is asked for, and the list read for it.
  await replicas.sql(`update messages set deleted_at = now() where conversation_id = '${elsewhere}'`);
  await row.getByText('late, after the list', { exact: true }).waitFor();
  await come();
  await bubble(page, 'late, after the list').waitFor();
  await eventually(() => heard(page), ['Łukasz Wiśniewski: late, after the list']);
});
