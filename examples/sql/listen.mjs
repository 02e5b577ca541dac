// A service that listens by itself: prints each message of a user, also those that came while it did not run: once, and once more if it ends just then.
//   psql "$DATABASE_URL" --file listen.sql     (once)
//   DATABASE_URL=postgres://… node listen.mjs USER
// Its role needs these rights:
//   grant select on conversations, messages to ROLE;
//   grant select, insert, update on listener_seen to ROLE;
// If its table or pgchat is in another schema than public, it also needs a search_path, and to be told pgchat's schema, which the channel is named after:
//   alter role ROLE set search_path = host, chat
//   DB_SCHEMA=chat DATABASE_URL=postgres://… node listen.mjs USER
// Notifications do not wait, so how far it has come is kept in a table of its own, listen.sql's (seq counts in commit order in
// each conversation). On each connection: LISTEN first, then read what is missing, then what is notified.

import pg from 'pg';

const [user] = process.argv.slice(2);
if (!user) throw new Error('usage: node listen.mjs USER');

/** Where pgchat is. Each schema has a channel of its own. */
const schema = process.env.DB_SCHEMA || 'public';
const CHANNEL = schema === 'public' ? 'chat_events' : `chat_events_${schema}`;

/** Errors of statements that no new connection mends: a table or a column that is missing, a right, the id of the user. */
const FATAL = ['42P01', '42703', '42501', '22P02'];

/** So many messages are read at a time: at the first start it is the whole history that is missing. */
const PAGE = 500;

/** What this service is for. If it throws, the message comes again. */
async function handOver(message) {
  console.log(JSON.stringify({ seq: message.seq, content: message.content }));
}

/** Hands over a message, then remembers it: at least once, since the two are not one step. */
async function handle(client, message) {
  const at = [message.conversationId, message.seq];
  const seen = await client.query('select from listener_seen where conversation_id = $1 and seq >= $2', at);
  if (seen.rowCount > 0) return;
  await handOver(message);
  await client.query(
    `insert into listener_seen as s (conversation_id, seq) values ($1, $2)
         on conflict (conversation_id) do update set seq = excluded.seq where s.seq < excluded.seq`,
    at,
  );
}

async function catchUp(client) {
  for (let more = true; more; ) {
    const { rows } = await client.query(
      `select m.conversation_id as "conversationId", m.seq::int, m.content
         from conversations c
         left join listener_seen s on s.conversation_id = c.id
         join messages m on m.conversation_id = c.id and m.seq > coalesce(s.seq, 0)
        where $1 in (c.participant1_id, c.participant2_id) and c.last_seq > coalesce(s.seq, 0)
        order by m.conversation_id, m.seq
        limit ${PAGE}`,
      [user],
    );
    for (const message of rows) await handle(client, message);
    more = rows.length === PAGE;
  }
}

async function receive(client, payload) {
  const { v, events = [] } = JSON.parse(payload);
  if (v !== 1) return catchUp(client);
  for (const { type, recipients, message, seq, data } of events) {
    if (type !== 'chat_message' || !recipients.includes(user)) continue;
    // What did not fit into a notification comes without its data: it is in the table, unless it is gone, or its id another message's.
    const found = data ?? (await client.query(
      'select conversation_id as "conversationId", seq::int, content from messages where id = $1 and seq = $2 and $3 in (sender_id, reader_id)',
      [message, seq, user],
    )).rows[0];
    if (found) await handle(client, found);
  }
}

/** One connection's life. */
async function session() {
  const listener = new pg.Client({ connectionString: process.env.DATABASE_URL, keepAlive: true });
  // Statements go over another connection: the one that listens must always be read.
  const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
  let fail;
  const lost = new Promise((_, reject) => (fail = reject));
  lost.catch(() => {}); // is awaited below, but perhaps not yet
  for (const each of [listener, client]) {
    each.on('error', fail);
    each.on('end', () => fail(new Error('the connection ended')));
  }
  try {
    await listener.connect();
    await client.connect();
    // One after the other, whatever comes meanwhile.
    let work = listener.query(`listen ${pg.escapeIdentifier(CHANNEL)}`).then(() => catchUp(client));
    listener.on('notification', ({ payload }) => {
      work = work.then(() => receive(client, payload));
      work.catch(fail);
    });
    await work;
    console.log('listening');
    await lost;
  } finally {
    await Promise.allSettled([listener.end(), client.end()]);
  }
}

for (;;) {
  await session().catch((error) => {
    if (FATAL.includes(error.code)) throw error;
    console.error(error.message);
  });
  await new Promise((resolve) => setTimeout(resolve, 1000 * Math.random()));
}
