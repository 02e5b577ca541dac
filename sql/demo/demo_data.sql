-- Demo users and conversations for trying pgchat out. Run as one batch, so as one transaction: all of it or nothing.
-- Running it again changes nothing.
--
-- The users table is named by the setting pgchat.users_table (users when it is not set), as USERS_TABLE is.
-- It needs the columns listed below; any other table is refused, and nothing is changed.

do $$
declare
  users_name constant text := coalesce(nullif(current_setting('pgchat.users_table', true), ''), 'users');
  users_table constant regclass := chat_users_table(users_name);
  missing text;
  taken bigint;
begin
  -- Replicas that start together take turns, or both would find the conversations without messages.
  perform pg_advisory_xact_lock(hashtextextended('pgchat demo data', 0));

  select string_agg(needed, ', ')
  into missing
  from unnest(array['id', 'first_name', 'last_name', 'email', 'avatar_url', 'role', 'is_active']) as needed
  where not exists (
    select
    from pg_attribute
    where attrelid = users_table and attname = needed and attnum > 0 and not attisdropped
  );
  if missing is not null then
    raise exception 'demo data: % has no column %; demo users fit only into a table with these names',
      users_table, missing;
  end if;

  begin
    execute format($insert$
      insert into %s (id, first_name, last_name, email, avatar_url, role, is_active)
      values
        ('11111111-1111-4111-8111-111111111111', 'Amélie', 'Dubois', 'amelie.dubois@example.com', null, 'buyer', true),
        ('22222222-2222-4222-8222-222222222222', 'Łukasz', 'Wiśniewski', 'lukasz.wisniewski@example.com', null, 'broker', true),
        ('33333333-3333-4333-8333-333333333333', 'Zeynep', 'Öztürk', 'zeynep.ozturk@example.com', null, 'developer', true),
        ('44444444-4444-4444-8444-444444444444', '美咲', '田中', 'misaki.tanaka@example.com', null, 'buyer', true),
        ('55555555-5555-4555-8555-555555555555', 'Omar', 'El-Sayed', 'omar.elsayed@example.com', null, 'broker', true),
        ('66666666-6666-4666-8666-666666666666', 'Ольга', 'Коваленко', 'olha.kovalenko@example.com', null, 'developer', true),
        ('77777777-7777-4777-8777-777777777777', 'Grace', 'O''Neill', 'grace.oneill@example.com', null, 'admin', true),
        ('88888888-8888-4888-8888-888888888888', 'Jürgen', 'Groß', 'juergen.gross@example.com', null, 'buyer', false)
      on conflict do nothing
    $insert$, users_table);
  exception
    when others then
      raise exception 'demo data: the demo users do not fit into %: %', users_table, sqlerrm;
  end;

  -- A row of the host's that holds a demo user's e-mail address, say, made "on conflict" skip that user.
  execute format($count$
    select 8 - count(*)
    from %s
    where id::text ~ '^([1-8])\1{7}-\1{4}-4\1{3}-8\1{3}-\1{12}$'
  $count$, users_table) into taken;
  if taken > 0 then
    raise exception 'demo data: % has other users in the place of % of the demo users', users_table, taken;
  end if;
end
$$;

-- With ids that documents can name, where other rows get theirs from pgchat.
insert into conversations (id, participant1_id, participant2_id)
select pair.id, pair.one, pair.two
from (
  values
    ('c0000000-0000-4000-8000-000000000001'::uuid,
      '11111111-1111-4111-8111-111111111111'::uuid, '22222222-2222-4222-8222-222222222222'::uuid),
    ('c0000000-0000-4000-8000-000000000002',
      '11111111-1111-4111-8111-111111111111', '33333333-3333-4333-8333-333333333333'),
    ('c0000000-0000-4000-8000-000000000003',
      '44444444-4444-4444-8444-444444444444', '55555555-5555-4555-8555-555555555555'),
    ('c0000000-0000-4000-8000-000000000004',
      '66666666-6666-4666-8666-666666666666', '55555555-5555-4555-8555-555555555555')
) as pair (id, one, two)
where not exists (
  select
  from conversations
  where (participant1_id, participant2_id) in ((pair.one, pair.two), (pair.two, pair.one))
)
on conflict do nothing;

-- As any other program would do it: seq and times are filled in by the triggers, in the order of the lines. What was
-- answered has been read.
with line (place, sender, recipient, content) as (
  values
    (1, '11111111-1111-4111-8111-111111111111'::uuid, '22222222-2222-4222-8222-222222222222'::uuid,
      'Hello! Is the two-bedroom flat on Marszałkowska still available?'),
    (2, '22222222-2222-4222-8222-222222222222', '11111111-1111-4111-8111-111111111111',
      'Good morning, Amélie. It is. 64 m², third floor, with a balcony to the courtyard.'),
    (3, '11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222',
      'Could I see it on Thursday after five?'),
    (4, '22222222-2222-4222-8222-222222222222', '11111111-1111-4111-8111-111111111111',
      'Thursday at 17:30 suits the owner. I will wait at the gate. 🔑'),
    (5, '11111111-1111-4111-8111-111111111111', '33333333-3333-4333-8333-333333333333',
      'Which of the garden-side units in the second building are not reserved yet?'),
    (6, '33333333-3333-4333-8333-333333333333', '11111111-1111-4111-8111-111111111111',
      'B-204 and B-311. Both are handed over in March; the price list is attached to the offer.'),
    (7, '11111111-1111-4111-8111-111111111111', '33333333-3333-4333-8333-333333333333',
      'Thank you, Zeynep. Is a parking space included?'),
    (8, '44444444-4444-4444-8444-444444444444', '55555555-5555-4555-8555-555555555555',
      'こんにちは。駅から歩いて10分以内の物件はありますか?'),
    (9, '55555555-5555-4555-8555-555555555555', '44444444-4444-4444-8444-444444444444',
      'Yes, three of them. I will send you the floor plans this afternoon.'),
    (10, '66666666-6666-4666-8666-666666666666', '55555555-5555-4555-8555-555555555555',
      'Omar, the model apartment is finished. Buyers can come from Monday on.'),
    (11, '55555555-5555-4555-8555-555555555555', '66666666-6666-4666-8666-666666666666',
      'Чудово! I have four families waiting, and two of them want to decide this month.'),
    (12, '66666666-6666-4666-8666-666666666666', '55555555-5555-4555-8555-555555555555',
      'Then let us hold units A-101 and A-102 for them until Friday.')
)
insert into messages (id, conversation_id, sender_id, content, is_read)
select ('d0000000-0000-4000-8000-0000000000' || lpad(line.place::text, 2, '0'))::uuid,
       conversation.id, line.sender, line.content,
       exists (
         select
         from line as answer
         where answer.sender = line.recipient and answer.recipient = line.sender and answer.place > line.place
       )
from line
join conversations as conversation
  on (conversation.participant1_id, conversation.participant2_id) in ((line.sender, line.recipient), (line.recipient, line.sender))
where not exists (
  select
  from messages
  where messages.conversation_id = conversation.id
)
order by line.place;
