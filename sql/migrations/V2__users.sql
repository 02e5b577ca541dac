-- The host system's users. All SQL of pgchat asks chat_users(), never the host's table.

-- Placeholder; chat_link_users() writes the real one. One plain SELECT in a string body: PostgreSQL
-- inlines it, so that a look-up by id uses the host's primary key; and unlike a view it does not
-- keep the host from altering its columns.
create function chat_users()
returns table (id uuid, first_name text, last_name text, avatar_url text, role text, is_active boolean)
language sql stable
as $$ select null::uuid, null::text, null::text, null::text, null::text, true where false $$;

-- Whether a user's name has this part, in any case: the full name in either order, which one text has with the first name twice. Who
-- has no name has no part of it. By position() and not by LIKE: no character of the part means anything else. The schema: a
-- function of the host's with fixed parameters would be preferred. Inlined.
create function chat_name_has(first_name text, last_name text, part text) returns boolean
language sql stable
as $$
  select position(lower(part) in lower(pg_catalog.concat_ws(
           ' ', first_name, last_name, case when last_name <> '' then first_name end))) > 0
$$;

-- What chat_users() reads: for a service whose role owns nothing, and so can only link anew what its owner has linked.
create table chat_users_link (
  one boolean primary key default true check (one),
  -- with its schema
  users_table text not null,
  mapping jsonb not null,
  -- which column was found, or named, for the id
  id_column name not null,
  -- whether chat_refer_to_users() has succeeded
  was_referred boolean not null default false
);

-- begin look
-- What a users table must be, and what is made of it: reads the catalog only. Before the first migration makes anything,
-- src/store/install/users_table.rs asks these functions in a transaction that it rolls back. The search_path is the caller's, and
-- must be the schema of pgchat alone: whoever may create in another one could have functions there that fit a call better than
-- PostgreSQL's own. Errors name the column and the setting.

-- The host's table: in the schema of pgchat or, where the name has no schema, in public; as PostgreSQL reads the name, or as it stands.
create function chat_users_table(name text) returns regclass
language plpgsql stable
as $$
declare
  -- Asked for a name in a schema that it may not use, PostgreSQL fails. Null without the schema.
  in_public constant boolean := has_schema_privilege(to_regnamespace('public'), 'usage');
  host regclass := coalesce(to_regclass(name),
                            case when in_public and name ~ '^([^."]*|"([^"]|"")*")$' then to_regclass('public.' || name) end,
                            to_regclass(quote_ident(name)), case when in_public then to_regclass('public.' || quote_ident(name)) end,
                            to_regclass(quote_ident(split_part(name, '.', 1)) || '.' ||
                                        quote_ident(nullif(split_part(name, '.', 2), ''))));
begin
  if host is null then
    raise exception 'USERS_TABLE: there is no table or view % in the database %', name, current_database()
      using errcode = 'undefined_table', hint = 'set USERS_TABLE, or name the database that has it';
  end if;
  return host;
end
$$;

-- Those of these columns that the host's table has, in this order. Of a domain its base type; whether that is read as text as it is (enums
-- are), and whether a unique index is on the column alone.
create function chat_users_columns(host regclass, names text[])
returns table (attname name, base regtype, is_text boolean, is_unique boolean, place bigint)
language sql stable
as $$
  select a.attname, b.oid::regtype, b.typcategory in ('S', 'E'),
         exists (select from pg_index i
                  where i.indrelid = host and i.indkey[0] = a.attnum and i.indnkeyatts = 1 and i.indisunique and i.indisvalid
                    and i.indpred is null),
         n.place
    from unnest(names) with ordinality as n (name, place)
    join pg_attribute a on a.attrelid = host and a.attname = n.name and a.attnum > 0 and not a.attisdropped
   cross join lateral (
     with recursive t as (
       select p.oid, p.typtype, p.typbasetype, p.typcategory from pg_type p where p.oid = a.atttypid
       union all
       select p.oid, p.typtype, p.typbasetype, p.typcategory from t join pg_type p on t.typtype = 'd' and p.oid = t.typbasetype)
     select * from t where t.typtype <> 'd') b
   order by n.place
$$;

-- The body of chat_users(), the statements that mend the foreign keys, and notes and warnings for the log. `mapping` is
-- USERS_COLUMNS as JSON, such as {"firstName": "given_name"}; what it does not name is detected, and "" stands for no column
-- at all. Of a column that would be taken and may not be read, a warning tells; one that says who may chat (isActive, deletedAt) is
-- an error, since without it whoever the host has deactivated or deleted would chat on. `linked`: the id's column so far, which is kept while it
-- is there: with another one everybody would be somebody else, or nobody.
create function chat_users_plan(host regclass, mapping jsonb, linked name default null,
                                out query text, out keys text[], out notes text[], out warnings text[], out id_column name)
language plpgsql stable
as $function$
declare
  field record;
  candidate record;
  col name;
  coltype regtype;
  hidden name;
  is_id_named constant boolean := mapping ? 'id';
  active text := 'true';
  expressions text[] := '{}';
  missing text[];
  unknown text;
  -- Of the whole name, where there is no other: beside a last name, that would be shown twice.
  whole_names constant text[] := array['full_name', 'fullName', 'display_name', 'displayName', 'name'];
begin
  keys := '{}';
  notes := '{}';
  warnings := '{}';
  select string_agg(quote_literal(k), ', ') into unknown
    from jsonb_object_keys(mapping) k
   where k not in ('id', 'firstName', 'lastName', 'avatarUrl', 'role', 'isActive', 'deletedAt');
  if unknown is not null then
    raise exception 'USERS_COLUMNS names %, allowed are id, firstName, lastName, avatarUrl, role, isActive, deletedAt', unknown
      using errcode = 'invalid_parameter_value';
  end if;

  -- Of a table that may not be read at all, that is told below.
  if not is_id_named and has_any_column_privilege(host, 'select') and exists (select from chat_users_columns(host, array[linked::text])) then
    mapping := mapping || jsonb_build_object('id', linked);
  end if;

  for field in
    with f (place, name, candidates, absent, only_text) as (values
      (1, 'id', array['id', 'user_id', 'userId', 'uuid'], 'null::uuid', false),
      (2, 'firstName', array['first_name', 'firstName', 'firstname', 'given_name'], 'null::text', true),
      (3, 'lastName', array['last_name', 'lastName', 'lastname', 'family_name'], 'null::text', true),
      (4, 'avatarUrl', array['avatar_url', 'avatarUrl', 'avatar', 'picture', 'image'], 'null::text', true),
      (5, 'role', array['role', 'user_role', 'userRole'], 'null::text', false),
      (6, 'isActive', array['is_active', 'isActive', 'active'], 'true', false),
      -- Of users who are deleted softly: they are not active.
      (7, 'deletedAt', array['deleted_at', 'deletedAt'], 'null', false))
    select f.place, f.name, f.absent, f.only_text,
           case when f.name = 'firstName' and coalesce(mapping ->> 'lastName', '') = ''
                     and not exists (select from f o cross join lateral chat_users_columns(host, o.candidates)
                                      where o.name in ('firstName', 'lastName'))
                then whole_names else f.candidates end as candidates
      from f
     order by f.place
  loop
    col := null;
    hidden := null;
    if mapping ->> field.name = '' then
      null;
    elsif mapping ? field.name then
      select c.attname, c.base into col, coltype from chat_users_columns(host, array[mapping ->> field.name]) c;
      if col is null then
        raise exception 'USERS_COLUMNS: users table % has no column %, which is named for %',
          host, mapping ->> field.name, field.name
          using errcode = 'undefined_column', hint = 'change USERS_COLUMNS';
      elsif not has_column_privilege(host, col::text, 'select') then
        raise exception 'permission denied for column % of users table %', col, host
          using errcode = 'insufficient_privilege',
                hint = format('run sql/roles.sql again, with -v users_columns=%I, or grant select (%I) on %s to %I', col, col, host, current_user);
      end if;
    else
      for candidate in
        select *, has_column_privilege(host, c.attname::text, 'select') as is_readable
          from chat_users_columns(host, field.candidates) c
         -- For the id, whatever it is called, one that foreign keys can refer to, or else a uuid.
         order by (field.name = 'id' and c.base = 'uuid'::regtype and c.is_unique) desc,
                  (field.name = 'id' and c.base = 'uuid'::regtype) desc, c.place
      loop
        -- What is no text, such as a picture itself, would be in each message.
        if field.only_text and not candidate.is_text then
          notes := notes || format('column %s of users table %s is %s and is left out; USERS_COLUMNS=%s=%s names it',
                                   candidate.attname, host, candidate.base, field.name, candidate.attname);
        elsif not candidate.is_readable then
          -- It would fail every look-up.
          hidden := coalesce(hidden, candidate.attname);
          if field.name in ('isActive', 'deletedAt') then
            raise exception 'column % of users table % may say who is not to chat (%), and % may not read it', hidden, host, field.name, current_user
              using errcode = 'insufficient_privilege',
                    hint = format('run sql/roles.sql again, or grant select (%I) on %s to %I; USERS_COLUMNS=%s= does without it',
                                  hidden, host, current_user, field.name);
          end if;
          warnings := warnings || format('%s may not read column %s of users table %s, which is left out: run sql/roles.sql again, or grant select (%I) '
                                         'on %s to %I%s', current_user, candidate.attname, host, candidate.attname, host, current_user,
                                         case when field.name <> 'id' then format('; USERS_COLUMNS=%s= does without it', field.name) end);
        else
          col := candidate.attname;
          coltype := candidate.base;
          exit;
        end if;
      end loop;
    end if;
    if field.name = 'id' and col is not null and not is_id_named then
      notes := notes || array(
        select format('the id of users table %s is column %s, not %s, which %s; USERS_COLUMNS=id=... names another', host, col, c.attname,
                      case when c.base <> 'uuid'::regtype then format('is %s', c.base)
                           when not c.is_unique then 'has no unique index'
                           else 'is not the one that was linked' end)
          from chat_users_columns(host, field.candidates) c
         where c.place < array_position(field.candidates, col::text) and has_column_privilege(host, c.attname::text, 'select')
         order by (c.base = 'uuid'::regtype and c.is_unique) desc, c.place
         limit 1);
    end if;

    if field.name = 'id' then
      if col is null and not has_any_column_privilege(host, 'select') then
        raise exception 'permission denied for users table %', host
          using errcode = 'insufficient_privilege',
                hint = format('run sql/roles.sql again: it grants %I select on the columns that are shown, and references on the id; where another '
                              'table is to take this one''s place, run it for that one first (-v users_table=…)', current_user);
      elsif col is null and hidden is not null then
        raise exception 'permission denied for column % of users table %', hidden, host
          using errcode = 'insufficient_privilege',
                hint = format('run sql/roles.sql again, or grant select (%I), references (%I) on %s to %I', hidden, hidden, host, current_user);
      elsif col is null then
        raise exception 'users table % has no id column (looked for %)',
          host, array_to_string(field.candidates, ', ')
          using errcode = 'undefined_column', hint = 'set USERS_COLUMNS=id=...';
      elsif coltype <> 'uuid'::regtype then
        raise exception 'column % of users table % is %, and must be uuid', col, host, coltype
          using errcode = 'datatype_mismatch',
                hint = case when exists (select from chat_users_columns(host, array[hidden::text]) c where c.base = 'uuid'::regtype)
                            then format('column %I is one that %I may not read: run sql/roles.sql again, or grant select (%I), references (%I) on %s to %I',
                                        hidden, current_user, hidden, hidden, host, current_user)
                            else 'USERS_COLUMNS=id=... names another column; if there is none, add a uuid column beside it: '
                                 'docs/your-database.md#integer-ids' end;
      end if;
      id_column := col;
      -- The cast is for domains, and none otherwise.
      expressions := expressions || format('h.%I::uuid', col);
    elsif field.name = 'deletedAt' then
      if col is not null then
        active := format('(%s and h.%I is null)', active, col);
      end if;
    elsif col is null then
      if field.name = 'firstName' and hidden is null and not mapping ? field.name then
        warnings := warnings || format('users table %s has no column for firstName: it will be null, and users may be nameless; '
                                       'USERS_COLUMNS=firstName=... names one', host);
      else
        notes := notes || format('users table %s has no column for %s%s: it will be %s', host, field.name,
                                 case when hidden is not null then format(' that %s may read', current_user) else '' end,
                                 case field.name when 'isActive' then 'true' else 'null' end);
      end if;
      if field.name <> 'isActive' then
        expressions := expressions || field.absent;
      end if;
    elsif field.name = 'isActive' then
      if coltype <> 'boolean'::regtype then
        raise exception 'column % of users table % is %, and must be boolean', col, host, coltype
          using errcode = 'datatype_mismatch', hint = 'USERS_COLUMNS=isActive=... names another column, or none';
      end if;
      active := format('coalesce(h.%I, true)', col);
    else
      expressions := expressions || format('h.%I::text', col);
    end if;
  end loop;

  select format(' select %s from %I.%I h ', array_to_string(expressions || active, ', '), n.nspname, c.relname) into query
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = host;
  if row_security_active(host) then
    notes := notes || format('row-level security of %s applies to %s: users whom its policies hide do not exist here', host, current_user);
  end if;

  -- Foreign keys to another table: those of pgchat, known by their names, are for the one that was linked before (which has another name
  -- now, or USERS_TABLE had), and would refuse who is only in this one. The host's own stay.
  for field in
    select l.tab, k.conname, k.confrelid::regclass as other, k.conname = 'chat_' || l.tab || '_' || l.col || '_fkey' as is_own
      from (values ('conversations', 'participant1_id'), ('conversations', 'participant2_id'),
                   ('messages', 'sender_id')) as l (tab, col)
      join pg_constraint k on k.conrelid = to_regclass(format('%I.%I', current_schema(), l.tab))
      join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1] and a.attname = l.col
     where k.contype = 'f' and cardinality(k.conkey) = 1 and k.confrelid <> host
       -- Not what one to a partitioned table has for each partition.
       and k.conparentid = 0
     order by k.conname
  loop
    if field.is_own then
      keys := keys || format('alter table %I drop constraint %I', field.tab, field.conname);
    else
      notes := notes || format('foreign key %I of %I refers to %s, not to %s, and refuses who is only in the latter; if they are to chat: '
                               'alter table %I drop constraint %I', field.conname, field.tab, field.other, host, field.tab, field.conname);
    end if;
  end loop;

  -- Foreign keys need a table with a unique id; a view has none, and then there are none (CREATE TABLE, REFERENCES).
  if not exists (select from pg_index i
                   join pg_class c on c.oid = i.indrelid
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                  where i.indrelid = host and c.relkind in ('r', 'p') and c.relpersistence = 'p'
                    -- Users in a table that inherits from it are none of those that a foreign key finds.
                    and (c.relkind = 'p' or not exists (select from pg_inherits where inhparent = host))
                    and i.indisunique and i.indisvalid and i.indimmediate and i.indnkeyatts = 1 and i.indpred is null
                    and a.attname = id_column) then
    notes := notes || format('%s has no unique index on %s that foreign keys could use, or other tables inherit from it: conversations get none to it',
                             host, id_column);
    return;
  end if;
  -- None from messages: the sender is one of the two participants, by the triggers, and neither ever changes. It would lock a row of the
  -- host's for each message, and have the deletion of any user read all messages.
  select coalesce(array_agg(format('alter table conversations add constraint %I foreign key (%I) references %s (%I) not valid',
                                   l.key, l.col, host, id_column)), '{}')
    into missing
    from (values ('participant1_id', 'chat_conversations_participant1_id_fkey'),
                 ('participant2_id', 'chat_conversations_participant2_id_fkey')) as l (col, key)
   where not exists (select from pg_constraint k
                       join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
                      where k.contype = 'f' and k.conrelid = to_regclass(format('%I.conversations', current_schema()))
                        and a.attname = l.col and cardinality(k.conkey) = 1 and k.conparentid = 0
                        and (k.confrelid = host or k.conname <> l.key));
  keys := keys || missing;
  if missing <> '{}' and not has_column_privilege(host, id_column::text, 'references') then
    raise exception 'permission denied to reference column % of users table %', id_column, host
      using errcode = 'insufficient_privilege',
            hint = format('run sql/roles.sql again, or grant references (%I) on %s to %I', id_column, host, current_user);
  end if;
end
$function$;
-- end look

-- Points chat_users() at `users_table`, with what `mapping` names. Returns notes and warnings for the log.
-- Replicas call it at their start and whenever the host has altered its table; chat_refer_to_users() follows in a transaction of its own.
-- Locks: an advisory one and pg_proc's row, until the transaction ends; none that somebody who reads or writes a table holds.
create function chat_link_users(users_table text, mapping jsonb default '{}')
returns table (note text, is_warning boolean)
language plpgsql
as $function$
declare
  host regclass := chat_users_table(users_table);
  qualified text;
  plan record;
  linked name;
begin
  select format('%I.%I', n.nspname, c.relname) into qualified
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = host;
  if not pg_has_role((select proowner from pg_proc
                       where oid = format('%I.chat_users()', chat_schema())::regprocedure), 'usage') then
    return query select * from chat_relink_users(qualified, mapping);
    return;
  end if;
  -- Replicas that see the same change of the table write the same function, one after the other.
  perform pg_advisory_xact_lock(1885562997, 1);

  select l.id_column into linked
    from chat_users_link l
   where to_regclass(l.users_table) = host and l.mapping = chat_link_users.mapping;
  plan := chat_users_plan(host, mapping, linked);
  return query select n, false from unnest(plan.notes) n union all select w, true from unnest(plan.warnings) w;
  if (select prosrc from pg_proc where oid = format('%I.chat_users()', chat_schema())::regprocedure) <> plan.query then
    execute format('create or replace function chat_users() '
                   'returns table (id uuid, first_name text, last_name text, avatar_url text, role text, is_active boolean) '
                   'language sql stable as %L', plan.query);
  end if;
  if row_security_active(host) then
    -- A policy may need what this session has not, and would then fail at each request.
    begin
      perform from chat_users() limit 1;
    exception
      when lock_not_available then
        raise;
      when others then
        -- It is logged: those of class 42 name columns and settings, others may quote what is in a row.
        raise exception 'row-level security of % fails for %: %', host, current_user,
                        case when sqlstate like '42%' then sqlerrm else format('SQLSTATE %s, told in the log of PostgreSQL', sqlstate) end
          using detail = sqlerrm, hint = format('create policy chat on %s for select to %I using (true)', host, current_user);
    end;
  end if;
  insert into chat_users_link as l (users_table, mapping, id_column) values (qualified, chat_link_users.mapping, plan.id_column)
      on conflict (one) do update set users_table = excluded.users_table, mapping = excluded.mapping, id_column = excluded.id_column
   where (l.users_table, l.mapping, l.id_column) is distinct from (excluded.users_table, excluded.mapping, excluded.id_column);
end
$function$;

-- Mends the foreign keys of conversations to the table that was linked last; also for a role that does not own pgchat's tables. Not
-- in chat_link_users(), since it may have to wait for long: users are read meanwhile, and only who is in no table but the new one
-- opens no conversation.
-- New foreign keys are not valid yet: `validate constraint` checks their rows without keeping writers out.
-- Locks: an advisory one, until the transaction ends; SHARE ROW EXCLUSIVE on conversations and the users table, only when a
-- foreign key is missing; ACCESS EXCLUSIVE on conversations and the table that it refers to, only when one of pgchat's refers to another.
create function chat_refer_to_users() returns void
language plpgsql
security definer
set search_path from current
as $$
declare
  statement text;
begin
  -- Whoever comes second finds nothing left to do.
  perform pg_advisory_xact_lock(1885562997, 2);
  for statement in
    select unnest(p.keys) from chat_users_link l cross join lateral chat_users_plan(l.users_table::regclass, l.mapping, l.id_column) p
  loop
    execute statement;
  end loop;
  update chat_users_link set was_referred = true where not was_referred;
end
$$;

-- Whether the foreign keys were once as they should be: nobody has served before that.
create function chat_was_referred() returns boolean
language plpgsql stable
security definer
set search_path from current
as $$
begin
  return exists (select from chat_users_link l where l.was_referred);
end
$$;

-- The same for a role that does not own pgchat's tables: only for the table and the mapping that their owner has linked.
create function chat_relink_users(host text, columns jsonb)
returns table (note text, is_warning boolean)
language plpgsql
security definer
set search_path from current
as $$
declare
  known chat_users_link;
begin
  select * into known from chat_users_link;
  -- By the table: its name may be written in another way (quote_all_identifiers).
  if to_regclass(known.users_table) is distinct from to_regclass(host) or known.mapping is distinct from columns then
    raise exception 'USERS_TABLE and USERS_COLUMNS are % %, but % % was linked: run "pgchat migrate" as %',
      host, columns, known.users_table, known.mapping, current_user using errcode = 'invalid_parameter_value';
  end if;
  return query select * from chat_link_users(host, columns);
end
$$;

-- Fails where users cannot be asked for: the host has altered its table, or has a policy that fails. Looks up one who has a
-- conversation, since a policy is not asked about nobody, and another one where that fails: all replicas ask for the same, and one odd
-- row keeps none of the other users from chatting.
-- Where they can be, `has_changed`: chat_link_users() would make another chat_users() of the table, which has other columns by now, or
-- whose columns may be read by now. `was_replaced`: the foreign keys refer to another table than this one, which has taken its place.
-- `misfit`: why it would make none; users are read as they were linked.
-- Cheap: two rows, and the catalog.
create function chat_try_users(out has_changed boolean, out was_replaced boolean, out misfit text)
language plpgsql stable
security definer
set search_path from current
set jit = off
as $$
declare
  advice text;
begin
  begin
    perform from chat_users() u where u.id = (select c.participant1_id from conversations c order by c.id limit 1);
  exception when others then
    perform from chat_users() u where u.id = (select c.participant2_id from conversations c order by c.id desc limit 1);
  end;
  begin
    select p.query <> f.prosrc,
           -- Missing ones alone say nothing of that: their owner may have dropped them.
           exists (select from unnest(p.keys) k where k like 'alter table % drop constraint %')
      into has_changed, was_replaced
      from chat_users_link l
     cross join lateral chat_users_plan(l.users_table::regclass, l.mapping, l.id_column) p
      join pg_proc f on f.oid = 'chat_users()'::regprocedure;
  exception when others then
    get stacked diagnostics advice = pg_exception_hint;
    misfit := concat_ws('; ', format('%s (%s)', sqlerrm, sqlstate), nullif(advice, ''));
  end;
  has_changed := coalesce(has_changed, false);
  was_replaced := coalesce(was_replaced, false);
end
$$;
