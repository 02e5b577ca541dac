// What is unread, after whatever one missed: neither more nor less than the service says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { badge, heard, listen, reader, unread } from './reader.js';
import { AMELIE, at, balancer, bubble, CUT, cutOff, drawn, eventually, held, isListOf, listOf, LUKASZ, pane, patient, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0', REPLAY_EVENTS: '20' });

const VISITED = { forgive: CUT, before: patient };

const again = (page) => page.locator('.banner').getByRole('button', { name: 'Try now' }).click();

test('who is at the end of a conversation has read what is read anew there, too, where more was missed than is sent again', async () => {
  const { user, conversation } = await reader('before');
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(user, conversation)), VISITED);
  await bubble(page, 'before').waitFor();
  await eventually(() => unread(conversation), '0');
  await cutOff(front, page);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${conversation}', '${LUKASZ}', 'missed ' || n from generate_series(1, 30) n`);
  front.refuse = false;
  await again(page);
  await bubble(page, 'missed 30').waitFor();
  await eventually(() => unread(conversation), '0');
  await badge(page).waitFor({ state: 'detached' });
  await eventually(() => page.title(), 'pgchat');
});

for (const [how, remove] of [
  ['deleted', (id) => fetch(`${replica.url}/api/v1/chat/messages/${id}?user_id=${LUKASZ}`, { method: 'DELETE' })],
  ['deleted outright', (id) => replicas.sql(`delete from messages where id = '${id}'`)],
]) {
  test(`what was said and ${how} while one was away is counted nowhere, and nobody hears of it`, async () => {
    const { user, conversation } = await reader('one', 'two');
    const front = await balancer([replica.port]);
    const page = await visit(at(front.url, user), VISITED);
    await badge(page, 2).waitFor();
    await cutOff(front, page);
    const gone = await post(replica.url, LUKASZ, 'never mind', conversation);
    await remove(gone.id);
    await post(replica.url, LUKASZ, 'three', conversation);
    front.refuse = false;
    await again(page);
    await page.locator('.list').getByText('three', { exact: true }).waitFor();
    await badge(page, 3).waitFor();
    assert.equal(await page.title(), '(3) pgchat');

    // The same where one looks.
    await page.locator(`[data-conversation="${conversation}"] button`).click();
    await bubble(page, 'three').waitFor();
    await eventually(() => unread(conversation), '0');
    await cutOff(front, page);
    const more = await post(replica.url, LUKASZ, 'nor this', conversation);
    await remove(more.id);
    await listen(page);
    front.refuse = false;
    await again(page);
    await page.locator('.banner').waitFor({ state: 'hidden' });
    await drawn(page);
    await post(replica.url, LUKASZ, 'four', conversation);
    await eventually(() => heard(page), ['Łukasz Wiśniewski: four']);
  });
}

test('of unread messages that are deleted while one is there, each counts once', async () => {
  const { user, conversation } = await reader('one', 'two', 'three');
  const page = await visit(at(replica.url, user));
  await badge(page, 3).waitFor();
  const id = await replicas.sql(`select id from messages where conversation_id = '${conversation}' and content = 'two'`);
  await replicas.sql(`update messages set deleted_at = now() where id = '${id}'`);
  await badge(page, 2).waitFor();
  // It is told once more, and has not become less unread.
  await replicas.sql(`delete from messages where id = '${id}'`);
  await replicas.sql(`update messages set deleted_at = now() where conversation_id = '${conversation}' and content = 'three'`);
  await page.locator('.list').getByText('Message deleted').waitFor();
  await badge(page, 1).waitFor();
  await drawn(page);
  assert.equal(await page.title(), '(1) pgchat');
  assert.equal(await unread(conversation), '1');
});

/** Pauses of one second last until `over()`; `count()`: how often the list was read. */
async function paced(user) {
  const page = await visit(at(replica.url, user), {
    before: () => {
      window.pauses = [];
      const { setTimeout } = window;
      window.setTimeout = (then, ms, ...more) => (ms === 1_000 ? window.pauses.push(then) : setTimeout(then, ms, ...more));
    },
  });
  await badge(page, 4).waitFor();
  let count = 0;
  page.on('request', (request) => (count += isListOf(request.url(), user)));
  return { page, count: () => count, begun: () => eventually(() => page.evaluate(() => window.pauses.length), 1), over: () => page.evaluate(() => window.pauses.shift()()) };
}

test('while many unread messages are deleted, what is left is asked for once in a while', async () => {
  const { user, conversation } = await reader('one', 'two', 'three', 'four');
  const { page, count, begun, over } = await paced(user);
  const remove = (content) => replicas.sql(`update messages set deleted_at = now() where conversation_id = '${conversation}' and content = '${content}'`);
  await remove('one');
  await badge(page, 3).waitFor();
  await begun();
  await remove('two');
  await remove('three');
  await remove('four');
  await page.locator('.list').getByText('Message deleted').waitFor();
  assert.equal(count(), 1);
  await over();
  await badge(page).waitFor({ state: 'detached' });
  assert.equal(count(), 2);
});

test('while much is read in another window, what is left is asked for once in a while', async () => {
  const { user, conversation } = await reader('one', 'two', 'three', 'four');
  const { page, count, begun, over } = await paced(user);
  const read = (seq) => fetch(`${replica.url}/api/v1/chat/conversations/${conversation}/read?user_id=${user}&up_to_seq=${seq}`, { method: 'PUT' });
  await read(1);
  await badge(page, 3).waitFor();
  await begun();
  await read(2);
  await read(3);
  await post(replica.url, LUKASZ, 'five', conversation);
  await badge(page, 4).waitFor();
  assert.equal(count(), 1);
  await over();
  await badge(page, 2).waitFor();
  assert.equal(count(), 2);
});

test('what another program makes unread again is counted again', async () => {
  const { user, conversation } = await reader('one', 'two');
  await replicas.sql(`update messages set is_read = true where conversation_id = '${conversation}'`);
  const page = await visit(at(replica.url, user));
  await page.locator('.list').getByText('two').waitFor();
  await replicas.sql(`update messages set is_read = false where conversation_id = '${conversation}'`);
  await badge(page, 2).waitFor();
});

test('what is unread again beside other unread messages is counted, edited or not; an edit of what is known to be unread is nothing that has to be asked about', async () => {
  const { user, conversation } = await reader('one', 'two', 'three', 'four');
  const update = (change, content) => replicas.sql(`update messages set ${change} where conversation_id = '${conversation}' and content in (${content})`);
  await update('is_read = true', "'one', 'two', 'three'");
  const page = await visit(at(replica.url, user));
  await badge(page, 1).waitFor();
  let asked = 0;
  page.on('request', (request) => (asked += isListOf(request.url(), user)));
  await update("content = 'four, and more'", "'four'");
  await page.locator('.list').getByText('four, and more').waitFor();
  assert.equal(asked, 0);
  await update('is_read = false', "'three'");
  await badge(page, 2).waitFor();
  assert.equal(asked, 1);
  await update("content = 'two, and more', is_read = false", "'two'");
  await badge(page, 3).waitFor();
  assert.equal(asked, 2);

  // Those of the thread are known, too, though nobody looks at it.
  const hidden = () => Object.defineProperty(document, 'visibilityState', { value: 'hidden' });
  const thread = await visit(at(replica.url, talking(user, conversation)), { before: hidden });
  await bubble(thread, 'three').waitFor();
  await badge(thread, 3).waitFor();
  thread.on('request', (request) => (asked += isListOf(request.url(), user)));
  await page.close();
  await update("content = content || ', indeed'", "'three', 'two, and more'");
  for (const text of ['three, indeed', 'two, and more, indeed']) await bubble(thread, text).waitFor();
  assert.equal(asked, 2);
});

test('what is read in another window is read here, too: up to there', async () => {
  const { user, conversation } = await reader('one', 'two', 'three');
  const page = await visit(at(replica.url, user));
  await badge(page, 3).waitFor();
  await fetch(`${replica.url}/api/v1/chat/conversations/${conversation}/read?user_id=${user}&up_to_seq=2`, { method: 'PUT' });
  await badge(page, 1).waitFor();
  await eventually(() => page.title(), '(1) pgchat');
  const window = await visit(at(replica.url, talking(user, conversation)));
  await bubble(window, 'three').waitFor();
  await badge(page).waitFor({ state: 'detached' });
  await eventually(() => page.title(), 'pgchat');
  assert.equal(await page.locator('.list .row.unread').count(), 0);
});

test('in a pane that is behind the other one nothing is read, until it is shown', async () => {
  const { user, conversation } = await reader('one');
  // The first pane is alone, and in front, until the second one is there.
  await replicas.sql(`update messages set is_read = true where conversation_id = '${conversation}'`);
  const page = await visit(at(replica.url, talking(user, conversation), talking(AMELIE)), { viewport: { width: 700, height: 800 } });
  const [tab] = await page.locator('.tabs button').all();
  await pane(page, 2).locator('.message').first().waitFor();
  await pane(page, 1).locator('.message').first().waitFor({ state: 'attached' });
  await post(replica.url, LUKASZ, 'two', conversation);
  await eventually(() => page.title(), '(1) pgchat');
  await drawn(page);
  assert.equal(await unread(conversation), '1');
  await tab.click();
  await eventually(() => unread(conversation), '0');
  assert.equal(await page.title(), 'pgchat');
});

test('what one says oneself, from elsewhere, is not unread', async () => {
  const { user, conversation } = await reader('one');
  const page = await visit(at(replica.url, user));
  await badge(page, 1).waitFor();
  await post(replica.url, user, 'From my telephone', conversation);
  await page.locator('.list').getByText('From my telephone').waitFor();
  await drawn(page);
  assert.deepEqual([await badge(page, 1).count(), await page.title()], [1, '(1) pgchat']);
});

test('what has been read by the time that it comes is not unread', async () => {
  const { user, conversation } = await reader('one');
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, user), VISITED);
  await badge(page, 1).waitFor();
  await cutOff(front, page);
  const { asked, release } = await held(page, listOf(user));
  // On the telephone, meanwhile.
  const { seq } = await post(replica.url, LUKASZ, 'two', conversation);
  await post(replica.url, LUKASZ, 'three', conversation);
  await fetch(`${replica.url}/api/v1/chat/conversations/${conversation}/read?user_id=${user}&up_to_seq=${seq}`, { method: 'PUT' });
  front.refuse = false;
  await again(page);
  await page.locator('.list').getByText('three', { exact: true }).waitFor();
  // That "one" was read, too, only the service can tell.
  await asked();
  await drawn(page);
  assert.equal(await page.title(), '(2) pgchat');
  release();
  await badge(page, 1).waitFor();
  // An import brings what was read long ago.
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read) values ('${conversation}', '${LUKASZ}', 'imported', true)`);
  await page.locator('.list').getByText('imported', { exact: true }).waitFor();
  await drawn(page);
  assert.equal(await page.title(), '(1) pgchat');
});

test('in the list, too, what one said oneself is read once the other one has read it, and so far', async () => {
  const { user, conversation } = await reader('one');
  for (const text of ['mine', 'mine, too']) await post(replica.url, user, text, conversation);
  const page = await visit(at(replica.url, talking(user, conversation)));
  const row = page.locator(`[data-conversation="${conversation}"]`);
  const read = (seq) => fetch(`${replica.url}/api/v1/chat/conversations/${conversation}/read?user_id=${LUKASZ}&up_to_seq=${seq}`, { method: 'PUT' });
  await eventually(() => unread(conversation), '2');
  await read(2);
  await bubble(page, 'mine').getByTitle('read', { exact: true }).waitFor();
  await drawn(page);
  await row.getByTitle('sent', { exact: true }).waitFor();
  await read(3);
  await row.getByTitle('read', { exact: true }).waitFor();
});

test('what is deleted while the list is read for the first time is not unread', async () => {
  const { user, conversation } = await reader('one', 'gone');
  const told = [];
  const page = await visit(`${replica.url}/health/live`); // not the page yet
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => told.push(JSON.parse(payload).type)));
  let release, read;
  const released = new Promise((resolve) => (release = resolve));
  await page.route(listOf(user), async (route) => {
    const answer = await route.fetch();
    read = true;
    await released;
    await route.fulfill({ response: answer });
  });
  await page.goto(at(replica.url, user));
  await eventually(() => read && told.includes('connected'));
  await replicas.sql(`update messages set deleted_at = now() where conversation_id = '${conversation}' and content = 'gone'`);
  await eventually(() => told.includes('message_deleted'));
  release();
  await badge(page, 1).waitFor();
  await eventually(() => page.title(), '(1) pgchat');
});

test('what the list has already counts once, though it is told, too', async () => {
  const { user, conversation } = await reader('one', 'gone');
  const page = await visit(at(replica.url, user));
  await badge(page, 2).waitFor();
  const { asked, release } = await held(page, listOf(user));
  // How many are left is asked for.
  await replicas.sql(`update messages set deleted_at = now() where conversation_id = '${conversation}' and content = 'gone'`);
  await asked();
  await post(replica.url, LUKASZ, 'two', conversation);
  await page.locator('.list').getByText('two', { exact: true }).waitFor();
  await badge(page, 3).waitFor();
  release();
  await badge(page, 2).waitFor();
  await drawn(page);
  assert.equal(await page.title(), '(2) pgchat');
});

test('what was only read while there was no connection is nothing that waits to be sent', async () => {
  const { user, conversation } = await reader('one');
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(user, conversation)), VISITED);
  await eventually(() => unread(conversation), '0');
  const look = (state) => page.evaluate((value) => {
    Object.defineProperty(document, 'visibilityState', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  await look('hidden');
  await post(replica.url, LUKASZ, 'two', conversation);
  await badge(page, 1).waitFor();
  await cutOff(front, page);
  await look('visible');
  await badge(page).waitFor({ state: 'detached' });
  await page.getByRole('textbox', { name: 'Message' }).fill('three');
  await page.getByRole('button', { name: 'Send', exact: true }).click();
  await page.locator('.banner').getByText(/Trying again in/).waitFor();
  await page.locator('.banner').getByText('1 waiting to be sent.', { exact: true }).waitFor();
  front.refuse = false;
  await again(page);
  await eventually(() => unread(conversation), '1');
  await bubble(page, 'three').getByTitle(/^(sent|read)$/).waitFor();
});

test('what could not be read anew yet has not been read, whatever comes meanwhile', async () => {
  const { user, conversation } = await reader('before');
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(user, conversation)), { before: patient, forgive: /^Failed to load resource|^WebSocket connection/ });
  await eventually(() => unread(conversation), '0');
  await cutOff(front, page);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${conversation}', '${LUKASZ}', 'missed ' || n from generate_series(1, 30) n`);
  let fail;
  const held = new Promise((resolve) => (fail = resolve));
  await page.route('**/messages?*', async (route) => {
    await held;
    await route.abort();
  });
  const asked = page.waitForRequest('**/messages?*');
  front.refuse = false;
  await again(page);
  await asked;
  const live = async (text, count) => {
    await post(replica.url, LUKASZ, text, conversation);
    await bubble(page, text).waitFor();
    // What the page says comes in order: this would be behind a mark.
    await page.getByRole('textbox', { name: 'Message' }).fill(`${text}!`);
    await page.getByRole('textbox', { name: 'Message' }).press('Enter');
    await bubble(page, `${text}!`).getByTitle(/^(sent|read)$/).waitFor();
    assert.equal(await replicas.sql(`select count(*) from messages where conversation_id = '${conversation}' and sender_id = '${LUKASZ}' and not is_read`), count);
  };
  await live('while it is read', '31');
  fail();
  const fault = page.locator('.edge').getByText(/^Messages could not be loaded/);
  await fault.waitFor();
  await live('after it failed', '32');
  await page.unroute('**/messages?*');
  await page.locator('.edge').getByRole('button', { name: 'Try again' }).click();
  await bubble(page, 'missed 30').waitFor();
  await eventually(() => replicas.sql(`select count(*) from messages where conversation_id = '${conversation}' and sender_id = '${LUKASZ}' and not is_read`), '0');
});

test('a place that a search led to, and that comes when one has gone on, leaves one at the end of where one is', async () => {
  const { user, conversation } = await reader('here');
  const there = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${user}', '${AMELIE}') returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read) select '${there}', '${AMELIE}', case n when 30 then 'a bittern' else 'there ' || n end, true from generate_series(1, 90) n`);
  const page = await visit(at(replica.url, user));
  await badge(page, 1).waitFor();
  const { asked, release } = await held(page, `**/${there}/messages?*`);
  await page.getByRole('searchbox').fill('bittern');
  await page.locator('.results .row', { hasText: 'bittern' }).click();
  await asked();
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  await bubble(page, 'here').waitFor();
  let answers = 0;
  page.on('requestfinished', (request) => (answers += request.url().includes(`${there}/messages`)));
  release();
  // The page asks also whether there is more beyond it.
  await eventually(() => answers, 2);
  await drawn(page);
  await post(replica.url, LUKASZ, 'here, too', conversation);
  await bubble(page, 'here, too').waitFor();
  await eventually(() => unread(conversation), '0');
});

test('what could not be marked as read is unread in the list again, and is marked with the next message', async () => {
  const { user, conversation } = await reader('one');
  const page = await visit(at(replica.url, user), {
    before: () => {
      window.refused = 0;
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        const { type, requestId } = JSON.parse(text);
        if (type !== 'mark_read' || window.refused) return send.call(this, text);
        window.refused++;
        const data = JSON.stringify({ type: 'error', data: { requestId, code: 'validation_failed', message: 'not this one' } });
        return queueMicrotask(() => this.dispatchEvent(new MessageEvent('message', { data })));
      };
    },
  });
  await badge(page, 1).waitFor();
  await page.locator(`[data-conversation="${conversation}"] button`).click();
  await eventually(() => page.evaluate(() => window.refused), 1);
  await drawn(page);
  await badge(page, 1).waitFor();
  await post(replica.url, LUKASZ, 'two', conversation);
  await eventually(() => unread(conversation), '0');
  await badge(page).waitFor({ state: 'detached' });
});
