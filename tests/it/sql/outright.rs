//! What is deleted outright, and comes back.

use serde_json::Value;

use super::Scene;
use crate::support::*;

/// A type may be shown in JSON in a way in which it is not read: hstore, or a place of PostGIS with a system of coordinates.
#[tokio::test]
async fn a_message_can_be_deleted_whatever_types_the_hosts_columns_have() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute_as_owner(
            "create type mood as enum ('good');
             create function mood_json(mood) returns json language sql as $$ select json_build_object('mood', $1::text) $$;
             create cast (mood as json) with function mood_json(mood);
             alter table messages add column mood mood default 'good'",
        )
        .await;
    let insert = scene.insert(ALICE, "in a good mood");
    scene.database.execute(&insert).await;
    let sent = scene.expect("chat_message").await;
    scene.database.execute("delete from messages").await;
    let gone = scene.expect("message_deleted").await;
    assert_eq!(gone["data"]["id"], sent["data"]["id"]);
    assert_eq!(gone["data"]["content"], "");
    assert_ne!(gone["data"]["deletedAt"], Value::Null);
}
