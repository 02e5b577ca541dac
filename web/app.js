// The page: one pane, or two side by side. Who is in them stands in the address, so that a reload finds it again.
import { h, icon, iconButton, isInvisible, say } from './dom.js';
import { Pane } from './pane.js';
import { neighbour } from './replica.js';
import { dayKey } from './time.js';
import { followKeyboard } from './viewport.js';

const HERE = new URL('..', import.meta.url).href;
const TRIES_FOR_ANOTHER_REPLICA = 4;
/** Between two looks at the calendar. No timer until midnight: a computer that slept would be late by as much. */
const DAY_CHECK_MS = 20_000;

const themes = { auto: ['screen', 'Appearance: as the system has it'], light: ['sun', 'Appearance: light'], dark: ['moon', 'Appearance: dark'] };
/** What a phone paints around the page: the top bar's ground, light and dark. */
const surrounds = [...document.querySelectorAll('meta[name="theme-color"]')].map((meta) => ({ meta, own: meta.content }));
const theme = iconButton('sun', '', { onclick: () => setTheme({ auto: 'light', light: 'dark', dark: 'auto' }[currentTheme()]) });
const split = h('button.button.compact.split-button', { type: 'button', 'aria-pressed': 'false', title: 'A second user beside the first', onclick: () => (second ? second.leaving(closeSecond) : openSecond()) }, icon('split'), h('span', {}, 'Second user'));
const tab = (which) => h('button', { type: 'button', onclick: () => show(which) });
const [firstTab, secondTab] = [tab('first'), tab('second')];
const tabs = h('div.tabs', { role: 'group', 'aria-label': 'Panes', hidden: true }, firstTab, secondTab);
const panes = h('main.panes');

const first = new Pane({ name: 'First user', url: HERE, changed: () => changed() });
let second;
/** Who is to be in a second pane that is on its way, `[who, conversationId]`: a replica is looked for. */
let opening;
/** An entry of the history is being taken back: the address is not yet that of what is shown. */
let leaving = false;

function currentTheme() {
  return document.documentElement.dataset.theme ?? 'auto';
}

function setTheme(name) {
  if (name === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const chosen = { light: surrounds[0], dark: surrounds[1] }[name];
  for (const { meta, own } of surrounds) meta.content = chosen?.own ?? own;
  try {
    localStorage.setItem('pgchat.theme', name);
  } catch { /* storage is off: it holds until the page is left */ }
  const [iconName, label] = themes[name];
  const fresh = iconButton(iconName, label);
  theme.replaceChildren(...fresh.childNodes);
  theme.title = label;
  theme.setAttribute('aria-label', label);
}

function savedTheme() {
  try {
    const saved = localStorage.getItem('pgchat.theme');
    return saved in themes ? saved : 'auto';
  } catch {
    return 'auto';
  }
}

/** Another user, at another replica where there is one. */
async function openSecond(...wanted) {
  const underWay = Boolean(opening);
  opening = wanted; // the latest
  if (underWay) return;
  const url = (await neighbour(HERE)) ?? HERE;
  const [who, conversationId] = opening;
  opening = undefined;
  let tries = 0;
  second = new Pane({
    name: 'Second user', url, second: true, cancel: () => closeSecond(), changed: () => changed(),
    suggested: () => {
      const conversation = first.model?.conversations.get(first.conversationId);
      return conversation ? { userId: first.model.other(conversation).id, conversationId: conversation.id } : {};
    },
    online: (replicaId) => {
      // Behind a load balancer the next connection may well reach another one.
      if (url !== HERE || replicaId !== first.model?.replicaId || ++tries > TRIES_FOR_ANOTHER_REPLICA) return;
      second.model.chat.close();
      second.model.chat.connect();
    },
  });
  panes.append(second.element);
  if (who) second.start(who, conversationId);
  else second.signIn();
  show('second');
  told();
}

function closeSecond() {
  if (second.element.contains(document.activeElement)) split.focus();
  second.close();
  second = undefined;
  changed();
  show('first');
}

/** Where both do not fit beside each other, one is shown. */
function show(which) {
  const both = Boolean(second);
  document.body.classList.toggle('split', both);
  split.setAttribute('aria-pressed', String(both));
  tabs.hidden = !both;
  panes.dataset.shown = which;
  renderTabs();
  for (const pane of [first, second]) pane?.thread?.read();
}

function renderTabs() {
  for (const [which, element, pane, otherwise] of [['first', firstTab, first, 'First'], ['second', secondTab, second, 'Second']]) {
    element.setAttribute('aria-pressed', String(panes.dataset.shown === which));
    const { firstName } = pane?.model?.me ?? {};
    say(element, isInvisible(firstName ?? '') ? otherwise : firstName);
  }
}

function changed() {
  for (const pane of [first, second]) pane?.model?.on('conversations', told);
  told();
}

function told() {
  record();
  titled();
}

/** Who is in each pane of an address, and in which conversation. */
const named = (hash) => hash.slice(1).split('&').map((part) => part.split('/'));

/**
 * Who is in the panes, into the address. Where the list gives way to a conversation that is one more entry of the history, so that
 * Back, which a phone has at its edge, closes it; whoever closes it otherwise takes the entry back, too.
 */
function record() {
  // The address names who is not there yet.
  if (leaving || opening) return;
  const of = (pane) => (pane?.place ?? []).filter(Boolean).join('/');
  const address = [first, second].map(of).join('&').replace(/&$/, '');
  if (address === location.hash.slice(1) && history.state) return;
  const before = named(location.hash);
  const opened = [first, second].findIndex((pane, at) => pane?.opening && pane.listIsHidden() && pane.model?.userId === before[at]?.[0] && !before[at][1]);
  const closed = [first, second].findIndex((pane, at) => !pane?.opening && before[at]?.[1] && history.state?.pane === at);
  const hash = address ? `#${address}` : location.pathname;
  if (opened >= 0) history.pushState({ pane: opened }, '', hash);
  else if (closed >= 0) {
    leaving = true;
    history.back();
  } else history.replaceState(history.state ?? {}, '', hash); // an address just typed has no state
}

/** The address is another one: by Back, by Forward, or by hand. */
function follow() {
  if (leaving) leaving = false;
  else {
    named(location.hash).forEach(([userId, conversationId], at) => {
      const pane = [first, second][at];
      if (!userId || at > 1) return;
      // Only a new address has no state: Back brings nobody back whose pane was closed.
      if (!pane) {
        if (!history.state) openSecond({ userId }, conversationId);
      } else if (pane.model?.userId !== userId) pane.leaving(() => pane.start({ userId }, conversationId));
      else if (conversationId && conversationId !== pane.opening) pane.open(conversationId);
      else if (!conversationId && pane.opening) pane.back();
    });
  }
  told();
}

/** The tab says what is unread, at once, also where nobody sees it; and the tabs whose panes they are. */
function titled() {
  const unread = first.model?.listing.unread;
  const title = unread ? `(${unread}) pgchat` : 'pgchat';
  if (document.title !== title) document.title = title;
  if (second) renderTabs();
}

let today = dayKey(Date.now());
function lookAtCalendar() {
  const now = dayKey(Date.now());
  if (now !== today) for (const pane of [first, second]) pane?.model?.newDay();
  today = now;
}
setInterval(lookAtCalendar, DAY_CHECK_MS);
document.addEventListener('visibilitychange', lookAtCalendar); // a tab that nobody sees may be stopped

setTheme(savedTheme());
followKeyboard();
document.querySelector('.starting').remove();
document.body.prepend(
  h('header.top', {}, h('a.brand', { href: HERE, 'aria-label': 'pgchat' }, h('img', { src: new URL('icon.svg', import.meta.url), alt: '', width: '28', height: '28' }), h('span', {}, 'pgchat')), tabs,
    h('nav.top-links', { 'aria-label': 'About this service' }, h('a', { href: `${HERE}docs/` }, 'API'), split, theme)),
  panes,
);
panes.append(first.element);

addEventListener('popstate', follow);
// Where nothing has the focus, as at first, or after a click beside everything.
addEventListener('keydown', (event) => {
  if (event.target === document.body) (panes.dataset.shown === 'second' ? second : first).key(event);
});
// What waits to be sent goes with the page.
addEventListener('beforeunload', (event) => {
  if ([first, second].some((pane) => pane?.model?.outbox.isUnsent)) event.preventDefault();
});
const [a, b] = named(location.hash);
if (b?.[0]) openSecond({ userId: b[0] }, b[1]);
else show('first');
if (a[0]) first.start({ userId: a[0] }, a[1]);
else first.signIn();
