-- What was missed: by a replica whose listener lost its connection, or by a client that was away.
--
-- Rows come in an order in which they may be sent: within a conversation first its creation, then messages
-- by seq, then read marks. `message`, `revision` and `xid` tell repeats of what was delivered already.
-- A message that is unread again (another program can have it so) would be taken back by a mark behind it: such a mark comes
-- ahead of the messages, or goes only up to it where all that it covers are told anyway.
-- Transaction numbers above the snapshot's end are from before a restore into a younger cluster: chat_forget_foreign_numbers().
--
-- In PL/pgSQL, which keeps its plans for the session: a function in SQL that is not inlined is parsed and planned at each
-- call, which cost a client that comes back more than the reading.

create type chat_change as (
  type text,
  -- its type for those who were told of the row before: an insertion becomes an update
  later_type text,
  user_id uuid,
  participant1_id uuid,
  participant2_id uuid,
  -- the message's id, the reader's for messages_read, the conversation's for conversation_created, the user's for resync_required
  subject uuid,
  conversation_id uuid,
  -- the message's revision, the seq that was read up to, or 0
  revision bigint,
  xid xid8,
  -- the transaction that inserted the row, where it is a message that is still there
  create_xid xid8,
  data text
);

-- Whether a tombstone is of the two who have its conversation now: that one's id may be another pair's since. It takes columns and not
-- rows, of which PostgreSQL would make composite values where it inlines this.
create function chat_are_participants(sender uuid, reader uuid, participant1 uuid, participant2 uuid) returns boolean
language sql immutable parallel safe
as $$ select sender in (participant1, participant2) and reader in (participant1, participant2) $$;

-- Whether a catch-up from `horizon` would read more than `most` rows, those aside whose events had all ended in the
-- snapshot `before`, or cannot read all that it would have to. Stops as soon as it knows. It counts what chat_changes_since() reads.
create function chat_changes_exceed(horizon xid8, before pg_snapshot, most bigint) returns boolean
language plpgsql stable
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  xmax constant xid8 := pg_snapshot_xmax(pg_current_snapshot());
begin
  return (
    select count(*) > most
      from (select from messages m
             where greatest(m.change_xid, m.read_xid) >= horizon and greatest(m.change_xid, m.read_xid) < xmax
               and (not pg_visible_in_snapshot(m.change_xid, before) or not pg_visible_in_snapshot(m.read_xid, before))
            union all
            select from conversations c
             where c.create_xid >= horizon and c.create_xid < xmax and not pg_visible_in_snapshot(c.create_xid, before)
            union all
            select from chat_tombstones t
             cross join lateral (
               select from conversations c
                where c.id = t.conversation_id
                  and chat_are_participants(t.sender_id, t.reader_id, c.participant1_id, c.participant2_id)
                limit 1) c
             where t.change_xid >= horizon and t.change_xid < xmax and not pg_visible_in_snapshot(t.change_xid, before)
            union all
            select from chat_conversation_tombstones t
             where t.change_xid >= horizon and t.change_xid < xmax and not pg_visible_in_snapshot(t.change_xid, before)
             limit most + 1) changed)
    or chat_changes_removed(horizon, before);
end
$$;

-- Whether something that a catch-up from `horizon` would have to read is not there any more, since it was removed for its age; those aside
-- whose events had all ended in the snapshot `before`.
create function chat_changes_removed(horizon xid8, before pg_snapshot) returns boolean
language plpgsql stable
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  xmax constant xid8 := pg_snapshot_xmax(pg_current_snapshot());
begin
  return exists (select from chat_purged p
                  where p.change_xid >= horizon and p.change_xid < xmax and not pg_visible_in_snapshot(p.change_xid, before));
end
$$;

-- Every event at or above `horizon`, once for each changed row, of everybody.
create function chat_changes_since(horizon xid8)
returns setof chat_change
language plpgsql stable
security definer
set search_path from current
-- Index scans, also when the plan was made while the tables were small.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
begin
  return query
  with bound as materialized (
    select pg_snapshot_xmax(pg_current_snapshot()) as xmax
  ), touched as materialized (
    select m as row, c.participant1_id, c.participant2_id
      from messages m
     cross join lateral (select * from conversations where id = m.conversation_id limit 1) c
     where greatest(m.change_xid, m.read_xid) >= horizon
       and greatest(m.change_xid, m.read_xid) < (select xmax from bound)
  ), event as (
    select 'conversation_created' as type, 'conversation_created' as later_type, c.participant1_id as user_id, c.participant1_id, c.participant2_id,
           c.id as subject, c.id as conversation_id, 0::bigint as revision, c.create_xid as xid, null::xid8 as born,
           chat_new_conversation_json(c) as data, 0 as kind, 0::bigint as seq
      from conversations c
     where c.create_xid >= horizon and c.create_xid < (select xmax from bound)
    union all
    select chat_change_type(row, horizon), chat_change_type(row, null), (row).sender_id, participant1_id, participant2_id,
           (row).id, (row).conversation_id, (row).revision, (row).change_xid,
           (row).create_xid, chat_message_json(row, chat_user_summary_json((row).sender_id)), 1, (row).seq
      from touched
     where (row).change_xid >= horizon
    union all
    select 'message_deleted', 'message_deleted', t.sender_id, c.participant1_id, c.participant2_id,
           t.message_id, t.conversation_id, t.revision, t.change_xid, null,
           t.message, 1, t.seq
      from chat_tombstones t
      join conversations c on c.id = t.conversation_id
     where t.change_xid >= horizon and t.change_xid < (select xmax from bound)
       and chat_are_participants(t.sender_id, t.reader_id, c.participant1_id, c.participant2_id)
    union all
    select 'messages_read', 'messages_read', reader, participant1_id, participant2_id, reader, conversation_id, seq, read_xid, null,
           chat_read_json(conversation_id, reader, seq),
           case when first_unread < seq then 0 else 2 end, seq
      from (select (row).conversation_id, participant1_id, participant2_id,
                   case (row).sender_id when participant1_id then participant2_id else participant1_id end as reader,
                   (row).read_xid, max((row).seq) filter (where (row).is_read) as seq,
                   min(min((row).seq) filter (where not (row).is_read and (row).deleted_at is null))
                     over (partition by (row).conversation_id, (row).sender_id) as first_unread
              from touched
             group by 1, 2, 3, 4, 5, (row).sender_id) r
     where read_xid >= horizon and seq is not null
    union all
    -- Each user once for a transaction, as its notifications tell it.
    select distinct 'resync_required', 'resync_required', user_id, user_id, user_id, user_id, user_id, 0::bigint, t.change_xid, null::xid8,
           chat_resync_json(), 0, 0::bigint
      from chat_conversation_tombstones t
     cross join lateral (values (t.participant1_id), (t.participant2_id)) participant (user_id)
     where t.change_xid >= horizon and t.change_xid < (select xmax from bound)
  )
  select type, later_type, user_id, participant1_id, participant2_id, subject, conversation_id, revision, xid, born, data
    from event
   order by conversation_id, kind, seq;
end
$$;

create function chat_change_type(m messages, horizon xid8) returns text
language sql immutable
as $$
  select case when m.create_xid >= horizon then 'chat_message'
              when m.deleted_at is not null then 'message_deleted'
              else 'message_updated' end
$$;

-- The seq up to which a client with this horizon has seen a conversation. Rows below the first one (from
-- the end) that is older than the horizon were committed before it, whatever their transaction number:
-- commit order is seq order. Reads the new rows and one more, at most `max_rows` of them.
create function chat_seen_seq(conversation uuid, horizon xid8, max_rows bigint) returns bigint
language plpgsql stable
set search_path from current
as $$
#variable_conflict use_variable
declare
  item record;
  place bigint := 0;
  ahead constant xid8 := pg_snapshot_xmax(pg_current_snapshot());
begin
  for item in
    select m.seq, m.create_xid from messages m where m.conversation_id = conversation order by m.seq desc
  loop
    if item.create_xid is null or item.create_xid < horizon or item.create_xid >= ahead then
      return item.seq;
    end if;
    place := place + 1;
    if place > max_rows then
      return item.seq - 1;
    end if;
  end loop;
  return 0;
end
$$;

-- Those of a user's conversations in which something may have happened at or above `horizon`, found from what has happened to everybody;
-- null where that is more than `most` rows. Stops as soon as it knows.
create function chat_touched(reader uuid, horizon xid8, most bigint) returns uuid[]
language plpgsql stable
set search_path from current
set enable_seqscan = off
-- Row by row, and not what may be all there is before the first.
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  xmax constant xid8 := pg_snapshot_xmax(pg_current_snapshot());
begin
  return (
    select case when count(*) <= most
                then coalesce(array_agg(distinct k.conversation) filter (where reader in (k.one, k.other)), '{}') end
      -- Of messages also those with numbers above the snapshot's end: their own insertion may be below it.
      from (select m.conversation_id, m.sender_id, m.reader_id from messages m
             where greatest(m.change_xid, m.read_xid) >= horizon
            union all
            select c.id, c.participant1_id, c.participant2_id from conversations c
             where c.create_xid >= horizon and c.create_xid < xmax
            union all
            select t.conversation_id, t.sender_id, t.reader_id from chat_tombstones t
             where t.change_xid >= horizon and t.change_xid < xmax
             limit most + 1) k (conversation, one, other));
end
$$;

-- Every event of one user at or above `horizon`, once for each changed row; stops after `max_rows`, or at `max_bytes` of data:
-- the event that would be too much comes without its data, and is the last.
-- A row that was only marked as read comes as message_updated, beside the messages_read of its conversation.
create function chat_missed(reader uuid, horizon xid8, max_rows bigint, max_bytes bigint)
returns setof chat_change
language plpgsql stable
security definer
set search_path from current
-- Index scans, also when the plan was made while the tables were small.
set enable_seqscan = off
set jit = off
-- By its estimates PostgreSQL would plan anew at each call, which takes three times as long as the rest.
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  -- Rows of everybody's that are looked through first, of any user; conversations of a user that may each be looked at; and rows that are
  -- looked through instead where these are more.
  little constant bigint := 32;
  many constant bigint := 5000;
  few constant bigint := 10000;
  item chat_change;
  bytes bigint := 0;
  -- Those of the reader's conversations in which something may have happened; null: all of them.
  candidates uuid[];
begin
  -- Where little has happened since, that says to which of the reader's conversations. Who asks again and again mostly learns of nothing.
  candidates := chat_touched(reader, horizon, little);
  -- Who has very many conversations is told what has happened from what has happened to everybody, where that is less.
  if candidates is null
     and (select count(*) from (select from conversations c where c.participant1_id = reader limit many + 1) c)
         + (select count(*) from (select from conversations c where c.participant2_id = reader limit many + 1) c) > many then
    candidates := chat_touched(reader, horizon, few);
  end if;
  for item in
    with bound as materialized (
      select pg_snapshot_xmax(pg_current_snapshot()) as xmax
    ), mine as materialized (
      -- Not the whole rows, or very many would not fit into work_mem, and they are read four times.
      select c.id, c.participant1_id, c.participant2_id, c.last_xid, c.create_xid
        from conversations c
       where candidates is null and (c.participant1_id = reader or c.participant2_id = reader)
      union all
      select c.id, c.participant1_id, c.participant2_id, c.last_xid, c.create_xid
        from unnest(candidates) k (id)
       cross join lateral (select * from conversations where id = k.id limit 1) c
       where reader in (c.participant1_id, c.participant2_id)
    -- Each part is limited over all conversations: where one of them finds as much, `max_rows` are reached, and nothing else is looked for.
    ), inserted as materialized (
      select m as row, c.participant1_id, c.participant2_id
        from mine c
       cross join lateral (
         select m from messages m
          where m.conversation_id = c.id
            and m.seq > chat_seen_seq(c.id, horizon, max_rows)
            and m.create_xid < (select xmax from bound)
          order by m.seq
          limit max_rows) new_rows (m)
       where c.last_xid >= horizon
       limit max_rows
    ), changed as (
      select m as row, c.participant1_id, c.participant2_id
        from mine c
       cross join lateral (
         select m from messages m
          where m.conversation_id = c.id
            and (m.revision > 1 or m.read_xid is not null)
            and greatest(m.change_xid, m.read_xid) >= horizon
            and greatest(m.change_xid, m.read_xid) < (select xmax from bound)
          limit max_rows) changed_rows (m)
       where (select count(*) from inserted) < max_rows
       limit max_rows
    ), touched as materialized (
      select distinct on ((row).id) row, participant1_id, participant2_id
        from (select * from inserted union all select * from changed) new_or_changed
       order by (row).id
    ), state as materialized (
      -- Without the contents, for it is sorted.
      select (row).conversation_id, participant1_id, participant2_id, (row).sender_id, (row).seq, (row).is_read, (row).read_xid
        from touched
    ), unread as materialized (
      -- Of all messages: the client may know of one from before its cursor that it is unread again, and is told of it by nothing else.
      select m.conversation_id, m.sender_id,
             (select min(u.seq) from messages u
               where u.reader_id = m.reader_id and u.conversation_id = m.conversation_id
                 and not u.is_read and u.deleted_at is null) as first_unread
        from (select distinct s.conversation_id, s.sender_id,
                     case s.sender_id when participant1_id then participant2_id else participant1_id end as reader_id
                from state s where s.is_read and s.read_xid >= horizon) m
    ), event as (
      (select 'conversation_created' as type, 'conversation_created' as later_type,
              c.participant1_id as user_id, c.participant1_id, c.participant2_id,
              c.id as subject, c.id as conversation_id, 0::bigint as revision, c.create_xid as xid,
              null::xid8 as born, null::text as data, null::messages as row, 0 as kind, 0::bigint as seq
         from mine c
        where c.create_xid >= horizon and c.create_xid < (select xmax from bound)
        limit max_rows)
      union all
      select chat_change_type(row, horizon), chat_change_type(row, null), (row).sender_id, participant1_id, participant2_id,
             (row).id, (row).conversation_id, (row).revision,
             -- A row from before an adoption or a restore has only what it got since.
             coalesce((row).change_xid, (row).read_xid, (row).create_xid),
             (row).create_xid, null, row, 1, (row).seq
        from touched
      union all
      (select 'message_deleted', 'message_deleted', t.sender_id, c.participant1_id, c.participant2_id,
              t.message_id, t.conversation_id, t.revision, t.change_xid, null,
              t.message, null, 1, t.seq
         from mine c
        cross join lateral (
          select * from chat_tombstones t
           where t.conversation_id = c.id and t.change_xid >= horizon
             and t.change_xid < (select xmax from bound)
             and chat_are_participants(t.sender_id, t.reader_id, c.participant1_id, c.participant2_id)) t
        where (select count(*) from touched) < max_rows
          -- Mostly there is none, of nobody's.
          and exists (select from chat_tombstones a where a.change_xid >= horizon and a.change_xid < (select xmax from bound))
        limit max_rows)
      union all
      select 'messages_read', 'messages_read', r.reader_id, participant1_id, participant2_id, r.reader_id, conversation_id, seq, read_xid, null,
             chat_read_json(conversation_id, r.reader_id, seq), null,
             2, seq
        from (select conversation_id, participant1_id, participant2_id,
                     case sender_id when participant1_id then participant2_id else participant1_id end as reader_id,
                     -- max(xid8) is there only from PostgreSQL 15 on
                     (array_agg(read_xid order by read_xid desc nulls last))[1] as read_xid, max(seq) as seq
                from (select s.*, u.first_unread from state s join unread u using (conversation_id, sender_id)) state
               where is_read and read_xid >= horizon and (first_unread > seq) is not false
               group by 1, 2, 3, 4) r
    )
    select type, later_type, user_id, participant1_id, participant2_id, subject, conversation_id, revision, xid, born,
           -- With the limit these are built behind the sort, and only of what is fetched.
           coalesce(data, chat_message_json(row, chat_user_summary_json((row).sender_id)),
                    (select chat_conversation_json(c, reader) from conversations c where c.id = event.subject))
      from event
     order by conversation_id, kind, seq
     limit max_rows
  loop
    bytes := bytes + octet_length(item.data);
    if bytes > max_bytes then
      item.data := null;
      return next item;
      return;
    end if;
    return next item;
  end loop;
end
$$;

-- What did not fit into a payload, as it is now: perhaps later than the event that asks for it.
create type chat_row_now as (
  id uuid,
  -- its type for those who were not told of the row before, and for those who were
  type text,
  later_type text,
  -- whose it is now, and the message's seq, or 0: its id may have been another row's when the event was published
  participant1_id uuid,
  participant2_id uuid,
  seq bigint,
  -- the state that this is, and the transactions that made it so and that inserted the row
  revision bigint,
  change_xid xid8,
  create_xid xid8,
  data text,
  -- of a message that is unread again, the data with an earlier updatedAt: marks that took it for read may not be told of yet, and
  -- the event that made it unread again is told behind them, to clients that know it from what they have by its updatedAt
  earlier_data text,
  -- the transaction of the newest change of whatever is in it, marks as read included
  xid xid8
);

-- Messages; of those deleted outright what is left of them, unless their conversation is gone, too: its participants reload.
create function chat_read_back(ids uuid[]) returns setof chat_row_now
language plpgsql stable
security definer
set search_path from current
-- Index scans, also when the plan was made while the tables were small; and one for each message, not of all conversations, which
-- a plain join may be.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
begin
  return query
  select m.id, 'chat_message', chat_change_type(m, null), c.participant1_id, c.participant2_id, m.seq,
         m.revision::bigint, m.change_xid, m.create_xid,
         chat_message_json(m, chat_user_summary_json(m.sender_id)),
         case when not m.is_read and m.deleted_at is null and m.read_xid is not null
              then chat_message_json(m, chat_user_summary_json(m.sender_id), m.content, m.updated_at - interval '1 microsecond', null) end,
         greatest(m.change_xid, m.read_xid)
    from messages m
   cross join lateral (select * from conversations where id = m.conversation_id limit 1) c
   where m.id = any (ids)
  union all
  select t.message_id, 'message_deleted', 'message_deleted', c.participant1_id, c.participant2_id, t.seq,
         t.revision::bigint, t.change_xid, null, t.message, null, t.change_xid
    from chat_tombstones t
   cross join lateral (select * from conversations where id = t.conversation_id limit 1) c
   where t.message_id = any (ids) and (select m.id from messages m where m.id = t.message_id) is null
     and chat_are_participants(t.sender_id, t.reader_id, c.participant1_id, c.participant2_id);
end
$$;

create function chat_read_back_conversations(ids uuid[]) returns setof chat_row_now
language plpgsql stable
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
begin
  return query
  select c.id, 'conversation_created', 'conversation_created', c.participant1_id, c.participant2_id, 0::bigint, 0::bigint, c.create_xid, c.create_xid,
         chat_new_conversation_json(c), null, c.create_xid
    from conversations c where c.id = any (ids);
end
$$;

-- On which timeline an id of this database was drawn last. PostgreSQL gives a timeline the lowest number above those that it knows of: two
-- standbys of one primary, or two recoveries from one backup, may begin timelines of the same number. The ids tell them apart.
create table chat_timeline (
  only_row boolean primary key default true check (only_row),
  timeline text not null,
  id uuid not null
);

-- The number of the timeline that is written to: a restore or a failover begins another one. Fails on a standby.
create function chat_timeline_now() returns text
language plpgsql volatile
set search_path from current
as $$
begin
  return ltrim(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), '0');
end
$$;

-- The database that transaction numbers belong to: cluster, database, timeline, the table of messages, which is another one where a dump was
-- restored in its place (what writes the same one anew, vacuum full, leaves its number), and what was drawn by lot for all of that. Fails on a
-- standby, as it should.
create function chat_identity() returns text
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  return (select to_hex((select system_identifier from pg_control_system())) || '-'
         || to_hex((select oid::bigint from pg_database where datname = current_database())) || '-'
         || chat_timeline_now() || '-'
         || to_hex(to_regclass('messages')::oid::bigint) || '-'
         || coalesce((select left(t.id::text, 8) from chat_timeline t limit 1), '0'));
end
$$;

-- The same for a replica that begins to listen: first draws an id where there is none of this timeline. All cursors are made from what this
-- says. Of several at once one draws, and the others take what it has drawn.
-- No standby is waited for: promoted, it would be on another timeline, and whoever has just been promoted may have none yet.
-- Lock: the one row, until the transaction ends, where an id is drawn.
create function chat_settle_identity() returns text
language plpgsql volatile
security definer
set search_path from current
as $$
#variable_conflict use_variable
declare
  here constant text := chat_timeline_now();
begin
  if not exists (select from chat_timeline t where t.timeline = here) then
    perform set_config('synchronous_commit', 'local', true);
    insert into chat_timeline as t (timeline, id) values (here, gen_random_uuid())
        on conflict (only_row) do update set timeline = excluded.timeline, id = excluded.id where t.timeline <> excluded.timeline;
  end if;
  return chat_identity();
end
$$;

-- For whoever has put the database back to an earlier moment by a way that begins no timeline: from now on no cursor from before is taken
-- any more, and all clients reload. Of a database that nothing has happened to it costs that.
-- Lock: the one row, until the transaction ends.
create function chat_renew_identity() returns text
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  -- A crash would take the new id back, and cursors from before would be taken again.
  perform chat_require_flush();
  insert into chat_timeline as t (timeline, id) values (chat_timeline_now(), gen_random_uuid())
      on conflict (only_row) do update set timeline = excluded.timeline, id = excluded.id;
  return chat_identity();
end
$$;

-- What PostgreSQL forgets with a crash, and with nothing else: recovery empties an unlogged table.
create unlogged table chat_incarnation (
  only_row boolean primary key default true check (only_row),
  id uuid not null
);

-- The same for as long as the server has not crashed; a restart in good order keeps it. Whoever asks first after a crash names
-- the new one. A crash of one backend is one as well: the server then recovers without being started anew, so that
-- pg_postmaster_start_time() tells nothing.
-- Lock: the one row, until the transaction ends, where there is none yet.
create function chat_incarnation() returns uuid
language plpgsql volatile
security definer
set search_path from current
as $$
declare
  known uuid;
begin
  loop
    select i.id into known from chat_incarnation i;
    if found then
      return known;
    end if;
    insert into chat_incarnation (id) values (gen_random_uuid()) on conflict do nothing;
  end loop;
end
$$;

-- What has ended so far, as text: xmin:xmax:xip,… (PostgreSQL manual, pg_snapshot).
create function chat_snapshot() returns text
language sql volatile
as $$ select pg_current_snapshot()::text $$;

-- Advisory locks (class, key) of replicas: held by a replica's listener session while it lives.
create function chat_replica_lock_class() returns integer
language sql immutable parallel safe
as $$ select 1885562996 $$;  -- 'pcht' in ASCII

-- Takes a replica's lock for this session, where nobody holds it. Waits for nothing: a session that LISTENs hears nothing
-- while it asks.
create function chat_try_replica(replica uuid) returns boolean
language plpgsql volatile
set search_path from current
as $$
begin
  return pg_try_advisory_lock(chat_replica_lock_class(), hashtext(chat_schema() || replica::text));
end
$$;

-- The same, for a session that does not LISTEN yet. A former session of the same replica, which the server has not
-- noticed to be gone, is ended for it: it would keep the lock, and hold back the notification queue. Its role is
-- ours, so we may; whose it is not, is left alone.
create function chat_hold_replica(replica uuid) returns boolean
language plpgsql volatile
set search_path from current
as $$
declare
  key constant integer := hashtext(chat_schema() || replica::text);
begin
  if chat_try_replica(replica) then
    return true;
  end if;
  begin
    perform pg_terminate_backend(l.pid, 2000)
       from pg_locks l
      where l.locktype = 'advisory' and l.objsubid = 2 and l.granted
        and l.database = (select oid from pg_database where datname = current_database())
        and l.classid = chat_replica_lock_class()::bigint::oid
        and l.objid = (key::bigint & 4294967295)::oid;
  exception when insufficient_privilege then
    return false;
  end;
  return chat_try_replica(replica);
end
$$;

-- The second half of a replica's lock, as pg_locks shows it.
create function chat_replica_lock_key(replica uuid) returns oid
language sql immutable
set search_path from current
as $$ select (hashtext(chat_schema() || replica::text)::bigint & 4294967295)::oid $$;

-- The keys of those replicas that live: some session holds their lock.
create function chat_held_replica_keys() returns oid[]
language sql volatile
set search_path from current
as $$
  select array(
    select l.objid from pg_locks l
     where l.locktype = 'advisory' and l.objsubid = 2 and l.granted
       and l.database = (select oid from pg_database where datname = current_database())
       and l.classid = chat_replica_lock_class()::bigint::oid)
$$;

-- Removes from the registry the other replicas whose session has ended. Mostly there is none, and then nothing is locked
-- or written.
create function chat_sweep_replicas(replica uuid) returns void
language plpgsql
security definer
set search_path from current
as $$
declare
  held constant oid[] := chat_held_replica_keys();
  dead constant uuid[] := array(select r.id from chat_replicas r
                                 where r.id <> replica and chat_replica_lock_key(r.id) <> all (held));
begin
  if dead = '{}' then
    return;
  end if;
  delete from chat_replicas r
   -- Rows that somebody else is sweeping right now are left to it.
   where r.id in (select d.id from chat_replicas d where d.id = any (dead) for update skip locked)
     -- One may have come back meanwhile.
     and chat_replica_lock_key(r.id) <> all ((select chat_held_replica_keys())::oid[]);
end
$$;

-- One beat of a replica, through the notification queue: proves the way, moves the horizon, and sweeps
-- replicas whose session ended. Updating the row makes the commit flush, which the horizon needs.
-- Returns the horizon that its payload carries.
create function chat_heartbeat(replica uuid, beat bigint) returns xid8
language plpgsql
security definer
set search_path from current
as $$
begin
  perform chat_require_flush();
  insert into chat_replicas (id) values (replica)
      on conflict (id) do update set heartbeat_at = now();
  perform chat_sweep_replicas(replica);
  perform pg_notify(chat_channel(),
    format('%s,"heartbeat":{"replica":"%s","beat":%s}}', chat_payload_head(), replica, beat));
  return pg_snapshot_xmin(pg_current_snapshot());
end
$$;

-- A replica that ends in good order leaves the registry at once.
create function chat_leave(replica uuid) returns void
language sql volatile
security definer
set search_path from current
as $$ delete from chat_replicas where id = replica $$;

-- One step: takes from at most `max_rows` rows of each table but messages transaction numbers that this cluster has not come to yet. They are
-- another cluster's, from which the rows were restored or replicated: whatever a statement sees was committed before its snapshot, under a
-- number below that snapshot's end. When the cluster came to them, the rows would be taken for changes of that day, and be sent as such.
-- The lowest first, which come first. Returns how many rows; there may be more of them unless that is less than `max_rows`.
--
-- Chosen and locked in one statement and changed in the next one, which sees a number that was given meanwhile.
-- Locks: the rows, until the transaction ends. None is waited for.
create function chat_forget_foreign_numbers(max_rows integer) returns bigint
language plpgsql
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  -- Of no transaction, and below every horizon: the start of a cluster.
  older_than_all constant xid8 := '1';
  ids uuid[];
  rows tid[];
  forgotten bigint := 0;
  changed bigint;
begin
  ids := array(select c.id from conversations c
                where c.create_xid >= pg_snapshot_xmax(pg_current_snapshot())
                order by c.create_xid limit max_rows
                  for no key update skip locked);
  if ids <> '{}' then
    update conversations c set create_xid = null
     where c.id = any (ids) and c.create_xid >= pg_snapshot_xmax(pg_current_snapshot());
    get diagnostics changed = row_count;
    forgotten := forgotten + changed;
  end if;

  rows := array(select t.ctid from chat_tombstones t
                 where t.change_xid >= pg_snapshot_xmax(pg_current_snapshot())
                 order by t.change_xid limit max_rows
                   for update skip locked);
  if rows <> '{}' then
    update chat_tombstones t set change_xid = older_than_all
     where t.ctid = any (rows) and t.change_xid >= pg_snapshot_xmax(pg_current_snapshot());
    get diagnostics changed = row_count;
    forgotten := forgotten + changed;
  end if;

  rows := array(select t.ctid from chat_conversation_tombstones t
                 where t.change_xid >= pg_snapshot_xmax(pg_current_snapshot())
                 order by t.change_xid limit max_rows
                   for update skip locked);
  if rows <> '{}' then
    update chat_conversation_tombstones t set change_xid = older_than_all
     where t.ctid = any (rows) and t.change_xid >= pg_snapshot_xmax(pg_current_snapshot());
    get diagnostics changed = row_count;
    forgotten := forgotten + changed;
  end if;

  ids := array(select p.conversation_id from chat_purged p
                where p.change_xid >= pg_snapshot_xmax(pg_current_snapshot())
                order by p.change_xid limit max_rows
                  for update skip locked);
  if ids <> '{}' then
    update chat_purged p set change_xid = null
     where p.conversation_id = any (ids) and p.change_xid >= pg_snapshot_xmax(pg_current_snapshot());
    get diagnostics changed = row_count;
    forgotten := forgotten + changed;
  end if;
  return forgotten;
end
$$;

-- The same of messages, in a transaction of its own: triggers of the host's run for these updates, and may refuse some, or drop them. Those
-- keep their numbers, so they are still the first: the first `passed` are left out, and the ones behind them have their turn. Nothing is
-- published, and no revision changes.
--
-- `chosen`: how many rows were found, those that somebody else has locked included; there are no more behind them if it is less than
-- `max_rows`. `forgotten`: those that have lost their numbers. `kept`: those that were updated in vain. `refusal`: why, of one that a trigger
-- has refused.
create function chat_forget_foreign_numbers_of_messages(
  max_rows integer, passed bigint, out chosen bigint, out forgotten bigint, out kept bigint, out refusal text)
language plpgsql
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
declare
  ids uuid[];
  one uuid;
begin
  -- Not locked yet: those that are passed by would be, too.
  ids := array(select m.id from messages m
                where greatest(m.change_xid, m.read_xid) >= pg_snapshot_xmax(pg_current_snapshot())
                order by greatest(m.change_xid, m.read_xid) limit max_rows offset passed);
  chosen := cardinality(ids);
  ids := array(select m.id from unnest(ids) f
                cross join lateral (select m.id from messages m where m.id = f limit 1
                                       for no key update skip locked) m);
  begin
    -- chat_messages_before_update() takes them away.
    update messages m set is_read = m.is_read where m.id = any (ids);
  exception when others then
    -- Which of them it is nobody knows.
    foreach one in array ids loop
      begin
        update messages m set is_read = m.is_read where m.id = one;
      exception when others then
        refusal := format('%s (%s)', sqlerrm, sqlstate);
      end;
    end loop;
  end;
  select count(*) into kept from unnest(ids) f
   cross join lateral (select greatest(m.change_xid, m.read_xid) as xid from messages m where m.id = f limit 1) m
   where m.xid is distinct from chat_own_xid(m.xid);
  forgotten := cardinality(ids) - kept;
end
$$;
