-- An outbox: a row for each message that is stored, edited or deleted, put there in the transaction that does so. outbox.mjs takes them from it.
--   psql -f outbox.sql "$DATABASE_URL"
-- as the owner of pgchat's tables, who needs "create" on the outbox's schema, too. Variables, each set by "-v name=value":
--   chat   DB_SCHEMA: public
--   host   where the outbox is to be: public. Nobody who is not to be trusted may create anything there: revoke create on schema public from public
\set ON_ERROR_STOP on
\if :{?chat}
\else
\set chat public
\endif
\if :{?host}
\else
\set host public
\endif

begin;
-- A trigger is made when nobody writes to the table, and meanwhile senders queue up behind it: if it fails with 55P03, run it again.
set local lock_timeout = '500ms';

create table :"host".message_outbox (
  -- Counts in the order of the statements, not of their commits: a row is done with when it was deleted, never because a higher number was seen.
  id bigint generated always as identity primary key,
  event text not null check (event in ('stored', 'edited', 'deleted')),
  message_id uuid not null,
  conversation_id uuid not null,
  sender_id uuid not null,
  seq bigint not null,
  created_at timestamptz not null default now()
);

-- They run in the transaction of whoever writes: pgchat's service, or another program. They have no rights on the outbox, so these have those of its owner, and look
-- names up in the outbox's schema only.
create function :"host".outbox_stored() returns trigger language plpgsql security definer set search_path = :"host", pg_temp as $$
begin
  insert into message_outbox (event, message_id, conversation_id, sender_id, seq)
  select 'stored', a.id, a.conversation_id, a.sender_id, a.seq from added a order by a.conversation_id, a.seq;
  return null;
end $$;

-- Not of read marks, of which one statement may make thousands: compare is_read as well if you need them. The rows before and after are joined by hash, also when the
-- plan was made for one row. Compared as text: for what has a type of its own, PostgreSQL would take an "=" that somebody has made in this schema.
create function :"host".outbox_changed() returns trigger language plpgsql security definer set search_path = :"host", pg_temp
set enable_nestloop = off set enable_hashjoin = on as $$
begin
  insert into message_outbox (event, message_id, conversation_id, sender_id, seq)
  select case when a.deleted_at is not null and b.deleted_at is null then 'deleted' else 'edited' end,
         a.id, a.conversation_id, a.sender_id, a.seq
    from after a
    join before b on b.id = a.id
   where (a.content::text, a.message_type::text, a.deleted_at) is distinct from (b.content::text, b.message_type::text, b.deleted_at)
   order by a.conversation_id, a.seq;
  return null;
end $$;

-- Outright, by a statement, by chat_purge() or by a foreign key.
create function :"host".outbox_removed() returns trigger language plpgsql security definer set search_path = :"host", pg_temp as $$
begin
  insert into message_outbox (event, message_id, conversation_id, sender_id, seq)
  select 'deleted', b.id, b.conversation_id, b.sender_id, b.seq from before b where b.deleted_at is null order by b.conversation_id, b.seq;
  return null;
end $$;

-- Else whoever may create a table could let them run on that one.
revoke execute on function :"host".outbox_stored(), :"host".outbox_changed(), :"host".outbox_removed() from public;

create trigger outbox_stored after insert on :"chat".messages
  referencing new table as added for each statement execute function :"host".outbox_stored();
create trigger outbox_changed after update on :"chat".messages
  referencing old table as before new table as after for each statement execute function :"host".outbox_changed();
create trigger outbox_removed after delete on :"chat".messages
  referencing old table as before for each statement execute function :"host".outbox_removed();
commit;
