// The filter of the list: only what is unread, however far down it is.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { AMELIE, assertFocus, at, box, drawn, eventually, held, PHONE, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

let me;
beforeEach(async () => {
  me = await replicas.sql("insert into users (first_name, last_name, email) values ('Reader', 'of much', gen_random_uuid() || '@example.com') returning id");
});

/** Conversations with so many guests, the last one the last active; unread where `isUnread`, an SQL expression of `n`. */
async function guests(count, isUnread) {
  await replicas.sql(`with guest as (
    insert into users (first_name, last_name, email) select 'Guest', 'No ' || n, gen_random_uuid() || '@example.com' from generate_series(1, ${count}) n returning id, substr(last_name, 4)::int as n
  ), conversation as (
    insert into conversations (participant1_id, participant2_id) select '${me}', id from guest returning id, participant1_id, participant2_id
  ) insert into messages (conversation_id, sender_id, content, is_read, created_at)
    select conversation.id, guest.id, 'from ' || n, not (${isUnread}), now() - interval '1 hour' + n * interval '1 second'
      from conversation join guest on guest.id in (participant1_id, participant2_id) order by n`);
  await replicas.sql(`update conversations c set updated_at = m.created_at from messages m where m.conversation_id = c.id and '${me}' in (participant1_id, participant2_id)`);
}

/** `{user, conversation}` of that guest. */
async function guest(n) {
  const ids = await replicas.sql(`select sender_id, conversation_id from messages join conversations c on c.id = conversation_id where content = 'from ${n}' and '${me}' in (participant1_id, participant2_id)`);
  const [user, conversation] = ids.split('|');
  return { user, conversation };
}

const filter = (page) => page.getByRole('button', { name: 'Unread', exact: true });
const names = (page) => page.locator('.list [data-conversation] strong').allTextContents();
const shown = (page, ...numbers) => eventually(() => names(page), numbers.map((n) => `Guest No ${n}`));
const row = (page, n) => page.locator('.list [data-conversation] button', { has: page.getByText(`Guest No ${n}`, { exact: true }) });
const read = ({ conversation }) => fetch(`${replica.url}/api/v1/chat/conversations/${conversation}/read?user_id=${me}`, { method: 'PUT' });
const asksForUnread = (url) => url.searchParams.get('unread') === 'true';

/** The list, with what it has asked for of what is unread. */
async function list(options) {
  const page = await visit(at(replica.url, me), options);
  const asked = [];
  page.on('request', (request) => asksForUnread(new URL(request.url())) && asked.push(new URL(request.url()).searchParams));
  await page.locator('.list .row').first().waitFor();
  return { page, asked };
}

for (const [where, options] of [['a desktop', {}], ['a phone', PHONE]]) {
  test(`the filter leaves what is unread, and what is read meanwhile until something else is selected, on ${where}`, async () => {
    await guests(5, 'n in (1, 3, 4)');
    const { page, asked } = await list(options);
    await shown(page, 5, 4, 3, 2, 1);
    assert.equal(await filter(page).getAttribute('aria-pressed'), 'false');
    await page.getByRole('searchbox').focus();
    await page.keyboard.press('Tab');
    await assertFocus(filter(page));
    await page.keyboard.press('Enter');
    assert.equal(await filter(page).getAttribute('aria-pressed'), 'true');
    await shown(page, 4, 3, 1);
    await page.getByRole('status').getByText('3 unread conversations', { exact: true }).waitFor({ state: 'attached' });
    // Elsewhere, and here.
    await read(await guest(3));
    await row(page, 3).locator('.badge').waitFor({ state: 'detached' });
    await row(page, 4).click();
    await page.getByRole('heading', { name: 'Guest No 4' }).waitFor();
    await row(page, 4).locator('.badge').waitFor({ state: 'detached' });
    await drawn(page);
    await shown(page, 4, 1);
    // What comes is there, too.
    const { user, conversation } = await guest(2);
    await post(replica.url, user, 'hello again', conversation);
    await shown(page, 2, 4, 1);
    if (options === PHONE) await page.getByRole('button', { name: 'Back to the conversations' }).click();
    else await row(page, 1).click();
    await shown(page, 2, 1);
    await filter(page).click();
    await shown(page, 2, 5, 4, 3, 1);
    assert.equal(await filter(page).getAttribute('aria-pressed'), 'false');
    // All of them are listed: nobody has to be asked.
    assert.deepEqual(asked, []);
  });
}

test('what was read elsewhere while the filter showed it is there when one selects it', async () => {
  await guests(3, 'n in (1, 3)');
  const { page } = await list();
  await filter(page).click();
  await shown(page, 3, 1);
  await read(await guest(3));
  await row(page, 3).locator('.badge').waitFor({ state: 'detached' });
  await row(page, 3).click();
  await page.getByRole('heading', { name: 'Guest No 3' }).waitFor();
  await drawn(page);
  await shown(page, 3, 1);
});

test('where nothing is unread it says so, and leads back', async () => {
  await guests(2, 'false');
  const { page } = await list();
  await filter(page).click();
  await page.locator('.empty').getByText('Nothing unread', { exact: true }).waitFor();
  assert.deepEqual(await names(page), []);
  await page.getByRole('button', { name: 'Show all' }).focus();
  await page.keyboard.press('Enter');
  await shown(page, 2, 1);
  await assertFocus(row(page, 2));
  // What comes while there is nothing.
  await filter(page).click();
  const { user, conversation } = await guest(1);
  await post(replica.url, user, 'hello again', conversation);
  await shown(page, 1);
});

test('what is unread far down the list is there at once, and stays where the list is read anew', async () => {
  await guests(120, 'n in (2, 110)');
  const { page, asked } = await list();
  await filter(page).click();
  await shown(page, 110, 2);
  assert.deepEqual(asked.map((query) => [query.get('limit'), query.get('offset')]), [['50', null]]);
  // How many are left is asked for, and the list read for it.
  const { conversation } = await guest(110);
  await replicas.sql(`update messages set deleted_at = now() where conversation_id = '${conversation}'`);
  await row(page, 110).locator('.badge').waitFor({ state: 'detached' });
  await drawn(page);
  await shown(page, 110, 2);
  await row(page, 2).click();
  await page.getByRole('heading', { name: 'Guest No 2', exact: true }).waitFor();
  await shown(page, 2);
});

test('what is unread far down the list is no reason to read ever more of it, each time that it is read anew', async () => {
  await guests(300, 'n <= 40 or n = 300');
  const { page } = await list();
  await filter(page).click();
  await row(page, 1).waitFor({ state: 'attached' });
  const { user, conversation } = await guest(300);
  const reads = [];
  page.on('request', (request) => {
    const { pathname, searchParams } = new URL(request.url());
    if (pathname.endsWith(`/${me}/conversations`)) reads.push(searchParams);
  });
  const anew = async (n) => {
    reads.length = 0;
    const { id } = await post(replica.url, user, `unread ${n}`, conversation);
    await row(page, 300).locator('.badge', { hasText: /^2\b/ }).waitFor();
    await replicas.sql(`update messages set deleted_at = now() where id = '${id}'`);
    await row(page, 300).locator('.badge', { hasText: /^1\b/ }).waitFor();
    assert.ok(reads.some((query) => query.has('unread')));
    const limits = reads.filter((query) => !query.has('unread')).map((query) => Number(query.get('limit')));
    assert.ok(limits.length && limits.every((limit) => limit === 50), `no more than is listed in order: ${limits}`);
    return limits.reduce((sum, limit) => sum + limit, 0);
  };
  const sums = [await anew(1), await anew(2), await anew(3), await anew(4)];
  assert.ok(sums[3] <= sums[1] && sums[3] <= 100, `${sums}`);
  assert.equal((await names(page)).length, 41);
});

test('of what is unread nothing is skipped where some of it is read while one scrolls, and no page is asked for twice at a time', async () => {
  await guests(170, 'true');
  const { page, asked } = await list();
  await filter(page).click();
  await row(page, 170).waitFor();
  await eventually(() => asked.length, 1);
  await row(page, 121).waitFor({ state: 'attached' });
  // Read on the telephone, before the next part is asked for, and while it is.
  for (const n of [170, 169, 168]) await read(await guest(n));
  await row(page, 168).locator('.badge').waitFor({ state: 'detached' });
  let first = true;
  await page.route(asksForUnread, async (route) => {
    if (!first) return route.continue();
    first = false;
    for (const n of [160, 159]) await read(await guest(n));
    const response = await route.fetch();
    await row(page, 159).locator('.badge').waitFor({ state: 'detached' });
    await route.fulfill({ response });
  });
  const bottom = () => page.locator('.list-body').evaluate((it) => (it.scrollTop = it.scrollHeight));
  await eventually(() => bottom().then(() => names(page)), (all) => all.length === 170);
  assert.deepEqual(await names(page), Array.from({ length: 170 }, (_, at) => `Guest No ${170 - at}`));
  const offsets = asked.map((query) => Number(query.get('offset')));
  assert.deepEqual([offsets[1], offsets[2]], [47, 45]);
  assert.ok(asked.length <= 6, `${offsets}`);
});

test('with the filter a search is for names among what is unread; without a text, and for somebody new, there is no filter', async () => {
  await guests(20, 'n in (1, 2, 12)');
  const { page } = await list();
  await filter(page).click();
  await page.getByRole('searchbox', { name: 'Search unread conversations' }).fill('No 1');
  const found = page.locator('.results .row strong');
  await page.getByRole('heading', { name: 'Unread conversations' }).waitFor();
  assert.deepEqual((await found.allTextContents()).toSorted(), ['Guest No 1', 'Guest No 12']);
  assert.equal(await page.getByRole('heading', { name: 'Messages' }).count(), 0);
  await page.getByRole('searchbox').fill('No 11');
  await page.locator('.empty').getByText('Nothing found', { exact: true }).waitFor();
  // Without the filter the same text finds all.
  await filter(page).click();
  await page.getByRole('heading', { name: 'People' }).waitFor();
  assert.equal(await page.getByRole('searchbox', { name: 'Search people and messages' }).count(), 1);
  await filter(page).click();
  await page.getByRole('searchbox').fill('');
  await shown(page, 12, 2, 1);
  await page.getByRole('button', { name: 'New conversation' }).click();
  await page.locator('.results .row').first().waitFor();
  assert.equal(await filter(page).getAttribute('aria-pressed'), 'false');
  await filter(page).click();
  await shown(page, 12, 2, 1);
});

test('what is unread and could not be had is asked for again, by a button and with the next connection', async () => {
  await guests(60, 'n = 3');
  const { page } = await list({ forgive: /^Failed to load resource/, before: () => (Math.random = () => 600) });
  await page.route(asksForUnread, (route) => route.abort());
  await filter(page).click();
  await page.getByText('The unread conversations could not be loaded', { exact: true }).waitFor();
  await page.unroute(asksForUnread);
  await page.locator('.list').getByRole('button', { name: 'Try again' }).click();
  await shown(page, 3);
  await filter(page).click();
  await page.route(asksForUnread, (route) => route.abort());
  await filter(page).click();
  // It is listed by now.
  await shown(page, 3);
  await page.unroute(asksForUnread);
  const again = page.waitForRequest((request) => asksForUnread(new URL(request.url())));
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await again;
});

test('where what is unread cannot be read anew, all else is, what was shown stays, and the filter says so, with a button', async () => {
  await guests(120, 'n in (2, 110)');
  const { page, asked } = await list({ forgive: /^Failed to load resource/, before: () => (Math.random = () => 600) });
  await filter(page).click();
  await shown(page, 110, 2);
  await page.route(asksForUnread, (route) => route.abort());
  // How many are left is asked for, and the list read for it.
  const { conversation } = await guest(110);
  await replicas.sql(`update messages set deleted_at = now() where conversation_id = '${conversation}'`);
  const fault = page.locator('.list .fault');
  await fault.getByText('These could not be loaded anew: There was no answer.', { exact: true }).waitFor();
  await row(page, 110).locator('.badge').waitFor({ state: 'detached' });
  await shown(page, 110, 2);
  await page.locator('.notice', { hasText: 'The unread conversations could not be loaded' }).waitFor();
  assert.equal(await page.getByText('Reloading failed').count(), 0);
  // With the next connection, and by the button.
  const before = asked.length;
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await eventually(() => asked.length, (times) => times > before);
  await page.unroute(asksForUnread);
  const again = fault.getByRole('button', { name: 'Try again' });
  await again.focus();
  await page.keyboard.press('Enter');
  await again.waitFor({ state: 'detached' });
  await assertFocus(page.locator('.list'));
  await shown(page, 110, 2);
});

test('until what is unread has come it is not said that there is nothing', async () => {
  await guests(60, 'n = 3');
  const { page } = await list();
  const { asked, release } = await held(page, asksForUnread);
  await filter(page).click();
  await asked();
  await page.getByRole('status', { name: 'Loading conversations' }).waitFor();
  assert.equal(await page.getByText('Nothing unread').count(), 0);
  release();
  await shown(page, 3);
});

test('the filter is above the list, and no wider than what it says', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width: 676, height: 800 } });
  await page.locator('.list .row').first().waitFor();
  const [button, search, rows] = await Promise.all([filter(page), page.getByRole('searchbox'), page.locator('.list-body')].map(box));
  assert.ok(button.y >= search.y + search.height && button.y + button.height <= rows.y && button.width < 120, JSON.stringify([button, search, rows]));
});
