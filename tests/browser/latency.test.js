// How long a message took: this needs no browser.
import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { module } from './module.js';

const { departed, Latencies } = await module('latency.js');

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['Date'], now: 1_000_000_000 }); // and so it stays
});

const ago = (ms) => new Date(Date.now() - ms).toISOString();

test('of what left here it is known exactly, of anything else by two clocks, and not of what was sent long ago', () => {
  const it = new Latencies();
  departed('mine');
  it.arrived({ id: 'm1', clientMessageId: 'mine', createdAt: ago(60_000) });
  it.arrived({ id: 'm2', clientMessageId: null, createdAt: ago(40) });
  it.arrived({ id: 'm3', clientMessageId: 'theirs', createdAt: ago(60_000) });
  it.arrived({ id: 'm4', clientMessageId: 'theirs', createdAt: ago(-60_000) }); // a clock that is ahead
  assert.deepEqual(['m1', 'm2', 'm3', 'm4'].map((id) => it.get(id)?.exact), [true, false, undefined, undefined]);
  assert.ok(it.get('m1').ms >= 0 && it.get('m1').ms < 60_000, `${it.get('m1').ms} ms`);
  assert.equal(it.get('m2').ms, 40);
});

test('what is kept of it is bounded: the latest thousand', () => {
  const it = new Latencies();
  for (let n = 0; n < 1_001; n++) it.arrived({ id: `m${n}`, createdAt: ago(0) });
  assert.deepEqual([it.get('m0'), it.get('m1')?.exact, it.get('m1000')?.exact], [undefined, false, false]);
});
