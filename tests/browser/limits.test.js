// The limits that the service tells: the page takes what the service takes, and no more.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { balancer, CUT, cutOff, drawn, reachable, replica, replicas, stage } from './support.js';
import { field, shown } from './writer.js';

stage({ RATE_LIMIT_PER_SECOND: '0', MAX_MESSAGE_BYTES: '100000' });

const send = (page) => page.getByRole('button', { name: 'Send', exact: true });
const tooLong = (page, bytes) => page.locator('.composer').getByText(`This is longer than a message can be (${bytes} bytes).`);

test('a message may be as long as the service says, and what is longer stays where it is written', async () => {
  const page = await shown();
  const long = 'ü'.repeat(50_001);
  await field(page).fill(long);
  await tooLong(page, '100,000').waitFor();
  await field(page).press('Enter');
  assert.deepEqual([await send(page).isDisabled(), await field(page).inputValue()], [true, long]);
  await field(page).fill(long.slice(1));
  await field(page).press('Enter');
  await page.locator('.message.mine').last().getByTitle(/^(sent|read)$/).waitFor();
  assert.equal(await replicas.sql('select max(octet_length(content)) from messages'), '100000');
});

test('what is being written is too long, or no longer, where a replica with another limit is reached', async () => {
  const strict = await replicas.start({ MAX_MESSAGE_BYTES: '200' });
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await field(page).fill('x'.repeat(300));
  await drawn(page);
  assert.equal(await send(page).isDisabled(), false);
  for (const { port, isTooLong } of [{ port: strict.port, isTooLong: true }, { port: replica.port, isTooLong: false }]) {
    await cutOff(front, page);
    front.ports = [port];
    await reachable(front, page);
    await tooLong(page, '200').waitFor({ state: isTooLong ? 'visible' : 'detached' });
    assert.equal(await send(page).isDisabled(), isTooLong);
  }
});
