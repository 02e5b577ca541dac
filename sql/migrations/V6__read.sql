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
    select j.json
      from shown
     cross join lateral chat_listed_conversation_json(c, user_id) j (json)
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

-- Those of a user's conversations that have unread messages, if `unread_only` is set, and whose other participant has `name_part` in their
-- name, if it is not null. Only `candidates` are looked at; null: all of the user's. A query that takes these in the order of active_at, last
-- active first, reads the indexes in that order and looks for the rest one by one, so it may stop when it has enough. Inlined.
create function chat_matching_conversations(user_id uuid, candidates uuid[], unread_only boolean, name_part text)
returns table (id uuid, updated_at timestamptz, active_at timestamptz)
language sql stable
as $$
  select c.id, c.updated_at, c.active_at
    from ((select c.id, c.updated_at, c.active_at, c.participant2_id as other_id
             from conversations c
            where chat_matching_conversations.candidates is null and c.participant1_id = chat_matching_conversations.user_id
            order by c.active_at desc)
          union all
          (select c.id, c.updated_at, c.active_at, c.participant1_id
             from conversations c
            where chat_matching_conversations.candidates is null and c.participant2_id = chat_matching_conversations.user_id
            order by c.active_at desc)
          union all
          (select c.id, c.updated_at, c.active_at,
                  case c.participant1_id when chat_matching_conversations.user_id then c.participant2_id else c.participant1_id end
             from unnest(chat_matching_conversations.candidates) k (id)
            cross join lateral (select * from conversations c where c.id = k.id limit 1) c
            where chat_matching_conversations.user_id in (c.participant1_id, c.participant2_id)
            order by c.active_at desc)) c
    left join lateral (select true as is_there
                         from messages m
                        where chat_matching_conversations.unread_only
                          and m.reader_id = chat_matching_conversations.user_id and m.conversation_id = c.id
                          and not m.is_read and m.deleted_at is null
                        limit 1) unread on true
    left join lateral (select chat_name_has(u.first_name, u.last_name, chat_matching_conversations.name_part) as matches
                         from chat_users() u
                        where chat_matching_conversations.name_part is not null and u.id = c.other_id
                        limit 1) name on true
   where (not chat_matching_conversations.unread_only or unread.is_there)
     and (chat_matching_conversations.name_part is null or name.matches)
$$;

-- The list narrowed, to conversations that are all of this: that with `other` (null: with anybody), with unread messages
-- (`unread_only`), with somebody who has `name_part` in their name (null: any).
--
-- What is unread has an index, so up to 1,000 conversations with unread messages are taken from it, and no others are read. Names have none that
-- pgchat could use: the user's conversations are looked through, last active first, with one look at the users table for each, until the
-- page is full. If few have that name, all of them are.
create function chat_list_matching_conversations(
  user_id uuid, other uuid, unread_only boolean, name_part text, max_rows bigint, skip bigint, max_bytes bigint)
returns setof text
language plpgsql stable
security definer
set search_path from current
set jit = off
-- As in the list of all.
set enable_bitmapscan = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  -- To find a candidate costs some pages. Where more than this have unread messages, the user's conversations are looked through instead,
  -- last active first, until the page is full: nearly all of them, where those with unread messages are the oldest.
  most_unread constant integer := 1000;
  candidates uuid[];
  item text;
  bytes bigint := 0;
begin
  if other is not null then
    candidates := array(
      select c.id from conversations c
       where least(c.participant1_id, c.participant2_id) = least(user_id, other)
         and greatest(c.participant1_id, c.participant2_id) = greatest(user_id, other));
  elsif unread_only then
    -- From one conversation to the next in their index, however many messages are unread in each.
    candidates := array(
      with recursive unread (id) as (
        (select m.conversation_id from messages m
          where m.reader_id = user_id and not m.is_read and m.deleted_at is null
          order by m.conversation_id
          limit 1)
        union all
        select n.id
          from unread u
         cross join lateral (select m.conversation_id from messages m
                              where m.reader_id = user_id and m.conversation_id > u.id and not m.is_read and m.deleted_at is null
                              order by m.conversation_id
                              limit 1) n (id)
      )
      select u.id from unread u limit most_unread + 1);
    if cardinality(candidates) > most_unread then
      candidates := null;
    else
      unread_only := false; -- they all are, in the same snapshot
    end if;
  end if;
  for item in
    -- By active_at, as above: those that are shown are among these, and those that are less than the lag behind the last of these.
    with first_found as materialized (
      select m.id, m.updated_at, m.active_at
        from chat_matching_conversations(user_id, candidates, unread_only, name_part) m
       order by m.active_at desc
       limit skip + max_rows
    ), last_found as materialized (
      -- Null where there are no more.
      select min(f.active_at) as active_at from first_found f having count(*) = skip + max_rows
    ), shown as (
      select a.id, a.updated_at
        from (select f.id, f.updated_at from first_found f
              union
              select m.id, m.updated_at
                from chat_matching_conversations(user_id, candidates, unread_only, name_part) m
               where m.active_at <= (select l.active_at from last_found l)
                 and m.active_at > (select l.active_at from last_found l) - chat_activity_lag()) a
       order by a.updated_at desc, a.id desc
       limit max_rows offset skip
    )
    select j.json
      from shown s
     cross join lateral (select c from conversations c where c.id = s.id limit 1) l (c)
     cross join lateral chat_listed_conversation_json(l.c, user_id) j (json)
     order by s.updated_at desc, s.id desc
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

-- How many messages a user has not read, and in how many conversations. Reads the entries of these messages in their index, where those of a
-- conversation stand together, and nothing else.
create function chat_unread_count(user_id uuid, out unread_messages bigint, out unread_conversations bigint)
language plpgsql stable
security definer
set search_path from current
set jit = off
set enable_seqscan = off
as $$
#variable_conflict use_variable
begin
  select coalesce(sum(c.messages), 0)::bigint, count(*)
    into unread_messages, unread_conversations
    from (select count(*) as messages from messages m
           where m.reader_id = user_id and not m.is_read and m.deleted_at is null
           group by m.conversation_id) c;
end
$$;
