// Everybody can use the page: axe-core finds nothing serious, light and dark, on a phone and at a desk; and what it does not look
// for: by its edge one knows a field, a deleted message, and the message that a search led to (WCAG 2.2, 1.4.11).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { AMELIE, at, bubble, CUT, DESKTOP, eventually, LUKASZ, patient, PHONE, post, replica, replicas, stage, talking, visit } from './support.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** Faults that axe-core calls serious or critical, in short; and in headings and regions, by which a screen reader leads through a page, all. `rules`: only by these. */
async function faults(page, rules) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(AXE);
  const { violations } = await page.evaluate((runOnly) => globalThis.axe.run(document, { resultTypes: ['violations'], ...(runOnly && { runOnly }) }), rules);
  return violations
    .filter(({ id, impact }) => ['serious', 'critical'].includes(impact) || ['heading-order', 'landmark-unique'].includes(id))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join('; ')}`);
}

for (const [device, options] of [['phone', PHONE], ['desktop', DESKTOP]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`no serious fault: ${device}, ${colorScheme}`, async () => {
      const page = await visit(replica.url, { ...options, colorScheme, reducedMotion: 'reduce', forgive: CUT, before: patient });
      // In the dark nothing but the colours is otherwise.
      const rules = colorScheme === 'dark' ? ['color-contrast'] : undefined;
      const check = async (what) => assert.deepEqual(await faults(page, rules), [], what);
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

/** The contrast of `edge`, the name of a style, of what is found to the ground around it. */
const contrast = (locator, edge) => locator.evaluate((it, name) => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\d.]+/g).map((value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  let around = it.parentElement;
  while (getComputedStyle(around).backgroundColor === 'rgba(0, 0, 0, 0)') around = around.parentElement;
  const [dark, light] = [getComputedStyle(it)[name], getComputedStyle(around).backgroundColor].map(luminance).sort((a, b) => a - b);
  return light / dark;
}, edge);

for (const colorScheme of ['light', 'dark']) {
  test(`fields, a deleted message and a found one have an edge that can be seen: ${colorScheme}`, async () => {
    const { id } = await post(replica.url, AMELIE, 'this is taken back');
    await replicas.sql(`select chat_delete_message('${id}', '${AMELIE}')`);
    await post(replica.url, AMELIE, `a ${colorScheme} bittern`);
    const page = await visit(at(replica.url, talking(AMELIE)), { colorScheme });
    await bubble(page, 'This message was deleted').last().waitFor();
    await page.getByRole('searchbox').fill(colorScheme);
    await page.locator('.results .row', { hasText: 'bittern' }).click();
    const found = page.locator('.message.found .bubble');
    await found.waitFor();
    await page.locator('.scroller').focus(); // a field that has the focus has another edge
    const edges = {
      search: await contrast(page.getByRole('searchbox'), 'borderTopColor'),
      composer: await contrast(page.getByRole('textbox', { name: 'Message' }), 'borderTopColor'),
      deleted: await contrast(page.locator('.deleted .bubble').last(), 'borderTopColor'),
      found: await contrast(found, 'outlineColor'),
    };
    for (const [what, ratio] of Object.entries(edges)) assert.ok(ratio >= 3, `${what}: ${ratio}`);
  });
}

test('in colours of the reader’s own a deleted message is told from the others, and the open conversation has no colour of the page’s', async () => {
  const { id } = await post(replica.url, AMELIE, 'this is taken back, too');
  await replicas.sql(`select chat_delete_message('${id}', '${AMELIE}')`);
  const page = await visit(at(replica.url, talking(AMELIE)), { forcedColors: 'active' });
  await bubble(page, 'This message was deleted').last().waitFor();
  const style = (selector, name) => page.locator(selector).last().evaluate((it, what) => getComputedStyle(it)[what], name);
  assert.deepEqual([await style('.deleted .bubble', 'borderTopStyle'), await style('.message:not(.deleted) .bubble', 'borderTopStyle')], ['dashed', 'solid']);
  const chosen = '.list .row[aria-current="true"]';
  assert.equal(await style(`${chosen} .avatar`, 'color'), await style(chosen, 'color'));
  assert.equal(await style(`${chosen} .avatar`, 'backgroundColor'), 'rgba(0, 0, 0, 0)');
});
