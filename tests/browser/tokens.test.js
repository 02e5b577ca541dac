// The page where the service asks for tokens (AUTH_MODE=jwt).
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { AMELIE, at, balancer, box, bubble, CUT, cutOff, drawn, eventually, LUKASZ, replica, replicas, say, stage, talking, visit } from './support.js';

const SECRET = 'a secret of this test, long enough for HS256';

/** Without a token, or with one that has expired, the service says so, and the console too: of a request, and of a handshake. */
const ASKED = { forgive: /status of 401|^WebSocket connection to .* failed: HTTP Authentication failed/ };

stage({ AUTH_MODE: 'jwt', JWT_SECRET: SECRET, SERVER_HOST: '127.0.0.1' });

function token(user, seconds = 3600, secret = SECRET) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

test('a token is asked for, stands in no address, and says whose chat it is', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), ASKED);
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

test('a link to a conversation leads there once its user has signed in, again after a reload, and nobody else', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), ASKED);
  const hash = () => new URL(page.url()).hash;
  const signIn = async (user) => {
    const field = page.getByRole('textbox', { name: 'Token' });
    await field.waitFor();
    assert.equal(hash(), `#${talking(AMELIE)}`, 'a reload would find it');
    await field.fill(token(user));
    await page.getByRole('button', { name: 'Sign in' }).click();
  };
  for (const again of [true, false]) {
    await signIn(AMELIE);
    await page.locator('.thread-head').getByRole('heading', { name: 'Łukasz Wiśniewski' }).waitFor();
    await page.locator('.message').first().waitFor();
    assert.equal(hash(), `#${talking(AMELIE)}`);
    if (again) await page.reload();
  }
  await page.reload();
  await signIn(LUKASZ);
  await page.locator('.me').getByText('Łukasz Wiśniewski').waitFor();
  await page.getByText('Choose a conversation').waitFor();
  await eventually(hash, `#${LUKASZ}`);
  assert.equal(await page.locator('.message').count(), 0);
});

test('a token is taken by Enter, as by the button', async () => {
  const page = await visit(replica.url, ASKED);
  const field = page.getByRole('textbox', { name: 'Token' });
  await field.fill(token(AMELIE));
  await field.press('Enter');
  await page.locator('.me').getByText('Amélie Dubois').waitFor();
});

test('an edit that waits while its message is deleted outright ends here, too, and what was typed can be kept', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(front.url, { forgive: new RegExp(`${ASKED.forgive.source}|${CUT.source}`) });
  await page.getByRole('textbox', { name: 'Token' }).fill(token(AMELIE));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.list li', { hasText: 'Łukasz' }).getByRole('button').click();
  await say(page, 'Gone by then');
  await bubble(page, 'Gone by then').getByTitle(/^(sent|read)$/).waitFor();
  await cutOff(front, page);
  const field = page.getByRole('textbox', { name: /^(Message|Edit message)/ });
  await field.press('ArrowUp');
  await field.fill('Gone by then, I think');
  await field.press('Enter');
  await replicas.sql("delete from messages where content = 'Gone by then'");
  front.refuse = false;
  const notice = page.locator('.composer').getByRole('alert');
  await notice.getByText('The message that you were editing was deleted.').waitFor();
  await notice.getByRole('button', { name: 'Keep what I wrote' }).click();
  assert.equal(await field.inputValue(), 'Gone by then, I think');
});

test('a token that expires is replaced without a reload', async () => {
  const page = await visit(replica.url, ASKED);
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  const me = page.locator('.me').getByText('Łukasz Wiśniewski');
  // Where signing in takes longer than the token lasts, another one lasts longer.
  for (let seconds = 8; !(await me.isVisible()); seconds *= 2) {
    await page.reload();
    await page.getByRole('textbox', { name: 'Token' }).fill(token(LUKASZ, seconds));
    await page.getByRole('button', { name: 'Sign in' }).click();
    await me.or(dialog).first().waitFor();
  }
  await dialog.getByRole('textbox', { name: 'Token' }).fill(token(LUKASZ));
  await dialog.getByRole('button', { name: 'Go on' }).click();
  await dialog.waitFor({ state: 'detached' });
  await page.locator('.list li', { hasText: 'Amélie' }).getByRole('button').click();
  await say(page, 'Still here');
  await bubble(page, 'Still here').getByTitle(/^(sent|read)$/).waitFor();
});

test('a token that is refused: the page says why, asks once however long it takes, and goes on with another', async () => {
  const page = await visit(replica.url, ASKED);
  await page.clock.install();
  await page.reload();
  await page.getByRole('textbox', { name: 'Token' }).fill(token(AMELIE, 3600, 'another secret, as long as the right one'));
  await page.getByRole('button', { name: 'Sign in' }).click();
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  await dialog.getByText(/^The service refused the one in use: the token is not valid: /).waitFor();
  const question = await page.locator('dialog').elementHandle();
  // The client waits 15 s for a token, and then tries again; the question stands.
  for (let times = 0; times < 4; times++) {
    await page.clock.runFor(16_000);
    assert.ok(await question.isVisible());
    assert.equal(await page.locator('dialog').count(), 1);
  }
  assert.equal(await page.getByText('Connection lost').count(), 0);
  await dialog.getByRole('textbox', { name: 'Token' }).fill(token(AMELIE));
  await dialog.getByRole('button', { name: 'Go on' }).click();
  await dialog.waitFor({ state: 'detached' });
  // However long the next pause is.
  await eventually(async () => {
    await page.clock.runFor(1_000);
    return page.locator('.me').getByText('Amélie Dubois').isVisible();
  });
  assert.equal(await page.locator('dialog').count(), 0);
});

test('who has no other token can be somebody else', async () => {
  const page = await signedIn();
  await expiring(page);
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  await dialog.getByText('The one in use is about to expire.').waitFor();
  await page.keyboard.press('Escape');
  assert.equal(await dialog.count(), 1);
  await dialog.getByRole('button', { name: 'Be somebody else' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.locator('dialog').count(), 0);
  await page.getByRole('textbox', { name: 'Token' }).fill(token(LUKASZ));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.me').getByText('Łukasz Wiśniewski').waitFor();
});

/** Somebody who is signed in; their page's `socket` can be told things, and keeps messages to itself. */
async function signedIn() {
  const page = await visit(at(replica.url, talking(AMELIE)), {
    ...ASKED,
    before: () => {
      const Real = window.WebSocket;
      window.WebSocket = class extends Real {
        constructor(...asked) {
          super(...asked);
          window.socket = this;
        }

        send(text) {
          if (JSON.parse(text).type !== 'send_message') super.send(text);
        }
      };
    },
  });
  await page.getByRole('textbox', { name: 'Token' }).fill(token(AMELIE));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.me').getByText('Online').waitFor();
  return page;
}

/** They have written what waits. */
async function withUnsent() {
  const page = await signedIn();
  await page.locator('.list li', { hasText: 'Łukasz' }).getByRole('button').click();
  await say(page, 'Not sent yet');
  await bubble(page, 'Not sent yet').getByTitle('waiting to be sent').waitFor();
  return page;
}

const expiring = (page) => page.evaluate(() => window.socket.dispatchEvent(new MessageEvent('message', { data: JSON.stringify({ type: 'token_expiring', data: {} }) })));

test('the question for a new token says when the one in use has expired meanwhile', async () => {
  const page = await withUnsent();
  await expiring(page);
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  await dialog.getByText('The one in use is about to expire.').waitFor();
  await dialog.getByRole('textbox', { name: 'Token' }).fill('eyJ');
  await page.evaluate(() => window.socket.dispatchEvent(new CloseEvent('close', { code: 4401, reason: 'token expired' })));
  await dialog.getByText('The one in use has expired.').waitFor();
  assert.equal(await dialog.getByText('about to expire').count(), 0);
  assert.equal(await dialog.getByRole('textbox', { name: 'Token' }).inputValue(), 'eyJ');
});

test('who becomes somebody else in place of giving a new token is asked about what was not sent', async () => {
  const page = await withUnsent();
  await expiring(page);
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  const other = dialog.getByRole('button', { name: 'Be somebody else' });
  const question = page.getByRole('dialog', { name: 'Leave what was not sent?' });
  await dialog.waitFor();
  // A browser heeds who prevents that only so often.
  for (let times = 0; times < 4; times++) await page.keyboard.press('Escape');
  await drawn(page);
  assert.equal(await dialog.count(), 1);
  await other.click();
  await question.getByRole('button', { name: 'Stay' }).click();
  await other.click();
  await question.getByRole('button', { name: 'Leave it' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.locator('dialog').count(), 0);
});

test('where a browser closes the question for a new token by itself, what was not sent is not lost without a question', async () => {
  const page = await withUnsent();
  await expiring(page);
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  const question = page.getByRole('dialog', { name: 'Leave what was not sent?' });
  for (const answer of ['Stay', 'Leave it']) {
    await dialog.waitFor();
    await dialog.evaluate((it) => it.close());
    await question.getByRole('button', { name: answer }).click();
    await question.waitFor({ state: 'detached' });
    if (answer === 'Leave it') break;
    assert.equal(await bubble(page, 'Not sent yet').count(), 1);
    await expiring(page);
  }
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
});

test('the question for a new token fits into a narrow window', async () => {
  const page = await visit(replica.url, { ...ASKED, viewport: { width: 320, height: 640 } });
  await page.getByRole('textbox', { name: 'Token' }).fill(token(AMELIE, 3600, 'another secret, as long as the right one'));
  await page.getByRole('button', { name: 'Sign in' }).click();
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  await dialog.waitFor();
  const outer = await box(dialog);
  for (const name of ['Be somebody else', 'Go on']) {
    const inner = await box(dialog.getByRole('button', { name }));
    assert.ok(inner.x >= outer.x + 20 && inner.x + inner.width <= outer.x + outer.width - 20, `${name}: ${inner.x} + ${inner.width} in ${outer.x} + ${outer.width}`);
  }
});

test('a token that names nobody: one is told so and asked for another, and nothing tries again meanwhile', async () => {
  const page = await visit(replica.url, ASKED);
  await page.clock.install();
  await page.reload();
  const sockets = [];
  page.on('websocket', (socket) => sockets.push(socket.url()));
  await page.getByRole('textbox', { name: 'Token' }).fill(token(undefined));
  await page.getByRole('button', { name: 'Sign in' }).click();
  const dialog = page.getByRole('dialog', { name: 'A new token, please' });
  await dialog.getByText('its claim "sub" must be a UUID').waitFor();
  await page.clock.runFor(60_000);
  assert.deepEqual([sockets.length, await page.getByText('Connection lost').count(), await page.locator('dialog').count()], [1, 0, 1]);
  await dialog.getByRole('textbox', { name: 'Token' }).fill(token(AMELIE));
  await dialog.getByRole('button', { name: 'Go on' }).click();
  // However long the next pause is.
  await eventually(async () => {
    await page.clock.runFor(1_000);
    return page.locator('.me').getByText('Amélie Dubois').isVisible();
  });
});
