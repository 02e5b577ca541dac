//! The documents that the service serves about itself. That every answer and frame is as they say is checked by the
//! harness, in all other tests (`support/described.rs`).

mod refusals;

use pgchat::for_tests::{AuthMode, asyncapi};
use reqwest::Method;
use serde_json::{Value, json};

use crate::embedded::AMELIE;
use crate::support::*;

/// Where each command's example stands in the document of the socket.
const COMMANDS: &str = "/components/messages";

/// A replica with the demo data, which the examples are about.
async fn with_demo_data() -> (Database, Replica) {
    let database = Database::with_users().await;
    demo_data_in(&database).await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    until_searchable(&replica).await;
    (database, replica)
}

async fn demo_data_in(database: &Database) {
    pgchat(&["demo-data"], &settings(database, &[]))
        .await
        .assert_ok();
}

/// A replica that has just made the tables builds the search index while it serves.
async fn until_searchable(replica: &Replica) {
    replica.api().found(AMELIE, "q=nothing").await;
}

#[tokio::test]
async fn every_example_of_the_openapi_document_can_be_executed() {
    let (_database, replica) = with_demo_data().await;
    let api = replica.api();
    let document = api.get("/openapi.json").await.ok(200);
    let mut executed = 0;
    // What deletes goes last: the others are about what is there.
    for method in [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ] {
        for (path, item) in document["paths"].as_object().expect("paths") {
            let operation = &item[method.as_str().to_lowercase()];
            if operation.is_null() {
                continue;
            }
            let mut request = api.request(method.clone(), &filled(path, operation));
            if let Some(body) = operation.pointer("/requestBody/content/application~1json/example")
            {
                request = request.json(body);
            } else {
                assert!(
                    operation["requestBody"].is_null(),
                    "{method} {path} has no example"
                );
            }
            let reply = Reply::to(request).await;
            assert!(
                (200..300).contains(&reply.status),
                "{method} {path}: {reply:?}"
            );
            executed += 1;
        }
    }
    assert!(executed >= 20, "{executed}");
}

/// A path with the examples of its parameters. Every parameter that must be there has one.
fn filled(path: &str, operation: &Value) -> String {
    filled_with(path, operation, &[])
}

/// A path with the examples of its parameters, some of which have `other` values.
fn filled_with(path: &str, operation: &Value, other: &[(&str, &str)]) -> String {
    let mut path = path.to_owned();
    let mut query = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().expect("a name");
        let replaced = other.iter().find(|(replaced, _)| *replaced == name);
        let value = match &parameter["example"] {
            Value::Null if replaced.is_none() => {
                assert_ne!(parameter["required"], true, "{path}: {name} has no example");
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let items = items.iter().map(|item| item.as_str().expect("a text"));
                items.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        let value = replaced.map_or(value, |(_, value)| (*value).to_owned());
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &value),
            _ => query.push(format!("{name}={value}")),
        }
    }
    format!("{path}?{}", query.join("&"))
}

#[tokio::test]
async fn every_command_of_the_asyncapi_document_is_understood() {
    let (_database, replica) = with_demo_data().await;
    let document = replica.api().get("/asyncapi.json").await.ok(200);
    let mut socket = Socket::connect(&replica, AMELIE).await;
    let messages = document.pointer(COMMANDS).and_then(Value::as_object);
    let mut understood = 0;
    for (name, message) in messages.expect("messages") {
        let Some(kind) = name.strip_prefix("client.") else {
            continue;
        };
        let example = &message["examples"][0]["payload"];
        assert_eq!(example["type"], kind);
        let answer = socket.answer_to(kind, example["data"].clone()).await;
        // Whether it may be done is another matter; that it can be read is this one's.
        assert_ne!(answer["data"]["code"], "validation_failed", "{answer}");
        understood += 1;
    }
    assert_eq!(understood, 9);
}

/// The harness holds frames of both sides against the same schemas.
#[tokio::test]
async fn every_example_of_the_asyncapi_document_is_as_its_own_schema_says() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let document = replica.api().get("/asyncapi.json").await.ok(200);
    let messages = document.pointer(COMMANDS).and_then(Value::as_object);
    let mut sides = [0, 0];
    for (name, message) in messages.expect("messages") {
        let examples = message["examples"].as_array().expect("examples");
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            let frame = example["payload"].to_string();
            if name.starts_with("client.") {
                described::assert_command(&frame);
            } else {
                described::assert_frame(&frame);
            }
        }
        sides[usize::from(name.starts_with("client."))] += 1;
    }
    assert_eq!(sides, [13, 9]);
    // And they are schemas that something does not fit.
    let wrong = json!({"type": "typing", "data": {"conversationId": "nowhere", "isTyping": "yes"}});
    let refused = std::panic::catch_unwind(|| described::assert_command(&wrong.to_string()));
    assert!(refused.is_err());
    // Nor does a code that nobody has described, or a time in another form, though the documents let codes pass.
    let (user, at) = (AMELIE, "2026-11-23T21:09:58Z");
    for (kind, data) in [
        (
            "error",
            json!({"requestId": null, "code": "too_late", "message": "too late"}),
        ),
        ("token_expiring", json!({"expiresAt": at})),
    ] {
        let wrong = json!({"type": kind, "data": data, "userId": user, "timestamp": 1}).to_string();
        assert!(std::panic::catch_unwind(|| described::assert_frame(&wrong)).is_err());
    }
}

/// The conversation that the page on the API shows: who reads it writes a client by it.
#[test]
fn the_recorded_socket_of_the_api_page_is_as_the_schemas_say() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/api.md")).expect("docs/api.md");
    let section = page.split("\n## The socket\n").nth(1).expect("the section");
    let record = section.split("```\n").nth(1).expect("the record");
    let mut told = Vec::new();
    let (mut cursors, mut shown) = (Vec::new(), None);
    for entry in record.split("\n\n").flat_map(entries) {
        let frame = entry.trim_start_matches(['←', '→']).trim();
        if let Some((_, cursor)) = frame.split_once("&cursor=") {
            cursors.push((cursor.to_owned(), shown.clone()));
        }
        if entry.starts_with('→') {
            described::assert_command(frame);
        } else if entry.starts_with('←') {
            described::assert_frame(frame);
        } else {
            continue;
        }
        let frame: Value = serde_json::from_str(frame).expect("JSON");
        told.push(frame["type"].as_str().expect("a type").to_owned());
        if let Some(cursor) = frame["cursor"].as_str() {
            shown = Some(cursor.to_owned());
        }
    }
    let sent = ["connected", "send_message", "chat_message", "ack"];
    let missed = ["connected", "chat_message", "chat_message"];
    assert_eq!(told, [&sent[..], &missed[..]].concat());
    // It came back with the last cursor that it had seen.
    let [(cursor, shown)] = &cursors[..] else {
        panic!("{cursors:?}");
    };
    assert_eq!(Some(cursor), shown.as_ref());
}

/// Requests and frames, each from its mark to the next one.
fn entries(record: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in record.lines() {
        match entries.last_mut() {
            Some(entry) if line.starts_with(' ') => entry.push_str(line),
            _ => entries.push(line.to_owned()),
        }
    }
    entries
}

/// What its schema allows, and pgchat never sends, would mislead whoever writes a client by it.
#[test]
fn the_examples_of_events_are_such_as_are_sent() {
    let document = asyncapi::document(AuthMode::Trusted);
    let data = |name: &str| {
        let example = format!("{COMMANDS}/server.{name}/examples/0/payload/data");
        document.pointer(&example).expect("an example").clone()
    };
    let conversation = data("conversation_created");
    for participant in ["participant1", "participant2"] {
        let id = &conversation[format!("{participant}Id")];
        assert_eq!(&conversation[participant]["id"], id, "{conversation}");
    }
    assert_ne!(
        conversation["participant1Id"], conversation["participant2Id"],
        "with oneself there is none"
    );
    let [sent, edited, deleted] = ["chat_message", "message_updated", "message_deleted"].map(data);
    assert_eq!([&sent["editedAt"], &sent["deletedAt"]], [&Value::Null; 2]);
    assert_eq!(edited["editedAt"], edited["updatedAt"], "{edited}");
    assert_eq!(deleted["content"], "", "{deleted}");
    assert_eq!(deleted["deletedAt"], deleted["updatedAt"], "{deleted}");
}

#[tokio::test]
async fn the_explorer_is_served_whole_and_loads_nothing_from_elsewhere() {
    let database = Database::fresh().await;
    let api = Replica::start(&database, &[]).await;
    let api = api.api();
    let moved = Reply::to(api.request(Method::GET, "/docs")).await;
    assert_eq!(
        moved.status, 200,
        "a redirect to the page, followed: {moved:?}"
    );
    let page = api.get("/docs/").await;
    assert_eq!(page.text, moved.text);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
        "{policy}"
    );
    let mut files = 0;
    for part in page
        .text
        .split('"')
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
    {
        assert!(!part.contains("//"), "{part} is not ours");
        let file = api
            .get(&format!("/docs/{}", part.trim_start_matches("./")))
            .await;
        assert_eq!(file.status, 200, "{part}");
        assert!(!file.text.is_empty());
        files += 1;
    }
    assert!(files >= 4, "{}", page.text);
    // Whoever asks for nonsense is not sent all of it back.
    for name in ["nothing.js", &"x".repeat(5000)] {
        let unknown = api.get(&format!("/docs/{name}")).await;
        unknown.refused(404, "route_not_found");
        assert!(unknown.text.len() < 500, "{unknown:?}");
    }
}
