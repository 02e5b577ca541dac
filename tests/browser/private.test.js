// The page where users cannot list users (USER_DIRECTORY=services).
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { AMELIE, replica, replicas, stage, visit, ZEYNEP } from './support.js';

const SECRET = 'a secret of this test, long enough for HS256';

stage({ AUTH_MODE: 'jwt', JWT_SECRET: SECRET, SERVER_HOST: '127.0.0.1', USER_DIRECTORY: 'services' });

function token(user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

/** The page of a user, and the paths that it asks for from then on. */
async function signedIn(user, name) {
  const page = await visit(replica.url, { forgive: /status of 401/ });
  await page.getByRole('textbox', { name: 'Token' }).fill(token(user));
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.me').getByText(name).waitFor();
  return { page, asked };
}

test('where people are not listed nobody is offered a choice of them, and only one’s own conversations and messages are searched', async () => {
  const { page, asked } = await signedIn(AMELIE, 'Amélie Dubois');
  await page.locator('.list .row').first().waitFor();
  const search = page.getByRole('searchbox', { name: 'Search conversations and messages' });
  assert.equal(await page.getByRole('button', { name: 'New conversation' }).count(), 0);
  await search.fill('flat');
  await page.locator('.results mark').first().waitFor();
  await search.fill('thiswordisnowhere');
  await page.locator('.results').getByText('Neither a conversation nor a message matches “thiswordisnowhere”').first().waitFor();
  assert.equal(await page.locator('.results').getByText('People').count(), 0);
  assert.deepEqual(asked.filter((path) => /\/users(\/|\/active)?$/.test(path)), []);

  const id = await replicas.sql("insert into users (first_name, last_name, email) values ('Ada', 'First', 'ada@example.com') returning id");
  const alone = await signedIn(id, 'Ada First');
  await alone.page.locator('.list .empty').getByText('this service lists no people').waitFor();
  assert.equal(await alone.page.getByRole('button', { name: 'New conversation' }).count(), 0);
});

test('where people are not listed a conversation far down the list is found by the name of the other', async () => {
  const id = await replicas.sql("insert into users (first_name, last_name, email) values ('Busy', 'Body', 'busy@example.com') returning id");
  await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${id}', '${ZEYNEP}')`);
  // All of them later.
  await replicas.sql("insert into users (first_name, last_name, email) select 'Number', n::text, n || '@example.com' from generate_series(1, 60) n");
  await replicas.sql(`insert into conversations (participant1_id, participant2_id) select '${id}', id from users where first_name = 'Number'`);
  const { page, asked } = await signedIn(id, 'Busy Body');
  const list = page.locator('.list');
  await list.locator('.row').nth(49).waitFor();
  assert.equal(await list.getByText('Zeynep').count(), 0, 'it is on the first page');
  const search = page.getByRole('searchbox', { name: 'Search conversations and messages' });
  await search.fill('ÖZTÜRK z');
  const results = page.locator('.results');
  await results.getByRole('heading', { name: 'Conversations' }).waitFor();
  assert.equal(await results.getByText('deactivated').count(), 0);
  await search.press('Enter');
  await page.locator('.thread-head').getByRole('heading', { name: 'Zeynep Öztürk' }).waitFor();
  // Wildcards are none, and who has no conversation with this user is not found.
  await search.fill('%');
  await results.getByText('Neither a conversation nor a message matches “%”').first().waitFor();
  await search.fill('Łukasz');
  await results.getByText('Neither a conversation nor a message matches “Łukasz”').first().waitFor();
  await search.fill('number');
  await results.getByText('There are more: type more of a name.').waitFor();
  assert.equal(await results.getByRole('button', { name: /^Number/ }).count(), 30);
  assert.deepEqual(asked.filter((path) => /\/users(\/|\/active)?$/.test(path)), []);
});
