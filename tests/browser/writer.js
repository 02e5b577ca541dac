// Someone who writes in a conversation, at replicas that refuse what is long.
import { AMELIE, at, bubble, replica, say, talking, visit } from './support.js';

/** For stage(): replicas that do not slow anybody down, and do not take LONG. */
export const STRICT = { RATE_LIMIT_PER_SECOND: '0', MAX_MESSAGE_BYTES: '200' };

export const LONG = 'too long, '.repeat(30).trim();

export const field = (page) => page.getByRole('textbox', { name: 'Message' });
export const editing = (page) => page.getByText('Editing your message');

export async function shown(url = replica.url, options = {}) {
  const page = await visit(at(url, talking(AMELIE)), options);
  await page.locator('.message').first().waitFor();
  return page;
}

export async function sent(page, text) {
  await say(page, text);
  await bubble(page, text).getByTitle(/^(sent|read)$/).waitFor();
}
