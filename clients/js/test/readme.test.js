// The README's hook, as it is printed there, without React: state is a value, and an effect runs at once.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const README = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const PRINTED = /```jsx\n([\s\S]*?)```/.exec(README)[1];

const message = (seq, more) => ({ id: `m${seq}`, conversationId: 'c1', senderId: 'me', seq, isRead: false, updatedAt: '1', ...more });
const shown = (messages) => messages.map(({ seq, isRead, updatedAt }) => `${seq} ${isRead ? 'read' : 'sent'} ${updatedAt}`);

function hook() {
  const listeners = {};
  const pages = [];
  let state = [];
  const chat = {
    on: (type, listener) => {
      (listeners[type] ??= new Set()).add(listener);
      return () => listeners[type].delete(listener);
    },
    messages: { list: () => new Promise((resolve) => pages.push((...messages) => resolve({ messages }))) },
  };
  let unmount;
  const react = {
    useState: (initial) => [(state = initial), (next) => (state = typeof next === 'function' ? next(state) : next)],
    useEffect: (effect) => (unmount = effect()),
  };
  const { useMessages, merge } = new Function('createChatClient', 'useState', 'useEffect', 'url', 'getToken', `${PRINTED}; return { useMessages, merge };`)(() => chat, react.useState, react.useEffect);
  return {
    merge, pages,
    mount: () => useMessages('c1'),
    unmount: () => unmount(),
    tell: (type, data) => [...(listeners[type] ?? [])].map((listener) => listener(data)),
    get listeners() { return Object.values(listeners).reduce((sum, { size }) => sum + size, 0); },
    get state() { return shown(state); },
  };
}

const settled = () => new Promise(setImmediate);

test('of two states of a message the later one stays; of two of one time it is read if either says so', () => {
  const { merge } = hook();
  const [old, read, edited] = [message(1), message(1, { isRead: true }), message(1, { updatedAt: '2' })];
  assert.deepEqual(shown(merge([read], [old])), ['1 read 1']);
  assert.deepEqual(shown(merge([old], [read])), ['1 read 1']);
  assert.deepEqual(shown(merge([edited], [read])), ['1 sent 2']);
  assert.deepEqual(shown(merge([read], [edited])), ['1 sent 2']);
  assert.deepEqual(shown(merge([message(3)], [message(2), message(1)])), ['1 sent 1', '2 sent 1', '3 sent 1']);
});

test('a mark is shown, at what the other one wrote up to there, in this conversation', async () => {
  const it = hook();
  it.mount();
  it.pages[0](message(3), message(2, { senderId: 'you' }), message(1));
  await settled();
  it.tell('messages_read', { conversationId: 'c2', readerId: 'you', upToSeq: 3 });
  assert.deepEqual(it.state, ['1 sent 1', '2 sent 1', '3 sent 1']);
  it.tell('messages_read', { conversationId: 'c1', readerId: 'you', upToSeq: 2 });
  assert.deepEqual(it.state, ['1 read 1', '2 sent 1', '3 sent 1']);
  it.tell('messages_read', { conversationId: 'c1', readerId: 'me', upToSeq: 3 });
  assert.deepEqual(it.state, ['1 read 1', '2 read 1', '3 sent 1']);
});

test('a page that was read before a mark and comes after it does not take it back, the first one neither', async () => {
  const it = hook();
  it.mount();
  it.tell('messages_read', { conversationId: 'c1', readerId: 'you', upToSeq: 1 });
  it.pages[0](message(2), message(1));
  await settled();
  assert.deepEqual(it.state, ['1 read 1', '2 sent 1']);
  const [reload] = it.tell('connected', { resumed: false });
  it.tell('messages_read', { conversationId: 'c1', readerId: 'you', upToSeq: 2 });
  it.pages[1](message(2), message(1));
  await reload;
  assert.deepEqual(it.state, ['1 read 1', '2 read 1']);
  it.tell('chat_message', message(2));
  assert.deepEqual(it.state, ['1 read 1', '2 read 1']);
  it.unmount();
  assert.equal(it.listeners, 0);
});

test('of the marks only the last one of each reader is kept, a late older one is not', async () => {
  const it = hook();
  it.mount();
  const tell = (upToSeq) => {
    const read = { conversationId: 'c1', readerId: 'you', upToSeq };
    it.tell('messages_read', read);
    return new WeakRef(read);
  };
  const marks = [2, 3, 1].map(tell);
  it.pages[0](message(4), message(3));
  await settled();
  assert.deepEqual(it.state, ['3 read 1', '4 sent 1']);
  setFlagsFromString('--expose_gc');
  runInNewContext('gc')();
  assert.deepEqual(marks.map((mark) => mark.deref()), [undefined, undefined, undefined]);
});
