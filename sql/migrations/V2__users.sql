-- The host system's users. All SQL of pgchat asks chat_users(), never the host's table.

-- Placeholder; chat_link_users() writes the real one. One plain SELECT in a string body: PostgreSQL
-- inlines it, so that a look-up by id uses the host's primary key; and unlike a view it does not
-- keep the host from altering its columns.
create function chat_users()
returns table (id uuid, first_name text, last_name text, avatar_url text, role text, is_active boolean)
language sql stable
as $$ select null::uuid, null::text, null::text, null::text, null::text, true where false $$;

-- What chat_users() reads: for a service whose role owns nothing, and so can only link anew what its owner has linked.
create table chat_users_link (
  one boolean primary key default true check (one),
  -- with its schema
  users_table text not null,
  mapping jsonb not null
);

-- Points chat_users() at `users_table` and adds the foreign keys. `mapping` is USERS_COLUMNS as JSON,
-- such as {"firstName": "given_name"}; what it does not name is detected, and "" stands for no column at all.
-- Returns notes for the log. Errors name the column and the setting. Replicas call it at their start and whenever the
-- host has altered its table.
-- The search_path is the caller's: the schema of pgchat first, then where the host's tables are.
-- New foreign keys are not valid yet: `validate constraint` checks their rows without keeping writers out.
-- Locks: an advisory one and pg_proc's row, until the transaction ends; SHARE ROW EXCLUSIVE on conversations, messages and
-- the users table, only when a foreign key is missing.
create function chat_link_users(users_table text, mapping jsonb default '{}')
returns setof text
language plpgsql
as $function$
declare
  host regclass := coalesce(to_regclass(users_table), to_regclass(quote_ident(users_table)),
                            to_regclass(quote_ident(split_part(users_table, '.', 1)) || '.' ||
                                        quote_ident(nullif(split_part(users_table, '.', 2), ''))));
  field record;
  col name;
  coltype regtype;
  active text := 'true';
  expressions text[] := '{}';
  id_column name;
  body text;
  qualified text;
  link record;
begin
  if host is null then
    raise exception 'USERS_TABLE: there is no table or view %', users_table
      using errcode = 'undefined_table', hint = 'set USERS_TABLE';
  end if;
  select format('%I.%I', n.nspname, c.relname) into qualified
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = host;
  if not pg_has_role((select proowner from pg_proc
                       where oid = format('%I.chat_users()', chat_schema())::regprocedure), 'usage') then
    return query select * from chat_relink_users(qualified, mapping);
    return;
  end if;
  -- Replicas that see the same change of the table write the same function, one after the other.
  perform pg_advisory_xact_lock(1885562997, 1);

  select string_agg(quote_literal(k), ', ') into body
    from jsonb_object_keys(mapping) k
   where k not in ('id', 'firstName', 'lastName', 'avatarUrl', 'role', 'isActive', 'deletedAt');
  if body is not null then
    raise exception 'USERS_COLUMNS names %, allowed are id, firstName, lastName, avatarUrl, role, isActive, deletedAt', body
      using errcode = 'invalid_parameter_value';
  end if;

  for field in
    select * from (values
      (1, 'id', array['id', 'user_id', 'userId', 'uuid'], 'null::uuid'),
      (2, 'firstName', array['first_name', 'firstName', 'firstname', 'given_name'], 'null::text'),
      (3, 'lastName', array['last_name', 'lastName', 'lastname', 'family_name'], 'null::text'),
      (4, 'avatarUrl', array['avatar_url', 'avatarUrl', 'avatar', 'picture'], 'null::text'),
      (5, 'role', array['role', 'user_role', 'userRole'], 'null::text'),
      (6, 'isActive', array['is_active', 'isActive', 'active'], 'true'),
      -- Of users who are deleted softly: they are not active.
      (7, 'deletedAt', array['deleted_at', 'deletedAt'], 'null')) as f (place, name, candidates, absent)
    order by place
  loop
    col := null;
    if mapping ->> field.name = '' then
      null;
    elsif mapping ? field.name then
      select a.attname, a.atttypid::regtype into col, coltype
        from pg_attribute a
       where a.attrelid = host and a.attname = mapping ->> field.name and a.attnum > 0 and not a.attisdropped;
      if col is null then
        raise exception 'USERS_COLUMNS: users table % has no column %, which is named for %',
          host, mapping ->> field.name, field.name
          using errcode = 'undefined_column', hint = 'change USERS_COLUMNS';
      elsif not has_column_privilege(host, col::text, 'select') then
        raise exception 'permission denied for column % of users table %', col, host
          using errcode = 'insufficient_privilege';
      end if;
    else
      select a.attname, a.atttypid::regtype into col, coltype
        from unnest(field.candidates) with ordinality as c (name, preference)
        join pg_attribute a on a.attrelid = host and a.attname = c.name and a.attnum > 0 and not a.attisdropped
       -- A column that the owner may not read would fail every look-up.
       where has_column_privilege(host, a.attnum, 'select')
       order by c.preference
       limit 1;
    end if;

    if field.name = 'id' then
      if col is null and not has_any_column_privilege(host, 'select') then
        raise exception 'permission denied for users table %', host using errcode = 'insufficient_privilege';
      elsif col is null then
        raise exception 'users table % has no id column (looked for %)',
          host, array_to_string(field.candidates, ', ')
          using errcode = 'undefined_column', hint = 'set USERS_COLUMNS=id=...';
      elsif coltype <> 'uuid'::regtype then
        raise exception 'column % of users table % is %, and must be uuid', col, host, coltype
          using errcode = 'datatype_mismatch', hint = 'USERS_COLUMNS=id=... names another column';
      end if;
      id_column := col;
    end if;

    if field.name = 'id' then
      expressions := expressions || format('h.%I', col);
    elsif field.name = 'deletedAt' then
      if col is not null then
        active := format('(%s and h.%I is null)', active, col);
      end if;
    elsif col is null then
      return next format('users table %s has no column for %s: it will be %s', host, field.name,
                         case field.name when 'isActive' then 'true' else 'null' end);
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

  body := format(' select %s from %s h ', array_to_string(expressions || active, ', '), qualified);
  if (select prosrc from pg_proc where oid = format('%I.chat_users()', chat_schema())::regprocedure) <> body then
    execute format('create or replace function chat_users() '
                   'returns table (id uuid, first_name text, last_name text, avatar_url text, role text, is_active boolean) '
                   'language sql stable as %L', body);
  end if;
  insert into chat_users_link as l (users_table, mapping) values (qualified, chat_link_users.mapping)
      on conflict (one) do update set users_table = excluded.users_table, mapping = excluded.mapping
   where (l.users_table, l.mapping) is distinct from (excluded.users_table, excluded.mapping);

  -- Foreign keys need a table with a unique id; a view has none, and then there are none.
  if not exists (select from pg_index i
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                  where i.indrelid = host and i.indisunique and i.indnkeyatts = 1 and i.indpred is null
                    and a.attname = id_column) then
    return next format('%s has no unique index on %s: conversations and messages get no foreign keys to it',
                       host, id_column);
    return;
  end if;
  for link in
    select * from (values ('conversations', 'participant1_id'), ('conversations', 'participant2_id'),
                          ('messages', 'sender_id')) as l (tab, col)
  loop
    if not exists (select from pg_constraint k
                     join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
                    where k.contype = 'f' and k.conrelid = link.tab::regclass and a.attname = link.col
                      and cardinality(k.conkey) = 1) then
      execute format('alter table %I add constraint %I foreign key (%I) references %s (%I) not valid',
                     link.tab, link.tab || '_' || link.col || '_fkey', link.col, host, id_column);
    end if;
  end loop;
end
$function$;

-- The same for a role that does not own pgchat's tables: only for the table and the mapping that their owner has linked.
create function chat_relink_users(host text, columns jsonb)
returns setof text
language plpgsql
security definer
set search_path from current
as $$
declare
  known chat_users_link;
begin
  select * into known from chat_users_link;
  if (known.users_table, known.mapping) is distinct from (host, columns) then
    raise exception 'USERS_TABLE and USERS_COLUMNS are % %, but % % was linked: run "pgchat migrate" as %',
      host, columns, known.users_table, known.mapping, current_user using errcode = 'invalid_parameter_value';
  end if;
  return query select * from chat_link_users(host, columns);
end
$$;
