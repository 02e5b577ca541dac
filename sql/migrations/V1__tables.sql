-- The tables. They are made in the current schema (DB_SCHEMA), or adopted where the Go chat service
-- already made them: rows are kept, columns are added. Before this file runs, src/store/install/adopt.rs has checked adopted tables
-- (sql/adopt/check.sql) and done what takes long, with the two marked sections of this file, without
-- keeping other programs out; here only what came meanwhile is left, under ACCESS EXCLUSIVE until all migrations are in.
--
-- Names with the prefix chat_ are pgchat's own. `conversations` and `messages` are the contract with
-- other programs.

do $$
begin
  if to_regtype('chat_message_type') is null then
    create type chat_message_type as enum ('text', 'image', 'file');
  end if;
end
$$;

-- UUIDv7 (RFC 9562): new rows land at the end of the primary key's index, not all over it. It runs in the statements of every program
-- that inserts, with that program's search_path: so its names were parsed here and now.
create function chat_uuid_v7() returns uuid
language sql volatile parallel safe
begin atomic
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
      52, 1), 53, 1), 'hex')::uuid;
end;

-- The last time that RFC 3339 can show, which has years of four digits.
create function chat_last_time() returns timestamptz
language sql immutable parallel safe
as $$ select timestamptz '9999-12-31 23:59:59.999999+00' $$;

-- How far a conversation's place in the index of a user's list may be behind. The list reads this much more than it
-- shows, and a conversation pays for moving in the index at most once in this time.
create function chat_activity_lag() returns interval
language sql immutable parallel safe
as $$ select interval '1 minute' $$;

-- The active_at of a conversation with a message of this time. The statements that store messages each have the rest of
-- what follows from one (last_seq, last_message_id, …), since a function that did it all would be one statement more for each;
-- this much is inlined into them.
create function chat_active_at(active_at timestamptz, updated_at timestamptz, message_at timestamptz) returns timestamptz
language sql stable parallel safe
as $$
  select case when message_at - chat_activity_lag() < active_at then active_at else greatest(updated_at, message_at) end
$$;

create table if not exists conversations (
  id uuid primary key default chat_uuid_v7(),
  participant1_id uuid not null,
  participant2_id uuid not null,
  last_message_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

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

-- begin columns
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
  -- transaction that last made one of its messages unread again; mostly there is none
  add column if not exists unread_xid xid8,
  -- updated_at, but moved only when it is chat_activity_lag() behind: the list of conversations has an index on
  -- it, and an update that moves it is not HOT
  add column if not exists active_at timestamptz not null default now(),
  -- Updated at every message: room on the page for the next version keeps those updates HOT.
  set (fillfactor = 60);
alter table messages
  add column if not exists message_type chat_message_type not null default 'text',
  add column if not exists is_read boolean not null default false,
  add column if not exists created_at timestamptz not null default now(),
  add column if not exists updated_at timestamptz not null default now(),
  -- place in the conversation: 1, 2, 3 … in commit order
  add column if not exists seq bigint,
  -- the participant who did not send it: whose unread message it is
  add column if not exists reader_id uuid,
  -- the sender's own name for the message; makes sending idempotent. Compared by bytes: an index in a collation of the operating
  -- system's finds no more what is there once that one has changed
  add column if not exists client_message_id text collate "C",
  add column if not exists edited_at timestamptz,
  add column if not exists deleted_at timestamptz,
  -- counts the states of the row: 1 as inserted, one more at each change but is_read turning true
  add column if not exists revision integer not null default 1,
  -- transaction that inserted the row, that last changed its revision, that marked it as read or made it unread again
  add column if not exists create_xid xid8,
  add column if not exists change_xid xid8,
  add column if not exists read_xid xid8;
do $$
begin
  -- Of an adopted table. No row is written, only the host's indexes on the column are built anew.
  if exists (select from pg_attribute where attrelid = 'messages'::regclass and attname = 'client_message_id'
                and attcollation <> 'pg_catalog."C"'::regcollation) then
    alter table messages alter column client_message_id type text collate "C";
  end if;
end
$$;
-- end columns

-- Rows of an adopted table that were inserted since it was filled, or changed.
do $$
declare
  adopted regtype := (select atttypid::regtype from pg_attribute
                       where attrelid = 'messages'::regclass and attname = 'message_type');
  type_differs text := 'false';
  type_is_set text := '';
begin
  if adopted <> 'chat_message_type'::regtype then
    alter table messages add column if not exists chat_adopted_type chat_message_type;
    type_differs := 'm.chat_adopted_type::text is distinct from coalesce(m.message_type::text, ''text'')';
    type_is_set := ', chat_adopted_type = coalesce(m.message_type::text, ''text'')::chat_message_type';
  end if;
  execute format(
    'with late as materialized (
       select m.id, c.participant1_id, c.participant2_id,
              case when m.seq is null
                   then coalesce((select max(o.seq) from messages o where o.conversation_id = m.conversation_id), 0)
                        + row_number() over (partition by m.conversation_id, m.seq is null order by m.created_at nulls first, m.id)
                   else m.seq end as seq
         from messages m
         join conversations c on c.id = m.conversation_id
        where m.seq is null or m.reader_id is null or m.is_read is null or m.created_at is null or m.updated_at is null or %s
     )
     update messages m
        set seq = n.seq,
            reader_id = case m.sender_id when n.participant1_id then n.participant2_id else n.participant1_id end,
            is_read = coalesce(m.is_read, false),
            created_at = coalesce(m.created_at, m.updated_at, now()),
            updated_at = coalesce(m.updated_at, m.created_at, now()) %s
       from late n
      where n.id = m.id', type_differs, type_is_set);
  if adopted <> 'chat_message_type'::regtype then
    -- Statements of the other programs that cast to the type they know go on working.
    if (select typtype from pg_type where oid = adopted) = 'e' then
      execute format('create cast (%s as chat_message_type) with inout as assignment', adopted);
    end if;
    alter table messages drop column message_type;
    alter table messages rename column chat_adopted_type to message_type;
  end if;
end
$$;

alter table messages
  alter column id set default chat_uuid_v7(),
  alter column conversation_id set not null,
  alter column sender_id set not null,
  alter column content set not null,
  alter column message_type set default 'text',
  alter column message_type set not null,
  alter column is_read set default false,
  alter column is_read set not null,
  alter column created_at set default now(),
  alter column created_at set not null,
  alter column updated_at set default now(),
  alter column updated_at set not null,
  alter column create_xid set default pg_current_xact_id(),
  alter column change_xid set default pg_current_xact_id(),
  alter column seq set not null,
  alter column reader_id set not null;

update conversations c
   set last_seq = n.seq, last_message_id = n.id, active_at = coalesce(c.updated_at, c.created_at, now()),
       updated_at = coalesce(c.updated_at, c.created_at, now()), created_at = coalesce(c.created_at, c.updated_at, now())
  from (select o.id as conversation_id, coalesce(l.seq, 0) as seq, l.id
          from conversations o
          left join lateral (select m.seq, m.id from messages m where m.conversation_id = o.id
                              order by m.seq desc limit 1) l on true) n
 where n.conversation_id = c.id
   and (c.last_seq <> n.seq or c.last_message_id is distinct from n.id
        or c.active_at > c.updated_at or c.active_at <= c.updated_at - chat_activity_lag()
        or c.created_at is null or c.updated_at is null);
alter table conversations
  alter column id set default chat_uuid_v7(),
  alter column participant1_id set not null,
  alter column participant2_id set not null,
  alter column created_at set default now(),
  alter column created_at set not null,
  alter column updated_at set default now(),
  alter column updated_at set not null,
  alter column create_xid set default pg_current_xact_id();

-- begin indexes
-- With names that nobody else gives: what has the name already counts as the index.
-- One row for each unordered pair.
create unique index if not exists chat_conversations_pair
  on conversations (least(participant1_id, participant2_id), greatest(participant1_id, participant2_id));
-- Nothing that changes with every message is indexed here, or those updates would not be HOT.
create index if not exists chat_conversations_participant1 on conversations (participant1_id, active_at);
create index if not exists chat_conversations_participant2 on conversations (participant2_id, active_at);
create index if not exists chat_conversations_create_xid on conversations (create_xid);

create unique index if not exists chat_messages_seq on messages (conversation_id, seq);
create unique index if not exists chat_messages_client_id
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
-- end indexes

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
  -- whose it was: the conversation may be deleted, too, and its id be given to others
  sender_id uuid not null,
  reader_id uuid not null,
  seq bigint not null,
  revision integer not null,
  change_xid xid8 not null default pg_current_xact_id(),
  -- the Message as it last was, without its content
  message text not null,
  deleted_at timestamptz not null default now()
);
create index chat_tombstones_changed on chat_tombstones (change_xid);
create index chat_tombstones_conversation on chat_tombstones (conversation_id, change_xid);

-- The same of a conversation: whose clients have to load anew, since no event takes it from what they show.
create table chat_conversation_tombstones (
  conversation_id uuid not null,
  participant1_id uuid not null,
  participant2_id uuid not null,
  change_xid xid8 not null default pg_current_xact_id(),
  deleted_at timestamptz not null default now(),
  -- The id may be given to another pair and deleted once more.
  primary key (conversation_id, participant1_id, participant2_id)
);
create index chat_conversation_tombstones_changed on chat_conversation_tombstones (change_xid);
create index chat_conversation_tombstones_participant1 on chat_conversation_tombstones (participant1_id, change_xid);
create index chat_conversation_tombstones_participant2 on chat_conversation_tombstones (participant2_id, change_xid);

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
