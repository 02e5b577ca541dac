// Messages that the service does not take: whoever wrote them is told, and can have back what they typed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertFocus, at, balancer, CONVERSATION, CUT, cutOff, PHONE, replica, say, stage } from './support.js';
import { LONG, STRICT, editing, field, sent, shown } from './writer.js';

stage(STRICT);

test('of a message that is refused while one is in another conversation the list tells, until one has looked after it', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'Before it');
  await cutOff(front, page);
  await say(page, LONG);
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  front.refuse = false;
  const row = page.locator(`[data-conversation="${CONVERSATION}"]`);
  await row.getByText('Not sent: too long').waitFor();
  await row.getByRole('button').click();
  await page.locator('.message.failed').getByRole('button', { name: 'Discard' }).click();
  await page.locator('.message.failed').waitFor({ state: 'detached' });
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await row.getByText('You: Before it').waitFor();
});

test('of a message that is refused while one is elsewhere a notice tells, too, also where there is no room for the list', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { ...PHONE, forgive: CUT });
  const notice = page.getByRole('alert').getByText(/^Not sent: .*200/);
  await field(page).fill(LONG);
  await page.getByRole('button', { name: 'Send', exact: true }).tap();
  await page.locator('.message.failed').waitFor();
  // Where one looks, the message says it.
  assert.equal(await notice.count(), 0);
  await cutOff(front, page);
  await page.getByRole('button', { name: /^Try again: / }).tap();
  await page.getByRole('button', { name: 'Back to the conversations' }).tap();
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').tap();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  front.refuse = false;
  await notice.waitFor();
  assert.ok(await page.locator('.list').isHidden());
});

test('a message bears the time when it was written, whenever it is refused, and tried again', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await cutOff(front, page);
  await say(page, LONG);
  const written = () => page.locator('.message').last().locator('time').getAttribute('datetime');
  await page.locator('.message.queued').waitFor();
  const time = await written();
  front.refuse = false;
  await page.locator('.message.failed').waitFor();
  assert.equal(await written(), time);
  await cutOff(front, page);
  await page.getByRole('button', { name: /^Try again: / }).click();
  await page.locator('.message.queued').waitFor();
  assert.equal(await written(), time);
});

test('a screen reader is told of a message that is refused where one writes', async () => {
  const page = await shown();
  await page.evaluate(() => {
    window.heard = [];
    const region = document.querySelector('.thread > [aria-live]');
    new MutationObserver(() => window.heard.push(region.textContent)).observe(region, { childList: true });
  });
  await say(page, LONG);
  await page.locator('.message.failed').waitFor();
  const heard = await page.evaluate(() => window.heard);
  assert.deepEqual(heard.map((text) => /^Not sent: .*200/.test(text)), [true], `${heard}`);
});

test('what was not sent is taken back to be written otherwise', async () => {
  const page = await shown();
  await say(page, LONG);
  const failed = page.locator('.message.failed');
  await failed.getByText(/^Not sent: .*200/).waitFor();
  await field(page).fill('and more');
  await failed.getByRole('button', { name: 'Edit' }).click();
  assert.equal(await field(page).inputValue(), `${LONG}\nand more`);
  await failed.waitFor({ state: 'detached' });
  await sent(page, 'Shorter now');
  assert.equal(await page.locator('.message', { hasText: 'too long' }).count(), 0);
  // It is no part of an edit that one is at.
  await say(page, LONG);
  await failed.waitFor();
  await field(page).press('ArrowUp');
  await field(page).fill('Much shorter');
  await failed.getByRole('button', { name: 'Edit' }).click();
  assert.deepEqual([await field(page).inputValue(), await editing(page).isVisible()], [LONG, false]);
  await page.locator('.message', { hasText: 'Shorter now' }).waitFor();
});

test('who discards what was not sent, or tries it again, stays in the messages', async () => {
  const page = await shown();
  await say(page, LONG);
  const failed = page.locator('.message.failed');
  const first = await failed.getByRole('button', { name: 'Try again' }).elementHandle();
  await first.focus();
  await page.keyboard.press('Enter');
  await first.waitForElementState('hidden');
  await assertFocus(page.getByRole('region', { name: 'Messages' }));
  await failed.getByRole('button', { name: 'Discard' }).focus();
  await page.keyboard.press('Enter');
  await failed.waitFor({ state: 'detached' });
  await assertFocus(page.getByRole('region', { name: 'Messages' }));
});
