// The page without a mouse: where Tab leads, and that nobody is taken away from where they are.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertFocus, at, balancer, bubble, CONVERSATION, CUT, cutOff, drawn, eventually, focused, held, listOf, LUKASZ, pane, patient, PHONE, post, replica, replicas, say, stage, talking, visit, ZEYNEP } from './support.js';

const NARROW = { viewport: { width: 700, height: 800 } };

stage({ RATE_LIMIT_PER_SECOND: '0' });

test('Tab goes through the page in the order in which it is read', async () => {
  await post(replica.url, AMELIE, 'This one is mine');
  const page = await visit(at(replica.url, talking(AMELIE)));
  await bubble(page, 'This one is mine').waitFor();
  const rows = await page.locator('.list li strong').allTextContents();
  const seen = [];
  const message = page.getByRole('textbox', { name: 'Message' });
  await assertFocus(message);
  for (let presses = 0; presses < 100 && seen.at(-1) !== 'Message'; presses++) {
    await page.keyboard.press('Tab');
    if ((await page.evaluate(() => document.activeElement.tagName)) !== 'BODY') seen.push(await focused(page));
  }
  const tools = seen.filter((name) => /^(Edit|Delete) message: /.test(name));
  assert.ok(tools.length >= 2);
  assert.deepEqual(seen.filter((name) => !tools.includes(name)), [
    'pgchat', 'API', 'Second user', 'Appearance: as the system has it',
    'New conversation', 'Be somebody else', 'Search people and messages', 'Unread', ...rows,
    'A message from SQL', 'Frames of the socket', 'Messages', 'Message',
  ]);
  assert.ok(seen.indexOf('Messages') < seen.indexOf('Edit message: This one is mine'));
  // What has the focus can be seen to have it.
  const outline = await message.evaluate((element) => getComputedStyle(element).outlineStyle);
  assert.notEqual(outline, 'none');
});

test('the focus stays where it is while what is around it changes', async () => {
  const amelie = await visit(at(replica.url, talking(AMELIE)));
  const frames = amelie.getByRole('button', { name: 'Frames of the socket' });
  await amelie.locator('.message').first().waitFor();
  await frames.focus();
  const lukasz = await visit(at(replica.url, LUKASZ));
  await amelie.locator('.thread-head').getByText('Online', { exact: true }).waitFor();
  await assertFocus(frames);

  // A message of one's own is read meanwhile.
  await say(amelie, 'Shall I come at six?');
  const remove = bubble(amelie, 'Shall I come at six?').getByRole('button', { name: 'Delete message' });
  await bubble(amelie, 'Shall I come at six?').getByTitle('sent', { exact: true }).waitFor();
  await remove.focus();
  await lukasz.locator(`[data-conversation="${CONVERSATION}"] button`).click();
  await bubble(amelie, 'Shall I come at six?').getByTitle('read', { exact: true }).waitFor();
  await assertFocus(remove);
  await amelie.keyboard.press('Enter');
  await amelie.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).focus();
  await amelie.keyboard.press('Enter');
  await amelie.getByText('This message was deleted').first().waitFor();
  await assertFocus(amelie.getByRole('region', { name: 'Messages' }));

  // A conversation moves to the top of the list.
  const last = amelie.locator('.list li').last();
  const id = await last.getAttribute('data-conversation');
  assert.notEqual(id, CONVERSATION);
  const row = amelie.locator(`[data-conversation="${id}"] button`);
  await row.focus();
  await post(replica.url, AMELIE, 'To the top', id);
  await amelie.locator('.list li').first().getByText('To the top').waitFor();
  await assertFocus(row);
});

test('whose message is deleted while one is at its buttons, or who jumps to the end, stays in the messages', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  const messages = page.getByRole('region', { name: 'Messages' });
  const { id } = await post(replica.url, AMELIE, 'Not for long');
  const remove = page.getByRole('button', { name: 'Delete message: Not for long' });
  await remove.focus();
  await replicas.sql(`update messages set deleted_at = now() where id = '${id}'`);
  await remove.waitFor({ state: 'detached' });
  await assertFocus(messages);

  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'line ' || n from generate_series(1, 60) n`);
  await bubble(page, 'line 60').waitFor();
  await messages.evaluate((it) => (it.scrollTop = 0));
  const jump = page.getByRole('button', { name: 'Jump to the latest messages' });
  await jump.focus();
  await page.keyboard.press('Enter');
  await jump.waitFor({ state: 'hidden' });
  await assertFocus(messages);
});

test('a list that fills while one is at its only button does not lose the focus', async () => {
  const nobody = await replicas.sql("insert into users (first_name, last_name, email) values ('Ines', 'Nova', 'ines@example.com') returning id");
  const page = await visit(at(replica.url, nobody));
  const begin = page.locator('.list .empty').getByRole('button', { name: 'New conversation' });
  await begin.focus();
  const conversation = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${nobody}', '${ZEYNEP}') returning id`);
  await assertFocus(page.locator(`[data-conversation="${conversation}"] button`));
});

test('the two tabs of a narrow window keep the focus when somebody writes', async () => {
  const page = await visit(at(replica.url, talking(AMELIE), talking(LUKASZ)), NARROW);
  const tabs = page.locator('.tabs button');
  const shown = () => page.locator('.panes').getAttribute('data-shown');
  await pane(page, 2).locator('.message').first().waitFor();
  await page.locator('.tabs').getByText('Łukasz', { exact: true }).waitFor();
  assert.equal(await shown(), 'second');
  await tabs.nth(0).focus();
  await eventually(() => page.title(), 'pgchat');
  const id = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${AMELIE}', '55555555-5555-4555-8555-555555555555') on conflict do nothing returning id`);
  await post(replica.url, '55555555-5555-4555-8555-555555555555', 'From the third', id);
  await eventually(() => page.title(), '(1) pgchat');
  for (const [number, which] of ['first', 'second'].entries()) {
    await assertFocus(tabs.nth(number));
    await page.keyboard.press('Enter');
    await eventually(shown, which);
    await assertFocus(tabs.nth(number));
    await page.keyboard.press('Tab');
  }
});

for (const [where, options] of [['in a narrow pane', PHONE], ['in a wide one', {}]]) {
  test(`Ctrl+K searches, and Escape goes back to the list, ${where}`, async () => {
    const page = await visit(at(replica.url, talking(AMELIE)), options);
    const scroller = page.getByRole('region', { name: 'Messages' });
    const row = page.locator(`[data-conversation="${CONVERSATION}"] button`);
    await page.locator('.message').first().waitFor();
    await scroller.focus();
    await page.keyboard.press('Escape');
    await assertFocus(row);
    await page.keyboard.press('Enter');
    await scroller.waitFor();
    await scroller.focus();
    await page.keyboard.press('Control+k');
    await assertFocus(page.getByRole('searchbox'));
    await page.keyboard.type('Thursday');
    await page.locator('.results .row').first().waitFor();
    await page.getByRole('button', { name: 'Close the search' }).focus();
    await page.keyboard.press('Enter');
    await assertFocus(page.getByRole('searchbox'));
  });
}

for (const [how, key, code, searches] of [['with Caps Lock', 'K', 'KeyK', true], ['with Cyrillic letters', 'л', 'KeyK', true], ['on Dvorak', 'k', 'KeyV', true], ['on Dvorak, where the T is', 't', 'KeyK', false]]) {
  test(`Ctrl+K is the K of the layout: ${how} it ${searches ? 'searches' : 'does not search'}`, async () => {
    const page = await visit(at(replica.url, talking(AMELIE)));
    await page.locator('.message').first().waitFor();
    const message = page.getByRole('textbox', { name: 'Message' });
    await assertFocus(message);
    const press = (init) => message.evaluate((it, event) => it.dispatchEvent(new KeyboardEvent('keydown', { bubbles: true, cancelable: true, ctrlKey: true, ...event })), init);
    const taken = !(await press({ key, code }));
    assert.equal(taken, searches);
    await assertFocus(searches ? page.getByRole('searchbox') : message);
    assert.equal(await press({ key, code, shiftKey: true }), true, 'with Shift it is the browser’s');
  });
}

test('who has gone nowhere yet, or clicked beside everything, searches by the same keys, with two users in the pane in front', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), NARROW);
  await page.locator('.message').first().waitFor();
  await page.getByRole('textbox', { name: 'Message' }).blur();
  await page.keyboard.press('Control+k');
  await assertFocus(page.getByRole('searchbox'));
  await page.goto('about:blank');
  await page.goto(at(replica.url, AMELIE, LUKASZ));
  await pane(page, 2).locator('.list .row').first().waitFor();
  for (const [number, tab] of [[2, 1], [1, 0]]) {
    await page.locator('.tabs button').nth(tab).click();
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press('Control+k');
    await assertFocus(pane(page, number).getByRole('searchbox'));
  }
});

test('who sends by the button with the keyboard writes on', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  const field = page.getByRole('textbox', { name: 'Message' });
  await page.locator('.message').first().waitFor();
  await field.fill('By the button');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await bubble(page, 'By the button').waitFor();
  await assertFocus(field);
});

test('who writes in one pane stays there when the conversation of the other one opens', async () => {
  const page = await visit(`${replica.url}/health/live`); // not the page yet
  const { asked, release } = await held(page, listOf(LUKASZ));
  await page.goto(at(replica.url, talking(AMELIE), talking(LUKASZ)));
  const field = pane(page, 1).getByRole('textbox', { name: 'Message' });
  await assertFocus(field);
  await page.keyboard.type('Half a ');
  await asked();
  release();
  await pane(page, 2).locator('.message').first().waitFor();
  await page.keyboard.type('sentence');
  assert.equal(await field.inputValue(), 'Half a sentence');
  await assertFocus(field);
});

test('what is closed gives the focus back to what opened it', async () => {
  const page = await visit(replica.url);
  await page.getByRole('button', { name: /Amélie/ }).focus();
  await page.keyboard.press('Enter');
  await assertFocus(page.getByRole('navigation', { name: 'Conversations' }));
  await page.locator(`[data-conversation="${CONVERSATION}"] button`).focus();
  await page.keyboard.press('Enter');
  for (const [tool, close] of [['A message from SQL', 'Close the SQL'], ['Frames of the socket', 'Close the frames']]) {
    const button = page.getByRole('button', { name: tool });
    await button.focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: close }).focus();
    await page.keyboard.press('Enter');
    await assertFocus(button);
    assert.equal(await button.getAttribute('aria-expanded'), 'false');
  }
  const split = page.getByRole('button', { name: 'Second user' });
  await split.focus();
  await page.keyboard.press('Enter');
  const second = pane(page, 2).getByRole('button', { name: 'Close this pane' });
  await second.waitFor();
  await assertFocus(split);
  await second.focus();
  await page.keyboard.press('Enter');
  await assertFocus(split);
  await page.getByRole('button', { name: 'Be somebody else' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  await page.keyboard.press('Tab');
  await assertFocus(page.getByRole('searchbox', { name: 'Find somebody by name' }));
});

test('who tries a lost connection again with the keyboard is not thrown out of the page', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT, before: patient });
  await page.locator('.message').first().waitFor();
  await cutOff(front, page);
  const again = page.locator('.banner').getByRole('button', { name: 'Try now' });
  await again.focus();
  const first = await again.elementHandle();
  await page.keyboard.press('Enter');
  // Whether it was tried, the page tells: Playwright reports only sockets whose handshake was sent, and this connection may be closed before that.
  await first.waitForElementState('hidden');
  await assertFocus(again);
  front.refuse = false;
  await page.keyboard.press('Enter');
  await page.locator('.banner').waitFor({ state: 'hidden' });
  await assertFocus(page.getByRole('textbox', { name: 'Message' }));
});

test('a pane that was closed listens to nothing any more', async () => {
  const count = () => {
    const kept = new Map();
    globalThis.kept = () => [...kept.values()].reduce((sum, all) => sum + all.size, 0);
    for (const target of [window, document]) {
      const { addEventListener: add, removeEventListener: remove } = target;
      const of = (type) => kept.get(`${type} ${target}`) ?? kept.set(`${type} ${target}`, new Set()).get(`${type} ${target}`);
      target.addEventListener = (type, listener, ...more) => (of(type).add(listener), add.call(target, type, listener, ...more));
      target.removeEventListener = (type, listener, ...more) => (of(type).delete(listener), remove.call(target, type, listener, ...more));
    }
  };
  const page = await visit(at(replica.url, talking(AMELIE)), { before: count });
  await page.locator('.message').first().waitFor();
  const alone = await page.evaluate(() => globalThis.kept());
  assert.ok(alone > 0);
  const split = page.getByRole('button', { name: 'Second user' });
  await split.click();
  await pane(page, 2).getByRole('button', { name: /Wiśniewski/ }).click();
  await pane(page, 2).locator('.message').first().waitFor();
  assert.ok((await page.evaluate(() => globalThis.kept())) > alone);
  await split.click();
  await pane(page, 2).waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => globalThis.kept()), alone);
});

test('the statement is copied, and where a page may not, it is selected', async () => {
  const shown = async (options) => {
    const page = await visit(at(replica.url, talking(AMELIE)), options);
    await page.locator('.message').first().waitFor();
    await page.getByRole('button', { name: 'A message from SQL' }).click();
    await page.getByRole('button', { name: 'Copy', exact: true }).click();
    return page;
  };
  const page = await shown({ permissions: ['clipboard-read', 'clipboard-write'] });
  await page.getByText('Copied', { exact: true }).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, new RegExp(`^insert into messages .*${CONVERSATION}.*${LUKASZ}`, 's'));
  assert.equal(copied, await page.locator('.sql').textContent());

  // As on a page without TLS.
  const refused = await shown({ before: () => Object.defineProperty(navigator, 'clipboard', { value: undefined }) });
  await refused.getByText('Press Ctrl+C to copy').waitFor();
  assert.equal(await refused.evaluate(() => String(getSelection())), await refused.locator('.sql').textContent());
});

test('the arrows go through what is listed, and Enter takes what is found first', async () => {
  const page = await visit(at(replica.url, AMELIE));
  const field = page.getByRole('searchbox');
  const rows = page.locator('.list li button');
  await rows.nth(1).waitFor();
  await field.focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await assertFocus(rows.nth(1));
  await page.keyboard.press('ArrowUp');
  await assertFocus(rows.nth(0));
  await page.keyboard.press('ArrowUp');
  await assertFocus(field);
  await page.keyboard.press('Enter');
  await page.keyboard.insertText('gr');
  await page.locator('.results .row', { hasText: 'Jürgen' }).waitFor();
  await page.locator('.results').getByRole('status').getByText(/^\d+ found$/).waitFor({ state: 'attached' });
  await page.keyboard.press('ArrowDown');
  await assertFocus(page.locator('.results .row').first());
  await page.keyboard.press('Escape');
  await assertFocus(field);
  assert.equal(await field.inputValue(), '');
  // What is typed is looked for before it is taken.
  await page.keyboard.insertText('gr');
  await page.locator('.results .row', { hasText: 'Jürgen' }).waitFor();
  await page.keyboard.type('ace');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: "Grace O'Neill" }).waitFor();
  await assertFocus(page.getByRole('textbox', { name: 'Message' }));
});

test('who has gone to what is found is not thrown out when something else is found', async () => {
  const page = await visit(at(replica.url, AMELIE), {
    // What was found for another text goes after 800 ms, unless somebody has gone to it: here it stays until they have.
    before: () => {
      const { setTimeout } = window;
      window.setTimeout = (then, ms, ...more) => setTimeout(then, ms === 800 ? 600_000 : ms, ...more);
    },
  });
  await page.locator('.list .row').first().waitFor();
  const { release } = await held(page, '**/users/?*q=gra*');
  await page.getByRole('searchbox').focus();
  await page.keyboard.insertText('gr');
  const jurgen = page.locator('.results .row', { hasText: 'Jürgen' });
  await jurgen.waitFor();
  await page.keyboard.insertText('a');
  await page.keyboard.press('ArrowDown');
  await assertFocus(jurgen);
  release();
  await jurgen.waitFor({ state: 'detached' });
  await assertFocus(page.locator('.results .row', { hasText: 'Grace' }));
});

test('Enter takes what an input method offers, and sends nothing, in Safari too', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  const field = page.getByRole('textbox', { name: 'Message' });
  await page.locator('.message').first().waitFor();
  const count = await page.locator('.message').count();
  await field.fill('にほんご');
  for (const told of [{ isComposing: true }, { keyCode: 229 }]) {
    await field.evaluate((it, more) => it.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...more })), told);
    await drawn(page);
    assert.deepEqual([await field.inputValue(), await page.locator('.message').count()], ['にほんご', count]);
  }
  await field.press('Enter');
  await bubble(page, 'にほんご').waitFor();
});
