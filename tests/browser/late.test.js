// Answers that come late, or only once they were asked for again: they take nobody from what they have turned to meanwhile. And who
// types on while a search is under way: the service lets one search of a user run at a time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { badge, reader, waitsForOlder } from './reader.js';
import { AMELIE, assertFocus, at, box, bubble, CONVERSATION, drawn, eventually, held, listOf, LUKASZ, patient, post, replica, replicas, stage, talking, visit, ZEYNEP } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** For `before`: the page is in a tab that nobody sees, as long as `window.unseen` says so. */
const unseen = () => {
  window.unseen = true;
  Object.defineProperty(document, 'visibilityState', { get: () => (window.unseen ? 'hidden' : 'visible') });
};

/** The line above what is new stands above that message, at the top of the messages. */
async function assertAtLine(page, text) {
  await page.locator('.divider.new + .message', { has: page.getByText(text, { exact: true }) }).waitFor();
  const [line, { y }] = await Promise.all([page.getByRole('separator', { name: 'New messages' }), page.locator('.scroller')].map(box));
  assert.ok(line.y >= y && line.y < y + 80, `the line is at ${line.y}, the messages begin at ${y}`);
}

test('where older messages could not be read, a conversation that is opened again opens at what is new, and not at the oldest that had come', async () => {
  const { user, conversation } = await reader();
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read)
    select '${conversation}', '${LUKASZ}', 'number ' || n, n <= 350 from generate_series(1, 600) n`);
  const other = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${user}', '${ZEYNEP}') returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read) values ('${other}', '${ZEYNEP}', 'somewhere else', true)`);
  const page = await visit(at(replica.url, user), { forgive: /503/, before: `(${unseen})(); (${patient})(); (${waitsForOlder})();` });
  let refuses = true;
  await page.route((url) => url.pathname.includes(conversation) && url.searchParams.has('before'), (route) => (refuses ? route.fulfill({ status: 503 }) : route.continue()));
  const open = (id) => page.locator(`[data-conversation="${id}"] button`).click();
  await badge(page, '99').waitFor();
  await open(conversation);
  await page.getByRole('button', { name: 'Try again' }).waitFor();
  await open(other);
  await bubble(page, 'somewhere else').waitFor();
  // Nobody has seen it, so nothing has been read.
  await badge(page, '99').waitFor();
  refuses = false;
  await page.evaluate(() => (window.unseen = false));
  await open(conversation);
  await assertAtLine(page, 'number 351');
  await eventually(() => page.getByRole('button', { name: 'Try again' }).count(), 0);
});

const field = (page) => page.getByRole('textbox', { name: 'Message' });
const open = (page, name) => page.locator('.list li', { hasText: name }).getByRole('button').click();
const shows = (page, name) => page.locator('.thread-head').getByRole('heading', { name }).waitFor();

const MEANWHILE = {
  'has chosen another conversation': (page) => open(page, 'Zeynep'),
  'is in the one that was open': () => {},
};

for (const [who, turn] of Object.entries(MEANWHILE)) {
  test(`a conversation that is slow to begin does not open under the hands of who ${who} and writes there`, async () => {
    const page = await visit(at(replica.url, AMELIE));
    await open(page, who.includes('another') ? 'Łukasz' : 'Zeynep');
    const { asked, release } = await held(page, (url) => url.pathname.endsWith('/chat/conversations'));
    const answered = page.waitForResponse((response) => response.request().method() === 'POST');
    await page.getByRole('button', { name: 'New conversation' }).click();
    await page.locator('.results .row', { hasText: 'Omar' }).click();
    await asked();
    await turn(page);
    await shows(page, /Zeynep/);
    await field(page).click();
    const text = `To who ${who}: my PIN is `;
    await page.keyboard.type(text);
    release();
    await (await answered).finished();
    await page.locator('.list li', { hasText: 'Omar' }).waitFor();
    await drawn(page);
    await page.keyboard.type('4711');
    await page.keyboard.press('Enter');
    await bubble(page, `${text}4711`).getByTitle(/^(sent|read)$/).waitFor();
    await shows(page, /Zeynep/);
    // It can be had as any other.
    await open(page, 'Omar');
    await shows(page, /Omar/);
  });
}

test('a conversation that is slow to begin opens for who waits for it', async () => {
  const page = await visit(at(replica.url, AMELIE));
  await open(page, 'Zeynep');
  const { asked, release } = await held(page, (url) => url.pathname.endsWith('/chat/conversations'));
  await page.getByRole('button', { name: 'New conversation' }).click();
  await page.locator('.results .row', { hasText: 'Omar' }).click();
  await asked();
  release();
  await shows(page, /Omar/);
  await assertFocus(field(page));
});

test('a conversation far down the list that is slow to be found does not open under the hands of who writes', async () => {
  const { user, conversation } = await reader('the heron of long ago');
  await replicas.sql(`with others as (insert into users (first_name, last_name, email) select 'Many', 'No ' || n, gen_random_uuid() || '@example.com' from generate_series(1, 60) n returning id),
      begun as (insert into conversations (participant1_id, participant2_id) select '${user}', id from others returning id, participant2_id)
    insert into messages (conversation_id, sender_id, content, created_at) select id, participant2_id, 'hello', now() + interval '1 minute' from begun`);
  const page = await visit(at(replica.url, user));
  await page.locator('.list .row', { hasText: 'Many' }).nth(40).waitFor({ state: 'attached' });
  const first = page.locator('.list .row').first();
  const name = await first.locator('strong').textContent();
  await first.click();
  await shows(page, name);
  const { asked, release } = await held(page, (url) => url.searchParams.has('offset'));
  await page.getByRole('searchbox').fill('heron');
  await page.locator('.results .row', { has: page.locator('mark') }).click();
  await asked();
  await field(page).click();
  await page.keyboard.type('My PIN is ');
  release();
  await page.locator(`[data-conversation="${conversation}"]`).waitFor({ state: 'attached' });
  await drawn(page);
  await shows(page, name);
  await assertFocus(field(page));
  assert.ok(!new URL(page.url()).hash.includes(conversation), 'the address names what is shown');
});

for (const typed of ['gar', '']) {
  test(`who is at the search ${typed && 'and types '}while the list is on its way stays there when the conversation opens`, async () => {
    const page = await visit(`${replica.url}/docs/`);
    const { asked, release } = await held(page, listOf(AMELIE));
    await page.goto(at(replica.url, talking(AMELIE)));
    await asked();
    await page.getByRole('searchbox').click();
    await page.keyboard.type(typed);
    release();
    await shows(page, /Łukasz/);
    await page.locator('.message').first().waitFor();
    await assertFocus(page.getByRole('searchbox'));
    await page.keyboard.type('den');
    assert.equal(await page.getByRole('searchbox').inputValue(), `${typed}den`);
  });
}

test('who has asked for the latest messages and opens another conversation meanwhile is led to what is new there', async () => {
  const { user, conversation } = await reader();
  const other = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${user}', '${ZEYNEP}') returning id`);
  await replicas.sql(`
    insert into messages (conversation_id, sender_id, content, is_read) select '${conversation}', '${LUKASZ}', case n when 30 then 'a bittern' else 'line ' || n end, true from generate_series(1, 300) n;
    insert into messages (conversation_id, sender_id, content, is_read) select '${other}', '${ZEYNEP}', 'number ' || n, n <= 50 from generate_series(1, 150) n`);
  const page = await visit(at(replica.url, user));
  await badge(page, '99').waitFor();
  await page.getByRole('searchbox').fill('bittern');
  await page.locator('.results .row', { has: page.locator('mark') }).click();
  await page.locator('.message.found').waitFor();
  const latest = (url) => url.pathname.includes(conversation) && !url.searchParams.has('before') && !url.searchParams.has('after');
  const { asked, release } = await held(page, latest);
  const answered = page.waitForResponse((response) => latest(new URL(response.url())));
  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  await asked();
  await page.locator(`[data-conversation="${other}"] button`).click();
  await assertAtLine(page, 'number 51');
  release();
  await (await answered).finished();
  await drawn(page);
  await assertAtLine(page, 'number 51');
});

const WORD = 'marshwarbler';
const search = (page) => page.getByRole('searchbox');
const row = (page, text) => page.locator('.results .row', { hasText: text });

/** A page of Amélie's whose first search waits until `answer(how)`; `asked`: for which texts messages were searched. */
async function slow() {
  const page = await visit(at(replica.url, AMELIE), { forgive: /^Failed to load resource/ });
  await page.locator('.list .row').first().waitFor();
  const asked = [];
  let answer;
  const answered = new Promise((resolve) => (answer = resolve));
  await page.route('**/search?*', async (route) => {
    asked.push(new URL(route.request().url()).searchParams.get('q'));
    if (asked.length === 1) await (await answered)(route);
    else await route.continue();
  });
  return { page, asked, answer: (how = (route) => route.continue()) => answer(how) };
}

/** People are looked for at the same moment as messages, and wait for nobody: their answer tells that the pause after typing is over. */
async function type(page, text) {
  const people = page.waitForResponse((response) => response.url().includes('/users/?') && new URL(response.url()).searchParams.get('q') === text);
  await search(page).fill(text);
  await (await people).finished();
}

test('who types on while a search is under way is answered as soon as that has ended, and no text in between is asked for', async () => {
  await post(replica.url, AMELIE, `a ${WORD} in the reeds`);
  const ways = [undefined, (route) => route.fulfill({ status: 503, json: { code: 'search_timeout', message: 'narrow it down' } }), (route) => route.abort()];
  for (const how of ways) {
    const { page, asked, answer } = await slow();
    for (const text of ['flat', 'flat i', 'flat in', WORD]) await type(page, text);
    await drawn(page);
    assert.deepEqual(asked, ['flat']);
    answer(how);
    await row(page, WORD).waitFor();
    assert.equal(await page.getByText('could not be searched').count(), 0);
    assert.deepEqual(asked, ['flat', WORD]);
    await page.close();
  }
});

test('who closes the search while a text waits for its turn has nothing more asked; the next search still waits for the one under way', async () => {
  const word = 'fencewarbler';
  await post(replica.url, AMELIE, `a ${word} on the fence`);
  const { page, asked, answer } = await slow();
  for (const text of ['flat', 'flat i']) await type(page, text);
  await page.getByRole('button', { name: 'Close the search' }).click();
  await page.locator(`[data-conversation="${CONVERSATION}"]`).waitFor();
  await type(page, word);
  await drawn(page);
  assert.deepEqual(asked, ['flat']);
  answer();
  await row(page, word).waitFor();
  assert.deepEqual(asked, ['flat', word]);
  // Enter takes what was found for the text that stands there.
  await search(page).press('Enter');
  await bubble(page, `a ${word} on the fence`).waitFor();
});

test('people alone wait for no search of messages', async () => {
  const { page, asked, answer } = await slow();
  await type(page, 'flat');
  await eventually(() => asked.length, 1);
  await search(page).fill('');
  await page.getByRole('button', { name: 'New conversation' }).click();
  await row(page, '').nth(3).waitFor();
  answer();
  await drawn(page);
  assert.deepEqual(asked, ['flat']);
});

test('why messages were not searched is said in words for who searches; where they never are it is no fault', async () => {
  const page = await visit(at(replica.url, AMELIE), { forgive: /^Failed to load resource/ });
  await page.locator('.list .row').first().waitFor();
  const refuse = (status, code) => page.route('**/search?*', (route) => route.fulfill({ status, json: { code, message: 'there is no search: SEARCH_LANGUAGE is off' } }));
  await refuse(503, 'search_timeout');
  await search(page).fill('gr');
  await page.locator('.results .problem').getByText('Messages could not be searched: it took too long. Try rarer words, or more of them.', { exact: true }).waitFor();
  await refuse(404, 'search_off');
  await search(page).fill('gra');
  await row(page, 'Grace').waitFor();
  await page.locator('.results p').getByText('Messages are not searched here.', { exact: true }).last().waitFor();
  assert.equal(await page.locator('.results .problem, .results .button').count(), 0);
  // Where nobody is found, either.
  await search(page).fill('nobody has this name');
  await row(page, 'Grace').waitFor({ state: 'detached' });
  await eventually(() => page.locator('.results section').last().innerText(), 'Messages are not searched here.');
});

test('a screen reader is told what was found also where it is as many again, and that a search takes long', async () => {
  const page = await visit(at(replica.url, AMELIE));
  await page.locator('.list .row').first().waitFor();
  await search(page).fill('Grac');
  await row(page, 'Grace').waitFor();
  const status = page.locator('.results').getByRole('status');
  const found = await status.textContent();
  await status.evaluate((it) => {
    window.heard = [];
    new MutationObserver(() => it.textContent && window.heard.push(it.textContent)).observe(it, { childList: true, characterData: true, subtree: true });
  });
  const heard = () => page.evaluate(() => window.heard);
  await search(page).fill('Grace');
  await eventually(heard, (all) => all.at(-1) === found);
  const { asked, release } = await held(page, '**/users/?*q=Grac*');
  await search(page).fill('Grac');
  await asked();
  await eventually(heard, (all) => all.at(-1) === 'Searching…');
  release();
  await eventually(heard, (all) => all.at(-1) === found);
});
