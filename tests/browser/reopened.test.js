// A conversation that is opened again, after a part of it could not be read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { badge, reader } from './reader.js';
import { at, box, bubble, eventually, LUKASZ, patient, replica, replicas, stage, visit, ZEYNEP } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

/** For `before`: the page is in a tab that nobody sees, as long as `window.unseen` says so. */
const unseen = () => {
  window.unseen = true;
  Object.defineProperty(document, 'visibilityState', { get: () => (window.unseen ? 'hidden' : 'visible') });
};

test('where older messages could not be read, a conversation that is opened again opens at what is new, and not at the oldest that had come', async () => {
  const { user, conversation } = await reader();
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read)
    select '${conversation}', '${LUKASZ}', 'number ' || n, n <= 350 from generate_series(1, 600) n`);
  const other = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${user}', '${ZEYNEP}') returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, is_read) values ('${other}', '${ZEYNEP}', 'somewhere else', true)`);
  const page = await visit(at(replica.url, user), { forgive: /503/, before: `(${unseen})(); (${patient})();` });
  let refuses = true;
  await page.route((url) => url.pathname.includes(conversation) && url.searchParams.has('before'), (route) => (refuses ? route.fulfill({ status: 503 }) : route.continue()));
  const open = (id) => page.locator(`[data-conversation="${id}"] button`).click();
  await badge(page, '99').waitFor();
  await open(conversation);
  await page.getByRole('button', { name: 'Try again' }).waitFor();
  await open(other);
  await bubble(page, 'somewhere else').waitFor();
  // Nobody has seen it, so nothing has been read.
  await badge(page, '99').waitFor();
  refuses = false;
  await page.evaluate(() => (window.unseen = false));
  await open(conversation);
  await page.locator('.divider.new + .message', { has: page.getByText('number 351', { exact: true }) }).waitFor();
  const [line, { y }] = await Promise.all([page.getByRole('separator', { name: 'New messages' }), page.locator('.scroller')].map(box));
  assert.ok(line.y >= y && line.y < y + 80, `the line is at ${line.y}, the messages begin at ${y}`);
  await eventually(() => page.getByRole('button', { name: 'Try again' }).count(), 0);
});
