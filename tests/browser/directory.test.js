// Whom one may be, where nobody asks for a token.
import { test } from 'node:test';
import { at, eventually, LUKASZ, replica, stage, visit } from './support.js';

stage();

test('who of the people to choose from is online is told to a screen reader, too', async () => {
  await visit(at(replica.url, LUKASZ));
  await eventually(async () => (await (await fetch(`${replica.url}/api/v1/users/${LUKASZ}`)).json()).isOnline, true);
  const page = await visit(replica.url);
  const people = page.locator('.people');
  await people.getByRole('button', { name: /^Łukasz Wiśniewski\s*online/ }).waitFor();
  await people.getByRole('button', { name: /^Zeynep Öztürk(?!\s*online)/ }).waitFor();
});
