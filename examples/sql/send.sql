-- A message, a conversation, a read mark: psql -v sender=UUID -v reader=UUID -f send.sql "$DATABASE_URL"
\set ON_ERROR_STOP on

insert into conversations (participant1_id, participant2_id) values (:'sender', :'reader')
    on conflict do nothing;

select id as conversation from conversations
 where least(participant1_id, participant2_id) = least(:'sender', :'reader'::uuid)
   and greatest(participant1_id, participant2_id) = greatest(:'sender', :'reader'::uuid) \gset

insert into messages (conversation_id, sender_id, content) values (:'conversation', :'sender', 'from psql') returning id, seq;

-- Once, however often this is run.
select chat_send_message(:'conversation', :'sender', 'from psql, once', client_message_id => 'psql-example') ->> 'seq' as seq;

update messages set is_read = true
 where reader_id = :'reader' and conversation_id = :'conversation' and not is_read and deleted_at is null;
