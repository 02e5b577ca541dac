// A connection that is lost, or not there yet: what the page says of it, and what it does not miss.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxy } from './proxy.js';
import { AMELIE, assertFocus, at, balancer, bubble, contents, CONVERSATION, CUT, cutOff, drawn, eventually, listOf, LUKASZ, pane, patient, post, replica, replicas, say, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0', REPLAY_EVENTS: '20' });

for (const [what, pattern] of [['the history', '**/messages?*'], ['the list', listOf(AMELIE)]]) {
  test(`more was missed than is sent again, and reading ${what} fails: nothing is missed after the next connection`, async () => {
    const front = await balancer([replica.port]);
    const page = await visit(at(front.url, talking(AMELIE)), { forgive: /^Failed to load resource|^WebSocket connection/ });
    await page.locator('.message').first().waitFor();
    await cutOff(front, page);
    await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'missed with ${what} ' || n from generate_series(1, 30) n`);
    const failed = page.waitForEvent('requestfailed', (request) => /\/conversations[/?]/.test(request.url()));
    await page.route(pattern, (route) => route.abort());
    front.refuse = false;
    await failed;
    await page.locator('.banner').waitFor({ state: 'hidden' });
    await page.getByText(/could not be loaded|Reloading failed/).first().waitFor();
    // What comes now has a cursor beyond what was missed.
    for (let n = 1; n <= 3; n++) {
      await post(replica.url, LUKASZ, `with ${what} live ${n}`);
      await bubble(page, `with ${what} live ${n}`).waitFor();
    }
    await cutOff(front, page);
    await page.unroute(pattern);
    front.refuse = false;
    await bubble(page, `missed with ${what} 1`).waitFor();
    await bubble(page, `missed with ${what} 30`).waitFor();
    // Else the next one opens it at the first of these.
    await eventually(() => replicas.sql(`select count(*) from messages where conversation_id = '${CONVERSATION}' and sender_id <> '${AMELIE}' and not is_read`), '0');
  });
}

test('who is there is not known while the page itself is not connected', async () => {
  const front = await balancer([replica.port]);
  const amelie = await visit(at(front.url, talking(AMELIE)), { forgive: CUT });
  const lukasz = await visit(at(replica.url, talking(LUKASZ)));
  await lukasz.locator('.message').first().waitFor();
  const head = amelie.locator('.thread-head');
  await head.getByText('Online', { exact: true }).waitFor();
  await cutOff(front, amelie);
  await head.getByText('Online', { exact: true }).waitFor({ state: 'detached' });
  await amelie.locator('.avatar.online').first().waitFor({ state: 'detached' });
  assert.equal(await head.getByText(/Offline|Last seen/).count(), 0);
  front.refuse = false;
  await head.getByText('Online', { exact: true }).waitFor();
  await amelie.locator(`[data-conversation="${CONVERSATION}"] .avatar.online`).waitFor();
});

test('where HTTP works and WebSockets do not get through, the banner says what to look at', async (t) => {
  const front = await proxy(replica.port);
  t.after(() => front.close());
  const page = await visit(at(front.url, AMELIE), { forgive: CUT });
  await page.locator('.banner').getByText(/^HTTP works: .*Upgrade.*ALLOWED_ORIGINS.*sockets/).waitFor();
  assert.equal(await page.locator('.notice').isVisible(), false, 'it is told once');
});

test('a proxy’s page in place of an answer, while there is no connection, is the banner’s to tell', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: /^Failed to load resource|^WebSocket connection/ });
  await page.locator('.message').first().waitFor();
  await page.route(`**/unread-count?*`, (route) => route.fulfill({ status: 502, contentType: 'text/html', body: '<h1>Bad Gateway</h1>' }));
  const asked = page.waitForResponse((response) => response.status() === 502);
  await cutOff(front, page);
  await asked;
  await page.locator('.banner').getByText(/Trying again in/).waitFor();
  assert.equal(await page.locator('.notice').isHidden(), true);
});

test('before there was a connection none was lost; and the time to the next try is told in whole seconds', async () => {
  const page = await visit(at(replica.url, AMELIE), {
    before: () => {
      const Real = window.WebSocket;
      window.open = false;
      // Nobody takes it, while HTTP works.
      window.WebSocket = function (...asked) {
        if (window.open) return new Real(...asked);
        const socket = { close() {} };
        queueMicrotask(() => socket.onclose({ code: 1006, reason: '' }));
        return socket;
      };
      window.said = [];
      document.addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
        const banner = document.querySelector('.banner:not([hidden]) .banner-text');
        if (banner && window.said.at(-1) !== banner.textContent) window.said.push(banner.textContent);
      }).observe(document.body, { childList: true, characterData: true, subtree: true }));
    },
  });
  // It may stand there for a moment only: the pauses are random, and after the third try it says more.
  await page.waitForFunction(() => window.said.some((text) => /^No connection yet\. Trying again in [1-9]/.test(text)));
  await page.waitForFunction(() => window.said.length >= 4);
  await page.evaluate(() => (window.open = true));
  await page.locator('.list .row').first().waitFor();
  const said = (await page.evaluate(() => window.said)).map((text) => text.trim());
  assert.deepEqual(said.filter((text) => !/^(Connecting…|(No connection yet\.|HTTP works: .*[.?]) Trying again(…| in [1-9]\d*\s?s\.))$/.test(text)), []);
});

test('a screen reader is told why there is no connection, and not each second that passes', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT, before: patient });
  await page.locator('.message').first().waitFor();
  await cutOff(front, page);
  await page.locator('.banner').getByText(/in \d+\s?s\./).waitFor();
  const written = await page.evaluate(() => new Promise((done) => {
    const banner = document.querySelector('.banner');
    const timer = banner.querySelector('[role="timer"][aria-live="off"]');
    const [elsewhere, seconds] = [[], new Set()];
    new MutationObserver((changes) => {
      elsewhere.push(...changes.filter(({ target }) => !timer?.contains(target)).map(({ target }) => target.textContent));
      seconds.add(banner.textContent);
      if (seconds.size === 3) done(elsewhere);
    }).observe(banner, { childList: true, characterData: true, subtree: true });
  }));
  assert.deepEqual(written, []);
});

test('of more than can wait for a connection at once it is said that it was not taken', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT, before: patient });
  await page.locator('.message').first().waitFor();
  await cutOff(front, page);
  await page.evaluate(() => {
    const field = document.querySelector('.composer textarea');
    for (let n = 1; n <= 101; n++) {
      field.value = `in the queue ${n}`;
      field.dispatchEvent(new Event('input'));
      field.form.requestSubmit();
    }
  });
  await page.locator('.notice').getByText('100 messages wait already; this one was not taken. Wait for the connection.').waitFor();
  const again = page.locator('.message.failed', { hasText: 'in the queue 101' }).getByRole('button', { name: 'Try again' });
  await again.waitFor();
  front.refuse = false;
  await page.locator('.banner').getByRole('button', { name: 'Try now' }).click();
  // A mark that waits, too, takes a place.
  await bubble(page, 'in the queue 98').getByTitle(/^(sent|read)$/).waitFor();
  await again.click();
  await bubble(page, 'in the queue 101').getByTitle(/^(sent|read)$/).waitFor();
});

test('who leaves the page while something waits to be sent is asked whether to lose it', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT });
  await page.locator('.message').first().waitFor();
  const asked = [];
  page.on('dialog', (dialog) => {
    asked.push(dialog.type());
    return dialog.dismiss();
  });
  await cutOff(front, page);
  await say(page, 'Not sent yet');
  await bubble(page, 'Not sent yet').getByTitle('waiting to be sent').waitFor();
  const question = page.waitForEvent('dialog');
  await page.evaluate(() => setTimeout(() => location.reload()));
  await question;
  assert.deepEqual(asked, ['beforeunload']);
  front.refuse = false;
  await bubble(page, 'Not sent yet').getByTitle(/^(sent|read)$/).waitFor();
  // Nor is anything lost where what one wanted is done.
  await page.getByRole('button', { name: 'Delete message: Not sent yet' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
  await page.locator('.message.deleted').waitFor();
  await say(page, 'After it');
  await bubble(page, 'After it').getByTitle(/^(sent|read)$/).waitFor();
  await page.reload();
  await bubble(page, 'After it').waitFor();
  assert.equal(asked.length, 1);
});

test('who may not use the chat any more is told so, and may try again or be somebody else', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), {
    before: () => {
      const Real = window.WebSocket;
      window.WebSocket = class extends Real {
        constructor(...asked) {
          super(...asked);
          window.last = this;
        }
      };
    },
  });
  await page.locator('.message').first().waitFor();
  const deactivated = () => page.evaluate(() => window.last.onclose({ code: 4403, reason: 'user deactivated' }));
  await deactivated();
  const banner = page.locator('.banner');
  await banner.getByText('This user may not use the chat.').waitFor();
  await page.locator('.me').getByText('Disconnected').waitFor();
  await banner.getByRole('button', { name: 'Try again' }).click();
  await banner.waitFor({ state: 'hidden' });
  await deactivated();
  await banner.getByRole('button', { name: 'Be somebody else' }).click();
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
});

test('a mark that is under way when the user may not use the chat any more is nothing to ask the service about, until it may be tried again', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), {
    before: () => {
      window.marks = window.lists = 0;
      const Real = window.WebSocket;
      window.WebSocket = class extends Real {
        constructor(...asked) {
          super(...asked);
          window.last = this;
        }

        send(text) {
          if (JSON.parse(text).type !== 'mark_read' || window.marks++) super.send(text);
        }
      };
      const { fetch } = window;
      window.fetch = (address, ...more) => {
        if (/\/conversations[/?]/.test(address)) window.lists++;
        return fetch(address, ...more);
      };
    },
  });
  await page.locator('.message').first().waitFor();
  await post(replica.url, LUKASZ, 'not marked');
  await eventually(() => page.evaluate(() => window.marks), 1);
  const badge = page.locator(`[data-conversation="${CONVERSATION}"] .badge`);
  await badge.waitFor({ state: 'detached' });
  const asked = await page.evaluate(() => {
    window.last.onclose({ code: 4403, reason: 'user deactivated' });
    return window.lists;
  });
  const banner = page.locator('.banner');
  await banner.getByText('This user may not use the chat.').waitFor();
  await drawn(page);
  assert.equal(await page.evaluate(() => window.lists), asked);
  await banner.getByRole('button', { name: 'Try again' }).click();
  await badge.waitFor();
});

test('who becomes somebody else, or closes a pane, while something waits to be sent is asked, too', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE), talking(LUKASZ)), { forgive: CUT, before: patient, viewport: { width: 1600, height: 800 } });
  for (const number of [1, 2]) await pane(page, number).locator('.message').first().waitFor();
  await cutOff(front, pane(page, 1));
  for (const [number, who] of [[1, AMELIE], [2, LUKASZ]]) {
    const side = pane(page, number);
    const leave = number === 1 ? side.getByRole('button', { name: 'Be somebody else' }) : page.getByRole('button', { name: 'Second user' });
    await say(side, `Not sent yet by ${who}`);
    await leave.click();
    const question = page.getByRole('dialog', { name: 'Leave what was not sent?' });
    await question.getByRole('button', { name: 'Stay' }).click();
    await bubble(side, `Not sent yet by ${who}`).getByTitle('waiting to be sent').waitFor();
    await leave.click();
    await question.getByRole('button', { name: 'Leave it' }).click();
    if (number === 1) await side.getByRole('heading', { name: 'Who are you?' }).waitFor();
    else await side.waitFor({ state: 'detached' });
  }
});

test('what was not sent is asked about also when the address names somebody else; a deletion that waits is not sent, either', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT, before: patient });
  await say(page, 'To be deleted');
  await bubble(page, 'To be deleted').getByTitle(/^(sent|read)$/).waitFor();
  await cutOff(front, page);
  await bubble(page, 'To be deleted').hover();
  await bubble(page, 'To be deleted').getByRole('button', { name: 'Delete message' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.locator('.banner').getByText('1 waiting to be sent.').waitFor();
  const address = new URL(page.url()).hash;
  const question = page.getByRole('dialog', { name: 'Leave what was not sent?' });
  const goTo = (hash) => page.evaluate((it) => (location.hash = it), hash);
  await goTo(LUKASZ);
  await question.getByRole('button', { name: 'Stay' }).click();
  await eventually(() => new URL(page.url()).hash, address);
  await bubble(page, 'To be deleted').waitFor();
  front.refuse = false;
  await goTo(LUKASZ);
  await question.getByRole('button', { name: 'Leave it' }).click();
  await page.locator('.me').getByText('Łukasz Wiśniewski').waitFor();
  await eventually(() => new URL(page.url()).hash, `#${LUKASZ}`);
});

test('more was missed than is sent again: only the conversation that one looks at is read anew at once', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT });
  await page.locator('.message').first().waitFor();
  const other = page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button');
  await other.click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await page.locator('.message', { hasText: 'Is a parking space included?' }).waitFor();
  await cutOff(front, page);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'missed elsewhere ' || n from generate_series(1, 30) n`);
  const read = [];
  page.on('request', (request) => request.url().includes('/messages?') && read.push(request.url()));
  front.refuse = false;
  const row = page.locator(`[data-conversation="${CONVERSATION}"]`);
  await row.getByText('missed elsewhere 30').waitFor();
  // All that is read anew at once is asked for in one turn.
  await eventually(() => read.length);
  assert.deepEqual(read.filter((url) => url.includes(CONVERSATION)), []);
  await row.getByRole('button').click();
  await bubble(page, 'missed elsewhere 1').waitFor();
  await bubble(page, 'missed elsewhere 30').waitFor();
});

test('more was missed than is sent again: all is read anew, and once', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT, before: patient });
  await page.locator('.message').first().waitFor();
  await cutOff(front, page);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'missed by all ' || n from generate_series(1, 30) n`);
  const read = [];
  page.on('request', (request) => /\/conversations[/?]/.test(request.url()) && read.push(new URL(request.url()).pathname));
  front.refuse = false;
  await page.locator('.banner').getByRole('button', { name: 'Try now' }).click();
  await bubble(page, 'missed by all 30').waitFor();
  // What is read again is asked for before the messages have come.
  assert.deepEqual(read.sort(), [`/api/v1/chat/conversations/${CONVERSATION}/messages`, `/api/v1/chat/users/${AMELIE}/conversations`]);
});

test('a list that could not be read at first is asked for again, without anybody who asks', async () => {
  const page = await visit(replica.url, { forgive: /^Failed to load resource/ });
  const list = listOf(AMELIE);
  await page.route(list, (route) => route.fulfill({ status: 503, json: { code: 'unavailable', message: 'the database cannot be reached' } }));
  await page.getByRole('button', { name: /Amélie/ }).click();
  await page.getByText('The conversations could not be loaded').waitFor();
  await page.unroute(list);
  await page.locator('.list .row').first().waitFor();
});

test('on a slow network the page says that it comes, and asks for all its scripts at once', async () => {
  const page = await visit(`${replica.url}/docs/`);
  let release;
  const held = new Promise((resolve) => (release = resolve));
  const asked = [];
  await page.route(/\/(page|client)\/\w+\.js$/, async (route) => {
    asked.push(new URL(route.request().url()).pathname);
    await held;
    await route.continue();
  });
  await page.goto(replica.url, { waitUntil: 'commit' });
  await page.getByRole('img', { name: 'Loading' }).waitFor();
  const named = await eventually(() => page.evaluate(() => [...document.querySelectorAll('link[rel="modulepreload"], script[src]')].map((it) => new URL(it.href || it.src).pathname)), (all) => all.at(-1) === '/page/app.js');
  await eventually(() => [...new Set(asked)].sort(), named.sort());
  assert.equal(await page.locator('.starting').count(), 1);
  release();
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  assert.equal(await page.locator('.starting').count(), 0);
  assert.deepEqual([...new Set(asked)].sort(), named);
});

test('why something could not be loaded is said in words for people', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: /^Failed to load resource|^WebSocket connection/ });
  await page.locator('.message').first().waitFor();
  await cutOff(front, page);
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await page.locator('.edge').getByText('Messages could not be loaded: There was no answer.', { exact: true }).waitFor();
  await page.getByRole('searchbox').fill('flat');
  for (const what of ['People', 'Messages']) await page.getByText(`${what} could not be searched: There was no answer.`, { exact: true }).waitFor();
  front.refuse = false;
  await page.locator('.message', { hasText: 'parking' }).waitFor();
});

test('what the service says where nothing else does is a sentence, too', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { forgive: /^Failed to load resource/ });
  await page.locator('.message').first().waitFor();
  await page.route(/\/chat\/conversations\?$/, (route) => route.fulfill({ status: 429, json: { statusCode: 429, code: 'too_many_requests', message: 'this user makes too many requests' } }));
  await page.getByRole('button', { name: 'New conversation' }).click();
  await page.locator('.results .row', { hasText: 'Omar' }).click();
  await page.locator('.notice').getByText('This user makes too many requests.', { exact: true }).waitFor();
});
