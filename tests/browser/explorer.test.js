// The API explorer at /docs: each route can be tried out there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxy } from './proxy.js';
import { DESKTOP, PHONE, replica, stage, visit } from './support.js';

stage();

test('it is as dark as the chat page was made, whatever the system is', async () => {
  const page = await visit(replica.url, { colorScheme: 'light' });
  const dark = () => page.evaluate(() => [document.documentElement.classList.contains('dark-mode'), getComputedStyle(document.documentElement).colorScheme]);
  await page.getByRole('button', { name: 'Appearance: as the system has it' }).click();
  await page.getByRole('button', { name: 'Appearance: light' }).click();
  await page.getByRole('button', { name: 'Appearance: dark' }).waitFor();
  await page.getByRole('link', { name: 'API' }).click();
  await page.locator('#operations-messages-sendMessage').waitFor();
  assert.deepEqual(await dark(), [true, 'dark']);
  await page.evaluate(() => localStorage.setItem('pgchat.theme', 'auto'));
  await page.reload();
  await page.locator('#operations-messages-sendMessage').waitFor();
  assert.deepEqual(await dark(), [false, 'light']);
});

for (const [device, colorScheme, options] of [['a phone', 'dark', PHONE], ['a desktop', 'light', DESKTOP]]) {
  test(`a route is tried out with its own example, on ${device}, ${colorScheme}`, async () => {
    const page = await visit(`${replica.url}/docs/`, { ...options, colorScheme });
    const route = page.locator('#operations-messages-sendMessage');
    await route.locator('.opblock-summary-control').click();
    await route.getByRole('button', { name: 'Execute' }).click();
    const answer = route.locator('.live-responses-table');
    await answer.getByText(/^20[01]$/).first().waitFor();
    await answer.getByText('Is Friday fine, too?').first().waitFor();
    // Its errors stand there with what provokes them.
    await route.getByText('the clientMessageId stands for another message').first().waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.classList.contains('dark-mode')), colorScheme === 'dark');
  });
}

test('behind a proxy that serves it below a path, it finds its document, and the routes that it tries out', async (t) => {
  const front = await proxy(replica.port, '/chat');
  t.after(() => front.close());
  const page = await visit(`${front.url}/docs/`);
  const route = page.locator('#operations-messages-sendMessage');
  await route.locator('.opblock-summary-control').click();
  await route.getByRole('button', { name: 'Execute' }).click();
  await route.locator('.request-url').getByText(`${front.url}/api/v1/chat/messages`, { exact: true }).waitFor();
  await route.locator('.live-responses-table').getByText(/^20[01]$/).first().waitFor();
  const link = page.getByRole('link', { name: 'asyncapi.json' });
  const { status, body } = await link.evaluate(async ({ href }) => {
    const answer = await fetch(href);
    return { status: answer.status, body: await answer.json() };
  });
  assert.deepEqual([status, body.asyncapi], [200, '3.0.0']);
});

/** In the page: each text in an element with its contrast to the ground that it stands on. */
function contrasts(element) {
  const numbers = (colour) => [...colour.match(/[\d.]+/g).map(Number), 1].slice(0, 4);
  const over = ([r, g, b, a], ground) => [r, g, b].map((value, at) => value * a + ground[at] * (1 - a));
  const ground = (it) => (it ? over(numbers(getComputedStyle(it).backgroundColor), ground(it.parentElement)) : [255, 255, 255]);
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const texts = [...element.querySelectorAll('*')].filter((it) => it.checkVisibility() && [...it.childNodes].some(({ nodeType, data }) => nodeType === 3 && data.trim()));
  return texts.map((it) => {
    const [brighter, darker] = [over(numbers(getComputedStyle(it).color), ground(it)), ground(it)].map(light).sort((a, b) => b - a);
    return { text: it.textContent, contrast: brighter / darker };
  });
}

test('in the dark, too, all that stands beside a route can be read', async () => {
  const page = await visit(`${replica.url}/docs/`, { colorScheme: 'dark' });
  for (const name of ['messages-sendMessage', 'conversations-markRead']) {
    const route = page.locator(`#operations-${name}`);
    await route.locator('.opblock-summary-control').click();
    await route.getByRole('cell', { name: 'x-request-id' }).first().waitFor();
    const texts = await route.evaluate(contrasts);
    assert.ok(texts.length > 50, `${name}: ${texts.length}`);
    assert.deepEqual(texts.filter(({ contrast }) => contrast < 3), [], name);
  }
});
