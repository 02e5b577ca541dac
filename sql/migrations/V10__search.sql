-- Full-text search over one's own conversations.
--
-- One GIN index on messages, over the words of a message and over keys that say whose it is and when. It is not made here:
-- building it must not block writes, and `create index concurrently` runs in no transaction. pgchat builds it in the
-- background (src/store/install/search_index.rs), for the language that SEARCH_LANGUAGE names; its name says for which.
--
-- What is deleted or edited is gone from the results with the transaction that does it: they come from the rows as they
-- are, and a row's content is emptied by deleting it.
--
-- The functions that the index is over run in the statements of every program that touches the table, with that program's
-- search_path: so all names in them are qualified, or were parsed here and now, and anybody may call them.

-- What the words of a content are read from: PostgreSQL's parser is not asked about just any text.
--
-- It takes `<` for the beginning of a tag or a comment, which it leaves out, with all that follows where it is never closed; so another
-- sign stands in its place. And it looks ahead: at each place of a run without a blank that could be an address, a host's name or a
-- path, to the end of that run. Of a run of 64 KiB that takes minutes, though the message is stored among those of others. So where a
-- long content has a run of 64 characters, or three @ in one, the signs that such runs are made of (._@-/~) part words like blanks.
-- Nothing is lost by that: chat_search_query() looks for the parts as well.
--
-- Control characters stand in the place of each sign, one for one, so that chat_search_snippet() can put the signs back.
-- What comes after 131,072 characters is not searched: a tsvector holds less than 1 MiB.
create function chat_search_text(content text) returns text
language plpgsql immutable parallel safe
as $$
begin
  -- left() counts the characters, so it is asked only about what may be longer.
  if pg_catalog.octet_length(content) operator(pg_catalog.>) 131072 then
    content := pg_catalog.left(content, 131072);
  end if;
  -- By "C": an adopted column may have a collation for which there is no search within a text.
  content := pg_catalog.replace(content collate pg_catalog."C", '<', e'\x01');
  if pg_catalog.octet_length(content) operator(pg_catalog.>) 256
     and content collate pg_catalog."C" operator(pg_catalog.~) e'[^\x01- ]{64}|(?:@[^\x01- @]*){3}' then
    content := pg_catalog.translate(content, '._@-/~', e'\x0e\x0f\x10\x11\x12\x13');
  end if;
  return content;
end
$$;

-- The words of a content. Only what may need it is prepared, because most messages are short, and the call costs more than a look.
create function chat_search_words(language regconfig, content text) returns tsvector
language sql immutable parallel safe
begin atomic
  select to_tsvector(language, case when octet_length(content) > 256 or strpos(content collate "C", '<') > 0 then chat_search_text(content)
                                    else content end);
end;

-- The day of any time that there is: 20,000 is the first of 2000. Whatever was before day 16, in 1945, counts as that one. A
-- time's distance from 2000 always fits into an interval, whose epoch depends on no time zone.
create function chat_search_day(at timestamptz) returns bigint
language sql immutable parallel safe
begin atomic
  select case when isfinite(at)
              then greatest(floor(date_part('epoch', at - timestamptz '2000-01-01 00:00:00+00') / 86400) + 20000, 16)::bigint
              else 16 end;
end;

-- What a participant's or a conversation's hash is made with for a day (`unit` d), for its span of 16 days (s), or for all of
-- time (a). Spans are below zero, where no day is.
create function chat_search_seed(unit text, day bigint) returns bigint
language sql immutable parallel safe
begin atomic
  select case unit when 'd' then day when 's' then day / -16 else 4611686018427387904 end;
end;

-- All keys of a message. Two owners may share one: what is found by it is checked.
--
-- In PL/pgSQL, which plans its expressions once in a session. PostgreSQL would inline a function in SQL into each
-- statement that inserts, and plan it anew each time: a seventh of what a message alone costs. Each transaction sets up
-- each function of these expressions anew, so the fewer there are the better.
do $$
begin
  execute format($definition$
create function chat_search_keys(sender uuid, reader uuid, conversation uuid, at timestamptz) returns bigint[]
language plpgsql immutable parallel safe
as $body$
declare
  day constant pg_catalog.int8 := %1$I.chat_search_day(at);
  span constant pg_catalog.int8 := %1$I.chat_search_seed('s', day);
begin
  return array[
    pg_catalog.uuid_hash_extended(sender, %1$I.chat_search_seed('d', day)),
    pg_catalog.uuid_hash_extended(sender, span),
    pg_catalog.uuid_hash_extended(sender, %1$I.chat_search_seed('a', day)),
    pg_catalog.uuid_hash_extended(reader, %1$I.chat_search_seed('d', day)),
    pg_catalog.uuid_hash_extended(reader, span),
    pg_catalog.uuid_hash_extended(reader, %1$I.chat_search_seed('a', day)),
    pg_catalog.uuid_hash_extended(conversation, span),
    pg_catalog.uuid_hash_extended(conversation, %1$I.chat_search_seed('a', day))];
end
$body$
$definition$, current_schema());
end
$$;

-- What SEARCH_LANGUAGE may name: the configurations that are found without a schema (PostgreSQL manual, "Configurations").
create function chat_search_languages() returns setof text
language sql stable
set search_path from current
as $$
  select cfgname::text from pg_ts_config where pg_ts_config_is_visible(oid) order by cfgname
$$;

create function chat_search_index(language text) returns text
language sql immutable parallel safe
as $$ select 'chat_messages_search_' || language $$;

-- The statement that builds the index. Inserts put their words into its pending list, and chat_search_tidy() empties it each
-- second or more often (whichever replica calls it): an insert that had to do it would keep its conversations, and all that wait for them, for some 100 ms. So the list may
-- grow to 64 MiB (10 seconds of thousands of messages) before one does.
create function chat_search_index_ddl(language text) returns text
language sql stable
as $$
  select format('create index concurrently %I on %I.messages using gin '
                '(%I.chat_search_words(%L::regconfig, content), '
                '%I.chat_search_keys(sender_id, reader_id, conversation_id, created_at)) '
                'with (fastupdate = on, gin_pending_list_limit = 65536) where deleted_at is null',
                chat_search_index(language), chat_schema(), chat_schema(), language, chat_schema())
$$;

-- The search indexes that are there, and whether each is complete. Not those that `reindex concurrently` makes and leaves (PostgreSQL
-- manual, REINDEX): the host is at it, and whoever dropped one meanwhile would wait for it, and it for them.
create function chat_search_indexes()
returns table (name text, complete boolean)
language sql stable
security definer
set search_path from current
as $$
  select c.relname::text, i.indisvalid and i.indisready
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
   where i.indrelid = format('%I.messages', chat_schema())::regclass
     and starts_with(c.relname::text, chat_search_index(''))
     and c.relname !~ '_cc(new|old)[0-9]*$'
$$;

-- Whether the index for this language is complete. In PL/pgSQL, which plans it once in a session.
create function chat_search_is_ready(language text) returns boolean
language plpgsql stable
as $$
begin
  return exists (select from pg_index i
                  where i.indexrelid = to_regclass(format('%I.%I', chat_schema(), chat_search_index(language)))
                    and i.indisvalid and i.indisready);
end
$$;

-- Merges what was inserted lately into the index, so that searches find a short pending list and no insert has to
-- do it. Returns how many replicas share this work, null when there is no complete index, and how many pages were merged. Locks: an
-- advisory lock, so that no two do it at once.
create function chat_search_tidy(language text, out replicas bigint, out merged bigint)
language plpgsql volatile
security definer
set search_path from current
as $$
begin
  if not chat_search_is_ready(language) then
    return;
  end if;
  if pg_try_advisory_xact_lock(1885562999, hashtext(chat_schema())) then
    merged := gin_clean_pending_list(format('%I.%I', chat_schema(), chat_search_index(language))::regclass);
  end if;
  replicas := greatest((select count(*) from chat_replicas), 1);
end
$$;

-- The keys of an owner for the day or span of `at` and the `more` before it; with the unit a the one of all time. In PL/pgSQL,
-- which plans it once in a session.
create function chat_search_scope(owner uuid, at timestamptz, unit text, more integer) returns bigint[]
language plpgsql stable
as $$
declare
  newest constant bigint := chat_search_day(at);
  days constant integer := case unit when 'd' then 1 else 16 end;
begin
  return array(select uuid_hash_extended(owner, chat_search_seed(unit, newest - n * days)) from generate_series(0, more) n);
end
$$;

-- One page of what a user finds in their own conversations, or in one of them: the newest hundred matches by rank, then the
-- next hundred by rank, and so on; equals by time. `status` is ok for each result, or alone
--   not_ready                                    the index for this language is not complete
--   no_conversation, no_user, not_a_participant  of `conversation`
-- Each Message gets a member `otherParticipant`, with `segments` also `snippet`. `max_bytes` of messages end the page, as in the lists of V6__read.sql.
--
-- A word that is in every message has as many matches as there is history. So the time is widened step by step,
-- from the last two days of activity (of one conversation, its last span) and by about five times at each step, until there
-- are enough: it reads some multiple of what is shown. Where already the first step brings too many, chat_search_walk()
-- goes through the newest messages. Where a day or more has brought hardly any, the word is rare, and all of time is looked at
-- next: most often that is little, and if not, it is given up early.
create function chat_search(
  reader uuid, words text, conversation uuid, language text, max_rows bigint, skip bigint, segments boolean, max_bytes bigint)
returns table (status text, message text)
language plpgsql stable
security definer
set search_path from current
set enable_seqscan = off
set jit = off
-- To start workers takes longer than most searches, and all of them are taken from whoever else asks.
set max_parallel_workers_per_gather = 0
as $$
#variable_conflict use_variable
declare
  block constant bigint := 100;
  wanted constant bigint := block * ((skip + max_rows + block - 1) / block);
  -- Reading this many matches is cheaper than looking for another way.
  too_many constant bigint := greatest(5000, 5 * wanted);
  few constant bigint := wanted / 16;
  unit constant text := case when conversation is null then 'd' else 's' end;
  more constant integer := case when conversation is null then 1 else 0 end;
  query tsquery;
  last_active timestamptz;
  -- Where in the table the rows are: they stay there, since all statements of a stable function see one snapshot.
  tids tid[];
  matches bigint;
  asked conversations;
  step record;
  bytes bigint := 0;
begin
  if not chat_search_is_ready(language) then
    return query select 'not_ready', null::text;
    return;
  end if;
  if conversation is not null then
    select * into asked from conversations where id = conversation;
    if (reader in (asked.participant1_id, asked.participant2_id)) is not true then
      return query select chat_judge_stranger(asked, reader), null::text;
      return;
    end if;
    last_active := asked.updated_at;
  else
    select max(a.active_at) into last_active
      from (select max(c.active_at) as active_at from conversations c where c.participant1_id = reader
            union all
            select max(c.active_at) from conversations c where c.participant2_id = reader) a;
  end if;
  query := chat_search_query(language::regconfig, words);
  -- Nothing but words that the language leaves out, or no conversation.
  if numnode(query) = 0 or last_active is null then
    return;
  end if;
  last_active := least(last_active, chat_last_time()) + chat_activity_lag();

  select f.tids, f.matches into tids, matches
    from chat_search_matches(query, last_active, unit, more, reader, conversation, language, wanted, too_many) f;
  if matches >= too_many then
    tids := chat_search_walk(reader, query, conversation, language, wanted);
    if coalesce(cardinality(tids), 0) < wanted then
      -- They lie deeper than it looks.
      select f.tids, f.matches into tids, matches
        from chat_search_matches(query, last_active, unit, more, reader, conversation, language, wanted, null) f;
    end if;
  elsif matches < wanted then
    for step in
      select *
        from (values (1, 's', 2, null), (2, 'a', 0, 5 * wanted), (3, 'd', 8, null), (4, 's', 2, null), (5, 's', 10, null),
                     (6, 'a', 0, null)) s (number, unit, more, most)
       where case when conversation is null then s.number > 1 else s.number not in (3, 4) end
       order by s.number
    loop
      continue when step.most is not null and matches >= few;
      select f.tids, f.matches into tids, matches
        from chat_search_matches(query, last_active, step.unit, step.more, reader, conversation, language, wanted, step.most) f;
      exit when case when step.most is null then matches >= wanted else matches < step.most end;
    end loop;
  end if;

  for status, message in
    with found as (
      select m, (row_number() over (order by m.created_at desc, m.id desc) - 1) / block as part,
             -- By the beginning: of long texts with many of the words it costs more than all else.
             ts_rank(chat_search_words(language::regconfig,
                                       case when octet_length(m.content) > 4096 then left(m.content, 4096) else m.content end),
                     query) as rank
        from messages m
       where m.ctid = any (tids)
    ), shown as materialized (
      select f.m, f.part, f.rank
        from found f
       order by f.part, f.rank desc, (f.m).created_at desc, (f.m).id desc
       limit max_rows offset skip
    )
    select 'ok',
           format('%s,"otherParticipant":%s%s}', left(chat_message_json(s.m, j.sender), -1),
                  case (s.m).sender_id when c.other_id then j.sender
                                       else chat_summary_json(c.other_id, o.first_name, o.last_name, o.avatar_url) end,
                  case when segments then ',"snippet":' || chat_search_snippet(language::regconfig, (s.m).content, query) end)
      from shown s
     cross join lateral (select case k.participant1_id when reader then k.participant2_id else k.participant1_id end as other_id
                           from conversations k where k.id = (s.m).conversation_id limit 1) c
      left join lateral (select * from chat_users() where id = (s.m).sender_id limit 1) u on true
      -- Null, and nobody is looked up, where they are the sender.
      left join lateral (select * from chat_users() where id = nullif(c.other_id, (s.m).sender_id) limit 1) o on true
     cross join lateral (select chat_summary_json((s.m).sender_id, u.first_name, u.last_name, u.avatar_url) as sender) j
     order by s.part, s.rank desc, (s.m).created_at desc, (s.m).id desc
     limit max_rows
  loop
    bytes := bytes + octet_length(message);
    if bytes > max_bytes and bytes > octet_length(message) then
      message := null;
      return next;
      return;
    end if;
    return next;
  end loop;
end
$$;

-- What a user looks for: their words as they are, or parted at their signs, as chat_search_text() has them in some contents. What is
-- excluded is so in both forms.
create function chat_search_query(language regconfig, words text) returns tsquery
language plpgsql stable
as $$
declare
  signs constant text := '._@-/~';
  blanks constant text := e'\x0e\x0f\x10\x11\x12\x13';
  -- What an address begins with is no word of a message, where the address is one.
  prepared constant text := replace(regexp_replace(words, '[[:alpha:]]+://', '', 'g') collate "C", '<', e'\x01');
  as_written text := prepared;
  parted text;
  query tsquery;
  parts tsquery;
  phrase text;
  is_slow constant boolean := octet_length(prepared) > 256 and prepared ~ e'[^\x01- ]{64}|(?:@[^\x01- @]*){3}';
begin
  if prepared ~ '[^[:space:]"-][._@/~-]' then
    -- The hyphens that a word begins with are operators.
    select string_agg(case when k.is_excluded then format('%s %s', w.word, k.parted) else w.word end, '' order by w.place),
           string_agg(case when k.is_excluded then format('%s %s', w.word, k.parted) else k.parted end, '' order by w.place)
      into as_written, parted
      -- A word is in a phrase where an odd number of quotes is before it.
      from (select m[1], place, sum(length(m[1]) - length(replace(m[1], '"', ''))) over (order by place)
              from regexp_matches(prepared, '[[:space:]"]+|[^[:space:]"]+', 'g') with ordinality r (m, place)) w (word, place, quotes)
     cross join lateral (select ltrim(w.word, '-')) b (bare)
     cross join lateral (
       select left(w.word, length(w.word) - length(b.bare)) || translate(b.bare, signs, blanks),
              w.word like '-%' and b.bare ~ '[._@/~-]' and w.quotes % 2 = 0) k (parted, is_excluded);
    -- What the parser is slow on is found by its parts.
    as_written := case when is_slow then parted else as_written end;
  end if;
  query := websearch_to_tsquery(language, as_written);
  parts := websearch_to_tsquery(language, coalesce(parted, as_written));
  query := case when parts = query or numnode(parts) = 0 then query
                when numnode(query) = 0 then parts
                else query || parts end;
  -- An excluded phrase is so in both forms.
  for phrase in select m[1] from regexp_matches(prepared, '(?:^|[[:space:]])-"([^"]*)"', 'g') r (m) where m[1] ~ '[._@/~-]' loop
    query := query && !!phraseto_tsquery(language, translate(phrase, signs, blanks));
    if not is_slow then
      query := query && !!phraseto_tsquery(language, phrase);
    end if;
  end loop;
  return (query);
end
$$;

-- Any of the words of a query. As text it holds each in quotes, with those in it doubled.
create function chat_search_any(query tsquery) returns tsquery
language sql immutable
as $$
  select string_agg(words[1], '|')::tsquery from regexp_matches(query::text, $word$'(?:[^']|'')*'$word$, 'g') words
$$;

-- Where the newest `wanted` matches of an owner (`conversation`, or else `reader`) in a scope are, and how many there are; at `too_many` of them
-- (null: never) it stops, and they are any of them. By the search index and nothing else: only a bitmap scan can use it,
-- and `is true` keeps the planner from taking an index on conversations instead.
--
-- For a query that a message without any of its words matches (all but a word), GIN would read all the words that there are. So
-- what the keys bring is taken, without the messages that hold one of its words, but for those of them that match nevertheless.
-- Of other queries every match holds one of the words; where GIN does not see that (--word, which is not not), it is told so.
create function chat_search_matches(
  query tsquery, at timestamptz, unit text, more integer, reader uuid, conversation uuid, language text, wanted bigint,
  too_many bigint)
returns table (tids tid[], matches bigint)
language plpgsql stable
set jit = off
set enable_seqscan = off
set enable_indexscan = off
set enable_indexonlyscan = off
as $$
#variable_conflict use_variable
declare
  in_scope constant text :=
    'chat_search_keys(m.sender_id, m.reader_id, m.conversation_id, m.created_at) && $6 and m.deleted_at is null';
  matching constant text := format('chat_search_words(%L::regconfig, m.content) @@ ', language);
  -- Of a message with none of its words: no parser makes a word of a blank.
  matches_others constant boolean := tsvector $words$' '$words$ @@ query;
begin
  return query execute format(
    'select (array_agg(f.ctid order by f.created_at desc, f.id desc))[1:$4], count(*) '
    '  from (select m.ctid, m.id, m.created_at from messages m '
    '         where %s and %s '
    '           and (m.sender_id = $2 or m.reader_id = $2) '
    '           and ($3 is null or (m.conversation_id = $3) is true) '
    '         limit $5) f',
    in_scope,
    case when matches_others
         then format('(m.ctid not in (select m.ctid from messages m where %1$s and %2$s $7) '
                     ' or m.ctid in (select m.ctid from messages m where %1$s and %2$s ($1 && $7)))', in_scope, matching)
         when querytree(query) = 'T' then matching || '($1 && $7)'
         else matching || '$1' end)
   using query, reader, conversation, wanted, too_many,
         chat_search_scope(coalesce(conversation, reader), at, unit, more), chat_search_any(query);
end
$$;

-- Where the newest matches are, by going through the newest messages of the conversations that were active last. For words
-- that are in so many messages that it has not far to go; of one conversation it looks at the newest messages only.
-- It gives up, and answers with nothing, before it would look at more than `far` messages in all: whoever has many long
-- conversations that the word is not in is better served by the index.
create function chat_search_walk(reader uuid, query tsquery, conversation uuid, language text, wanted bigint)
returns tid[]
language plpgsql stable
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_variable
declare
  depth constant bigint := greatest(1000, 2 * wanted);
  step constant bigint := 20;
  far constant bigint := 20 * depth;
  looked bigint := 0;
  matching constant text := format(
    'select n.tid, n.id, n.created_at '
    '  from (select l.ctid as tid, l.id, l.created_at, l.content, l.deleted_at from messages l where l.conversation_id = c.id order by l.seq desc limit $2) n '
    ' where chat_search_words(%L::regconfig, n.content) @@ $1 '
    '   and n.deleted_at is null '
    ' limit $3', language);
  tids tid[] := '{}';
  ids uuid[] := '{}';
  times timestamptz[] := '{}';
  skip bigint := 0;
  places bigint;
  behind timestamptz;
begin
  if conversation is not null then
    execute format('select array_agg(f.tid) from (select $4 as id) c cross join lateral (%s) f', matching)
      into tids using query, depth, wanted, conversation;
    return coalesce(tids, '{}');
  end if;
  loop
    execute format(
      'with c as materialized ('
      '  select p.id, p.active_at, $9 + sum(least(p.last_seq, $2)) over (order by p.active_at desc, p.id) as looked '
      '    from (select a.id, a.active_at, a.last_seq '
      '            from ((select id, active_at, last_seq from conversations where participant1_id = $4 '
      '                    order by active_at desc limit $5 + $6) '
      '                  union all '
      '                  (select id, active_at, last_seq from conversations where participant2_id = $4 '
      '                    order by active_at desc limit $5 + $6)) a '
      '           order by a.active_at desc limit $5 offset $6) p), '
      'found as ('
      '  select * from unnest($7, $8, $11) o (tid, id, created_at) '
      '  union all '
      '  select f.* from c cross join lateral (%s) f where c.looked <= $10), '
      'newest as (select * from found order by created_at desc, id desc limit $3) '
      'select (select array_agg(tid order by created_at desc, id desc) from newest), '
      '       (select array_agg(id order by created_at desc, id desc) from newest), '
      '       (select array_agg(created_at order by created_at desc, id desc) from newest), '
      '       (select count(*) from c), (select min(active_at) from c), coalesce((select max(looked) from c), $9)', matching)
      into tids, ids, times, places, behind, looked
     using query, depth, wanted, reader, step, skip, tids, ids, looked, far, times;
    if looked > far then
      return '{}';
    end if;
    skip := skip + step;
    -- No message of the conversations that follow is newer than this.
    exit when places < step
           or (cardinality(tids) >= wanted and times[wanted] >= behind + chat_activity_lag());
  end loop;
  return tids;
end
$$;

-- Of a long content, as chat_search_text() has it, the first portion of 2,048 characters that matches as a whole; where none
-- does, the first with a `word` of the query; null where none has one. They overlap, so that of a word or phrase at an end of one the
-- next has all.
create function chat_search_portion(language regconfig, content text, query tsquery, word tsquery) returns text
language plpgsql stable
as $$
declare
  longest constant integer := 2048;
  overlap constant integer := 128;
  rest text := content;
  portion text;
  words tsvector;
  with_a_word text;
begin
  while octet_length(rest) > 0 loop
    portion := left(rest, longest);
    words := to_tsvector(language, portion);
    if words @@ query then
      return portion;
    end if;
    if with_a_word is null and words @@ word then
      with_a_word := portion;
    end if;
    -- Cheaper than substr(), which counts all that comes before and after.
    rest := right(rest, overlap - longest);
  end loop;
  return with_a_word;
end
$$;

-- Of a long content, as chat_search_text() has it, the 2,048 characters that a snippet is made of, and what is looked for in them: to mark the matches takes a time that
-- grows with the square of the length, and with the words of the query. It is the beginning, if that matches; else what is around a word of
-- the query as it is written there: around its first two places, and of several words it is the one that comes last. Where there is no match
-- (few texts hold the stem of "city") it is a portion that has one. Where all this does not match as a whole, each of the words is marked.
create function chat_search_part(language regconfig, content text, query tsquery, out part text, out sought tsquery)
language plpgsql stable
as $$
declare
  longest constant integer := 2048;
  around constant integer := longest / 4;
  -- But for what a match must not have; a query that says nothing else has no such tree.
  wanted constant text := case when querytree(query) = 'T' then query::text else querytree(query) end;
  beginning text;
  -- For the collation of a column that was adopted there may be no strpos().
  folded text collate "C";
  found record;
  behind integer;
  further integer;
begin
  sought := query;
  part := left(content, longest + 1);
  if length(part) <= longest then
    return;
  end if;
  part := left(part, longest);
  beginning := part;
  if to_tsvector(language, part) @@ query then
    return;
  end if;
  sought := chat_search_any(wanted::tsquery);
  folded := ' ' || lower(content);
  -- Rather where a word begins.
  select w.word, coalesce(nullif(strpos(folded, ' ' || w.word), 0), strpos(folded, w.word)) as place into found
    from unnest(tsvector_to_array(replace(sought::text, $or$' | '$or$, $blank$' '$blank$)::tsvector)) w (word)
   order by place desc
   limit 1;
  if found.place > 2 * around then
    part := substr(content, found.place - around, 2 * around);
    behind := found.place + around;
    further := strpos(substr(folded, behind + 1), found.word);
    if further > 0 then
      part := part || ' … ' || substr(content, behind + greatest(further - around, 0), 2 * around);
    end if;
  end if;
  if not to_tsvector(language, part) @@ sought then
    part := coalesce(chat_search_portion(language, content, query, sought), beginning);
  end if;
  if to_tsvector(language, part) @@ query then
    sought := query;
  end if;
end
$$;

-- The parts of a content around what was found, as a JSON array of {"text", "match"}: joined, they are the
-- snippet. No markup, so there is none to escape or to trust. A short content is in it as a whole: of a part,
-- PostgreSQL leaves out a number at its end, be it the price that the message is about. And it has nothing to show of
-- a part that is one huge word: then it is how the content begins.
create function chat_search_snippet(language regconfig, content text, query tsquery) returns text
language sql stable
as $$
  with marked as (
    -- Control characters mark the matches, and stand for the signs; the content's own are taken out.
    select translate(ts_headline(language, p.part, p.sought,
                                 e'StartSel=\x02, StopSel=\x03, ' || case when length(left(content, 121)) <= 120 then 'HighlightAll=true'
                                   else 'MaxFragments=2, MinWords=5, MaxWords=20, ShortWord=0, FragmentDelimiter=" … "' end),
                     e'\x01\x0e\x0f\x10\x11\x12\x13', '<._@-/~') collate "C" as text
      from chat_search_part(language, chat_search_text(translate(content, e'\x01\x02\x03\x0e\x0f\x10\x11\x12\x13', '')), query) p
  ), part as (
    select p.place * 2 + q.place as place, q.text, p.place > 1 and q.place = 1 as match
      from marked
     cross join string_to_table(marked.text, e'\x02') with ordinality as p (text, place)
     cross join string_to_table(p.text, e'\x03') with ordinality as q (text, place)
     where q.text <> ''
  )
  select format('[%s]', coalesce(
           string_agg(format('{"text":%s,"match":%s}', to_json(text), case when match then 'true' else 'false' end), ',' order by place),
           case when octet_length(content) > 0 then format('{"text":%s,"match":false}', to_json(left(content, 120))) end))
    from part
$$;
