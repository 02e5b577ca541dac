-- A message, a conversation, a read mark: psql -v sender=UUID -v reader=UUID -f send.sql "$DATABASE_URL"
\set ON_ERROR_STOP on

-- The one that they have, or a new one.
select chat_conversation(:'sender', :'reader') as conversation \gset

insert into messages (conversation_id, sender_id, content) values (:'conversation', :'sender', 'from psql') returning id, seq;

-- Once, however often this is run.
select chat_send_message(:'conversation', :'sender', 'from psql, once', client_message_id => 'psql-example') ->> 'seq' as seq;

-- All of it, so that the index of unread messages answers, however long the conversation is.
update messages set is_read = true
 where reader_id = :'reader' and conversation_id = :'conversation' and not is_read and deleted_at is null;
