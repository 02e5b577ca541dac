// What is typed and not sent, by user and conversation: a message, and an edit of one that is there. It outlives a reload of its tab, and is forgotten with the tab: another
// tab of the same user has its own, and nobody finds it there later.

const KEY = 'pgchat.drafts';
/** The youngest are kept. */
const MOST = 50;
const MOST_CHARACTERS = 200_000;
const PAUSE_MS = 300;

/** The youngest is the last. */
const all = new Map(saved());
let timer;

const name = (...ids) => ids.join('/');

export const draft = (userId, conversationId) => all.get(name(userId, conversationId)) ?? '';

/** An empty one is none. */
export const keepDraft = (userId, conversationId, text) => keep(name(userId, conversationId), text.trim() && text);

/** `{id, seq, text}`: of which message, and what it is to say; undefined where none is being edited. */
export function editDraft(userId, conversationId) {
  try {
    const { id, seq, text } = JSON.parse(all.get(name(userId, conversationId, 'edit')));
    return id && seq && typeof text === 'string' ? { id, seq, text } : undefined;
  } catch {
    return undefined;
  }
}

export const keepEdit = (userId, conversationId, edit) => keep(name(userId, conversationId, 'edit'), edit ? JSON.stringify(edit) : '');

function keep(key, text) {
  all.delete(key);
  if (text) all.set(key, text);
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
