// Hands every message on, whoever wrote it: each that is stored, edited or deleted, into another system, for example. Takes them from the outbox that outbox.sql makes.
//   psql "$DATABASE_URL" --file outbox.sql     (once)
//   DATABASE_URL=postgres://… node outbox.mjs
// Its role needs these rights, and if the outbox or pgchat is in another schema than public a search_path: alter role ROLE set search_path = host, chat
//   grant select, delete on message_outbox to ROLE;
//   grant select on messages to ROLE;
// One works at a time, so that what becomes of a message is told in order; others wait to take its place. A row goes after it was handed on: what a program that dies
// had in hand may come twice. Do not go by the highest id, or by created_at, instead: transactions commit in another order, and what commits late would be missed.

import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** Rows that are taken at once. The transaction is open until all of them are handed on: not for long. */
const BATCH = 100;

/** Between two looks into an empty outbox, or after a failure. */
const PAUSE_MS = 1_000;

/** Errors of statements that no new connection mends: a table or a column that is missing, a right. */
const FATAL = ['42P01', '42703', '42501'];

/** What this program is for. `message` is as it stands now, which may be later than the event; deleted outright it has no content. If it throws, it is tried again, and what is behind it waits. */
async function handOn(event, message) {
  console.log(JSON.stringify({ event, message }));
}

/** Hands on what it finds, and answers how many rows that were. */
async function batch(client) {
  await client.query('begin isolation level read committed');
  // If its machine dies the server may not notice for hours.
  await client.query(`set local idle_in_transaction_session_timeout = '60s'`);
  // Tried, not waited for: who waits holds a snapshot.
  const { rows: [{ first }] } = await client.query(`select pg_try_advisory_xact_lock('message_outbox'::regclass::oid::bigint) as first`);
  const { rows } = first ? await client.query(
    `select o.id as place, o.event, m.id is not null as "isThere",
            json_build_object('id', o.message_id, 'conversationId', o.conversation_id, 'senderId', o.sender_id, 'seq', o.seq,
                              'content', m.content, 'messageType', m.message_type, 'createdAt', m.created_at,
                              'editedAt', m.edited_at, 'deletedAt', m.deleted_at) as message
       from (select * from message_outbox order by id limit ${BATCH}) o
       left join messages m on m.id = o.message_id and m.conversation_id = o.conversation_id and m.seq = o.seq
      order by o.id`,
  ) : { rows: [] };
  const done = [];
  let failure;
  for (const { place, event, isThere, message } of rows) {
    try {
      // Of one that is gone meanwhile the deletion follows.
      if (isThere || event === 'deleted') await handOn(event, message);
      done.push(place);
    } catch (error) {
      failure = error;
      break;
    }
  }
  await client.query('delete from message_outbox where id = any($1::bigint[])', [done]);
  await client.query('commit');
  if (failure) throw failure;
  return rows.length;
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
    await client.end().catch(() => {}); // what was not committed is in the outbox again
  }
}

while (!stopping) {
  await session().catch((error) => {
    if (FATAL.includes(error.code)) throw error;
    console.error(error.message);
  });
  if (!stopping) await sleep(PAUSE_MS * Math.random());
}
