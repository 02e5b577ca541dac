-- From a changed row to a notification: triggers that build events and NOTIFY them.
--
-- A payload (documented in sql/README.md) is
--   {"v":1,"xid":"…","horizon":"…","at":…,"atMicros":…,"events":[{"type":…,"userId":…,"recipients":[…],…,"data":{…}}, …]}
-- An event that would not fit into a payload of its own travels without "data"; readers fetch it by its "message" and "revision", and
-- tell by its "seq" whether the message is still the one that it was.

-- PostgreSQL refuses payloads of 8000 bytes and more (NOTIFY, "Notes").
create function chat_max_payload() returns integer
language sql immutable parallel safe
as $$ select 7999 $$;

-- What every payload starts with. The horizon: all transactions below it had ended when this one took
-- its snapshot, and their notifications stand ahead of this one in the queue. It counts only from a
-- transaction whose commit is flushed: after a crash, numbers that never reached the disk are handed
-- out again.
--
-- Volatile like its clock, so that PostgreSQL inlines it: parsing it anew in each transaction costs more than the rest.
create function chat_payload_head() returns text
language sql volatile
as $$
  select format('{"v":1,"xid":"%s","horizon":%s,"at":%s,"atMicros":%s',
                pg_current_xact_id(),
                case current_setting('synchronous_commit') when 'off' then 'null'
                     else format('"%s"', pg_snapshot_xmin(pg_current_snapshot())) end,
                -- Not extract(), whose result is a numeric and costs several times as much.
                floor(date_part('epoch', clock_timestamp()))::bigint,
                (1000000 * date_part('epoch', clock_timestamp()))::bigint)
$$;

-- Sends events in the given order, as many in a payload as fit. `heads[i]` is an event without its
-- data and without the closing brace. Where `data[i]` does not fit, or is only a seq, the seq travels in its place.
create function chat_publish(heads text[], data text[]) returns void
language plpgsql
security definer
set search_path from current
as $$
declare
  prefix constant text := chat_payload_head() || ',"events":[';
  room constant integer := chat_max_payload() - octet_length(prefix) - octet_length(']}');
  event text;
  -- What the next payload holds, and its bytes with a comma behind each.
  events text[];
  bytes integer := 0;
  payloads text[];
begin
  for place in 1 .. coalesce(cardinality(heads), 0) loop
    event := heads[place] || case when octet_length(heads[place]) + octet_length(data[place]) + 9 <= room
                                       and not starts_with(data[place], '{"seq":')
                                  then ',"data":' || data[place] || '}'
                                  else coalesce(',"seq":' || (data[place]::json ->> 'seq'), '') || '}' end;
    if bytes > 0 and bytes + octet_length(event) > room then
      payloads := payloads || (prefix || array_to_string(events, ',') || ']}');
      events := '{}';
      bytes := 0;
    end if;
    events := events || event;
    bytes := bytes + octet_length(event) + 1;
  end loop;
  if bytes > 0 then
    perform pg_notify(chat_channel(), p.payload)
       from unnest(payloads || (prefix || array_to_string(events, ',') || ']}')) p (payload);
  end if;
end
$$;

create function chat_event_head(type text, user_id uuid, participant1 uuid, participant2 uuid) returns text
language sql stable parallel safe
as $$ select format('{"type":"%s","userId":"%s","recipients":["%s","%s"]', type, user_id, participant1, participant2) $$;

create function chat_message_event_head(type text, m messages, participant1 uuid, participant2 uuid) returns text
language sql stable
as $$
  select format('%s,"message":"%s","revision":%s',
                chat_event_head(type, m.sender_id, participant1, participant2), m.id, m.revision)
$$;

-- The Message, or its seq where it cannot fit into a payload: the events of a statement are collected in arrays, of at most 1 GB each.
create function chat_message_event_data(m messages, sender text) returns text
language sql stable
as $$
  select case when octet_length(m.content) <= chat_max_payload() then chat_message_json(m, sender)
              else format('{"seq":%s}', m.seq) end
$$;

create function chat_conversation_event_head(c conversations) returns text
language sql stable
as $$
  select format('%s,"conversation":"%s"', chat_event_head('conversation_created', c.participant1_id, c.participant1_id, c.participant2_id), c.id)
$$;

-- messages -----------------------------------------------------------------------------------------

-- Whether an answer can hold the content: as JSON it has to fit into the room for all answers that wait to be taken (ANSWERS_BYTES, 64
-- MiB), with 1 MiB for what stands around it. A byte of it takes up to six there: only what is long enough is measured. No constraint of the table: that would cost each message 11 thousand instructions,
-- and those of pgchat itself have a lower limit (MAX_MESSAGE_BYTES).
create function chat_has_answerable_size(m messages) returns boolean
language sql stable parallel safe
as $$
  select octet_length(m.content) <= 10485760
         or octet_length(m.content) <= 66060286 and octet_length(to_json(m.content)::text) <= 66060288
$$;

-- Whether all times of a message can be shown: RFC 3339 has years of four digits.
create function chat_has_shown_times(m messages) returns boolean
language sql immutable parallel safe
as $$
  select least(m.created_at, m.updated_at, m.edited_at, m.deleted_at) >= timestamptz '0001-01-01 00:00:00+00'
         and greatest(m.created_at, m.updated_at, m.edited_at, m.deleted_at) <= chat_last_time()
$$;

-- A plain INSERT gets its seq here; chat_send_messages() brings its own. The conversation is locked and read as it is then, and its
-- messages in a second statement, so that commit order is seq order; conversations itself is
-- updated after the statement, from the rows that were really inserted: ON CONFLICT DO NOTHING leaves no gap.
-- Lock: the conversation's row, FOR NO KEY UPDATE, until the transaction ends.
create function chat_messages_before_insert() returns trigger
language plpgsql
security definer
set search_path from current
set jit = off
-- One index scan for each look-up, also when a session made its plan while the table was small and goes on to fill it.
set enable_seqscan = off
as $$
declare
  conversation conversations;
begin
  select * into conversation from conversations c where c.id = new.conversation_id for no key update;
  if not found then
    raise exception 'conversation % does not exist', new.conversation_id
      using errcode = 'foreign_key_violation';
  end if;
  if new.sender_id is null or new.sender_id not in (conversation.participant1_id, conversation.participant2_id) then
    raise exception 'user % is not a participant of conversation %', new.sender_id, new.conversation_id
      using errcode = 'check_violation';
  end if;
  if new.client_message_id is not null and octet_length(new.client_message_id) not between 1 and 64 then
    raise exception 'client_message_id must be 1 to 64 bytes' using errcode = 'check_violation';
  end if;
  if not chat_has_answerable_size(new) then
    raise exception 'content must be at most 64 MiB as JSON, less 1 MiB for what stands around it' using errcode = 'check_violation';
  end if;
  if not chat_has_shown_times(new) then
    raise exception 'the times of a message must be in the years 1 to 9999' using errcode = 'check_violation';
  end if;
  if new.deleted_at is not null then
    new.content := '';
  end if;
  new.seq := 1 + greatest(conversation.last_seq,
                          (select max(m.seq) from messages m where m.conversation_id = new.conversation_id));
  new.reader_id := case new.sender_id when conversation.participant1_id then conversation.participant2_id
                                      else conversation.participant1_id end;
  -- An id that comes back goes on from what was said of it, so that clients take it for the later state. That is taken back when
  -- the row is really there: ON CONFLICT DO NOTHING may still leave it out.
  new.revision := coalesce((select t.revision + 1 from chat_tombstones t where t.message_id = new.id), 1);
  if new.revision > 1 then
    new.updated_at := greatest(new.updated_at, chat_moment_after((
      select (t.message::json ->> 'updatedAt')::timestamptz from chat_tombstones t where t.message_id = new.id)));
  end if;
  new.create_xid := pg_current_xact_id();
  new.change_xid := pg_current_xact_id();
  -- Of a copied row it may be ahead, and then the insert would be missed: what was missed is found by the greatest of them.
  new.read_xid := null;
  return new;
end
$$;

-- Triggers run in the order of their names: this one has the last word, on what triggers of the host's have made of the row.
create trigger zz_chat_messages_before_insert before insert on messages
  for each row when (new.seq is null) execute function chat_messages_before_insert();

-- The error where a trigger of the host's has returned null for what must not be left out.
create function chat_fail_dropped(what text) returns void
language plpgsql
as $$
begin
  raise exception 'a trigger has dropped %', what using errcode = 'triggered_action_exception';
end
$$;

-- Moves last_seq to the newest message of a conversation, unless it is behind a later one already, which a trigger of the host's has
-- inserted meanwhile. chat_send_messages() and chat_store_message() do the same within statements of their own.
-- Lock: the conversation's row, which the transaction already holds.
create function chat_follow(conversation uuid, newest uuid, newest_seq bigint, moment timestamptz) returns void
language plpgsql
as $$
#variable_conflict use_variable
begin
  update conversations c
     set last_seq = newest_seq,
         last_message_id = newest,
         last_xid = pg_current_xact_id(),
         updated_at = greatest(c.updated_at, moment),
         active_at = chat_active_at(c.active_at, c.updated_at, moment)
   where c.id = conversation and c.last_seq < newest_seq;
  if not found then
    -- A condition of its own: with a query in it, it would be a statement each time.
    if (select c.last_seq from conversations c where c.id = conversation) < newest_seq then
      perform chat_fail_dropped('the change of a conversation');
    end if;
  end if;
end
$$;

-- While a batch is stored: up to which seq each of its conversations is published. It stands in the setting pgchat.batch, behind the
-- depth for chat_is_own().
create function chat_told() returns jsonb
language sql stable
as $$ select coalesce(substring(current_setting('pgchat.batch', true) from '[{].*'), '{}')::jsonb $$;

-- A trigger of the host's runs before the statement that fired it has published its messages and moved last_seq. So that no
-- socket is told of a message before those with a lower seq, whoever inserts or changes messages within a trigger calls this
-- first. It publishes the messages of this transaction in the conversation, below `below` where it is given, whose own
-- statement has not come to that yet, moves last_seq behind them, and returns it. That statement will publish them again:
-- listeners tell that by the revision. Ahead of the first message of a conversation it does the same with the conversation.
--
-- last_seq is behind such messages, but for those of a batch: pgchat's own functions move it before they publish. chat_told() says
-- where these are.
-- Locks: the conversation's row, which the transaction already holds.
create function chat_publish_outer(conversation uuid, below bigint default null) returns bigint
language plpgsql
security definer
set search_path from current
set jit = off
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  held conversations;
  told constant jsonb := chat_told();
  ids uuid[];
  newest messages;
begin
  select * into held from conversations c where c.id = conversation;
  if held.create_xid = pg_current_xact_id() and held.last_seq = 0 then
    -- Within a trigger on conversations the statement that inserts it has not published it yet.
    perform chat_publish(array[chat_conversation_event_head(held)], array[chat_new_conversation_json(held)]);
  end if;
  select array_agg(m.id order by m.seq) into ids
    from messages m
   where m.conversation_id = conversation
     and m.seq > coalesce((told ->> conversation::text)::bigint, held.last_seq)
     and m.seq < coalesce(below, 9223372036854775807)
     and m.create_xid = pg_current_xact_id();
  if ids is null then
    return held.last_seq;
  end if;
  perform chat_publish(
            array_agg(chat_message_event_head('chat_message', m, held.participant1_id, held.participant2_id) order by m.seq),
            array_agg(chat_message_event_data(m, chat_user_summary_json(m.sender_id)) order by m.seq))
     from messages m where m.id = any (ids);
  select * into newest from messages m where m.id = ids[cardinality(ids)];
  if told ? conversation::text then
    perform set_config('pgchat.batch',
                       format('%s %s', split_part(current_setting('pgchat.batch'), ' ', 1),
                              told || jsonb_build_object(conversation, newest.seq)), true);
  end if;
  perform chat_follow(conversation, newest.id, newest.seq, newest.created_at);
  return (select c.last_seq from conversations c where c.id = conversation);
end
$$;

-- Keeps conversations up to date and publishes chat_message, for both ways of inserting.
-- Locks: the conversations' rows, which the transaction already holds.
create function chat_messages_after_insert() returns trigger
language plpgsql
security definer
set search_path from current
set plan_cache_mode = force_generic_plan
set jit = off
-- One index scan of pgchat's own tables for each row, also when the plan was made for smaller ones.
set enable_seqscan = off
as $$
declare
  heads text[];
  bodies text[];
  stranger uuid;
  is_ahead boolean;
  is_back boolean;
begin
  with event as (
    select chat_message_event_head('chat_message', i::messages, c.participant1_id, c.participant2_id) as head,
           chat_message_event_data(i::messages,
                                   chat_summary_json(i.sender_id, u.first_name, u.last_name, u.avatar_url)) as data,
           i.conversation_id, i.seq, i.revision, c.last_seq,
           case when i.sender_id not in (c.participant1_id, c.participant2_id) then i.sender_id end as stranger
      from inserted i
     cross join lateral (select * from conversations where id = i.conversation_id limit 1) c
      left join lateral (select * from chat_users() where id = i.sender_id limit 1) u on true
  )
  select array_agg(head order by conversation_id, seq), array_agg(data order by conversation_id, seq),
         (array_agg(event.stranger) filter (where event.stranger is not null))[1],
         -- In each conversation one of them is the next.
         count(distinct conversation_id) > count(*) filter (where seq = last_seq + 1),
         bool_or(revision > 1)
    into heads, bodies, stranger, is_ahead, is_back
    from event;
  -- Also for rows that brought their own seq, which the trigger before the insert does not see.
  if stranger is not null then
    raise exception 'user % is not a participant of the conversation', stranger
      using errcode = 'check_violation';
  end if;
  if is_back then
    delete from chat_tombstones t where t.message_id = any (array(select i.id from inserted i));
  end if;
  -- Without a trigger, by a function that a statement calls for the messages that it inserts.
  if pg_trigger_depth() > 1 or is_ahead then
    perform chat_publish_outer(i.conversation_id, min(i.seq)) from inserted i group by i.conversation_id;
  end if;
  if heads is not null then
    perform chat_publish(heads, bodies);
  end if;

  -- Behind the publication: what a trigger of the host's on conversations inserts comes after it.
  perform chat_follow(n.conversation_id, n.id, n.seq, n.created_at)
     from (select distinct on (i.conversation_id) i.conversation_id, i.id, i.seq, i.created_at
             from inserted i
            order by i.conversation_id, i.seq desc) n;
  if pg_trigger_depth() > 1 and current_setting('pgchat.batch', true) <> '' then
    perform set_config('pgchat.batch',
                       chat_outer_batch(current_setting('pgchat.batch'), array(select i.conversation_id from inserted i)), true);
  end if;
  return null;
end
$$;

-- Whether the statement that fires a trigger now is one of pgchat's own: a function of pgchat's has put the depth at which
-- it makes that statement into `setting`, up to the first blank, and does the trigger's work itself or wants none of it. The setting alone would
-- be anybody's to make: only who may publish may leave it to others, and that is the owner (privileges.sql sees to it), as whom
-- these functions run. The depth tells statements that triggers of the host make meanwhile.
--
-- In PL/pgSQL: PostgreSQL reads and plans the condition of a trigger anew for each statement, the body of this only once in a
-- session. It runs with the rights and the search_path of whoever writes: its names are qualified, and what asks for a right to the
-- schema stands behind what answers them.
do $$
begin
  execute format($definition$
create function chat_is_own(setting text) returns boolean
language plpgsql stable
as $body$
begin
  if (pg_catalog.split_part(pg_catalog.current_setting(setting, true), ' ', 1)
      operator(pg_catalog.=) pg_catalog.pg_trigger_depth()::pg_catalog.text) is not true then
    return false;
  end if;
  return pg_catalog.has_function_privilege(
    '%1$I.chat_publish(pg_catalog.text[], pg_catalog.text[])'::pg_catalog.regprocedure, 'execute');
end
$body$
$definition$, current_schema());
end
$$;

-- The one insert of chat_send_messages() and of chat_store_message() is left out, so that a Message is built once.
create trigger chat_messages_after_insert after insert on messages
  referencing new table as inserted
  for each statement when (not chat_is_own('pgchat.batch')) execute function chat_messages_after_insert();

-- Now, or the next microsecond: of two states of a message clients keep the one with the later updatedAt, also when the clock
-- went back meanwhile, or the database moved to a host whose clock is behind.
create function chat_moment_after(earlier timestamptz) returns timestamptz
language sql volatile parallel safe
as $$ select greatest(clock_timestamp(), earlier + interval '1 microsecond') $$;

-- A transaction number, or null where this database has not come to it yet: the row was restored from another cluster, and null is
-- older than every horizon.
create function chat_own_xid(xid xid8) returns xid8
language sql volatile
as $$ select case when xid < pg_snapshot_xmax(pg_current_snapshot()) or xid = pg_current_xact_id_if_assigned() then xid end $$;

-- Stamps a change, whoever makes it.
create function chat_messages_before_update() returns trigger
language plpgsql
security definer
set search_path from current
as $$
declare
  is_told_again boolean;
  is_marked constant boolean := new.is_read and not old.is_read and old.deleted_at is null and new.deleted_at is null;
begin
  if (new.id, new.conversation_id, new.sender_id, new.reader_id, new.seq)
     is distinct from (old.id, old.conversation_id, old.sender_id, old.reader_id, old.seq) then
    raise exception 'id, conversation_id, sender_id, reader_id and seq of a message cannot change'
      using errcode = 'check_violation';
  end if;
  if new.client_message_id is distinct from old.client_message_id and octet_length(new.client_message_id) not between 1 and 64 then
    raise exception 'client_message_id must be 1 to 64 bytes' using errcode = 'check_violation';
  end if;
  if not chat_has_answerable_size(new) and chat_has_answerable_size(old) then
    raise exception 'content must be at most 64 MiB as JSON, less 1 MiB for what stands around it' using errcode = 'check_violation';
  end if;
  if not chat_has_shown_times(new) and chat_has_shown_times(old) then
    raise exception 'the times of a message must be in the years 1 to 9999' using errcode = 'check_violation';
  end if;
  if new.deleted_at is not null then
    -- A deleted message keeps its place, not its content.
    new.content := '';
  end if;
  -- One more than it was: chat_messages_after_update() has the row told again.
  is_told_again := new.revision > old.revision;
  new.revision := old.revision;
  -- One that is ahead would hide the others: what was missed is found by the greatest of them.
  new.create_xid := chat_own_xid(old.create_xid);
  new.change_xid := chat_own_xid(old.change_xid);
  new.read_xid := chat_own_xid(old.read_xid);
  -- By "C": an adopted column may have a collation in which different texts are equal.
  if (new.content collate "C", new.message_type, new.client_message_id, new.edited_at, new.deleted_at, new.created_at)
     is distinct from
     (old.content, old.message_type, old.client_message_id, old.edited_at, old.deleted_at, old.created_at)
     -- Of a deleted message it says whether that was read: no mark, which would be of those before it, too.
     or (new.is_read <> old.is_read and not is_marked) or is_told_again then
    new.revision := old.revision + 1;
    new.change_xid := pg_current_xact_id();
    new.updated_at := chat_moment_after(old.updated_at);
    if (new.content collate "C", new.message_type) <> (old.content, old.message_type)
       and new.deleted_at is null and new.edited_at is not distinct from old.edited_at then
      new.edited_at := new.updated_at;
    end if;
  end if;
  if is_marked then
    new.read_xid := pg_current_xact_id();
    new.updated_at := chat_moment_after(old.updated_at);
  elsif not new.is_read and new.deleted_at is null and (old.is_read or old.deleted_at is not null) then
    new.read_xid := pg_current_xact_id();
  elsif new.is_read and not old.is_read then
    -- Or it would be taken for that of a mark, which there was none of.
    new.read_xid := null;
  end if;
  return new;
end
$$;

-- Behind the host's triggers, as zz_chat_messages_before_insert: what they change counts, and their updated_at does not.
create trigger zz_chat_messages_before_update before update on messages
  for each row execute function chat_messages_before_update();

-- Notes what the statement that fires it has seen, beside what those note within which it is made. Stable: its queries have that
-- statement's snapshot, not one of their own.
create function chat_messages_note_snapshot() returns trigger
language plpgsql stable
security definer
set search_path from current
as $$
begin
  perform set_config('pgchat.snapshot' || pg_trigger_depth()::text, pg_current_snapshot()::text, true);
  return null;
end
$$;

-- Triggers run in the order of their names: this one before the next, which reads what it noted.
create trigger chat_messages_after_changes after update on messages
  for each statement execute function chat_messages_note_snapshot();

-- Lets nobody mark what is unread behind these messages, by the same reader in the same conversation.
-- Locks: those, FOR SHARE, by conversation and in seq order.
create function chat_share_unread(ids uuid[]) returns void
language plpgsql
as $$
#variable_conflict use_variable
begin
  perform from (select m.conversation_id, m.reader_id, min(m.seq) as seq
                  from messages m where m.id = any (ids) group by 1, 2 order by 1, 2) k
    cross join lateral (select from messages m
                         where m.reader_id = k.reader_id and m.conversation_id = k.conversation_id
                           and not m.is_read and m.deleted_at is null and m.seq > k.seq
                         order by m.seq for share) m;
end
$$;

-- Publishes message_updated, message_deleted and messages_read.
--
-- Clients take a mark of read for all messages up to its seq, and what is unread again must be told behind it, whatever transactions
-- do at once. So one that makes messages unread again waits for the marks under way that could cover them, and lets no other begin until
-- it has ended; and one that marks has told once more what became unread again without its statement having seen it.
-- (Not under repeatable read, where nothing of it is seen here either.)
--
-- Locks, where messages are unread again: the conversations' rows, ordered by id, so that no message comes to those that could be marked;
-- then their reader's unread messages behind the first of them, FOR SHARE, by conversation and in seq order. The latter are waited for once before, without
-- keeping them: so nobody who sends waits for a mark, nor in a circle who sends and marks. Where it marks: what is told once more.
create function chat_messages_after_update() returns trigger
language plpgsql
security definer
set search_path from current
set jit = off
-- Old and new rows are joined by hash, also when the plan was made for one row, and whatever the caller forbids.
set enable_nestloop = off
set enable_hashjoin = on
-- One index scan of pgchat's own tables, also when the plan was made for smaller ones.
set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  heads text[];
  bodies text[];
  is_ahead boolean;
  returned uuid[];
  covered uuid[];
  -- None where no row was changed: to ask for one would make it a transaction that writes.
  own constant xid8 := pg_current_xact_id_if_assigned();
  seen constant pg_snapshot := current_setting('pgchat.snapshot' || pg_trigger_depth()::text);
begin
  with changed as (
    select n.conversation_id, n.sender_id, n.seq, n.revision, n.deleted_at, n::messages as row,
           o.revision as old_revision, o.deleted_at as old_deleted_at,
           not o.is_read and n.is_read and o.deleted_at is null and n.deleted_at is null as marked,
           not n.is_read and n.deleted_at is null and (o.is_read or o.deleted_at is not null) as unread_again,
           c.participant1_id, c.participant2_id, c.last_seq, c.unread_xid
      from new_rows n
      join old_rows o on o.id = n.id
     cross join lateral (select * from conversations where id = n.conversation_id limit 1) c
  ), mark as (
    select conversation_id, participant1_id, participant2_id, unread_xid,
           case sender_id when participant1_id then participant2_id else participant1_id end as reader,
           max(seq) filter (where marked) as seq, min(seq) filter (where unread_again) as unread_again
      from changed
     group by 1, 2, 3, 4, 5
    having bool_or(marked)
  ), event as (
    select chat_message_event_head(
             case when deleted_at is not null and old_deleted_at is null
                  then 'message_deleted' else 'message_updated' end,
             row, participant1_id, participant2_id) as head,
           chat_message_event_data(row, chat_user_summary_json(sender_id)) as data,
           conversation_id, seq, 1 as place
      from changed
     where revision > old_revision
    union all
    select chat_event_head('messages_read', reader, participant1_id, participant2_id),
           chat_read_json(conversation_id, reader, seq),
           -- A message that is unread again is told behind the mark, which would take that back.
           conversation_id, seq, case when unread_again < seq then 0 else 2 end
      from mark
  )
  select array_agg(head order by conversation_id, place, seq), array_agg(data order by conversation_id, place, seq),
         (select bool_or(seq > last_seq) from changed),
         array(select (row).id from changed where unread_again),
         array(select m.id
                 from mark k
                cross join lateral (select m.id from messages m
                                     where m.reader_id = k.reader and m.conversation_id = k.conversation_id
                                       and not m.is_read and m.deleted_at is null
                                       and m.seq < k.seq
                                       and (m.read_xid = own or not pg_visible_in_snapshot(chat_own_xid(m.read_xid), seen))
                                     order by m.seq) m
                -- Of its own transaction it may be of a trigger that the statement fired, and that it has not seen.
                where k.unread_xid = own or not pg_visible_in_snapshot(chat_own_xid(k.unread_xid), seen))
    into heads, bodies, is_ahead, returned, covered
    from event;
  if returned <> '{}' then
    begin
      perform chat_share_unread(returned);
      raise exception using errcode = 'PC001';
    exception when sqlstate 'PC001' then
      -- The locks are gone with what was done since the beginning.
    end;
    perform from conversations c
      where c.id in (select n.conversation_id from new_rows n where n.id = any (returned))
      order by c.id for no key update;
    update conversations c
       set unread_xid = own
     where c.id in (select n.conversation_id from new_rows n where n.id = any (returned)) and c.unread_xid is distinct from own;
    perform chat_share_unread(returned);
  end if;
  if pg_trigger_depth() > 1 or is_ahead then
    perform chat_publish_outer(n.conversation_id, 1 + max(n.seq))
       from new_rows n
      where n.create_xid = pg_current_xact_id()
      group by n.conversation_id;
  end if;
  if heads is not null then
    perform chat_publish(heads, bodies);
  end if;
  if covered <> '{}' then
    update messages m set revision = m.revision + 1
     where m.id = any (covered) and m.id <> all (returned) and not m.is_read and m.deleted_at is null;
  end if;
  return null;
end
$$;

create trigger chat_messages_after_update after update on messages
  referencing old table as old_rows new table as new_rows
  for each statement execute function chat_messages_after_update();

-- What is deleted in the transaction that inserts it, perhaps by a trigger, is told of first, and its seq stays its own.
create function chat_messages_before_delete() returns trigger
language plpgsql
security definer
set search_path from current
as $$
begin
  perform chat_publish_outer(old.conversation_id, old.seq + 1);
  return old;
end
$$;

create trigger zz_chat_messages_before_delete before delete on messages
  for each row when (old.create_xid = pg_current_xact_id()) execute function chat_messages_before_delete();

-- Deleted outright: leaves a tombstone, mends last_message_id, publishes message_deleted. The tombstone is for clients that are away, and
-- for the id, which may come back.
-- Locks: the conversations' rows, ordered by id. Under repeatable read and serializable also those that are then the newest, for key share;
-- none of these is waited for.
create function chat_messages_after_delete() returns trigger
language plpgsql
security definer
set search_path from current
set jit = off
-- One index scan of pgchat's own tables for each row, also when the plan was made for smaller ones.
set enable_seqscan = off
as $$
declare
  heads text[];
  bodies text[];
  back uuid;
begin
  -- By the same statement, or by a trigger of the host's on it: the row could not know what it goes on from.
  select d.id into back from deleted d cross join lateral (select from messages m where m.id = d.id limit 1) m limit 1;
  if found then
    raise exception 'message % is deleted and inserted again by one statement', back
      using errcode = 'triggered_action_exception', hint = 'delete it first, and insert it by a statement of its own';
  end if;

  perform from conversations c
    where c.id in (select d.conversation_id from deleted d)
    order by c.id for no key update;

  update conversations c
     set last_message_id = (select m.id from messages m where m.conversation_id = c.id order by m.seq desc limit 1)
   where c.id in (select d.conversation_id from deleted d)
     -- Not "not exists", for which a plan that was made while there were few may read all of them.
     and (select m.id from messages m where m.id = c.last_message_id) is null;
  if current_setting('transaction_isolation') <> 'read committed' then
    -- What the transaction sees as the newest may be deleted since, by one that had no reason to update the conversation, and
    -- the conversation would name a message that is gone. To lock that fails (40001). One that is about to be deleted is left
    -- out: whoever deletes it waits for the conversation's row, and then finds what this transaction has written there.
    perform from messages m
      where m.id in (select c.last_message_id from conversations c where c.id in (select d.conversation_id from deleted d))
        for key share skip locked;
  end if;

  -- Of the host's columns nothing is read: PostgreSQL 18 cannot make a row of a transition table with a virtual generated one.
  with gone as materialized (
    select d.id, d.conversation_id, d.sender_id, d.reader_id, d.seq, d.revision + 1 as revision,
           -- Nobody is told of what a foreign key deletes with its conversation: all who had that load anew.
           case when c.id is not null then chat_event_head('message_deleted', d.sender_id, c.participant1_id, c.participant2_id) end as head,
           chat_message_json(d::messages, chat_user_summary_json(d.sender_id), '', t.updated_at, t.deleted_at) as message
      from deleted d
      left join lateral (select * from conversations where id = d.conversation_id limit 1) c on true
     -- By itself, so that PostgreSQL inlines the Message nevertheless.
     cross join lateral (select chat_moment_after(d.updated_at) as updated_at,
                                coalesce(d.deleted_at, clock_timestamp()) as deleted_at) t
  ), kept as (
    insert into chat_tombstones (message_id, conversation_id, sender_id, reader_id, seq, revision, message)
    select g.id, g.conversation_id, g.sender_id, g.reader_id, g.seq, g.revision, g.message
      from gone g
        -- One that whoever inserted the id again could not see.
        on conflict (message_id) do update
       set conversation_id = excluded.conversation_id, sender_id = excluded.sender_id, reader_id = excluded.reader_id, seq = excluded.seq,
           revision = excluded.revision, change_xid = excluded.change_xid, message = excluded.message, deleted_at = excluded.deleted_at
  )
  select array_agg(format('%s,"message":"%s","revision":%s', g.head, g.id, g.revision) order by g.conversation_id, g.seq),
         array_agg(g.message order by g.conversation_id, g.seq)
    into heads, bodies
    from gone g
   where g.head is not null;
  if heads is not null then
    perform chat_publish(heads, bodies);
  end if;
  return null;
end
$$;

-- The delete of chat_purge() leaves nothing and tells nobody.
create trigger chat_messages_after_delete after delete on messages
  referencing old table as deleted
  for each statement when (not chat_is_own('pgchat.purge_depth')) execute function chat_messages_after_delete();

-- conversations ------------------------------------------------------------------------------------

-- The same of a conversation, which lists and frames show, and lists are sorted by.
create function chat_conversation_has_shown_times(c conversations) returns boolean
language sql immutable parallel safe
as $$
  select least(c.created_at, c.updated_at) >= timestamptz '0001-01-01 00:00:00+00'
         and greatest(c.created_at, c.updated_at) <= chat_last_time()
$$;

-- Keeps `updated_at - chat_activity_lag() < active_at <= updated_at`, whoever changes the row. Sends set active_at
-- themselves, so that for them only the condition is evaluated.
--
-- Refuses times that cannot be shown, but for those that a row has had: adopted rows may have any, and go on. In an update an `updated_at` out
-- of bounds is far from what active_at was, so that its condition below need not ask for it. In an insert both may be given.
--
-- The participants never change: messages, their readers and what was told of them are of these two.
--
-- A new row begins without messages, in this transaction. One that is copied with all its columns says otherwise: clients that are
-- away would not be told of it, or twice, and its messages would not count from 1. Where the id is there already, the row stays as it was
-- given, for ON CONFLICT DO UPDATE takes its values from that.
create function chat_conversations_before_change() returns trigger
language plpgsql
security definer
set search_path from current
set jit = off
set enable_seqscan = off
as $$
begin
  if not chat_conversation_has_shown_times(new) and (tg_op = 'INSERT' or chat_conversation_has_shown_times(old)) then
    raise exception 'the times of a conversation must be in the years 1 to 9999' using errcode = 'check_violation';
  end if;
  if tg_op = 'UPDATE' and (new.participant1_id, new.participant2_id) is distinct from (old.participant1_id, old.participant2_id) then
    raise exception 'participant1_id and participant2_id of a conversation cannot change' using errcode = 'check_violation';
  end if;
  new.active_at := new.updated_at;
  if tg_op = 'INSERT' and (select c.id from conversations c where c.id = new.id) is null then
    new.create_xid := pg_current_xact_id();
    new.last_message_id := null;
    new.last_seq := 0;
    new.last_xid := null;
    new.unread_xid := null;
  end if;
  return new;
end
$$;

-- Behind the host's triggers, as zz_chat_messages_before_insert. Their conditions are false for whoever names none of these columns. They
-- hold the constant itself: PostgreSQL plans the conditions of triggers anew for each statement, and would call the function each time.
do $$
declare
  is_misplaced constant text :=
    format('(new.active_at > new.updated_at or new.active_at <= new.updated_at - interval %L)', chat_activity_lag());
begin
  execute format(
    'create trigger zz_chat_conversations_before_update before update on conversations
       for each row when %s execute function chat_conversations_before_change()', is_misplaced);
  execute format(
    'create trigger zz_chat_conversations_before_insert before insert on conversations
       for each row
       when (%s or new.create_xid is distinct from pg_current_xact_id() or new.last_seq <> 0
             or num_nonnulls(new.last_message_id, new.last_xid, new.unread_xid) > 0
             or least(new.created_at, new.active_at) < timestamptz ''0001-01-01 00:00:00+00''
             or greatest(new.created_at, new.updated_at) > timestamptz ''9999-12-31 23:59:59.999999+00'')
       execute function chat_conversations_before_change()', is_misplaced);
end
$$;

-- By the columns that a statement names: one of pgchat's own, for each message, does not even come to the condition.
create trigger zz_chat_conversations_before_reassign before update of participant1_id, participant2_id, created_at on conversations
  for each row when (new.participant1_id <> old.participant1_id or new.participant2_id <> old.participant2_id or new.created_at <> old.created_at)
  execute function chat_conversations_before_change();

create function chat_conversations_after_insert() returns trigger
language plpgsql
security definer
set search_path from current
set jit = off
set enable_seqscan = off
as $$
declare
  heads text[];
  bodies text[];
begin
  -- As they are now, but for messages that a trigger of the host's has sent into one: ahead of these chat_publish_outer() has told of it.
  select array_agg(chat_conversation_event_head(c) order by c.id), array_agg(chat_new_conversation_json(c) order by c.id)
    into heads, bodies
    from inserted i
   cross join lateral (select * from conversations where id = i.id limit 1) c;
  if heads is not null then
    perform chat_publish(heads, bodies);
  end if;
  return null;
end
$$;

create trigger chat_conversations_after_insert after insert on conversations
  referencing new table as inserted
  for each statement execute function chat_conversations_after_insert();

-- Deleted: leaves a tombstone, and publishes resync_required for each of the participants, once, however many of theirs are gone.
-- Who was away when its messages were deleted is told of those by nothing else: their tombstones name a conversation that nobody has.
create function chat_conversations_after_delete() returns trigger
language plpgsql
security definer
set search_path from current
set jit = off
as $$
declare
  heads text[];
  bodies text[];
begin
  insert into chat_conversation_tombstones (conversation_id, participant1_id, participant2_id)
  select d.id, d.participant1_id, d.participant2_id from deleted d
      on conflict (conversation_id, participant1_id, participant2_id) do update
     set change_xid = excluded.change_xid, deleted_at = excluded.deleted_at;

  select array_agg(chat_event_head('resync_required', t.user_id, t.user_id, t.user_id)), array_agg(chat_resync_json())
    into heads, bodies
    from (select d.participant1_id from deleted d union select d.participant2_id from deleted d) t (user_id);
  if heads is not null then
    perform chat_publish(heads, bodies);
  end if;
  return null;
end
$$;

create trigger chat_conversations_after_delete after delete on conversations
  referencing old table as deleted
  for each statement execute function chat_conversations_after_delete();
