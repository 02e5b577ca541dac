// The page at / as people use it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, at, balancer, box, bubble, contents, CONVERSATION, CUT, drawn, eventually, LUKASZ, pane, PHONE, post, replica, replicas, say, second, stage, talking, visit, ZEYNEP } from './support.js';

/** Of the demo data; with Łukasz she has no conversation yet. */
const OLHA = '66666666-6666-4666-8666-666666666666';

stage({ RATE_LIMIT_PER_SECOND: '0' }, 2);

/** Each pane says which replica it is connected to, and it is not the same one. */
const assertTwoReplicas = (page) => eventually(() => page.locator('.pane-bar span').allTextContents(), (names) => names.length === 2 && names.every((name) => name.startsWith('replica ')) && names[0] !== names[1]);

test('two users chat across two replicas: sent, read, edited, deleted', async () => {
  const amelie = await visit(at(replica.url, talking(AMELIE)));
  const lukasz = await visit(at(second.url, LUKASZ));
  await amelie.locator('.message').first().waitFor();
  await lukasz.locator(`[data-conversation="${CONVERSATION}"]`).waitFor();

  await say(amelie, 'Is the balcony to the south?');
  await bubble(amelie, 'Is the balcony to the south?').getByTitle('sent', { exact: true }).waitFor();
  const row = lukasz.locator(`[data-conversation="${CONVERSATION}"]`);
  await row.getByText('Is the balcony to the south?').waitFor();
  await row.locator('.badge').waitFor();

  await row.getByRole('button').click();
  await bubble(lukasz, 'Is the balcony to the south?').waitFor();
  await row.locator('.badge').waitFor({ state: 'detached' });
  await bubble(amelie, 'Is the balcony to the south?').getByTitle('read', { exact: true }).waitFor();
  await amelie.locator(`[data-conversation="${CONVERSATION}"]`).getByTitle('read', { exact: true }).waitFor();

  await amelie.getByRole('textbox', { name: 'Message' }).press('ArrowUp');
  await say(amelie, 'Is the balcony to the west?');
  await bubble(lukasz, 'Is the balcony to the west?').getByText('edited').waitFor();

  await bubble(amelie, 'Is the balcony to the west?').hover();
  await bubble(amelie, 'Is the balcony to the west?').getByRole('button', { name: 'Delete message' }).click();
  await amelie.getByRole('dialog').getByRole('button', { name: 'Delete', exact: true }).click();
  await lukasz.getByText('This message was deleted').waitFor();
  assert.equal(await bubble(lukasz, 'Is the balcony to the west?').count(), 0);
});

test('somebody is chosen, a conversation begun, all with the keyboard', async () => {
  const page = await visit(replica.url);
  // There may be more people than are listed at first.
  await page.getByRole('searchbox', { name: 'Find somebody by name' }).focus();
  await page.keyboard.type('Grace');
  await page.getByRole('button', { name: /Grace/ }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'New conversation' }).last().focus();
  await page.keyboard.press('Enter');
  await page.keyboard.type('Zeynep');
  await page.getByRole('button', { name: /Zeynep/ }).focus();
  await page.keyboard.press('Enter');
  await page.getByText('No messages yet', { exact: true }).last().waitFor();
  await page.getByRole('textbox', { name: 'Message' }).focus();
  await page.keyboard.type('Good morning');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('and welcome');
  await page.keyboard.press('Enter');
  await page.locator('.message.sent').waitFor();
  assert.deepEqual(await contents(page), ['Good morning\nand welcome']);
  // The address finds it again.
  await page.reload();
  await page.locator('.message').waitFor();
  assert.deepEqual(await contents(page), ['Good morning\nand welcome']);
  await page.getByRole('button', { name: 'Be somebody else' }).click();
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
});

test('a second user beside the first, at another replica: frames, latency, and a row from SQL', async () => {
  // The second user's first socket reaches the first one's replica, and the next one the other.
  const front = await balancer([replica.port, replica.port, second.port]);
  front.rotate = true;
  const page = await visit(at(front.url, talking(AMELIE)));
  await page.locator('.message').first().waitFor();
  await page.getByRole('button', { name: 'Second user' }).click();
  await pane(page, 2).getByRole('button', { name: /Wiśniewski/ }).click();
  const [left, right] = [pane(page, 1), pane(page, 2)];
  await assertTwoReplicas(page);
  await left.getByRole('button', { name: 'Frames of the socket' }).click();

  await say(right, 'From the other replica');
  const arrived = bubble(left, 'From the other replica');
  await arrived.locator('.latency').waitFor();
  assert.match(await arrived.locator('.latency').textContent(), /^\d+(\.\d)? ms$/);
  // What is answered stands beside the answer, which names only a number.
  await say(left, 'From this one');
  await left.locator('.frames li', { hasText: /ack\s*send_message From this one/ }).waitFor();
  const frame = left.locator('.frames li', { hasText: 'From the other replica' }).first();
  await frame.locator('summary').click();
  await frame.locator('pre', { hasText: '{' }).waitFor();
  assert.equal(JSON.parse(await frame.locator('pre').textContent()).type, 'chat_message');

  await left.getByRole('button', { name: 'A message from SQL' }).click();
  await replicas.sql(await left.locator('.sql').textContent());
  for (const side of [left, right]) await bubble(side, 'Hello from SQL').waitFor();
});

test('what had no answer when a connection was lost is not waited for on the next one', async () => {
  const page = await visit(`${replica.url}/`);
  const answers = await page.evaluate(async () => {
    const { Frames } = await import('/page/frames.js');
    let add;
    const frames = new Frames({ on: (topic, listener) => (add = listener) }, () => {});
    const say = (direction, type, requestId) => add({ direction, frame: { type, data: {}, ...(requestId && { requestId }) }, at: Date.now() });
    for (const id of ['1', '2']) say('out', 'ping', id);
    say('in', 'ack', '1');
    say('in', 'connected');
    say('in', 'ack', '2');
    frames.toggle(true);
    return [...frames.list.querySelectorAll('.gist')].map(({ textContent }) => textContent);
  });
  assert.deepEqual(answers, ['', '', 'ping', '', '']);
});

test('a second replica on the next port is found, as the guide starts it', async () => {
  let pair;
  for (let tries = 0; !pair && tries < 10; tries++) {
    const one = await replicas.start();
    const two = await replicas.start({ SERVER_PORT: `${one.port + 1}` }).catch(() => undefined); // taken
    if (two) pair = [one, two];
  }
  const page = await visit(at(pair[0].url, talking(AMELIE), talking(LUKASZ)), { also: [pair[1].url] });
  await assertTwoReplicas(page);
  await pane(page, 2).locator('.message').first().waitFor();
  await say(pane(page, 1), 'To the next port');
  await bubble(pane(page, 2), 'To the next port').locator('.latency').waitFor();
});

test('a replica that is killed: the page says so and comes back, nothing is lost and nothing is double', async () => {
  const doomed = await replicas.start();
  const front = await balancer([doomed.port, second.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT });
  await page.locator('.message').first().waitFor();
  const banner = page.locator('.banner');
  await say(page, 'before');
  await bubble(page, 'before').getByTitle(/^(sent|read)$/).waitFor();
  front.refuse = true;
  await doomed.kill();
  await banner.waitFor();
  await post(second.url, LUKASZ, 'while you were away');
  await say(page, 'said meanwhile');
  await bubble(page, 'said meanwhile').getByTitle('waiting to be sent').waitFor();
  front.refuse = false;
  await bubble(page, 'said meanwhile').getByTitle(/^(sent|read)$/).waitFor();
  await bubble(page, 'while you were away').waitFor();
  await banner.waitFor({ state: 'hidden' });
  await drawn(page);
  const shown = await contents(page);
  assert.deepEqual(shown.slice(-3), ['before', 'while you were away', 'said meanwhile']);
  assert.equal(new Set(shown.slice(-3)).size, 3);
  assert.equal(shown.filter((text) => text === 'said meanwhile').length, 1);
});

test('offline and online again: what is written waits, and goes out in order', async () => {
  const front = await balancer([replica.port]);
  const page = await visit(at(front.url, talking(AMELIE)), { forgive: CUT });
  await page.locator('.message').first().waitFor();
  front.refuse = true;
  front.cut();
  await page.context().setOffline(true);
  await page.locator('.banner').getByText('You are offline.').waitFor();
  for (const text of ['one', 'two', 'three']) await say(page, text);
  await page.locator('.banner').getByText('3 waiting to be sent.').waitFor();
  front.refuse = false;
  await page.context().setOffline(false);
  for (const text of ['one', 'two', 'three']) await bubble(page, text).getByTitle(/^(sent|read)$/).waitFor();
  assert.deepEqual((await contents(page)).slice(-3), ['one', 'two', 'three']);
});

test('a message of one\'s own from another device leaves the place where one reads', async () => {
  const id = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${LUKASZ}', '${OLHA}') returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${id}', '${LUKASZ}', 'line ' || n from generate_series(1, 90) n`);
  const page = await visit(at(replica.url, talking(OLHA, id)));
  await page.locator('.message', { hasText: 'line 90' }).waitFor();
  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  const scroller = page.locator('.scroller');
  await scroller.evaluate((element) => (element.scrollTop -= 1_000));
  await page.getByRole('button', { name: 'Jump to the latest messages' }).waitFor();
  // Lines above may come and go, as that of what is new does.
  const place = () => scroller.evaluate((element) => [...element.querySelectorAll('.message')].map((message) => [message.textContent, Math.round(message.getBoundingClientRect().top)]).find(([, top]) => top > 200));
  const before = await place();

  await post(second.url, OLHA, 'from my telephone', id);
  await page.locator(`[data-conversation="${id}"]`).getByText('from my telephone').waitFor();
  // The list and the thread are told of it in one turn.
  assert.deepEqual(await place(), before);
  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  await bubble(page, 'from my telephone').waitFor();
});

test('a conversation far down the list is opened by its address, and none that is not there', async () => {
  const ids = await replicas.sql(`insert into users (first_name, last_name, email)
    select 'Guest', 'No ' || n, 'guest' || n || '@example.com' from generate_series(0, 120) n returning id`);
  const [me, oldest] = ids.split('\n');
  await replicas.sql(`insert into conversations (participant1_id, participant2_id, created_at, updated_at)
    select '${me}', u.id, t.at, t.at from users u, lateral (select now() - interval '1 day' + split_part(last_name, ' ', 2)::integer * interval '2 minutes' as at) t
     where first_name = 'Guest' and id <> '${me}'`);
  const id = await replicas.sql(`select id from conversations where participant2_id = '${oldest}'`);
  const page = await visit(at(replica.url, talking(me, id)));
  await page.locator('.thread-head').getByText('Guest No 1', { exact: true }).waitFor();

  const nowhere = await visit(at(replica.url, talking(me, '00000000-0000-4000-8000-000000000000')));
  await nowhere.getByText('This conversation was not found.').waitFor();
});

test('a search finds people and messages, and leads to the place', async () => {
  const id = await replicas.sql(`insert into conversations (participant1_id, participant2_id) values ('${AMELIE}', '55555555-5555-4555-8555-555555555555') returning id`);
  await replicas.sql(`insert into messages (conversation_id, sender_id, content)
    select '${id}', '${AMELIE}', case n when 30 then 'the heron stands by the pond' else 'number ' || n end from generate_series(1, 400) n`);
  const page = await visit(at(replica.url, AMELIE));
  await page.locator('.list .row').first().waitFor();
  await page.keyboard.press('Tab');
  await page.locator('.list .row').first().focus();
  await page.keyboard.press('Control+k');
  await page.keyboard.type('hero');
  await page.getByText('Messages are found by whole words.').waitFor();
  await page.keyboard.type('n or pond -number');
  const found = page.locator('.results .row', { hasText: 'heron stands' });
  await found.waitFor();
  await eventually(() => found.locator('mark').allTextContents(), ['heron', 'pond']);
  await found.click();
  const message = page.locator('.message.found', { hasText: 'the heron stands by the pond' });
  await message.waitFor();
  const [inner, outer] = await Promise.all([message, page.locator('.scroller')].map(box));
  assert.ok(inner.y > outer.y && inner.y + inner.height < outer.y + outer.height, 'it is in sight');
  await page.getByRole('button', { name: 'Jump to the latest messages' }).click();
  await bubble(page, 'number 400').waitFor();
  assert.equal(await bubble(page, 'number 2').count(), 0);
  await page.getByRole('searchbox').fill('number');
  await page.getByText('There are more: add a word.').waitFor();
  assert.equal(await page.locator('.results .row').count(), 30);

  await page.getByRole('searchbox').fill('Zeynep');
  await page.locator('.results .row', { hasText: 'developer' }).click();
  await page.getByRole('heading', { name: /Zeynep/ }).waitFor();
});

test('days begin at midnight where the reader is, and today becomes yesterday while one looks', async () => {
  const id = await replicas.sql(`with reader as (insert into users (first_name, last_name, email) values ('Rip', 'Van Winkle', 'rip@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select id, '${OLHA}' from reader returning id`);
  // Across the night in which New York's clocks are put forward, 2026-03-08; in Tokyo it is the afternoon.
  for (const [text, when] of [['before midnight', '2026-03-08 04:59:50Z'], ['after midnight', '2026-03-08 05:00:10Z'], ['the next evening', '2026-03-09 02:59:00Z']]) {
    await replicas.sql(`insert into messages (conversation_id, sender_id, content, created_at) values ('${id}', '${OLHA}', '${text}', '${when}')`);
  }
  const shown = (page) => page.locator('.messages > li').evaluateAll((items) => items.map((item) => (item.querySelector('.content') ?? item).textContent));
  const look = async (timezoneId, time) => {
    const page = await visit(at(replica.url, talking(OLHA, id)), { timezoneId });
    await page.clock.install({ time: new Date(time) });
    await page.reload();
    await bubble(page, 'the next evening').waitFor();
    return page;
  };
  const newYork = await look('America/New_York', '2026-03-09T03:00:00Z');
  assert.deepEqual(await shown(newYork), ['Yesterday', 'before midnight', 'Today', 'after midnight', 'the next evening']);
  const stamp = newYork.locator(`[data-conversation="${id}"] time`);
  await eventually(() => stamp.textContent(), '22:59');
  await newYork.clock.fastForward('01:00:30');
  await eventually(() => shown(newYork), ['Saturday 7 March', 'before midnight', 'Yesterday', 'after midnight', 'the next evening']);
  await eventually(() => stamp.textContent(), 'Sun');

  const tokyo = await look('Asia/Tokyo', '2026-03-09T14:00:00Z');
  assert.deepEqual(await shown(tokyo), ['Yesterday', 'before midnight', 'after midnight', 'Today', 'the next evening']);
});

test('what the list and the history miss while they are being read is not lost', async () => {
  // The service answers at once; the page gets it when the test says so.
  const before = () => {
    const real = window.fetch;
    Object.assign(window, { holding: false, held: [] });
    window.fetch = async (...asked) => {
      const response = await real(...asked);
      if (window.holding && /conversations[/?]/.test(asked[0])) await new Promise((resolve) => window.held.push(resolve));
      return response;
    };
  };
  const release = (page) => page.evaluate(() => {
    window.holding = false;
    window.held.splice(0).forEach((go) => go());
  });
  const page = await visit(at(replica.url, AMELIE), { before });
  const row = page.locator(`[data-conversation="${CONVERSATION}"]`);
  await row.waitFor();
  const read = (userId, upToSeq) => fetch(`${second.url}/api/v1/chat/conversations/${CONVERSATION}/read?user_id=${userId}&up_to_seq=${upToSeq}`, { method: 'PUT' })
    .then(async (response) => assert.ok(response.ok, await response.text()));

  // Read up to somewhere in another window: how many are left is asked for, and another one comes meanwhile.
  const { seq } = await post(second.url, LUKASZ, 'read elsewhere');
  await post(second.url, LUKASZ, 'not read yet');
  await row.getByText('not read yet', { exact: true }).waitFor();
  await page.evaluate(() => (window.holding = true));
  await read(AMELIE, seq);
  await page.waitForFunction(() => window.held.length > 0);
  await post(second.url, LUKASZ, 'while the list is read');
  await row.getByText('while the list is read').waitFor();
  await release(page);
  await row.locator('.badge', { hasText: /^2\b/ }).waitFor();
  await row.getByText('while the list is read').waitFor();

  // A mark that comes while the history is read.
  const sent = await post(second.url, AMELIE, 'Read soon');
  await row.getByText('You: Read soon').waitFor();
  await page.evaluate(() => (window.holding = true));
  await row.getByRole('button').click();
  await page.waitForFunction(() => window.held.length > 0);
  await read(LUKASZ, sent.seq);
  await post(second.url, LUKASZ, 'behind the mark');
  await row.getByText('behind the mark').waitFor();
  await release(page);
  await bubble(page, 'Read soon').getByTitle('read', { exact: true }).waitFor();
});

test('what is written from right to left stands on its side, and who wrote it is said, not only shown', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  const sides = async (text) => {
    const [outer, inner] = await Promise.all(['.bubble', '.foot'].map((part) => box(bubble(page, text).locator(part))));
    return [inner.x - outer.x, outer.x + outer.width - inner.x - inner.width];
  };
  const arabic = 'مرحبا، هل يمكننا رؤية الشقة يوم الجمعة في الساعة 10:30؟';
  for (const [text, foot] of [[arabic, 'left'], ['May we see the flat on Friday at 10:30?', 'right'], ['10:30–11:00', 'right']]) {
    await post(second.url, LUKASZ, text);
    await bubble(page, text).waitFor();
    const [left, right] = await sides(text);
    assert.equal(left < right ? 'left' : 'right', foot, `${text}: ${left}, ${right}`);
    assert.match(await bubble(page, text).ariaSnapshot(), /Łukasz Wiśniewski:/);
  }
  await say(page, 'At six');
  await bubble(page, 'At six').getByTitle(/^(sent|read)$/).waitFor();
  assert.match(await bubble(page, 'At six').ariaSnapshot(), /You:/);
});

test('an address that names nobody says so once, and works as soon as there is somebody', async () => {
  const id = 'abcdefab-0000-4000-8000-000000000000';
  const page = await visit(at(replica.url, id), { forgive: /404|^WebSocket connection to .* failed/ });
  await page.locator('.banner').getByText(`user ${id} does not exist`).waitFor();
  await page.getByText('The conversations could not be loaded').waitFor();
  await eventually(() => page.getByText(`user ${id} does not exist`).count(), 1);
  assert.equal(await page.getByRole('button', { name: 'Try again' }).count(), 1);
  assert.equal(await page.locator('.skeleton').count(), 0);
  assert.ok(await page.locator('.notice').isHidden());
  await replicas.sql(`insert into users (id, first_name, last_name, email) values ('${id}', 'Just', 'Come', 'come@example.com')`);
  await page.locator('.banner').getByRole('button', { name: 'Try again' }).click();
  await page.getByText('No conversations yet').waitFor();
  await page.locator('.banner').waitFor({ state: 'hidden' });
});

test('a name longer than a telephone is wide is cut, and moves nothing aside', async () => {
  const name = 'Maximiliana-Theodora von und zu Hohenschwangau-Wittelsbach';
  await replicas.sql(`insert into users (first_name, last_name, email) values ('${name}', '${name}', 'long@example.com')`);
  const page = await visit(replica.url, PHONE);
  const fits = async () => {
    const wide = await page.evaluate(() => [...document.querySelectorAll('.pane *')].filter((it) => it.checkVisibility() && it.getBoundingClientRect().right > innerWidth && !it.closest('strong, h2, .excerpt')).map(({ className }) => className));
    assert.deepEqual(wide, []);
  };
  await page.getByRole('button', { name }).waitFor();
  await fits();
  await page.getByRole('searchbox').fill('Grace');
  await page.getByRole('button', { name: /Grace/ }).tap();
  await page.getByRole('button', { name: 'New conversation' }).first().tap();
  await page.getByRole('button', { name }).tap();
  await page.getByText('No messages yet', { exact: true }).last().waitFor();
  await fits();
});

test('what looks like HTML or a script is shown as text, wherever it is shown', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  await page.locator('.message').first().waitFor();
  await page.getByRole('button', { name: 'Frames of the socket' }).click();
  const assertHarmless = async () => assert.deepEqual(await page.evaluate(() => [window.pwned, document.querySelectorAll('.panes :is(img, script, b)').length]), [undefined, 0]);
  const attempts = ['<img src=x onerror="window.pwned=1">', '<script>window.pwned=1</script>', '"><svg onload=window.pwned=1>', "javascript:window.pwned=1//'", '<img src=x onerror=window.pwned=1> squirrel'];
  for (const attempt of attempts) {
    await post(second.url, LUKASZ, attempt);
    await bubble(page, attempt).waitFor();
    await page.locator('.frames .gist', { hasText: attempt }).first().waitFor();
  }
  await page.locator('.list .excerpt', { hasText: attempts.at(-1) }).waitFor();
  await page.getByRole('searchbox').fill('squirrel');
  await page.locator('.results .row').first().waitFor();
  await assertHarmless();
  await page.getByRole('button', { name: 'Close the search' }).click();
  const name = '<b onmouseover=window.pwned=1>Eve</b>';
  await replicas.sql(`update users set first_name = '${name}' where id = '${ZEYNEP}'`);
  try {
    await page.reload();
    await page.locator('.list').getByText(name).waitFor();
    await page.locator('.list li', { hasText: name }).getByRole('button').click();
    await page.locator('.thread-head').getByText(name).waitFor();
  } finally {
    await replicas.sql(`update users set first_name = 'Zeynep' where id = '${ZEYNEP}'`);
  }
  await assertHarmless();
});
