// The page where the service asks for tokens (AUTH_MODE=jwt).
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { AMELIE, at, bubble, cluster, launch, leave, LUKASZ, say, talking, visit } from './support.js';

const SECRET = 'a secret of this test, long enough for HS256';

/** Without a token, or with one that has expired, the service says so, and the console too: of a request, and of a handshake. */
const ASKED = { forgive: /status of 401|^WebSocket connection to .* failed: HTTP Authentication failed/ };

let replicas;
let replica;
let browser;

before(async () => {
  replicas = await cluster({ AUTH_MODE: 'jwt', JWT_SECRET: SECRET, SERVER_HOST: '127.0.0.1' });
  [replica, browser] = [await replicas.start(), await launch()];
});
after(async () => {
  await browser?.close();
  await replicas?.close();
});
afterEach(leave);

function token(user, seconds = 3600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

test('a token is asked for, stands in no address, and says whose chat it is', async () => {
  const page = await visit(browser, at(replica.url, talking(AMELIE)), ASKED);
  const addresses = [];
  page.on('request', (request) => addresses.push(request.url()));
  page.on('websocket', (socket) => addresses.push(socket.url()));
  const field = page.getByRole('textbox', { name: 'Token' });
  await field.fill('no token');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('That is no JSON Web Token').waitFor();
  const amelie = token(AMELIE);
  await field.fill(amelie);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.me').getByText('Amélie Dubois').waitFor();
  await page.locator('.list li', { hasText: 'Łukasz' }).getByRole('button').click();
  await say(page, 'With a token');
  await bubble(page, 'With a token').getByTitle('sent', { exact: true }).waitFor();
  assert.ok(addresses.some((address) => address.startsWith('ws:')));
  assert.deepEqual(addresses.filter((address) => address.includes(amelie)), []);
});

test('a token that expires is replaced without a reload', async () => {
  const page = await visit(browser, replica.url, ASKED);
  await page.getByRole('textbox', { name: 'Token' }).fill(token(LUKASZ, 20));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.me').getByText('Łukasz Wiśniewski').waitFor();
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  await dialog.getByRole('textbox', { name: 'Token' }).fill(token(LUKASZ));
  await dialog.getByRole('button', { name: 'Go on' }).click();
  await dialog.waitFor({ state: 'detached' });
  await page.locator('.list li', { hasText: 'Amélie' }).getByRole('button').click();
  await say(page, 'Still here');
  await bubble(page, 'Still here').getByTitle(/^(sent|read)$/).waitFor();
});
