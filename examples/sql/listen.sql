-- What listen.mjs remembers: how far it has come in each conversation.
create table listener_seen (
  conversation_id uuid primary key,
  seq bigint not null
);
