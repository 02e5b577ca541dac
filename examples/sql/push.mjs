// Tells users by a push notification of messages that they have not read, where they are not online. Takes them from the queue that push.sql makes; any number of these may run.
//   psql "$DATABASE_URL" --file push.sql     (once)
//   DATABASE_URL=postgres://… node push.mjs
// Its role needs these rights, and if the queue or pgchat is in another schema than public a search_path: alter role ROLE set search_path = host, chat
//   grant select, delete, update (created_at) on push_queue to ROLE;
//   grant select on messages, chat_presence to ROLE;
// A row goes in the transaction in which its message was pushed. So what a worker that dies had in hand is another one's, and may be pushed twice: give the
// push service the message's id to replace the one by the other.

import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** For so long a message waits for somebody to read it. Longer than PRESENCE_GRACE_SECONDS (5): whoever is online then had a socket after it came. */
const WAIT_SECONDS = 10;

/** What is older is no news: what an import brings, or what could not be pushed for so long. */
const NEWS_SECONDS = 3_600;

/** Rows that a worker takes at once. They stay locked, and its transaction open, until all of them are pushed: not for long. */
const BATCH = 50;
const PUSH_TIMEOUT_MS = 10_000;

/** Between two looks into an empty queue. */
const PAUSE_MS = 1_000;

/** Errors of statements that no new connection mends: a table or a column that is missing, a right. */
const FATAL = ['42P01', '42703', '42501'];

/** What this worker is for: to send it to the devices of that user, unless they have muted the conversation. If it throws, it is tried again. `signal`: it has taken too long. */
async function push(user, message, signal) {
  console.log(JSON.stringify({ user, message }));
}

/** Of these rows of the queue the messages that are still to be pushed. */
async function due(client, queued) {
  const { rows: unread } = await client.query(
    `select id, conversation_id as "conversationId", sender_id as "senderId", reader_id as "readerId", left(content, 200) as content
       from messages
      where id = any($1::uuid[]) and not is_read and deleted_at is null and created_at > now() - make_interval(secs => $2)`,
    [queued.map((row) => row.message_id), NEWS_SECONDS],
  );
  if (unread.length === 0) return [];
  // Each such query reads all locks of the server: one for all of them.
  const { rows: online } = await client.query('select user_id from chat_presence where is_online and user_id = any($1::uuid[])', [unread.map((message) => message.readerId)]);
  const there = new Set(online.map((row) => row.user_id));
  return unread.filter((message) => !there.has(message.readerId));
}

/** Pushes them, and answers the ids of those that could not be. */
async function pushAll(messages) {
  const pushed = await Promise.allSettled(messages.map(async ({ readerId, ...message }) => {
    const signal = AbortSignal.timeout(PUSH_TIMEOUT_MS);
    // One that does not heed the signal holds nobody up.
    const late = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    await Promise.race([push(readerId, message, signal), late]);
  }));
  pushed.filter(({ reason }) => reason).forEach(({ reason }) => console.error(reason.message));
  return messages.filter((_, at) => pushed[at].status === 'rejected').map(({ id }) => id);
}

/** Answers how many rows it took. Others skip these; they are there again if this worker dies. */
async function batch(client) {
  await client.query('begin isolation level read committed');
  // If its machine dies the server may not notice for hours.
  await client.query(`set local idle_in_transaction_session_timeout = '60s'`);
  const { rows: queued } = await client.query(
    `select message_id from push_queue where created_at < now() - make_interval(secs => $1)
      order by created_at limit ${BATCH} for update skip locked`,
    [WAIT_SECONDS],
  );
  const failed = queued.length > 0 ? await pushAll(await due(client, queued)) : [];
  const done = queued.map((row) => row.message_id).filter((id) => !failed.includes(id));
  await client.query('delete from push_queue where message_id = any($1::uuid[])', [done]);
  // Once more, after those that wait by now.
  await client.query('update push_queue set created_at = now() where message_id = any($1::uuid[])', [failed]);
  await client.query('commit');
  return queued.length;
}

let stopping = false;
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => (stopping = true));

/** One connection's life. */
async function session() {
  const client = new pg.Client({ connectionString: process.env.DATABASE_URL, keepAlive: true });
  client.on('error', () => {}); // the next statement fails
  try {
    await client.connect();
    while (!stopping) if ((await batch(client)) < BATCH) await sleep(PAUSE_MS);
  } finally {
    await client.end().catch(() => {}); // what was not committed is in the queue again
  }
}

while (!stopping) {
  await session().catch((error) => {
    if (FATAL.includes(error.code)) throw error;
    console.error(error.message);
  });
  if (!stopping) await sleep(PAUSE_MS * Math.random());
}
