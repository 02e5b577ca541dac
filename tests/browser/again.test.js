// What could not be had is asked for again without anybody who asks: with growing pauses, and at once when there is a connection again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertFocus, at, balancer, box, bubble, CONVERSATION, cutOff, drawn, eventually, held, listOf, LUKASZ, patient, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

const FORGIVEN = /^Failed to load resource/;

/** For `before`: the pauses until something is asked for again, the only ones that are drawn by lot, have a tenth of their length. */
const hasty = () => {
  const { setTimeout } = window;
  window.setTimeout = (then, ms, ...more) => setTimeout(then, Number.isInteger(ms) ? ms : ms / 10, ...more);
};

const REFUSED = { forgive: FORGIVEN, before: hasty };
const field = (page) => page.getByRole('searchbox');
const people = (page) => page.locator('.results section').first();

const UNAVAILABLE = { status: 503, json: { code: 'unavailable', message: 'the database cannot be reached' } };

/** From now on such requests are refused for the moment, until `mend()`; `count` of them. */
async function broken(page, pattern, fits = () => true, answer = UNAVAILABLE) {
  const state = { count: 0, broken: true, mend: () => (state.broken = false) };
  await page.route(pattern, (route) => {
    if (!fits(new URL(route.request().url()))) return route.fallback();
    state.count++;
    if (!state.broken) return route.fallback();
    return route.fulfill(answer);
  });
  return state;
}

async function list(url = replica.url, options) {
  const page = await visit(at(url, AMELIE), options);
  await page.locator('.list .row').first().waitFor();
  return page;
}

test('the pauses double up to a bound, half of that to one and a half; the service may ask for more, and what stays is left alone', async () => {
  const page = await visit(replica.url);
  await page.clock.install();
  const told = await page.evaluate(async () => {
    const { Retry } = await import('/page/failure.js');
    const pauses = [];
    const real = window.setTimeout;
    window.setTimeout = (run, ms) => pauses.push(ms);
    const retry = new Retry();
    const fail = (error, times) => { for (let n = 0; n < times; n++) retry.after(error, () => {}); };
    for (const random of [0, 0.5, 1]) {
      Math.random = () => random;
      fail({ code: 'network' }, 6);
      retry.done();
    }
    fail({ code: 'unavailable', status: 503, retryAfterMs: 5_000 }, 1);
    fail({ code: 'not_a_participant', status: 403 }, 1);
    fail({ code: 'search_timeout', status: 503, retryAfterMs: 5_000 }, 1);
    window.setTimeout = real;
    return pauses;
  });
  assert.deepEqual(told, [1, 2, 3].flatMap((times) => [1, 2, 4, 8, 15, 15].map((seconds) => seconds * 1000 * times)).concat(5_000 + 3_000));
});

test('a search that failed says so, and comes by itself; what was found stays as it is, and who has gone to it', async () => {
  const page = await list(replica.url, REFUSED);
  const search = await broken(page, '**/search?*');
  await field(page).fill('ze');
  await page.getByText('Messages could not be searched: the database cannot be reached', { exact: true }).waitFor();
  const zeynep = people(page).locator('.row', { hasText: 'Zeynep' });
  await zeynep.focus();
  // A screen reader is told, too.
  await page.locator('.results').getByRole('status').getByText('Messages could not be searched').waitFor({ state: 'attached' });
  await eventually(() => search.count, (count) => count >= 2);
  await page.getByText('Messages could not be searched').first().waitFor();
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${CONVERSATION}', '${LUKASZ}', 'the letters ze alone')`);
  search.mend();
  await page.locator('.results .row', { hasText: 'letters ze alone' }).waitFor();
  assert.equal(await page.getByText('could not be searched').count(), 0);
  await assertFocus(zeynep);
});

test('a search without a net is done at once when there is one again', async () => {
  const front = await balancer([replica.port]);
  const page = await list(front.url, { forgive: /^Failed to load resource|^WebSocket connection/, before: patient });
  await cutOff(front, page);
  await field(page).fill('Zeynep');
  for (const what of ['People', 'Messages']) await page.getByText(`${what} could not be searched: There was no answer.`, { exact: true }).waitFor();
  front.refuse = false;
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await people(page).locator('.row', { hasText: 'Zeynep' }).waitFor();
  assert.equal(await page.getByText('could not be searched').count(), 0);
  await page.locator('.banner').waitFor({ state: 'hidden' });
});

test('what a search leads to is gone to, also where it was faster than the list', async () => {
  const page = await visit(`${replica.url}/docs/`);
  const { asked, release } = await held(page, listOf(AMELIE));
  await page.goto(at(replica.url, AMELIE));
  await asked();
  await field(page).fill('flat');
  await page.locator('.results .row', { has: page.locator('mark') }).first().click();
  await page.locator('.skeletons').waitFor();
  release();
  await page.locator('.message.found', { hasText: 'flat' }).waitFor();
  assert.ok(await page.locator('.notice').isHidden());
});

test('by hand a search that failed is done at once', async () => {
  const page = await list(replica.url, { forgive: FORGIVEN, before: patient });
  const search = await broken(page, '**/search?*');
  await field(page).fill('flat');
  const now = page.locator('.results').getByRole('button', { name: 'Try now' });
  await now.waitFor();
  search.mend();
  await now.focus();
  await page.keyboard.press('Enter');
  await page.locator('.results mark').first().waitFor();
  await assertFocus(page.locator('.results .row').first());
});

test('a search that takes too long is done again by hand only, whatever else is', async () => {
  const page = await list(replica.url, REFUSED);
  await page.clock.install();
  await page.clock.pauseAt(await page.evaluate(() => Date.now() + 60_000)); // no time passes but what is given here
  const messages = await broken(page, '**/search?*', () => true, { status: 503, headers: { 'retry-after': '5' }, json: { code: 'search_timeout', message: 'narrow it down' } });
  const users = await broken(page, '**/users/?*q=flat*');
  await field(page).fill('flat');
  await page.clock.runFor(1_000);
  await page.getByText('Messages could not be searched: it took too long. Try rarer words, or more of them.', { exact: true }).first().waitFor();
  await page.getByText('People could not be searched').first().waitFor();
  users.mend();
  await page.clock.runFor(300_000);
  await eventually(() => users.count, (count) => count === 2);
  await page.getByText('People could not be searched').first().waitFor({ state: 'detached' });
  await page.clock.runFor(300_000);
  await page.evaluate(() => dispatchEvent(new Event('online')));
  assert.equal(messages.count, 1);
  const now = page.locator('.results').getByRole('button', { name: 'Try now' });
  await now.click();
  await eventually(() => messages.count, (count) => count === 2);
  messages.mend();
  await eventually(() => page.locator('.results').getAttribute('aria-busy'), (busy) => busy === 'false');
  await now.click();
  await page.locator('.results mark').first().waitFor();
  assert.deepEqual([messages.count, users.count], [3, 2]);
});

test('what failed for one text is not asked for when another one stands there, nor when nobody searches any more', async () => {
  const page = await list(replica.url, REFUSED);
  await page.clock.install();
  await page.clock.pauseAt(await page.evaluate(() => Date.now() + 60_000)); // no time passes but what is given here
  const flat = await broken(page, '**/search?*', (url) => url.searchParams.get('q') === 'flat');
  for (const next of ['Zeynep', '']) {
    flat.broken = true;
    await field(page).fill('flat');
    await page.clock.runFor(1_000);
    await page.getByText('Messages could not be searched').first().waitFor();
    const asked = flat.count;
    flat.mend();
    await field(page).fill(next);
    await page.clock.runFor(1_000);
    if (next) await people(page).locator('.row', { hasText: 'Zeynep' }).waitFor();
    else await page.locator(`[data-conversation="${CONVERSATION}"]`).waitFor();
    await page.clock.runFor(300_000);
    await page.evaluate(() => dispatchEvent(new Event('online')));
    // Whatever that made the page ask for has been asked before this is.
    await page.evaluate(() => fetch('/health/live').then(() => undefined));
    assert.equal(flat.count, asked);
    assert.equal(await page.locator('.results mark', { hasText: 'flat' }).count(), 0);
  }
});

test('while the answer is long in coming, what was found for another text goes', async () => {
  const page = await list();
  await field(page).fill('Zeynep');
  const zeynep = people(page).locator('.row', { hasText: 'Zeynep' });
  await zeynep.waitFor();
  const { release } = await held(page, '**/users/?*q=Omar*');
  await field(page).fill('Omar');
  await zeynep.waitFor({ state: 'detached' });
  assert.equal(await page.locator('.results').getAttribute('aria-busy'), 'true');
  await page.locator('.results .skeleton').first().waitFor();
  release();
  await people(page).locator('.row', { hasText: 'Omar' }).waitFor();
  assert.equal(await page.locator('.results').getAttribute('aria-busy'), 'false');
  await page.locator('.results .skeleton').first().waitFor({ state: 'hidden' });
});

test('the answer to a text that no longer stands there is never shown, and nobody is found to talk to themselves', async () => {
  const page = await list();
  const { asked, release } = await held(page, '**/users/?*q=Omar*');
  const answered = page.waitForResponse('**/users/?*q=Omar*');
  await field(page).fill('Omar');
  await asked();
  await field(page).fill('e');
  await people(page).evaluate((it) => {
    window.outdated = false;
    new MutationObserver(() => (window.outdated ||= it.textContent.includes('Omar') && !it.textContent.includes('Zeynep'))).observe(it, { childList: true, characterData: true, subtree: true });
  });
  release();
  await (await answered).finished();
  await people(page).locator('.row', { hasText: 'Zeynep' }).waitFor();
  await drawn(page);
  assert.equal(await page.evaluate(() => window.outdated), false);
  assert.equal(await people(page).locator('.row', { hasText: 'Zeynep' }).count(), 1);
  assert.equal(await people(page).locator('.row', { hasText: 'Amélie' }).count(), 0);
});

test('the messages of a conversation that could not be read at first come by themselves', async () => {
  const page = await list(replica.url, REFUSED);
  const messages = await broken(page, '**/messages?*');
  await page.locator(`[data-conversation="${CONVERSATION}"] button`).click();
  const fault = page.locator('.edge').getByText('Messages could not be loaded: the database cannot be reached', { exact: true });
  await fault.waitFor();
  assert.equal(await fault.getAttribute('role'), 'alert');
  await eventually(() => messages.count, (count) => count >= 2);
  messages.mend();
  await page.locator('.message').first().waitFor();
  await fault.waitFor({ state: 'detached' });
  // Only where one looks.
  await page.clock.install();
  const other = await broken(page, '**/messages?*');
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await fault.waitFor();
  await page.locator(`[data-conversation="${CONVERSATION}"] button`).click();
  await page.locator('.message').first().waitFor();
  const asked = other.count;
  await page.clock.runFor(300_000);
  assert.equal(other.count, asked);
});

test('who asks for messages again by the keyboard is not thrown out of the page', async () => {
  const page = await list(replica.url, { forgive: FORGIVEN, before: patient });
  const messages = await broken(page, '**/messages?*');
  await page.locator(`[data-conversation="${CONVERSATION}"] button`).click();
  const again = page.locator('.edge').getByRole('button', { name: 'Try again' });
  await again.waitFor();
  messages.mend();
  await again.focus();
  await page.keyboard.press('Enter');
  await page.locator('.message').first().waitFor();
  await assertFocus(page.getByRole('region', { name: 'Messages' }));
});

test('older messages that could not be read come by themselves, and what one looks at stays in its place', async () => {
  const id = await replicas.sql(`with other as (insert into users (first_name, last_name, email) values ('Old', 'Friend', gen_random_uuid() || '@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select '${AMELIE}', id from other returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${id}', '${AMELIE}', 'line ' || n from generate_series(1, 250) n`);
  const page = await visit(at(replica.url, talking(AMELIE, id)), REFUSED);
  await bubble(page, 'line 250').waitFor();
  const older = await broken(page, '**/messages?*');
  const scroller = page.locator('.scroller');
  const fault = page.locator('.edge').getByText('Messages could not be loaded: the database cannot be reached', { exact: true });
  await eventually(() => scroller.evaluate((it) => (it.scrollTop = 0)).then(() => fault.count()));
  await bubble(page, 'line 151').waitFor();
  await eventually(() => older.count, (count) => count >= 2);
  const top = async () => (await box(bubble(page, 'line 155'))).y;
  const before = await top();
  older.mend();
  await bubble(page, 'line 100').waitFor({ state: 'attached' });
  await fault.waitFor({ state: 'detached' });
  assert.ok(Math.abs((await top()) - before) <= 1, `what one reads moved: ${await top()}, ${before}`);
});

test('a place that a search leads to and that could not be read is gone to once it can be', async () => {
  const id = await replicas.sql(`with other as (insert into users (first_name, last_name, email) values ('Bird', 'Watcher', gen_random_uuid() || '@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select '${AMELIE}', id from other returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${id}', '${AMELIE}', case n when 30 then 'a bittern in the reeds' else 'number ' || n end from generate_series(1, 400) n`);
  for (const opened of [false, true]) {
    const page = await list(replica.url, REFUSED);
    if (opened) {
      await page.locator(`[data-conversation="${id}"] button`).click();
      await bubble(page, 'number 400').waitFor();
    }
    const messages = await broken(page, '**/messages?*');
    await field(page).fill('bittern');
    await page.locator('.results .row', { hasText: 'bittern' }).click();
    await page.locator('.edge').getByText(/^Messages could not be loaded/).waitFor();
    // Whoever scrolls meanwhile still wants to go there.
    await page.locator('.scroller').evaluate((it) => {
      it.scrollTop = 0;
      it.dispatchEvent(new Event('scroll'));
    });
    messages.mend();
    const found = page.locator('.message.found', { hasText: 'a bittern in the reeds' });
    await found.waitFor();
    const [inner, outer] = await Promise.all([found, page.locator('.scroller')].map(box));
    assert.ok(inner.y > outer.y && inner.y + inner.height < outer.y + outer.height, 'it is in sight');
  }
});

test('a list that could not be read at first is read at once when there is a connection again', async () => {
  const page = await visit(`${replica.url}/docs/`, { forgive: FORGIVEN, before: patient });
  const conversations = await broken(page, listOf(AMELIE));
  await page.goto(at(replica.url, AMELIE));
  await page.getByText('The conversations could not be loaded').waitFor();
  conversations.mend();
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await page.locator('.list .row').first().waitFor();
});

test('a list that could not be read anew is, by itself; it is told once', async () => {
  const page = await list(replica.url, REFUSED);
  const row = page.locator(`[data-conversation="${CONVERSATION}"]`);
  const { seq } = await post(replica.url, LUKASZ, 'read elsewhere');
  await post(replica.url, LUKASZ, 'not read yet');
  await row.getByText('not read yet', { exact: true }).waitFor();
  const conversations = await broken(page, listOf(AMELIE));
  await page.evaluate(() => {
    window.said = 0;
    new MutationObserver(() => window.said++).observe(document.querySelector('.notice'), { childList: true });
  });
  // Up to somewhere, in another window: how many are left is asked for.
  await fetch(`${replica.url}/api/v1/chat/conversations/${CONVERSATION}/read?user_id=${AMELIE}&up_to_seq=${seq}`, { method: 'PUT' });
  await page.locator('.notice').getByText('Reloading failed: the database cannot be reached').waitFor();
  await eventually(() => conversations.count, (count) => count >= 2);
  conversations.mend();
  await row.locator('.badge', { hasText: /^1\b/ }).waitFor();
  assert.equal(await page.evaluate(() => window.said), 1);
});

test('conversations further down that could not be read come by themselves', async () => {
  const ids = await replicas.sql(`insert into users (first_name, last_name, email) select 'Many', 'No ' || n, gen_random_uuid() || '@example.com' from generate_series(0, 80) n returning id`);
  const [me, oldest] = ids.split('\n');
  await replicas.sql(`insert into conversations (participant1_id, participant2_id, created_at, updated_at)
    select '${me}', id, t.at, t.at from users, lateral (select now() - interval '1 day' + split_part(last_name, ' ', 2)::integer * interval '2 minutes' as at) t where first_name = 'Many' and id <> '${me}'`);
  const page = await visit(at(replica.url, me), REFUSED);
  await page.locator('.list .row').first().waitFor();
  const more = await broken(page, listOf(me), (url) => url.searchParams.has('offset'));
  await page.locator('.list .row').last().scrollIntoViewIfNeeded();
  await page.locator('.notice').getByText('More conversations could not be loaded: the database cannot be reached').waitFor();
  more.mend();
  await page.locator('.list .row', { hasText: 'Many No 1' }).last().waitFor({ state: 'attached' });
  await eventually(() => page.locator('.list .row').count(), 80);

  // An address that names one of those is no wrong one, only because they could not be read.
  const id = await replicas.sql(`select id from conversations where participant2_id = '${oldest}'`);
  const later = await visit(`${replica.url}/docs/`, REFUSED);
  const again = await broken(later, listOf(me), (url) => url.searchParams.has('offset'));
  await later.goto(at(replica.url, talking(me, id)));
  await later.locator('.notice').getByText('More conversations could not be loaded').waitFor();
  again.mend();
  await later.locator('.thread-head').getByText('Many No 1', { exact: true }).waitFor();
});

test('of a proxy’s page in place of messages one is told what it means for people', async () => {
  const page = await list(replica.url, REFUSED);
  const read = await broken(page, '**/messages?*', undefined, { status: 502, contentType: 'text/html', body: '<h1>Bad Gateway</h1>' });
  await page.locator('.list .row').first().click();
  await page.locator('.edge').getByText('Messages could not be loaded: Something in between answered, with status 502.', { exact: true }).waitFor();
  read.mend();
  await page.locator('.message').first().waitFor();
});

test('what a gateway says of itself one reads in its own words', async () => {
  const page = await list(replica.url, REFUSED);
  await broken(page, '**/messages?*', undefined, { status: 429, contentType: 'application/json', body: '{"message": "the quota of this hour is used up"}' });
  await page.locator('.list .row').first().click();
  await page.locator('.edge').getByText('Messages could not be loaded: the quota of this hour is used up', { exact: false }).waitFor();
});

test('people to choose from that could not be had at first come by themselves, also after a proxy’s page', async () => {
  const page = await visit(`${replica.url}/docs/`, REFUSED);
  const users = await broken(page, '**/api/v1/users/?*', undefined, { status: 502, contentType: 'text/html', body: '<h1>Bad Gateway</h1>' });
  await page.goto(replica.url);
  await page.getByText('The service cannot be reached').waitFor();
  await page.getByText('Something in between answered, with status 502.').waitFor();
  // Whether it would believe that one is somebody is not known yet.
  const believes = page.getByText('this service believes its callers');
  assert.equal(await believes.count(), 0);
  await eventually(() => users.count, (count) => count >= 2);
  await page.getByRole('button', { name: 'Try again' }).focus();
  users.mend();
  await page.locator('.people .row').first().waitFor();
  await assertFocus(page.getByRole('searchbox', { name: 'Find somebody by name' }));
  await believes.waitFor();
});
