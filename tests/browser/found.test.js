// Where in a message that a search led to the words are: this needs no browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { module } from './module.js';

const { placeOf } = await module('found.js');

/** The parts of a snippet, with what matches in brackets. */
const snippet = (text) => text.split(/(\[.*?\])/).filter(Boolean).map((part) => (part.startsWith('[') ? { text: part.slice(1, -1), match: true } : { text: part, match: false }));
const marked = (content, text) => {
  const place = placeOf(content, snippet(text));
  return place && [place.start, content.slice(place.start, place.end)];
};

test('of what was found the first match is marked, where it stands in its snippet', () => {
  assert.deepEqual(marked('a heron by the pond', 'a [heron] by the [pond]'), [2, 'heron']);
  assert.deepEqual(marked('heron', '[heron]'), [0, 'heron']);
  // The word stands there before, too.
  assert.deepEqual(marked('heron, heron, and this heron here', 'and this [heron] here'), [23, 'heron']);
  assert.deepEqual(marked('one heron here. Then a heron there', 'a [heron] there'), [23, 'heron']);
  assert.deepEqual(marked('a heron here. Then a heron there', 'a [heron] there'), [21, 'heron']);
  assert.deepEqual(marked('one heron here. Then a heron here', 'a [heron] here'), [23, 'heron']);
});

test('of several parts of a long message it is that with the match', () => {
  const content = `a heron ${'and so on '.repeat(20)}with a heron in it ${'and so on '.repeat(20)}the end`;
  assert.deepEqual(marked(content, 'and so on … with a [heron] in it … the end'), [content.lastIndexOf('heron'), 'heron']);
});

test('in what was changed since, the word is marked where it is, or nothing', () => {
  assert.deepEqual(marked('now a heron is elsewhere', 'a [heron] by the pond'), [6, 'heron']);
  assert.equal(marked('now it is a stork', 'a [heron] by the pond'), undefined);
  assert.equal(marked('a heron by the pond', 'a heron by the pond'), undefined);
  assert.equal(marked('a heron by the pond', ''), undefined);
});
