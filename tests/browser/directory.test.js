// Whom one may be, where nobody asks for a token; and an empty system: no users, and nobody to write to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, eventually, LUKASZ, replica, replicas, stage, visit } from './support.js';

stage();

test('who of the people to choose from is online is told to a screen reader, too', async () => {
  await visit(at(replica.url, LUKASZ));
  await eventually(async () => (await (await fetch(`${replica.url}/api/v1/users/${LUKASZ}`)).json()).isOnline, true);
  const page = await visit(replica.url);
  const people = page.locator('.people');
  await people.getByRole('button', { name: /^Łukasz Wiśniewski\s*online/ }).waitFor();
  await people.getByRole('button', { name: /^Zeynep Öztürk(?!\s*online)/ }).waitFor();
});

// The last one: nobody is left of the demo data.
test('where nobody is yet the page says so, and what can be done about it, not that a name was not found', async () => {
  await replicas.sql('delete from messages; delete from conversations; delete from users');
  const page = await visit(replica.url);
  await page.getByText('Nobody is there yet').waitFor();
  await page.getByText('pgchat sees no users').waitFor();
  await page.getByText('pgchat demo-data').waitFor();
  assert.equal(await page.getByText('Nobody by that name').count(), 0);
  const id = await replicas.sql("insert into users (first_name, last_name, email) values ('Ada', 'First', 'ada@example.com') returning id");
  await page.getByRole('button', { name: 'Look again' }).click();
  await page.getByRole('button', { name: /Ada First/ }).waitFor();
  assert.equal(await page.getByText('Nobody is there yet').count(), 0);
  await page.getByRole('searchbox').fill('Grace');
  await page.getByText('Nobody by that name').waitFor();

  const alone = await visit(at(replica.url, id));
  await alone.locator('.list .empty').getByRole('button', { name: 'New conversation' }).click();
  await alone.locator('.results').getByText('Nobody to write to').last().waitFor();
  assert.equal(await alone.getByText('Nothing found').count(), 0);
});
