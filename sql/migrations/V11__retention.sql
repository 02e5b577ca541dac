-- Removing old messages, in small steps beside the traffic. Nothing is published for them and no tombstones are left, or a
-- year's messages would be sent as a year's events: clients keep what they show until they load it again. A client that
-- has not even seen all that was removed (its cursor is older than that) has to reload: resync_required.

-- What was removed, one row a conversation; and one, with an id of zeros, of everybody: of tombstones of conversations, which alone
-- knew whose they were. No foreign key: its check would wait for whoever holds the conversation's row.
create table chat_purged (
  conversation_id uuid primary key,
  -- the newest change among them, tombstones included; null when all are from before the adoption of the tables
  change_xid xid8,
  purged_at timestamptz not null default now()
);
create index chat_purged_changed on chat_purged (change_xid);

-- One step: of each conversation, the oldest messages up to the first one that is not older than `older_than`, at most
-- `max_messages` of all together, and its tombstones that are older. Goes through the conversations in the order of their
-- ids, from the one after `after_conversation`, as many at most as messages; `next_conversation` is what to say as
-- `after_conversation` in the next step, null when there are no more. Behind the last one comes what is left of conversations
-- that were deleted: tombstones of their messages, and their own.
-- A step also ends behind 60 conversations that it has changed, or found busy: each is a subtransaction, and with more than 64 that have a
-- number every snapshot in the cluster would have to look them up in pg_subtrans (PostgreSQL manual, "Subtransactions").
-- `busy`: conversations that were left for another time, since somebody held one of the rows, or a trigger of the host's has kept a message,
-- or, under repeatable read, one of the rows was changed since the transaction's beginning.
--
-- Locks: the messages that are deleted, and for key share the newest one of their conversation, until the transaction ends; the
-- conversation's row only when nothing of it is left. None is waited for.
create function chat_purge(older_than timestamptz, max_messages integer default 1000,
                           only_conversation uuid default null, after_conversation uuid default null)
returns table (messages bigint, tombstones bigint, busy bigint, next_conversation uuid)
language plpgsql
security definer
set search_path from current
set jit = off
as $$
#variable_conflict use_variable
declare
  candidate record;
  visited bigint := 0;
  most_changed constant bigint := 60;
  changed bigint := 0;
  room bigint;
  ids uuid[];
  top_seq bigint;
  top_xid xid8;
  old_ids uuid[];
  old_rows tid[];
  old_xid xid8;
  deleted bigint;
  everybodys constant uuid := '00000000-0000-0000-0000-000000000000';
  was_set text := coalesce(current_setting('pgchat.purge_depth', true), '');
  was_timeout constant text := current_setting('lock_timeout');
begin
  if older_than is null or older_than > now() - interval '1 day' then
    raise exception 'chat_purge removes what is older than a day; "delete from messages" removes the rest, and tells clients'
      using errcode = 'invalid_parameter_value';
  end if;
  if max_messages is null or max_messages not between 1 and 100000 then
    raise exception 'max_messages must be 1 to 100000, not %', max_messages using errcode = 'invalid_parameter_value';
  end if;
  messages := 0;
  tombstones := 0;
  busy := 0;
  next_conversation := after_conversation;

  for candidate in
    select c.id, coalesce(o.created_at < older_than, false) as has_old
      from conversations c
      left join lateral (select m.created_at from messages m where m.conversation_id = c.id order by m.seq limit 1) o on true
     where (only_conversation is null or c.id = only_conversation)
       and (after_conversation is null or c.id > after_conversation)
     order by c.id
     limit max_messages
  loop
    room := max_messages - messages - tombstones;
    begin
      ids := null;
      top_xid := null;
      if candidate.has_old then
        with oldest as materialized (
          select m.id, m.seq, m.created_at
            from messages m
           where m.conversation_id = candidate.id
           order by m.seq
           limit room
        )
        select array_agg(o.id), max(o.seq)
          into ids, top_seq
          from oldest o
         where o.seq < coalesce((select min(k.seq) from oldest k where k.created_at >= older_than), 9223372036854775807);
      end if;
      if ids is not null then
        -- The newest one that stays has to stay: who deletes it at this moment falls back to one of these.
        perform from messages m where m.conversation_id = candidate.id and m.seq > top_seq order by m.seq desc limit 1 for key share nowait;
        if not found then
          perform from conversations c where c.id = candidate.id for no key update nowait;
        end if;
        -- As they are now: one may have been changed since they were read above, and who was told of that only must reload.
        select (array_agg(l.xid order by l.xid desc nulls last))[1] into top_xid
          from (select greatest(chat_own_xid(m.change_xid), chat_own_xid(m.read_xid)) as xid
                  from messages m where m.id = any (ids) for update nowait) l;
        perform set_config('pgchat.purge_depth', pg_trigger_depth()::text, true);
        delete from messages m where m.id = any (ids);
        get diagnostics deleted = row_count;
        perform set_config('pgchat.purge_depth', was_set, true);
        if deleted < cardinality(ids) then
          raise lock_not_available using message = 'a trigger has kept a message';
        end if;
        update conversations c
           set last_message_id = null
         where c.id = candidate.id
           and not exists (select from messages m where m.conversation_id = c.id);
      end if;

      select array_agg(t.message_id), (array_agg(chat_own_xid(t.change_xid) order by chat_own_xid(t.change_xid) desc nulls last))[1]
        into old_ids, old_xid
        from (select t.message_id, t.change_xid from chat_tombstones t
               where t.conversation_id = candidate.id and t.deleted_at < older_than
               limit room - coalesce(cardinality(ids), 0)
                 for update nowait) t;
      delete from chat_tombstones t where t.message_id = any (old_ids);

      if ids is not null or old_ids is not null then
        insert into chat_purged as p (conversation_id, change_xid)
        values (candidate.id, greatest(top_xid, old_xid))
            on conflict (conversation_id) do update
           set change_xid = greatest(chat_own_xid(p.change_xid), excluded.change_xid),
               purged_at = now();
        changed := changed + 1;
      end if;
    exception when lock_not_available or serialization_failure then
      busy := busy + 1;
      changed := changed + 1;
      ids := null;
      old_ids := null;
    end;
    messages := messages + coalesce(cardinality(ids), 0);
    tombstones := tombstones + coalesce(cardinality(old_ids), 0);
    -- There may be more in this one.
    exit when messages + tombstones >= max_messages;
    next_conversation := candidate.id;
    visited := visited + 1;
    exit when changed = most_changed;
  end loop;
  if messages + tombstones < max_messages and visited < max_messages and changed < most_changed then
    next_conversation := null;
    if only_conversation is null then
      -- Nobody reads these any more, but a tombstone names the sender of its message.
      room := max_messages - messages - tombstones;
      delete from chat_tombstones t
       -- Not "in", for which the query may be asked once for each row of a table that was small: it would lock, and remove, more each time.
       where t.message_id = any (array(select o.message_id from chat_tombstones o
                                        where o.deleted_at < older_than
                                          and not exists (select from conversations c where c.id = o.conversation_id)
                                        limit room
                                          for update skip locked));
      get diagnostics deleted = row_count;
      tombstones := tombstones + deleted;
      begin
        -- By their place, where they are locked: an id may have been that of several.
        select array_agg(t.ctid), (array_agg(chat_own_xid(t.change_xid) order by chat_own_xid(t.change_xid) desc nulls last))[1]
          into old_rows, old_xid
          from (select t.ctid, t.change_xid from chat_conversation_tombstones t
                 where t.deleted_at < older_than
                 limit room - deleted
                   for update skip locked) t;
        if old_rows is not null then
          -- Another call may hold the row, or be about to make it: this one is then left for another time.
          perform set_config('lock_timeout', '1ms', true);
          insert into chat_purged as p (conversation_id, change_xid) values (everybodys, old_xid)
              on conflict (conversation_id) do update
             set change_xid = greatest(chat_own_xid(p.change_xid), excluded.change_xid),
                 purged_at = now();
          perform set_config('lock_timeout', was_timeout, true);
          delete from chat_conversation_tombstones t where t.ctid = any (old_rows);
        end if;
      exception when lock_not_available or serialization_failure then
        busy := busy + 1;
        old_rows := null;
      end;
      tombstones := tombstones + coalesce(cardinality(old_rows), 0);
      if messages + tombstones = max_messages then
        -- There may be more of them, and no conversation is above this one.
        next_conversation := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
      else
        delete from chat_purged p
         where p.purged_at < older_than and p.conversation_id <> everybodys
           and not exists (select from conversations c where c.id = p.conversation_id);
      end if;
    end if;
  elsif next_conversation is null then
    -- The first conversation is not done yet. Nothing is below this one.
    next_conversation := '00000000-0000-0000-0000-000000000000';
  end if;
  return next;
end
$$;

-- Whether something that a client of `reader` with this horizon has not seen was removed, and no event tells of it: messages, for their
-- age, or a conversation.
create function chat_purged_since(reader uuid, horizon xid8) returns boolean
language plpgsql stable
security definer
set search_path from current
-- Index scans, also when the plan was made while the tables were small.
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  xmax constant xid8 := pg_snapshot_xmax(pg_current_snapshot());
begin
  return exists (select from chat_purged p
                   join conversations c on c.id = p.conversation_id
                  where p.change_xid >= horizon and p.change_xid < xmax
                    and reader in (c.participant1_id, c.participant2_id))
      or exists (select from chat_purged p
                  where p.conversation_id = '00000000-0000-0000-0000-000000000000' and p.change_xid >= horizon and p.change_xid < xmax)
      or exists (select from chat_conversation_tombstones t
                  where t.participant1_id = reader and t.change_xid >= horizon and t.change_xid < xmax)
      or exists (select from chat_conversation_tombstones t
                  where t.participant2_id = reader and t.change_xid >= horizon and t.change_xid < xmax);
end
$$;

-- All steps, each a transaction of its own, with a pause after each that has removed something:
--   call chat_purge_all('1 year');
-- It can be ended at any moment and called again, from the first conversation on. Commits, so it may not be called within a transaction; and for that reason it
-- runs with the caller's rights, who needs to execute chat_purge() as well. The schema is written into it because of that.
do $do$
begin
  execute format($create$
    create procedure chat_purge_all(age interval, max_messages integer default 1000,
                                    pause_seconds double precision default 0.1, only_conversation uuid default null)
    language plpgsql
    as $body$
    declare
      older_than constant timestamptz := now() - age;
      step record;
      after_conversation uuid;
      steps bigint := 0;
      messages bigint := 0;
      tombstones bigint := 0;
      busy bigint := 0;
    begin
      loop
        select * into step
          from %1$I.chat_purge(older_than, max_messages, only_conversation, after_conversation);
        commit;
        steps := steps + 1;
        messages := messages + step.messages;
        tombstones := tombstones + step.tombstones;
        busy := busy + step.busy;
        -- Exactly the operator of PostgreSQL's: an inexact one may be anybody's, in the caller's path.
        if steps %% bigint '1000' = 0 or step.next_conversation is null then
          raise notice '%% messages and %% tombstones removed in %% steps; %% conversations were busy',
            messages, tombstones, steps, busy;
        end if;
        exit when step.next_conversation is null;
        after_conversation := step.next_conversation;
        if step.messages + step.tombstones > 0 then
          perform pg_sleep(pause_seconds);
        end if;
      end loop;
    end
    $body$ $create$, current_schema());
end
$do$;

-- One step of erasing what the chat holds of a user: their conversations, with the messages of both, and with the tombstones that name a
-- sender; when they were online; their tickets. One conversation after the other, in the order of their ids, the oldest messages first, at
-- most `max_messages` messages, tombstones and conversations in all; a conversation goes when nothing is left in it. `is_done`: nothing is
-- left at all. The row in the host's table is the host's to delete, in the transaction of that step: else somebody may open a conversation.
-- Whoever was in a conversation that is gone loads anew: they are sent resync_required, live or when they come back. For the latter, the ids of
-- the two stay in chat_conversation_tombstones. No event tells of the single messages: with a conversation they go unmentioned, and where
-- some are left for the next step, clients that come back and have not seen them all load anew (chat_purged).
--
-- Locks: each of these conversations, for update, until the transaction ends: who sends there waits, and is then refused. For whoever holds
-- one of them or of their messages it waits half a second, and then fails (55P03): senders wait for what it has locked. That is shorter than
-- deadlock_timeout (1 s): who holds a message and wants its conversation would be the victim, or this one, as it happens.
create function chat_forget_user(user_id uuid, max_messages integer default 10000)
returns table (messages bigint, conversations bigint, tombstones bigint, is_done boolean)
language plpgsql
security definer
set search_path from current
set jit = off
-- Index scans, also when the plan was made while the tables were small.
set enable_seqscan = off
set lock_timeout = '500ms'
as $$
#variable_conflict use_variable
declare
  conversation uuid;
  room bigint := max_messages;
  ids uuid[];
  top_xid xid8;
  old_ids uuid[];
  old_xid xid8;
  was_online boolean;
  deleted bigint;
  was_set constant text := coalesce(current_setting('pgchat.purge_depth', true), '');
begin
  if user_id is null then
    raise exception 'user_id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  if max_messages is null or max_messages not between 1 and 100000 then
    raise exception 'max_messages must be 1 to 100000, not %', max_messages using errcode = 'invalid_parameter_value';
  end if;
  messages := 0;
  conversations := 0;
  tombstones := 0;
  is_done := false;

  loop
    for conversation in
      select c.id from conversations c
       where c.participant1_id = user_id or c.participant2_id = user_id
       order by c.id
       limit max_messages
    loop
      -- From here on nobody stores anything in it.
      perform from conversations c where c.id = conversation for update;
      continue when not found;
      select array_agg(o.id), (array_agg(o.xid order by o.xid desc nulls last))[1]
        into ids, top_xid
        from (select m.id, greatest(chat_own_xid(m.change_xid), chat_own_xid(m.read_xid)) as xid
                from messages m
               where m.conversation_id = conversation
               order by m.seq
               limit room
                 for update) o;
      perform set_config('pgchat.purge_depth', pg_trigger_depth()::text, true);
      delete from messages m where m.id = any (ids);
      get diagnostics deleted = row_count;
      perform set_config('pgchat.purge_depth', was_set, true);
      if deleted < coalesce(cardinality(ids), 0) then
        raise exception 'a trigger has kept a message of conversation %', conversation using errcode = 'triggered_action_exception';
      end if;
      messages := messages + deleted;
      room := room - deleted;

      select array_agg(o.message_id), (array_agg(o.xid order by o.xid desc nulls last))[1]
        into old_ids, old_xid
        from (select t.message_id, chat_own_xid(t.change_xid) as xid
                from chat_tombstones t
               where t.conversation_id = conversation
               limit room
                 for update) o;
      delete from chat_tombstones t where t.message_id = any (old_ids);
      get diagnostics deleted = row_count;
      tombstones := tombstones + deleted;
      room := room - deleted;

      if room > 0 then
        -- There was room for all that is in it.
        delete from conversations c where c.id = conversation;
        if not found then
          -- It would be looked at again, and again, for ever.
          raise exception 'a trigger has kept conversation %', conversation using errcode = 'triggered_action_exception';
        end if;
        delete from chat_purged p where p.conversation_id = conversation;
        conversations := conversations + 1;
        room := room - 1;
      else
        update conversations c
           set last_message_id = null
         where c.id = conversation and not exists (select from messages m where m.conversation_id = c.id);
        insert into chat_purged as p (conversation_id, change_xid)
        values (conversation, greatest(top_xid, old_xid))
            on conflict (conversation_id) do update
           set change_xid = greatest(chat_own_xid(p.change_xid), excluded.change_xid), purged_at = now();
      end if;
      if room = 0 then
        return next;
        return;
      end if;
    end loop;
    -- One may have been opened meanwhile.
    exit when not exists (select from conversations c where c.participant1_id = user_id or c.participant2_id = user_id);
  end loop;

  -- Of what was deleted before.
  delete from chat_tombstones t
   where t.message_id = any (array(
           select o.message_id
             -- An id may have been that of several conversations, of other pairs.
             from (select distinct t.conversation_id
                     from chat_conversation_tombstones t
                    where t.participant1_id = user_id or t.participant2_id = user_id) g
             join chat_tombstones o on o.conversation_id = g.conversation_id
            limit room));
  get diagnostics deleted = row_count;
  tombstones := tombstones + deleted;
  delete from chat_attendance a where a.user_id = user_id returning a.rolls <> '{}' into was_online;
  if was_online then
    -- No replica will: whoever leaves has no row any more.
    perform chat_publish_items('presence', '00000000-0000-0000-0000-000000000000', array[chat_json_uuid(user_id)]);
  end if;
  delete from chat_tickets k where k.user_id = user_id;
  is_done := deleted < room;
  return next;
end
$$;
