// Back and Forward: on a phone a conversation lies over the list, and Back takes it away.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, at, CONVERSATION, drawn, eventually, held, LUKASZ, pane, PHONE, replica, stage, talking, visit, ZEYNEP } from './support.js';

stage();

const row = (where) => where.locator(`[data-conversation="${CONVERSATION}"] button`);
const messages = (where) => where.getByRole('region', { name: 'Messages' });
const LIST = `#${AMELIE}`;
const OPEN = `#${talking(AMELIE)}`;
const assertHash = (page, hash) => eventually(() => new URL(page.url()).hash, hash);

async function list(options = PHONE) {
  const page = await visit(at(replica.url, AMELIE), options);
  await row(page).waitFor();
  return page;
}

test('on a phone Back closes the conversation, and Forward opens it', async () => {
  const page = await list();
  await row(page).tap();
  await messages(page).waitFor();
  await assertHash(page, OPEN);
  await page.goBack();
  await row(page).waitFor();
  await messages(page).waitFor({ state: 'hidden' });
  await assertHash(page, LIST);
  await page.goForward();
  await messages(page).waitFor();
  await row(page).waitFor({ state: 'hidden' });
  await assertHash(page, OPEN);
  // The entries outlive the page that made them.
  await page.reload();
  await messages(page).waitFor();
  await page.goBack();
  await row(page).waitFor();
});

test('what is closed by its own button is not under Back any more', async () => {
  const page = await list();
  for (let times = 0; times < 2; times++) {
    await row(page).tap();
    await messages(page).waitFor();
    await assertHash(page, OPEN);
    await page.getByRole('button', { name: 'Back to the conversations' }).tap();
    await row(page).waitFor();
    await assertHash(page, LIST);
  }
  await page.goBack();
  assert.equal(page.url(), 'about:blank');
});

test('an address that names a conversation begins there: its own button leads to the list, and nothing is left behind', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), PHONE);
  await messages(page).waitFor();
  await page.getByRole('button', { name: 'Back to the conversations' }).tap();
  await row(page).waitFor();
  await assertHash(page, LIST);
  await page.goBack();
  assert.equal(page.url(), 'about:blank');
});

test('where the list stays beside the conversation, choosing another one is no step', async () => {
  const page = await list({});
  await row(page).click();
  await messages(page).waitFor();
  await assertHash(page, OPEN);
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await page.goBack();
  assert.equal(page.url(), 'about:blank');
});

test('with two users each conversation is a step of its own', async () => {
  const page = await visit(at(replica.url, AMELIE, LUKASZ), PHONE);
  const [left, right] = [pane(page, 1), pane(page, 2)];
  await right.locator('.list .row').first().waitFor();
  await page.locator('.tabs button').first().tap();
  await row(left).tap();
  await messages(left).waitFor();
  await page.locator('.tabs button').last().tap();
  await row(right).tap();
  await messages(right).waitFor();
  await assertHash(page, `#${talking(AMELIE)}&${talking(LUKASZ)}`);
  await page.goBack();
  await row(right).waitFor();
  await assertHash(page, `#${talking(AMELIE)}&${LUKASZ}`);
  await page.goBack();
  await page.locator('.tabs button').first().tap();
  await row(left).waitFor();
  await assertHash(page, `#${AMELIE}&${LUKASZ}`);
});

test('an address that is changed to another user leads to that user’s chat, and to the conversation that it names', async () => {
  const page = await list({});
  const goTo = (hash) => page.evaluate((it) => (location.hash = it), hash);
  await goTo(talking(LUKASZ));
  await page.locator('.me').getByText('Łukasz Wiśniewski').waitFor();
  await page.getByRole('heading', { name: /Amélie/ }).waitFor();
  await assertHash(page, `#${talking(LUKASZ)}`);
  await goTo(AMELIE);
  await page.locator('.me').getByText('Amélie Dubois').waitFor();
  await row(page).waitFor();
  assert.equal(await messages(page).isVisible(), false);
  await assertHash(page, LIST);
  // Of two users each has their place in it.
  await goTo(`${AMELIE}&${talking(LUKASZ)}`);
  await messages(pane(page, 2)).waitFor();
  await goTo(`${AMELIE}&${ZEYNEP}`);
  await pane(page, 2).locator('.pane-bar').getByText('Zeynep').waitFor();
  await pane(page, 1).locator('.pane-bar').getByText('Amélie Dubois').waitFor();
  await assertHash(page, `#${AMELIE}&${ZEYNEP}`);
});

test('Back brings nobody back whose pane was closed', async () => {
  const page = await visit(at(replica.url, AMELIE, LUKASZ), PHONE);
  const [left, right] = [pane(page, 1), pane(page, 2)];
  await right.locator('.list .row').first().waitFor();
  await page.locator('.tabs button').first().tap();
  await row(left).tap();
  await messages(left).waitFor();
  await assertHash(page, `#${talking(AMELIE)}&${LUKASZ}`);
  await page.getByRole('button', { name: 'Second user' }).tap();
  await right.waitFor({ state: 'detached' });
  await assertHash(page, OPEN);
  const asked = [];
  page.on('request', (request) => request.url().endsWith('/health/ready') && asked.push(request.url()));
  await page.goBack();
  await row(page).waitFor();
  await assertHash(page, LIST);
  await drawn(page);
  assert.deepEqual(asked, []); // no replica for a second one
});

test('while a replica is looked for, the address may name somebody else', async () => {
  const page = await list({});
  await page.evaluate(() => (AbortSignal.timeout = () => new AbortController().signal));
  const { asked, release } = await held(page, '**/health/ready');
  await page.evaluate((it) => (location.hash = it), `${AMELIE}&${LUKASZ}`);
  await asked();
  await row(page).click();
  await messages(page).waitFor();
  await assertHash(page, `#${AMELIE}&${LUKASZ}`);
  await page.evaluate((it) => (location.hash = it), `${AMELIE}&${ZEYNEP}`);
  release();
  await pane(page, 2).locator('.pane-bar').getByText('Zeynep').waitFor();
  await assertHash(page, `#${AMELIE}&${ZEYNEP}`);
});
