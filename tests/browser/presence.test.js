// Who types and who is there, as the page shows it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { AMELIE, at, balancer, bubble, CONVERSATION, CUT, drawn, eventually, listOf, LUKASZ, post, replica, replicas, say, second, stage, talking, visit, ZEYNEP } from './support.js';

/** Longer than a test waits: nobody supposes by themselves that somebody has stopped typing, neither the service nor the page. */
const TYPING_SECONDS = 300;

stage({ PRESENCE_GRACE_SECONDS: '1', TYPING_SECONDS: String(TYPING_SECONDS) }, 2);

/** For `before`: `told` has what the page says of its user's typing. */
const noted = () => {
  window.told = [];
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (text) {
    const { type, data } = JSON.parse(text);
    if (type === 'typing') window.told.push(data);
    send.call(this, text);
  };
};

const head = (page, text) => page.locator('.thread-head').getByText(text, { exact: true });
const row = (page) => page.locator(`[data-conversation="${CONVERSATION}"]`);

test('who types is seen, at another replica too, and until the message comes', async () => {
  const amelie = await visit(at(replica.url, talking(AMELIE)));
  const lukasz = await visit(at(second.url, talking(LUKASZ)));
  await amelie.locator('.message').first().waitFor();
  await lukasz.locator('.message').first().waitFor();

  await amelie.getByRole('textbox', { name: 'Message' }).pressSequentially('I am on my w', { delay: 30 });
  await head(lukasz, 'typing…').waitFor();
  await row(lukasz).getByText('typing…').waitFor();
  // What one writes oneself ends nobody else's typing, and one's own is not shown to oneself.
  await say(lukasz, 'Where are you?');
  await bubble(lukasz, 'Where are you?').getByTitle(/^(sent|read)$/).waitFor();
  await drawn(lukasz);
  assert.equal(await head(lukasz, 'typing…').count(), 1);
  await bubble(amelie, 'Where are you?').waitFor();
  await amelie.getByRole('textbox', { name: 'Message' }).pressSequentially('ay');
  assert.equal(await head(amelie, 'typing…').count(), 0);

  await amelie.getByRole('textbox', { name: 'Message' }).press('Enter');
  await bubble(lukasz, 'I am on my way').waitFor();
  await head(lukasz, 'typing…').waitFor({ state: 'detached' });
  await row(lukasz).getByText('typing…').waitFor({ state: 'detached' });
});

test('who stops typing is not shown any more', async () => {
  const amelie = await visit(at(replica.url, talking(AMELIE)));
  const lukasz = await visit(at(second.url, talking(LUKASZ)));
  await lukasz.locator('.message').first().waitFor();
  await amelie.getByRole('button', { name: 'Frames of the socket' }).click();
  const text = amelie.getByRole('textbox', { name: 'Message' });
  await text.pressSequentially('Perhaps', { delay: 30 });
  await head(lukasz, 'typing…').waitFor();
  await text.fill('');
  // It is said, and not only supposed after a while.
  await amelie.locator('.frames li', { hasText: /typing\s*stopped/ }).waitFor();
  await head(lukasz, 'Online').waitFor();
});

test('that one types is told now and then, until one sends, leaves the field or empties it; of an edit nothing is told', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { before: noted });
  await page.locator('.message').first().waitFor();
  await page.locator('.me').getByText(/^Online/).waitFor();
  // Who takes long to type tells it again.
  const all = () => page.evaluate(() => window.told.map(({ isTyping }) => isTyping).filter((isTyping, at, before) => isTyping !== before[at - 1]));
  const told = async (expected) => {
    await eventually(all, expected);
    await page.evaluate(() => (window.told.length = 0));
  };
  const field = page.getByRole('textbox', { name: 'Message' });
  await field.pressSequentially('On m');
  await told([true]);
  await field.press('Enter');
  await bubble(page, 'On m').getByTitle(/^(sent|read)$/).waitFor();
  await told([false]);
  await field.press('ArrowUp');
  await page.keyboard.type('y way');
  await page.keyboard.press('Enter');
  await bubble(page, 'On my way').getByText('edited').waitFor();
  assert.deepEqual(await all(), []);
  await field.pressSequentially('See');
  await told([true]);
  await page.getByRole('searchbox').focus();
  await told([false]);
  await field.focus();
  await page.getByRole('searchbox').focus();
  await field.pressSequentially(' you');
  await told([true]);
  await field.fill('');
  await told([false]);
});

test('who leaves the conversation in which one types has stopped there, however one leaves it', async () => {
  const other = await replicas.sql(`select id from conversations where '${AMELIE}' in (participant1_id, participant2_id) and '${ZEYNEP}' in (participant1_id, participant2_id)`);
  const goTo = (hash) => (page) => page.evaluate((it) => (location.hash = it), hash);
  for (const leave of [(page) => page.keyboard.press('Escape'), goTo(AMELIE), goTo(talking(AMELIE, other))]) {
    const page = await visit(at(replica.url, talking(AMELIE)), { before: noted, viewport: { width: 600, height: 800 } });
    await page.locator('.message').first().waitFor();
    const told = () => page.evaluate(() => window.told.map(({ conversationId, isTyping }) => [conversationId, isTyping]));
    await page.getByRole('textbox', { name: 'Message' }).fill('Per');
    await eventually(told, [[CONVERSATION, true]]);
    await leave(page);
    await eventually(told, [[CONVERSATION, true], [CONVERSATION, false]]);
  }
});

test('who is not heard of any more does not type for ever', async () => {
  const amelie = await visit(at(replica.url, talking(AMELIE)));
  const lukasz = await visit(at(second.url, talking(LUKASZ)));
  await lukasz.clock.install();
  await lukasz.reload();
  await lukasz.locator('.message').first().waitFor();
  await amelie.getByRole('textbox', { name: 'Message' }).pressSequentially('Perhaps');
  await head(lukasz, 'typing…').waitFor();
  // The client takes its connection for lost then, which changes nothing.
  await lukasz.clock.fastForward((TYPING_SECONDS - 60) * 1_000);
  await drawn(lukasz);
  assert.equal(await head(lukasz, 'typing…').count(), 1);
  await lukasz.clock.fastForward(60_000);
  await head(lukasz, 'typing…').waitFor({ state: 'detached' });
});

test('who is there is seen, at another replica too, and when somebody was last seen', async () => {
  const amelie = await visit(at(replica.url, talking(AMELIE)));
  await amelie.locator('.message').first().waitFor();
  await amelie.locator('.thread-head').getByText(/^(Offline|Last seen)/).waitFor();
  await row(amelie).locator('.avatar.online').waitFor({ state: 'detached' });

  const lukasz = await visit(at(second.url, talking(LUKASZ)));
  await head(amelie, 'Online').waitFor();
  await head(lukasz, 'Online').waitFor();
  await row(amelie).locator('.avatar.online').waitFor();
  await row(amelie).getByText('online', { exact: true }).waitFor({ state: 'attached' });
  await amelie.locator('.thread-head .avatar.online').waitFor();

  await lukasz.close();
  await amelie.locator('.thread-head').getByText(/^Last seen at \d\d:\d\d$/).waitFor();
  await row(amelie).locator('.avatar.online').waitFor({ state: 'detached' });
});

test('who has had the tab hidden for a minute is not there, hears all the same, and is back at once', async () => {
  const amelie = await visit(at(replica.url, talking(AMELIE)));
  const lukasz = await visit(at(second.url, talking(LUKASZ)), {
    // By a command or, where the connection was lost when time went on at once, by the next handshake.
    before: () => {
      window.told = [];
      const note = (active) => active !== window.told.at(-1) && window.told.push(active);
      window.WebSocket = class extends WebSocket {
        constructor(url, protocols) {
          super(url, protocols);
          const active = new URL(url).searchParams.get('active');
          if (active) note(active === 'true');
        }

        send(text) {
          const { type, data } = JSON.parse(text);
          if (type === 'set_active') note(data.active);
          super.send(text);
        }
      };
    },
  });
  await lukasz.clock.install();
  await lukasz.reload();
  await lukasz.locator('.message').first().waitFor();
  await head(amelie, 'Online').waitFor();
  const told = () => lukasz.evaluate(() => window.told);
  const look = (state) => lukasz.evaluate((value) => {
    Object.defineProperty(document, 'visibilityState', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  // Twice, for less than that.
  for (let times = 0; times < 2; times++) {
    await look('hidden');
    await lukasz.clock.fastForward(40_000);
    await look('visible');
  }
  await lukasz.clock.fastForward(40_000);
  assert.deepEqual(await told(), []);
  await look('hidden');
  await lukasz.clock.fastForward(60_000);
  await amelie.locator('.thread-head').getByText(/^Last seen at \d\d:\d\d$/).waitFor();
  assert.deepEqual(await told(), [false]);

  await post(replica.url, AMELIE, 'Are you still there?');
  await bubble(lukasz, 'Are you still there?').waitFor({ state: 'attached' });
  await amelie.locator('.thread-head').getByText(/^Last seen at/).waitFor();
  await look('visible');
  await head(amelie, 'Online').waitFor();
  assert.deepEqual(await told(), [false, true]);
});

test('after a reconnect to another replica it is shown who is there', async () => {
  const third = await replicas.start();
  const amelie = await visit(at(third.url, talking(AMELIE)), { forgive: CUT });
  const lukasz = await visit(at(second.url, talking(LUKASZ)));
  await head(amelie, 'Online').waitFor();
  await third.kill();
  // Łukasz sees her go with her replica, which nobody takes the place of.
  await lukasz.locator('.thread-head').getByText(/^Last seen at/).waitFor();
  const again = await visit(at(replica.url, talking(AMELIE)));
  await head(again, 'Online').waitFor();
  await head(lukasz, 'Online').waitFor();
});

test('who is listed for a new conversation is shown as they are: there, away, deactivated', async () => {
  const amelie = await visit(at(replica.url, AMELIE));
  await amelie.locator('.list .row').first().waitFor();
  // She has no conversation with Amélie, whose page does not watch her.
  const id = '77777777-7777-4777-8777-777777777777';
  await visit(at(second.url, id));
  // What is listed is how it is when it is asked for, and that she has come is stored a moment after she is connected.
  await eventually(async () => (await (await fetch(`${replica.url}/api/v1/users/${id}`)).json()).isOnline);
  await amelie.getByRole('button', { name: 'New conversation' }).click();
  const person = (name) => amelie.locator('.results li', { hasText: name });
  await person('Jürgen').getByText('buyer · deactivated').waitFor();
  await person('Grace').getByText('online', { exact: true }).waitFor({ state: 'attached' });
  await person('Grace').locator('.avatar.online').waitFor();
  assert.equal(await person('Omar').locator('.avatar.online').count(), 0);
  // From the first moment of a conversation on.
  await person('Grace').getByRole('button').click();
  await head(amelie, 'Online').waitFor();
});

test('whose presence is wanted is told once, however often the list is read, and again where somebody is new in it', async () => {
  const page = await visit(at(replica.url, AMELIE), {
    before: () => {
      window.watched = [];
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        const { type, data } = JSON.parse(text);
        if (type === 'watch_presence') window.watched.push(data.userIds);
        send.call(this, text);
      };
    },
  });
  const watched = () => page.evaluate(() => window.watched);
  await eventually(watched, ({ length }) => length === 1);
  await row(page).waitFor();
  const read = page.waitForResponse(listOf(AMELIE));
  // How many are left unread is asked for then, and the list read for it.
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) values ('${CONVERSATION}', '${LUKASZ}', 'soon gone')`);
  await row(page).getByText('soon gone').waitFor();
  await replicas.sql("delete from messages where content = 'soon gone'");
  await (await read).finished();
  await row(page).locator('.badge').waitFor({ state: 'detached' });
  const newcomer = await replicas.sql(`with newcomer as (insert into users (first_name, last_name, email) values ('New', 'Comer', gen_random_uuid() || '@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select '${AMELIE}', id from newcomer returning participant2_id`);
  await eventually(watched, (all) => all.some((ids) => ids.includes(newcomer)));
  assert.equal((await watched()).length, 2);
});

test('where the service takes fewer, as many are watched as it takes, and more again where it does', async () => {
  const { port } = await replicas.start({ MAX_WATCHED_USERS: '1' });
  const front = await balancer([port]);
  const lukasz = await visit(at(replica.url, talking(LUKASZ)));
  const zeynep = await visit(at(replica.url, ZEYNEP));
  for (const other of [lukasz, zeynep]) await other.locator('.list .row').first().waitFor();
  // Theirs is the first in the list then.
  await say(lukasz, 'I am first');
  await bubble(lukasz, 'I am first').getByTitle('sent', { exact: true }).waitFor();
  const amelie = await visit(at(front.url, talking(AMELIE)), { forgive: CUT });
  const zeynepThere = amelie.locator('.list li', { hasText: 'Zeynep' }).locator('.avatar.online');
  await head(amelie, 'Online').waitFor();
  assert.equal(await zeynepThere.count(), 0);
  front.ports = [replica.port];
  front.cut();
  await zeynepThere.waitFor();
  front.ports = [port];
  front.cut();
  await zeynepThere.waitFor({ state: 'detached' });
  await row(amelie).locator('.avatar.online').waitFor();
});
