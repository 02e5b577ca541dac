//! The log of a replica, as somebody follows it who looks for one request or one connection.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

/// The lines that speak of `what`.
fn about(log: &str, what: &str) -> Vec<Value> {
    log.lines()
        .filter(|line| line.contains(what))
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// Of these, the one at its end: the answer to a request, or the close of a connection.
fn ends(log: &str, what: &str) -> Vec<Value> {
    let mut lines = about(log, what);
    lines.retain(|line| !line["status"].is_null() || !line["seconds"].is_null());
    lines
}

fn connection_id(socket: &Socket) -> String {
    let id = &socket.connected["data"]["connectionId"];
    id.as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_request_is_one_line_of_json_a_message_one_and_a_connection_two() {
    let database = Database::fresh().await;
    // Ahead of the replica: it would tell Alice of it, or not.
    let conversation = database.conversation(ALICE, BORIS).await;
    let settings = [
        ("LOG_LEVEL", "debug"),
        ("LOG_FORMAT", "json"),
        // The sockets leave within a third of it.
        ("SHUTDOWN_GRACE_SECONDS", "6"),
    ];
    let mut replica = Replica::start(&database, &settings).await;
    let request = replica.api().request(Method::GET, "/api/v1/users?limit=1");
    let asked = Reply::to(request.header("x-request-id", "watched-1")).await;
    assert_eq!(asked.status, 200, "{asked:?}");

    let mut closed = Socket::connect(&replica, ALICE).await;
    let by_client = connection_id(&closed);
    let over_socket = closed.send_message(conversation, "secret-one").await;
    let api = replica.api();
    let data = json!({"conversationId": conversation, "senderId": ALICE, "content": "secret-two"});
    let request = api
        .request(Method::POST, "/api/v1/chat/messages")
        .json(&data);
    let over_http = Reply::to(request.header("x-request-id", "watched-2"))
        .await
        .ok(201);
    // Else they could come to Boris, who connects next.
    closed.expect("chat_message").await;
    closed.expect("chat_message").await;
    closed.send_command("ping", json!({})).await;
    closed.close().await;
    let lost = Socket::connect(&replica, BORIS).await;
    let by_network = connection_id(&lost);
    drop(lost);
    eventually("both are noted", || async {
        let log = replica.log();
        let noted = |id| ends(&log, id).len() == 1;
        (noted(&by_client) && noted(&by_network)).then_some(())
    })
    .await;
    let mut left = Socket::connect(&replica, BORIS).await;
    let by_replica = connection_id(&left);
    replica.terminate();
    assert_eq!(left.closed().await, Some(1012));
    drop(left);
    assert_eq!(replica.ended().await.code(), Some(0));

    let log = replica.log();
    assert!(!log.contains("secret"), "no line has a message's content");
    for id in [&by_client, &by_network, &by_replica] {
        let began = &about(&log, id)[0];
        let message = began["message"].as_str().expect("a message");
        let request = began["requestId"].as_str().expect("a request");
        assert!(
            message.ends_with(&format!("connected by request {request:?}")),
            "{began}"
        );
        assert_eq!(
            (&began["connectionId"], &began["level"]),
            (&json!(id), &json!("debug"))
        );
        // By it the handshake is found, and what its proxy has logged.
        let handshake = about(&log, request);
        assert!(
            handshake.iter().any(|line| line["path"] == "/ws"),
            "{handshake:?}"
        );
    }
    let sent_line = |message: &Value| {
        let id = message["id"].as_str().expect("an id");
        let lines = about(&log, id);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let of_it =
            json!({"messageId": id, "seq": message["seq"], "userId": ALICE, "level": "debug"});
        for (name, value) in of_it.as_object().expect("fields") {
            assert_eq!(lines[0][name], *value, "{name}: {}", lines[0]);
        }
        assert!(
            lines[0]["message"]
                .as_str()
                .expect("one")
                .contains(&conversation.to_string())
        );
        lines[0].clone()
    };
    assert_eq!(sent_line(&over_socket)["connectionId"], json!(by_client));
    assert_eq!(sent_line(&over_http)["requestId"], "watched-2");
    let one = |what: &str, parts: &[&str], fields: Value| {
        let lines = ends(&log, what);
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
        assert_eq!(lines[0]["level"], "debug");
        let message = lines[0]["message"].as_str().expect("a message");
        for part in parts {
            assert!(message.contains(part), "{part:?}: {message}");
        }
        for (name, value) in fields.as_object().expect("fields") {
            assert_eq!(lines[0][name], *value, "{name}: {}", lines[0]);
        }
        lines[0].clone()
    };
    let of_request =
        json!({"requestId": "watched-1", "method": "GET", "path": "/api/v1/users", "status": 200});
    let line = one(
        "watched-1",
        &["GET \"/api/v1/users\" 200 ", " ms "],
        of_request,
    );
    assert!(line["durationMs"].as_f64() > Some(0.0), "{line}");
    let alice = format!("of user {ALICE}: closed by the client with 1005, after ");
    // `connected`, two acknowledgements, two messages.
    let of_socket = |id: &str, user, received| json!({"connectionId": id, "userId": user, "framesReceived": received});
    one(
        &by_client,
        &[&alice, " s, 2 frames received, 5 sent"],
        of_socket(&by_client, ALICE, 2),
    );
    one(
        &by_network,
        &["connection lost (1006): ", " s, 0 frames received, 1 sent"],
        of_socket(&by_network, BORIS, 0),
    );
    one(
        &by_replica,
        &["service restart, closed with 1012, after "],
        of_socket(&by_replica, BORIS, 0),
    );
}

/// The example of the handbook.
#[tokio::test]
async fn the_level_of_one_module_has_the_lines_about_messages_that_were_accepted() {
    let handbook = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/on-call.md"));
    let setting = "pgchat::writer=debug";
    let example = format!("`RUST_LOG={setting}`");
    assert!(handbook.expect("the handbook").contains(&example));

    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let settings = [("RUST_LOG", setting), ("LOG_FORMAT", "json")];
    let replica = Replica::start(&database, &settings).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    for sent in [
        replica.api().send(conversation, ALICE, "over HTTP").await,
        alice.send_message(conversation, "over a socket").await,
    ] {
        let lines = about(&replica.log(), sent["id"].as_str().expect("an id"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["target"], "pgchat::writer");
        assert_eq!(lines[0]["level"], "debug");
    }
}

/// Whoever asks why somebody did not get a message finds the socket that was given it, and one that was not.
#[tokio::test]
async fn a_delivery_is_a_line_of_the_level_trace_with_message_and_connection() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    for (level, deliveries) in [("trace", 1), ("debug", 0)] {
        let settings = [("LOG_LEVEL", level), ("LOG_FORMAT", "json")];
        let replica = Replica::start(&database, &settings).await;
        let mut boris = Socket::connect(&replica, BORIS).await;
        let message = replica.api().send(conversation, ALICE, "hello").await;
        boris.expect("chat_message").await;
        boris.send_command("ping", json!({})).await;
        let mut lines = about(&replica.log(), message["id"].as_str().expect("an id"));
        lines.retain(|line| !line["connectionId"].is_null());
        assert_eq!(lines.len(), deliveries, "{lines:?}");
        for line in lines {
            assert_eq!(line["level"], "trace");
            assert_eq!(line["connectionId"], json!(connection_id(&boris)));
            assert_eq!(line["userId"], json!(BORIS));
        }
    }
}
