//! A history that is brought in, and what README.md has programs ask themselves.

use super::Scene;
use crate::support::*;

const README: &str = include_str!("../../../sql/README.md");

/// The block of SQL that begins so.
fn documented(begin: &str) -> &'static str {
    sql_block(README, |block| block.starts_with(begin))
}

/// By the grants of an import, and nothing else.
#[tokio::test]
async fn conversations_that_are_brought_in_are_listed_by_when_they_were_last_used() {
    let database = Database::fresh().await;
    let role = database.role("import").await;
    database
        .execute(&format!(
            "grant insert (conversation_id, sender_id, content, is_read, created_at) on messages to {role};
             grant insert (participant1_id, participant2_id, created_at, updated_at) on conversations to {role};
             grant select on conversations to {role}"
        ))
        .await;
    let import = database.sql_as(&role).await;
    let insert = documented("insert into conversations");
    let people = [
        (BORIS, "2022-02-01", "2024-03-01"),
        (CARLA, "2022-01-01", "2025-03-01"),
        (DAVID, "2022-03-01", "2023-03-01"),
    ];
    for (user, begun, used) in people {
        let insert = insert
            .replace("11111111-1111-4111-8111-111111111111", &ALICE.to_string())
            .replace("22222222-2222-4222-8222-222222222222", &user.to_string())
            .replace("2024-05-01", begun);
        let message = format!(
            "insert into messages (conversation_id, sender_id, content, is_read, created_at)
             select id, '{user}', 'x', true, '{used}' from conversations where '{user}' in (participant1_id, participant2_id)"
        );
        for sql in [insert, message] {
            if let Err(fault) = import.batch_execute(&sql).await {
                panic!("{fault:?}\n{sql}");
            }
        }
    }
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let others = async || {
        let list = api.conversations(ALICE).await;
        let ids = list
            .iter()
            .map(|row| uuid_in(&row["lastMessage"], "senderId"));
        ids.collect::<Vec<_>>()
    };
    assert_eq!(others().await, [CARLA, BORIS, DAVID]);

    // Without their times, and mended afterwards.
    database
        .execute("update conversations set updated_at = now(), created_at = now()")
        .await;
    let mend = README
        .split('`')
        .find(|code| code.starts_with("update conversations c set updated_at"));
    database
        .execute_as_owner(mend.expect("it is documented"))
        .await;
    assert_eq!(others().await, [CARLA, BORIS, DAVID]);
}

#[tokio::test]
async fn unread_messages_are_counted_by_the_index_of_them() {
    let scene = Scene::set().await;
    for content in ["one", "two", "three"] {
        scene.api().send(scene.conversation, ALICE, content).await;
    }
    scene
        .database
        .execute("update messages set deleted_at = now() where seq = 2")
        .await;
    let reader = "22222222-2222-4222-8222-222222222222";
    let count = documented("select conversation_id, count(*)").replace(reader, &BORIS.to_string());
    let client = scene.database.sql().await;
    let row = client.query_one(&count, &[]).await.expect("a conversation");
    let counted: (uuid::Uuid, i64) = (row.get(0), row.get(1));
    assert_eq!(counted, (scene.conversation, 2));
    assert_eq!(scene.api().unread_count(BORIS).await, 2);
    let plan = client
        .simple_query(&format!("set enable_seqscan = off; explain {count}"))
        .await
        .expect("a plan");
    let plan = format!("{plan:?}");
    assert!(plan.contains("chat_messages_unread"), "{plan}");
}
