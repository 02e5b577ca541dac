//! A word that is in thousands of messages of the last days: the newest conversations are gone through, and what is found is what a
//! plain query finds.

use uuid::Uuid;

use super::Scene;
use super::steps::Asked;
use crate::support::*;

/// Alice's conversations with 26 users, and 8,200 messages in them. The newest 200 are in 20 of the conversations, one after the other;
/// the others, of the day before, in all of them. Each fiftieth is deleted.
const MANY: &str = "
set session_replication_role = replica;
create temp table pairs as
  with pair as (
    insert into conversations (participant1_id, participant2_id)
    select case when place % 2 = 0 then '{alice}' else u end, case when place % 2 = 0 then u else '{alice}' end
      from unnest('{users}'::uuid[]) with ordinality users (u, place)
    returning id, participant1_id, participant2_id)
  select *, row_number() over (order by id) as place from pair;
insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at, deleted_at)
select p.id, p.participant1_id, p.participant2_id,
       case when n % 50 = 7 then '' else n || ' always' || repeat(' often', n % 3) end,
       case when n > 8000 then 400 + (n - 8000) / 20 else 1 + n / 26 end, at, at, case when n % 50 = 7 then at end
  from (select n, 1 + n % case when n > 8000 then 20 else 26 end as place,
               now() - case when n > 8000 then interval '1 second' * (8200 - n) else interval '1 hour' + interval '5 seconds' * (8000 - n) end as at
          from generate_series(1, 8200) n) n
  join pairs p on p.place = n.place;
update conversations c set last_seq = l.seq, last_message_id = l.id, updated_at = l.created_at, active_at = l.created_at
  from (select distinct on (conversation_id) * from messages order by conversation_id, seq desc) l
 where l.conversation_id = c.id;
set session_replication_role = origin;
analyze messages, conversations";

async fn assert_found_as_plainly(scene: &Scene, conversation: Option<Uuid>) {
    let (api, client) = (scene.here(), scene.database.sql().await);
    // None of the deleted ones has a word.
    for words in ["always", "often", "-nowhere"] {
        for (offset, limit) in [(0, 20), (90, 200), (900, 100)] {
            let asked = Asked {
                words,
                conversation,
                offset,
                limit,
            };
            assert!(asked.is_found_as_plainly(&api, &client).await, "{words}");
        }
    }
}

#[tokio::test]
async fn the_newest_of_thousands_of_matches_in_many_conversations_are_found() {
    let scene = Scene::set().await;
    let users = scene.database.add_users(26).await;
    let users: Vec<String> = users.iter().map(Uuid::to_string).collect();
    let many = MANY.replace("{users}", &format!("{{{}}}", users.join(",")));
    let many = many.replace("{alice}", &ALICE.to_string());
    scene.database.execute(&many).await;
    assert_found_as_plainly(&scene, None).await;
}

/// In the conversation with Boris all of them are of one span of 16 days, so that it is gone through; in that with Carla a span begins
/// before the last thousand.
#[tokio::test]
async fn the_newest_of_thousands_of_matches_in_one_conversation_are_found() {
    let scene = Scene::set().await;
    let places = [
        (scene.with_boris, BORIS, "2021-11-30 12:00:00+00"),
        (scene.with_carla, CARLA, "2021-11-26 00:16:40+00"),
    ];
    for (conversation, partner, last) in places {
        scene
            .database
            .execute(&format!(
                "set session_replication_role = replica;
                 insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at, deleted_at)
                 select '{conversation}', '{ALICE}', '{partner}',
                        case when n % 50 = 7 then '' else n || ' always' || repeat(' often', n % 3) end,
                        n, at, at, case when n % 50 = 7 then at end
                   from (select n, timestamptz '{last}' - interval '1 second' * (7000 - n) as at from generate_series(1, 7000) n) n;
                 update conversations set last_seq = 7000, active_at = '{last}', updated_at = '{last}' where id = '{conversation}'"
            ))
            .await;
        assert_found_as_plainly(&scene, Some(conversation)).await;
    }
}

/// A conversation's place among the others is up to a minute behind its newest message, which may be of another day by then.
#[tokio::test]
async fn a_message_right_after_midnight_is_found_among_many_of_the_day_before() {
    let scene = Scene::set().await;
    // As well the first moment of a span of 16 days.
    let midnight = "timestamptz '2021-11-26 00:00:00+00'";
    scene
        .database
        .execute(&format!(
            "set session_replication_role = replica;
             insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at)
             select '{with_boris}', '{BORIS}', '{ALICE}', 'apple ' || n, n, at, at
               from (select n, {midnight} + interval '1 second' * (n - 280) as at from generate_series(1, 300) n) n;
             update conversations set last_seq = 300, active_at = {midnight} - interval '30 seconds', updated_at = {midnight} + interval '20 seconds'
              where id = '{with_boris}';
             update conversations set active_at = {midnight} - interval '1 year', updated_at = {midnight} - interval '1 year'
              where id <> '{with_boris}'",
            with_boris = scene.with_boris
        ))
        .await;
    let here_only = format!("q=apple&limit=1&conversation_id={}", scene.with_boris);
    for query in ["q=apple&limit=1", &here_only] {
        assert_eq!(scene.here().found(ALICE, query).await, ["apple 300"]);
    }
}

/// The next conversation's place may be behind that of the last one that is gone through, while its newest message is not behind.
#[tokio::test]
async fn the_newest_message_is_found_though_its_conversation_stands_behind_others() {
    let scene = Scene::set().await;
    let users = scene.database.add_users(20).await;
    let users: Vec<String> = users.iter().map(|id| format!("'{id}'")).collect();
    // 20 conversations, the last of which was active 20 minutes ago, and hundreds of messages; then that with Boris.
    scene
        .database
        .execute(&format!(
            "set session_replication_role = replica;
             create temp table pairs as
               with pair as (
                 insert into conversations (participant1_id, participant2_id)
                 select '{ALICE}', u from unnest(array[{users}]::uuid[]) u returning id, participant2_id)
               select *, row_number() over (order by id) as place from pair;
             insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at)
             select p.id, '{ALICE}', p.participant2_id, 'apple', n, now() - at, now() - at
               from generate_series(1, 300) n, pairs p,
                    lateral (select case when p.place < 20 and n > 296 then interval '5 minutes' when p.place = 20 and n > 270 then interval '19 minutes 40 seconds'
                                         else interval '3 hours' end as at) m;
             update conversations c
                set last_seq = 300, active_at = now() - at, updated_at = now() - at
               from pairs p, lateral (select case when p.place < 20 then interval '5 minutes' else interval '20 minutes' end as at) m
              where c.id = p.id;
             insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at)
             values ('{with_boris}', '{BORIS}', '{ALICE}', 'apple apple', 1, now() - interval '19 minutes 20 seconds', now());
             update conversations
                set last_seq = 1, active_at = now() - interval '20 minutes 10 seconds', updated_at = now() - interval '19 minutes 20 seconds'
              where id = '{with_boris}';
             update conversations set active_at = now() - interval '1 day', updated_at = now() - interval '1 day'
              where id = '{with_carla}'",
            users = users.join(","),
            with_boris = scene.with_boris,
            with_carla = scene.with_carla,
        ))
        .await;
    // It is among the newest hundred, and of these the best.
    assert_eq!(
        scene.here().found(ALICE, "q=apple&limit=1").await,
        ["apple apple"]
    );
}
