//! What is removed or emptied in portions, however many conversations it is in.

use super::{purge_in_steps, *};

/// Alice has a conversation with each of so many users, and has written so many messages to each, long ago.
async fn with_old_ones(conversations: i32, messages: i32) -> Database {
    let database = Database::fresh().await;
    database.add_users(conversations).await;
    database
        .execute(&format!(
            "with new as (
               insert into conversations (participant1_id, participant2_id)
               select '{ALICE}', id from users where first_name = 'User' returning id)
             insert into messages (conversation_id, sender_id, content, created_at)
             select id, '{ALICE}', 'old', now() - interval '2 years' from new, generate_series(1, {messages})"
        ))
        .await;
    database
}

/// Each conversation that a step changes is a subtransaction. More than 64 in a transaction cost every snapshot in the cluster a look-up.
#[tokio::test]
async fn a_step_changes_sixty_conversations_at_most_and_the_next_goes_on_behind_them() {
    let database = with_old_ones(130, 2).await;
    let steps = purge_in_steps(&database, 365, 100_000).await;
    let removed: Vec<i64> = steps.iter().map(|step| step.messages).collect();
    assert_eq!(removed, [120, 120, 20]);
    assert_eq!(database.count("messages").await, 0);
}

/// One that is busy is a subtransaction as well.
#[tokio::test]
async fn conversations_that_are_busy_count_for_the_end_of_a_step() {
    let database = with_old_ones(70, 1).await;
    let holder = database.holding("select from messages for update").await;
    let steps = purge_in_steps(&database, 365, 100_000).await;
    let busy: Vec<i64> = steps.iter().map(|step| step.busy).collect();
    assert_eq!(busy, [60, 10]);
    assert_eq!(database.count("messages").await, 70);
    drop(holder);
}

/// As docs/retention.md says it, with smaller portions.
#[tokio::test]
async fn a_users_messages_are_emptied_in_portions_and_nobody_elses() {
    let database = with_old_ones(3, 3).await;
    database
        .execute(
            "insert into messages (conversation_id, sender_id, content)
             select id, participant2_id, 'theirs' from conversations",
        )
        .await;
    let page = include_str!("../../../docs/retention.md");
    let (_, recipe) = page
        .split_once("3. Empty their messages")
        .expect("the recipe");
    let recipe = blocks(recipe, "sql")[0];
    assert!(recipe.contains("limit 5000"), "{recipe}");
    let recipe = recipe
        .replace("33333333-3333-4333-8333-333333333333", &ALICE.to_string())
        .replace("limit 5000", "limit 4");
    let recipe = recipe.trim().trim_end_matches(';');
    let client = database.sql().await;
    let mut portions = Vec::new();
    while portions.last() != Some(&0) {
        let emptied = client.execute(recipe, &[]).await;
        portions.push(emptied.expect("a portion"));
    }
    assert_eq!(portions, [4, 4, 1, 0]);
    let emptied = "messages where content = '' and deleted_at is not null";
    assert_eq!(database.count(emptied).await, 9);
    let theirs = "messages where content = 'theirs' and deleted_at is null";
    assert_eq!(database.count(theirs).await, 3);
}
