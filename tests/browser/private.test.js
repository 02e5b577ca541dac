// The page where users cannot list users (USER_DIRECTORY=services).
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { AMELIE, replica, replicas, stage, visit } from './support.js';

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

test('where people are not listed nobody is offered a choice of them, and only messages are searched', async () => {
  const { page, asked } = await signedIn(AMELIE, 'Amélie Dubois');
  await page.locator('.list .row').first().waitFor();
  const search = page.getByRole('searchbox', { name: 'Search messages' });
  assert.equal(await page.getByRole('button', { name: 'New conversation' }).count(), 0);
  await search.fill('flat');
  await page.locator('.results mark').first().waitFor();
  await search.fill('thiswordisnowhere');
  await page.locator('.results').getByText('No message matches “thiswordisnowhere”').first().waitFor();
  assert.equal(await page.locator('.results').getByText('People').count(), 0);
  assert.deepEqual(asked.filter((path) => /\/users(\/|\/active)?$/.test(path)), []);

  const id = await replicas.sql("insert into users (first_name, last_name, email) values ('Ada', 'First', 'ada@example.com') returning id");
  const alone = await signedIn(id, 'Ada First');
  await alone.page.locator('.list .empty').getByText('this service lists no people').waitFor();
  assert.equal(await alone.page.getByRole('button', { name: 'New conversation' }).count(), 0);
});
