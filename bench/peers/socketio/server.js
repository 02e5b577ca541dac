// The chat service that many teams have: express and socket.io with its PostgreSQL adapter, which carries what one
// replica emits to the others by NOTIFY. Sending is one transaction for each message. Same route, members and durability as
// pgchat for what the benchmark does.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/postgres-adapter';
import express from 'express';
import pg from 'pg';
import { Server } from 'socket.io';

// Connections of one replica to the database.
const POOL_SIZE = 16;

const database = {
  host: process.env.DB_HOST,
  port: Number(process.env.DB_PORT),
  user: process.env.DB_USER,
  database: process.env.DB_NAME,
};
const pool = new pg.Pool({ ...database, max: POOL_SIZE });
// One connection listens, the others publish side by side. So a message may now and then overtake one of the same
// conversation on its way to the other replica; with a single one to publish they stay in order, at half the rate.
const adapterPool = new pg.Pool({ ...database });
await adapterPool.query(`create table if not exists socket_io_attachments (
  id bigserial unique, created_at timestamptz default now(), payload bytea)`);

class NotAParticipant extends Error {}

// The conversation's row is locked by counting its seq on, so that commits come in its order.
async function store({ conversationId, senderId, content, messageType = 'text', clientMessageId = null }) {
  const client = await pool.connect();
  const id = randomUUID();
  try {
    await client.query('begin');
    const counted = await client.query({
      name: 'count',
      text: `update conversations set last_seq = last_seq + 1, last_message_id = $1, updated_at = now()
              where id = $2 and $3::uuid in (participant1_id, participant2_id)
          returning last_seq, participant1_id, participant2_id`,
      values: [id, conversationId, senderId],
    });
    if (counted.rowCount === 0) throw new NotAParticipant('the user is not a participant of this conversation');
    const { last_seq: seq, participant1_id: one, participant2_id: two } = counted.rows[0];
    const stored = await client.query({
      name: 'store',
      text: `with stored as (
               insert into messages (id, conversation_id, sender_id, content, message_type, client_message_id, seq)
               values ($1, $2, $3, $4, $5, $6, $7) returning *
             )
             select s.created_at, s.updated_at, u.first_name, u.last_name, u.avatar_url
               from stored s join users u on u.id = s.sender_id`,
      values: [id, conversationId, senderId, content, messageType, clientMessageId, seq],
    });
    await client.query('commit');
    const row = stored.rows[0];
    const message = {
      id, conversationId, senderId, content, messageType, isRead: false, seq: Number(seq), clientMessageId,
      createdAt: row.created_at, updatedAt: row.updated_at,
      sender: { id: senderId, firstName: row.first_name, lastName: row.last_name, avatarUrl: row.avatar_url },
    };
    return { message, recipients: [one, two], repeated: false };
  } catch (error) {
    await client.query('rollback');
    if (error.constraint === 'messages_client_message_id') {
      return { message: await find(senderId, clientMessageId), recipients: [], repeated: true };
    }
    throw error;
  } finally {
    client.release();
  }
}

async function find(senderId, clientMessageId) {
  const { rows } = await pool.query(
    `select m.id, m.conversation_id as "conversationId", m.sender_id as "senderId", m.content,
            m.message_type as "messageType", m.is_read as "isRead", m.seq::int as seq,
            m.client_message_id as "clientMessageId", m.created_at as "createdAt", m.updated_at as "updatedAt",
            json_build_object('id', u.id, 'firstName', u.first_name, 'lastName', u.last_name,
                              'avatarUrl', u.avatar_url) as sender
       from messages m join users u on u.id = m.sender_id
      where m.sender_id = $1 and m.client_message_id = $2`,
    [senderId, clientMessageId],
  );
  return rows[0];
}

// Stores, then tells all sockets of both participants, on every replica.
async function send(request) {
  const { message, recipients, repeated } = await store(request);
  if (!repeated) io.to(recipients).emit('chat_message', message);
  return { message, repeated };
}

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(express.json({ limit: '1mb' }));
app.get('/health/ready', (_request, response) => response.json({ status: 'ok' }));
app.post('/api/v1/chat/messages', async (request, response) => {
  try {
    const { message, repeated } = await send(request.body);
    response.status(repeated ? 200 : 201).json(message);
  } catch (error) {
    const [status, name] = error instanceof NotAParticipant ? [403, 'Forbidden'] : [503, 'Service Unavailable'];
    if (status === 503) console.error(error);
    response.status(status).json({ statusCode: status, error: name, message: error.message });
  }
});

const server = createServer(app);
const io = new Server(server, {
  transports: ['websocket'],
  serveClient: false,
  perMessageDeflate: false,
  adapter: createAdapter(adapterPool, { errorHandler: console.error }),
});

io.on('connection', (socket) => {
  const { userId } = socket.handshake.auth;
  socket.join(userId);
  // Commands of one client are carried out one after another, so that they are stored in order.
  let last = Promise.resolve();
  socket.on('send_message', (request, acknowledge) => {
    last = last.then(async () => {
      try {
        const { message } = await send({ ...request, senderId: userId });
        acknowledge({ message });
      } catch (error) {
        console.error(error);
        acknowledge({ error: error.message });
      }
    });
  });
});

server.listen(Number(process.env.SERVER_PORT), '127.0.0.1');
