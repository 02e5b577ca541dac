//! listen.mjs where pgchat is in a schema of its own, and so has a channel of its own.

use std::fs;
use std::process::Stdio;

use super::apart::Apart;
use super::example;
use crate::support::*;

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn a_service_that_listens_by_itself_hears_what_is_sent_in_another_schema() {
    let scene = Apart::set("listen.sql", "listen.mjs").await;
    let printed = fresh_dir("listener").join("stdout");
    let mut command = std::process::Command::new("node");
    command
        .arg(example("listen.mjs"))
        .arg(BORIS.to_string())
        .env("DATABASE_URL", scene.database.url(&scene.role))
        .env("DB_SCHEMA", "chat")
        .stdin(Stdio::null())
        .stdout(fs::File::create(&printed).expect("a file"))
        .stderr(Stdio::null());
    let _listener = Process::start(&mut command, Signal::Kill);
    let heard = async |text: &str| {
        eventually(text, || async {
            let printed = fs::read_to_string(&printed).expect("its output");
            printed.contains(text).then_some(())
        })
        .await;
    };
    heard("listening").await;
    let conversation = scene.database.conversation(ALICE, BORIS).await;
    let api = scene.replica.api();
    api.send(conversation, ALICE, "live").await;
    heard("\"live\"").await;
}
