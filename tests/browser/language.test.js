// Times are in the language of the reader, in a page in English: whoever reads it aloud is told so, and programs when it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, at, bubble, eventually, LUKASZ, post, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** `[text, lang, datetime]` of what is shown there. */
const times = (locator) => locator.evaluateAll((all) => all.map((it) => [it.textContent, it.closest('[lang]').lang, it.dateTime]));

test('each time says in which language it is, and when it was', async () => {
  const { createdAt } = await post(replica.url, LUKASZ, 'a bittern');
  const page = await visit(at(replica.url, talking(AMELIE)), { locale: 'de-DE' });
  await bubble(page, 'a bittern').waitFor();
  await page.getByRole('button', { name: 'Frames of the socket' }).click();
  await page.locator('.frames li').first().waitFor();
  assert.equal(await page.locator('html').getAttribute('lang'), 'en');
  const all = await times(page.locator('time'));
  assert.ok(all.length > 5, JSON.stringify(all));
  for (const [text, lang, datetime] of all) assert.ok(text && lang === 'de-DE' && !Number.isNaN(Date.parse(datetime)), JSON.stringify([text, lang, datetime]));
  assert.equal((await times(bubble(page, 'a bittern').locator('time')))[0][2], createdAt);
  const [today] = await times(page.locator('.divider.day time').last());
  assert.deepEqual(today.slice(0, 2), ['Heute', 'de-DE']);
  // Where the reader is, and not in Greenwich.
  assert.equal(today[2], await page.evaluate(() => new Date().toLocaleDateString('sv')));

  await page.getByRole('searchbox').fill('bittern');
  await page.locator('.results time').first().waitFor();
  assert.deepEqual((await times(page.locator('.results time'))).map(([, lang, datetime]) => [lang, datetime]), [['de-DE', createdAt]]);
});

test('when somebody was last seen is in that language, too, and the words before it are not', async () => {
  await replicas.sql(`delete from messages where content = 'a bittern'`);
  const lukasz = await visit(at(replica.url, LUKASZ));
  await lukasz.locator('.list .row').first().waitFor();
  const page = await visit(at(replica.url, talking(AMELIE)), { locale: 'de-DE' });
  const head = page.locator('.thread-head').getByRole('status');
  await eventually(() => head.textContent(), 'Online');
  await lukasz.close();
  await eventually(() => head.textContent(), (text) => /^Last seen at \d\d:\d\d$/.test(text));
  const [[text, lang, datetime]] = await times(head.locator('time'));
  assert.match(text, /^\d\d:\d\d$/);
  assert.equal(lang, 'de-DE');
  assert.ok(Math.abs(Date.now() - Date.parse(datetime)) < 600_000, datetime);
});

test('whoever comes back to a tab whose timers slept finds the days as they are by now', async () => {
  await post(replica.url, LUKASZ, 'a heron');
  const page = await visit(at(replica.url, talking(AMELIE)));
  const now = await page.evaluate(() => Date.now());
  await page.clock.install({ time: now });
  await page.reload();
  await bubble(page, 'a heron').waitFor();
  const day = page.locator('.divider.day').last();
  await eventually(() => day.textContent(), 'Today');
  await page.clock.pauseAt(now + 60_000);
  await page.clock.setSystemTime(now + 86_400_000);
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  // It draws once a frame.
  await page.clock.runFor(300);
  await eventually(() => day.textContent(), 'Yesterday');
});
