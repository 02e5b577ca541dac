//! A column of the host's that is computed: from PostgreSQL 18 on it is virtual unless said otherwise, and no part of the row that a trigger
//! is given.

use super::Scene;
use crate::support::*;

#[tokio::test]
async fn what_can_be_done_with_a_message_can_be_done_beside_a_generated_column() {
    let mut scene = Scene::set().await;
    // Where the word may be left out, it is virtual.
    let compute = "do $$
      begin
        execute 'alter table messages add column length integer generated always as (length(content))'
                || case when current_setting('server_version_num')::int < 180000 then ' stored' else '' end;
      end $$";
    scene.database.execute_as_owner(compute).await;
    let cursor = settled_cursor(&scene.replicas[0], BORIS).await;
    let api = scene.api();

    let sent = api.send(scene.conversation, ALICE, "by the API").await;
    assert_eq!(scene.expect("chat_message").await["data"], sent);
    let insert = scene.insert(ALICE, "by an insert");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;

    let edited = api.edit(id_of(&sent), ALICE, "edited").await.ok(200);
    assert_eq!(scene.expect("message_updated").await["data"], edited);
    let long = "ü".repeat(10_000);
    let update = format!("update messages set content = '{long}' where seq = 2");
    scene.database.execute(&update).await;
    let updated = scene.expect("message_updated").await;
    assert_eq!(updated["data"]["content"], long);

    let marked = api.mark_read(scene.conversation, BORIS).await.ok(200);
    assert_eq!(marked["markedCount"], 2);
    scene.expect("messages_read").await;
    let back = "update messages set is_read = false where seq = 2";
    scene.database.execute(back).await;
    scene.expect("message_updated").await;

    assert_eq!(api.delete_message(id_of(&sent), ALICE).await.status, 204);
    let deleted = scene.expect("message_deleted").await;
    assert_eq!(deleted["data"]["content"], "");
    let computed = "messages where length = length(content)";
    assert_eq!(scene.database.count(computed).await, 2);

    // And who was away is told of it.
    let mut boris = Socket::resume(&scene.replicas[1], BORIS, &cursor).await;
    api.send(scene.conversation, ALICE, "the end").await;
    let missed = boris.before_message("the end").await;
    let lengths = missed
        .iter()
        .filter_map(|frame| frame["data"]["content"].as_str().map(str::len));
    assert_eq!(lengths.collect::<Vec<_>>(), [0, 20_000]);
}
