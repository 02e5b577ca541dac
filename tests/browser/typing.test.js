// Who types, and what is told of it, moment by moment: this needs no browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { module } from './module.js';

const { Typing } = await module('typing.js');

function typing(t, seconds = 6) {
  t.mock.timers.enable({ apis: ['Date', 'setTimeout'], now: 1_000_000 });
  const told = [];
  const changed = [];
  const it = new Typing({ typing: (...what) => told.push(what) }, (id) => changed.push(id), seconds);
  return { it, told, changed, pass: (ms) => t.mock.timers.tick(ms) };
}

test('who types is shown for six seconds since they were heard last, or until they stop', (t) => {
  const { it, changed, pass } = typing(t);
  it.heard('a', true);
  it.heard('b', true);
  pass(4_000);
  it.heard('a', true);
  pass(5_999);
  assert.deepEqual([it.has('a'), it.has('b')], [true, false]);
  pass(1);
  assert.equal(it.has('a'), false);
  it.heard('b', true);
  it.heard('b', false);
  assert.equal(it.has('b'), false);
  // Who did not type has not stopped.
  changed.length = 0;
  it.heard('b', false);
  pass(10_000);
  assert.deepEqual(changed, []);
});

test('that one types oneself is told at once, then now and then; that one has stopped, once', (t) => {
  const { it, told, pass } = typing(t);
  it.tell('a', false);
  assert.deepEqual(told, []);
  for (let times = 0; times < 30; times++) {
    it.tell('a', true);
    pass(100);
  }
  assert.deepEqual(told, [['a', true], ['a', true]]);
  it.tell('b', true);
  it.tell('b', false);
  it.tell('b', false);
  it.tell('b', true);
  assert.deepEqual(told.slice(2), [['b', true], ['b', false], ['b', true]]);
  // Whoever has gone on meanwhile has stopped where they typed.
  it.tell('c', false);
  it.tell(undefined, false);
  assert.deepEqual(told.slice(5), [['b', false]]);
});

for (const seconds of [2, 30, 300]) {
  test(`where typing lasts ${seconds} s it is shown for as long, and told again early enough`, (t) => {
    const { it, told, pass } = typing(t, seconds);
    const lasts = seconds * 1_000;
    it.heard('a', true);
    pass(lasts - 1);
    assert.equal(it.has('a'), true);
    pass(1);
    assert.equal(it.has('a'), false);
    const renewed = [];
    for (let ms = 0; ms < 3 * lasts; ms += 100) {
      it.tell('a', true);
      if (told.length > renewed.length) renewed.push(ms);
      pass(100);
    }
    // The service may take half of that time until it tells it.
    const pauses = renewed.slice(1).map((ms, at) => ms - renewed[at]);
    assert.ok(pauses.every((ms) => ms <= lasts / 2 && ms >= lasts / 3), `${pauses}`);
  });
}

test('what the service says of another time holds for what is heard and told from then on', (t) => {
  const { it, told, pass } = typing(t);
  it.heard('a', true);
  it.lasts(30);
  it.heard('b', true);
  it.tell('b', true);
  pass(6_000);
  it.tell('b', true);
  assert.deepEqual([it.has('a'), it.has('b'), told.length], [false, true, 1]);
  pass(24_000);
  assert.equal(it.has('b'), false);
});

test('once it is closed nothing is told of anybody any more', (t) => {
  const { it, changed, pass } = typing(t);
  it.heard('a', true);
  it.close();
  pass(10_000);
  assert.deepEqual(changed, ['a']);
});
