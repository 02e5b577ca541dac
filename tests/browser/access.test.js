// Everybody can use the page: axe-core finds nothing serious, light and dark, on a phone and at a desk.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { AMELIE, at, CUT, DESKTOP, eventually, LUKASZ, patient, PHONE, post, replica, stage, talking, visit } from './support.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** Faults that axe-core calls serious or critical, in short; and in headings and regions, by which a screen reader leads through a page, all. */
async function faults(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations
    .filter(({ id, impact }) => ['serious', 'critical'].includes(impact) || ['heading-order', 'landmark-unique'].includes(id))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join('; ')}`);
}

for (const [device, options] of [['phone', PHONE], ['desktop', DESKTOP]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`no serious fault: ${device}, ${colorScheme}`, async () => {
      const page = await visit(replica.url, { ...options, colorScheme, reducedMotion: 'reduce', forgive: CUT, before: patient });
      const check = async (what) => assert.deepEqual(await faults(page), [], what);
      const shown = async (address, selector) => {
        await page.goto('about:blank');
        await page.goto(address);
        await page.locator(selector).first().waitFor();
      };
      await page.locator('.people .row').first().waitFor();
      await check('choosing a user');
      await shown(at(replica.url, AMELIE), '.list .row');
      await check('the conversations');
      await page.getByRole('searchbox').fill('a');
      await page.locator('.results .row').first().waitFor();
      await check('a search');
      await shown(at(replica.url, talking(AMELIE)), '.message');
      await page.getByRole('button', { name: 'A message from SQL' }).click();
      await page.getByRole('button', { name: 'Frames of the socket' }).click();
      await check('a conversation');
      await page.getByRole('textbox', { name: 'Message' }).press('ArrowUp');
      await page.getByText('Editing your message').waitFor();
      await check('a message is edited');
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Delete message' }).last().focus();
      await page.keyboard.press('Enter');
      await page.getByRole('dialog').waitFor();
      await check('a message is to be deleted');
      await page.keyboard.press('Escape');
      await shown(at(replica.url, talking(AMELIE), talking(LUKASZ)), '.pane:nth-child(2) .message');
      await page.locator('.pane:nth-child(1) .message').first().waitFor({ state: 'attached' });
      for (const tool of await page.getByRole('button', { name: /^(A message from SQL|Frames of the socket)$/ }).all()) await tool.click();
      await check('two users');
      const [scrollWidth, scrollHeight] = await page.evaluate(() => [document.body.scrollWidth, document.body.scrollHeight]);
      assert.deepEqual([scrollWidth, scrollHeight], Object.values(options.viewport), 'the page itself scrolls');
      await shown(at(replica.url, talking(AMELIE)), '.message');
      await page.context().setOffline(true);
      await page.locator('.banner').waitFor();
      await page.getByRole('textbox', { name: 'Message' }).fill('Is anybody there?');
      await page.getByRole('button', { name: 'Send' }).click();
      await page.locator('.message.queued').waitFor();
      await check('no connection');
    });
  }
}

test('a screen reader is told of many messages in few announcements, and of all of them', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  await page.locator('.message').first().waitFor();
  await page.evaluate(() => {
    globalThis.announced = [];
    const region = document.querySelector('.thread > [aria-live]');
    // When it is written, and not when an observer is told: what else is drawn in that turn may take long.
    const { get, set } = Object.getOwnPropertyDescriptor(Node.prototype, 'textContent');
    Object.defineProperty(region, 'textContent', {
      get,
      set(text) {
        globalThis.announced.push({ at: performance.now(), text });
        set.call(this, text);
      },
    });
  });
  for (let sent = 1; sent <= 25; sent++) await post(replica.url, LUKASZ, `number ${sent}`);
  const announced = () => page.evaluate(() => globalThis.announced);
  await eventually(async () => (await announced()).reduce((sum, { text }) => sum + Number(/^(\d+) new messages\. /.exec(text)?.[1] ?? 1), 0), 25);
  const all = await announced();
  assert.match(all.at(-1).text, /^(\d+ new messages\. )?Łukasz Wiśniewski: number 25$/);
  all.slice(1).forEach(({ at: now }, before) => assert.ok(now - all[before].at > 2_900, JSON.stringify(all)));
});
