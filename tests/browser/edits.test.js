// Messages that are changed or deleted, and edits that are refused: nothing that was typed is lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertFocus, at, balancer, box, bubble, CONVERSATION, CUT, cutOff, drawn, eventually, lateFrames, LUKASZ, post, reachable, replica, replicas, say, talking, visit } from './support.js';
import { FAULTY, LONG, editing, field, sent, shown, strictStage } from './writer.js';

strictStage();

test('an edit waits for the connection as a message does, and looks like it', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'At sixx');
  await say(page, LONG);
  await page.locator('.message.failed').waitFor();
  await cutOff(front, page);
  // What was refused waits for nothing.
  assert.equal(await page.locator('.banner').getByText(/waiting to be sent/).count(), 0);
  await field(page).press('ArrowUp');
  await say(page, 'At six');
  await page.locator('.banner').getByText('1 waiting to be sent.', { exact: true }).waitFor();
  await bubble(page, 'At six').getByTitle('waiting to be sent').waitFor();
  assert.equal(await bubble(page, 'At sixx').count(), 0);
  // Edited once more, it is what was typed last.
  await field(page).press('ArrowUp');
  assert.equal(await field(page).inputValue(), 'At six');
  await page.keyboard.press('Escape');
  await reachable(front, page);
  await bubble(page, 'At six').getByText('edited').waitFor();
  await bubble(page, 'At six').getByTitle(/^(sent|read)$/).waitFor();
});

test('ArrowUp edits the last text of one’s own, no picture, and nothing where the last ones are not loaded', async () => {
  const conversation = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${AMELIE}', '55555555-5555-4555-8555-555555555555') on conflict do nothing returning id`);
  await replicas.sql(`
    insert into messages (conversation_id, sender_id, content) values ('${conversation}', '${AMELIE}', 'The pelican of long ago');
    insert into messages (conversation_id, sender_id, content) select '${conversation}', '${AMELIE}', 'filler ' || n from generate_series(1, 300) n;
    insert into messages (conversation_id, sender_id, content) values ('${conversation}', '${AMELIE}', 'The last text');
    insert into messages (conversation_id, sender_id, content, message_type) values ('${conversation}', '${AMELIE}', 'https://example.com/a.png', 'image'), ('${conversation}', '${AMELIE}', 'https://example.com/b.pdf', 'file')`);
  const page = await visit(at(replica.url, talking(AMELIE, conversation)));
  await bubble(page, 'The last text').waitFor();
  await field(page).press('ArrowUp');
  await editing(page).waitFor();
  assert.equal(await page.getByRole('textbox', { name: /^(Message|Edit message)/ }).inputValue(), 'The last text');
  await page.keyboard.press('Escape');
  await editing(page).waitFor({ state: 'hidden' });

  await page.getByRole('searchbox').fill('pelican');
  await page.locator('.results .row', { hasText: 'long ago' }).click();
  await bubble(page, 'The pelican of long ago').waitFor();
  await page.getByRole('button', { name: 'Jump to the latest messages' }).waitFor();
  await field(page).press('ArrowUp');
  await drawn(page);
  assert.deepEqual([await editing(page).isVisible(), await field(page).inputValue()], [false, '']);
  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  await bubble(page, 'The last text').waitFor();
  await field(page).press('ArrowUp');
  await editing(page).waitFor();
});

test('who leaves while an edit waits is asked whether to lose it', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'To be changed');
  await cutOff(front, page);
  await field(page).press('ArrowUp');
  await say(page, 'Changed');
  await bubble(page, 'Changed').getByTitle('waiting to be sent').waitFor();
  await page.getByRole('button', { name: 'Be somebody else' }).click();
  await page.getByRole('dialog', { name: 'Leave what was not sent?' }).getByRole('button', { name: 'Stay' }).click();
  await reachable(front, page);
  await bubble(page, 'Changed').getByText('edited').waitFor();
});

test('an edit that is refused opens again with what was typed, and says why', async () => {
  const page = await shown();
  await sent(page, 'Short');
  await field(page).fill('A thought');
  await bubble(page, 'Short').hover();
  await bubble(page, 'Short').getByRole('button', { name: 'Edit message' }).click();
  await say(page, LONG);
  await page.locator('.composer').getByText(/^Not changed: .*200/).waitFor();
  await editing(page).waitFor();
  assert.equal(await field(page).inputValue(), LONG);
  await page.reload();
  await editing(page).waitFor();
  assert.equal(await field(page).inputValue(), LONG);
  await bubble(page, 'Short').getByTitle(/^(sent|read)$/).waitFor();
  await say(page, 'Still short');
  await bubble(page, 'Still short').getByText('edited').waitFor();
  assert.equal(await field(page).inputValue(), 'A thought');
});

test('an edit that is refused while one writes something else opens after that', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'Before the cut');
  await cutOff(front, page);
  await field(page).press('ArrowUp');
  await say(page, LONG);
  await field(page).pressSequentially('Meanwhile');
  await reachable(front, page);
  await page.locator('.composer').getByText(/^Not changed: /).waitFor();
  assert.deepEqual([await field(page).inputValue(), await editing(page).isVisible()], ['Meanwhile', false]);
  await field(page).press('Enter');
  await bubble(page, 'Meanwhile').waitFor();
  await editing(page).waitFor();
  assert.equal(await field(page).inputValue(), LONG);
});

test('an edit that is refused while one edits another message opens after that', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'First of two');
  await sent(page, 'Second of two');
  await cutOff(front, page);
  await bubble(page, 'First of two').hover();
  await bubble(page, 'First of two').getByRole('button', { name: 'Edit message' }).click();
  await say(page, LONG);
  await field(page).press('ArrowUp');
  await field(page).fill('The second one');
  await reachable(front, page);
  await page.locator('.composer').getByText(/^Not changed: /).waitFor();
  assert.equal(await field(page).inputValue(), 'The second one');
  await field(page).press('Escape');
  await page.locator('.edit-bar').getByText('First of two', { exact: true }).waitFor();
  assert.equal(await field(page).inputValue(), LONG);
});

test('who is elsewhere in the page when an edit is refused, or its message deleted, stays there', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  const search = page.getByRole('searchbox');
  const deleted = page.locator('.composer').getByText('The message that you were editing was deleted.');
  const keep = page.getByRole('button', { name: 'Keep what I wrote' });
  const remove = (content) => replicas.sql(`update messages set deleted_at = now() where content = '${content}'`);
  await sent(page, 'Here for now');
  await cutOff(front, page);
  await field(page).press('ArrowUp');
  await say(page, LONG);
  await search.focus();
  await reachable(front, page);
  await page.locator('.composer').getByText(/^Not changed: /).waitFor();
  await assertFocus(search);
  await remove('Here for now');
  await deleted.waitFor();
  await keep.waitFor();
  await assertFocus(search);
  // Of an edit that changed nothing there is nothing to keep.
  await sent(page, 'Here as well');
  await field(page).press('ArrowUp');
  await search.focus();
  await remove('Here as well');
  await deleted.waitFor();
  await assertFocus(search);
  assert.equal(await keep.count(), 0);
  // Whose button goes with the edit is in the field.
  await sent(page, 'And here');
  await field(page).press('ArrowUp');
  await page.getByRole('button', { name: 'Stop editing' }).focus();
  await remove('And here');
  await deleted.waitFor();
  await assertFocus(field(page));
});

test('who is nowhere in the page when an edit is refused goes on writing it', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'Written nowhere');
  await cutOff(front, page);
  await field(page).press('ArrowUp');
  await say(page, LONG);
  await field(page).evaluate((input) => input.blur());
  await reachable(front, page);
  await page.locator('.composer').getByText(/^Not changed: /).waitFor();
  await assertFocus(field(page));
});

test('of two edits of one message the later one stays in sight while it waits, also once the first is answered', async () => {
  const holds = () => {
    const { send } = WebSocket.prototype;
    window.held = [];
    WebSocket.prototype.send = function (text) {
      if (JSON.parse(text).type === 'edit_message') window.held.push(() => send.call(this, text));
      else send.call(this, text);
    };
  };
  const page = await shown(replica.url, { before: holds });
  await sent(page, 'Written once');
  await page.getByRole('button', { name: 'Frames of the socket' }).click();
  for (const text of ['Written the first time', 'Written the second time']) {
    await field(page).press('ArrowUp');
    await say(page, text);
  }
  await page.evaluate(() => window.held[0]());
  await page.locator('.frames li', { hasText: /ack\s*edit_message/ }).waitFor();
  await eventually(() => page.evaluate(() => window.held.length), 2);
  await drawn(page);
  await bubble(page, 'Written the second time').getByTitle('waiting to be sent').waitFor();
  assert.equal(await bubble(page, 'Written the first time').count(), 0);
  await page.evaluate(() => window.held[1]());
  await bubble(page, 'Written the second time').getByTitle(/^(sent|read)$/).waitFor();
});

test('of a message that was changed elsewhere since, the answer to an edit changes nothing', async () => {
  const page = await shown(replica.url, { before: lateFrames });
  await sent(page, 'Changed here');
  await field(page).press('ArrowUp');
  await say(page, 'Changed here, lately');
  await eventually(() => page.evaluate(() => window.late.length), 2); // the answer, and the event
  await replicas.sql("update messages set content = 'Changed there' where content = 'Changed here, lately'");
  const row = page.locator(`[data-conversation="${CONVERSATION}"]`);
  await row.getByText('Changed there', { exact: true }).waitFor();
  await page.evaluate(() => window.late.forEach((come) => come()));
  await bubble(page, 'Changed there').getByTitle(/^(sent|read)$/).waitFor();
  await drawn(page);
  await row.getByText('Changed there', { exact: true }).waitFor();
});

test('an edit that is refused while one is in another conversation waits in its own', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'Left alone');
  await cutOff(front, page);
  await field(page).press('ArrowUp');
  await say(page, LONG);
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await reachable(front, page);
  await page.locator('.notice').getByText(/^Not changed: /).waitFor();
  assert.ok(await editing(page).isHidden());
  assert.equal(await page.locator('.composer').getByText(/^Not changed: /).count(), 0);
  await page.locator(`[data-conversation="${CONVERSATION}"] button`).click();
  await editing(page).waitFor();
  assert.equal(await field(page).inputValue(), LONG);
});

test('an edit that waits while its message is deleted outright ends, and what was typed can be kept', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'Gone by then');
  await cutOff(front, page);
  await field(page).press('ArrowUp');
  await say(page, 'Gone by then, I think');
  await replicas.sql("delete from messages where content = 'Gone by then'");
  await reachable(front, page);
  const notice = page.locator('.composer').getByRole('alert');
  await notice.getByText('The message that you were editing was deleted.').waitFor();
  assert.deepEqual([await editing(page).isVisible(), await field(page).inputValue()], [false, '']);
  await notice.getByRole('button', { name: 'Keep what I wrote' }).click();
  assert.equal(await field(page).inputValue(), 'Gone by then, I think');
});

for (const [where, go, back] of [
  ['edits another message', async (page) => {
    await page.getByRole('button', { name: 'Edit message: To stay while one edits another message' }).click();
    await editing(page).waitFor();
  }, (page) => field(page).press('Escape')],
  ['is in another conversation', async (page) => {
    await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
    await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  }, (page) => page.locator(`[data-conversation="${CONVERSATION}"] button`).click()],
]) {
  test(`an edit that waits while its message is deleted outright, and one ${where} by then, is not lost either`, async () => {
    const front = await balancer([replica.port]);
    const page = await shown(front.url, { forgive: CUT });
    const text = `Gone while one ${where}`;
    await sent(page, `To stay while one ${where}`);
    await sent(page, text);
    await cutOff(front, page);
    await field(page).press('ArrowUp');
    await say(page, `${text}, I think`);
    await bubble(page, `${text}, I think`).getByTitle('waiting to be sent').waitFor();
    await replicas.sql(`delete from messages where content = '${text}'`);
    await go(page);
    await reachable(front, page);
    await page.getByText(/^Not changed: .*does not exist/).first().waitFor();
    assert.equal(await page.getByRole('button', { name: 'Keep what I wrote' }).count(), 0);
    await back(page);
    await page.locator('.edit-bar').getByText(text, { exact: true }).waitFor();
    assert.equal(await field(page).inputValue(), `${text}, I think`);
  });
}

test('the buttons of a message say which message they are of, and so does the field in which it is edited', async () => {
  const page = await shown();
  const button = (name) => page.getByRole('button', { name, exact: true });
  await sent(page, 'Is it far\nto the station?');
  await sent(page, 'And is there a garden, or at least a balcony?');
  await say(page, FAULTY);
  await page.locator('.message.failed').waitFor();
  await say(page, LONG);
  await page.locator('.message.failed', { hasText: 'too long' }).waitFor();
  for (const name of [
    'Edit message: Is it far to the station?', 'Delete message: Is it far to the station?',
    'Edit message: And is there a garden, or at least a…', 'Delete message: And is there a garden, or at least a…',
    'Try again: faulty, faulty, faulty, faulty, faulty,…', 'Edit: faulty, faulty, faulty, faulty, faulty,…', 'Discard: faulty, faulty, faulty, faulty, faulty,…', 'Edit: too long, too long, too long, too long,…', 'Discard: too long, too long, too long, too long,…',
  ]) await button(name).waitFor();
  await button('Edit message: Is it far to the station?').focus();
  await page.keyboard.press('Enter');
  const editor = page.getByRole('textbox', { name: 'Edit message: Is it far to the station?', exact: true });
  await assertFocus(editor);
  await page.keyboard.press('Escape');
  await page.getByRole('textbox', { name: 'Message', exact: true }).waitFor();
  // The editor is left, and not the conversation.
  await assertFocus(field(page));
});

test('an image or a file of one’s own can be deleted, and not edited', async () => {
  const page = await shown();
  for (const kind of ['image', 'file']) {
    const address = `https://files.example.com/${kind}`;
    await replicas.sql(`insert into messages (conversation_id, sender_id, content, message_type) values ('${CONVERSATION}', '${AMELIE}', '${address}', '${kind}')`);
    await bubble(page, address).hover();
    assert.equal(await bubble(page, address).getByRole('button', { name: 'Edit message' }).count(), 0);
    await bubble(page, address).getByRole('button', { name: 'Delete message' }).click();
    await page.getByRole('dialog').getByText('It is emptied for both of you; in its place it says that it was deleted.').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
    await bubble(page, address).waitFor({ state: 'detached' });
  }
  await replicas.sql(`insert into messages (conversation_id, sender_id, content, message_type) values ('${CONVERSATION}', '${LUKASZ}', 'https://files.example.com/his', 'image')`);
  await bubble(page, 'https://files.example.com/his').waitFor();
  assert.equal(await bubble(page, 'https://files.example.com/his').getByRole('button').count(), 0);
});

test('a deletion that is refused is told, for a while, and the message stays', async () => {
  // The service is asked about another message.
  const before = () => {
    const { send } = WebSocket.prototype;
    WebSocket.prototype.send = function (text) {
      const frame = JSON.parse(text);
      if (frame.type === 'delete_message') frame.data.messageId = '00000000-0000-4000-8000-000000000000';
      send.call(this, JSON.stringify(frame));
    };
  };
  const page = await shown(replica.url, { before });
  await page.clock.install();
  await page.reload();
  await sent(page, 'Here to stay');
  await page.getByRole('button', { name: 'Delete message: Here to stay' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
  const notice = page.getByRole('alert').getByText(/^Not deleted: .*does not exist/);
  await notice.waitFor();
  await bubble(page, 'Here to stay').waitFor();
  await page.clock.runFor(6_000);
  await notice.waitFor({ state: 'hidden' });
});

test('nothing is sent of nothing, nothing changed by an edit that changes nothing, and no edit begins above what is written', async () => {
  const page = await shown();
  await sent(page, 'As it is');
  const before = await page.locator('.message').count();
  await field(page).fill(' \n ');
  await field(page).press('Enter');
  await field(page).fill('Half a sentence');
  await field(page).press('ArrowUp');
  assert.ok(await editing(page).isHidden());
  await field(page).fill('');
  await field(page).press('ArrowUp');
  await editing(page).waitFor();
  await field(page).press('Enter');
  await editing(page).waitFor({ state: 'hidden' });
  await sent(page, 'The next one');
  assert.equal(await page.locator('.message').count(), before + 1);
  assert.equal(await replicas.sql("select edited_at is null from messages where content = 'As it is'"), 't');
});

test('the tools of a message that is higher than the window are in sight wherever one reads it', async () => {
  const page = await shown();
  const text = Array.from({ length: 90 }, (_, at) => at + 1).join('\n').slice(0, 199);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${CONVERSATION}', '${AMELIE}', e'${text.replaceAll('\n', '\\n')}')`);
  const high = page.locator('.message', { hasText: /^You: 1\n2\n3/ });
  await high.getByRole('button', { name: 'Show all' }).click();
  const scroller = await box(page.locator('.scroller'));
  const element = await box(high);
  assert.ok(element.height > scroller.height * 1.5, `${element.height} px`);
  for (const block of ['start', 'center', 'end']) {
    await high.evaluate((it, where) => it.scrollIntoView({ block: where }), block);
    for (const name of ['Edit message', 'Delete message']) {
      const tool = await box(high.getByRole('button', { name }));
      assert.ok(tool.y >= scroller.y && tool.y + tool.height <= scroller.y + scroller.height, `${name}, ${block}: ${tool.y} in ${scroller.y} + ${scroller.height}`);
    }
  }
  await post(replica.url, LUKASZ, 'Thank you');
});
