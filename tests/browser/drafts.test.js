// What is typed and not sent is there again after a reload: everybody's own, until it is sent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, at, box, bubble, CONVERSATION, LUKASZ, pane, replica, say, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

const field = (page) => page.getByRole('textbox', { name: 'Message' });
const row = (page, name) => page.locator('.list li', { hasText: name });

async function shown(options) {
  const page = await visit(at(replica.url, talking(AMELIE)), options);
  await page.locator('.message').first().waitFor();
  return page;
}

async function reload(page) {
  await page.reload();
  await page.locator('.message').first().waitFor();
}

test('what is typed in each conversation is there after a reload, the list names it, and once it is sent it is gone', async () => {
  const page = await shown();
  await field(page).fill('To Łukasz\nin two lines');
  await row(page, 'Zeynep').getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  assert.equal(await field(page).inputValue(), '');
  await field(page).pressSequentially('To Zeynep');
  await reload(page);
  assert.equal(await field(page).inputValue(), 'To Zeynep');
  assert.ok(await page.getByRole('button', { name: 'Send' }).isEnabled());
  await row(page, 'Łukasz').getByText('Draft: To Łukasz').waitFor();
  assert.equal(await row(page, 'Zeynep').getByText('Draft:').count(), 0);
  await row(page, 'Łukasz').getByRole('button').click();
  await row(page, 'Zeynep').getByText('Draft: To Zeynep').waitFor();
  assert.equal(await field(page).inputValue(), 'To Łukasz\nin two lines');
  // It grows with what is in it.
  assert.ok((await box(field(page))).height > 60);

  await field(page).press('Enter');
  await bubble(page, 'To Łukasz\nin two lines').getByTitle(/^(sent|read)$/).waitFor();
  await row(page, 'Zeynep').getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await field(page).fill('');
  await reload(page);
  assert.equal(await field(page).inputValue(), '');
  assert.equal(await page.locator('.list').getByText('Draft:').count(), 0);
  assert.deepEqual(await page.evaluate(() => Object.keys(sessionStorage)), []);
});

test('an edit is no draft: what was being written before it is', async () => {
  const page = await shown();
  await say(page, 'Mine');
  await bubble(page, 'Mine').getByTitle(/^(sent|read)$/).waitFor();
  await field(page).fill('A thought');
  await bubble(page, 'Mine').hover();
  await bubble(page, 'Mine').getByRole('button', { name: 'Edit message' }).click();
  await field(page).fill('Mine, otherwise');
  await reload(page);
  assert.equal(await field(page).inputValue(), 'A thought');
});

test('drafts are those of one user: another one in the same tab, and another tab, have their own', async () => {
  const page = await visit(at(replica.url, talking(AMELIE), talking(LUKASZ)), { viewport: { width: 1600, height: 800 } });
  for (const [number, text] of [[1, 'By Amélie'], [2, 'By Łukasz']]) {
    await pane(page, number).locator('.message').first().waitFor();
    await field(pane(page, number)).fill(text);
  }
  await page.reload();
  for (const [number, text] of [[1, 'By Amélie'], [2, 'By Łukasz']]) {
    await pane(page, number).locator('.message').first().waitFor();
    assert.equal(await field(pane(page, number)).inputValue(), text);
  }
  // Who comes back within the tab finds it again.
  await pane(page, 1).getByRole('button', { name: 'Be somebody else' }).click();
  await pane(page, 1).getByRole('button', { name: /Amélie/ }).click();
  await pane(page, 1).locator(`[data-conversation="${CONVERSATION}"]`).getByText('Draft: By Amélie').waitFor();
  const tab = await page.context().newPage();
  await tab.goto(at(replica.url, talking(AMELIE)));
  await tab.locator('.message').first().waitFor();
  assert.equal(await field(tab).inputValue(), '');
});

test('what is kept of drafts is bounded, and what is there already need not be ours', async () => {
  const page = await shown({ before: () => sessionStorage.getItem('pgchat.drafts') ?? sessionStorage.setItem('pgchat.drafts', '{"not": "ours"}') });
  await page.evaluate(async () => {
    const { keepDraft } = await import('/page/drafts.js');
    for (let n = 0; n < 60; n++) keepDraft('u', n, `draft ${n}`);
    keepDraft('u', 'long', 'x'.repeat(300_000));
    for (const n of [1, 2, 3]) keepDraft('u', `half ${n}`, 'x'.repeat(90_000));
  });
  await reload(page);
  const { kept, size } = await page.evaluate(async () => {
    const { draft } = await import('/page/drafts.js');
    const names = [...Array.from({ length: 60 }, (_, n) => n), 'long', 'half 1', 'half 2', 'half 3'];
    return { kept: names.filter((name) => draft('u', name)), size: sessionStorage.getItem('pgchat.drafts').length };
  });
  assert.deepEqual([kept.at(0), kept.at(-3), kept.slice(-2)], [14, 59, ['half 2', 'half 3']]);
  assert.ok(size < 250_000, `${size} characters`);
});

test('where a page may not store anything, drafts hold until it is left', async () => {
  const off = () => Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('off', 'SecurityError'); } });
  const page = await shown({ before: off });
  await field(page).fill('Not stored');
  await row(page, 'Zeynep').getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await row(page, 'Łukasz').getByText('Draft: Not stored').click();
  await page.getByRole('heading', { name: /Łukasz/ }).waitFor();
  assert.equal(await field(page).inputValue(), 'Not stored');
});
