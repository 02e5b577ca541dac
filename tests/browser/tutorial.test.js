// The README's five minutes, as they are printed there: only the port is this test's.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { AMELIE, balancer, CONVERSATION, CUT, drawn, eventually, LUKASZ, post, replica, replicas, stage, visit } from './support.js';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const PRINTED = /```html\n([\s\S]*?)```/.exec(README)[1];

stage({ REPLAY_EVENTS: '20' });

const printed = (url) => PRINTED.replaceAll('http://127.0.0.1:8081', url);
/** A message of that text that is stored: it is shown before it is. */
const stored = (page, text) => page.locator('li:not([class="pending"])', { hasText: text }).waitFor();
const pages = { '/chat.html': () => printed(replica.url) };
const server = http.createServer((request, response) => response.setHeader('content-type', 'text/html').end(pages[request.url]?.()));
before(() => new Promise((resolve) => server.listen(0, '127.0.0.1', resolve)));
after(() => server.close());

test('the page of the tutorial has at most 30 lines', () => {
  assert.ok(PRINTED.trimEnd().split('\n').length <= 30);
});

test('two windows with the page of the tutorial chat with each other', async () => {
  const address = `http://localhost:${server.address().port}/chat.html`;
  const amelie = await visit(address, { also: [replica.url] });
  const lukasz = await visit(`${address}#lukasz`, { also: [replica.url] });
  for (const page of [amelie, lukasz]) {
    await page.getByText('online').waitFor();
    await page.getByText('Could I see it on Thursday after five?').waitFor();
  }
  await amelie.getByRole('textbox').fill('Shall I bring <b>papers</b>?');
  await amelie.getByRole('button', { name: 'Send' }).click();
  await lukasz.getByText('Amélie: Shall I bring <b>papers</b>?').waitFor();
  await lukasz.getByRole('textbox').fill('An identity card is enough.');
  await lukasz.getByRole('textbox').press('Enter');
  for (const page of [amelie, lukasz]) {
    await page.getByText('Łukasz: An identity card is enough.').waitFor();
    assert.deepEqual((await page.locator('li').allTextContents()).slice(-2), ['Amélie: Shall I bring <b>papers</b>?', 'Łukasz: An identity card is enough.']);
  }
});

test('what is not sent stays in the field, nothing is sent of nothing, and what was deleted is shown so', async () => {
  const page = await visit(`http://localhost:${server.address().port}/chat.html`, { also: [replica.url] });
  const said = [];
  page.on('dialog', (dialog) => {
    said.push(dialog.message());
    dialog.accept();
  });
  await page.getByText('online').waitFor();
  const field = page.getByRole('textbox');
  await page.getByRole('button', { name: 'Send' }).click();
  assert.ok(await field.evaluate((input) => input.matches(':invalid')));
  const long = 'x'.repeat(70_000);
  await field.fill(long);
  await page.getByRole('button', { name: 'Send' }).click();
  await eventually(() => said.length, 1);
  assert.equal(await field.inputValue(), long);
  assert.match(said[0], /content/);
  await field.fill('A word too many');
  await field.press('Enter');
  await stored(page, 'Amélie: A word too many');
  await replicas.sql("update messages set deleted_at = now() where content = 'A word too many'");
  await page.getByText('Amélie: (deleted)').waitFor();
});

test('who presses Send again after a failure does not send twice what was stored after all; but what is written anew is another message', async () => {
  const page = await visit(`http://localhost:${server.address().port}/chat.html`, {
    also: [replica.url],
    // The first answers to a message say that nobody knows what became of it, and no event tells.
    before: () => {
      window.failing = true;
      const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
      const failed = (data) => new MessageEvent('message', { data: JSON.stringify({ ...JSON.parse(data), type: 'error', data: { requestId: JSON.parse(data).data.requestId, code: 'disconnected', message: 'lost' } }) });
      const listen = (listener) => listener && ((event) => {
        const { type, data } = JSON.parse(event.data);
        if (window.failing && type === 'chat_message') return;
        listener(window.failing && data.message ? failed(event.data) : event);
      });
      Object.defineProperty(WebSocket.prototype, 'onmessage', { set(listener) { set.call(this, listen(listener)); } });
    },
  });
  let said = 0;
  page.on('dialog', (dialog) => {
    said++;
    dialog.accept();
  });
  await page.getByText('online').waitFor();
  const field = page.getByRole('textbox');
  const count = (content) => replicas.sql(`select count(*) from messages where content = '${content}'`);
  await field.fill('Once, please');
  await field.press('Enter');
  await eventually(() => said, 1);
  await eventually(() => field.inputValue(), 'Once, please');
  await page.evaluate(() => (window.failing = false));
  await field.press('Enter');
  await eventually(() => field.inputValue(), '');
  // What comes after it tells that it is through.
  await field.fill('Once, please');
  await field.press('Enter');
  await field.fill('And this');
  await field.press('Enter');
  await stored(page, 'Amélie: And this');
  assert.deepEqual([await count('Once, please'), said], ['2', 1], 'once for both tries, once for what was written anew');
});

test('what is stored, as its event tells, is sent, though its answer says that nobody knows', async () => {
  const page = await visit(`http://localhost:${server.address().port}/chat.html`, {
    also: [replica.url],
    // The answer comes after the event, whichever was first.
    before: () => {
      const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
      const failed = (data) => new MessageEvent('message', { data: JSON.stringify({ ...JSON.parse(data), type: 'error', data: { requestId: JSON.parse(data).data.requestId, code: 'disconnected', message: 'lost' } }) });
      let [answer, isTold] = [];
      const listen = (listener) => listener && ((event) => {
        const { type, data } = JSON.parse(event.data);
        if (data.message) answer = event.data;
        else listener(event);
        isTold ||= type === 'chat_message';
        if (!answer || !isTold) return;
        listener(failed(answer));
        answer = undefined;
        window.failed = true;
      });
      Object.defineProperty(WebSocket.prototype, 'onmessage', { set(listener) { set.call(this, listen(listener)); } });
    },
  });
  let said = 0;
  page.on('dialog', (dialog) => {
    said++;
    dialog.accept();
  });
  await page.getByText('online').waitFor();
  await page.getByRole('textbox').fill('Stored after all');
  await page.getByRole('textbox').press('Enter');
  await page.waitForFunction(() => window.failed);
  await drawn(page);
  const items = await page.locator('li').evaluateAll((all) => all.slice(-1).map(({ textContent, className }) => [textContent, className]));
  assert.deepEqual([items, await page.getByText('Stored after all').count(), await page.getByRole('textbox').inputValue(), said], [[['Amélie: Stored after all', '']], 1, '', 0]);
});

test('what is typed as soon as there is a field to type in is sent, and does not leave the page', async () => {
  const page = await visit(`http://localhost:${server.address().port}/chat.html`, {
    also: [replica.url],
    // The service answers at once; the page gets it when the test says so.
    before: () => {
      const real = window.fetch;
      const released = new Promise((resolve) => (window.release = resolve));
      window.fetch = async (...asked) => {
        const response = await real(...asked);
        await released;
        return response;
      };
    },
  });
  await page.getByText('online').waitFor();
  const [was, field] = [page.url(), page.getByRole('textbox')];
  if (await field.isVisible()) await field.fill('Too early').then(() => field.press('Enter'));
  await page.evaluate(() => window.release());
  await field.fill('Early');
  await field.press('Enter');
  await page.getByText('Amélie: Early').waitFor();
  assert.equal(page.url(), was);
});

test('what arrives or changes while the page reads the history stands where it belongs, as it is now', async () => {
  const address = `http://localhost:${server.address().port}/chat.html`;
  const shown = (page) => page.locator('li').allTextContents();
  const already = await post(replica.url, LUKASZ, 'Here already');
  const page = await visit(`${address}`, {
    also: [replica.url],
    // The service answers at once; the page gets it when the test says so.
    before: () => {
      const real = window.fetch;
      window.held = [];
      window.fetch = async (...asked) => {
        const response = await real(...asked);
        if (String(asked[0]).includes('/messages')) await new Promise((resolve) => window.held.push(resolve));
        return response;
      };
    },
  });
  await page.getByText('online').waitFor();
  await page.waitForFunction(() => window.held.length >= 1);
  const live = await post(replica.url, LUKASZ, 'Live, and before the history');
  await replicas.sql(`update messages set content = 'Changed meanwhile' where id = '${already.id}'`);
  await page.getByText('Łukasz: Live, and before the history').waitFor();
  await page.getByText('Łukasz: Changed meanwhile').waitFor();
  await page.evaluate(() => window.held.forEach((go) => go()));
  await page.getByText('Could I see it on Thursday after five?').waitFor();
  assert.deepEqual((await shown(page)).slice(-2), ['Łukasz: Changed meanwhile', `Łukasz: ${live.content}`]);
});

/** In front of the replica, for the sockets of a page with this script. */
async function front({ port, url: behind } = replica) {
  const state = await balancer([port]);
  const content = `window.WebSocket = class extends WebSocket {
    constructor(url, protocols) { super(url.replace('${behind.slice(5)}', '${state.url.slice(5)}'), protocols); }
  };`;
  return { state, visited: { also: [behind, state.url], forgive: CUT, before: { content } } };
}

test('what is sent between the history and the connection is not missed', async () => {
  const { state, visited } = await front();
  state.refuse = true;
  const page = await visit(`http://localhost:${server.address().port}/chat.html`, visited);
  await page.getByText('Could I see it on Thursday after five?').waitFor();
  await post(replica.url, LUKASZ, 'Nobody listened yet');
  state.refuse = false;
  await page.getByText('Łukasz: Nobody listened yet').waitFor();
});

test('where more was missed than is sent again, what was deleted outright meanwhile goes', async () => {
  const { state, visited } = await front();
  const page = await visit(`http://localhost:${server.address().port}/chat.html`, visited);
  await page.getByText('online').waitFor();
  const gone = await post(replica.url, LUKASZ, 'Here for a while');
  await page.getByText('Łukasz: Here for a while').waitFor();
  state.refuse = true;
  state.cut();
  await page.getByText('waiting').waitFor();
  await replicas.sql(`delete from messages where id = '${gone.id}'`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'missed ' || n from generate_series(1, 30) n`);
  // Once for the connection, once for what was missed.
  let loaded = 0;
  page.on('requestfinished', (request) => (loaded += request.url().includes('/messages')));
  state.refuse = false;
  await eventually(() => loaded, (times) => times >= 2);
  await page.getByText('Łukasz: missed 30').waitFor();
  await page.getByText('Łukasz: Here for a while').waitFor({ state: 'detached' });
  await drawn(page);
  assert.equal((await page.locator('li').allTextContents()).filter((text) => text.includes('missed')).length, 30);
});

const SECRET = 'a secret of this test, long enough for HS256';
function token(user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 3600 })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

/** As the README says for those who have no gateway that checks the callers. */
async function withTokens() {
  const guarded = await replicas.start({ AUTH_MODE: 'jwt', JWT_SECRET: SECRET, SERVER_HOST: '127.0.0.1' });
  pages['/token.html'] = () => printed(guarded.url).replace('userId: me', `getToken: () => '${token(AMELIE)}'`);
  assert.match(pages['/token.html'](), /getToken/);
  return guarded;
}

// The last ones: the conversation is what all of them have.
for (const [how, path, service] of [['', 'chat.html', () => replica], [', with a token, too', 'token.html', withTokens]]) {
  test(`a conversation that is deleted goes, and soon a connection comes after which nobody is told of it again${how}`, async () => {
    const { state, visited } = await front(await service());
    const page = await visit(`http://localhost:${server.address().port}/${path}`, { ...visited, forgive: /^Failed to load resource|^WebSocket connection/ });
    let frames = [];
    page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => frames.push(payload)));
    const ada = await replicas.sql("insert into users (first_name, last_name, email) values ('Ada', 'Nilsson', gen_random_uuid() || '@example.com') returning id");
    const other = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${AMELIE}', '${ada}') returning id`);
    await page.getByText('online').waitFor();
    await page.getByRole('textbox').fill('Here for a while');
    await page.getByRole('button', { name: 'Send' }).click();
    await stored(page, 'Amélie: Here for a while');
    const both = `'${AMELIE}' in (participant1_id, participant2_id) and '${LUKASZ}' in (participant1_id, participant2_id)`;
    await replicas.sql(`delete from messages where conversation_id in (select id from conversations where ${both})`);
    await replicas.sql(`delete from conversations where ${both}`);
    await page.locator('li').first().waitFor({ state: 'detached' });
    const back = async () => {
      await page.getByText('online').waitFor();
      state.refuse = true;
      state.cut();
      await page.getByText('waiting').waitFor();
      const { id } = await post(replica.url, ada, 'From elsewhere', other);
      frames = [];
      state.refuse = false;
      await eventually(() => frames.some((frame) => frame.includes(id) || frame.includes('resync_required')), true);
      return frames.filter((frame) => frame.includes('resync_required')).length;
    };
    await eventually(back, 0);
    assert.equal(await back(), 0);
  });
}
