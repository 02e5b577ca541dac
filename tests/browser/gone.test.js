// A conversation that another program deletes: who has it open, and who was away.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertFocus, at, balancer, bubble, contents, cutOff, eventually, isListOf, listOf, LUKASZ, post, reachable, replica, replicas, say, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0', REPLAY_EVENTS: '20' });

/** Somebody new who has a conversation that will be `gone()`, and one that stays. */
async function losing() {
  const me = await replicas.sql("insert into users (first_name, last_name, email) values ('Ada', 'Nilsson', gen_random_uuid() || '@example.com') returning id");
  const begin = (other) => replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${me}', '${other}') returning id`);
  const [lost, stays] = [await begin(LUKASZ), await begin(AMELIE)];
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read) select '${lost}', '${LUKASZ}', 'until then ' || n, true from generate_series(1, 40) n`);
  const gone = async () => {
    await replicas.sql(`delete from messages where conversation_id = '${lost}'`);
    await replicas.sql(`delete from conversations where id = '${lost}'`);
  };
  return { me, lost, stays, gone };
}

/** It stands in no list any more, who has it open is told, and nothing is waited for: soon a connection comes after which nothing is read anew. */
async function assertGone(page, front, { me, lost, stays }) {
  await page.locator('.thread').getByRole('alert').getByText('This conversation is gone').waitFor();
  await page.locator(`[data-conversation="${lost}"]`).waitFor({ state: 'detached' });
  assert.equal(await page.locator('.edge').getByRole('button').count(), 0);
  let read = 0;
  page.on('request', (request) => (read += isListOf(request.url(), me)));
  let times = 0;
  const back = async () => {
    await page.locator('.banner').waitFor({ state: 'hidden' });
    await cutOff(front, page);
    await post(replica.url, AMELIE, `Are you there? ${++times}`, stays);
    read = 0;
    front.refuse = false;
    await page.locator(`[data-conversation="${stays}"]`).getByText(`Are you there? ${times}`, { exact: true }).waitFor({ state: 'attached' });
    return read;
  };
  await eventually(back, 0);
  assert.equal(await back(), 0);
}

test('what was being read anew when the connection was lost is read once more when there is one again: what came meanwhile is there', async () => {
  const { me, lost, stays, gone } = await losing();
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(me, lost)), { forgive: /^Failed to load resource|^WebSocket connection/ });
  await bubble(page, 'until then 40').waitFor();
  // The service answers, but the answer does not come before the test says so.
  let release, answered;
  const [released, isAnswered] = [new Promise((resolve) => (release = resolve)), new Promise((resolve) => (answered = resolve))];
  let first = true;
  await page.route(listOf(me), async (route) => {
    if (!first) return route.continue();
    first = false;
    const response = await route.fetch();
    answered();
    await released;
    await route.fulfill({ response });
  });
  await gone();
  await isAnswered;
  await cutOff(front, page);
  await post(replica.url, AMELIE, 'Said meanwhile', stays);
  await reachable(front, page);
  await page.locator('.banner').waitFor({ state: 'hidden' });
  release();
  await page.locator(`[data-conversation="${stays}"]`).getByText('Said meanwhile', { exact: true }).waitFor();
  await page.locator(`[data-conversation="${lost}"]`).waitFor({ state: 'detached' });
});

test('a conversation that is gone when one comes back leaves the list, and who has it open is told so, and can have back what was not sent', async () => {
  const { gone, ...losses } = await losing();
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(losses.me, losses.lost)), { forgive: /^Failed to load resource|^WebSocket connection/ });
  await bubble(page, 'until then 40').waitFor();
  await cutOff(front, page);
  await say(page, 'Too late');
  await gone();
  // More than is sent again.
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${losses.stays}', '${AMELIE}', 'missed ' || n from generate_series(1, 30) n`);
  await reachable(front, page);
  await page.locator('.message.failed').getByText(/^Not sent: .*does not exist/).waitFor();
  await assertGone(page, front, losses);
  assert.deepEqual(await contents(page), ['Too late']);
  const field = page.getByRole('textbox', { name: 'Message' });
  await field.waitFor({ state: 'hidden' });
  await assertFocus(page.getByRole('region', { name: 'Messages' }));
  await page.getByRole('button', { name: 'Edit: Too late' }).click();
  await assertFocus(field);
  assert.equal(await field.inputValue(), 'Too late');
});

test('who leaves a conversation that is gone is not asked about what was refused there, which nobody can have back any more', async () => {
  const { me, lost, stays, gone } = await losing();
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(me, lost)), { forgive: /^Failed to load resource|^WebSocket connection/ });
  await bubble(page, 'until then 40').waitFor();
  await cutOff(front, page);
  await say(page, 'Too late');
  await gone();
  await reachable(front, page);
  await page.locator('.message.failed').waitFor();
  const leave = page.getByRole('button', { name: 'Be somebody else' });
  await leave.click();
  await page.getByRole('dialog', { name: 'Leave what was not sent?' }).getByRole('button', { name: 'Stay' }).click();
  await page.locator(`[data-conversation="${stays}"] button`).click();
  await page.getByRole('heading', { name: 'Amélie' }).waitFor();
  await leave.click();
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
});

test('a conversation that goes while one has it open leaves the list, too; what was typed stays, and who leaves it is in the list', async () => {
  const { gone, ...losses } = await losing();
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(losses.me, losses.lost)), {
    forgive: /^Failed to load resource|^WebSocket connection/, viewport: { width: 600, height: 800 },
  });
  await bubble(page, 'until then 40').waitFor();
  const state = page.locator('.thread-head').getByText(/^(Offline|Last seen)/);
  await state.waitFor();
  const field = page.getByRole('textbox', { name: 'Message' });
  await field.fill('Half a sentence');
  await gone();
  await page.locator('.thread').getByRole('alert').getByText('This conversation is gone').waitFor();
  await state.waitFor({ state: 'detached' });
  await assertGone(page, front, losses);
  assert.deepEqual([await contents(page), await field.inputValue()], [[], 'Half a sentence']);
  await page.getByRole('button', { name: 'Back to the conversations' }).focus();
  await page.keyboard.press('Enter');
  await assertFocus(page.getByRole('navigation', { name: 'Conversations' }));
  await page.locator(`[data-conversation="${losses.stays}"] button`).click();
  await bubble(page, 'Are you there? 1').waitFor();
  await field.fill('I am');
});

test('a conversation that the list lacks for a moment is not taken for gone', async () => {
  const { me, lost: open, stays: unlisted } = await losing();
  let asked = 0;
  const lacking = async (route) => {
    const answer = await (await route.fetch()).json();
    const without = (id) => ({ ...answer, conversations: answer.conversations.filter((one) => one.id !== id) });
    asked++;
    if (asked === 1) return route.fulfill({ json: { ...without(unlisted), hasMore: false } });
    if (asked > 2) return route.fulfill({ json: answer });
    // It moves from part to part while they are read.
    await post(replica.url, LUKASZ, 'I moved up', open);
    await bubble(page, 'I moved up').waitFor();
    return route.fulfill({ json: { ...without(open), hasMore: false } });
  };
  const page = await visit(`${replica.url}/health/live`); // not the page yet
  await page.route(listOf(me), lacking);
  await page.goto(at(replica.url, talking(me, open)));
  await bubble(page, 'until then 40').waitFor();
  const field = page.getByRole('textbox', { name: 'Message' });
  await field.focus();
  await field.evaluate((input) => input.addEventListener('blur', () => (window.left = true)));
  await post(replica.url, AMELIE, 'Nobody lists me', unlisted);
  await page.locator(`[data-conversation="${unlisted}"]`).waitFor();
  await page.locator(`[data-conversation="${open}"]`).getByText('I moved up').waitFor();
  await eventually(() => asked >= 3, true);
  assert.equal(await page.evaluate(() => Boolean(window.left)), false);
  await assertFocus(field);
});
