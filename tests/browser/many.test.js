// Hundreds of conversations: the list is read in parts, and nobody loses their place in it.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { at, box, bubble, drawn, eventually, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

let me;
/** Somebody new who has 300 conversations, the youngest with "Guest No 300". */
beforeEach(async () => {
  me = await replicas.sql("insert into users (first_name, last_name, email) values ('Very', 'Busy', gen_random_uuid() || '@example.com') returning id");
  await replicas.sql(`with guest as (insert into users (first_name, last_name, email) select 'Guest', 'No ' || n || ' of ${me}', gen_random_uuid() || '@example.com' from generate_series(1, 300) n returning id, last_name)
    insert into conversations (participant1_id, participant2_id, created_at, updated_at)
    select '${me}', id, t.at, t.at from guest, lateral (select now() - interval '2 days' + split_part(last_name, ' ', 2)::integer * interval '2 minutes' as at) t`);
});

/** `participant2_id` and `id` of the conversation with that guest. */
const guest = async (number) => (await replicas.sql(`select participant2_id, c.id from conversations c join users u on u.id = participant2_id where participant1_id = '${me}' and last_name like 'No ${number} of %'`)).split('|');
const row = (page, id) => page.locator(`[data-conversation="${id}"] button`);
const rows = (page) => page.locator('.list li').count();

/** Scrolls down until as many are listed. */
const scrolled = (page, count) => eventually(() => page.locator('.list-body').evaluate((it) => {
  it.scrollTop = it.scrollHeight;
  return it.querySelectorAll('li').length;
}), (listed) => listed >= count);

test('who is far down the list stays there, and in the conversation that is open, when somebody beyond its end writes', async () => {
  const [, open] = await guest(180);
  const [oldest, unlisted] = await guest(1);
  const page = await visit(at(replica.url, me));
  await page.locator('.list .row').first().waitFor();
  await scrolled(page, 200);
  await row(page, open).click();
  await page.getByRole('textbox', { name: 'Message' }).waitFor();
  const before = await rows(page);
  assert.ok(before < 300, `${before} are listed`);
  const place = (await box(row(page, open))).y;
  await post(replica.url, oldest, 'Do you remember me?', unlisted);
  await row(page, unlisted).waitFor({ state: 'attached' });
  await drawn(page);
  assert.ok((await rows(page)) >= before, `of ${before} there are ${await rows(page)}`);
  // One row has come in above.
  const moved = Math.abs((await box(row(page, open))).y - place);
  assert.ok(moved <= 70, `it moved by ${moved} px`);
  assert.equal(await row(page, open).getAttribute('aria-current'), 'true');

  const [other] = await guest(180);
  await post(replica.url, other, 'And me?', open);
  await bubble(page, 'And me?').waitFor();
  await eventually(() => replicas.sql(`select is_read from messages where conversation_id = '${open}'`), 't');
  assert.equal(await row(page, open).locator('.badge').count(), 0);
});

test('the last of those that are listed stays there while it is open, and is read, when another one comes in above', async () => {
  const [other, open] = await guest(251);
  const [oldest, unlisted] = await guest(1);
  const page = await visit(at(replica.url, talking(me, open)));
  await page.getByRole('heading', { name: /^Guest No 251 / }).waitFor();
  assert.equal(await rows(page), 50);
  await post(replica.url, oldest, 'Do you remember me?', unlisted);
  await row(page, unlisted).waitFor();
  await eventually(() => row(page, open).count(), 1);
  await post(replica.url, other, 'And me?', open);
  await bubble(page, 'And me?').waitFor();
  await eventually(() => replicas.sql(`select is_read from messages where conversation_id = '${open}'`), 't');
});

test('what a search leads to is found, also while more conversations are being read', async () => {
  const [other, far] = await guest(2);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, created_at) values ('${far}', '${other}', 'a hoopoe on the lawn', now() - interval '3 days')`);
  await replicas.sql(`update conversations set updated_at = now() - interval '3 days' where id = '${far}'`);
  const page = await visit(at(replica.url, me));
  await page.locator('.list .row').first().waitFor();
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route('**/conversations/*?*offset=*', async (route) => {
    await held;
    await route.continue();
  });
  const asked = page.waitForRequest('**/conversations/*?*offset=*');
  await page.locator('.list-body').evaluate((it) => (it.scrollTop = it.scrollHeight));
  await asked;
  await page.getByRole('searchbox').fill('hoopoe');
  await page.locator('.results .row', { hasText: 'hoopoe' }).click();
  await drawn(page);
  release();
  await page.locator('.message.found', { hasText: 'a hoopoe on the lawn' }).waitFor();
  assert.ok(await page.locator('.notice').isHidden());
});

test('who chooses something else while a conversation far down the list is looked for stays there', async () => {
  const [, far] = await guest(3);
  const [, near] = await guest(299);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${near}', '${me}', 'near')`);
  const page = await visit(at(replica.url, me));
  await row(page, near).waitFor();
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route('**/conversations/*?*offset=*', async (route) => {
    await held;
    await route.continue();
  });
  const asked = page.waitForRequest('**/conversations/*?*offset=*');
  await page.evaluate((hash) => (location.hash = hash), `${me}/${far}`);
  await asked;
  await row(page, near).click();
  await bubble(page, 'near').waitFor();
  release();
  // It has been found by then.
  await row(page, far).waitFor({ state: 'attached' });
  await drawn(page);
  assert.match(await page.locator('.thread-head h2').textContent(), /^Guest No 299 /);
  await eventually(() => new URL(page.url()).hash, `#${talking(me, near)}`);
});

test('what one wrote oneself is found under the name of whom one wrote to, however long ago', async () => {
  const [, far] = await guest(2);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, created_at) values ('${far}', '${me}', 'I saw a hoopoe', now() - interval '3 days')`);
  await replicas.sql(`update conversations set updated_at = now() - interval '3 days' where id = '${far}'`);
  const page = await visit(at(replica.url, me));
  await page.locator('.list .row').first().waitFor();
  await page.getByRole('searchbox').fill('hoopoe');
  await page.locator('.results .row', { hasText: 'You: ' }).locator('strong', { hasText: /^Guest No 2 / }).waitFor();
});
