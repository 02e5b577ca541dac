-- What is true only while somebody is connected: who types, and who is there. No commit here waits for a flush.

-- Sends a member of the payload that is an array of these items, in as many notifications as they need.
create function chat_publish_items(member text, sender uuid, items text[]) returns void
language plpgsql
security definer
set search_path from current
as $$
declare
  prefix constant text := format('%s,"from":"%s","%s":[', chat_payload_head(), sender, member);
  room constant integer := chat_max_payload() - octet_length(prefix) - octet_length(']}');
  batch text := '';
  item text;
begin
  foreach item in array items loop
    if batch = '' then
      batch := item;
    elsif octet_length(batch) + 1 + octet_length(item) <= room then
      batch := batch || ',' || item;
    else
      perform pg_notify(chat_channel(), prefix || batch || ']}');
      batch := item;
    end if;
  end loop;
  if batch <> '' then
    perform pg_notify(chat_channel(), prefix || batch || ']}');
  end if;
end
$$;

-- Who types, or has stopped. Writes nothing but the notification, so there is nothing to flush.
create function chat_notify_typing(replica uuid, conversations uuid[], typists uuid[], recipients uuid[], states boolean[])
returns void
language plpgsql
security definer
set search_path from current
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  perform chat_publish_items('typing', replica, array_agg(
            format('{"conversationId":"%s","userId":"%s","to":"%s","isTyping":%s}',
                   c, u, r, case when s then 'true' else 'false' end)))
     from unnest(conversations, typists, recipients, states) as t (c, u, r, s);
end
$$;

-- The two participants; no row for a conversation that does not exist.
create function chat_participants(conversation uuid)
returns table (participant1_id uuid, participant2_id uuid)
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
  select c.participant1_id, c.participant2_id from conversations c where c.id = conversation;
end
$$;

-- presence -----------------------------------------------------------------------------------------
--
-- Each replica keeps a roll of the users who have an active socket there; a user is online while they stand on any roll. A roll is worth
-- as much as the session of its replica's listener: it ends when that has ended, and when the replica has fallen silent.
-- Whoever stands on it then has some seconds to come to another one, and is gone after them. A replica that finds its roll
-- ended begins a new one, and so does one whose listener was lost: a crash may have forgotten what the last commits said.
--
-- Locks, in this order: the roll (`key share` to write in it, `update` to clear it away), then users in the order of their ids.

create table chat_rolls (
  id uuid primary key default gen_random_uuid(),
  replica_id uuid not null,
  -- nobody is put on it any more
  ended_at timestamptz,
  -- when its users were last known to be there
  seen_at timestamptz,
  -- while it is cleared away: nobody before this user stands on it any more
  cleared_to uuid
);

create table chat_attendance (
  user_id uuid primary key,
  rolls uuid[] not null default '{}',
  -- when the user's last active socket closed or became inactive; null: never
  last_seen_at timestamptz
);
-- Those who are online.
create index chat_attendance_online on chat_attendance (user_id) where rolls <> '{}';

-- A replica that leaves the registry, by itself or swept by another, ends its rolls. Here its last heartbeat is still known.
create function chat_replicas_after_delete() returns trigger
language plpgsql
security definer
set search_path from current
as $$
begin
  update chat_rolls r
     set ended_at = clock_timestamp(), seen_at = old.heartbeat_at
   where r.replica_id = old.id and r.ended_at is null;
  return null;
end
$$;
create trigger chat_replicas_after_delete after delete on chat_replicas
  for each row execute function chat_replicas_after_delete();

-- Begins a roll, and ends the former ones of the replica. Null when the replica's lock is not held: its listener is not there.
create function chat_open_roll(replica uuid) returns uuid
language plpgsql
security definer
set search_path from current
as $$
declare
  roll uuid;
begin
  perform set_config('synchronous_commit', 'off', true);
  -- Not swept between here and the commit, or the roll would have nobody to end it.
  perform from chat_replicas r where r.id = replica for key share;
  if not found or chat_replica_lock_key(replica) <> all (chat_held_replica_keys()) then
    return null;
  end if;
  update chat_rolls r set ended_at = now(), seen_at = now() where r.replica_id = replica and r.ended_at is null;
  insert into chat_rolls (replica_id) values (replica) returning id into roll;
  return roll;
end
$$;

-- Puts users on a roll and takes others off it: those have gone so many seconds ago. Tells of users who are online by
-- it, or are not any more. What is so already is left. False, and nothing is done, when the roll has ended.
create function chat_call_roll(roll uuid, coming uuid[], going uuid[], ages float8[]) returns boolean
language plpgsql
security definer
set search_path from current
as $$
declare
  replica uuid;
  told text[];
begin
  perform set_config('synchronous_commit', 'off', true);
  select r.replica_id into replica from chat_rolls r where r.id = roll and r.ended_at is null for key share;
  if not found then
    return false;
  end if;
  insert into chat_attendance (user_id) select u from unnest(coming) u order by u on conflict do nothing;
  -- In the order of their ids, which an update does not keep: batches of two replicas would deadlock.
  perform from chat_attendance a where a.user_id = any (coming || going) order by a.user_id for no key update;
  with came as (
    update chat_attendance a
       set rolls = a.rolls || roll
     where a.user_id = any (coming) and not a.rolls @> array[roll]
    returning a.user_id, cardinality(a.rolls) = 1 as turned
  ), went as (
    update chat_attendance a
       set rolls = array_remove(a.rolls, roll),
           last_seen_at = case when a.rolls = array[roll]
                               then greatest(a.last_seen_at, now() - make_interval(secs => g.age))
                               else a.last_seen_at end
      from unnest(going, ages) as g (user_id, age)
     where a.user_id = g.user_id and a.rolls @> array[roll]
    returning a.user_id, a.rolls = '{}' as turned
  )
  select array_agg(chat_json_uuid(t.user_id)) into told
    from (select * from came union all select * from went) t
   where t.turned;
  if told is not null then
    perform chat_publish_items('presence', replica, told);
  end if;
  return true;
end
$$;

-- Ends the rolls of other replicas that live no more or have sent no heartbeat for `silence` seconds. Whether `roll` goes on.
-- When the asking replica's own heartbeat is as old, it is the database that is slow, and nobody is silent.
-- Locks: the rolls that it ends. None is waited for: whoever holds one is ending it, perhaps together with others in another order.
create function chat_end_rolls(replica uuid, roll uuid, silence float8) returns boolean
language plpgsql
security definer
set search_path from current
as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  perform chat_sweep_replicas(replica);
  update chat_rolls o
     set ended_at = now(), seen_at = r.heartbeat_at
    from chat_replicas r
   where r.id = o.replica_id
     and o.id = any (array(select l.id
                             from chat_rolls l
                             join chat_replicas s on s.id = l.replica_id
                            where l.ended_at is null
                              and s.heartbeat_at < now() - make_interval(secs => silence)
                              and exists (select from chat_replicas own
                                           where own.id = replica and own.heartbeat_at >= now() - make_interval(secs => silence))
                              for no key update of l skip locked));
  -- Rows that came from elsewhere without their replica's: by a restore, or by replication.
  update chat_rolls o
     set ended_at = now(), seen_at = now()
   where o.id = any (array(select l.id
                             from chat_rolls l
                            where l.ended_at is null and not exists (select from chat_replicas r where r.id = l.replica_id)
                              for no key update skip locked));
  return exists (select from chat_rolls o where o.id = roll and o.ended_at is null);
end
$$;

-- Clears away a roll that ended `grace` seconds ago or longer: at most `max_rows` of its users, the roll itself with the last.
-- Whether there was one; nothing is written if not. Each call goes on where the last one has ended, so that all of them together
-- read those who are online twice, however many they are; rolls end seldom.
create function chat_clear_roll(grace float8, max_rows integer) returns boolean
language plpgsql
security definer
set search_path from current
as $$
declare
  roll chat_rolls;
  users uuid[];
  told text[];
begin
  perform set_config('synchronous_commit', 'off', true);
  select * into roll from chat_rolls r
   where r.ended_at <= now() - make_interval(secs => grace)
   order by r.ended_at
   limit 1
     for update skip locked;
  if not found then
    return false;
  end if;
  if roll.cleared_to is not null
     and not exists (select from chat_attendance a
                      where a.rolls <> '{}' and a.rolls @> array[roll.id] and a.user_id >= roll.cleared_to
                      order by a.user_id
                     offset max_rows - 1) then
    -- The last of them. Once more from the beginning: rows may have come from elsewhere meanwhile, and would be online for ever.
    roll.cleared_to := null;
  end if;
  users := chat_users_on_roll(roll.id, roll.cleared_to, max_rows);
  with went as (
    update chat_attendance a
       set rolls = array_remove(a.rolls, roll.id),
           last_seen_at = case when a.rolls = array[roll.id] then greatest(a.last_seen_at, roll.seen_at)
                               else a.last_seen_at end
     where a.user_id = any (users)
    returning a.user_id, a.rolls = '{}' as turned
  )
  select array_agg(chat_json_uuid(w.user_id)) into told from went w where w.turned;
  if told is not null then
    perform chat_publish_items('presence', roll.replica_id, told);
  end if;
  if cardinality(users) < max_rows and roll.cleared_to is null then
    delete from chat_rolls r where r.id = roll.id;
  else
    -- Null, and so the next begins from there, where some of those that were counted have gone by themselves.
    update chat_rolls r set cleared_to = users[max_rows] where r.id = roll.id;
  end if;
  return true;
end
$$;

-- The first users on a roll from this one on (null: from the beginning). Locks: their rows, in the order of their ids.
create function chat_users_on_roll(roll uuid, first_user uuid, max_rows integer) returns uuid[]
language plpgsql
as $$
#variable_conflict use_variable
begin
  return array(select a.user_id from chat_attendance a
                where a.rolls <> '{}' and a.rolls @> array[roll]
                  and a.user_id >= coalesce(first_user, '00000000-0000-0000-0000-000000000000')
                order by a.user_id
                limit max_rows
                  for no key update);
end
$$;

-- The data of the frame `presence` for each of these users.
create function chat_presence_of(users uuid[])
returns table (user_id uuid, data text)
language plpgsql stable
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
begin
  return query
  select u, format('{"userId":"%s","isOnline":%s,"lastSeenAt":%s}',
                   u, case when a.rolls <> '{}' then 'true' else 'false' end, chat_json_time(a.last_seen_at))
    from unnest(users) u
    left join lateral (select * from chat_attendance t where t.user_id = u limit 1) a on true;
end
$$;

-- For other programs. It looks at the sessions itself, so that it is right also while no replica runs. Without calls of our
-- functions: those would be checked as the reading role's.
do $$
begin
  execute format($view$
    create view chat_presence as
    select a.user_id,
           a.rolls && (select array(
             select r.id
               from chat_rolls r
               join pg_locks l on l.objid = (hashtext(%L || r.replica_id::text)::bigint & 4294967295)::oid
              where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.classid = %s::bigint::oid
                and l.database = (select oid from pg_database where datname = current_database()))) as is_online,
           a.last_seen_at
      from chat_attendance a
  $view$, chat_schema(), chat_replica_lock_class());
end
$$;

-- users, as callers read them -----------------------------------------------------------------------

create function chat_list_users(wanted_role text, wanted_active boolean, name_part text, max_rows bigint, skip bigint)
returns setof text
language plpgsql stable
security definer
set search_path from current
set jit = off
as $$
begin
  return query
  select chat_user_json((u).id, (u).first_name, (u).last_name, (u).avatar_url, (u).role, (u).is_active,
                        a.rolls <> '{}', a.last_seen_at)
    from (select u from chat_users() u
           where (wanted_role is null or u.role = wanted_role)
             and (wanted_active is null or u.is_active = wanted_active)
             and (name_part is null or chat_name_has(u.first_name, u.last_name, name_part))
           order by u.last_name, u.first_name, u.id
           limit max_rows offset skip) shown (u)
    left join lateral (select * from chat_attendance where user_id = (u).id limit 1) a on true
   order by (u).last_name, (u).first_name, (u).id;
end
$$;

-- Those of these users who exist, narrowed and ordered as by chat_list_users(): one look-up by the host's index for each id, once where an id
-- is there several times. So what it reads goes by their number, however large the table is.
create function chat_list_users_of(ids uuid[], wanted_role text, wanted_active boolean, name_part text, max_rows bigint, skip bigint)
returns setof text
language plpgsql stable
security definer
set search_path from current
set enable_seqscan = off
-- Not planned anew for each length of the array.
set plan_cache_mode = force_generic_plan
set jit = off
as $$
begin
  return query
  select chat_user_json(shown.id, shown.first_name, shown.last_name, shown.avatar_url, shown.role, shown.is_active,
                        a.rolls <> '{}', a.last_seen_at)
    from (select u.*
            from (select distinct named.id from unnest(ids) named (id)) k
           cross join lateral (select * from chat_users() where id = k.id limit 1) u
           where (wanted_role is null or u.role = wanted_role)
             and (wanted_active is null or u.is_active = wanted_active)
             and (name_part is null or chat_name_has(u.first_name, u.last_name, name_part))
           order by u.last_name, u.first_name, u.id
           limit max_rows offset skip) shown
    left join lateral (select * from chat_attendance where user_id = shown.id limit 1) a on true
   order by shown.last_name, shown.first_name, shown.id;
end
$$;

create function chat_get_user(user_id uuid) returns text
language plpgsql stable
security definer
set search_path from current
set enable_seqscan = off
set jit = off
as $$
begin
  return (
    select chat_user_json(u.id, u.first_name, u.last_name, u.avatar_url, u.role, u.is_active,
                          a.rolls <> '{}', a.last_seen_at)
      from chat_users() u
      left join chat_attendance a on a.user_id = u.id
     where u.id = chat_get_user.user_id
     limit 1);
end
$$;
