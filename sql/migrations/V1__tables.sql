-- The tables. They are made in the current schema (DB_SCHEMA), or adopted where the Go chat service
-- already made them: rows are kept, columns are added.
--
-- Names with the prefix chat_ are pgchat's own. `conversations` and `messages` are the contract with
-- other programs.

do $$
declare
  wrong text;
begin
  -- An adopted table must have the columns that everything rests on, in the types that they need.
  select format('table %s exists, but its column %s is %s and must be %s', t.name, t.col,
                coalesce(format_type(a.atttypid, a.atttypmod), 'missing'), t.wanted)
    into wrong
    from (values ('conversations', 'id', 'uuid'), ('conversations', 'participant1_id', 'uuid'),
                 ('conversations', 'participant2_id', 'uuid'),
                 ('messages', 'id', 'uuid'), ('messages', 'conversation_id', 'uuid'),
                 ('messages', 'sender_id', 'uuid'), ('messages', 'content', 'text')) as t (name, col, wanted)
    join pg_class c on c.relname = t.name and c.relnamespace = current_schema()::regnamespace
    left join pg_attribute a on a.attrelid = c.oid and a.attname = t.col and not a.attisdropped
   where a.atttypid is distinct from t.wanted::regtype
   limit 1;
  if wrong is not null then
    raise exception '%', wrong using errcode = 'datatype_mismatch';
  end if;

  select format('table %s exists, but is no ordinary table', c.relname)
    into wrong
    from pg_class c
   where c.relname in ('conversations', 'messages')
     and c.relnamespace = current_schema()::regnamespace
     and c.relkind not in ('r', 'p')
   limit 1;
  if wrong is not null then
    raise exception '%', wrong using errcode = 'wrong_object_type';
  end if;
end
$$;

create type chat_message_type as enum ('text', 'image', 'file');

-- UUIDv7 (RFC 9562): new rows land at the end of the primary key's index, not all over it.
create function chat_uuid_v7() returns uuid
language sql volatile parallel safe
as $$
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
      52, 1), 53, 1), 'hex')::uuid
$$;

-- How far a conversation's place in the index of a user's list may be behind. The list reads this much more than it
-- shows, and a conversation pays for moving in the index at most once in this time.
create function chat_activity_lag() returns interval
language sql immutable parallel safe
as $$ select interval '1 minute' $$;

create table if not exists conversations (
  id uuid primary key default chat_uuid_v7(),
  participant1_id uuid not null,
  participant2_id uuid not null,
  last_message_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
)
-- Updated at every message: room on the page for the next version keeps those updates HOT.
with (fillfactor = 60);

create table if not exists messages (
  id uuid primary key default chat_uuid_v7(),
  conversation_id uuid not null,
  sender_id uuid not null,
  content text not null,
  message_type chat_message_type not null default 'text',
  is_read boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- Columns that an adopted table lacks. Columns that hold transaction numbers stay null in rows from
-- before the adoption: null is older than every horizon.
alter table conversations
  add column if not exists last_message_id uuid,
  add column if not exists created_at timestamptz not null default now(),
  add column if not exists updated_at timestamptz not null default now(),
  -- seq of the newest message; 0 when there never was one
  add column if not exists last_seq bigint not null default 0,
  -- transaction that inserted the newest message
  add column if not exists last_xid xid8,
  -- transaction that created the conversation
  add column if not exists create_xid xid8,
  -- updated_at, but moved only when it is chat_activity_lag() behind: the list of conversations has an index on
  -- it, and an update that moves it is not HOT
  add column if not exists active_at timestamptz not null default now();
-- Of the rows that were there before.
update conversations set active_at = updated_at where active_at <> updated_at;
alter table conversations
  alter column id set default chat_uuid_v7(),
  alter column created_at set default now(),
  alter column updated_at set default now(),
  alter column create_xid set default pg_current_xact_id();

alter table messages
  add column if not exists message_type chat_message_type not null default 'text',
  add column if not exists is_read boolean not null default false,
  add column if not exists created_at timestamptz not null default now(),
  add column if not exists updated_at timestamptz not null default now(),
  -- place in the conversation: 1, 2, 3 … in commit order
  add column if not exists seq bigint,
  -- the participant who did not send it: whose unread message it is
  add column if not exists reader_id uuid,
  -- the sender's own name for the message; makes sending idempotent
  add column if not exists client_message_id text,
  add column if not exists edited_at timestamptz,
  add column if not exists deleted_at timestamptz,
  -- counts the states of the row: 1 as inserted, one more at each change but is_read turning true
  add column if not exists revision integer not null default 1,
  -- transaction that inserted the row, that last changed its revision, that marked it as read
  add column if not exists create_xid xid8,
  add column if not exists change_xid xid8,
  add column if not exists read_xid xid8;

do $$
declare
  adopted regtype := (select atttypid::regtype from pg_attribute
                       where attrelid = 'messages'::regclass and attname = 'message_type');
begin
  if adopted <> 'chat_message_type'::regtype then
    -- Statements of the other programs that cast to the type they know go on working.
    if (select typtype from pg_type where oid = adopted) = 'e' then
      execute format('create cast (%s as chat_message_type) with inout as assignment', adopted);
    end if;
    alter table messages
      alter column message_type drop default,
      alter column message_type type chat_message_type using message_type::text::chat_message_type;
  end if;
end
$$;

alter table messages
  alter column id set default chat_uuid_v7(),
  alter column message_type set default 'text',
  alter column is_read set default false,
  alter column created_at set default now(),
  alter column updated_at set default now(),
  alter column create_xid set default pg_current_xact_id(),
  alter column change_xid set default pg_current_xact_id();

-- Rows from before the adoption get their seq by time, and their reader.
update messages m
   set seq = coalesce(m.seq, n.seq), reader_id = n.reader_id
  from (select i.id, row_number() over (partition by i.conversation_id order by i.created_at, i.id) as seq,
               case i.sender_id when c.participant1_id then c.participant2_id else c.participant1_id end as reader_id
          from messages i
          join conversations c on c.id = i.conversation_id) n
 where n.id = m.id and (m.seq is null or m.reader_id is null);
alter table messages
  alter column seq set not null,
  alter column reader_id set not null;

update conversations c
   set last_seq = n.seq, last_message_id = n.id
  from (select distinct on (conversation_id) conversation_id, seq, id
          from messages order by conversation_id, seq desc) n
 where n.conversation_id = c.id and c.last_seq < n.seq;

-- One row for each unordered pair. Pairs that stand twice in adopted tables are for the operator to merge.
do $$
declare
  pairs text;
begin
  select string_agg(format('{%s}', ids), ' ') into pairs
    from (select string_agg(id::text, ', ' order by created_at, id) as ids
            from conversations
           group by least(participant1_id, participant2_id), greatest(participant1_id, participant2_id)
          having count(*) > 1
           limit 20) d;
  if pairs is not null then
    raise exception 'conversations holds several rows for the same two participants: %', pairs
      using errcode = 'unique_violation',
            hint = 'For each pair move the messages to the first row and delete the others: '
                   'update messages set conversation_id = FIRST where conversation_id = OTHER; '
                   'update conversations set last_message_id = null where id = OTHER; '
                   'delete from conversations where id = OTHER; then migrate again.';
  end if;
end
$$;

create unique index if not exists conversations_pair_key
  on conversations (least(participant1_id, participant2_id), greatest(participant1_id, participant2_id));
-- Nothing that changes with every message is indexed here, or those updates would not be HOT.
create index if not exists chat_conversations_participant1 on conversations (participant1_id, active_at);
create index if not exists chat_conversations_participant2 on conversations (participant2_id, active_at);
create index if not exists chat_conversations_create_xid on conversations (create_xid);

create unique index if not exists messages_conversation_seq_key on messages (conversation_id, seq);
create unique index if not exists messages_client_message_id_key
  on messages (sender_id, client_message_id) where client_message_id is not null;
create index if not exists chat_messages_unread
  on messages (reader_id, conversation_id, seq) where not is_read and deleted_at is null;
-- Whether somebody has read anything of a conversation: one look, however much the other side of it holds.
create index if not exists chat_messages_read on messages (reader_id, conversation_id, seq) where is_read;
-- Catch-up of a listener: everything that changed at or after a horizon.
create index if not exists chat_messages_changed on messages (greatest(change_xid, read_xid));
-- Resume of one client: what changed after it was inserted. New rows are found by seq.
create index if not exists chat_messages_changed_later
  on messages (conversation_id, greatest(change_xid, read_xid)) where revision > 1 or read_xid is not null;

do $$
declare
  link record;
begin
  if not exists (select from pg_constraint where conrelid = 'conversations'::regclass
                    and conname = 'chat_conversations_two_participants') then
    alter table conversations add constraint chat_conversations_two_participants
      check (participant1_id <> participant2_id) not valid;
  end if;
  if not exists (select from pg_constraint where conrelid = 'messages'::regclass and contype = 'f'
                    and confrelid = 'conversations'::regclass) then
    alter table messages add constraint messages_conversation_id_fkey
      foreign key (conversation_id) references conversations (id);
  end if;
  -- None from last_message_id to messages, and an adopted one goes: it would be checked at each message, look through
  -- all conversations at each deletion, and refuse to delete the newest message before our trigger can point to the
  -- one that is then the newest. Triggers of pgchat alone set the column.
  for link in
    select conname from pg_constraint
     where conrelid = 'conversations'::regclass and contype = 'f' and confrelid = 'messages'::regclass
  loop
    execute format('alter table conversations drop constraint %I', link.conname);
  end loop;
end
$$;

-- What is left of a message that was deleted outright: enough to tell a client that was away.
create table chat_tombstones (
  message_id uuid primary key,
  conversation_id uuid not null,
  seq bigint not null,
  revision integer not null,
  change_xid xid8 not null default pg_current_xact_id(),
  -- the Message as it last was, without its content
  message text not null
);
create index chat_tombstones_changed on chat_tombstones (change_xid);
create index chat_tombstones_conversation on chat_tombstones (conversation_id, change_xid);

-- The replicas that run. A row whose advisory lock nobody holds belongs to a dead replica.
create table chat_replicas (
  id uuid primary key,
  started_at timestamptz not null default now(),
  heartbeat_at timestamptz not null default now()
)
with (fillfactor = 50);

create function chat_schema() returns text
language sql immutable parallel safe
as $$ select '' $$;

create function chat_channel() returns text
language sql immutable parallel safe
as $$ select '' $$;

-- Constants of this schema: its name, and the channel that belongs to it.
do $$
begin
  execute format('create or replace function chat_schema() returns text language sql immutable parallel safe as %L',
                 format('select %L::text', current_schema()));
  execute format('create or replace function chat_channel() returns text language sql immutable parallel safe as %L',
                 format('select %L::text', case when current_schema() = 'public' then 'chat_events'
                                                else 'chat_events_' || current_schema() end));
end
$$;

-- The migrations that were applied: for a replica whose role may not apply any itself.
create function chat_schema_versions() returns setof bigint
language sql stable
security definer
set search_path from current
as $$ select version::bigint from chat_schema_history $$;
