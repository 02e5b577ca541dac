//! Every command of the socket, and what it answers to whom.

use serde_json::Value;
use uuid::Uuid;

use super::SERVICE_TOKEN;
use super::table::{Stage, good_token};
use crate::support::*;

/// A command and the code of the error that it gets; none where it is acknowledged.
pub struct Command {
    pub name: &'static str,
    data: &'static str,
    own: &'static str,
    participant: &'static str,
    stranger: &'static str,
}

#[rustfmt::skip]
pub const COMMANDS: [Command; 9] = [
    Command { name: "send_message", data: r#"{"conversationId": "{conversation}", "content": "hi"}"#,
              own: "", participant: "", stranger: "not_a_participant" },
    Command { name: "mark_read", data: r#"{"conversationId": "{conversation}"}"#,
              own: "", participant: "", stranger: "not_a_participant" },
    Command { name: "edit_message", data: r#"{"messageId": "{message}", "content": "hello again"}"#,
              own: "", participant: "not_the_sender", stranger: "not_a_participant" },
    Command { name: "delete_message", data: r#"{"messageId": "{message}"}"#,
              own: "", participant: "not_the_sender", stranger: "not_a_participant" },
    Command { name: "typing", data: r#"{"conversationId": "{conversation}", "isTyping": true}"#,
              own: "", participant: "", stranger: "not_a_participant" },
    Command { name: "watch_presence", data: r#"{"userIds": []}"#,
              own: "", participant: "", stranger: "" },
    Command { name: "set_active", data: r#"{"active": true}"#,
              own: "", participant: "", stranger: "" },
    Command { name: "authenticate", data: r#"{"token": "{token}"}"#,
              own: "", participant: "", stranger: "" },
    Command { name: "ping", data: "{}", own: "", participant: "", stranger: "" },
];

fn fill(data: &str, conversation: Uuid, message: Uuid, token: &str) -> Value {
    let text = data
        .replace("{conversation}", &conversation.to_string())
        .replace("{message}", &message.to_string())
        .replace("{token}", token);
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn every_command_serves_those_whom_it_concerns_and_nobody_else() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    let [alice, boris, carla] = [ALICE, BORIS, CARLA].map(good_token);
    for command in &COMMANDS {
        for (user, token, code) in [
            (CARLA, &*carla, command.stranger),
            (BORIS, &boris, command.participant),
            (ALICE, &alice, command.own),
            (ALICE, SERVICE_TOKEN, command.own),
        ] {
            let mut socket = Socket::connect_by(&stage.replica, user, token).await;
            let token = if token == SERVICE_TOKEN {
                &alice
            } else {
                token
            };
            let data = fill(command.data, stage.conversation, stage.message, token);
            match code {
                "" => drop(socket.send_command(command.name, data).await),
                code => drop(socket.refused(command.name, data, code).await),
            }
        }
    }
}

/// As over HTTP.
#[tokio::test]
async fn a_stranger_cannot_tell_by_a_command_what_exists() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    let nowhere = Stage::nowhere(&database).await;
    let carla = good_token(CARLA);
    let mut socket = Socket::connect_by(&stage.replica, CARLA, &carla).await;
    for command in COMMANDS
        .iter()
        .filter(|command| command.stranger == "not_a_participant")
    {
        let of = |stage: &Stage| fill(command.data, stage.conversation, stage.message, &carla);
        let existing = socket
            .refused(command.name, of(&stage), command.stranger)
            .await;
        let missing = socket
            .refused(command.name, of(&nowhere), command.stranger)
            .await;
        assert_eq!(existing, missing, "{}", command.name);
    }
}
