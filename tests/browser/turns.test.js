// Who types a name while a list by names is under way: the service makes one of them for a user at a time, and where its users
// table is slow all share the turns.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { AMELIE, at, drawn, eventually, replica, replicas, stage, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

const FORGIVEN = { forgive: /^Failed to load resource/ };
const TOO_LONG = (route) => route.fulfill({ status: 503, json: { code: 'search_timeout', message: 'narrow it down' } });

const field = (page) => page.getByRole('searchbox');
const people = (page) => page.locator('.results section').first();
const person = (page, name) => people(page).locator('.row', { hasText: name });

/** The lists of users that the page asks for, and those of its user's conversations by name. */
const byNames = (url) => url.pathname.endsWith('/users/') || (url.pathname.endsWith('/conversations') && url.searchParams.has('q'));

/** From now on the first list by names waits until `answer(how)`; `asked`: the texts of all of them, null where there is none. */
async function slow(page) {
  const asked = [];
  let answer;
  const answered = new Promise((resolve) => (answer = resolve));
  await page.route(byNames, async (route) => {
    const first = !asked.length;
    asked.push(new URL(route.request().url()).searchParams.get('q'));
    if (first) await (await answered)(route);
    else await route.continue();
  });
  return { asked, answer: (how = (route) => route.continue()) => answer(how) };
}

async function list() {
  const page = await visit(at(replica.url, AMELIE), FORGIVEN);
  await page.locator('.list .row').first().waitFor();
  return page;
}

/** Messages are searched at the same moment, and wait for no list: their answer tells that the pause after typing is over. */
async function type(page, text) {
  const messages = page.waitForResponse((response) => response.url().includes('/search?') && new URL(response.url()).searchParams.get('q') === text);
  await field(page).fill(text);
  await (await messages).finished();
}

const WAYS = {
  'is answered': undefined,
  'takes too long': TOO_LONG,
  'is cut off': (route) => route.abort(),
};

for (const [what, how] of Object.entries(WAYS)) {
  test(`who types a name on while a list that ${what} is under way is answered after that one, and no text in between is asked for`, async () => {
    const page = await list();
    const { asked, answer } = await slow(page);
    for (const text of ['Ze', 'Zey', 'Zeyn', 'Zeyne', 'Omar']) await type(page, text);
    await drawn(page);
    assert.deepEqual(asked, ['Ze']);
    // Enter waits for the text that stands there, and for nothing else.
    await field(page).press('Enter');
    answer(how);
    await page.locator('.thread-head').getByRole('heading', { name: /Omar/ }).waitFor();
    assert.deepEqual(asked, ['Ze', 'Omar']);
    assert.equal(await page.getByText('could not be searched').count(), 0);
  });
}

test('who closes the search while a name waits for its turn has nothing more asked; the next list still waits for the one under way', async () => {
  const page = await list();
  const { asked, answer } = await slow(page);
  for (const text of ['Ze', 'Zey']) await type(page, text);
  await page.getByRole('button', { name: 'Close the search' }).click();
  await page.locator('.list li[data-conversation]').first().waitFor();
  await type(page, 'Omar');
  await drawn(page);
  assert.deepEqual(asked, ['Ze']);
  answer();
  await person(page, 'Omar').waitFor();
  assert.deepEqual(asked, ['Ze', 'Omar']);
});

test('what was found of messages is not asked for again because a list that had waited for its turn failed', async () => {
  const page = await list();
  const { asked, answer } = await slow(page);
  const searched = [];
  page.on('request', (request) => request.url().includes('/search?') && searched.push(new URL(request.url()).searchParams.get('q')));
  for (const text of ['Ze', 'Omar']) await type(page, text);
  let refused = false;
  await page.route((url) => byNames(url) && url.searchParams.get('q') === 'Omar', (route) => {
    if (refused) return route.fallback();
    refused = true;
    return TOO_LONG(route);
  });
  answer();
  await people(page).getByRole('button', { name: 'Try now' }).click();
  await person(page, 'Omar').waitFor();
  assert.deepEqual([asked, searched], [['Ze', 'Omar'], ['Ze', 'Omar']]);
});

test('where people are not listed the search for one’s own conversations by name takes its turns in the same way', async () => {
  const secret = 'a secret of this test, long enough for HS256';
  const { url } = await replicas.start({ AUTH_MODE: 'jwt', JWT_SECRET: secret, SERVER_HOST: '127.0.0.1', USER_DIRECTORY: 'services' });
  const [head, claims] = [{ alg: 'HS256', typ: 'JWT' }, { sub: AMELIE, exp: Math.floor(Date.now() / 1000) + 3600 }].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  const page = await visit(url, FORGIVEN);
  await page.getByRole('textbox', { name: 'Token' }).fill(`${head}.${claims}.${createHmac('sha256', secret).update(`${head}.${claims}`).digest('base64url')}`);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.list .row').first().waitFor();
  const { asked, answer } = await slow(page);
  for (const text of ['Łu', 'Łuk', 'Łuka', 'Zeynep']) await type(page, text);
  await drawn(page);
  assert.deepEqual(asked, ['Łu']);
  answer();
  await person(page, 'Zeynep').waitFor();
  assert.deepEqual(asked, ['Łu', 'Zeynep']);
  // Without a text there is nothing to ask for, and so nothing to wait for.
  await field(page).fill('');
  await page.locator('.list li[data-conversation]').first().waitFor();
  assert.deepEqual(asked, ['Łu', 'Zeynep']);
});

test('where a list takes too long one is told what shortens it: part of a name, or more of it, and no words', async () => {
  const page = await visit(`${replica.url}/docs/`, FORGIVEN);
  await page.route(byNames, TOO_LONG);
  await page.goto(replica.url);
  await page.getByText('It took too long. Type part of a name.', { exact: true }).waitFor();
  await page.getByRole('searchbox', { name: 'Find somebody by name' }).fill('Zey');
  await page.getByText('It took too long. Type more of a name.', { exact: true }).waitFor();

  await page.goto(at(replica.url, AMELIE));
  await page.locator('.list .row').first().waitFor();
  await page.getByRole('button', { name: 'New conversation' }).click();
  const said = async (text) => {
    await people(page).getByText(text, { exact: true }).waitFor();
    await eventually(() => page.locator('.results').getByRole('status').textContent(), (told) => told.includes(text));
  };
  await said('People could not be listed: it took too long. Type part of a name.');
  await field(page).fill('Zey');
  await said('People could not be searched: it took too long. Type more of a name.');
});

for (const [what, how] of Object.entries(WAYS)) {
  test(`who says who they are while a list that ${what} is under way is answered after that one, and no text in between is asked for`, async () => {
    const page = await visit(replica.url, FORGIVEN);
    const rows = page.locator('.people .row');
    await rows.first().waitFor();
    const { asked, answer } = await slow(page);
    // The pause after typing is over, as the page's own timers tell.
    const typed = async (text) => {
      await page.getByRole('searchbox').fill(text);
      await page.evaluate(() => new Promise((over) => setTimeout(over, 200)));
    };
    for (const text of ['Ze', 'Zey', 'Zeyn', 'Zeyne', 'Omar']) await typed(text);
    await drawn(page);
    assert.deepEqual(asked, ['Ze']);
    answer(how);
    await eventually(() => rows.count(), 1);
    await rows.filter({ hasText: 'Omar' }).waitFor();
    assert.deepEqual(asked, ['Ze', 'Omar']);
  });
}
