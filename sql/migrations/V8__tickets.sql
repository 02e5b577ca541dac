-- Who calls: tickets that open one socket each, and questions about users and participants.

-- One row a ticket that was not used yet. Only the hash of a ticket is stored: who reads the table can open nothing.
create table chat_tickets (
  -- SHA-256
  hash bytea primary key,
  user_id uuid not null,
  -- when the ticket itself is of no use any more
  expires_at timestamptz not null,
  -- when the token expires that it was made by; the socket ends then. Null: by a caller without a token
  token_expires_at timestamptz
);
create index chat_tickets_expiry on chat_tickets (expires_at);

-- Stores a ticket and returns when it expires, as JSON text; null when there is no such user.
create function chat_create_ticket(ticket_hash bytea, ticket_user uuid, token_expires double precision,
                                   seconds double precision) returns text
language sql volatile
security definer
set search_path from current
set jit = off
as $$
  insert into chat_tickets (hash, user_id, expires_at, token_expires_at)
  select ticket_hash, u.id, clock_timestamp() + make_interval(secs => seconds), to_timestamp(token_expires)
    from chat_users() u
   where u.id = ticket_user
   limit 1
  returning chat_json_time(expires_at)
$$;

-- Uses a ticket up; no row when it was used before, has expired, or never was. Of two callers at the same moment
-- the second waits for the first one's row lock, and then finds no row.
create function chat_redeem_ticket(ticket_hash bytea)
returns table (user_id uuid, token_expires bigint)
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  return query
  with used as (
    delete from chat_tickets t where t.hash = ticket_hash returning t.*
  )
  select u.user_id, floor(extract(epoch from u.token_expires_at))::bigint
    from used u
   where u.expires_at > clock_timestamp();
end
$$;

-- Removes tickets that nobody used. Those that another replica is removing are left to it.
create function chat_sweep_tickets() returns void
language sql volatile
security definer
set search_path from current
as $$
  delete from chat_tickets
   where hash in (select t.hash from chat_tickets t where t.expires_at < clock_timestamp() for update skip locked)
$$;

-- Whether these users are active; no row for those who do not exist. A view of the host's may fail for one of them, by what is in a row:
-- their `failure` says how, and the others, who are asked about by halves, have their answers. Where it fails for everybody, that is the error.
create function chat_active_users(ids uuid[])
returns table (id uuid, is_active boolean, failure text)
language plpgsql stable
security definer
set search_path from current
-- Not planned anew for each length of the array.
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
  half constant integer := cardinality(ids) / 2;
  found_ids uuid[];
  actives boolean[];
begin
  begin
    select array_agg(u.id), array_agg(u.is_active) into found_ids, actives from chat_users() u where u.id = any (ids);
    return query select * from unnest(found_ids, actives, array[]::text[]);
    return;
  exception when others then
    -- No columns or rights, and what may pass: connection, transaction, resources, locks, shutdown, system.
    if left(sqlstate, 2) in ('08', '0A', '25', '40', '42', '53', '55', '57', '58') then
      raise;
    elsif half = 0 then
      return query select ids[1], null::boolean, format('%s (%s)', sqlerrm, sqlstate);
      return;
    end if;
  end;
  return query select * from chat_active_users(ids[:half]);
  return query select * from chat_active_users(ids[half + 1:]);
end
$$;

create function chat_is_participant(conversation uuid, person uuid) returns boolean
language plpgsql stable
security definer
set search_path from current
-- By the index, also when the plan was made while the table was small.
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_variable
begin
  return exists (select from conversations c
                  where c.id = conversation and person in (c.participant1_id, c.participant2_id));
end
$$;
