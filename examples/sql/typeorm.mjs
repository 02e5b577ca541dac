// TypeORM: entities for pgchat's tables, whose columns are filled in by the database.
//   DATABASE_URL=postgres://… node typeorm.mjs CONVERSATION SENDER "text"
// TypeORM names every column of an entity that may be inserted, so what pgchat fills in has `insert: false`. Its `insert` still
// names "id" (as DEFAULT): grant insert (id, conversation_id, sender_id, content).

import typeorm from 'typeorm';

const filledIn = { insert: false, update: false };

export const ChatMessage = new typeorm.EntitySchema({
  name: 'ChatMessage',
  tableName: 'messages',
  // Neither synchronize nor migration:generate may touch the table: they would drop the columns and indexes that are not named here.
  synchronize: false,
  columns: {
    id: { type: 'uuid', primary: true, generated: 'uuid' },
    conversationId: { name: 'conversation_id', type: 'uuid', update: false },
    senderId: { name: 'sender_id', type: 'uuid', update: false },
    content: { type: 'text' },
    isRead: { name: 'is_read', type: 'boolean', insert: false },
    seq: { type: 'bigint', ...filledIn },
    createdAt: { name: 'created_at', type: 'timestamptz', ...filledIn },
    deletedAt: { name: 'deleted_at', type: 'timestamptz', insert: false },
  },
});

const [conversationId, senderId, content] = process.argv.slice(2);
const source = new typeorm.DataSource({
  type: 'postgres',
  url: process.env.DATABASE_URL,
  entities: [ChatMessage],
  // The tables are pgchat's: TypeORM neither makes nor alters them.
  synchronize: false,
  // Its extension for uuid_generate_v4() would need a superuser, and ids are made by pgchat's own default.
  installExtensions: false,
});
await source.initialize();
const messages = source.getRepository(ChatMessage);
// One transaction with the host's own rows, if it is to be: nothing is delivered before it commits.
const { id } = await source.transaction((manager) => manager.getRepository(ChatMessage).save({ conversationId, senderId, content }));
const message = await messages.findOneByOrFail({ id });
console.log(JSON.stringify(message));
await messages.update({ id }, { content: `${content}, edited` });
await source.destroy();
