-- How rows look to callers. JSON is built here and nowhere else, and relayed unparsed: the answer to a
-- POST, a history page and a live frame hold the same text.
--
-- Text around to_json(text): several times cheaper than json_build_object at this width. By format(), since each transaction
-- sets up each function of an expression anew, operators too: with thirty || a Message took longer than the rest. And since || is
-- ambiguous beside anything but text where the host has an implicit cast from its type to text, as many have from integers or uuid.
-- These functions have no SET clause and are stable, as what they call is, so that PostgreSQL inlines them:
-- a call that is not inlined costs more than the rest of the message. Their callers fix the search_path.

create function chat_json_text(value text) returns json
language sql stable parallel safe
as $$ select coalesce(to_json(value), 'null') $$;

-- RFC 3339 in UTC with microseconds and Z. The quotes are part of the pattern; in an E'' string, which means the same whatever the
-- session's standard_conforming_strings is.
create function chat_json_time(value timestamptz) returns text
language sql stable parallel safe
as $$ select coalesce(to_char(value at time zone 'UTC', e'\\"YYYY-MM-DD"T"HH24:MI:SS.US"Z"\\"'), 'null') $$;

create function chat_json_uuid(value uuid) returns text
language sql stable parallel safe
as $$ select coalesce('"' || value::text || '"', 'null') $$;

-- UserSummary; of a user who is no longer there, only the id.
create function chat_summary_json(user_id uuid, first_name text, last_name text, avatar_url text) returns text
language sql stable parallel safe
as $$
  select format('{"id":"%s","firstName":%s,"lastName":%s,"avatarUrl":%s}',
                user_id, chat_json_text(first_name), chat_json_text(last_name), chat_json_text(avatar_url))
$$;

-- The same by id. In PL/pgSQL, which keeps its plan for the session: with its query, a function in SQL would not be inlined
-- but planned at each call. chat_send_messages() joins the users instead.
create function chat_user_summary_json(user_id uuid) returns text
language plpgsql stable
as $$
declare
  summary text;
begin
  select chat_summary_json(u.id, u.first_name, u.last_name, u.avatar_url) into summary
    from chat_users() u where u.id = user_id limit 1;
  return coalesce(summary, chat_summary_json(user_id, null, null, null));
end
$$;

-- User.
create function chat_user_json(
  id uuid, first_name text, last_name text, avatar_url text, role text, is_active boolean,
  is_online boolean, last_seen_at timestamptz)
returns text
language sql stable parallel safe
as $$
  select format('{"id":"%s","firstName":%s,"lastName":%s,"avatarUrl":%s,"role":%s,"isActive":%s,"isOnline":%s,"lastSeenAt":%s}',
                id, chat_json_text(first_name), chat_json_text(last_name), chat_json_text(avatar_url), chat_json_text(role),
                case when is_active then 'true' else 'false' end, case when is_online then 'true' else 'false' end,
                chat_json_time(last_seen_at))
$$;

-- Message; `sender` is its sender's UserSummary. Null without a message. With these in place of the row's own content and times.
create function chat_message_json(m messages, sender text, content text, updated_at timestamptz, deleted_at timestamptz) returns text
language sql stable
as $$
  select case when m.id is not null then
           format('{"id":"%s","conversationId":"%s","senderId":"%s","content":%s,"messageType":"%s","isRead":%s,"seq":%s,'
                  '"clientMessageId":%s,"createdAt":%s,"updatedAt":%s,"editedAt":%s,"deletedAt":%s,"sender":%s}',
                  m.id, m.conversation_id, m.sender_id,
                  -- Adopted rows may still have the content that was deleted.
                  to_json(case when deleted_at is null then content else '' end),
                  m.message_type, case when m.is_read then 'true' else 'false' end, m.seq,
                  chat_json_text(m.client_message_id), chat_json_time(m.created_at), chat_json_time(updated_at),
                  chat_json_time(m.edited_at), chat_json_time(deleted_at), sender)
         end
$$;

create function chat_message_json(m messages, sender text) returns text
language sql stable
as $$ select chat_message_json(m, sender, m.content, m.updated_at, m.deleted_at) $$;

-- Conversation; the participants are their UserSummary, the newest message a Message or null. Null without a conversation.
create function chat_conversation_json(
  c conversations, participant1 text, participant2 text, last_message text, unread_count bigint, first_unread_seq bigint) returns text
language sql stable
as $$
  select case when c.id is not null then
           format('{"id":"%s","participant1Id":"%s","participant2Id":"%s","participant1":%s,"participant2":%s,"lastMessageId":%s,'
                  '"lastMessage":%s,"lastSeq":%s,"unreadCount":%s,"firstUnreadSeq":%s,"createdAt":%s,"updatedAt":%s}',
                  c.id, c.participant1_id, c.participant2_id, participant1, participant2, chat_json_uuid(c.last_message_id),
                  coalesce(last_message, 'null'), c.last_seq, unread_count, coalesce(first_unread_seq::text, 'null'),
                  chat_json_time(c.created_at), chat_json_time(c.updated_at))
         end
$$;

-- Conversation as `reader` sees it, for where there is only one.
create function chat_conversation_json(c conversations, reader uuid) returns text
language sql stable
as $$
  select chat_conversation_json(
           c, chat_user_summary_json(c.participant1_id), chat_user_summary_json(c.participant2_id),
           (select chat_message_json(m, chat_user_summary_json(m.sender_id))
              from messages m where m.id = c.last_message_id),
           unread.count, unread.first_seq)
    from (select count(*) as count, min(m.seq) as first_seq from messages m
           where m.conversation_id = c.id and m.reader_id = chat_conversation_json.reader
             and not m.is_read and m.deleted_at is null) unread
$$;

-- The same in lists, as a set of one. In FROM it is inlined, and the look-ups are part of the list's own plan.
create function chat_listed_conversation_json(c conversations, reader uuid) returns setof text
language sql stable
as $$
  select chat_conversation_json(
           c, chat_summary_json(c.participant1_id, p1.first_name, p1.last_name, p1.avatar_url),
           chat_summary_json(c.participant2_id, p2.first_name, p2.last_name, p2.avatar_url),
           chat_message_json(m, case m.sender_id
             when c.participant1_id then chat_summary_json(m.sender_id, p1.first_name, p1.last_name, p1.avatar_url)
             when c.participant2_id then chat_summary_json(m.sender_id, p2.first_name, p2.last_name, p2.avatar_url)
             else chat_user_summary_json(m.sender_id) end),
           unread.count, unread.first_seq)
    -- The index has all of it, also the seq.
    from (select count(*) as count, min(u.seq) as first_seq from messages u
           where u.reader_id = chat_listed_conversation_json.reader and u.conversation_id = c.id
             and not u.is_read and u.deleted_at is null) unread
    left join lateral (select * from chat_users() where id = c.participant1_id limit 1) p1 on true
    left join lateral (select * from chat_users() where id = c.participant2_id limit 1) p2 on true
    left join lateral (select * from messages where id = c.last_message_id limit 1) m on true
$$;

-- Conversation as it was before its first message, and so the same to both participants: for where both are told that there is one,
-- ahead of its messages, however many there are by then. In PL/pgSQL, as chat_user_summary_json().
create function chat_new_conversation_json(c conversations) returns text
language plpgsql stable
as $$
begin
  if c.last_seq > 0 then
    c.last_seq := 0;
    c.last_message_id := null;
    c.updated_at := c.created_at;
  end if;
  return chat_conversation_json(c, chat_user_summary_json(c.participant1_id), chat_user_summary_json(c.participant2_id), null, 0, null);
end
$$;

-- What messages_read tells.
create function chat_read_json(conversation uuid, reader uuid, seq bigint) returns text
language sql stable parallel safe
as $$
  select format('{"conversationId":"%s","readerId":"%s","upToSeq":%s}', conversation, reader, seq)
$$;

-- What resync_required tells the participants of a conversation that was deleted.
create function chat_resync_json() returns text
language sql immutable parallel safe
as $$ select '{"reason":"a conversation was deleted"}' $$;
