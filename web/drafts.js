// What is typed and not sent, by user and conversation. It outlives a reload of its tab, and is forgotten with the tab: another
// tab of the same user has its own, and nobody finds it there later.

const KEY = 'pgchat.drafts';
/** The youngest are kept. */
const MOST = 50;
const MOST_CHARACTERS = 200_000;
const PAUSE_MS = 300;

/** The youngest is the last. */
const all = new Map(saved());
let timer;

const name = (userId, conversationId) => `${userId}/${conversationId}`;

export const draft = (userId, conversationId) => all.get(name(userId, conversationId)) ?? '';

/** An empty one is none. */
export function keepDraft(userId, conversationId, text) {
  const key = name(userId, conversationId);
  if ((all.get(key) ?? '') === text) return;
  all.delete(key);
  if (text.trim()) all.set(key, text);
  if (all.size > MOST) all.delete(all.keys().next().value);
  clearTimeout(timer);
  timer = setTimeout(save, PAUSE_MS);
}

function saved() {
  try {
    return Object.entries(JSON.parse(sessionStorage.getItem(KEY)) ?? {}).filter(([, text]) => typeof text === 'string');
  } catch {
    return []; // storage is off, or somebody else wrote there
  }
}

function save() {
  clearTimeout(timer);
  const kept = [];
  let left = MOST_CHARACTERS;
  for (const [key, text] of [...all].reverse()) {
    if (text.length > left) continue; // it holds until the page is left
    left -= text.length;
    kept.unshift([key, text]);
  }
  try {
    if (kept.length) sessionStorage.setItem(KEY, JSON.stringify(Object.fromEntries(kept)));
    else sessionStorage.removeItem(KEY);
  } catch { /* storage is off, or full: all of them hold until the page is left */ }
}

addEventListener('pagehide', save);
