-- What callers do: open a conversation, send, mark as read, edit, delete.
--
-- These functions answer with a status where a caller can be at fault, so that one bad input fails
-- nobody else's; pgchat maps the status to an error.
--
-- Rows may be held by other programs, for as long as those like: a message that is marked, edited or deleted, and the users of a new
-- conversation (its foreign keys). The service's functions wait 0.1 s for them and fail then (lock_not_available, 55P03); the
-- service tries again, and keeps no connection meanwhile. The function's end ends the setting: the commit waits its turn for
-- NOTIFY's lock, however long the queue is, since the service's sessions have no lock_timeout. (Behind a pooler they have the role's, and
-- there the service's statements set it to 0 for what is left of the transaction: src/store/statements.rs.)

-- An acknowledged message survives a crash, and where there is a synchronous standby a failover, too, whatever the database's default
-- is. remote_apply is more than that.
create function chat_require_flush() returns void
language plpgsql
as $$
begin
  if current_setting('synchronous_commit') in ('off', 'local', 'remote_write') then
    perform set_config('synchronous_commit', 'on', true);
  end if;
end
$$;

-- Has a transaction that changes nothing commit like one that does, for an answer that says of something earlier that it is stored.
-- That may have been shown before it is: to others at once with synchronous_commit off, and when the wait for a synchronous standby is
-- cancelled (PostgreSQL manual, "Synchronous Replication"). A commit with nothing in the log waits for neither.
create function chat_require_commit() returns void
language sql volatile
as $$ select pg_logical_emit_message(true, 'pgchat', '') $$;

-- The error where a trigger of the host's has made a message of pgchat's another one.
create function chat_fail_moved() returns void
language plpgsql
as $$
begin
  raise exception 'a trigger has changed the id, conversation_id, sender_id, reader_id or seq of a message'
    using errcode = 'check_violation';
end
$$;

-- What pgchat.batch says (chat_told(), chat_is_own()) while a trigger of a batch sends: where the outer batch is, is still known.
-- With a setting of its own it is not inlined: it stands in expressions that each message without a trigger sets up, too.
create function chat_inner_batch(conversations uuid[], last_seqs bigint[]) returns text
language sql stable
set search_path from current
as $$
  select format('%s %s', pg_trigger_depth(), chat_told() || coalesce(jsonb_object(conversations::text[], last_seqs::text[]), '{}'))
$$;

-- And behind that: what the trigger has told of meanwhile, the batch that it interrupts must not tell of as new once more. Of the
-- trigger's own conversations all is told by the time that its function returns.
create function chat_outer_batch(outer_batch text, conversations uuid[]) returns text
language sql stable
set search_path from current
as $$
  select format('%s %s', split_part(outer_batch, ' ', 1),
                chat_told() || (select coalesce(jsonb_object_agg(c.id, c.last_seq), '{}')
                                  from conversations c where c.id = any (chat_outer_batch.conversations)))
$$;

-- Stores a batch of messages in one transaction: the group commit of a replica's writer.
--
-- The arrays run in parallel. One row comes back for each input, in input order; `status` is
--   stored             committed with this transaction; `message` is the Message
--   repeated           stored before under the same id, or the sender's same client_message_id
--   conflict           the client_message_id stands for another conversation, type or content
--   busy               somebody else holds the conversation's row: try again later
--   dropped            a trigger of the host's took it out of the insert (its function returned null)
--   no_conversation, no_sender, not_a_participant
-- A retry of a batch whose answer was lost is safe: the ids are the caller's, and with `again` they are looked up first.
--
-- Locks: the rows of the conversations to which one of their participants sends, FOR NO KEY UPDATE, in id order; with `skip_locked` those that
-- somebody else holds are left out (busy). Then, where the host has a foreign key for senders, KEY SHARE on their rows. What is waited
-- for, is waited for `lock_wait_ms` milliseconds (0: the session's lock_timeout); with a time, what the transaction waits for afterwards
-- has none.
-- Errors: lock_not_available (55P03) when that time is over; unique_violation when another transaction commits the
-- same client_message_id in another conversation meanwhile, or when `again` was not said and an id is stored already, or
-- last_seq is behind the conversation's messages (a repair by hand, a partial restore); triggered_data_change_violation (27000) when a
-- trigger of the host's updates the conversation before the insert. The batch is then repeated as a
-- whole, with `again`, which looks at the messages themselves, and moves last_seq in a statement of its own.
--
-- What is rare stands apart from what is stored, because a statement's start costs as much as storing several messages,
-- and grows with its text; chat_messages_after_insert() would be three more, and build each Message a second time.
create function chat_send_messages(
  ids uuid[], conversation_ids uuid[], sender_ids uuid[], contents text[], message_types text[],
  client_message_ids text[],
  skip_locked boolean default false, lock_wait_ms integer default 0, again boolean default true)
returns table (place integer, status text, message text)
language plpgsql
security definer
set search_path from current
set plan_cache_mode = force_generic_plan
-- The planner takes an array for 10 rows. Joins within the batch must hash, or they cost its square; the
-- look-ups of tables are one index scan for each row, whatever it thinks, and also when the plan was made while the
-- tables were small: the foreign keys' plans too, which are made here.
set enable_nestloop = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  held uuid[];
  first_participants uuid[];
  second_participants uuid[];
  last_seqs bigint[];
  places bigint[];
  heads text[];
  bodies text[];
  was_set text;
  inserted bigint;
  newest bigint;
  moved bigint;
  ignored text;
begin
  if current_setting('synchronous_commit') <> 'on' then
    perform chat_require_flush();
  end if;
  if lock_wait_ms > 0 then
    ignored := set_config('lock_timeout', lock_wait_ms::text, true);
  end if;

  -- A row that is locked is read as it is then, not as the statement's snapshot has it. Those to which no participant sends
  -- are not locked, whoever else is in the batch: a stranger neither waits for others' conversations, which would tell
  -- of their existence, nor holds them up. The pairs are hashed, once for the batch.
  if skip_locked then
    select array_agg(l.id), array_agg(l.participant1_id), array_agg(l.participant2_id), array_agg(l.last_seq)
      into held, first_participants, second_participants, last_seqs
      from (select c.id, c.participant1_id, c.participant2_id, c.last_seq
              from conversations c
             where c.id = any (conversation_ids)
               and ((c.id, c.participant1_id) in (select * from unnest(conversation_ids, sender_ids))
                    or (c.id, c.participant2_id) in (select * from unnest(conversation_ids, sender_ids)))
             order by c.id for no key update skip locked) l;
  else
    select array_agg(l.id), array_agg(l.participant1_id), array_agg(l.participant2_id), array_agg(l.last_seq)
      into held, first_participants, second_participants, last_seqs
      from (select c.id, c.participant1_id, c.participant2_id, c.last_seq
              from conversations c
             where c.id = any (conversation_ids)
               and ((c.id, c.participant1_id) in (select * from unnest(conversation_ids, sender_ids))
                    or (c.id, c.participant2_id) in (select * from unnest(conversation_ids, sender_ids)))
             order by c.id for no key update) l;
  end if;
  if pg_trigger_depth() > 0 or again then
    last_seqs := array(select chat_publish_outer(h.id) from unnest(held) with ordinality h (id, place) order by h.place);
  end if;
  if again then
    last_seqs := array(select greatest(h.last_seq, (select max(m.seq) from messages m where m.conversation_id = h.id))
                         from unnest(held, last_seqs) with ordinality h (id, last_seq, place) order by h.place);
    -- What was stored and then deleted outright is in no conversation any more.
    conversation_ids := array(
      select case when (select t.message_id from chat_tombstones t where t.message_id = i.id) is null then i.conversation_id end
        from unnest(ids, conversation_ids) with ordinality i (id, conversation_id, place) order by i.place);
  end if;

  -- A second statement: its snapshot is newer than the locks, so it sees what the former holders of the
  -- locks stored. In one statement, repeats would be missed and seq would have gaps.
  was_set := coalesce(current_setting('pgchat.batch', true), '');
  ignored := set_config('pgchat.batch',
                        case was_set when '' then format('%s %s', pg_trigger_depth(), json_object(held::text[], last_seqs::text[]))
                        else chat_inner_batch(held, last_seqs) end, true);
  with input as materialized (
    select i.*, k.participant1_id, k.participant2_id, k.last_seq,
           case i.sender_id when k.participant1_id then k.participant2_id else k.participant1_id end as reader_id,
           case when i.client_message_id is null then true
                -- the first of those in this batch that share a client_message_id
                else row_number() over (partition by i.client_message_id, i.sender_id order by i.place) = 1
           end as is_first
      from unnest(ids, conversation_ids, sender_ids, contents, message_types, client_message_ids)
           with ordinality as i (id, conversation_id, sender_id, content, message_type, client_message_id, place)
      join unnest(held, first_participants, second_participants, last_seqs)
           as k (id, participant1_id, participant2_id, last_seq) on k.id = i.conversation_id
     where i.sender_id in (k.participant1_id, k.participant2_id)
  ), fresh as materialized (
    -- With `again` no row of conversations is updated here, but below.
    select i.*, i.last_seq + row_number() over in_order as seq, lead(i.id) over in_order is null and not again as newest
      from input i
     where i.is_first
       and case when i.client_message_id is null then true
                -- Not "not exists", for which a plan that was made while there were few may read all of them.
                else (select m.id from messages m
                       where m.sender_id = i.sender_id and m.client_message_id = i.client_message_id) is null end
       and case when again then (select m.id from messages m where m.id = i.id) is null else true end
    window in_order as (partition by i.conversation_id order by i.place)
  ), stored as (
    insert into messages (id, conversation_id, sender_id, reader_id, content, message_type, client_message_id, seq,
                          created_at, updated_at)
    select f.id, f.conversation_id, f.sender_id, f.reader_id, f.content, f.message_type::chat_message_type, f.client_message_id,
           f.seq, t.now, t.now
      from fresh f, (select clock_timestamp() as now) t
     order by f.place
    returning *
  ), event as materialized (
    select f.place, f.newest, s.id, s.conversation_id, s.seq, s.created_at,
           chat_message_event_head('chat_message', s::messages, f.participant1_id, f.participant2_id) as head,
           chat_message_json(s::messages,
                             chat_summary_json(s.sender_id, u.first_name, u.last_name, u.avatar_url)) as message
      from stored s
      -- Not what a trigger of the host's has moved somewhere else.
      join fresh f on f.id = s.id and f.conversation_id = s.conversation_id and f.seq = s.seq
                      and f.sender_id = s.sender_id and f.reader_id = s.reader_id
      left join lateral (select * from chat_users() where id = s.sender_id limit 1) u on true
  ), followed as (
    update conversations c
       set last_seq = e.seq,
           last_message_id = e.id,
           last_xid = pg_current_xact_id(),
           updated_at = greatest(c.updated_at, e.created_at),
           active_at = chat_active_at(c.active_at, c.updated_at, e.created_at)
      from event e
     -- The array, so that not the whole table is hashed.
     where e.newest and c.id = e.conversation_id and c.id = any (held)
    returning c.id
  )
  select array_agg(e.place), array_agg(e.head), array_agg(e.message), count(*) filter (where e.newest),
         (select count(*) from stored), (select count(*) from followed)
    into places, heads, bodies, newest, inserted, moved
    from (select v.place, v.head, v.message, v.newest from event v order by v.place) e;
  if again and inserted > 0 then
    -- In a statement of its own: a trigger of the host's before the insert may have updated the conversation's row, and what a
    -- statement has begun with, it cannot update then (27000).
    perform chat_follow(n.conversation_id, n.id, n.seq, n.created_at)
       from (select distinct on (m.conversation_id) m.conversation_id, m.id, m.seq, m.created_at
               from unnest(places) p
              cross join lateral (select * from messages where id = ids[p] limit 1) m
              order by m.conversation_id, m.seq desc) n;
  end if;
  if was_set <> '' then
    was_set := chat_outer_batch(was_set, held);
  end if;
  ignored := set_config('pgchat.batch', was_set, true);
  if lock_wait_ms > 0 then
    -- The commit waits its turn for NOTIFY's lock, however long the queue is, and whatever the role's lock_timeout.
    ignored := set_config('lock_timeout', '0', true);
  end if;

  if inserted > 0 then
    if inserted <> coalesce(cardinality(places), 0) then
      perform chat_fail_moved();
    elsif moved <> newest then
      perform chat_fail_dropped('the change of a conversation');
    end if;
    perform chat_publish(heads, bodies);
  end if;
  if cardinality(places) = cardinality(ids) then
    return query select p.place::integer, 'stored', p.message from unnest(places, bodies) as p (place, message);
    return;
  end if;
  -- Why the others were not stored. The first of several with the same client_message_id is in the table by now.
  for place, status, message in
    select i.place::integer, v.status,
           case when p.place is not null then p.message
                when v.status in ('stored', 'repeated') then
                  coalesce((select chat_message_json(m, chat_user_summary_json(m.sender_id))
                              from messages m where m.id = coalesce(o.id, e.id)), g.message) end
      from unnest(ids, conversation_ids, sender_ids, contents, message_types, client_message_ids)
           with ordinality as i (id, conversation_id, sender_id, content, message_type, client_message_id, place)
      left join unnest(places, bodies) as p (place, message) on p.place = i.place
      left join lateral (select c.* from conversations c where c.id = i.conversation_id limit 1) c on true
      left join lateral (select m.id, m.conversation_id = i.conversation_id and m.sender_id = i.sender_id as same
                           from messages m where again and m.id = i.id limit 1) o on true
      left join lateral (select t.message from chat_tombstones t where again and t.message_id = i.id limit 1) g on true
      left join lateral (select m.id, m.conversation_id = i.conversation_id
                                      -- Not by its revision, which rises where it is made unread again, too.
                                      and (m.edited_at is not null or m.deleted_at is not null
                                           or (m.content = i.content and m.message_type::text = i.message_type)
                                           -- As a trigger of the host's may have made it.
                                           or exists (select from pg_trigger t
                                                       where t.tgrelid = 'messages'::regclass and not t.tgisinternal
                                                         and t.tgenabled <> 'D' and t.tgtype & 7 = 7
                                                         and t.tgname <> 'zz_chat_messages_before_insert')) as same
                           from messages m
                          where m.sender_id = i.sender_id and m.client_message_id = i.client_message_id limit 1) e on true
     cross join lateral (
       select case when p.place is not null or g.message is not null then 'stored'
                   when c.id is null then 'no_conversation'
                   when i.sender_id not in (c.participant1_id, c.participant2_id) then
                     -- Not "exists", for which a plan that was made while there were few may read all of them.
                     case when (select u.id from chat_users() u where u.id = i.sender_id limit 1) is null
                          then 'no_sender' else 'not_a_participant' end
                   -- Our own id: the answer of the transaction that stored it was lost.
                   when o.id is not null then case when o.same then 'stored' else 'conflict' end
                   when e.id is not null then case when e.same then 'repeated' else 'conflict' end
                   when i.conversation_id = any (held) then 'dropped'
                   else 'busy' end as status) v
     order by i.place
  loop
    -- Those behind it in its conversation were numbered as if it were there.
    if status = 'dropped' and cardinality(ids) > 1 then
      perform chat_fail_dropped('a message of the batch');
    end if;
    -- Where the conversation is held by somebody else, nothing was locked, and the commit would wait for nobody.
    if status in ('stored', 'repeated') and pg_current_xact_id_if_assigned() is null then
      perform chat_require_commit();
    end if;
    return next;
  end loop;
end
$$;

-- Stores one message in one transaction, as chat_send_messages() does with a batch of one and `again => false`, and
-- answers the same: the same locks, and one row without a `place`. Where another transaction commits the same
-- client_message_id meanwhile, it answers `repeated` or `conflict` instead of failing with unique_violation.
--
-- Where little is sent, most batches hold one message, and the statements above cost such a batch several times as much
-- as the few look-ups that it needs. Only what is stored or dropped is handled here; whatever else it turns
-- out to be (repeated, refused, busy) is left to chat_send_messages(), which tells them apart.
create function chat_store_message(
  new_id uuid, conversation uuid, sender uuid, new_content text, new_type text, client_id text,
  skip_locked boolean default false, lock_wait_ms integer default 0,
  out status text, out message text)
language plpgsql
security definer
set search_path from current
set plan_cache_mode = force_generic_plan
-- The foreign keys' plans are made here, too.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  held record;
  summary record;
  reader uuid;
  stored messages;
  was_set text := coalesce(current_setting('pgchat.batch', true), '');
  moment timestamptz;
  is_newest boolean;
  event text;
  payload text;
  ignored text;
begin
  if current_setting('synchronous_commit') <> 'on' then
    perform chat_require_flush();
  end if;
  if lock_wait_ms > 0 then
    ignored := set_config('lock_timeout', lock_wait_ms::text, true);
  end if;
  -- Who is no participant waits for nobody: the length of the wait would tell them that the conversation exists.
  if skip_locked then
    select c.participant1_id, c.participant2_id, c.last_seq into held
      from conversations c where c.id = conversation and sender in (c.participant1_id, c.participant2_id)
       for no key update skip locked;
  else
    select c.participant1_id, c.participant2_id, c.last_seq into held
      from conversations c where c.id = conversation and sender in (c.participant1_id, c.participant2_id)
       for no key update;
  end if;

  if found then
    if pg_trigger_depth() > 0 then
      held.last_seq := chat_publish_outer(conversation);
      was_set := coalesce(current_setting('pgchat.batch', true), '');
    end if;
    reader := case sender when held.participant1_id then held.participant2_id else held.participant1_id end;
    moment := clock_timestamp();
    ignored := set_config('pgchat.batch',
                          case was_set when '' then format('%s {"%s":%s}', pg_trigger_depth(), conversation, held.last_seq)
                          else chat_inner_batch(array[conversation], array[held.last_seq]) end, true);
    insert into messages (id, conversation_id, sender_id, reader_id, content, message_type, client_message_id, seq,
                          created_at, updated_at)
    values (new_id, conversation, sender, reader, new_content, new_type::chat_message_type, client_id, held.last_seq + 1, moment, moment)
        on conflict (sender_id, client_message_id) where client_message_id is not null do nothing
    returning * into stored;
  end if;
  if stored.id is null then
    if was_set <> '' then
      was_set := chat_outer_batch(was_set, array[conversation]);
    end if;
    ignored := set_config('pgchat.batch', was_set, true);
    if lock_wait_ms > 0 then
      ignored := set_config('lock_timeout', '0', true);
    end if;
    -- A trigger of the host's has dropped it. Inserted again, it would have that trigger act twice.
    if reader is not null
       and (client_id is null
            or not exists (select from messages m where m.sender_id = sender and m.client_message_id = client_id)) then
      status := 'dropped';
      return;
    end if;
    select r.status, r.message into status, message
      from chat_send_messages(array[new_id], array[conversation], array[sender], array[new_content], array[new_type],
                              array[client_id], skip_locked, lock_wait_ms, false) r;
    return;
  end if;
  if (stored.id, stored.conversation_id, stored.sender_id, stored.reader_id, stored.seq)
     <> (new_id, conversation, sender, reader, held.last_seq + 1) then
    perform chat_fail_moved();
  end if;

  update conversations c
     set last_seq = stored.seq,
         last_message_id = stored.id,
         last_xid = pg_current_xact_id(),
         updated_at = greatest(c.updated_at, moment),
         active_at = chat_active_at(c.active_at, c.updated_at, moment)
   where c.id = conversation and c.last_seq < stored.seq;
  -- Otherwise a trigger of the host's has inserted another one behind it meanwhile, and so published this one, too.
  is_newest := found;
  if not is_newest then
    -- A condition of its own: with a query in it, it would be a statement each time.
    if (select c.last_seq from conversations c where c.id = conversation) < stored.seq then
      perform chat_fail_dropped('the change of a conversation');
    end if;
    -- It was another message's, which was not told of yet and which a trigger of the host's has deleted meanwhile.
    if exists (select from chat_tombstones t
                where t.conversation_id = conversation and t.seq = stored.seq and t.message_id <> stored.id) then
      raise unique_violation using message = 'the seq of a message was taken meanwhile';
    end if;
  end if;
  if was_set <> '' then
    was_set := chat_outer_batch(was_set, array[conversation]);
  end if;
  ignored := set_config('pgchat.batch', was_set, true);
  if lock_wait_ms > 0 then
    -- The commit waits its turn for NOTIFY's lock, however long the queue is, and whatever the role's lock_timeout.
    ignored := set_config('lock_timeout', '0', true);
  end if;
  -- Not chat_user_summary_json(): what is not inlined is parsed and planned at each call, for a third of the whole.
  select u.first_name, u.last_name, u.avatar_url into summary from chat_users() u where u.id = sender;
  status := 'stored';
  message := chat_message_json(
    stored, chat_summary_json(sender, summary.first_name, summary.last_name, summary.avatar_url));
  if is_newest then
    -- As chat_publish() does with one event.
    event := chat_message_event_head('chat_message', stored, held.participant1_id, held.participant2_id);
    payload := format('%s,"events":[%s,"data":%s}]}', chat_payload_head(), event, message);
    if octet_length(payload) > chat_max_payload() then
      payload := format('%s,"events":[%s,"seq":%s}]}', chat_payload_head(), event, stored.seq);
    end if;
    perform pg_notify(chat_channel(), payload);
  end if;
end
$$;

-- Whether nobody sees anything of a content, or of an empty one: what Unicode 17 has as White_Space (PropList.txt) or as
-- Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and the Braille pattern without dots, as the service has them (is_invisible()
-- in src/model/invisible.rs). In "C", since the text may have a collation of the host's that knows no regular expressions.
create function chat_is_invisible(content text) returns boolean
language sql immutable parallel safe
as $$
  select content collate "C" !~ (
    e'[^\u0009-\u000d\u0020\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f'
    '\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]')
$$;

-- One message, for other programs; waits for the conversation's lock. Returns the Message as JSON.
-- Repeating a client_message_id returns the first one.
create function chat_send_message(
  conversation_id uuid, sender_id uuid, content text, message_type text default 'text',
  client_message_id text default null)
returns json
language plpgsql
security definer
set search_path from current
set jit = off
set enable_seqscan = off
as $$
declare
  result record;
  visible text := btrim(content, E' \t\n\r\f\x0b');
begin
  -- Anything else that nobody sees is beyond ASCII: no other content pays for the look. A statement of its own, or its expression
  -- would be set up for each.
  if ascii(visible) > 127 then
    if chat_is_invisible(visible) then
      visible := '';
    end if;
  end if;
  if visible is null or visible = '' then
    raise exception 'content must not be empty, or only white space and invisible characters' using errcode = 'check_violation';
  end if;
  if client_message_id is not null and octet_length(client_message_id) not between 1 and 64 then
    raise exception 'client_message_id must be 1 to 64 bytes' using errcode = 'check_violation';
  end if;
  -- As chat_has_answerable_size(): no trigger looks at what is stored below.
  if octet_length(content) > 10485760
     and (octet_length(content) > 66060286 or octet_length(to_json(content)::text) > 66060288) then
    raise exception 'content must be at most 64 MiB as JSON, less 1 MiB for what stands around it' using errcode = 'check_violation';
  end if;
  message_type := coalesce(message_type, 'text');
  if message_type not in ('text', 'image', 'file') then
    raise exception 'message_type must be text, image or file, not %', message_type using errcode = 'check_violation';
  end if;
  -- Only where last_seq is behind (a repair by hand, or rows of the statement that calls this) something can be in the way. Elsewhere no
  -- subtransaction: with one for each message, a transaction with many of them takes ever longer.
  if not exists (select from messages m
                  where m.conversation_id = chat_send_message.conversation_id
                    -- Not joined: that would read the whole conversation.
                    and m.seq > (select c.last_seq from conversations c where c.id = chat_send_message.conversation_id)
                    -- chat_publish_outer() moves it behind these.
                    and (pg_trigger_depth() = 0 or m.create_xid is distinct from pg_current_xact_id())) then
    select * into result
      from chat_store_message(chat_uuid_v7(), conversation_id, sender_id, content, message_type, client_message_id);
  else
    for attempt in 1..2 loop
      begin
        select r.status, r.message into result
          from chat_send_messages(array[chat_uuid_v7()], array[conversation_id], array[sender_id], array[content],
                                  array[message_type], array[client_message_id], again => true) r;
        exit;
      exception when unique_violation then
        -- The same client_message_id was committed meanwhile: the next attempt sees it.
        if attempt = 2 then
          raise;
        end if;
      end;
    end loop;
  end if;
  case result.status
    when 'stored', 'repeated' then
      return result.message::json;
    when 'conflict' then
      raise exception 'client_message_id % was used for another message', client_message_id
        using errcode = 'unique_violation';
    when 'no_conversation' then
      raise exception 'conversation % does not exist', conversation_id using errcode = 'foreign_key_violation';
    when 'no_sender' then
      raise exception 'user % does not exist', sender_id using errcode = 'foreign_key_violation';
    when 'dropped' then
      raise exception 'a trigger has dropped the message' using errcode = 'triggered_action_exception';
    else
      raise exception 'user % is not a participant of conversation %', sender_id, conversation_id
        using errcode = 'check_violation';
  end case;
end
$$;

-- The conversation of two users, in either order; made when there is none. `status` is created, existed,
-- no_user (then `conversation` is the unknown user's id), or dropped where a trigger of the host's took it out of the insert (its function
-- returned null) or has deleted it. As `reader` sees it.
create function chat_open_conversation(user1 uuid, user2 uuid, reader uuid)
returns table (status text, conversation text)
language plpgsql
security definer
set search_path from current
set lock_timeout = '100ms'
set jit = off
as $$
#variable_conflict use_variable
declare
  missing uuid;
  made uuid;
  found_row conversations;
  before pg_snapshot;
  was_refused boolean := false;
begin
  perform chat_require_flush();
  loop
    select w.id into missing
      from unnest(array[user1, user2]) with ordinality as w (id, place)
     where (select u.id from chat_users() u where u.id = w.id limit 1) is null
     order by w.place limit 1;
    if missing is not null then
      return query select 'no_user', missing::text;
      return;
    end if;
    before := pg_current_snapshot();
    begin
      insert into conversations (participant1_id, participant2_id) values (user1, user2)
          on conflict (least(participant1_id, participant2_id), greatest(participant1_id, participant2_id)) do nothing
      returning id into made;
    exception when foreign_key_violation then
      -- Once more, where somebody was deleting one of the two, and has ended while this waited.
      if was_refused then
        raise;
      end if;
      was_refused := true;
      continue;
    end;
    -- A new statement, so that a row which another transaction committed meanwhile is seen.
    select * into found_row from conversations c
     where least(c.participant1_id, c.participant2_id) = least(user1, user2)
       and greatest(c.participant1_id, c.participant2_id) = greatest(user1, user2);
    exit when found;
    -- Once more, where another program has deleted it between the two statements. Otherwise the host's trigger would be asked twice.
    if not exists (select from chat_conversation_tombstones t
                    where t.participant1_id in (user1, user2) and t.participant2_id in (user1, user2)
                      and not pg_visible_in_snapshot(chat_own_xid(t.change_xid), before)
                      and t.change_xid is distinct from pg_current_xact_id_if_assigned()) then
      return query select 'dropped', null::text;
      return;
    end if;
  end loop;
  if made is null and current_setting('synchronous_standby_names') <> '' then
    perform chat_require_commit();
  end if;
  return query select case when made is null then 'existed' else 'created' end,
                      chat_conversation_json(found_row, reader);
end
$$;

-- For other programs: the id of the conversation of two users, in either order, which is made when there is none. With the rights of whoever
-- calls it, who needs those of a plain insert: to insert the two participants, and to select.
-- Errors: those of that insert (23502, 23503, 23514, and what a trigger of the host's raises); 09000 where a trigger takes the row out of the
-- insert (its function returned null), or another program deletes the conversation at this moment; 40001 where the transaction is not read
-- committed, and another one has made the conversation since its snapshot.
-- Locks: as the insert. It waits for whoever is making the same conversation, or deleting it.
create function chat_conversation(user1 uuid, user2 uuid) returns uuid
language plpgsql
set search_path from current
-- By the index, also when the plan was made for a smaller table.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  found_id uuid;
begin
  -- Mostly it is there, and then nothing is written, locked, or asked of a trigger.
  for is_again in 0 .. 1 loop
    select c.id into found_id from conversations c
     where least(c.participant1_id, c.participant2_id) = least(user1, user2)
       and greatest(c.participant1_id, c.participant2_id) = greatest(user1, user2);
    exit when found or is_again = 1;
    insert into conversations as c (participant1_id, participant2_id) values (user1, user2)
        on conflict (least(participant1_id, participant2_id), greatest(participant1_id, participant2_id)) do nothing
    returning c.id into found_id;
    exit when found;
    -- A new statement sees the row that another transaction has committed meanwhile.
  end loop;
  if found_id is null then
    raise exception 'a trigger has dropped the conversation, or it was deleted at this moment'
      using errcode = 'triggered_action_exception';
  end if;
  return found_id;
end
$$;

-- Marks the other participant's messages as read, all of them or those up to a seq, at most `max_rows` of those behind `after_seq`, and
-- none behind 4 MiB of them: each is written anew, and its words are put into the search index once more, so that a hundred thousand, or
-- a thousand of 64 KiB, take longer than a statement may. `marked_to` is then what to say as `after_seq` next; null when there are no more.
-- `status` is ok, no_conversation, no_user or not_a_participant. Locks: the marked rows, in seq order.
-- Reads the unread messages, and when there is nothing to mark, one that was read before.
create function chat_mark_read(conversation uuid, reader uuid, up_to_seq bigint default null,
                               after_seq bigint default 0, max_rows bigint default 10000)
returns table (status text, marked_count bigint, read_seq bigint, marked_to bigint)
language plpgsql
security definer
set search_path from current
set lock_timeout = '100ms'
set jit = off
-- By the index, also when the plan was made for a smaller table.
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  -- Measured by its length, which stands in the row: the content itself is not read.
  max_bytes constant bigint := 4194304;
  c conversations;
  first_unread bigint;
  newest bigint;
begin
  select * into c from conversations where id = conversation;
  if (reader in (c.participant1_id, c.participant2_id)) is not true then
    return query select chat_judge_stranger(c, reader), 0::bigint, 0::bigint, null::bigint;
    return;
  end if;
  perform chat_require_flush();

  -- A trigger of the host's may drop a mark, or take it back: what comes back is what is stored.
  -- What a portion is, is read before anything is locked.
  with unread as (
    select m.seq, octet_length(m.content) as bytes from messages m
     where m.reader_id = reader and m.conversation_id = conversation
       and not m.is_read and m.deleted_at is null
       and m.seq > after_seq and m.seq <= coalesce(up_to_seq, 9223372036854775807)
     order by m.seq
     limit max_rows
  ), portion as (
    select u.seq
      from (select r.seq, sum(r.bytes) over (order by r.seq) - r.bytes as bytes_before from unread r) u
     where u.bytes_before < max_bytes
  ), target as (
    select m.id from messages m
     where m.reader_id = reader and m.conversation_id = conversation
       and not m.is_read and m.deleted_at is null
       and m.seq > after_seq and m.seq <= (select max(p.seq) from portion p)
     order by m.seq
       for no key update
  ), marked as (
    -- Not joined: planned for an empty table, that would read the whole table for each of them.
    update messages m set is_read = true where m.id = any (array(select t.id from target t)) and not m.is_read returning m.is_read
  )
  select (select count(*) from marked k where k.is_read),
         (select max(p.seq) from portion p having count(*) = max_rows or count(*) < (select count(*) from unread))
    into marked_count, marked_to;

  -- In one statement: of a message that comes between two, the first would know nothing, and the other its seq.
  select min(m.seq), (select l.last_seq from conversations l where l.id = conversation) into first_unread, newest
    from messages m
   where m.reader_id = reader and m.conversation_id = conversation and not m.is_read and m.deleted_at is null;

  -- Up to the one before the first that is unread, to the end when none is; 0 when none was ever read.
  read_seq := coalesce(first_unread - 1, newest);
  -- Marks of nothing are frequent, and only a standby makes them worth a flush.
  if marked_count = 0 and current_setting('synchronous_standby_names') <> '' then
    perform chat_require_commit();
  end if;
  if marked_count = 0 and not chat_has_read(conversation, reader, read_seq) then
    read_seq := 0;
  end if;
  status := 'ok';
  return next;
end
$$;

-- Why a user who is not one of the conversation's two may not read it; `c` is null where there is none. Reads the user.
create function chat_judge_stranger(c conversations, stranger uuid) returns text
language plpgsql stable
as $$
#variable_conflict use_variable
begin
  if c.id is null then
    return 'no_conversation';
  elsif exists (select from chat_users() u where u.id = stranger) then
    return 'not_a_participant';
  else
    return 'no_user';
  end if;
end
$$;

-- Whether the reader has read any message of the other up to this seq.
create function chat_has_read(conversation uuid, reader uuid, up_to_seq bigint) returns boolean
language sql stable
as $$
  select exists (select from messages m
                  where m.reader_id = chat_has_read.reader and m.conversation_id = chat_has_read.conversation
                    and m.is_read and m.seq <= chat_has_read.up_to_seq)
$$;

-- Marks as read in several conversations in one transaction: chat_mark_read() for those who mark at the same moment. The arrays run in
-- parallel, and no reader is named twice for one conversation. One row comes back for each input, in input order; `status` is as for
-- chat_mark_read(), or `alone`: nothing was marked, and chat_mark_read() is to do it. Somebody else holds one of the messages, or they
-- are more than `max_rows`, or of more than `max_bytes` together, and the others are not to wait for that.
--
-- Locks: the messages, in the order of conversation and seq; what is held is left out, and some of those that stay unmarked may be locked.
-- Reads for each input what chat_mark_read() reads, at most `max_rows` and one of its unread messages.
-- Errors: whatever a trigger of the host's raises, about whichever message; lock_not_available (55P03) where a trigger waits for 0.1 s. Then
-- nothing is marked.
create function chat_mark_read_many(conversation_ids uuid[], reader_ids uuid[], up_to_seqs bigint[],
                                    max_rows bigint default 100, max_bytes bigint default 16384)
returns table (place integer, status text, marked_count bigint, read_seq bigint)
language plpgsql
security definer
set search_path from current
set lock_timeout = '100ms'
set plan_cache_mode = force_generic_plan
set jit = off
-- By the index, also when the plan was made for a smaller table.
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  -- How many messages were marked for each input; null where that is not done here.
  counts bigint[];
begin
  if current_setting('synchronous_commit') <> 'on' then
    perform chat_require_flush();
  end if;

  -- A trigger of the host's may drop a mark, or take it back: what comes back is what is stored. Nothing is joined here, but looked up or
  -- hashed: the planner takes an array for 10 rows.
  with unread as materialized (
    -- One row for each input at least.
    select i.place, c.id is not null as is_participant, m.id,
           count(m.id) over of_input <= max_rows and coalesce(sum(m.bytes) over of_input, 0) <= max_bytes as are_few
      from unnest(conversation_ids, reader_ids, up_to_seqs) with ordinality as i (conversation_id, reader_id, up_to_seq, place)
      left join lateral (select * from conversations where id = i.conversation_id limit 1) c
             on i.reader_id in (c.participant1_id, c.participant2_id)
      left join lateral (select u.id, octet_length(u.content) as bytes from messages u
                          where u.reader_id = i.reader_id and u.conversation_id = c.id
                            and not u.is_read and u.deleted_at is null
                            and u.seq <= coalesce(i.up_to_seq, 9223372036854775807)
                          order by u.seq limit max_rows + 1) m on true
    window of_input as (partition by i.place)
  ), held as materialized (
    -- By this statement. Left out is also what was changed since its snapshot so that it is not to be marked any more.
    select m.id from messages m
     where m.id = any (array(select u.id from unread u where u.are_few))
       -- So said that no plan reads the index of all that is unread for it.
       and case when m.is_read or m.deleted_at is not null then false else true end
     order by m.conversation_id, m.seq
       for no key update skip locked
  ), free as materialized (
    select u.place, array_agg(u.id) as ids
      from unread u
     group by u.place
    having bool_and(u.id in (select h.id from held h))
  ), marked as (
    update messages m set is_read = true
     where m.id = any (array(select unnest(f.ids) from free f)) and not m.is_read
    returning m.id, m.is_read
  )
  select array_agg(k.marked order by k.place) into counts
    from (select u.place,
                 case when bool_and(u.is_participant and (u.id is null or u.id in (select h.id from held h)))
                      then count(*) filter (where u.id in (select m.id from marked m where m.is_read)) end as marked
            from unread u group by u.place) k;

  if current_setting('synchronous_standby_names') <> '' then
    -- A condition of its own: with a query in it, it would be a statement each time.
    if coalesce((select sum(n.marked) from unnest(counts) n (marked)), 0) = 0 then
      perform chat_require_commit();
    end if;
  end if;

  -- As in chat_mark_read(). Whoever has become a participant meanwhile is left alone.
  return query
  select i.place::integer,
         case when (i.reader_id in ((c.row).participant1_id, (c.row).participant2_id)) is not true then chat_judge_stranger(c.row, i.reader_id)
              when i.marked is null then 'alone'
              else 'ok' end,
         coalesce(i.marked, 0),
         case when i.marked > 0 then r.read_seq
              -- chat_has_read(), which would be planned anew for each.
              when i.marked = 0 and (select m.id from messages m
                                      where m.reader_id = i.reader_id and m.conversation_id = i.conversation_id
                                        and m.is_read and m.seq <= r.read_seq
                                      limit 1) is not null then r.read_seq
              else 0 end
    from unnest(conversation_ids, reader_ids, counts) with ordinality as i (conversation_id, reader_id, marked, place)
    left join lateral (select k as row from conversations k where k.id = i.conversation_id limit 1) c on true
    left join lateral (select m.seq from messages m
                        where m.reader_id = i.reader_id and m.conversation_id = i.conversation_id
                          and not m.is_read and m.deleted_at is null
                        order by m.seq limit 1) u on true
   cross join lateral (select coalesce(u.seq - 1, (c.row).last_seq) as read_seq) r
   order by i.place;
end
$$;

-- Replaces a message's content. `status` is ok, no_message, no_user, not_a_participant, not_the_sender, deleted, or dropped where a
-- trigger of the host's took it out of the update (its function returned null).
create function chat_edit_message(message_id uuid, editor uuid, new_content text)
returns table (status text, message text)
language plpgsql
security definer
set search_path from current
set lock_timeout = '100ms'
set jit = off
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  m messages;
  verdict text;
  before pg_snapshot;
begin
  perform chat_require_flush();
  loop
    before := pg_current_snapshot();
    verdict := chat_judge_author(message_id, editor);
    exit when verdict is not null;
    update messages set content = new_content where id = message_id and sender_id = editor and deleted_at is null returning * into m;
    exit when found;
    verdict := chat_why_unchanged(message_id, before);
    -- Once more, if whoever held the row that was waited for has deleted it and inserted it again.
    exit when verdict <> 'replaced';
  end loop;
  if verdict is not null then
    return query select verdict, null::text;
    return;
  end if;
  return query select 'ok', chat_message_json(m, chat_user_summary_json(m.sender_id));
end
$$;

-- Deletes a message softly; again is ok too. `status` as for chat_edit_message(), dropped also where a trigger of the host's has put
-- deleted_at back.
create function chat_delete_message(message_id uuid, deleter uuid) returns text
language plpgsql
security definer
set search_path from current
set lock_timeout = '100ms'
set jit = off
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  verdict text;
  deleted timestamptz;
  before pg_snapshot;
begin
  perform chat_require_flush();
  loop
    before := pg_current_snapshot();
    verdict := chat_judge_author(message_id, deleter);
    if verdict is not null then
      return verdict;
    end if;
    update messages set deleted_at = clock_timestamp()
     where id = message_id and sender_id = deleter and deleted_at is null returning deleted_at into deleted;
    if deleted is not null then
      return 'ok';
    end if;
    verdict := chat_why_unchanged(message_id, before);
    if verdict = 'dropped' then
      return verdict;
    elsif verdict <> 'replaced' then
      perform chat_require_commit();
      return 'ok';
    end if;
    -- Once more, as in chat_edit_message().
  end loop;
end
$$;

-- Why an update of a message that was not deleted in the snapshot `before` has changed nothing: no_message, deleted, replaced (by another
-- transaction, which has inserted one of this id since), or dropped by a trigger of the host's, which is not to be asked again.
create function chat_why_unchanged(message uuid, before pg_snapshot) returns text
language sql volatile
as $$
  select case
    when m.id is null then 'no_message'
    when m.deleted_at is not null then 'deleted'
    when not pg_visible_in_snapshot(chat_own_xid(m.create_xid), chat_why_unchanged.before)
         and m.create_xid is distinct from pg_current_xact_id_if_assigned() then 'replaced'
    else 'dropped' end
    from (select) one
    left join messages m on m.id = chat_why_unchanged.message
$$;

-- Why `author` may not change the message; null when they may.
create function chat_judge_author(message uuid, author uuid) returns text
language sql stable
as $$
  select case
    when m.sender_id = chat_judge_author.author then null
    when m.id is null then 'no_message'
    when not exists (select from chat_users() u where u.id = chat_judge_author.author) then 'no_user'
    when chat_judge_author.author in (c.participant1_id, c.participant2_id) then 'not_the_sender'
    else 'not_a_participant' end
    from (select) one
    left join messages m on m.id = chat_judge_author.message
    left join conversations c on c.id = m.conversation_id
$$;
