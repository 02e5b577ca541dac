// When the page draws: once a frame, whatever comes; and nothing is missed where there are no frames.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AMELIE, at, CONVERSATION, drawn, LUKASZ, replica, replicas, stage, talking, visit } from './support.js';

stage({ RATE_LIMIT_PER_SECOND: '0' });

const flood = (text, count) => replicas.sql(`insert into messages (conversation_id, sender_id, content) select '${CONVERSATION}', '${LUKASZ}', '${text} ' || n from generate_series(1, ${count}) n`);
const last = (text) => [...document.querySelectorAll('.message .content')].at(-1)?.textContent === text;

test('four hundred messages at once are drawn once a frame, in the thread, the list and the frames', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  await page.locator('.message').first().waitFor();
  // Who is there is told once, a moment after the messages may have come.
  await page.locator('.thread-head').getByText(/^(Offline|Last seen)/).waitFor();
  await page.getByRole('button', { name: 'Frames of the socket' }).click();
  await drawn(page);
  await page.evaluate(() => {
    window.most = {};
    // Where the machine is slow a frame may be as late as those that never come, which the page does not wait for.
    const LATE_MS = 250;
    for (const place of ['.messages', '.list ul', '.frames', '.me', '.face']) {
      let times = 0;
      let since;
      window.most[place] = 0;
      // Told after each turn in which something was changed.
      new MutationObserver(() => {
        times++;
        window.most[place] = Math.max(window.most[place], times - Math.floor((performance.now() - since) / LATE_MS));
      }).observe(document.querySelector(place), { childList: true, subtree: true, characterData: true });
      const frame = () => {
        times = 0;
        since = performance.now();
        requestAnimationFrame(frame);
      };
      frame();
    }
  });
  await flood('flood', 400);
  await page.waitForFunction(last, 'flood 400');
  const most = await page.evaluate(() => window.most);
  // The frame's own, and what somebody does meanwhile.
  for (const place of ['.messages', '.list ul', '.frames']) assert.ok(most[place] >= 1 && most[place] <= 2, JSON.stringify(most));
  assert.deepEqual([most['.me'], most['.face']], [0, 0]);
});

test('without frames, as in a tab that nobody sees, the title counts, the page is drawn all the same, and nothing piles up', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)), {
    before: () => {
      const real = window.requestAnimationFrame;
      window.asked = new Map();
      window.requestAnimationFrame = (run) => {
        if (document.visibilityState === 'visible') return real(run);
        const id = -1 - window.asked.size;
        window.asked.set(id, run);
        return id;
      };
      const cancel = window.cancelAnimationFrame;
      window.cancelAnimationFrame = (id) => window.asked.delete(id) || cancel(id);
    },
  });
  await page.locator('.message').first().waitFor();
  await page.waitForFunction(() => !document.querySelector('.list .unread'));
  const look = (state) => page.evaluate((value) => {
    Object.defineProperty(document, 'visibilityState', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  const without = { polling: 50 };
  const start = await page.title();
  const before = Number(/\d+/.exec(start)?.[0] ?? 0);
  await look('hidden');
  await flood('unseen', 300);
  await page.waitForFunction((count) => document.title === `(${count}) pgchat`, before + 300, without);
  await page.waitForFunction(last, 'unseen 300', without);
  await page.waitForFunction(() => document.querySelector('.list [aria-current] .badge')?.textContent.startsWith('99+'), undefined, without);
  assert.ok((await page.evaluate(() => window.asked.size)) <= 1);
  await look('visible');
  await page.waitForFunction(() => !document.querySelector('.list [aria-current] .badge'));
  await page.waitForFunction((title) => document.title === title, start);
});

test('of many that come at once a screen reader is told how many, and the last', async () => {
  const page = await visit(at(replica.url, talking(AMELIE)));
  await page.locator('.message').first().waitFor();
  await page.evaluate(() => {
    window.said = [];
    const region = document.querySelector('.thread [aria-live]');
    new MutationObserver(() => window.said.push(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
  });
  await flood('many', 200);
  await page.waitForFunction(() => window.said.at(-1)?.endsWith(': many 200'));
  const said = await page.evaluate(() => window.said);
  const told = said.reduce((sum, text) => sum + Number(/^(\d+) new messages\. Łukasz Wiśniewski: many \d+$/.exec(text)?.[1] ?? 1), 0);
  assert.equal(told, 200, JSON.stringify(said));
  assert.ok(said.length < 150, `${said.length} times`);
});
