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
  -- Of a partitioned one no index is built without keeping writers out, and id alone is not unique.
  select format('table %s exists, but is no ordinary table', c.relname)
    into wrong
    from pg_class c
   where c.relname in ('conversations', 'messages')
     and c.relnamespace = current_schema()::regnamespace
     and c.relkind <> 'r'
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
      using errcode = 'insufficient_privilege', hint = format('as a superuser: begin; %s commit', hand_over);
  end if;

  -- The columns that everything rests on, in the types that they need.
  select format('table %s exists, but its column %s is %s and must be %s', t.name, t.col,
                coalesce(format_type(a.atttypid, a.atttypmod), 'missing'), t.wanted)
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
   where a.atttypid is distinct from t.wanted::regtype and (t.needed or a.atttypid is not null)
   limit 1;
  if wrong is not null then
    raise exception '%', wrong
      using errcode = 'datatype_mismatch',
            hint = 'alter table ... alter column ... type ...; times without a zone in UTC: using created_at at time zone ''UTC''; '
                   'or, where it is no chat''s table, DB_SCHEMA in another schema';
  end if;

  -- Columns of its own, which an adopted table gets: where one of that name is there already, it has to be what it would become.
  -- A default or a sequence would fill in what the triggers do.
  select format('table %s has a column %s of its own (%s%s), a name that the chat needs for itself, as %s without a default', t.name, t.col,
                format_type(a.atttypid, a.atttypmod),
                case when a.atthasdef or a.attidentity <> '' then ' with a default' else '' end, t.wanted),
         format('alter table %s rename column %I to ...;', t.name, t.col)
    into wrong, mend
    from (values ('conversations', 'last_seq', 'bigint', true), ('conversations', 'last_xid', 'xid8', false),
                 ('conversations', 'create_xid', 'xid8', true), ('conversations', 'active_at', 'timestamptz', true),
                 ('messages', 'seq', 'bigint', false), ('messages', 'reader_id', 'uuid', false),
                 ('messages', 'client_message_id', 'text', false), ('messages', 'edited_at', 'timestamptz', false),
                 ('messages', 'revision', 'integer', true), ('messages', 'create_xid', 'xid8', true),
                 ('messages', 'change_xid', 'xid8', true), ('messages', 'read_xid', 'xid8', false))
           as t (name, col, wanted, may_default)
    join pg_attribute a on a.attrelid = to_regclass(t.name) and a.attname = t.col and not a.attisdropped
   where a.atttypid <> t.wanted::regtype or (not t.may_default and (a.atthasdef or a.attidentity <> ''))
   limit 1;
  if wrong is not null then
    raise exception '%', wrong using errcode = 'datatype_mismatch', hint = mend || ' or alter it';
  end if;

  if to_regclass('conversations') is null or to_regclass('messages') is null then
    return;
  end if;

  -- Both participants and the sender are part of every event. A foreign key that empties them would only fail once a user is deleted.
  select string_agg(format('%s on %s: %s', c.conname, c.conrelid::regclass, pg_get_constraintdef(c.oid)), '; ' order by c.conname),
         string_agg(format('alter table %s drop constraint %I, add constraint %I %s;', c.conrelid::regclass, c.conname, c.conname,
                           regexp_replace(pg_get_constraintdef(c.oid), ' ON (DELETE|UPDATE) SET NULL( \([^)]*\))?', '', 'g')), ' ' order by c.conname)
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
            hint = mend || ' Then a user with conversations cannot be deleted; with "on delete cascade" they are deleted with him';
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

  -- A column of another type is replaced by one of pgchat's. Indexes and constraints go with it, the rest would keep it.
  select string_agg(distinct case when r.oid is null then pg_describe_object(d.classid, d.objid, d.objsubid)
                                  else 'view ' || r.ev_class::regclass::text end, ', ')
    into wrong
    from pg_attribute a
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid = a.attnum
                    and d.deptype = 'n' and d.classid not in ('pg_class'::regclass, 'pg_constraint'::regclass)
    left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
   where a.attrelid = 'messages'::regclass and a.attname = 'message_type' and not a.attisdropped
     and a.atttypid is distinct from to_regtype('chat_message_type');
  if wrong is not null then
    raise exception 'the column message_type of messages gets another type, and cannot while it is used by %', wrong
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
