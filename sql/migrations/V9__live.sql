-- Who types: what is true only while somebody is connected, and needs no table.

-- Sends a member of the payload that is an array of these items, in as many notifications as they need.
create function chat_publish_items(member text, sender uuid, items text[]) returns void
language plpgsql
security definer
set search_path from current
as $$
declare
  prefix constant text := chat_payload_head() || ',"from":"' || sender || '","' || member || '":[';
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
            '{"conversationId":"' || c || '","userId":"' || u || '","to":"' || r
            || '","isTyping":' || case when s then 'true' else 'false' end || '}' order by place))
     from unnest(conversations, typists, recipients, states) with ordinality as t (c, u, r, s, place)
   having count(*) > 0;
end
$$;

-- The two participants; no row for a conversation that does not exist.
create function chat_participants(conversation uuid)
returns table (participant1_id uuid, participant2_id uuid)
language sql stable
security definer
set search_path from current
as $$ select c.participant1_id, c.participant2_id from conversations c where c.id = conversation $$;
