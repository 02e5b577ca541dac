// Elements are made here, and text goes into them only as text, and where it is a web address as a link: no string of anybody's
// becomes markup.

/** Brackets belong to an address in pairs. What turns text around would show another one than it leads to. */
const ADDRESS = /https?:\/\/(?:\([^\s()<>"\u202a-\u202e\u2066-\u2069]*\)|[^\s()<>"\u202a-\u202e\u2066-\u2069。、，！？）」』])+/gi;
/** Of the sentence, where it stands at the end of an address. */
const PUNCTUATION = '.,;:!?\'’”»]}*_…';

const SVG = 'http://www.w3.org/2000/svg';

/** Lines of 24 by 24, drawn by base.css. */
const ICONS = {
  back: 'M15 5l-7 7 7 7',
  chat: 'M4 5h16v11h-9l-4 4v-4H4z',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  checks: 'M2.5 12.5L7 17l9-9.5M11.5 16l1 1 9-9.5',
  clock: 'M12 7v5l3 2M12 3a9 9 0 110 18 9 9 0 010-18z',
  close: 'M6 6l12 12M18 6L6 18',
  code: 'M8 7l-5 5 5 5M16 7l5 5-5 5',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  database: 'M5 6c0-4 14-4 14 0v12c0 4-14 4-14 0zM5 6c0 4 14 4 14 0M5 12c0 4 14 4 14 0',
  down: 'M12 5v14M6 13l6 6 6-6',
  edit: 'M4 20l1-4L16 5l3 3L8 19z',
  moon: 'M20 14.5A8.5 8.5 0 019.5 4 8.5 8.5 0 1020 14.5z',
  plus: 'M12 5v14M5 12h14',
  screen: 'M3 5h18v11H3zM12 16v4M8 20h8',
  search: 'M11 4a7 7 0 110 14 7 7 0 010-14zM16 16l5 5',
  send: 'M4 12l16-8-5 16-3.5-6.5z',
  split: 'M4 5h16v14H4zM12 5v14',
  sun: 'M12 8a4 4 0 110 8 4 4 0 010-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19',
  trash: 'M5 7h14M10 4h4M7 7l1 13h8l1-13M10 11v5M14 11v5',
  users: 'M9 5a3 3 0 110 6 3 3 0 010-6zM3 19c0-7 12-7 12 0M16 5.5a3 3 0 010 5.5M17 14c2.7.5 4 2 4 5',
  warn: 'M12 4l9 16H3zM12 10v4M12 17v.5',
};

/** `h('p.quiet', { hidden: true, onclick }, 'text', child)`; attributes are named as in HTML. */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split('.');
  const element = document.createElement(name);
  if (classes.length) element.classList.add(...classes);
  set(element, attributes);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? '' : value);
  }
}

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows only an icon, and says `label`. */
export function iconButton(name, label, attributes) {
  return h('button.icon-button', { type: 'button', 'aria-label': label, title: label, ...attributes }, icon(name));
}

/** `text` up to `end`, with the web addresses that are whole in it as links. */
export function linked(text, end = text.length) {
  const parts = [];
  let rest = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    let { length } = found;
    while (PUNCTUATION.includes(found[length - 1])) length--;
    const address = found.slice(0, length);
    if (index + length > end) break;
    if (!URL.canParse(address)) continue;
    parts.push(text.slice(rest, index), h('a', { href: address, target: '_blank', rel: 'noopener noreferrer' }, address));
    rest = index + length;
  }
  return [...parts, text.slice(rest, end)];
}

/** Where to cut a text for the first `end` of it: one less where that would leave half of a character. */
export const cutAt = (text, end) => (end < text.length && /[\ud800-\udbff]/.test(text[end - 1]) ? end - 1 : end);

/** For where a line of a long text is shown, or all of it would be read aloud. */
export const beginning = (text) => text.slice(0, cutAt(text, 300));

/** What is in no text that nobody sees anything of; as the service has it (is_invisible), which takes no such message. */
const VISIBLE = /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\u2800]/u;

export const isInvisible = (text) => !VISIBLE.test(text);

/** As much of a text as tells it from others where it is a part of a name: the first words of it, in one line. */
export function firstWords(text) {
  const line = beginning(text).replace(/\s+/g, ' ').trim();
  const [words = ''] = line.match(/^.{1,40}(?!\S)/u) ?? line.match(/^.{1,40}/u) ?? [];
  return words.length < line.length || beginning(text) !== text ? `${words}…` : words;
}

/** A live region says all that is written into it, also what stands there already. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The key is an input method's: Enter takes what it offers. Safari tells so only by the number of the key. */
export const isComposing = ({ isComposing: now, keyCode }) => now || keyCode === 229;

export function fullName({ firstName, lastName } = {}) {
  return [firstName, lastName].filter((name) => !isInvisible(name ?? '')).map((name) => name.trim()).join(' ') || 'Somebody without a name';
}

/** Initials. No picture of somebody else's server is ever loaded. */
export function avatar(user, online = false) {
  const initials = [user.firstName, user.lastName].map((name) => VISIBLE.exec(name ?? '')?.[0] ?? '').join('') || '?';
  const element = h('span.avatar', { 'aria-hidden': 'true' }, initials.toLocaleUpperCase());
  let sum = 0;
  for (const character of user.id) sum = (sum * 31 + character.charCodeAt(0)) % 997;
  element.classList.add(`tone-${sum % 6}`);
  element.classList.toggle('online', online);
  return element;
}

/** `make`s what is in `element`, unless `what` says that it is there already: then it stays, and with it the focus. Returns whether it made it. */
export function fill(element, what, make) {
  if (element.dataset.shows === what) return false;
  element.dataset.shows = what;
  element.replaceChildren(...make());
  return true;
}

/** Makes `parent`'s children these, moving and keeping what is there already, and the focus of what has it. */
export function place(parent, children) {
  const focused = parent.contains(document.activeElement) && document.activeElement;
  let at = parent.firstChild;
  for (const child of children) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
  // An element that is moved loses it.
  if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

export function empty(iconName, title, text, ...more) {
  return h('div.empty', {}, icon(iconName), h('strong', {}, title), text && h('p', {}, text), ...more);
}

/** Ctrl+K, with Caps Lock too; where the layout has no Latin letters, the key that has the K elsewhere. */
export function isSearchKey({ key, code, ctrlKey, metaKey, shiftKey, altKey }) {
  const isK = /^[a-z]$/i.test(key) ? key.toLowerCase() === 'k' : code === 'KeyK';
  return isK && (ctrlKey || metaKey) && !shiftKey && !altKey;
}
