// Hundreds of conversations: the list is read in parts, and nobody loses their place in it.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { assertFocus, at, balancer, box, bubble, CUT, cutOff, drawn, eventually, held, pane, post, replica, replicas, stage, talking, visit } from './support.js';

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

/** Reads of the list beyond its beginning, and of its beginning. */
const FURTHER = '**/users/*/conversations?*offset=*';
const BEGINNING = (url) => url.pathname.endsWith(`/users/${me}/conversations`) && !url.searchParams.has('offset');

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
  const { asked, release } = await held(page, FURTHER);
  await page.locator('.list-body').evaluate((it) => (it.scrollTop = it.scrollHeight));
  await asked();
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
  const { asked, release } = await held(page, FURTHER);
  await page.evaluate((hash) => (location.hash = hash), `${me}/${far}`);
  await asked();
  await row(page, near).click();
  await bubble(page, 'near').waitFor();
  release();
  // It has been found by then.
  await row(page, far).waitFor({ state: 'attached' });
  await drawn(page);
  assert.match(await page.locator('.thread-head h2').textContent(), /^Guest No 299 /);
  await eventually(() => new URL(page.url()).hash, `#${talking(me, near)}`);
});

test('where somebody goes while the list is read anew, and how far, is there afterwards', async () => {
  const [, open] = await guest(215);
  const [oldest, unlisted] = await guest(1);
  const page = await visit(at(replica.url, me));
  await page.locator('.list .row').first().waitFor();
  const { asked, release } = await held(page, BEGINNING);
  await post(replica.url, oldest, 'Do you remember me?', unlisted);
  await asked();
  await scrolled(page, 100);
  await row(page, open).click();
  await page.getByRole('heading', { name: /^Guest No 215 / }).waitFor();
  // Nobody asks for more.
  await page.locator('.list-body').evaluate((it) => (it.scrollTop = 0));
  await drawn(page);
  release();
  await row(page, unlisted).waitFor({ state: 'attached' });
  await drawn(page);
  assert.ok((await rows(page)) >= 100, `${await rows(page)} are listed`);
  assert.equal(await row(page, open).getAttribute('aria-current'), 'true');
});

test('who writes while the list is read anew is there afterwards, though they were moved from part to part', async () => {
  const [oldest, unlisted] = (await replicas.sql(`with other as (insert into users (first_name, last_name, email) values ('Oldest', 'of all', gen_random_uuid() || '@example.com') returning id)
    insert into conversations (participant1_id, participant2_id, created_at, updated_at) select '${me}', id, now() - interval '5 days', now() - interval '5 days' from other returning participant2_id, id`)).split('|');
  const [writer, moved] = await guest(71);
  const page = await visit(at(replica.url, me));
  await page.locator('.list .row').first().waitFor();
  await scrolled(page, 250);
  await row(page, moved).waitFor({ state: 'attached' });
  // The first 200 have come when the rest is asked for.
  const { asked, release } = await held(page, FURTHER);
  await post(replica.url, oldest, 'Do you remember me?', unlisted);
  await asked();
  await post(replica.url, writer, 'And me?', moved);
  await row(page, moved).getByText('And me?').waitFor({ state: 'attached' });
  release();
  await row(page, unlisted).waitFor({ state: 'attached' });
  await row(page, moved).getByText('And me?').waitFor({ state: 'attached' });
});

test('who is written to from among everybody, far down the list, takes nobody’s place in it', async () => {
  const [far] = await guest(5);
  await replicas.sql(`update users set first_name = 'Somebody', last_name = 'far down' where id = '${far}'`);
  const page = await visit(at(replica.url, me));
  await page.locator('.list .row').first().waitFor();
  assert.equal(await rows(page), 50);
  await page.getByRole('searchbox').fill('far down');
  await page.locator('.results .row', { hasText: 'Somebody far down' }).first().click();
  await page.getByRole('heading', { name: 'Somebody far down' }).waitFor();
  await scrolled(page, 299);
  await eventually(() => rows(page), 300);
});

test('what one wrote oneself is found under the name of whom one wrote to, however long ago', async () => {
  const [, far] = await guest(2);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, created_at) values ('${far}', '${me}', 'I saw a hoopoe', now() - interval '3 days')`);
  await replicas.sql(`update conversations set updated_at = now() - interval '3 days' where id = '${far}'`);
  const page = await visit(at(replica.url, me));
  await page.locator('.list .row').first().waitFor();
  let pages = 0;
  page.on('request', (request) => (pages += request.url().includes('offset=')));
  await page.getByRole('searchbox').fill('hoopoe');
  await page.locator('.results .row', { hasText: 'You: ' }).locator('strong', { hasText: /^Guest No 2 / }).waitFor();
  // The result says so itself: the list is not read on for it.
  await drawn(page);
  assert.equal(pages, 0);
});

test('the title counts what is unread in all conversations, also in those that are not listed', async () => {
  const [first, far] = await guest(2);
  const [second, farther] = await guest(1);
  const [near, listed] = await guest(300);
  const long = "now() - interval '3 days'";
  for (const [id, other] of [[far, first], [farther, second], [listed, near]]) {
    await replicas.sql(`insert into messages (conversation_id, sender_id, content, created_at) select '${id}', '${other}', 'unread ' || n, ${long} from generate_series(1, 3) n`);
    if (id !== listed) await replicas.sql(`update conversations set updated_at = ${long} where id = '${id}'`);
  }
  const page = await visit(at(replica.url, me));
  const title = (text) => eventually(() => page.title(), text);
  await row(page, listed).locator('.badge').waitFor();
  assert.equal(await rows(page), 50);
  await title('(9) pgchat');
  // Read elsewhere.
  const read = (id) => fetch(`${replica.url}/api/v1/chat/conversations/${id}/read?user_id=${me}`, { method: 'PUT' });
  await read(far);
  await title('(6) pgchat');
  // Deleted.
  await replicas.sql(`update messages set deleted_at = now() where conversation_id = '${farther}' and content = 'unread 2'`);
  await title('(5) pgchat');
  await row(page, listed).click();
  await title('(2) pgchat');
  // Whatever is listed meanwhile counts once.
  await post(replica.url, first, 'Do you remember me?', far);
  await title('(3) pgchat');
  await scrolled(page, 300);
  await row(page, farther).locator('.badge', { hasText: '2' }).waitFor();
  await title('(3) pgchat');
  await read(farther);
  await title('(1) pgchat');
});

test('the title counts what comes in conversations that are not listed at once, before anything is read, and each message once', async () => {
  const page = await visit(at(replica.url, me));
  const title = (text) => eventually(() => page.title(), text);
  await row(page, (await guest(300))[1]).waitFor();
  const list = await held(page, BEGINNING);
  const count = await held(page, '**/unread-count?*');
  for (const number of [3, 2, 1]) {
    const [other, id] = await guest(number);
    await post(replica.url, other, 'Do you remember me?', id);
  }
  await title('(3) pgchat');
  list.release();
  for (const number of [3, 2, 1]) await row(page, (await guest(number))[1]).locator('.badge').waitFor();
  await title('(3) pgchat');
  count.release();
  await drawn(page);
  await title('(3) pgchat');
});

test('the title counts what came in a conversation that was begun while there was no connection', async () => {
  const [far, unlisted] = await guest(1);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${unlisted}', '${far}', 'unread ' || n from generate_series(1, 3) n`);
  await replicas.sql(`update conversations set updated_at = now() - interval '3 days' where id = '${unlisted}'`);
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, me), { forgive: new RegExp(`${CUT.source}|net::ERR_FAILED`) });
  const title = (text) => eventually(() => page.title(), text);
  await title('(3) pgchat');
  // Nobody counts it for the page.
  await page.route('**/unread-count?*', (route) => route.abort());
  // What came before it is not sent again.
  const [, listed] = await guest(300);
  await post(replica.url, me, 'Later than those', listed);
  await row(page, listed).getByText('Later than those').waitFor();
  await cutOff(front, page);
  const stranger = await replicas.sql("insert into users (first_name, last_name, email) values ('Ada', 'Nilsson', gen_random_uuid() || '@example.com') returning id");
  const begun = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${me}', '${stranger}') returning id`);
  for (const text of ['one', 'two']) await post(replica.url, stranger, text, begun);
  front.refuse = false;
  await row(page, begun).locator('.badge', { hasText: '2' }).waitFor();
  await title('(5) pgchat');
});

test('what is read here while it is counted is not counted once more', async () => {
  const [near, listed] = await guest(300);
  const [far, unlisted] = await guest(1);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${listed}', '${near}', 'unread ' || n from generate_series(1, 3) n`);
  const page = await visit(`${replica.url}/health/live`, {
    before: () => {
      const { setTimeout } = window;
      window.moments = [];
      window.setTimeout = (then, ms, ...more) => (ms === 1_000 ? window.moments.push(then) : setTimeout(then, ms, ...more));
      // The mark takes longer than this test.
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        if (JSON.parse(text).type !== 'mark_read') send.call(this, text);
      };
    },
  });
  const title = (text) => eventually(() => page.title(), text);
  const counted = page.waitForResponse('**/unread-count?*');
  await page.goto(at(replica.url, me));
  await counted;
  await title('(3) pgchat');
  const answers = [];
  await page.route('**/unread-count?*', async (route) => {
    const response = await route.fetch();
    await new Promise((answer) => answers.push(answer));
    await route.fulfill({ response });
  });
  const momentsPass = () => page.evaluate(() => window.moments.splice(0).forEach((over) => over()));
  const askedAgain = (times) => eventually(async () => {
    await momentsPass();
    return answers.length;
  }, times);
  await post(replica.url, far, 'Do you remember me?', unlisted);
  await row(page, unlisted).waitFor();
  await title('(4) pgchat');
  await askedAgain(1);
  await row(page, listed).click();
  await title('(1) pgchat');
  answers[0]();
  await askedAgain(2);
  await drawn(page);
  assert.equal(await page.title(), '(1) pgchat');
  // It was asked for while the mark was under way, and nothing is told for moments.
  answers[1]();
  await eventually(async () => {
    await momentsPass();
    assert.equal(await page.title(), '(1) pgchat');
    return answers.length;
  }, 3);
  answers[2]();
});

test('among hundreds of people the other participant of the open conversation is the first to choose for the second pane, and is in it at once', async () => {
  const [other, conversation] = await guest(99);
  const page = await visit(at(replica.url, talking(me, conversation)));
  await page.getByRole('heading', { name: /^Guest No 99 / }).waitFor();
  const { asked, release } = await held(page, `**/users/${other}`);
  await page.getByRole('button', { name: 'Second user' }).click();
  const people = page.locator('.people .row');
  // The others need not wait for that.
  await asked();
  await people.nth(59).focus();
  release();
  await people.nth(60).waitFor({ state: 'attached' });
  await assertFocus(people.nth(60));
  assert.match(await people.first().textContent(), /Guest No 99 .*in this conversation/);
  assert.equal(await people.filter({ hasText: 'in this conversation' }).count(), 1);
  await people.first().click();
  await eventually(() => new URL(page.url()).hash, `#${talking(me, conversation)}&${talking(other, conversation)}`);
  await pane(page, 2).getByRole('textbox', { name: 'Message' }).waitFor();
});

test('of more conversations than somebody may watch the people of those last active are watched', async () => {
  await replicas.sql(`with guest as (insert into users (first_name, last_name, email) select 'Older', 'No ' || n, gen_random_uuid() || '@example.com' from generate_series(1, 210) n returning id)
    insert into conversations (participant1_id, participant2_id, created_at, updated_at) select '${me}', id, t.at, t.at from guest, lateral (select now() - interval '4 days' as at) t`);
  const watched = () => {
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (text) {
      const { type, data } = JSON.parse(text);
      if (type === 'watch_presence') window.watched = data.userIds;
      send.call(this, text);
    };
  };
  const page = await visit(at(replica.url, me), { before: watched });
  await page.locator('.list .row').first().waitFor();
  await scrolled(page, 510);
  await eventually(() => page.evaluate(() => window.watched.length), 500);
  const [[first], [last]] = [await guest(300), await guest(1)];
  assert.deepEqual(await page.evaluate((who) => who.map((id) => window.watched.indexOf(id)), [first, last]), [0, 299]);
  await visit(at(replica.url, first));
  await row(page, (await guest(300))[1]).locator('.avatar.online').waitFor();
  assert.ok(await page.locator('.notice').isHidden());
});

test('of more people than can be chosen from at once it is said that there are more, until their names are few', async () => {
  const page = await visit(replica.url);
  const found = page.locator('.people .row');
  const others = found.filter({ hasNotText: me });
  await others.first().waitFor();
  const more = page.locator('.people').getByText('There are more: type part of a name.');
  await more.waitFor();
  await page.getByRole('searchbox', { name: 'Find somebody by name' }).fill(me);
  await others.first().waitFor({ state: 'detached' });
  await more.waitFor();
  await page.getByRole('searchbox', { name: 'Find somebody by name' }).fill('Amélie');
  await more.waitFor({ state: 'detached' });
  assert.equal(await found.count(), 1);
});
