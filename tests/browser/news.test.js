// What is new in the conversation that one looks at: the line above it, and what a screen reader is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { badge, heard, listen, reader, unread } from './reader.js';
import { AMELIE, at, bubble, drawn, eventually, lateFrames, LUKASZ, post, replica, replicas, say, stage, talking, visit } from './support.js';

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

test('above the first of more unread messages than are loaded at once the line stands, too', async () => {
  const { user, conversation } = await reader();
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read)
    select '${conversation}', case when n % 5 = 0 and n <= 100 then '${user}'::uuid else '${LUKASZ}' end, 'number ' || n, n <= 100 from generate_series(1, 350) n`);
  const page = await visit(at(replica.url, user));
  await badge(page, '99').waitFor();
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  await bubble(page, 'number 350').waitFor();
  await eventually(() => unread(conversation), '0');
  const line = page.locator('.divider.new');
  assert.equal(await line.count(), 0);
  // What is older is loaded by scrolling.
  await eventually(() => page.locator('.scroller').evaluate((it) => {
    it.scrollTop -= 500;
    return document.querySelector('.divider.new + .message .content')?.textContent;
  }), 'number 101');
  assert.equal(await line.count(), 1);
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
