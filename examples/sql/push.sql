-- A queue of messages that somebody may have to be told of: the id of each and its reader, stored with the message. push.mjs takes them from it.
--   psql -f push.sql "$DATABASE_URL"
-- as the owner of pgchat's tables, who needs "create" on the queue's schema, too. Variables, each set by "-v name=value":
--   chat   DB_SCHEMA: public
--   host   where the queue is to be: public. Nobody who is not to be trusted may create anything there: revoke create on schema public from public
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
create table :"host".push_queue (
  message_id uuid primary key,
  user_id uuid not null,
  created_at timestamptz not null default now()
);
create index push_queue_created_at on :"host".push_queue (created_at);

-- It runs in the transaction of whoever writes: pgchat's service, or another program. They have no rights on the queue, so it has those of its owner, and looks names
-- up in the queue's schema only.
create function :"host".push_enqueue() returns trigger language plpgsql security definer set search_path = :"host", pg_temp as $$
begin
  -- A message that was deleted outright may come again under its id.
  insert into push_queue (message_id, user_id) select id, reader_id from added where not is_read on conflict do nothing;
  return null;
end $$;
-- Else whoever may create a table could let it run on that one.
revoke execute on function :"host".push_enqueue() from public;

create trigger push_enqueue after insert on :"chat".messages
  referencing new table as added for each statement execute function :"host".push_enqueue();
commit;
