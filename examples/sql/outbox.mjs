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

/** Rows that are taken at once. The transaction is open until they are handed on, or until this time has passed: not for long. */
const BATCH = 100;
const BATCH_MS = 20_000;
const HAND_ON_TIMEOUT_MS = 10_000;

/** Between two looks into an empty outbox, or after a failure. */
const PAUSE_MS = 1_000;

/** Errors of statements that no new connection mends: a table or a column that is missing, a right. */
const FATAL = ['42P01', '42703', '42501'];

/** What this program is for. `message` is as it stands now, which may be later than the event; deleted outright it has no content. If it throws, it is tried again, and what is behind it waits. `signal`: it has taken too long, or another program may have taken this one's place. Give it to fetch(), for example: what does not heed it may arrive behind what is newer. */
async function handOn(event, message, signal) {
  console.log(JSON.stringify({ event, message }));
}

/** Fails when it takes too long, or when the connection is lost: what does not heed the signal holds nobody up. */
async function inTime(lost, work) {
  lost.throwIfAborted();
  const ending = new AbortController();
  const end = ({ target }) => ending.abort(target.reason);
  for (const cause of [lost, AbortSignal.timeout(HAND_ON_TIMEOUT_MS)]) cause.addEventListener('abort', end);
  const ended = new Promise((_, reject) => ending.signal.addEventListener('abort', () => reject(ending.signal.reason)));
  try {
    await Promise.race([work(ending.signal), ended]);
  } finally {
    lost.removeEventListener('abort', end);
  }
}

/** Hands on what it finds, and answers how many rows that were. `lost`: the connection is, and with it the right to hand on. */
async function batch(client, lost) {
  const end = Date.now() + BATCH_MS;
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
    // What is done is done with first; the rest comes in the next batch.
    if (stopping || Date.now() >= end) break;
    try {
      // Of one that is gone meanwhile the deletion follows.
      if (isThere || event === 'deleted') await inTime(lost, (signal) => handOn(event, message, signal));
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
  const lost = new AbortController();
  for (const event of ['error', 'end']) client.on(event, () => lost.abort(new Error('the connection to the database is lost')));
  try {
    await client.connect();
    while (!stopping) if ((await batch(client, lost.signal)) < BATCH) await sleep(PAUSE_MS);
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
