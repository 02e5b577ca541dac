-- Who may execute what: run by `migrate` after the migrations, each time, so that no new function is forgotten. Runs
-- with search_path at DB_SCHEMA, as the owner.

-- What default privileges of the host's gave others on what this transaction has made. Nobody can have meant it of what was not there: the
-- functions act in any user's name, and whoever may write to the tables does, too. pgchat.known has what was there before, as 'p' or 'c'
-- and the oid; grants on that stay, also on tables that were adopted.
do $$
declare
  known constant text[] := string_to_array(current_setting('pgchat.known'), ',');
  item record;
  object text;
begin
  for item in
    select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as somebody,
           pg_get_userbyid(a.grantee) as role,
           array_agg(distinct made.kind || ' ' || made.name) as objects,
           'grant select on ' || string_agg(distinct made.name, ', ') filter (where made.kind = 'table') || ' to ' as to_read,
           bool_or(made.kind = 'routine') as may_execute
      from (select 'routine', p.oid::regprocedure::text, 'p' || p.oid::text, p.proowner, p.proacl
              from pg_proc p
             where p.pronamespace = current_schema()::regnamespace
               and p.proname = any (string_to_array(current_setting('pgchat.routines'), ','))
             union all
            select 'table', format('%I.%I', current_schema(), c.relname), 'c' || c.oid::text, c.relowner, c.relacl
              from pg_class c
             where c.relnamespace = current_schema()::regnamespace and c.relname in ('conversations', 'messages', 'chat_presence')
           ) made (kind, name, mark, owner, acl)
     cross join lateral aclexplode(made.acl) a
     where a.grantee <> made.owner and made.mark <> all (known)
       -- That everybody may execute a new function is PostgreSQL's own default, and is dealt with below.
       and not (made.kind = 'routine' and a.grantee = 0)
     group by a.grantee
  loop
    foreach object in array item.objects loop
      execute format('revoke all on %s from %s', object, item.somebody);
    end loop;
    raise warning '%', format(
      'the default privileges of %I give %s rights on whatever is made in schema %I; what pgchat has made there is not to be theirs. If they are to read%s: %s',
      current_user, item.somebody, current_schema(), case when item.may_execute then ', or to run the service' else '' end,
      concat_ws('; ', item.to_read || item.somebody,
                case when item.may_execute then format('select %I.chat_grant_service(%L)', current_schema(), item.role) end));
  end loop;
end
$$;

-- Whoever may make triggers on the tables has their statements run by their owner, and with that all of the owner's rights.
do $$
declare
  item record;
begin
  for item in
    select distinct c.oid::regclass as name,
           case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as somebody
      from pg_class c
     cross join lateral aclexplode(c.relacl) a
     where c.oid in ('conversations'::regclass, 'messages'::regclass) and a.grantee <> c.relowner and a.privilege_type = 'TRIGGER'
  loop
    execute format('revoke trigger on %s from %s cascade', item.name, item.somebody);
    raise warning 'the right to make triggers on % is taken from %: it gives all rights of the table''s owner', item.name, item.somebody;
  end loop;
end
$$;

-- PostgreSQL lets everybody execute a new function. Most of pgchat's run with their owner's rights, so each is taken
-- back from public; triggers need no grant to fire. roles.sql and README.md say what to grant to other programs. By name, which
-- pgchat.routines lists: what the host calls chat_… is the host's.
do $$
declare
  -- Column defaults, the conditions of triggers and the expressions of indexes are evaluated as the writing role. None
  -- of these reads a table.
  everybodys constant regprocedure[] := array[
    'chat_uuid_v7()', 'chat_is_own(text)', 'chat_activity_lag()',
    'chat_search_words(regconfig, text)', 'chat_search_text(text)', 'chat_search_day(timestamptz)', 'chat_search_seed(text, bigint)',
    'chat_search_keys(uuid, uuid, uuid, timestamptz)'];
  item record;
begin
  for item in
    select p.oid::regprocedure as name, p.oid = any (everybodys) as wanted
      from pg_proc p
     cross join lateral (
       select exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       where a.grantee = 0)) public (may)
     where p.pronamespace = current_schema()::regnamespace and p.proname = any (string_to_array(current_setting('pgchat.routines'), ','))
       and public.may <> (p.oid = any (everybodys))
  loop
    if item.wanted then
      execute format('grant execute on routine %s to public', item.name);
    else
      execute format('revoke execute on routine %s from public', item.name);
    end if;
  end loop;
end
$$;

-- Whoever may publish may also keep the triggers from publishing (chat_is_own()). Default privileges of the host, or a grant on all
-- functions of the schema, may have given that to somebody.
do $$
declare
  somebody name;
begin
  for somebody in
    select r.rolname
      from pg_proc p
     cross join lateral aclexplode(p.proacl) a
      join pg_roles r on r.oid = a.grantee
     where p.oid = 'chat_publish(text[], text[])'::regprocedure and a.grantee <> p.proowner
  loop
    execute format('revoke execute on function chat_publish(text[], text[]) from %I cascade', somebody);
  end loop;
end
$$;

-- begin internal tables
-- Nor has anybody else any right on the tables that are pgchat's own: who writes to them forges tickets, for example. A view of one
-- may be read; what is written to it would be written to that table, with the owner's rights.
do $$
declare
  internal constant name[] := array[
    'chat_adoption', 'chat_attendance', 'chat_conversation_tombstones', 'chat_incarnation', 'chat_purged', 'chat_replicas', 'chat_rolls', 'chat_schema_history',
    'chat_tickets', 'chat_timeline', 'chat_tombstones', 'chat_users_link'];
  item record;
begin
  for item in
    select distinct c.oid::regclass as name, case c.relkind when 'v' then a.privilege_type else 'all' end as taken,
           case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as somebody
      from pg_class c
      left join pg_attribute t on t.attrelid = c.oid and t.attacl is not null
     cross join lateral (select * from aclexplode(c.relacl) union all select * from aclexplode(t.attacl)) a
     where c.relnamespace = current_schema()::regnamespace and a.grantee <> c.relowner
       and (c.relname = any (internal) or c.relname = 'chat_presence' and a.privilege_type <> 'SELECT')
  loop
    execute format('revoke %s on %s from %s cascade', item.taken, item.name, item.somebody);
  end loop;
end
$$;
-- end internal tables

-- Default privileges of the host's may also let others act in any user's name, or read and change everybody's messages. Whether they
-- were meant to is not known: so it is said.
do $$
declare
  kind record;
  others text;
begin
  for kind in
    select * from (values ('f', 'execute', 'act in any user''s name', 'execute on all routines'),
                          ('r', 'read or change', 'read or change everybody''s messages', 'all on all tables')) k (type, do_what, so_what, rights)
  loop
    select string_agg(distinct case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end, ', ') into others
      from pg_default_acl d
     cross join lateral aclexplode(d.defaclacl) a
     where pg_get_userbyid(d.defaclrole) = current_user and d.defaclobjtype::text = kind.type and a.grantee <> d.defaclrole
       and d.defaclnamespace in (0, current_schema()::regnamespace)
       and exists (select from (select proacl from pg_proc where kind.type = 'f' and oid = 'chat_send_message(uuid, uuid, text, text, text)'::regprocedure
                                union all
                                select relacl from pg_class where kind.type = 'r' and oid in ('conversations'::regclass, 'messages'::regclass)) o (acl)
                  cross join lateral aclexplode(o.acl) has
                   where has.grantee = a.grantee);
    if others is not null then
      raise warning 'default privileges let % % what % makes in schema %, and so %: revoke % in schema % from %, or set another DB_SCHEMA',
        others, kind.do_what, current_user, current_schema(), kind.so_what, kind.rights, current_schema(), others;
    end if;
  end loop;
end
$$;

-- Lets a role run the service: it may execute the functions that the service calls, and touch no table. Only the owner
-- of these functions can call it to any effect.
create or replace function chat_grant_service(service name) returns void
language plpgsql
set search_path from current
as $$
declare
  called constant text[] := array[
    -- at the start
    'chat_schema_versions', 'chat_link_users', 'chat_refer_to_users', 'chat_was_referred', 'chat_try_users', 'chat_search_languages', 'chat_search_index', 'chat_search_indexes',
    -- writing
    'chat_store_message', 'chat_send_messages', 'chat_open_conversation', 'chat_mark_read', 'chat_mark_read_many', 'chat_edit_message', 'chat_delete_message',
    'chat_notify_typing',
    -- reading
    'chat_list_users', 'chat_list_users_of', 'chat_get_user', 'chat_active_users',
    'chat_list_conversations', 'chat_list_matching_conversations', 'chat_get_conversation', 'chat_conversation_exists', 'chat_is_participant', 'chat_participants',
    'chat_list_messages', 'chat_list_messages_before', 'chat_list_messages_after', 'chat_get_message', 'chat_unread_count',
    'chat_search', 'chat_search_tidy',
    -- presence
    'chat_open_roll', 'chat_call_roll', 'chat_end_rolls', 'chat_clear_roll', 'chat_presence_of',
    -- tickets
    'chat_create_ticket', 'chat_redeem_ticket', 'chat_sweep_tickets',
    -- the listener, replay, the registry of replicas
    'chat_identity', 'chat_settle_identity', 'chat_incarnation', 'chat_snapshot', 'chat_changes_exceed', 'chat_changes_removed', 'chat_changes_since', 'chat_missed', 'chat_purged_since',
    'chat_read_back', 'chat_read_back_conversations', 'chat_heartbeat', 'chat_hold_replica', 'chat_try_replica', 'chat_leave', 'chat_forget_foreign_numbers', 'chat_forget_foreign_numbers_of_messages',
    -- what those of them ask that run with the service's own rights
    'chat_schema', 'chat_replica_lock_class', 'chat_users_table', 'chat_relink_users'];
  item regprocedure;
begin
  for item in
    select p.oid from pg_proc p
     where p.pronamespace = current_schema()::regnamespace and p.proname = any (called)
       -- What somebody else calls the same is theirs to grant.
       and pg_has_role(p.proowner, 'usage')
       -- By name: what everybody may, as after a restore without privileges, is taken back above by the next migrate.
       and not exists (select from aclexplode(p.proacl) a where a.grantee = quote_ident(service)::regrole)
  loop
    execute format('grant execute on function %s to %I', item, service);
  end loop;
end
$$;
revoke execute on function chat_grant_service(name) from public;

-- The roles that run the service already get what this version has added.
do $$
declare
  service name;
begin
  for service in
    select r.rolname
      from pg_proc p
     cross join lateral aclexplode(p.proacl) a
      join pg_roles r on r.oid = a.grantee
     where p.oid = 'chat_schema_versions()'::regprocedure and a.grantee <> p.proowner
  loop
    perform chat_grant_service(service);
  end loop;
end
$$;
