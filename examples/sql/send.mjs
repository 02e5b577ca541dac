// node-postgres: sends a message once, however often it is run, and inserts two plain rows each time.
//   DATABASE_URL=postgres://… node send.mjs CONVERSATION SENDER "text" NAME-OF-THIS-MESSAGE

import pg from 'pg';

const [conversation, sender, content, name] = process.argv.slice(2);
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
try {
  const { rows } = await client.query('select chat_send_message($1, $2, $3, client_message_id => $4) as message', [
    conversation,
    sender,
    content,
    name,
  ]);
  console.log(JSON.stringify(rows[0].message));

  // A plain row does as well; several in one statement cost one notification.
  await client.query('insert into messages (conversation_id, sender_id, content) select $1, $2, unnest($3::text[])', [
    conversation,
    sender,
    [`${content} (2)`, `${content} (3)`],
  ]);
} catch (error) {
  // 23514: not a participant, or nothing to send; 23505: the name stands for another message; 23503: no such conversation
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await client.end();
}
