// The README's hook and its Vue setup, as they are printed there, without React and Vue: state is a value, and an effect runs at once.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { openConversation } from '../conversation.js';
import { CONVERSATION, ME, OTHER, Service } from './support/model.js';

const README = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const [, HOOK] = /```jsx\n([\s\S]*?)```/.exec(README);
const [, SETUP] = /### Vue\n\n```js\n([\s\S]*?)```/.exec(README);

const shown = (messages) => messages.map(({ content, isRead, state }) => `${content} ${state ?? (isRead ? 'read' : 'sent')}`);

let unmount;
afterEach(() => unmount());

function hook(service) {
  let conversation;
  let store;
  const react = {
    useState: () => [conversation, (opened) => (conversation = opened)],
    useEffect: (effect) => (unmount ??= effect()),
    useSyncExternalStore: (subscribe, snapshot) => {
      store ??= { renders: 0, leave: () => {} };
      if (store.subscribe !== subscribe) {
        store.leave();
        store.leave = subscribe(() => {
          if (snapshot() !== store.messages) store.renders++;
          store.messages = snapshot();
        });
        store.subscribe = subscribe;
      }
      return (store.messages = snapshot());
    },
  };
  unmount = undefined;
  const names = ['createChatClient', 'openConversation', 'url', 'getToken', ...Object.keys(react)];
  const { useConversation } = new Function(...names, `${HOOK}; return { useConversation };`)(() => service.chat(), openConversation, '', '', ...Object.values(react));
  const render = () => useConversation(OTHER);
  render();
  return { render, get messages() { return shown(store.messages); }, get renders() { return store.renders; } };
}

async function mounted() {
  const service = new Service();
  service.insert(ME, '1');
  service.insert(OTHER, '2');
  service.connect(false);
  const it = hook(service);
  await service.answerAll();
  const [, conversation] = it.render();
  return { service, it, conversation };
}

test('the hook shows what there is, what comes, and what is sent, and renders once for each', async () => {
  const { service, it, conversation } = await mounted();
  assert.deepEqual(it.messages, ['1 sent', '2 sent']);
  service.insert(OTHER, '3');
  service.deliverAll();
  conversation.send('4');
  assert.deepEqual([it.messages, it.renders], [['1 sent', '2 sent', '3 sent', '4 pending'], 2]);
  unmount();
  assert.equal(service.listeners, 0);
});

test('a mark is shown, at what the other one wrote up to there, in this conversation', async () => {
  const { service, it } = await mounted();
  service.insert(ME, '3');
  service.deliverAll();
  const tell = (readerId, upToSeq, conversationId = CONVERSATION) => service.tell('messages_read', { conversationId, readerId, upToSeq });
  tell(OTHER, 3, 'c2');
  assert.deepEqual(it.messages, ['1 sent', '2 sent', '3 sent']);
  tell(OTHER, 2);
  assert.deepEqual(it.messages, ['1 read', '2 sent', '3 sent']);
  tell(ME, 3);
  assert.deepEqual(it.messages, ['1 read', '2 read', '3 sent']);
});

test('a page that was read before a mark and comes after it does not take it back, the first one neither', async () => {
  const { service, it } = await mounted();
  for (const upToSeq of [1, 2]) {
    service.disconnect();
    service.connect(false);
    for (const request of service.requests) service.look(request);
    service.read(upToSeq === 1 ? OTHER : ME, upToSeq);
    service.deliverAll();
    await service.answerAll();
    assert.deepEqual(it.messages, ['1 read', upToSeq === 1 ? '2 sent' : '2 read']);
  }
});

test('of the marks only the last one of each reader is kept while a page comes, a late older one is not, and none once it has', async () => {
  const { service, it } = await mounted();
  service.disconnect();
  service.connect(false);
  for (const request of service.requests) service.look(request);
  const tell = (upToSeq) => {
    const read = { conversationId: CONVERSATION, readerId: OTHER, upToSeq };
    service.tell('messages_read', read);
    return new WeakRef(read);
  };
  const marks = [2, 3, 1].map(tell);
  setFlagsFromString('--expose_gc');
  const collect = async () => {
    await new Promise(setImmediate); // a WeakRef holds what it refers to until the end of the turn
    runInNewContext('gc')();
    return marks.map((mark) => Boolean(mark.deref()));
  };
  assert.deepEqual(await collect(), [false, true, false]);
  await service.answerAll();
  assert.deepEqual(it.messages, ['1 read', '2 sent']);
  assert.deepEqual(await collect(), [false, false, false]);
});

test('the setup of Vue shows what there is and what comes, until it is unmounted', async () => {
  const service = new Service();
  service.insert(OTHER, '1');
  service.connect(false);
  const names = ['openConversation', 'chat', 'props', 'shallowRef', 'onUnmounted'];
  const messages = new Function(...names, `${SETUP}; return messages;`)(openConversation, service.chat(), { otherUserId: OTHER }, (value) => ({ value }), (end) => (unmount = end));
  await service.answerAll();
  assert.deepEqual(shown(messages.value), ['1 sent']);
  unmount();
  assert.equal(service.listeners, 0);
});
