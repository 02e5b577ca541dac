-- The peers' tables: those of pgchat as callers see them, with what the usual chat service has: a transaction for each
-- message, a row trigger that notifies, and the same promises (seq without gaps, a repeated client_message_id stored once).
--
-- As in pgchat's, messages have no foreign key to the users: their servers send for participants only, and those have one. So the
-- peers do not pay either for the look-up and the lock that it would cost each message.

create type message_type as enum ('text', 'image', 'file');

create table conversations (
  id uuid primary key default gen_random_uuid(),
  participant1_id uuid not null references users (id),
  participant2_id uuid not null references users (id),
  last_message_id uuid,
  last_seq bigint not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (participant1_id <> participant2_id)
)
with (fillfactor = 60);

create unique index conversations_pair
  on conversations (least(participant1_id, participant2_id), greatest(participant1_id, participant2_id));

create table messages (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null references conversations (id),
  sender_id uuid not null,
  content text not null,
  message_type message_type not null default 'text',
  is_read boolean not null default false,
  seq bigint not null,
  client_message_id text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (conversation_id, seq)
);

create unique index messages_client_message_id
  on messages (sender_id, client_message_id) where client_message_id is not null;
create index messages_unread on messages (conversation_id, sender_id) where not is_read;

-- The whole message travels, so that no replica has to ask the database for it; one that is too large for a
-- notification travels by its id. socket.io brings its own channel and needs no trigger.
create function notify_message() returns trigger
language plpgsql
as $$
declare
  payload text;
begin
  select json_build_object(
           'recipients', json_build_array(c.participant1_id, c.participant2_id),
           'id', new.id,
           'message', json_build_object(
             'id', new.id, 'conversationId', new.conversation_id, 'senderId', new.sender_id, 'content', new.content,
             'messageType', new.message_type, 'isRead', new.is_read, 'seq', new.seq,
             'clientMessageId', new.client_message_id, 'createdAt', new.created_at, 'updatedAt', new.updated_at,
             'sender', json_build_object('id', u.id, 'firstName', u.first_name, 'lastName', u.last_name,
                                         'avatarUrl', u.avatar_url)))
    into payload
    from conversations c, users u
   where c.id = new.conversation_id and u.id = new.sender_id;
  if octet_length(payload) > 7900 then
    payload := json_build_object('id', new.id);
  end if;
  perform pg_notify('chat', payload);
  return null;
end
$$;
