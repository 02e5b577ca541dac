// Times as people say them: this needs no browser, only a day on which it is.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { module } from './module.js';

// Around the night of 2026-03-29, which is an hour shorter there.
process.env.TZ = 'Europe/Warsaw';

const { dayKey, dayName, lastSeen, stamp } = await module('time.js', (source) => source.replaceAll('Format(undefined', "Format('en-GB'"));

let now = '2026-03-31T00:30:00+02:00'; // a Tuesday
globalThis.Date = class extends Date {
  constructor(...when) {
    super(...(when.length ? when : [now]));
  }
};

test('a time is that of today, a weekday within a week, and then a date: none is that of a week ago', () => {
  const said = {
    '2026-03-31T00:00:00+02:00': '00:00',
    '2026-03-30T23:59:00+02:00': 'Mon',
    '2026-03-29T00:00:00+01:00': 'Sun',
    '2026-03-25T00:00:00+01:00': 'Wed',
    '2026-03-24T23:59:00+01:00': '24 Mar',
    '2026-03-23T12:00:00+01:00': '23 Mar',
    '2025-04-10T12:00:00+02:00': '10 Apr 2025',
  };
  assert.deepEqual(Object.keys(said).map((when) => stamp(when)), Object.values(said));
});

test('an hour is written as the language writes hours', async () => {
  const american = await module('time.js', (source) => source.replaceAll('Format(undefined', "Format('en-US'"));
  assert.equal(american.timeOf('2026-03-30T20:05:00+02:00').replace('\u202f', ' '), '8:05 PM');
});

test('a day is today, yesterday, or a date; of long ago with its year', () => {
  const said = {
    '2026-03-31T00:00:00+02:00': 'Today',
    '2026-03-30T00:00:00+02:00': 'Yesterday',
    '2026-03-29T23:59:00+02:00': 'Sunday 29 March',
    '2025-04-10T12:00:00+02:00': '10 Apr 2025',
  };
  assert.deepEqual(Object.keys(said).map((when) => dayName(when)), Object.values(said));
  assert.equal(dayKey('2026-03-30T22:00:00Z'), dayKey('2026-03-31T10:00:00Z'));
  assert.notEqual(dayKey('2026-03-30T21:59:00Z'), dayKey('2026-03-30T22:00:00Z'));
});

test('when somebody was last seen is a time today, and a day before', () => {
  assert.deepEqual(['2026-03-31T00:10:00+02:00', '2026-03-30T23:50:00+02:00', '2026-03-20T12:00:00+01:00', null].map(lastSeen), ['Last seen at 00:10', 'Last seen Mon', 'Last seen 20 Mar', 'Offline']);
});

test('a day that is an hour longer is one day, too', () => {
  now = '2026-10-26T12:00:00+01:00'; // a Monday
  assert.deepEqual(['2026-10-25T00:00:00+02:00', '2026-10-20T00:00:00+02:00', '2026-10-19T23:59:00+02:00'].map(stamp), ['Sun', 'Tue', '19 Oct']);
  assert.deepEqual(['2026-10-25T00:00:00+02:00', '2026-10-24T23:59:00+02:00'].map(dayName), ['Yesterday', 'Saturday 24 October']);
});
