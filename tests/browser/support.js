// A real Chromium in front of real replicas: the harness of the browser client's tests, and pages.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { AMELIE, balancer, cluster, LUKASZ, ZEYNEP } from '../../clients/js/test/support/replicas.js';

export { AMELIE, balancer, cluster, LUKASZ, ZEYNEP };

/** Amélie's with Łukasz, in the demo data. */
export const CONVERSATION = 'c0000000-0000-4000-8000-000000000001';

export const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
export const DESKTOP = { viewport: { width: 1280, height: 800 } };

// What Chromium says of a connection that was refused or cut, in whichever state it was: the tests cut many. And of what
// they provoke otherwise: a token that is over, another origin.
const CUT = /net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED|ABORTED)|SOCKET_NOT_CONNECTED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|CONTENT_LENGTH_MISMATCH|INTERNET_DISCONNECTED|NETWORK_CHANGED|FAILED)/;
const PROVOKED = /status of 401|WebSocket connection to|blocked by CORS policy/;
const forgiven = (text) => CUT.test(text) || PROVOKED.test(text);

export function launch() {
  const executablePath = process.env.CHROMIUM;
  if (!executablePath || !existsSync(executablePath)) throw new Error(`CHROMIUM=${executablePath} is no program: see scripts/ensure-chromium.sh`);
  // Root has no sandbox; the pages are our own.
  return chromium.launch({ executablePath, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });
}

/** A page of its own browser profile. What its console complains about is kept in `page.complaints`. */
export async function visit(browser, address, options = DESKTOP) {
  const context = await browser.newContext({ locale: 'en-GB', ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => message.type() === 'error' && !forgiven(message.text()) && page.complaints.push(message.text()));
  page.on('pageerror', (error) => page.complaints.push(error.stack));
  page.setDefaultTimeout(45_000);
  await page.goto(address);
  return page;
}

/** The address of the page with these people in its panes. */
export const at = (url, first, second) => `${url}/#${[first, second].filter(Boolean).join('&')}`;
export const talking = (user, conversation = CONVERSATION) => `${user}/${conversation}`;

export const pane = (page, number) => page.locator('.pane').nth(number - 1);

export async function say(where, text) {
  await where.getByRole('textbox', { name: 'Message' }).fill(text);
  await where.getByRole('textbox', { name: 'Message' }).press('Enter');
}

export function bubble(where, text) {
  const page = where.page?.() ?? where;
  return where.locator('.message', { has: page.getByText(text, { exact: true }) });
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
