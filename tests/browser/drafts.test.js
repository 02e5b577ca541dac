// What is typed and not sent is there again after a reload: everybody's own, until it is sent. And messages that the service does
// not take: whoever wrote them is told, and can have back what they typed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertAtEnd, assertFocus, at, balancer, box, bubble, CONVERSATION, CUT, cutOff, drawn, eventually, LUKASZ, pane, PHONE, reachable, replica, replicas, say, talking, visit } from './support.js';
import { FAULTY, LONG, editing, field, sent, shown, strictStage } from './writer.js';

strictStage();

const row = (page, name) => page.locator('.list li', { hasText: name });

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
  // Also where nobody leaves the page, but the browser ends.
  await eventually(() => page.evaluate(() => sessionStorage.getItem('pgchat.drafts')), (kept) => kept?.includes('To Zeynep'));
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
  await field(page).fill(' \n');
  await reload(page);
  assert.equal(await field(page).inputValue(), '');
  assert.equal(await page.locator('.list').getByText('Draft:').count(), 0);
  assert.deepEqual(await page.evaluate(() => Object.keys(sessionStorage)), []);
});

const bar = (page) => page.locator('.edit-bar');

/** Says `text`, and begins to edit it; what is to stand there instead is not sent. */
async function begins(page, text, instead) {
  await sent(page, text);
  await field(page).fill('A thought');
  await bubble(page, text).hover();
  await bubble(page, text).getByRole('button', { name: 'Edit message' }).click();
  await field(page).fill(instead);
}

test('an edit is there after a reload, of the message that it is of, and so is what was being written before it', async () => {
  const page = await shown();
  await begins(page, 'Mine', 'Mine, otherwise');
  await reload(page);
  assert.equal(await field(page).inputValue(), 'Mine, otherwise');
  await bar(page).getByText('Editing your message').waitFor();
  await bar(page).getByText('Mine', { exact: true }).waitFor();
  await page.locator('.message.editing').getByText('Mine', { exact: true }).waitFor();
  await field(page).press('Enter');
  await bubble(page, 'Mine, otherwise').getByText('edited').waitFor();
  assert.equal(await bubble(page, 'Mine').count(), 0);
  assert.equal(await field(page).inputValue(), 'A thought');
  assert.equal(await page.locator('.message.editing').count(), 0);
  await reload(page);
  assert.equal(await field(page).inputValue(), 'A thought');

  // Who stops editing has not edited.
  await field(page).fill('');
  await field(page).press('ArrowUp');
  await field(page).fill('Something else');
  await field(page).press('Escape');
  await reload(page);
  assert.ok(await bar(page).isHidden());
  assert.deepEqual(await page.evaluate(() => Object.keys(sessionStorage)), []);
});

test('an edit waits in its conversation, and the list names it', async () => {
  const page = await shown();
  await begins(page, 'In the first', 'In the first one');
  await row(page, 'Zeynep').getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  assert.deepEqual([await field(page).inputValue(), await bar(page).isVisible()], ['', false]);
  await row(page, 'Łukasz').getByText('Edit: In the first one').waitFor();
  await row(page, 'Łukasz').getByRole('button').click();
  await bar(page).waitFor();
  assert.equal(await field(page).inputValue(), 'In the first one');
  // Of one that changes nothing there is nothing that waits.
  await field(page).fill('In the first');
  await row(page, 'Zeynep').getByRole('button').click();
  await row(page, 'Łukasz').getByText('Draft: A thought').waitFor();
  await row(page, 'Łukasz').getByRole('button').click();
  await page.getByRole('heading', { name: /Łukasz/ }).waitFor();
  assert.deepEqual([await field(page).inputValue(), await bar(page).isVisible()], ['A thought', false]);
});

for (const [how, remove] of [
  ['deleted', (id) => fetch(`${replica.url}/api/v1/chat/messages/${id}?user_id=${AMELIE}`, { method: 'DELETE' })],
  ['deleted outright', (id) => replicas.sql(`delete from messages where id = '${id}'`)],
]) {
  for (const far of [false, true]) {
    test(`of a message that was ${how} meanwhile${far ? ', far up,' : ''} the edit goes, what was typed does not, and the page says so`, async () => {
      const page = await shown();
      const text = `To be ${how}${far ? ' far up' : ''}`;
      await begins(page, text, `${text}, I think`);
      const id = await replicas.sql(`select id from messages where content = '${text}'`);
      await page.goto('about:blank');
      if (far) await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'after it ' || n from generate_series(1, 130) n`);
      await remove(id);
      await page.goBack();
      const notice = page.locator('.composer').getByRole('alert');
      await notice.getByText('The message that you were editing was deleted.').waitFor();
      assert.deepEqual([await field(page).inputValue(), await bar(page).isVisible()], ['A thought', false]);
      await notice.getByRole('button', { name: 'Keep what I wrote' }).click();
      assert.equal(await field(page).inputValue(), `${text}, I think\nA thought`);
      await notice.waitFor({ state: 'hidden' });
      await reload(page);
      assert.equal(await field(page).inputValue(), `${text}, I think\nA thought`);
    });
  }
}

test('of a message far up that is still there the edit stays', async () => {
  const page = await shown();
  await begins(page, 'Far up', 'Far up there');
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'above it ' || n from generate_series(1, 130) n`);
  await reload(page);
  await bar(page).getByText('Far up', { exact: true }).waitFor();
  assert.equal(await field(page).inputValue(), 'Far up there');
  await field(page).press('Enter');
  await eventually(() => replicas.sql("select content from messages where content like 'Far up%'"), 'Far up there');
});

test('who edits a message while it is deleted elsewhere is told, and stays where the keyboard is, and at the end of the messages', async () => {
  const page = await shown(replica.url, { viewport: { width: 360, height: 740 } });
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'line ' || n from generate_series(1, 30) n`);
  const long = 'Gone soon, with all that it says in lines of a narrow window. '.repeat(3).trim();
  await say(page, long);
  await bubble(page, long).getByTitle(/^(sent|read)$/).waitFor();
  await drawn(page);
  await field(page).press('ArrowUp');
  await field(page).fill(`${long} And more.`);
  await assertAtEnd(page);
  await replicas.sql("update messages set deleted_at = now(), content = '' where content like 'Gone soon%'");
  await page.locator('.composer').getByText('The message that you were editing was deleted.').waitFor();
  await drawn(page);
  await assertAtEnd(page);
  await assertFocus(field(page));
  assert.equal(await field(page).inputValue(), '');
  await page.keyboard.type('!');
  await page.locator('.composer').getByText('The message that you were editing was deleted.').waitFor({ state: 'hidden' });
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
  const page = await shown(replica.url, { before: () => sessionStorage.getItem('pgchat.drafts') ?? sessionStorage.setItem('pgchat.drafts', '{"not": "ours"}') });
  await page.evaluate(async () => {
    const { keepDraft } = await import('/page/drafts.js');
    for (let n = 0; n < 60; n++) keepDraft('u', n, `draft ${n}`);
    keepDraft('u', 12, 'draft 12, and more'); // which is the youngest now
    keepDraft('u', 'long', 'x'.repeat(300_000));
    for (const n of [1, 2, 3]) keepDraft('u', `half ${n}`, 'x'.repeat(90_000));
  });
  await reload(page);
  const { kept, size } = await page.evaluate(async () => {
    const { draft } = await import('/page/drafts.js');
    const names = [...Array.from({ length: 60 }, (_, n) => n), 'long', 'half 1', 'half 2', 'half 3'];
    return { kept: names.filter((name) => draft('u', name)), size: sessionStorage.getItem('pgchat.drafts').length };
  });
  assert.deepEqual([kept.slice(0, 2), kept.at(-3), kept.slice(-2)], [[12, 15], 59, ['half 2', 'half 3']]);
  assert.ok(size < 250_000, `${size} characters`);
});

test('where a page may not store anything, drafts hold until it is left', async () => {
  const off = () => Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('off', 'SecurityError'); } });
  const page = await shown(replica.url, { before: off });
  await field(page).fill('Not stored');
  await row(page, 'Zeynep').getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await row(page, 'Łukasz').getByText('Draft: Not stored').click();
  await page.getByRole('heading', { name: /Łukasz/ }).waitFor();
  assert.equal(await field(page).inputValue(), 'Not stored');
});

test('what is written in many lines, letter by letter, leaves one at the end of the messages', async () => {
  const page = await shown(replica.url, { viewport: { width: 360, height: 740 } });
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', 'so far ' || n from generate_series(1, 30) n`);
  await bubble(page, 'so far 30').waitFor();
  await field(page).fill('one\ntwo\nthree\nfour\nfive');
  await drawn(page);
  await assertAtEnd(page);
  for (const letter of 'six') {
    await page.keyboard.type(letter);
    await drawn(page);
    await assertAtEnd(page);
  }
});

/** For `before`: where `window.isAtOnce`, an edit has its answer in the moment in which it is sent; else what refuses it waits until `window.answer()`. */
const refusals = () => {
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (text) {
    const { type, requestId } = JSON.parse(text);
    if (type !== 'edit_message' || !window.isAtOnce) return send.call(this, text);
    const data = JSON.stringify({ type: 'error', data: { requestId, code: 'validation_failed', message: 'too long' } });
    return queueMicrotask(() => this.dispatchEvent(new MessageEvent('message', { data })));
  };
  const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
  const listen = (listener) => listener && ((event) => (JSON.parse(event.data).type === 'error' && !window.isAtOnce ? (window.answer = () => listener(event)) : listener(event)));
  Object.defineProperty(WebSocket.prototype, 'onmessage', { set(listener) { set.call(this, listen(listener)); } });
};

test('an editor that gives its room back and takes it again leaves one at the end, in one frame or in two', async () => {
  const id = await replicas.sql(`with other as (insert into users (first_name, last_name, email) values ('Ed', 'Itor', 'ed@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select '${AMELIE}', id from other returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${id}', '${AMELIE}', 'line ' || n from generate_series(1, 40) n`);
  const page = await visit(at(replica.url, talking(AMELIE, id)), { before: refusals });
  await bubble(page, 'line 40').waitFor();
  for (const isAtOnce of [true, false, true]) {
    await page.evaluate((it) => (window.isAtOnce = it), isAtOnce);
    await field(page).press('ArrowUp');
    await say(page, `${LONG}${'\nand more'.repeat(4)}`);
    if (!isAtOnce) {
      await eventually(() => page.evaluate(() => Boolean(window.answer)));
      await drawn(page);
      await assertAtEnd(page);
      await page.evaluate(() => window.answer());
    }
    await page.locator('.composer').getByText(/^Not changed: /).waitFor();
    await drawn(page);
    await assertAtEnd(page);
    await field(page).press('Escape');
  }
});

test('of a message that is refused while one is in another conversation the list tells, until one has looked after it', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await sent(page, 'Before it');
  await cutOff(front, page);
  await say(page, LONG);
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await reachable(front, page);
  const row = page.locator(`[data-conversation="${CONVERSATION}"]`);
  await row.getByText('Not sent: too long').waitFor();
  await row.getByRole('button').click();
  await page.locator('.message.failed').getByRole('button', { name: 'Discard' }).click();
  await page.locator('.message.failed').waitFor({ state: 'detached' });
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').click();
  await row.getByText('You: Before it').waitFor();
});

test('of a message that is refused while one is elsewhere a notice tells, too, also where there is no room for the list', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { ...PHONE, forgive: CUT });
  const notice = page.getByRole('alert').getByText(/^Not sent: internal error/);
  await field(page).fill(FAULTY);
  await page.getByRole('button', { name: 'Send', exact: true }).tap();
  await page.locator('.message.failed').waitFor();
  // On the side of the message that it is about, also where it takes two lines.
  assert.equal(await page.locator('.message.failed .failure span').evaluate((it) => getComputedStyle(it).textAlign), 'end');
  // Where one looks, the message says it.
  assert.equal(await notice.count(), 0);
  await cutOff(front, page);
  await page.getByRole('button', { name: /^Try again: / }).tap();
  await page.getByRole('button', { name: 'Back to the conversations' }).tap();
  await page.locator('.list li', { hasText: 'Zeynep' }).getByRole('button').tap();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
  await reachable(front, page);
  await notice.waitFor();
  assert.ok(await page.locator('.list').isHidden());
});

test('a notice goes by itself, but not while the pointer or the keyboard is at it, and can be closed', async () => {
  const page = await visit(`${replica.url}/docs/`);
  await page.clock.install();
  const notice = page.locator('.notice').getByText('This conversation was not found.');
  const close = page.getByRole('button', { name: 'Close the notice' });
  const nowhere = at(replica.url, talking(AMELIE, '00000000-0000-4000-8000-000000000000'));
  await page.goto(nowhere);
  await notice.hover();
  await page.clock.runFor(60_000);
  assert.ok(await notice.isVisible());
  await page.mouse.move(1, 1);
  await page.clock.runFor(6_500);
  await notice.waitFor({ state: 'hidden' });
  await page.goto('about:blank');
  await page.goto(nowhere);
  await close.focus();
  await page.clock.runFor(60_000);
  assert.ok(await notice.isVisible());
  await page.keyboard.press('Enter');
  await notice.waitFor({ state: 'hidden' });
  await assertFocus(page.locator('.list'));
});

test('a message bears the time when it was written, whenever it is refused, and tried again', async () => {
  const front = await balancer([replica.port]);
  const page = await shown(front.url, { forgive: CUT });
  await cutOff(front, page);
  await say(page, FAULTY);
  const written = () => page.locator('.message').last().locator('time').getAttribute('datetime');
  await page.locator('.message.queued').waitFor();
  const time = await written();
  await reachable(front, page);
  await page.locator('.message.failed').waitFor();
  assert.equal(await written(), time);
  await cutOff(front, page);
  await page.getByRole('button', { name: /^Try again: / }).click();
  await page.locator('.message.queued').waitFor();
  assert.equal(await written(), time);
});

test('a screen reader is told of a message that is refused where one writes', async () => {
  const page = await shown();
  await page.evaluate(() => {
    window.heard = [];
    const region = document.querySelector('.thread > [aria-live]');
    new MutationObserver(() => window.heard.push(region.textContent)).observe(region, { childList: true });
  });
  await say(page, LONG);
  await page.locator('.message.failed').waitFor();
  const heard = await page.evaluate(() => window.heard);
  assert.deepEqual(heard.map((text) => /^Not sent: .*200/.test(text)), [true], `${heard}`);
});

test('what was not sent is taken back to be written otherwise', async () => {
  const page = await shown();
  await say(page, LONG);
  const failed = page.locator('.message.failed');
  await failed.getByText(/^Not sent: .*200/).waitFor();
  await field(page).fill('and more');
  await failed.getByRole('button', { name: 'Edit' }).click();
  assert.equal(await field(page).inputValue(), `${LONG}\nand more`);
  await failed.waitFor({ state: 'detached' });
  await sent(page, 'Shorter now');
  assert.equal(await page.locator('.message', { hasText: 'too long' }).count(), 0);
  // It is no part of an edit that one is at.
  await say(page, LONG);
  await failed.waitFor();
  await field(page).press('ArrowUp');
  await field(page).fill('Much shorter');
  await failed.getByRole('button', { name: 'Edit' }).click();
  assert.deepEqual([await field(page).inputValue(), await editing(page).isVisible()], [LONG, false]);
  await page.locator('.message', { hasText: 'Shorter now' }).waitFor();
});

test('what is refused for good can be edited and discarded; what may be taken another time can be tried again, too', async () => {
  const page = await shown();
  const offered = (text) => page.locator('.message.failed', { hasText: text }).locator('.failure button').allTextContents();
  await say(page, LONG);
  await eventually(() => offered('too long'), ['Edit', 'Discard']);
  await say(page, FAULTY);
  await eventually(() => offered('faulty'), ['Try again', 'Edit', 'Discard']);
});

test('who discards what was not sent, or tries it again, stays in the messages', async () => {
  const page = await shown();
  await say(page, FAULTY);
  const failed = page.locator('.message.failed');
  const first = await failed.getByRole('button', { name: 'Try again' }).elementHandle();
  await first.focus();
  await page.keyboard.press('Enter');
  await first.waitForElementState('hidden');
  await assertFocus(page.getByRole('region', { name: 'Messages' }));
  await failed.getByRole('button', { name: 'Discard' }).focus();
  await page.keyboard.press('Enter');
  await failed.waitFor({ state: 'detached' });
  await assertFocus(page.getByRole('region', { name: 'Messages' }));
});
