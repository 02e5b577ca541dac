// What can be measured of how the page looks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, assertAtEnd, at, box, eventually, LUKASZ, pane, PHONE, replica, replicas, stage, talking, visit, ZEYNEP } from './support.js';

stage();

test('what can be done about a message that was not sent stands together, however long the reason is', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), {
    ...PHONE,
    // The reason is what was to be sent.
    before: () => {
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        const { type, requestId, data: { content } } = JSON.parse(text);
        if (type !== 'send_message') return send.call(this, text);
        const data = JSON.stringify({ type: 'error', data: { requestId, code: 'validation_failed', message: content } });
        return queueMicrotask(() => this.dispatchEvent(new MessageEvent('message', { data })));
      };
    },
  });
  for (const reason of ['no', 'not here', 'not allowed here', 'this is not allowed here', 'such a text is not allowed here, nor anywhere else']) {
    await page.getByRole('textbox', { name: 'Message' }).fill(reason);
    await page.getByRole('button', { name: 'Send' }).click();
    const failure = page.locator('.failure', { hasText: `Not sent: ${reason}Edit` });
    const [edit, discard] = await Promise.all(['Edit', 'Discard'].map((name) => box(failure.getByText(name, { exact: true }))));
    assert.equal(edit.y, discard.y, reason);
  }
});

test('in a low window the name above the list keeps clear of the edge, beside a list as narrow as one is', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width: 720, height: 450 } });
  await page.locator('.me').getByText(/^Online at replica/).waitFor();
  const [bar, name, state] = await Promise.all(['.top', '.me strong', '.me .replica'].map((part) => box(page.locator(part))));
  assert.ok(name.y >= bar.y + bar.height + 4, JSON.stringify([bar, name]));
  assert.ok(state.height < 24, `in one line: ${state.height}`);
});

test('each appearance has a sign of its own', async () => {
  const page = await visit(replica.url);
  const signs = new Set();
  for (const name of ['as the system has it', 'light', 'dark']) {
    const button = page.getByRole('button', { name: `Appearance: ${name}` });
    signs.add(await button.locator('path').getAttribute('d'));
    await button.click();
  }
  assert.equal(signs.size, 3);
});

test('a phone paints what is around the page as the top bar is, in each appearance', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await visit(replica.url, { colorScheme });
    for (const name of ['as the system has it', 'light', 'dark']) {
      const button = page.getByRole('button', { name: `Appearance: ${name}` });
      await button.waitFor();
      const [around, bar] = await page.evaluate(() => {
        const { content } = [...document.querySelectorAll('meta[name="theme-color"]')].find(({ media }) => matchMedia(media).matches);
        const probe = document.body.appendChild(document.createElement('i'));
        probe.style.color = content;
        const { color } = getComputedStyle(probe);
        probe.remove();
        return [color, getComputedStyle(document.querySelector('.top')).backgroundColor];
      });
      assert.equal(around, bar, `${colorScheme}, ${name}`);
      await button.click();
    }
  }
});

for (const width of [1360, 1600, 1920]) {
  test(`of two panes side by side the conversations have the greater part, ${width} px wide`, async () => {
    const page = await visit(at(replica.url, talking(AMELIE), talking(LUKASZ)), { viewport: { width, height: 800 } });
    for (const number of [1, 2]) await pane(page, number).locator('.message').first().waitFor();
    for (const number of [1, 2]) {
      const [list, whole] = await Promise.all(['.list', '.columns'].map((part) => box(pane(page, number).locator(part))));
      assert.ok(list.width >= 240 && list.width <= whole.width * 0.38, `the list has ${list.width} of ${whole.width} px`);
    }
  });
}

test('beside a conversation as narrow as one is nothing of what the list says about itself is cut', async () => {
  for (const width of [676, 768, 1024]) {
    const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width, height: 800 } });
    await page.locator('.me').getByText(/^Online at replica \w+/).waitFor();
    const cut = await page.evaluate(() => {
      const field = document.querySelector('.search-field');
      const words = document.createElement('canvas').getContext('2d');
      words.font = getComputedStyle(field).font;
      const { paddingLeft, paddingRight } = getComputedStyle(field);
      const room = field.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
      const replica = document.querySelector('.me .replica');
      return [words.measureText(field.placeholder).width > room && field.placeholder, replica.scrollWidth > replica.clientWidth && replica.textContent].filter(Boolean);
    });
    assert.deepEqual(cut, [], `${width} px`);
  }
});

test('of two panes side by side both conversations begin at the same height, however long a name is', async () => {
  const [me, id] = (await replicas.sql(`with me as (insert into users (first_name, last_name, email) values ('Maximiliana-Theodora', 'von und zu Hohenschwangau-Wittelsbach', 'wide@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select id, '${ZEYNEP}' from me returning participant1_id, id`)).split('|');
  const page = await visit(at(replica.url, talking(me, id), talking(ZEYNEP, id)), { viewport: { width: 1024, height: 768 } });
  for (const number of [1, 2]) await pane(page, number).locator('.pane-bar').getByText(/^replica /).waitFor();
  const heads = await Promise.all([1, 2].map((number) => box(pane(page, number).locator('.thread-head'))));
  assert.equal(heads[0].y, heads[1].y);
});

for (const [where, options] of [['a desktop', {}], ['a phone', PHONE], ['a low window', { viewport: { width: 900, height: 420 } }]]) {
  test(`the sign-in fits on ${where}, and keeps its height while one searches`, async () => {
    const page = await visit(replica.url, options);
    const card = page.locator('.card');
    const people = page.locator('.people .row');
    await people.nth(6).waitFor({ state: 'attached' });
    const before = await box(card);
    const { height } = page.viewportSize();
    const scrolls = await page.locator('.sign-in').evaluate((it) => it.scrollHeight > it.clientHeight);
    assert.equal(scrolls, height < 500, `${before.y} + ${before.height} of ${height} px`);
    await people.last().scrollIntoViewIfNeeded();
    await people.last().click({ trial: true });
    await page.locator('.sign-in').evaluate((it) => (it.scrollTop = 0));
    for (const [text, found] of [['Grace', 1], ['xyz', 0]]) {
      await page.getByRole('searchbox').fill(text);
      await eventually(() => people.count(), found);
      assert.deepEqual(await box(card), before);
    }
  });
}

test('in colours of the reader’s own each message has an edge, and the open conversation stands out', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { forcedColors: 'active' });
  await page.locator('.message').first().waitFor();
  const edges = await page.locator('.bubble').evaluateAll((all) => all.map((it) => getComputedStyle(it).borderTopWidth));
  assert.deepEqual(new Set(edges), new Set(['1px']));
  const grounds = await page.locator('.list .row').evaluateAll((all) => all.map((it) => [it.ariaCurrent, getComputedStyle(it).backgroundColor]));
  const [[, chosen]] = grounds.filter(([current]) => current);
  assert.ok(grounds.every(([current, ground]) => current || ground !== chosen), `${grounds}`);
});

test('made four times as large, a page has half of the window for messages, and nothing beyond its edge', async () => {
  const viewport = { width: 320, height: 256 };
  const page = await visit(at(replica.url, talking(AMELIE)), { viewport });
  await page.locator('.message').first().waitFor();
  await page.locator('.thread-head').getByText(/^(Offline|Last seen)/).waitFor();
  assert.ok(await page.locator('.thread-head [role="status"]').evaluate((it) => it.scrollWidth <= it.clientWidth), 'when somebody was last seen is cut');
  const { height } = await box(page.locator('.scroller'));
  assert.ok(height > viewport.height * 0.45, `${height} px`);
  const beyond = () => page.evaluate(() => [...document.querySelectorAll('body *')].filter((it) => it.checkVisibility() && it.getBoundingClientRect().right > innerWidth + 1 && !it.closest('strong, h2, .excerpt')).map(({ className }) => className));
  assert.deepEqual(await beyond(), []);
  await page.getByRole('button', { name: 'Back to the conversations' }).click();
  await page.locator('.list .row').first().waitFor();
  assert.deepEqual(await beyond(), []);
});

test('with both tools open a phone still shows messages', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), PHONE);
  await page.locator('.message').first().waitFor();
  for (const name of ['A message from SQL', 'Frames of the socket']) await page.getByRole('button', { name }).tap();
  await page.locator('.frames li').first().waitFor();
  const { height } = await box(page.locator('.scroller'));
  assert.ok(height > 130, `${height} px`);
});

for (const [width, height] of [[320, 400], [1280, 400]]) {
  test(`with both tools open a low window shows messages, and all of the tools can be had, ${width} by ${height}`, async () => {
    const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width, height } });
    await page.locator('.message').first().waitFor();
    for (const name of ['A message from SQL', 'Frames of the socket']) await page.getByRole('button', { name }).click();
    await page.locator('.frames li').first().waitFor();
    const scroller = await box(page.locator('.scroller'));
    assert.ok(scroller.height > height * 0.25, `${scroller.height} px`);
    const [tools, statement] = await Promise.all([page.locator('.tools'), page.locator('.sql')].map(box));
    assert.ok(tools.y + tools.height - statement.y > 40, 'not a line of the statement is in sight');
    for (const it of [page.locator('.sql'), page.locator('.frames li').last()]) {
      await it.scrollIntoViewIfNeeded();
      await it.click({ trial: true });
    }
    await page.getByRole('button', { name: 'Close the frames' }).click();
    await page.getByRole('button', { name: 'Close the SQL' }).click();
    await page.locator('.tool').first().waitFor({ state: 'hidden' });
  });
}

for (const [width, height] of [[1600, 900], [1280, 650]]) {
  test(`with both tools open all of the statement is in sight, however many frames there are, ${width} by ${height}`, async () => {
    const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width, height } });
    await page.locator('.message').first().waitFor();
    for (const name of ['A message from SQL', 'Frames of the socket']) await page.getByRole('button', { name }).click();
    const field = page.getByRole('textbox', { name: 'Message' });
    const frames = page.locator('.frames li');
    for (let times = 0; (await frames.count()) < 25; times++) {
      const before = await frames.count();
      await field.fill(times % 2 ? '' : 'typing');
      await eventually(() => frames.count(), (count) => count > before);
    }
    const [body, statement, list] = await Promise.all(['.tool-body', '.sql', 'ol.frames'].map((part) => box(page.locator(part))));
    const end = ({ y, height: tall }) => y + tall;
    assert.ok(end(statement) <= end(body), `${end(statement)} of ${end(body)}`);
    // One below the other, and both in the window.
    assert.ok(end(body) < list.y && list.height > 20 && end(list) <= height, `${end(body)}, ${list.y} + ${list.height} of ${height}`);
  });
}

for (const [width, height] of [[1280, 500], [1280, 560], [480, 600], [360, 650]]) {
  test(`with both tools open all of the statement is in sight in a window that is not high, either, ${width} by ${height}`, async () => {
    const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width, height } });
    await page.locator('.message').first().waitFor();
    for (const name of ['A message from SQL', 'Frames of the socket']) await page.getByRole('button', { name }).click();
    await page.locator('.frames li').first().waitFor();
    const ends = await Promise.all(['.sql', '.tool-body', '.tools'].map(async (part) => {
      const { y, height: tall } = await box(page.locator(part).first());
      return y + tall;
    }));
    assert.deepEqual(ends, ends.toSorted((a, b) => a - b), 'the statement is cut');
    await page.getByRole('button', { name: 'Close the frames' }).click();
    await page.getByRole('button', { name: 'Close the SQL' }).click();
  });
}

for (const [width, height] of [[1000, 440], [360, 640], [360, 480]]) {
  test(`with the SQL alone all of the statement is in sight, and some of the messages, ${width} by ${height}`, async () => {
    const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width, height } });
    await page.locator('.message').first().waitFor();
    await page.getByRole('button', { name: 'A message from SQL' }).click();
    const [statement, tools, messages] = await Promise.all(['.sql', '.tools', '.scroller'].map((part) => box(page.locator(part))));
    assert.ok(statement.y + statement.height <= tools.y + tools.height, `${statement.y} + ${statement.height} of ${tools.y} + ${tools.height}`);
    assert.ok(messages.height > 60, `${messages.height} px`);
  });
}

test('made four times as large, a tool stands in the place of the messages until it is closed', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width: 320, height: 256 } });
  await page.locator('.message').first().waitFor();
  const open = page.getByRole('button', { name: 'A message from SQL' });
  await open.click();
  await page.locator('.scroller').waitFor({ state: 'hidden' });
  const tools = await box(page.locator('.tools'));
  assert.ok(tools.height > 150 && tools.y + tools.height <= 256, `${tools.height} px`);
  // Back in the list there is room for the list.
  await page.getByRole('button', { name: 'Back to the conversations' }).click();
  await page.locator('.list .row').first().click();
  await open.click();
  await page.locator('.message').last().waitFor();
  await assertAtEnd(page);
});

test('made four times as large, a long draft leaves its Send button in sight, and a question what it is about', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), { viewport: { width: 320, height: 256 } });
  await page.locator('.message').first().waitFor();
  await page.getByRole('textbox', { name: 'Message' }).fill('a line\n'.repeat(12));
  const send = await box(page.getByRole('button', { name: 'Send' }));
  assert.ok(send.y + send.height <= 256, `${send.y} + ${send.height}`);
  await page.getByRole('textbox', { name: 'Message' }).fill('');
  await page.getByRole('button', { name: 'Delete message' }).first().focus();
  await page.keyboard.press('Enter');
  const quoted = page.getByRole('dialog').locator('.quoted');
  assert.ok(await quoted.evaluate((it) => it.scrollHeight <= it.clientHeight), 'what is to be deleted is cut');
});

test('what a search found can be read on its ground, in the dark too', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await visit(at(replica.url, AMELIE), { colorScheme });
    await page.locator('.list .row').first().waitFor();
    await page.getByRole('searchbox').fill('flat');
    const contrast = await page.locator('.results mark').first().evaluate((it) => {
      const { color, backgroundColor } = getComputedStyle(it);
      const [light, dark] = [color, backgroundColor].map((text) => {
        const [r, g, b] = text.match(/[\d.]+/g).map((value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
      }).sort((a, b) => b - a);
      return light / dark;
    });
    assert.ok(contrast >= 4.5, `${colorScheme}: ${contrast}`);
  }
});

test('a word that is wider than the window is broken, wherever the page says it', async () => {
  const word = 'Donaudampfschifffahrts'.repeat(8);
  const page = await visit(at(replica.url, AMELIE), { ...PHONE, forgive: /^Failed to load resource/ });
  const whole = async (locator) => {
    await locator.waitFor();
    const [left, right] = await locator.evaluate((it) => {
      const range = document.createRange();
      range.selectNodeContents(it);
      const { left: from, right: to } = range.getBoundingClientRect();
      return [from, innerWidth - to];
    });
    assert.ok(left >= 0 && right >= 0, `${left}, ${right}`);
  };
  await page.locator('.list .row').first().waitFor();
  await page.getByRole('searchbox').fill(word);
  await whole(page.locator('.results .empty p'));
  await page.route('**/messages?*', (route) => route.fulfill({ status: 400, json: { code: 'validation_failed', message: word } }));
  await page.getByRole('button', { name: 'Close the search' }).tap();
  await page.locator('.list .row').first().tap();
  await whole(page.locator('.edge .problem'));
});

test('above a conversation on a phone there is room for a usual name', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), PHONE);
  const name = page.getByRole('heading', { name: 'Łukasz Wiśniewski' });
  await name.waitFor();
  assert.ok(await name.evaluate((it) => it.scrollWidth <= it.clientWidth));
});

test('no field makes a phone’s browser magnify the page: its text has 16 px', async () => {
  const size = (locator) => locator.evaluate((it) => parseFloat(getComputedStyle(it).fontSize));
  const choosing = await visit(replica.url, PHONE);
  await choosing.locator('.people .row').first().waitFor();
  const page = await visit(at(replica.url, AMELIE), PHONE);
  await page.locator('.list .row').first().waitFor();
  for (const one of [choosing, page]) assert.ok(await size(one.getByRole('searchbox')) >= 16);
  // That of the token stands where the service asks for one.
  const token = await page.evaluate(() => {
    const field = document.body.appendChild(Object.assign(document.createElement('textarea'), { className: 'field token' }));
    const { fontSize } = getComputedStyle(field);
    field.remove();
    return parseFloat(fontSize);
  });
  assert.ok(token >= 16, `${token}`);
});

test('lists are lists to VoiceOver, too, and have no bullets', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  await page.locator('.message').first().waitFor();
  const types = await page.locator('ul, ol').evaluateAll((lists) => lists.map((list) => getComputedStyle(list).listStyleType));
  assert.ok(types.length >= 2);
  assert.deepEqual(new Set(types), new Set(['""'])); // `none` would take that from them
  const [item, button] = await Promise.all(['li', 'li .row'].map((part) => box(page.locator(`.list ${part}`).first())));
  assert.deepEqual(button, item);
});
