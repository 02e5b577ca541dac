-- What callers read. Each function returns JSON texts in the order of the answer. Callers ask for one row
-- more than they show, to know whether more follow.

create function chat_list_users(wanted_role text, active_only boolean, name_part text, max_rows bigint, skip bigint)
returns setof text
language sql stable
security definer
set search_path from current
as $$
  select chat_user_json(u.id, u.first_name, u.last_name, u.avatar_url, u.role, u.is_active)
    from chat_users() u
   where (wanted_role is null or u.role = wanted_role)
     and (not active_only or u.is_active)
     and (name_part is null
          or position(lower(name_part) in lower(coalesce(u.first_name, ''))) > 0
          or position(lower(name_part) in lower(coalesce(u.last_name, ''))) > 0)
   order by u.last_name, u.first_name, u.id
   limit max_rows offset skip
$$;

create function chat_get_user(user_id uuid) returns text
language sql stable
security definer
set search_path from current
as $$
  select chat_user_json(u.id, u.first_name, u.last_name, u.avatar_url, u.role, u.is_active)
    from chat_users() u where u.id = user_id
$$;

create function chat_user_exists(user_id uuid) returns boolean
language sql stable
security definer
set search_path from current
as $$ select exists (select from chat_users() u where u.id = user_id) $$;

create function chat_list_conversations(user_id uuid, max_rows bigint, skip bigint)
returns setof text
language sql stable
security definer
set search_path from current
as $$
  select chat_conversation_json(c, user_id)
    from (select * from conversations
           where participant1_id = user_id or participant2_id = user_id
           order by updated_at desc, id desc
           limit max_rows offset skip) c
   order by c.updated_at desc, c.id desc
$$;

create function chat_conversation_exists(conversation uuid) returns boolean
language sql stable
security definer
set search_path from current
as $$ select exists (select from conversations c where c.id = conversation) $$;

-- Newest first, by position.
create function chat_list_messages(conversation uuid, max_rows bigint, skip bigint)
returns setof text
language sql stable
security definer
set search_path from current
as $$
  select chat_message_json(m, chat_user_summary_json(m.sender_id))
    from messages m
   where m.conversation_id = conversation
   order by m.seq desc
   limit max_rows offset skip
$$;

-- Older than `before`, newest first.
create function chat_list_messages_before(conversation uuid, before bigint, max_rows bigint)
returns setof text
language sql stable
security definer
set search_path from current
as $$
  select chat_message_json(m, chat_user_summary_json(m.sender_id))
    from messages m
   where m.conversation_id = conversation and m.seq < before
   order by m.seq desc
   limit max_rows
$$;

-- Newer than `after`, oldest first.
create function chat_list_messages_after(conversation uuid, after bigint, max_rows bigint)
returns setof text
language sql stable
security definer
set search_path from current
as $$
  select chat_message_json(m, chat_user_summary_json(m.sender_id))
    from messages m
   where m.conversation_id = conversation and m.seq > after
   order by m.seq
   limit max_rows
$$;

create function chat_unread_count(user_id uuid) returns bigint
language sql stable
security definer
set search_path from current
as $$
  select count(*)
    from conversations c
    join messages m on m.conversation_id = c.id
     and m.sender_id = case user_id when c.participant1_id then c.participant2_id else c.participant1_id end
   where (c.participant1_id = user_id or c.participant2_id = user_id)
     and not m.is_read and m.deleted_at is null
$$;
