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

fn connection_id(socket: &Socket) -> String {
    let id = &socket.connected["data"]["connectionId"];
    id.as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_request_and_a_connection_are_one_line_of_json_each() {
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
    closed.send_message(conversation, "one").await;
    // Else it could come to Boris, who connects next.
    closed.expect("chat_message").await;
    closed.send_command("ping", json!({})).await;
    closed.close().await;
    let lost = Socket::connect(&replica, BORIS).await;
    let by_network = connection_id(&lost);
    drop(lost);
    eventually("both are noted", || async {
        let log = replica.log();
        let noted = |id| !about(&log, id).is_empty();
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
    let one = |what: &str, parts: &[&str], fields: Value| {
        let lines = about(&log, what);
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
    // `connected`, two acknowledgements, the message.
    let of_socket = |id: &str, user, received| json!({"connectionId": id, "userId": user, "framesReceived": received});
    one(
        &by_client,
        &[&alice, " s, 2 frames received, 4 sent"],
        of_socket(&by_client, ALICE, 2),
    );
    one(
        &by_network,
        &["connection lost (1006): ", " s, 0 frames received, 1 sent"],
        of_socket(&by_network, BORIS, 0),
    );
    one(
        &by_replica,
        &["replica closing, closed with 1012, after "],
        of_socket(&by_replica, BORIS, 0),
    );
}
