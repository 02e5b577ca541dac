//! What the page on retention says of the data of a person: how it is handed out, and how moderators keep what was edited or deleted.

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use super::RETENTION;
use crate::support::*;

/// "Keeping what is edited or deleted": whoever changes it, and nothing else is kept.
#[tokio::test]
async fn what_is_edited_or_deleted_is_kept_by_the_trigger_of_the_guide() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let keep = sql_block(RETENTION, |sql| sql.contains("create trigger"));
    database.execute(keep).await;

    let rude = id_of(&api.send(conversation, ALICE, "as it was").await);
    let other = id_of(&api.send(conversation, ALICE, "by a program").await);
    assert_eq!(api.mark_read(conversation, BORIS).await.status, 200);
    assert_eq!(api.edit(rude, ALICE, "as it is").await.status, 200);
    assert_eq!(api.delete_message(rude, ALICE).await.status, 204);
    let crm = integrator(&database).await;
    let by_sql = format!("update messages set deleted_at = now() where id = '{other}'");
    crm.batch_execute(&by_sql).await.expect("a deletion");

    let kept = "select content from moderation.former_messages order by until";
    let kept = database.sql().await.query(kept, &[]).await.expect("rows");
    let kept: Vec<&str> = kept.iter().map(|row| row.get(0)).collect();
    assert_eq!(kept, ["as it was", "as it is", "by a program"]);
    // None of them is old enough.
    let remove = sql_block(RETENTION, |sql| sql.starts_with("delete from moderation"));
    database.execute(remove).await;
    assert_eq!(database.count("moderation.former_messages").await, 3);
}

/// "A person's data": by a member of the role for other programs.
#[tokio::test]
async fn the_statements_of_the_guide_hand_out_a_persons_conversations_and_no_others() {
    let database = Database::fresh().await;
    let ours = database.conversation(ALICE, BORIS).await;
    let others = database.conversation(BORIS, CARLA).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    api.send(ours, ALICE, "what she wrote").await;
    api.send(ours, BORIS, "what she was told").await;
    api.send(others, BORIS, "what she is not to see").await;

    let crm = integrator(&database).await;
    let statements: Vec<&str> = RETENTION
        .split("-c \"")
        .filter_map(|rest| rest.split('"').next())
        .filter(|sql| sql.starts_with("copy ("))
        .collect();
    let [messages, online] = statements[..] else {
        panic!("{statements:?}");
    };
    let messages = copied(&crm, messages).await;
    assert!(messages.starts_with("conversation_id,seq,"), "{messages}");
    assert!(messages.contains("what she wrote") && messages.contains("what she was told"));
    assert!(!messages.contains("what she is not to see"), "{messages}");
    assert!(copied(&crm, online).await.starts_with("last_seen_at"));
}

async fn integrator(database: &Database) -> Client {
    let role = database.role("crm").await;
    database
        .execute(&format!("grant {INTEGRATOR} to {role}"))
        .await;
    database.sql_as(&role).await
}

/// What the statement, with Alice as the person, writes to its standard output.
async fn copied(client: &Client, sql: &str) -> String {
    let sql = sql.replace("$PERSON", &ALICE.to_string());
    let parts = client.copy_out(&sql).await.expect("a copy");
    let parts: Vec<_> = parts.try_collect().await.expect("its rows");
    String::from_utf8(parts.concat()).expect("UTF-8")
}
