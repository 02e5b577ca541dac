-- Whether tables that stand there already can be adopted. Run before the first migration; reads
-- both tables from end to end, without keeping anybody out. Each error says what to do.
do $$
declare
  wrong text;
  hand_over text;
  mend text;
  merge constant text :=
    'with pair as (select id, first_value(id) over (partition by least(participant1_id, participant2_id), '
    'greatest(participant1_id, participant2_id) order by created_at, id) as kept from conversations), '
    'moved as (update messages m set conversation_id = p.kept from pair p where m.conversation_id = p.id and p.id <> p.kept returning m.id) '
    'select count(*) as moved_messages from moved; '
    'with pair as (select id, first_value(id) over (partition by least(participant1_id, participant2_id), '
    'greatest(participant1_id, participant2_id) order by created_at, id) as kept from conversations) '
    'delete from conversations c using pair p where c.id = p.id and p.id <> p.kept;';
begin
  -- Of a partitioned one no index is built without keeping writers out, and id alone is not unique. Of rows in tables that inherit no
  -- index or trigger knows, and an unlogged one is empty after a crash.
  select format('table %s exists, but is no ordinary table', c.relname)
    into wrong
    from pg_class c
   where c.relname in ('conversations', 'messages')
     and c.relnamespace = current_schema()::regnamespace
     and (c.relkind <> 'r' or c.relpersistence <> 'p' or exists (select from pg_inherits where c.oid in (inhrelid, inhparent)))
   limit 1;
  if wrong is not null then
    raise exception '%', wrong using errcode = 'wrong_object_type';
  end if;

  -- Who does not own them could only fail in the midst of it. What they did before they go on doing.
  select string_agg(format('table %s belongs to %s', c.relname, pg_get_userbyid(c.relowner)), ' and ' order by c.relname),
         string_agg(format('alter table %1$s owner to %2$I; grant select, insert, update, delete on %1$s to %3$I;',
                           c.relname, current_user, pg_get_userbyid(c.relowner)), ' ' order by c.relname)
    into wrong, hand_over
    from pg_class c
   where c.relname in ('conversations', 'messages')
     and c.relnamespace = current_schema()::regnamespace
     and not pg_has_role(c.relowner, 'usage');
  if wrong is not null then
    raise exception '%: only the owner can migrate, and % is not', wrong, current_user
      using errcode = 'insufficient_privilege', hint = format('sql/roles.sql hands them over; or as a superuser: begin; %s commit', hand_over);
  end if;

  -- The columns that everything rests on, in the types that they need.
  select format('table %s exists, but its column %s is %s and must be %s', t.name, t.col,
                case when a.attgenerated <> '' then 'generated' else coalesce(format_type(a.atttypid, a.atttypmod), 'missing') end,
                t.wanted)
    into wrong
    from (values ('conversations', 'id', 'uuid', true), ('conversations', 'participant1_id', 'uuid', true),
                 ('conversations', 'participant2_id', 'uuid', true), ('conversations', 'last_message_id', 'uuid', false),
                 ('conversations', 'created_at', 'timestamptz', false), ('conversations', 'updated_at', 'timestamptz', false),
                 ('messages', 'id', 'uuid', true), ('messages', 'conversation_id', 'uuid', true),
                 ('messages', 'sender_id', 'uuid', true), ('messages', 'content', 'text', true),
                 ('messages', 'is_read', 'boolean', false), ('messages', 'created_at', 'timestamptz', false),
                 ('messages', 'updated_at', 'timestamptz', false), ('messages', 'deleted_at', 'timestamptz', false))
           as t (name, col, wanted, needed)
    join pg_class c on c.relname = t.name and c.relnamespace = current_schema()::regnamespace
    left join pg_attribute a on a.attrelid = c.oid and a.attname = t.col and not a.attisdropped
   where a.attgenerated <> '' or a.atttypid is distinct from t.wanted::regtype and (t.needed or a.atttypid is not null)
   limit 1;
  if wrong is not null then
    raise exception '%', wrong
      using errcode = 'datatype_mismatch',
            hint = 'alter table ... alter column ... type ...; times without a zone in UTC: using created_at at time zone ''UTC''; '
                   'or, where it is no chat''s table, DB_SCHEMA in another schema';
  end if;

  -- Columns of its own, which an adopted table gets: where one of that name is there already, it has to be what it would become.
  -- A default or a sequence would fill in what the triggers do, and null in a number would make the events unreadable.
  select format('table %s has a column %s of its own (%s), a name that the chat needs for itself, as %s', t.name, t.col, a.definition, t.wanted),
         format('alter table %s rename column %I to ...;', t.name, t.col)
    into wrong, mend
    from (values ('conversations', 'last_message_id', 'uuid'), ('conversations', 'last_seq', 'bigint not null default 0'),
                 ('conversations', 'last_xid', 'xid8'), ('conversations', 'create_xid', 'xid8'), ('conversations', 'unread_xid', 'xid8'),
                 ('conversations', 'active_at', 'timestamp with time zone not null default now()'),
                 ('messages', 'seq', 'bigint'), ('messages', 'reader_id', 'uuid'), ('messages', 'client_message_id', 'text'),
                 ('messages', 'edited_at', 'timestamp with time zone'), ('messages', 'deleted_at', 'timestamp with time zone'),
                 ('messages', 'revision', 'integer not null default 1'), ('messages', 'create_xid', 'xid8'),
                 ('messages', 'change_xid', 'xid8'), ('messages', 'read_xid', 'xid8'))
           as t (name, col, wanted)
    join lateral (
      -- Without the quotes that the session may have asked for (quote_all_identifiers).
      select replace(concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                               case when a.attnotnull and t.col not in ('seq', 'reader_id') then 'not null' end,
                               case when a.attidentity <> '' then 'generated as identity' end,
                               -- A transaction number is pgchat's own default, of a former installation.
                               case when t.wanted <> 'xid8' then 'default ' || pg_get_expr(d.adbin, d.adrelid) end), '"', '') as definition
        from pg_attribute a
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
       where a.attrelid = to_regclass(t.name) and a.attname = t.col and not a.attisdropped) a on a.definition <> t.wanted
   limit 1;
  if wrong is not null then
    raise exception '%', wrong using errcode = 'datatype_mismatch', hint = mend || ' or alter it';
  end if;

  -- Rows are looked up by it, and what is sent again is told by it.
  select string_agg(c.relname, ' and ' order by c.relname),
         string_agg(format('alter table %s add primary key (id);', c.relname), ' ' order by c.relname)
    into wrong, mend
    from pg_class c
   where c.oid in (to_regclass('conversations'), to_regclass('messages'))
     and not exists (select from pg_index i
                       join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] and a.attname = 'id'
                      where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indimmediate and i.indnkeyatts = 1
                        and i.indpred is null);
  if wrong is not null then
    raise exception 'the id of % is no primary key', wrong
      using errcode = 'object_not_in_prerequisite_state', hint = mend || ' then migrate again';
  end if;

  -- Every row is updated. Most of these triggers set updated_at, by which the conversations are listed; what they overwrite is lost.
  select string_agg(format('%s of %s', t.tgname, t.tgrelid::regclass), ', ' order by t.tgrelid, t.tgname),
         string_agg(format('alter table %s disable trigger %I;', t.tgrelid::regclass, t.tgname), ' ' order by t.tgrelid, t.tgname)
    into wrong, mend
    from pg_trigger t
   where t.tgrelid in (to_regclass('conversations'), to_regclass('messages'))
     and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & 19 = 19;
  if wrong is not null then
    raise exception 'taking over updates every row, and triggers that run before an update may change more: %', wrong
      using errcode = 'object_not_in_prerequisite_state', hint = mend || ' then migrate again, and enable them';
  end if;

  -- Columns that pgchat knows nothing of: it would be refused whatever it stores.
  select string_agg(format('%s of %s', a.attname, c.relname), ', ' order by c.relname, a.attnum),
         string_agg(format('alter table %s alter column %I set default ...;', c.relname, a.attname), ' ' order by c.relname, a.attnum)
    into wrong, mend
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type y on y.oid = a.atttypid
   where c.oid in (to_regclass('conversations'), to_regclass('messages'))
     and a.attnotnull and not a.atthasdef and a.attidentity = '' and y.typdefault is null
     and a.attname not in ('id', 'participant1_id', 'participant2_id', 'conversation_id', 'sender_id', 'content', 'message_type', 'is_read',
                           'created_at', 'updated_at', 'last_seq', 'create_xid', 'active_at', 'seq', 'reader_id', 'revision', 'change_xid')
     -- It may fill them in.
     and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgtype & 7 = 7 and t.tgenabled <> 'D');
  if wrong is not null then
    raise exception 'nothing would fill in % where pgchat inserts a row, and it may not be null', wrong
      using errcode = 'not_null_violation',
            hint = mend || ' or let it be null; or fill it in by a trigger for each row before the insert';
  end if;

  if to_regclass('conversations') is null or to_regclass('messages') is null then
    return;
  end if;

  -- Both participants and the sender are part of every event. A foreign key that empties them would only fail once a user is deleted.
  select string_agg(format('%s on %s: %s', c.conname, c.conrelid::regclass, pg_get_constraintdef(c.oid)), '; ' order by c.conname),
         string_agg(format('alter table %s drop constraint %I, add constraint %I %s;', c.conrelid::regclass, c.conname, c.conname,
                           regexp_replace(pg_get_constraintdef(c.oid), ' ON (DELETE|UPDATE) SET NULL( [(][^)]*[)])?', '', 'g')), ' ' order by c.conname)
    into wrong, mend
    from pg_constraint c
   where c.contype = 'f' and 'n' in (c.confdeltype, c.confupdtype)
     and exists (select from pg_attribute a
                  where a.attrelid = c.conrelid and a.attnum = any (c.conkey)
                    and (c.conrelid = 'conversations'::regclass and a.attname in ('participant1_id', 'participant2_id')
                         or c.conrelid = 'messages'::regclass and a.attname in ('conversation_id', 'sender_id')));
  if wrong is not null then
    raise exception 'the chat needs its participants and senders, and a foreign key may empty them: %', wrong
      using errcode = 'invalid_foreign_key',
            hint = mend || ' Then a user with conversations cannot be deleted; with "on delete cascade" they are deleted with the user';
  end if;

  select format('conversations holds %s rows without one of their participants', count(*)) into wrong
    from conversations where participant1_id is null or participant2_id is null
  having count(*) > 0;
  if wrong is not null then
    raise exception '%', wrong
      using errcode = 'not_null_violation',
            hint = 'give them participants, or: begin; delete from messages m using conversations c '
                   'where c.id = m.conversation_id and (c.participant1_id is null or c.participant2_id is null); '
                   'delete from conversations where participant1_id is null or participant2_id is null; commit; then migrate again';
  end if;

  select format('conversations holds %s rows of users with themselves', count(*)) into wrong
    from conversations where participant1_id = participant2_id
  having count(*) > 0;
  if wrong is not null then
    raise exception '%', wrong
      using errcode = 'check_violation',
            hint = 'give them another participant, or: begin; delete from messages m using conversations c '
                   'where c.id = m.conversation_id and c.participant1_id = c.participant2_id; '
                   'delete from conversations where participant1_id = participant2_id; commit; then migrate again';
  end if;

  -- One row for each unordered pair. Pairs that stand twice are for the operator to merge.
  select string_agg(format('{%s}', ids), ' ') into wrong
    from (select string_agg(id::text, ', ' order by created_at, id) as ids
            from conversations
           group by least(participant1_id, participant2_id), greatest(participant1_id, participant2_id)
          having count(*) > 1
           limit 20) d;
  if wrong is not null then
    raise exception 'conversations holds several rows for the same two participants (20 pairs are shown at most): %', wrong
      using errcode = 'unique_violation',
            hint = 'This SQL moves their messages to the oldest of each pair and deletes the others; then migrate again: begin; '
                   || merge || ' commit;';
  end if;

  select format('messages holds %s rows of conversations that do not exist', count(*)) into wrong
    from messages m
   where not exists (select from conversations c where c.id = m.conversation_id)
  having count(*) > 0;
  if wrong is not null then
    raise exception '%', wrong
      using errcode = 'foreign_key_violation',
            hint = 'delete from messages m where not exists (select from conversations c where c.id = m.conversation_id); '
                   'then migrate again';
  end if;

  select format('messages holds %s rows without a sender or content', count(*)) into wrong
    from messages where sender_id is null or content is null
  having count(*) > 0;
  if wrong is not null then
    raise exception '%', wrong
      using errcode = 'not_null_violation',
            hint = 'update messages set content = '''' where content is null; delete from messages where sender_id is null; '
                   'then migrate again';
  end if;

  if exists (select from pg_attribute where attrelid = 'messages'::regclass and attname = 'client_message_id' and not attisdropped) then
    execute $check$
      select count(*) from (select from messages where client_message_id is not null
                             group by sender_id, client_message_id having count(*) > 1) d
      having count(*) > 0
    $check$ into wrong;
    if wrong is not null then
      raise exception 'messages holds % values of client_message_id that a sender has used more than once', wrong
        using errcode = 'unique_violation',
              hint = 'with used as (select id, row_number() over (partition by sender_id, client_message_id order by created_at, id) as n '
                     'from messages where client_message_id is not null) '
                     'update messages m set client_message_id = null from used u where u.id = m.id and u.n > 1; then migrate again';
    end if;
  end if;

  -- A column of another type is replaced by one of pgchat's, and that of another collation altered. Indexes and constraints go with it,
  -- the rest would keep it. Of a generated column up to PostgreSQL 14 it is the column that depends, and goes with it, too.
  select format('the column %s of messages gets %s, and cannot while it is used by %s', a.attname,
                case a.attname when 'message_type' then 'another type' else 'the collation "C"' end,
                string_agg(distinct case when r.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
                                         else 'view ' || r.ev_class::regclass::text end, ', '))
    into wrong
    from pg_attribute a
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid = a.attnum
                    and (d.deptype = 'n' and d.classid not in ('pg_class'::regclass, 'pg_constraint'::regclass)
                         or d.classid = 'pg_class'::regclass and d.objsubid > 0)
    left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
   where a.attrelid = 'messages'::regclass and not a.attisdropped
     and (a.attname = 'message_type' and a.atttypid is distinct from to_regtype('chat_message_type')
          or a.attname = 'client_message_id' and a.attcollation <> 'pg_catalog."C"'::regcollation)
   group by a.attname
   order by a.attname
   limit 1;
  if wrong is not null then
    raise exception '%', wrong
      using errcode = 'dependent_objects_still_exist', hint = 'drop that, migrate, and make it anew';
  end if;

  if exists (select from pg_attribute where attrelid = 'messages'::regclass and attname = 'message_type' and not attisdropped) then
    execute $check$
      select string_agg(distinct quote_literal(message_type::text), ', ') from messages
       where message_type::text not in ('text', 'image', 'file')
    $check$ into wrong;
    if wrong is not null then
      raise exception 'messages has rows with message_type %', wrong
        using errcode = 'check_violation',
              hint = 'allowed are text, image and file; change them, for example: update messages set message_type = ''file'' '
                     'where message_type::text not in (''text'', ''image'', ''file''); then migrate again';
    end if;
  end if;
end
$$;
