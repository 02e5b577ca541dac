// Somebody who reads, for tests of what is unread and what is new.
import assert from 'node:assert/strict';
import { drawn, eventually, LUKASZ, post, replica, replicas } from './support.js';

/** Somebody new, in conversation with Łukasz, who has said these things. */
export async function reader(...said) {
  const ids = await replicas.sql(`with reader as (insert into users (first_name, last_name, email) values ('Reader', 'of much', gen_random_uuid() || '@example.com') returning id)
    insert into conversations (participant1_id, participant2_id) select id, '${LUKASZ}' from reader returning participant1_id, id`);
  const [user, conversation] = ids.split('|');
  for (const content of said) await post(replica.url, LUKASZ, content, conversation);
  return { user, conversation };
}

/** For `before`: a page of older messages is waited for as long as it takes, and not for two seconds. */
export const waitsForOlder = () => {
  const { setTimeout } = window;
  window.setTimeout = (then, ms, ...more) => setTimeout(then, ms === 2_000 ? 600_000 : ms, ...more);
};

export const unread = (conversation) => replicas.sql(`select count(*) from messages where conversation_id = '${conversation}' and not is_read and deleted_at is null`);

/** What a screen reader is told from now on; `heard`: all of it. */
export const listen = (page) => page.evaluate(() => {
  window.heard = [];
  const region = document.querySelector('.thread > [aria-live]');
  new MutationObserver(() => region.textContent && window.heard.push(region.textContent)).observe(region, { childList: true });
});
export const heard = (page) => page.evaluate(() => window.heard);

export const badge = (page, count = '') => page.locator('.list .badge', { hasText: new RegExp(`^${count}\\b`) });

/** The number of the last message whose end is in sight; the contents are "number 1", "number 2", ... */
export const lowestSeen = (page) => page.locator('.scroller').evaluate((it) => {
  const { bottom } = it.getBoundingClientRect();
  const seen = [...document.querySelectorAll('.message')].findLast((message) => message.getBoundingClientRect().bottom <= bottom + 1);
  return Number(/number (\d+)/.exec(seen.querySelector('.content').textContent)[1]);
});

/** Of `all` numbered messages those that were seen have been read, and none below them. */
export async function assertReadAsSeen(page, conversation, all) {
  const left = String(all - (await lowestSeen(page)));
  await eventually(() => unread(conversation), left);
  await drawn(page);
  assert.equal(await unread(conversation), left);
  return Number(left);
}

/** For `before`: up to which message the page marks, and when, as `{upTo, at}` in `window.marks`. */
export const noteMarks = () => {
  window.marks = [];
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (text) {
    const { type, data } = JSON.parse(text);
    if (type === 'mark_read') window.marks.push({ upTo: data.upToSeq, at: performance.now() });
    return send.call(this, text);
  };
};
