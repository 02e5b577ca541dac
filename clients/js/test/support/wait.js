// Waiting for what a test wants to see. Nothing here says how long something should take: the patience only ends what fails.
import assert from 'node:assert/strict';
import { inspect, isDeepStrictEqual } from 'node:util';

export const PATIENCE_MS = 120_000;

/** The first event of that type that `fits`; a failure tells what came instead. */
export function next(chat, type, fits = () => true, patienceMs = PATIENCE_MS) {
  const others = [];
  return new Promise((resolve, reject) => {
    const off = chat.on(type, (data) => {
      if (!fits(data)) return others.push(data);
      clearTimeout(late);
      off();
      resolve(data);
    });
    const late = setTimeout(() => {
      off();
      reject(new Error(`no such ${type} in ${patienceMs} ms, but ${JSON.stringify(others)}`));
    }, patienceMs);
  });
}

export const online = (chat) => (chat.status === 'online' ? Promise.resolve() : next(chat, 'status', ({ status }) => status === 'online'));

/**
 * Until `look()` is `expected`: a value, or a function of what must hold; truthy, where nothing is said. Returns what it was
 * then. A failure tells what was seen last.
 */
export async function eventually(look, expected = Boolean) {
  const fits = typeof expected === 'function' ? expected : (seen) => isDeepStrictEqual(seen, expected);
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await look();
    if (fits(seen)) return seen;
    if (Date.now() > deadline) {
      if (fits !== expected) assert.deepEqual(seen, expected);
      assert.fail(`not in ${PATIENCE_MS} ms: ${look}, ${expected}; at last ${inspect(seen)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
