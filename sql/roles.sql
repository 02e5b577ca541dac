-- Three roles, each with what it needs and no more: the owner of the chat tables, which migrates; the running service;
-- and a group for other programs that write to the tables. Run it with psql, as a superuser, or where there is none (on managed
-- servers) as a role with CREATEROLE that owns the database and the users table; that one becomes a member of the owner:
--
--   psql -v ON_ERROR_STOP=1 -d DATABASE -f sql/roles.sql
--   pgchat migrate                                        (with DB_USER=pgchat_owner)
--   psql -v ON_ERROR_STOP=1 -d DATABASE -f sql/roles.sql  (again: the tables are there now)
--   pgchat serve                                          (with DB_USER=pgchat_service)
--   grant pgchat_integrator to crm;                       (for each other program)
--
-- If it fails with 55P03, some transaction holds a table that it would hand over: run it again. It may be run any number of times, also where pgchat was installed by another role: what that one owns of pgchat's
-- goes to the owner (whoever is no superuser must be a member of that role: grant FORMER to ADMINISTRATOR). Variables, each set by "-v name=value":
--
--   owner, service, integrator   the roles' names: pgchat_owner, pgchat_service, pgchat_integrator
--   schema                       DB_SCHEMA: public
--   users_table                  USERS_TABLE: users
--   users_columns                columns of USERS_COLUMNS, comma-separated, where they are not detected: none
--
-- New roles have no password, so nobody can log in as them over a network: \password pgchat_owner sets one.

\if :{?owner}
\else
\set owner pgchat_owner
\endif
\if :{?service}
\else
\set service pgchat_service
\endif
\if :{?integrator}
\else
\set integrator pgchat_integrator
\endif
\if :{?schema}
\else
\set schema public
\endif
\if :{?users_table}
\else
\set users_table users
\endif
\if :{?users_columns}
\else
\set users_columns ''
\endif

begin;
-- Nothing that somebody else has made is to run with the rights of whoever runs this.
set local search_path = pg_catalog, pg_temp;
-- A table that is handed over is everybody's to wait for, and so is whoever waits for it: not for long.
set local lock_timeout = '500ms';

-- Blocks cannot read psql's variables.
select set_config('pgchat.owner', :'owner', true) as owner,
       set_config('pgchat.service', :'service', true) as service,
       set_config('pgchat.integrator', :'integrator', true) as integrator,
       set_config('pgchat.schema', :'schema', true) as schema,
       set_config('pgchat.users_table', :'users_table', true) as users_table,
       set_config('pgchat.users_columns', :'users_columns', true) as users_columns;

-- The roles and the schema.
do $$
declare
  owner constant text := current_setting('pgchat.owner');
  service constant text := current_setting('pgchat.service');
  integrator constant text := current_setting('pgchat.integrator');
  schema constant text := current_setting('pgchat.schema');
  wanted record;
begin
  for wanted in
    select * from (values (owner, 'login'), (service, 'login'), (integrator, 'nologin')) as w (name, kind)
  loop
    if not exists (select from pg_roles where rolname = wanted.name) then
      execute format('create role %I %s', wanted.name, wanted.kind);
    end if;
  end loop;
  -- Who is no superuser needs a share in the owner, to hand over and to grant what is the owner's.
  if not pg_has_role(owner, 'usage') then
    execute format('grant %I to %I', owner, current_user);
  end if;

  -- It does not belong to the owner: what the host makes there would go with it when all that is the owner's is dropped.
  if not exists (select from pg_namespace where nspname = schema) then
    execute format('create schema %I', schema);
  elsif exists (select from pg_namespace where nspname = schema and pg_get_userbyid(nspowner) = owner) then
    execute format('alter schema %I owner to %I', schema, current_user);
  end if;
  execute format('grant create, usage on schema %I to %I', schema, owner);
  execute format('grant usage on schema %I to %I, %I', schema, service, integrator);
  -- The functions look names up here with their owner's rights: nobody else may put anything in their way. Up to PostgreSQL 14
  -- everybody may create in public, and roles of the host may count on it.
  if has_schema_privilege('public', schema, 'create') then
    execute format('revoke create on schema %I from public', schema);
    if not has_schema_privilege('public', schema, 'create') then
      raise notice 'everybody could create in schema %, and now only its owner can, and whoever was granted it, as % is', schema, owner;
    end if;
  end if;
end
$$;

-- What is there of pgchat already, or of the Go service, goes to the owner. Whoever owned the two tables keeps all rights on
-- their rows, so that programs which worked with them go on working. By name, each: what the host calls chat_… is the host's, and
-- must not go when pgchat's is dropped. Nor does anything go there that somebody else has made by one of these names: as the owner's, a
-- function of theirs would run with the owner's rights.
do $$
declare
  owner constant text := current_setting('pgchat.owner');
  -- Who can have migrated: whoever owns the history, or the tables that were or are to be adopted, and whoever has the owner's rights anyway.
  makers constant oid[] := array(
    select r.oid from pg_roles r where pg_has_role(r.oid, owner::name, 'usage')
     union
    select c.relowner
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = current_setting('pgchat.schema') and c.relkind in ('r', 'p')
       and c.relname in ('chat_schema_history', 'conversations', 'messages'));
  tables constant name[] := array[
    'conversations', 'messages', 'chat_adoption', 'chat_attendance', 'chat_conversation_tombstones', 'chat_incarnation', 'chat_presence',
    'chat_purged', 'chat_replicas', 'chat_rolls', 'chat_schema_history', 'chat_tickets', 'chat_timeline', 'chat_tombstones', 'chat_users_link'];
  types constant name[] := array['chat_change', 'chat_message_type', 'chat_row_now'];
  routines constant name[] := array[
    'chat_active_at', 'chat_active_users', 'chat_activity_lag', 'chat_are_participants', 'chat_call_roll', 'chat_change_type',
    'chat_changes_exceed', 'chat_changes_removed', 'chat_changes_since', 'chat_channel', 'chat_clear_roll', 'chat_conversation', 'chat_conversation_event_head', 'chat_conversation_exists', 'chat_conversation_has_shown_times', 'chat_conversation_json',
    'chat_conversations_after_delete', 'chat_conversations_after_insert', 'chat_conversations_before_change', 'chat_create_ticket', 'chat_delete_message',
    'chat_edit_message', 'chat_end_rolls', 'chat_event_head', 'chat_fail_dropped', 'chat_fail_moved', 'chat_follow', 'chat_forget_foreign_numbers', 'chat_forget_foreign_numbers_of_messages', 'chat_forget_user',
    'chat_get_conversation', 'chat_get_message', 'chat_get_user', 'chat_grant_service', 'chat_has_answerable_size', 'chat_has_read', 'chat_has_shown_times', 'chat_heartbeat', 'chat_held_replica_keys',
    'chat_hold_replica', 'chat_identity', 'chat_incarnation', 'chat_inner_batch', 'chat_is_invisible', 'chat_is_own', 'chat_is_participant',
    'chat_json_text', 'chat_json_time', 'chat_json_uuid', 'chat_judge_author', 'chat_judge_stranger', 'chat_last_time', 'chat_leave',
    'chat_link_users', 'chat_list_conversations', 'chat_list_matching_conversations', 'chat_list_messages', 'chat_list_messages_after', 'chat_list_messages_before',
    'chat_list_users', 'chat_list_users_of', 'chat_listed_conversation_json', 'chat_mark_read', 'chat_mark_read_many', 'chat_matching_conversations', 'chat_max_payload', 'chat_message_event_data', 'chat_message_event_head', 'chat_message_json',
    'chat_messages_after_delete', 'chat_messages_after_insert', 'chat_messages_after_update', 'chat_messages_before_delete',
    'chat_messages_before_insert', 'chat_messages_before_update', 'chat_messages_note_snapshot', 'chat_missed', 'chat_moment_after', 'chat_name_has', 'chat_new_conversation_json',
    'chat_notify_typing', 'chat_open_conversation', 'chat_open_roll', 'chat_outer_batch', 'chat_own_xid', 'chat_participants',
    'chat_payload_head', 'chat_presence_of', 'chat_publish', 'chat_publish_items', 'chat_publish_outer', 'chat_purge',
    'chat_purge_all', 'chat_purged_since', 'chat_read_back', 'chat_read_back_conversations', 'chat_read_json',
    'chat_redeem_ticket', 'chat_refer_to_users', 'chat_relink_users', 'chat_renew_identity', 'chat_replica_lock_class', 'chat_replica_lock_key', 'chat_replicas_after_delete',
    'chat_require_commit', 'chat_require_flush', 'chat_resync_json', 'chat_schema', 'chat_schema_versions', 'chat_search', 'chat_search_any', 'chat_search_day',
    'chat_search_index', 'chat_search_index_ddl', 'chat_search_indexes', 'chat_search_is_ready', 'chat_search_keys',
    'chat_search_languages', 'chat_search_matches', 'chat_search_part', 'chat_search_portion', 'chat_search_query', 'chat_search_scope', 'chat_search_seed',
    'chat_search_snippet', 'chat_search_text', 'chat_search_tidy', 'chat_search_walk', 'chat_search_words', 'chat_seen_seq', 'chat_send_message', 'chat_send_messages', 'chat_settle_identity', 'chat_share_unread',
    'chat_snapshot', 'chat_store_message', 'chat_summary_json', 'chat_sweep_replicas', 'chat_sweep_tickets', 'chat_timeline_now', 'chat_told', 'chat_touched',
    'chat_try_replica', 'chat_try_users', 'chat_unread_count', 'chat_user_json', 'chat_user_summary_json', 'chat_users',
    'chat_users_columns', 'chat_users_on_roll', 'chat_users_plan', 'chat_users_table', 'chat_uuid_v7', 'chat_was_referred', 'chat_why_unchanged'];
  item record;
  formers text;
begin
  -- Who is no superuser hands over only what is theirs, or a role's of which they are a member.
  select string_agg(distinct quote_ident(pg_get_userbyid(o.owner)), ', ') into formers
    from (select c.relowner, c.relnamespace from pg_class c where c.relname = any (tables || types)
           union all
          select p.proowner, p.pronamespace from pg_proc p where p.proname = any (routines)) o (owner, schema)
    join pg_namespace n on n.oid = o.schema
   where n.nspname = current_setting('pgchat.schema') and o.owner = any (makers) and not pg_has_role(o.owner, 'usage');
  if formers is not null then
    raise exception 'the chat tables are owned by %, and % cannot hand them over', formers, current_user
      using errcode = 'insufficient_privilege',
            hint = format('grant %s to %I; then run this file again', formers, current_user);
  end if;
  for item in
    select format('%I.%I', n.nspname, c.relname) as name, c.relowner::regrole as former,
           c.relname in ('conversations', 'messages') and not r.rolsuper as keeps_rights, c.relkind
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_roles r on r.oid = c.relowner
     where n.nspname = current_setting('pgchat.schema') and r.rolname <> owner and c.relowner = any (makers)
       and (c.relkind in ('r', 'p', 'v') and c.relname = any (tables) or c.relkind = 'c' and c.relname = any (types))
     order by c.relname
  loop
    if item.relkind = 'c' then
      execute format('alter type %s owner to %I', item.name, owner);
    else
      execute format('alter table %s owner to %I', item.name, owner);
      if item.keeps_rights then
        execute format('grant select, insert, update, delete on %s to %s', item.name, item.former);
      end if;
    end if;
  end loop;
  for item in
    select format('%I.%I', n.nspname, t.typname) as name
      from pg_type t
      join pg_namespace n on n.oid = t.typnamespace
      join pg_roles r on r.oid = t.typowner
     where n.nspname = current_setting('pgchat.schema') and r.rolname <> owner and t.typowner = any (makers)
       and t.typtype = 'e' and t.typname = any (types)
  loop
    execute format('alter type %s owner to %I', item.name, owner);
  end loop;
  for item in
    select p.oid::regprocedure as name
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
      join pg_roles r on r.oid = p.proowner
     where n.nspname = current_setting('pgchat.schema') and r.rolname <> owner and p.proowner = any (makers)
       and p.proname = any (routines)
  loop
    execute format('alter routine %s owner to %I', item.name, owner);
  end loop;
end
$$;

-- The users table: the owner reads the columns that are shown in the chat, and may refer to its id, a uuid, by foreign keys. The
-- other columns (passwords, addresses) stay out of its reach. The names are those that chat_link_users() detects.
do $$
declare
  owner constant text := current_setting('pgchat.owner');
  wanted constant text := current_setting('pgchat.users_table');
  schema constant text := quote_ident(current_setting('pgchat.schema')) || '.';
  -- Whether the name has no schema.
  is_bare constant boolean := wanted ~ '^([^."]*|"([^"]|"")*")$';
  -- Whether this role may look there. Null without the schema.
  in_public constant boolean := has_schema_privilege(to_regnamespace('public'), 'usage');
  -- As chat_users_table() finds it.
  host constant regclass := coalesce(case when is_bare then to_regclass(schema || wanted) else to_regclass(wanted) end,
                                     case when is_bare and in_public then to_regclass('public.' || wanted) end,
                                     to_regclass(schema || quote_ident(wanted)),
                                     case when in_public then to_regclass('public.' || quote_ident(wanted)) end,
                                     to_regclass(quote_ident(split_part(wanted, '.', 1)) || '.' ||
                                                 quote_ident(nullif(split_part(wanted, '.', 2), ''))));
  -- Where there is neither a first name nor a last one.
  whole_names constant name[] := case
    when not exists (select from pg_attribute a
                      where a.attrelid = host and a.attnum > 0 and not a.attisdropped
                        and a.attname in ('first_name', 'firstName', 'firstname', 'given_name',
                                          'last_name', 'lastName', 'lastname', 'family_name'))
    then array['full_name', 'fullName', 'display_name', 'displayName', 'name']::name[] else '{}'::name[] end;
  columns text;
  ids text;
begin
  if host is null then
    raise notice 'users table % is not there: run this file again when it is, or with -v users_table=…', wanted;
    return;
  end if;
  select string_agg(quote_ident(attname), ', '), string_agg(quote_ident(attname), ', ') filter (where is_uuid)
    into columns, ids
    from pg_attribute
   -- By itself, or as a domain over it.
   cross join lateral (
     with recursive t as (
       select p.oid, p.typtype, p.typbasetype from pg_type p where p.oid = atttypid
       union all
       select p.oid, p.typtype, p.typbasetype from t join pg_type p on t.typtype = 'd' and p.oid = t.typbasetype)
     select exists (select from t where t.oid = 'uuid'::regtype) as is_uuid) base
   where attrelid = host and attnum > 0 and not attisdropped
     and attname = any (regexp_split_to_array(btrim(current_setting('pgchat.users_columns')), ' *, *') || array[
           'id', 'user_id', 'userId', 'uuid',
           'first_name', 'firstName', 'firstname', 'given_name',
           'last_name', 'lastName', 'lastname', 'family_name',
           'avatar_url', 'avatarUrl', 'avatar', 'picture', 'image',
           'role', 'user_role', 'userRole',
           'is_active', 'isActive', 'active',
           'deleted_at', 'deletedAt']::name[] || whole_names);
  if columns is null then
    raise exception 'users table % has none of the columns that are looked for: set users_columns', host;
  end if;
  -- The service does not read it, but finds it when it checks that it is the one that the chat is linked to.
  execute format('grant usage on schema %s to %I, %I',
                 (select relnamespace::regnamespace from pg_class where oid = host), owner,
                 current_setting('pgchat.service'));
  execute format('grant select (%s)%s on %s to %I', columns, ', references (' || ids || ')', host, owner);
end
$$;

-- The service: it may execute the functions that it calls, and touches no table. `pgchat migrate` of a later version lets
-- it execute those that were added. Granted here, and not by chat_grant_service(): no function of the schema is executed, since whoever
-- made it would have the rights of whoever runs this (`set role` takes none away: the function can reset it). The list is
-- that of privileges.sql.
do $$
declare
  owner constant text := current_setting('pgchat.owner');
  service constant text := current_setting('pgchat.service');
  called constant name[] := array[
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
  execute format('alter default privileges for role %I revoke execute on functions from public', owner);
  for item in
    select p.oid
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
     where n.nspname = current_setting('pgchat.schema') and p.proname = any (called)
       -- What somebody else calls the same is theirs to grant.
       and pg_get_userbyid(p.proowner) = owner
       and not exists (select from aclexplode(p.proacl) a where pg_get_userbyid(a.grantee) = service)
  loop
    execute format('grant execute on routine %s to %I', item, service);
  end loop;
end
$$;

-- Other programs: what README.md lists.
do $$
declare
  owner constant text := current_setting('pgchat.owner');
  integrator constant text := current_setting('pgchat.integrator');
  schema constant text := current_setting('pgchat.schema');
begin
  -- Made by pgchat: a table or function of somebody else's by one of its names is none of its.
  if not exists (select from pg_class c
                   join pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = schema and c.relname = 'chat_schema_history' and pg_get_userbyid(c.relowner) = owner) then
    raise notice 'the chat tables are not there yet: run "pgchat migrate" as %, then this file again', owner;
    return;
  end if;
  execute format('grant select on %1$I.conversations, %1$I.messages, %1$I.chat_presence to %2$I', schema, integrator);
  execute format('grant insert (conversation_id, sender_id, content, message_type, client_message_id) on %I.messages to %I',
                 schema, integrator);
  execute format('grant insert (participant1_id, participant2_id) on %I.conversations to %I', schema, integrator);
  execute format('grant execute on function %I.chat_conversation(uuid, uuid) to %I', schema, integrator);
  execute format('grant update (content, message_type, is_read, deleted_at) on %I.messages to %I', schema, integrator);
  execute format('grant delete on %I.messages to %I', schema, integrator);
  execute format('grant execute on function %I.chat_send_message(uuid, uuid, text, text, text) to %I',
                 schema, integrator);
end
$$;

commit;
