-- What callers read. Each function returns JSON texts in the order of the answer. Callers ask for one row
-- more than they show, to know whether more follow.
--
-- Lists with messages end at `max_bytes`, since 200 of the longest are 79 MB: a byte of a content may take six in JSON. The item
-- that would be too much comes as null, and is the last row: it says that more follow. The first item always comes. A loop, because
-- it reads and builds nothing of what follows but for the rows that a cursor has fetched ahead (up to 50).
--
-- In PL/pgSQL, which keeps its plans for the session: a function in SQL that is not inlined is parsed and planned at each
-- call, which costs more than a page of history. `force_generic_plan` stands where PostgreSQL would, by its estimates,
-- plan anew for each set of parameters; none of them changes which plan is best.

-- Last active first. The index on active_at finds them: those that are shown are among the first `skip + max_rows` by
-- active_at and those that are less than the lag behind the last of these. So it reads what it skips and shows, and
-- what else was active within the lag; the other conversations of the user cost nothing.
create function chat_list_conversations(user_id uuid, max_rows bigint, skip bigint, max_bytes bigint)
returns setof text
language plpgsql stable
security definer
set search_path from current
set jit = off
-- Both indexes are read from their end, however few conversations a user has on average.
set enable_bitmapscan = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  item text;
  bytes bigint := 0;
begin
  for item in
    with last_shown as (
      select a.active_at
        from ((select c.active_at from conversations c where c.participant1_id = user_id
                order by c.active_at desc limit skip + max_rows)
              union all
              (select c.active_at from conversations c where c.participant2_id = user_id
                order by c.active_at desc limit skip + max_rows)) a
       order by a.active_at desc
       limit 1 offset greatest(skip + max_rows - 1, 0)
    ), bound as materialized (
      select coalesce((select active_at from last_shown), '-infinity') - chat_activity_lag() as active_at
    ), shown as (
      select c
        from (select c from conversations c
               where c.participant1_id = user_id and c.active_at > (select active_at from bound)
              union all
              select c from conversations c
               where c.participant2_id = user_id and c.active_at > (select active_at from bound)) a (c)
       order by (c).updated_at desc, (c).id desc
       limit max_rows offset skip
    )
    select chat_conversation_json(
             c, chat_summary_json((c).participant1_id, p1.first_name, p1.last_name, p1.avatar_url),
             chat_summary_json((c).participant2_id, p2.first_name, p2.last_name, p2.avatar_url),
             chat_message_json(m, case m.sender_id
               when (c).participant1_id then chat_summary_json(m.sender_id, p1.first_name, p1.last_name, p1.avatar_url)
               when (c).participant2_id then chat_summary_json(m.sender_id, p2.first_name, p2.last_name, p2.avatar_url)
               else chat_user_summary_json(m.sender_id) end),
             unread.count, unread.first_seq)
      from shown
      left join lateral (select * from chat_users() where id = (c).participant1_id limit 1) p1 on true
      left join lateral (select * from chat_users() where id = (c).participant2_id limit 1) p2 on true
      left join lateral (select * from messages where id = (c).last_message_id limit 1) m on true
     -- The index has all of it, also the seq.
     cross join lateral (select count(*) as count, min(u.seq) as first_seq from messages u
                          where u.reader_id = user_id and u.conversation_id = (c).id
                            and not u.is_read and u.deleted_at is null) unread
     order by (c).updated_at desc, (c).id desc
     -- With a limit the JSON is built behind the sort, and only of what is fetched.
     limit max_rows
  loop
    bytes := bytes + octet_length(item);
    if bytes > max_bytes and bytes > octet_length(item) then
      return next null;
      return;
    end if;
    return next item;
  end loop;
end
$$;

-- One conversation as `reader`, one of its two, sees it. `status` is ok, no_conversation, no_user or not_a_participant.
create function chat_get_conversation(conversation uuid, reader uuid)
returns table (status text, answer text)
language plpgsql stable
security definer
set search_path from current
-- By the index, also when the plan was made while the table was small.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  c conversations;
begin
  select * into c from conversations where id = conversation;
  if reader in (c.participant1_id, c.participant2_id) then
    return query select 'ok', chat_conversation_json(c, reader);
  else
    return query select chat_judge_stranger(c, reader), null::text;
  end if;
end
$$;

-- The conversation that `reader` has with `other`, as they see it; no row where there is none.
create function chat_find_conversation(reader uuid, other uuid) returns setof text
language plpgsql stable
security definer
set search_path from current
-- By the index, also when the plan was made while the table was small.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
begin
  return query
  select chat_conversation_json(c, reader)
    from conversations c
   where least(c.participant1_id, c.participant2_id) = least(reader, other)
     and greatest(c.participant1_id, c.participant2_id) = greatest(reader, other);
end
$$;

-- One message as `reader` sees it, one of the two of its conversation; null: whoever knows its id. `status` is ok, no_message, no_user,
-- not_a_participant or deleted.
create function chat_get_message(message uuid, reader uuid)
returns table (status text, answer text)
language plpgsql stable
security definer
set search_path from current
-- By the index, also when the plan was made while the table was small.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  m messages;
  c conversations;
begin
  select * into m from messages where id = message;
  if m.id is null then
    return query select 'no_message', null::text;
    return;
  end if;
  if reader is not null then
    select * into c from conversations where id = m.conversation_id;
    if (reader in (c.participant1_id, c.participant2_id)) is not true then
      return query select chat_judge_stranger(c, reader), null::text;
      return;
    end if;
  end if;
  if m.deleted_at is not null then
    return query select 'deleted', null::text;
  else
    return query select 'ok', chat_message_json(m, chat_user_summary_json(m.sender_id));
  end if;
end
$$;

create function chat_conversation_exists(conversation uuid) returns boolean
language plpgsql stable
security definer
set search_path from current
-- By the index, also when the plan was made while the table was small.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
begin
  return exists (select from conversations c where c.id = conversation);
end
$$;

-- Newest first, by position. Of what is skipped only the rows are read: their JSON is not built.
create function chat_list_messages(conversation uuid, max_rows bigint, skip bigint, max_bytes bigint)
returns setof text
language plpgsql stable
security definer
set search_path from current
set jit = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  item text;
  bytes bigint := 0;
begin
  for item in
    select chat_message_json(m, chat_summary_json(m.sender_id, u.first_name, u.last_name, u.avatar_url))
      from (select * from messages l where l.conversation_id = conversation order by l.seq desc limit max_rows offset skip) m
      left join lateral (select * from chat_users() where id = m.sender_id limit 1) u on true
     order by m.seq desc
  loop
    bytes := bytes + octet_length(item);
    if bytes > max_bytes and bytes > octet_length(item) then
      return next null;
      return;
    end if;
    return next item;
  end loop;
end
$$;

-- Older than `before`, newest first.
create function chat_list_messages_before(conversation uuid, before bigint, max_rows bigint, max_bytes bigint)
returns setof text
language plpgsql stable
security definer
set search_path from current
set jit = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  item text;
  bytes bigint := 0;
begin
  for item in
    select chat_message_json(m, chat_summary_json(m.sender_id, u.first_name, u.last_name, u.avatar_url))
      from messages m
      left join lateral (select * from chat_users() where id = m.sender_id limit 1) u on true
     where m.conversation_id = conversation and m.seq < before
     order by m.seq desc
     limit max_rows
  loop
    bytes := bytes + octet_length(item);
    if bytes > max_bytes and bytes > octet_length(item) then
      return next null;
      return;
    end if;
    return next item;
  end loop;
end
$$;

-- Newer than `after`, oldest first.
create function chat_list_messages_after(conversation uuid, after bigint, max_rows bigint, max_bytes bigint)
returns setof text
language plpgsql stable
security definer
set search_path from current
set jit = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  item text;
  bytes bigint := 0;
begin
  for item in
    select chat_message_json(m, chat_summary_json(m.sender_id, u.first_name, u.last_name, u.avatar_url))
      from messages m
      left join lateral (select * from chat_users() where id = m.sender_id limit 1) u on true
     where m.conversation_id = conversation and m.seq > after
     order by m.seq
     limit max_rows
  loop
    bytes := bytes + octet_length(item);
    if bytes > max_bytes and bytes > octet_length(item) then
      return next null;
      return;
    end if;
    return next item;
  end loop;
end
$$;

-- Reads the entries of the unread messages in their index and nothing else.
create function chat_unread_count(user_id uuid) returns bigint
language plpgsql stable
security definer
set search_path from current
set jit = off
set enable_seqscan = off
as $$
#variable_conflict use_variable
begin
  return (select count(*) from messages m where m.reader_id = user_id and not m.is_read and m.deleted_at is null);
end
$$;
