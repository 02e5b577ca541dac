// When it reconnects, by a clock and a random source of the test's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChatClient } from '../pgchat.js';

/** Stands in for the browser's: it is opened, answered and closed by hand. */
class Socket {
  static all = [];
  readyState = 0;
  sent = [];
  constructor(url) {
    this.url = url;
    Socket.all.push(this);
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  greet() {
    this.readyState = 1;
    this.say('connected', { heartbeatSeconds: 25, cursor: 'k' });
  }
  say(type, data) { this.onmessage({ data: JSON.stringify({ type, data, userId: 'u1' }) }); }
  lose(code = 1012) {
    this.readyState = 3;
    this.onclose({ code, reason: '' });
  }
}

/** Lets what was awaited go on; the clock stands. */
const turn = async () => { for (let i = 0; i < 20; i++) await Promise.resolve(); };

async function start(t, options) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  Socket.all = [];
  const pauses = [];
  const chat = createChatClient({ url: 'http://h', userId: 'u1', WebSocket: Socket, ...options });
  chat.on('status', ({ status, retryInMs }) => status === 'waiting' && pauses.push(retryInMs));
  chat.on('error', () => {});
  await turn();
  t.after(() => chat.close());
  const pass = async (ms) => {
    t.mock.timers.tick(ms);
    await turn();
  };
  return { chat, pauses, pass, last: () => Socket.all.at(-1) };
}

test('pauses double up to a bound, each of them random from zero on', async (t) => {
  const random = t.mock.fn(() => 0.5);
  const { pauses, pass, last } = await start(t, { random, minDelayMs: 1000, maxDelayMs: 6000 });
  for (let i = 0; i < 6; i++) {
    last().greet();
    last().lose();
    await pass(pauses.at(-1));
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 3000, 3000, 3000]);
  assert.equal(Socket.all.length, 7);
  random.mock.mockImplementation(() => 0);
  last().greet();
  last().lose();
  assert.equal(pauses.at(-1), 0);
});

test('not a moment before its pause is over', async (t) => {
  const { pass, last } = await start(t, { random: () => 1, minDelayMs: 1000 });
  last().greet();
  last().lose();
  await pass(999);
  assert.equal(Socket.all.length, 1);
  await pass(1);
  assert.equal(Socket.all.length, 2);
});

test('only a connection that held makes the pauses short again', async (t) => {
  const { pauses, pass, last } = await start(t, { random: () => 1, minDelayMs: 100, stableMs: 10_000 });
  for (const held of [0, 9_999, 10_000, 0]) {
    last().greet();
    await pass(held);
    last().lose();
    await pass(pauses.at(-1));
  }
  assert.deepEqual(pauses, [100, 200, 100, 200]);
});

test('what server_closing asked for comes on top, once', async (t) => {
  const { pauses, pass, last } = await start(t, { random: () => 1, minDelayMs: 100, stableMs: 50 });
  for (const asked of [700, undefined]) {
    last().greet();
    await pass(60);
    if (asked) last().say('server_closing', { reconnectAfterMs: asked });
    last().lose();
    await pass(pauses.at(-1));
  }
  assert.deepEqual(pauses, [800, 100]);
});

test('a command that was refused for a while is sent again after a pause that grows, and not before', async (t) => {
  const { chat, pass, last } = await start(t, { random: () => 1, minDelayMs: 100 });
  last().greet();
  chat.send({ conversationId: 'c1', content: 'x' }).catch(() => {});
  const { sent } = last();
  for (const [times, pause] of [[1, 300], [2, 500], [3, 900]]) {
    last().say('error', { requestId: sent[0].requestId, code: 'unavailable', message: 'busy' });
    await pass(pause - 1);
    assert.equal(sent.length, times);
    await pass(1);
    assert.equal(sent.length, times + 1);
  }
});

test('a command that was refused is not sent again before the service takes it, and a failed one says when that is', async (t) => {
  const { chat, pass, last } = await start(t, { random: () => 0, minDelayMs: 100, maxTries: 2 });
  last().greet();
  const failed = chat.send({ conversationId: 'c1', content: 'x' }).catch((error) => error);
  chat.watchPresence(['a']);
  await turn();
  const { sent } = last();
  const refuse = ({ requestId }, retryAfterMs) => last().say('error', { requestId, code: 'too_many_requests', message: 'slow down', retryAfterMs });
  const asked = [...sent];
  assert.equal(asked.length, 2);
  for (const each of asked) refuse(each, 4_000);
  await turn();
  await pass(3_999);
  assert.equal(sent.length, 2);
  await pass(1);
  assert.deepEqual(sent.slice(2).map(({ type }) => type).sort(), ['send_message', 'watch_presence']);
  // Its own pause goes on from a shorter one.
  refuse(sent.slice(2).find(({ type }) => type === 'watch_presence'), 1);
  refuse(sent.slice(2).find(({ type }) => type === 'send_message'), 7);
  assert.deepEqual([(await failed).code, (await failed).retryAfterMs], ['too_many_requests', 7]);
  await pass(99);
  assert.equal(sent.length, 4);
});

test('by the last two thousand rows a repeat is known, however old the row is', async (t) => {
  const { chat, last } = await start(t);
  last().greet();
  let got = 0;
  chat.on('chat_message', () => got++);
  const say = (id, updatedAt = '1') => last().say('chat_message', { id, updatedAt });
  const news = (run) => {
    const before = got;
    run();
    return got - before;
  };
  const rows = Array.from({ length: 2000 }, (_, n) => `row ${n}`);
  assert.equal(news(() => rows.forEach((id) => say(id))), 2000);
  assert.equal(news(() => rows.forEach((id) => say(id))), 0);
  assert.equal(news(() => say(rows[0], '2')), 1);
  assert.equal(news(() => rows.slice(1).forEach((id) => say(`${id} of later`))), 1999);
  assert.equal(news(() => say(rows[0], '2')), 0, 'the row was changed since');
  assert.equal(news(() => say(rows[1])), 1, 'no more is remembered');
});

test('connect() opens no second socket while there is one, or is about to be', async (t) => {
  const { chat, last } = await start(t);
  chat.connect();
  await turn();
  last().greet();
  chat.connect();
  await turn();
  assert.deepEqual([Socket.all.length, last().readyState, chat.status], [1, 1, 'online']);
});

test('connect() asks an open connection whether it still is one, where no event of a browser’s does', async (t) => {
  const { chat, pass, last } = await start(t, { random: () => 1, minDelayMs: 60_000, maxDelayMs: 60_000 });
  last().greet();
  chat.connect();
  await turn();
  assert.equal(last().sent.at(-1).type, 'ping');
  last().say('ack', { requestId: last().sent.at(-1).requestId });
  await pass(5_000);
  assert.equal(chat.status, 'online');
  chat.connect();
  await pass(5_000);
  assert.equal(chat.status, 'waiting', 'no answer to the ping');
  chat.connect();
  await turn();
  assert.equal(Socket.all.length, 2);
});

/** The events of a browser's window, for one test. */
function browser(t) {
  const window = new EventTarget();
  for (const name of ['addEventListener', 'removeEventListener']) {
    globalThis[name] = window[name].bind(window);
    t.after(() => delete globalThis[name]);
  }
  globalThis.document = { hidden: false };
  t.after(() => delete globalThis.document);
  return window;
}

for (const type of ['online', 'visibilitychange']) {
  test(`on ${type} it reconnects at once, and asks an open connection whether it still is one`, async (t) => {
    const window = browser(t);
    const { chat, pass, last } = await start(t, { random: () => 1, minDelayMs: 60_000, maxDelayMs: 60_000 });
    last().greet();
    last().lose();
    if (type === 'visibilitychange') {
      globalThis.document.hidden = true;
      window.dispatchEvent(new Event(type));
      assert.equal(chat.status, 'waiting', 'nobody looks');
      globalThis.document.hidden = false;
    }
    window.dispatchEvent(new Event(type));
    await turn();
    assert.equal(Socket.all.length, 2);
    last().greet();
    window.dispatchEvent(new Event(type));
    assert.equal(last().sent.at(-1).type, 'ping');
    await pass(5_000);
    assert.equal(chat.status, 'waiting', 'no answer to the ping');
    chat.close();
    window.dispatchEvent(new Event(type));
    await turn();
    assert.equal(chat.status, 'closed', 'nobody listens any more');
  });
}

test('online reconnects at once also while nobody looks', async (t) => {
  const window = browser(t);
  const { last } = await start(t, { random: () => 1, minDelayMs: 60_000, maxDelayMs: 60_000 });
  last().greet();
  last().lose();
  globalThis.document.hidden = true;
  window.dispatchEvent(new Event('online'));
  await turn();
  assert.equal(Socket.all.length, 2);
});

test('offline asks an open connection whether it still is one, and hurries nothing that waits', async (t) => {
  const window = browser(t);
  const { chat, pass, last } = await start(t, { random: () => 1, minDelayMs: 60_000, maxDelayMs: 60_000 });
  window.dispatchEvent(new Event('offline'));
  await turn();
  assert.deepEqual([chat.status, Socket.all.length], ['connecting', 1]);
  last().greet();
  window.dispatchEvent(new Event('offline'));
  assert.equal(last().sent.at(-1).type, 'ping');
  await pass(5_000);
  assert.equal(chat.status, 'waiting');
  window.dispatchEvent(new Event('offline'));
  await turn();
  assert.deepEqual([chat.status, Socket.all.length], ['waiting', 1]);
});

test('a handshake that began without a net is begun anew on online, and the old one says nothing any more', async (t) => {
  const window = browser(t);
  const { chat, pass, last } = await start(t, { timeoutMs: 15_000 });
  const hanging = last();
  window.dispatchEvent(new Event('online'));
  await turn();
  assert.deepEqual([Socket.all.length, hanging.readyState, hanging.onclose], [2, 3, null]);
  last().greet();
  assert.equal(chat.status, 'online');
  await pass(15_000);
  assert.equal(chat.status, 'online', 'the time of the first handshake is not that of the second');
});

test('a silent connection is asked once in a heartbeat, and left if it does not answer', async (t) => {
  const { chat, pass, last } = await start(t, { timeoutMs: 15_000 });
  last().greet();
  await pass(24_999);
  assert.equal(last().sent.length, 0);
  await pass(1);
  const [{ type, requestId }] = last().sent;
  assert.equal(type, 'ping');
  last().say('ack', { requestId });
  await pass(25_000);
  assert.equal(last().sent.length, 2);
  await pass(14_999);
  assert.equal(chat.status, 'online');
  await pass(1);
  assert.equal(chat.status, 'waiting');
});

test('how long a connection may be silent is the service’s to say', async (t) => {
  const { pass, last } = await start(t);
  last().readyState = 1;
  last().say('connected', { heartbeatSeconds: 5, cursor: 'k' });
  await pass(4_999);
  assert.equal(last().sent.length, 0);
  await pass(1);
  assert.equal(last().sent[0].type, 'ping');
});

test('a command without an answer in time is slow as long as pings are answered, and no connection is lost over it', async (t) => {
  const { chat, pass, last } = await start(t, { timeoutMs: 15_000 });
  last().greet();
  const sent = chat.send({ conversationId: 'c1', content: 'x' });
  const frames = last().sent;
  for (const pings of [1, 2]) {
    await pass(14_999);
    assert.equal(frames.length, pings);
    await pass(1);
    assert.equal(frames.length, pings + 1);
    assert.equal(frames.at(-1).type, 'ping');
    last().say('ack', { requestId: frames.at(-1).requestId });
  }
  await pass(5_000);
  last().say('ack', { requestId: frames[0].requestId, message: { id: 'm1' } });
  assert.deepEqual(await sent, { id: 'm1' });
  await pass(15_000);
  assert.deepEqual([frames.length, Socket.all.length, chat.status], [3, 1, 'online'], 'nothing is asked about what was answered');
});

test('a command without an answer in time ends the connection five seconds later, where a ping has none, either', async (t) => {
  const { chat, pauses, pass, last } = await start(t, { timeoutMs: 15_000 });
  last().greet();
  const sent = chat.send({ conversationId: 'c1', content: 'x' });
  const [asked] = last().sent;
  await pass(15_000);
  await pass(4_999);
  assert.equal(chat.status, 'online');
  await pass(1);
  assert.deepEqual([chat.status, Socket.all.length], ['waiting', 1]);
  await pass(pauses[0]);
  last().greet();
  assert.deepEqual(last().sent, [asked]);
  last().say('ack', { requestId: asked.requestId, message: { id: 'm1' } });
  assert.deepEqual(await sent, { id: 'm1' });
});

test('a getToken that gives what it holds until that expires is asked again in ever shorter pauses, and the service hears nothing until there is another', async (t) => {
  let token = 'held';
  const getToken = t.mock.fn(() => token);
  const { chat, pass, last } = await start(t, { getToken });
  const errors = [];
  chat.on('error', (error) => errors.push(error));
  last().readyState = 1;
  last().say('connected', { heartbeatSeconds: 3600, cursor: 'k' });
  const [at, expiresAt] = ['2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z'];
  last().onmessage({ data: JSON.stringify({ type: 'token_expiring', data: { expiresAt }, userId: 'u1', timestamp: Date.parse(at) / 1000 }) });
  await turn();
  for (const [times, pause] of [[2, 30_000], [3, 15_000], [4, 7_500], [5, 5_000], [6, 5_000]]) {
    await pass(pause - 1);
    assert.equal(getToken.mock.callCount(), times, `${pause}`);
    assert.equal(last().sent.length, 0);
    if (times === 6) token = 'fresh';
    await pass(1);
    assert.equal(getToken.mock.callCount(), times + 1, `${pause}`);
  }
  const [{ type, data, requestId }] = last().sent;
  assert.deepEqual([type, data], ['authenticate', { token: 'fresh' }]);
  last().say('ack', { requestId });
  await pass(60_000);
  assert.deepEqual([getToken.mock.callCount(), last().sent.length, errors], [7, 1, []]);
});

test('a renewal that fails is an error, and is tried again as if there were no new token yet', async (t) => {
  const [fails, gives] = [() => Promise.reject(new Error('logged out')), () => 'fresh'];
  let answer = () => 'held';
  const getToken = t.mock.fn(() => answer());
  const { chat, pass, last } = await start(t, { getToken });
  const codes = [];
  chat.on('error', ({ code }) => codes.push(code));
  last().readyState = 1;
  last().say('connected', { heartbeatSeconds: 3600, cursor: 'k' });
  answer = fails;
  last().onmessage({ data: JSON.stringify({ type: 'token_expiring', data: { expiresAt: '1970-01-01T00:01:00Z' }, userId: 'u1', timestamp: 0 }) });
  await turn();
  assert.deepEqual([getToken.mock.callCount(), codes], [2, ['no_token']]);
  await pass(29_999);
  assert.equal(getToken.mock.callCount(), 2);
  answer = gives;
  await pass(1);
  assert.equal(getToken.mock.callCount(), 3);
  for (const [pause, code] of [[15_000, 'unavailable'], [7_500, 'too_many_requests']]) {
    const { type, requestId, data } = last().sent.at(-1);
    assert.deepEqual([type, data], ['authenticate', { token: 'fresh' }]);
    last().say('error', { requestId, code, message: 'later' });
    await turn();
    assert.equal(codes.at(-1), code);
    const { length } = last().sent;
    await pass(pause - 1);
    assert.equal(last().sent.length, length);
    await pass(1);
    assert.equal(last().sent.length, length + 1);
  }
  assert.equal(getToken.mock.callCount(), 3, 'the new one was not at fault');
  // This one is.
  answer = () => 'fresher';
  last().say('error', { requestId: last().sent.at(-1).requestId, code: 'user_mismatch', message: 'another user' });
  await turn();
  await pass(5_000);
  assert.deepEqual([getToken.mock.callCount(), getToken.mock.calls.at(-1).arguments], [4, ['another user']]);
  assert.deepEqual(last().sent.at(-1).data, { token: 'fresher' });
  last().say('ack', { requestId: last().sent.at(-1).requestId });
  await pass(60_000);
  assert.deepEqual([getToken.mock.callCount(), codes], [4, ['no_token', 'unavailable', 'too_many_requests', 'user_mismatch']]);
});

for (const [what, late, calls] of [['a new one is sent, and getToken is not called again', 'fresh', 2], ['of the one in use getToken is asked for another', 'held', 3]]) {
  test(`a token that comes later than a renewal waits for it counts: ${what}`, async (t) => {
    let answer;
    const getToken = t.mock.fn(() => (getToken.mock.callCount() ? new Promise((resolve) => (answer = resolve)) : 'held'));
    const { chat, pass, last } = await start(t, { getToken });
    const codes = [];
    chat.on('error', ({ code }) => codes.push(code));
    last().readyState = 1;
    last().say('connected', { heartbeatSeconds: 3600, cursor: 'k' });
    last().onmessage({ data: JSON.stringify({ type: 'token_expiring', data: { expiresAt: '1970-01-01T00:01:00Z' }, userId: 'u1', timestamp: 0 }) });
    await turn();
    await pass(15_000);
    assert.deepEqual(codes, ['no_token']);
    answer(late);
    await turn();
    await pass(30_000);
    assert.equal(getToken.mock.callCount(), calls);
    if (late === 'held') answer('fresh');
    await turn();
    assert.deepEqual(last().sent.map(({ type, data }) => [type, data]), [['authenticate', { token: 'fresh' }]]);
    assert.deepEqual(codes, ['no_token']);
  });
}

test('a renewal over which the connection is lost is not tried again without one', async (t) => {
  const getToken = t.mock.fn(() => `token ${getToken.mock.callCount()}`);
  const { pass, last } = await start(t, { getToken, random: () => 1, minDelayMs: 60_000, maxDelayMs: 60_000 });
  last().greet();
  last().say('token_expiring', {});
  await turn();
  assert.equal(last().sent.at(-1).type, 'authenticate');
  last().lose();
  await turn();
  await pass(59_999);
  assert.equal(getToken.mock.callCount(), 2);
});

test('who closes it while a token is waited for is not asked for one again', async (t) => {
  const answers = [];
  const getToken = t.mock.fn(() => new Promise((resolve) => answers.push(resolve)));
  const { chat, pass, last } = await start(t, { getToken });
  answers[0]('held');
  await turn();
  last().greet();
  last().say('token_expiring', {});
  await turn();
  chat.close();
  answers[1]('held');
  await turn();
  await pass(60_000);
  assert.equal(getToken.mock.callCount(), 2);
});

/** What the service answers over HTTP, as often as it is asked. */
const answered = (t, answer) => t.mock.method(globalThis, 'fetch', async () => answer());
const user = () => Response.json({ id: 'u1' });

test('a handshake that is refused while HTTP works is an error from the third attempt on, told once in an outage', async (t) => {
  answered(t, user);
  const { chat, pass, last } = await start(t, { random: () => 0 });
  const errors = [];
  const statuses = [];
  chat.on('error', (error) => errors.push(error));
  chat.on('status', (status) => status.status === 'waiting' && statuses.push(status));
  const refused = async () => {
    last().lose(1006);
    for (let turns = 0; turns < 5; turns++) await turn();
    const { error, closeCode } = statuses.at(-1);
    assert.equal(closeCode, 1006);
    await pass(0);
    return error?.code;
  };
  for (const outage of [1, 2]) {
    const codes = [];
    for (let attempts = 0; attempts < 5; attempts++) codes.push(await refused());
    assert.deepEqual(codes, [undefined, undefined, 'handshake_refused', 'handshake_refused', 'handshake_refused']);
    assert.equal(errors.length, outage);
    const [{ code, message }] = errors.slice(-1);
    assert.equal(code, 'handshake_refused');
    for (const cause of [/Upgrade/, /ALLOWED_ORIGINS/, /too many sockets/]) assert.match(message, cause);
    assert.equal(chat.status, 'connecting', 'it goes on trying');
    last().greet();
    last().lose();
    await pass(0);
  }
});

test('what is refused because nobody is reached, or once only, is no refusal of handshakes', async (t) => {
  let reached = true;
  answered(t, () => (reached ? user() : Promise.reject(new TypeError('unreachable'))));
  const { chat, pass, last } = await start(t, { random: () => 0 });
  const codes = [];
  chat.on('error', ({ code }) => codes.push(code));
  for (reached of [true, true, false, false, false]) {
    last().lose(1006);
    for (let turns = 0; turns < 5; turns++) await turn();
    await pass(0);
  }
  last().greet();
  assert.deepEqual([chat.status, codes], ['online', []]);
});

test('a handshake that hangs is given up', async (t) => {
  t.mock.method(globalThis, 'fetch', async () => { throw new TypeError('unreachable'); });
  const { chat, pass, last } = await start(t, { timeoutMs: 15_000 });
  await pass(15_000);
  await turn();
  assert.equal(last().readyState, 3);
  assert.equal(chat.status, 'waiting');
});

test('after close() nothing is tried again, from an open connection and from a pause', async (t) => {
  const { chat, pass, last } = await start(t, { minDelayMs: 100 });
  last().greet();
  chat.close();
  await pass(600_000);
  assert.deepEqual([Socket.all.length, last().readyState, chat.status], [1, 3, 'closed']);
  chat.connect();
  await turn();
  last().greet();
  last().lose();
  assert.equal(chat.status, 'waiting');
  chat.close();
  await pass(600_000);
  assert.deepEqual([Socket.all.length, chat.status], [2, 'closed']);
});

test('a client that is closed in the turn in which it was made opens no socket', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  Socket.all = [];
  createChatClient({ url: 'http://h', userId: 'u1', WebSocket: Socket }).close();
  await turn();
  assert.equal(Socket.all.length, 0);
});
