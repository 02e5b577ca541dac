// Someone who writes in a conversation, where what is long is refused, and some of it fails.
import { AMELIE, at, bubble, replica, replicas, say, stage, talking, visit } from './support.js';

/**
 * `stage` with replicas that slow nobody down, and a trigger of the host's that refuses LONG for good, and fails at FAULTY. A limit of the service's own is told to the page,
 * which then sends nothing that is longer.
 */
export function strictStage() {
  stage({ RATE_LIMIT_PER_SECOND: '0' }, 1, () => replicas.sql(`
    create function refuse_long() returns trigger language plpgsql as $$ begin
      if octet_length(new.content) > 200 then raise exception 'more than 200 bytes' using errcode = 'PC403'; end if;
      if new.content like 'faulty%' then raise exception 'a fault of the trigger'; end if;
      return null;
    end $$;
    create trigger refuse_long after insert or update of content on messages for each row execute function refuse_long()`));
}

export const LONG = 'too long, '.repeat(30).trim();
/** It may be taken another time, as far as the page is told. */
export const FAULTY = 'faulty, faulty, faulty, faulty, faulty, faulty';

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
