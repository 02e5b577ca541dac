// The API explorer at /docs: each route can be tried out there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
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
