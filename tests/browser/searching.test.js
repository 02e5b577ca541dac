// Who types on while a search is under way: the service lets one search of a user run at a time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, at, bubble, CONVERSATION, drawn, eventually, post, replica, stage, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

const WORD = 'marshwarbler';
const field = (page) => page.getByRole('searchbox');
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
  await field(page).fill(text);
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
  await field(page).press('Enter');
  await bubble(page, `a ${word} on the fence`).waitFor();
});

test('people alone wait for no search of messages', async () => {
  const { page, asked, answer } = await slow();
  await type(page, 'flat');
  await eventually(() => asked.length, 1);
  await field(page).fill('');
  await page.getByRole('button', { name: 'New conversation' }).click();
  await row(page, 'Zeynep').waitFor();
  answer();
  await drawn(page);
  assert.deepEqual(asked, ['flat']);
});

test('why messages were not searched is said in words for who searches; where they never are it is no fault', async () => {
  const page = await visit(at(replica.url, AMELIE), { forgive: /^Failed to load resource/ });
  await page.locator('.list .row').first().waitFor();
  const refuse = (status, code) => page.route('**/search?*', (route) => route.fulfill({ status, json: { code, message: 'there is no search: SEARCH_LANGUAGE is off' } }));
  await refuse(503, 'search_timeout');
  await field(page).fill('gr');
  await page.locator('.results .problem').getByText('Messages could not be searched: it took too long. Try rarer words, or more of them.', { exact: true }).waitFor();
  await refuse(404, 'search_off');
  await field(page).fill('gra');
  await row(page, 'Grace').waitFor();
  await page.locator('.results p').getByText('Messages are not searched here.', { exact: true }).last().waitFor();
  assert.equal(await page.locator('.results .problem, .results .button').count(), 0);
  // Where nobody is found, either.
  await field(page).fill('nobody has this name');
  await row(page, 'Grace').waitFor({ state: 'detached' });
  assert.equal(await page.locator('.results section').last().innerText(), 'Messages are not searched here.');
});
