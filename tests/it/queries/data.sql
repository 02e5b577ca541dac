-- Data to measure with: {messages} messages over a year in {conversations} conversations, {own} of them those of one
-- user, the broker ('b0…'). One conversation of the broker's holds {deep} messages. One message in 50 is unread; of the broker's, {unread}.
-- Each has a client_message_id, as those have that clients send.
-- The triggers are off while it is loaded: they would build a million notifications that nobody reads.

set session_replication_role = replica;

insert into users (id, first_name, last_name, email)
values ('b0000000-0000-4000-8000-000000000000', 'Berta', 'Broker', 'broker@host.example');
insert into users (id, first_name, last_name, email)
select md5('user' || n)::uuid, 'User', n::text, 'user' || n || '@queries.example'
  from generate_series(1, greatest({own}, {conversations} / 5)) n;

-- The broker with the first {own} users, half of them as the second participant; then pairs of users.
insert into conversations (id, participant1_id, participant2_id, created_at, updated_at, active_at, last_seq)
select md5('conversation' || n)::uuid,
       case when n > {own} then md5('user' || 1 + n % u.count)::uuid
            when n % 2 = 0 then 'b0000000-0000-4000-8000-000000000000' else md5('user' || n)::uuid end,
       case when n > {own} then md5('user' || 1 + (n + 1 + n / u.count) % u.count)::uuid
            when n % 2 = 0 then md5('user' || n)::uuid else 'b0000000-0000-4000-8000-000000000000' end,
       '2025-01-01Z', '2025-01-01Z', '2025-01-01Z', 0
  from generate_series(1, {conversations}) n, (select greatest({own}, {conversations} / 5) as count) u;

-- Message i of a year goes to a conversation that looks random, or to the deep one. The others are counted by themselves, so that each
-- conversation gets as many: one without a message costs less to list.
insert into messages (id, conversation_id, sender_id, reader_id, content, is_read, seq, client_message_id, created_at, updated_at)
select m.id, c.id,
       case when i % 3 = 0 then c.participant1_id else c.participant2_id end,
       case when i % 3 = 0 then c.participant2_id else c.participant1_id end,
       -- One word is in all messages, one in every twentieth, one in every thousandth, and one in 20 of the broker's.
       'about word' || i % 97 || ' and term' || (i * 7919) % 5003 || ', ref' || i || ' at ' || i % 24 || ':30'
       || case when i % 20 = 7 then ' garden' else '' end
       || case when i % 1000 = 7 then ' harbour' else '' end
       || case when c.number <= 20 and seq = 1 then ' lighthouse' else '' end,
       not (case when number <= {own} then number between 2 and 1 + {unread} / 2 and seq <= 2 else i % 49 = 0 end),
       seq, 'client-' || i, at, at
  from (select p.*, row_number() over (partition by number order by i) as seq
          from (select i, overlay(md5('message' || i) placing lpad(to_hex(i), 10, '0') from 1 for 10)::uuid as id,
                       timestamptz '2025-01-01Z' + i * (interval '365 days' / {messages}) as at,
                       case when i <= {messages} and i % greatest({messages} / {deep}, 1) = 0 then 1
                            else 1 + ((i - i / greatest({messages} / {deep}, 1)) * 2654435761 % {conversations}) end as number
                  from generate_series(1::bigint, {messages}) i) p) m
  join (select c.*, n as number
          from generate_series(1, {conversations}) n
          join conversations c on c.id = md5('conversation' || n)::uuid) c using (number);

-- In the deep conversation the newest message to the broker is unread, and the newest {many} to the other.
update messages set is_read = false
 where id in (select id from messages
               where conversation_id = md5('conversation1')::uuid and reader_id = 'b0000000-0000-4000-8000-000000000000'
               order by seq desc limit 1)
    or id in (select id from messages
               where conversation_id = md5('conversation1')::uuid and sender_id = 'b0000000-0000-4000-8000-000000000000'
               order by seq desc limit {many});

update conversations c
   set last_seq = n.seq, last_message_id = n.id, last_xid = pg_current_xact_id(), updated_at = n.created_at,
       active_at = date_trunc('minute', n.created_at)
  from (select distinct on (conversation_id) conversation_id, seq, id, created_at
          from messages order by conversation_id, seq desc) n
 where n.conversation_id = c.id;

set session_replication_role = origin;
-- then
vacuum analyze conversations, messages, users;
