// By its edge one knows a field, a deleted message, and the message that a search led to: the edge can be seen (WCAG 2.2, 1.4.11).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, at, bubble, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

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
