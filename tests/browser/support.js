// A real Chromium in front of real replicas: the harness of the browser client's tests, and pages.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, afterEach, before, beforeEach } from 'node:test';
import { chromium } from 'playwright-core';
import { AMELIE, balancer as startBalancer, cluster, LUKASZ, ZEYNEP } from '../../clients/js/test/support/replicas.js';
import { eventually, PATIENCE_MS } from '../../clients/js/test/support/wait.js';

export { AMELIE, cluster, eventually, LUKASZ, PATIENCE_MS, ZEYNEP };

/** What `stage` has set up; for tests, which run after it. */
export let replicas;
export let replica;
export let second;

let browser;

/**
 * For all tests of a file: a fresh database, so many replicas with these settings, and a browser. After each test its pages are
 * closed. Before each test nothing is unread: a page may be closed before its mark is stored, and the next one would open its
 * conversation at the first of what that left, and not at the end. `prepare`: what else is to be done before the first test.
 */
export function stage(settings, count = 1, prepare = () => {}) {
  before(async () => {
    replicas = await cluster(settings);
    replica = await replicas.start();
    if (count > 1) second = await replicas.start();
    await prepare();
    await launch();
  });
  after(async () => {
    await quit();
    await replicas?.close();
  });
  beforeEach(() => replicas.sql('update messages set is_read = true where not is_read'));
  afterEach(async ({ error }) => {
    if (error) await describe();
    await leave();
  });
}

/** Amélie's with Łukasz, in the demo data. */
export const CONVERSATION = 'c0000000-0000-4000-8000-000000000001';

export const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
export const DESKTOP = { viewport: { width: 1280, height: 800 } };

/** Pages have so many times less of the processor: BROWSER_SLOWDOWN=6 shows what a test takes for granted. */
const SLOWDOWN = Number(process.env.BROWSER_SLOWDOWN ?? 1);

/** Where it is about noon now: no day ends while a test runs. (The signs of these names are POSIX's.) */
const EAST = 12 - new Date().getUTCHours();
const NOON = `Etc/GMT${EAST > 0 ? '-' : '+'}${Math.abs(EAST)}`;

/** What Chromium says of a connection that was cut, or that nobody took: for `forgive` in tests that do this to a page. */
export const CUT = /net::ERR_(CONNECTION_\w+|SOCKET_NOT_CONNECTED|INTERNET_DISCONNECTED|NETWORK_CHANGED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|CONTENT_LENGTH_MISMATCH)|^WebSocket connection to .* failed/;

export async function launch() {
  const executablePath = process.env.CHROMIUM;
  if (!executablePath || !existsSync(executablePath)) throw new Error(`CHROMIUM=${executablePath} is no program: see scripts/ensure-chromium.sh`);
  // Root has no sandbox; the pages are our own.
  browser = await chromium.launch({ executablePath, args: process.getuid() === 0 ? ['--no-sandbox'] : [], timeout: PATIENCE_MS });
}

export const quit = () => browser?.close();

const visited = [];
const fronts = [];

/**
 * A page of its own browser profile; `leave` at the end of the test. `forgive`: what its console may complain about; `also`:
 * origins that it may talk to besides its own; `before`: runs in the page before its own scripts.
 */
export async function visit(address, { forgive, also = [], before, ...options } = {}) {
  const context = await browser.newContext({ locale: 'en-GB', timezoneId: NOON, ...DESKTOP, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  if (SLOWDOWN > 1) await (await context.newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: SLOWDOWN });
  const own = new URL(address).origin;
  const complaints = [];
  const heard = [];
  visited.push({ context, complaints, page, heard });
  page.on('requestfailed', (request) => heard.push(`${request.failure().errorText}: ${request.url()}`));
  page.on('console', (message) => {
    heard.push(message.text());
    const { url } = message.location();
    // Of a refused origin it names the address only in the text.
    const about = /^Access to fetch at '([^']+)'/.exec(message.text())?.[1] ?? url;
    if (message.type() !== 'error' || forgive?.test(message.text()) || isProbe(about, own)) return;
    complaints.push(`${message.text()} (${url})`);
  });
  page.on('pageerror', (error) => complaints.push(error.stack));
  const asks = (url) => {
    const { protocol, origin } = new URL(url.replace(/^ws/, 'http'));
    if (/^https?:$/.test(protocol) && ![own, ...also].includes(origin) && !isProbe(url, own)) complaints.push(`a request to another origin: ${url}`);
  };
  context.on('request', (request) => asks(request.url()));
  page.on('websocket', (socket) => asks(socket.url()));
  if (before) await page.addInitScript(before);
  await page.goto(address);
  return page;
}

/** The page at / asks the neighbouring ports of this machine whether a second replica is there; nobody has to be. */
function isProbe(url, own) {
  if (!URL.canParse(url)) return false;
  const [asked, from] = [new URL(url), new URL(own)];
  return asked.hostname === from.hostname && Math.abs(asked.port - from.port) === 1 && asked.pathname === '/health/ready';
}

/** In front of replicas; it stands until the pages of this test are closed, which would otherwise miss it. */
export async function balancer(ports) {
  const front = await startBalancer(ports);
  fronts.push(front);
  return front;
}

/** For `before`: a lost connection is tried again after five minutes and more, longer than a test waits: so by whom the test lets try. */
export const patient = () => (Math.random = () => 600);

/** For `before`: frames of messages with "late" in them wait, as functions with a `type` in `window.late`. */
export const lateFrames = () => {
  window.late = [];
  const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
  const listen = (listener) => listener && ((event) => (/"content":"[^"]*late/.test(event.data) ? window.late.push(Object.assign(() => listener(event), { type: JSON.parse(event.data).type })) : listener(event)));
  Object.defineProperty(WebSocket.prototype, 'onmessage', { set(listener) { set.call(this, listen(listener)); } });
};

/** Nobody is reached by way of `front` any more, until its `refuse` is taken back; the page says so. */
export async function cutOff(front, page) {
  front.refuse = true;
  front.cut();
  await page.locator('.banner').waitFor();
}

/** It is reached again, and the page tries at once, as where the network is back, and not only after its pause. */
export async function reachable(front, page) {
  front.refuse = false;
  await page.evaluate(() => dispatchEvent(new Event('online')));
}

/** After a failure: what the pages show and have said, and the replicas. */
async function describe() {
  for (const { page, heard } of visited) {
    const shown = await page.locator('body').innerText({ timeout: 5_000 }).catch(String);
    console.error(`--- ${page.url()}\n${shown.slice(0, 3_000)}\n--- its console\n${heard.slice(-30).join('\n')}`);
  }
  for (const { url, log } of [replica, second].filter(Boolean)) console.error(`--- ${url}\n${log.slice(-3_000)}`);
}

/** The end of a test: none of its pages has complained about anything, or asked anybody else for anything. */
export async function leave() {
  const left = visited.splice(0);
  await Promise.all(left.map(async ({ context, page }) => {
    // What a page still waits for when its test ends gets no answer, and no handler fails for it.
    if (!page.isClosed()) await page.unrouteAll({ behavior: 'ignoreErrors' });
    await context.close();
  }));
  await Promise.all(fronts.splice(0).map((front) => front.close()));
  assert.deepEqual(left.flatMap(({ complaints }) => complaints), []);
}

/** The address of the page with these people in its panes. */
export const at = (url, first, second) => `${url}/#${[first, second].filter(Boolean).join('&')}`;
export const talking = (user, conversation = CONVERSATION) => `${user}/${conversation}`;

/** A user's list of conversations: what routes go by, and whether a URL asks for it. */
export const listOf = (user) => `**/users/${user}/conversations?*`;
export const isListOf = (url, user) => url.includes(`/users/${user}/conversations?`);

export const pane = (page, number) => page.locator('.pane').nth(number - 1);

export async function say(where, text) {
  await where.getByRole('textbox', { name: 'Message' }).fill(text);
  await where.getByRole('textbox', { name: 'Message' }).press('Enter');
}

export function bubble(where, text) {
  const page = where.page?.() ?? where;
  return where.locator('.message', { has: page.getByText(text, { exact: true }) });
}

/** What the page has been told until now is drawn: it draws once a frame. For looks at what must not have changed; what must change is waited for. */
export const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

/** Where it is. In the moment in which it is drawn anew it is nowhere. */
export const box = (locator) => eventually(() => locator.boundingBox());

/** What a screen reader would call what has the focus. */
export const focused = (page) => page.evaluate(() => {
  const { activeElement: element } = document;
  return element.getAttribute('aria-label') ?? element.closest('li[data-conversation]')?.querySelector('strong').textContent ?? element.textContent.trim();
});

/** A failure tells where the focus is instead. */
export const assertFocus = (locator) => eventually(async () => (await locator.evaluate((it) => it === document.activeElement)) || focused(locator.page()), true);

/** The last message is this one. */
export const assertLast = (page, content) => eventually(() => page.locator('.message .content').last().textContent(), content);

/** The end of the messages is in sight, and stays so. */
export async function assertAtEnd(page) {
  await eventually(() => page.locator('.scroller').evaluate(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight), (pixels) => pixels <= 1);
  await page.getByRole('button', { name: 'Jump to the latest messages' }).waitFor({ state: 'hidden' });
}

/** Contents of the messages that are in the document, in order. */
export const contents = (where) => where.locator('.message .content').allTextContents();

/** Messages put there by somebody else's program, quickly. */
export async function post(url, senderId, content, conversationId = CONVERSATION) {
  const response = await fetch(`${url}/api/v1/chat/messages`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ conversationId, senderId, content }),
  });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

/** What the page asks for from now on and `pattern` fits (as for `page.route`) waits until `release()`; `asked()`: until it has asked. */
export async function held(page, pattern) {
  let has, release;
  const released = new Promise((resolve) => (release = resolve));
  await page.route(pattern, async (route) => {
    has = true;
    await released;
    await route.continue();
  });
  return { asked: () => eventually(() => has), release };
}
