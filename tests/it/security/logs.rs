//! What the log holds of what passes through the service: nothing that is anybody's, and no line but its own.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::auth::get;
use crate::auth::tokens;
use crate::support::*;

/// Words that stand nowhere but where the test puts them.
const PASSWORD: &str = "passwordYnQx7";
const SERVICE: &str = "serviceTokenYnQx7-of-32-bytes-or-more";
const CONTENT: &str = "contentYnQx7";

/// Everything that a stranger, a user, another program and a broken connection can make it say.
async fn use_every_way(replica: &Replica, database: &Database, secrets: &mut Vec<String>) {
    let conversation = database.conversation(ALICE, BORIS).await;
    let alice = tokens::token(ALICE);
    let expired = tokens::token_for(ALICE, -60);
    let forged = tokens::hmac_token(
        &json!({"alg": "HS256"}),
        &tokens::claims(BORIS),
        "not the secret",
    );
    for token in [&alice, &expired, &forged] {
        // The head of a token says nothing; the claims and the signature do.
        secrets.extend(token.split('.').skip(1).map(str::to_owned));
        get(replica, "/api/v1/users", token).await;
        let bearer = format!("Bearer {token}");
        let subprotocol = format!("pgchat.v1, bearer.{token}");
        let path = format!("/ws?user_id={ALICE}");
        for header in [
            ("authorization", bearer.as_str()),
            ("sec-websocket-protocol", subprotocol.as_str()),
        ] {
            handshake(replica, &path, &[header]).await;
        }
    }
    get(replica, "/api/v1/users", SERVICE).await.ok(200);
    get(replica, "/api/v1/users", &format!("{SERVICE}-more"))
        .await
        .refused(401, "token_invalid");

    let request = replica.api().request(Method::POST, "/api/v1/ws/ticket");
    let made = Reply::to(request.bearer_auth(&alice)).await.ok(201);
    let ticket = made["ticket"].as_str().expect("a ticket").to_owned();
    let path = format!("/ws?user_id={ALICE}&ticket={ticket}");
    let mut socket = Socket::connect_to(replica, ALICE, &path).await;
    handshake(replica, &path, &[])
        .await
        .refused(401, "ticket_invalid");
    secrets.push(ticket);

    for content in [CONTENT.to_owned(), CONTENT.repeat(1000)] {
        let sent = socket.send_message(conversation, &content).await;
        let edit = json!({"messageId": id_of(&sent), "content": format!("{CONTENT} again")});
        socket.send_command("edit_message", edit).await;
    }
    let post = |body: serde_json::Value| {
        let request = replica.api().request(Method::POST, "/api/v1/chat/messages");
        Reply::to(request.bearer_auth(&alice).json(&body))
    };
    let message = |content: &str| json!({"conversationId": conversation, "content": content, "clientMessageId": "one"});
    post(message(CONTENT)).await.ok(201);
    post(message("another"))
        .await
        .refused(409, "client_message_id_reused");
    post(json!({"conversationId": CONTENT, "content": CONTENT}))
        .await
        .refused(400, "validation_failed");
    let search = format!("/api/v1/chat/users/{ALICE}/search?q={CONTENT}");
    get(replica, &search, &alice).await;
    for frame in [
        json!(CONTENT).to_string(),
        json!({"type": CONTENT, "data": CONTENT}).to_string(),
        format!("{{\"type\": \"send_message\", \"data\": {{\"content\": \"{CONTENT}"),
    ] {
        socket.send_text(&frame).await;
        socket.expect("error").await;
    }
    socket
        .answer_to("authenticate", json!({"token": forged}))
        .await;
    socket
        .send_command("authenticate", json!({"token": alice}))
        .await;

    // A row that the host's own rules refuse, and whose content the server would quote.
    let rule = "alter table messages add constraint rule check (content not like '%refused')";
    database.execute(rule).await;
    let refused =
        post(json!({"conversationId": conversation, "content": format!("{CONTENT} refused")}));
    assert!(refused.await.status >= 400);
    for text in [
        CONTENT.to_owned(),
        json!(CONTENT).to_string(),
        json!({"v": CONTENT}).to_string(),
        json!({"v": 1, "xid": CONTENT}).to_string(),
        json!({"v": 1, "xid": "1", "at": 1, "events": CONTENT}).to_string(),
        json!({"v": 1, "xid": "1", "at": 1, "events": [{"type": CONTENT, "userId": ALICE,
               "recipients": [ALICE, BORIS], "data": CONTENT}]})
        .to_string(),
    ] {
        let notify = format!("select pg_notify('chat_events', $content${text}$content$)");
        database.execute(&notify).await;
    }
    // The session that hears them must not end before it does.
    eventually("what is not ours is logged", || async {
        replica.log().contains("not ours").then_some(())
    })
    .await;
    let listener = "select pg_terminate_backend(pid) from pg_stat_activity
                     where datname = current_database() and pid <> pg_backend_pid()";
    database.execute(listener).await;
    eventually("it serves again", || async {
        let reply = post(message(CONTENT)).await;
        (reply.status == 200).then_some(())
    })
    .await;
    let mut raw = Raw::connect(replica).await;
    raw.write(format!("GET / HTTP/1.1\r\n{CONTENT}\r\n\r\n"))
        .await;
    raw.closed().await;
    socket.close().await;
}

#[tokio::test]
async fn no_level_of_the_log_shows_a_token_a_password_or_a_message() {
    for format in ["pretty", "json"] {
        let database = Database::fresh().await;
        let url = format!(
            "postgres://{}:{PASSWORD}@127.0.0.1:{}/{}",
            database.served_by, database.cluster.port, database.name
        );
        let mut replica = Replica::start(
            &database,
            &[
                ("DB_HOST", ""),
                ("DATABASE_URL", &url),
                ("LISTEN_DATABASE_URL", &url),
                ("JWT_SECRET", tokens::SECRET),
                ("SERVICE_TOKENS", SERVICE),
                ("SERVER_HOST", "127.0.0.1"),
                ("LOG_LEVEL", "trace"),
                ("RUST_LOG", "trace"),
                ("LOG_FORMAT", format),
            ],
        )
        .await;
        let mut secrets = [PASSWORD, SERVICE, CONTENT, tokens::SECRET]
            .map(str::to_owned)
            .to_vec();
        use_every_way(&replica, &database, &mut secrets).await;
        replica.terminate();
        replica.ended().await;

        let log = replica.log();
        // It was all there to be logged.
        for word in [
            "/api/v1/chat/messages",
            "constraint",
            "not ours",
            "connected",
        ] {
            assert!(log.contains(word), "{word:?} is not in the log");
        }
        for secret in &secrets {
            let found = log.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(found, None, "the log shows {secret}");
        }
    }
}

/// As an attacker would have a line look like.
const FORGED: &str = "2026-01-01T00:00:00Z ERROR pgchat > forged";

/// The members of a line in JSON, as docs/on-call.md lists them.
const MEMBERS: [&str; 17] = [
    "time",
    "level",
    "target",
    "message",
    "requestId",
    "method",
    "path",
    "status",
    "durationMs",
    "connectionId",
    "userId",
    "messageId",
    "seq",
    "frames",
    "seconds",
    "framesReceived",
    "framesSent",
];

#[tokio::test]
async fn no_text_from_outside_makes_a_line_of_the_log_or_steers_a_terminal() {
    for format in ["pretty", "json"] {
        let database = Database::fresh().await;
        let settings = [
            ("LOG_LEVEL", "trace"),
            ("RUST_LOG", "trace"),
            ("LOG_FORMAT", format),
        ];
        let mut replica = Replica::start(&database, &settings).await;
        let hostile = format!("\n{FORGED}\r\u{1b}[2J\u{9b}31m\u{2028}");
        let mut encoded = String::new();
        for byte in hostile.bytes() {
            encoded.push_str(&format!("%{byte:02x}"));
        }
        let api = replica.api();
        for path in [
            format!("/{encoded}"),
            format!("/api/v1/users/{encoded}"),
            format!("/api/v1/users/role/{encoded}"),
            format!("/ws?user_id={encoded}&cursor={encoded}"),
            format!("/api/v1/users?q={encoded}"),
        ] {
            api.get(&path).await;
        }
        // A client of HTTP refuses to send these.
        for header in [
            "user-agent",
            "origin",
            "x-request-id",
            "sec-websocket-protocol",
        ] {
            for bytes in [
                format!("{header}: a\u{9b}2Jb"),
                format!("{header}: a\n{FORGED}"),
                format!("{header}: a\r\n {FORGED}"),
                format!("{header}: a\u{1b}[2J"),
            ] {
                let mut raw = Raw::connect(&replica).await;
                raw.write(format!(
                    "GET /nothing HTTP/1.1\r\nhost: x\r\n{bytes}\r\nconnection: close\r\n\r\n"
                ))
                .await;
                raw.closed().await;
            }
        }
        let conversation = database.conversation(ALICE, BORIS).await;
        let mut socket = Socket::connect(&replica, ALICE).await;
        socket.send_message(conversation, &hostile).await;
        let data = json!({"conversationId": hostile, "content": hostile});
        socket
            .refused("send_message", data, "validation_failed")
            .await;
        let body = json!({"conversationId": conversation, "senderId": hostile, "content": "x",
                          "messageType": hostile, "clientMessageId": hostile});
        api.post_message(&body)
            .await
            .refused(400, "validation_failed");
        // The log quotes the server's errors, and these quote names.
        let name = hostile
            .replace('"', "\"\"")
            .chars()
            .take(60)
            .collect::<String>();
        database
            .execute(&format!(
                "alter table messages add constraint \"{name}\" check (content <> 'no')"
            ))
            .await;
        api.try_send(conversation, ALICE, "no").await;
        database
            .execute(&format!("select pg_notify('chat_events', $x${hostile}$x$)"))
            .await;
        api.send(conversation, ALICE, &Uuid::nil().to_string())
            .await;
        socket.close().await;
        replica.terminate();
        replica.ended().await;

        let log = replica.log();
        assert!(log.contains("forged"), "nothing of it was logged");
        for line in log.lines() {
            assert!(!line.contains(is_control), "{line:?}");
            match format {
                "json" => {
                    let read: serde_json::Value = serde_json::from_str(line).expect(line);
                    let members = read.as_object().expect("an object");
                    let strange = members.keys().find(|key| !MEMBERS.contains(&key.as_str()));
                    assert_eq!(strange, None, "{line}");
                }
                _ => {
                    let mut words = line.split_whitespace();
                    let (time, level) = (words.next().expect(line), words.next().expect(line));
                    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{line}");
                    assert!(
                        ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level),
                        "{line}"
                    );
                    assert!(!line.starts_with(FORGED), "{line}");
                }
            }
        }
    }
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}')
}

/// A host's rule that refuses everything: the log is not filled, and a request can still be found in it.
#[tokio::test]
async fn however_many_requests_get_500_one_line_a_second_says_why_and_names_its_request() {
    const ASKED: usize = 30;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let rule = "alter table messages add constraint rule check (content <> 'refused')";
    database.execute(rule).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let post = async |id: String| {
        let body = json!({"conversationId": conversation, "senderId": ALICE, "content": "refused"});
        let request = api.request(Method::POST, "/api/v1/chat/messages");
        let request = request.header("x-request-id", id).json(&body);
        Reply::to(request).await.refused(500, "internal");
    };
    post("the-first".to_owned()).await;
    let named = r#"request "the-first": "#;
    let log = replica.log();
    let line = log.lines().find(|line| line.contains(named));
    assert!(line.is_some_and(|line| line.contains("rule")), "{log}");
    let lines = || replica.log().matches(r#"request ""#).count();
    // The time is from before the first count to after the last.
    let began = Instant::now();
    let before = lines();
    for number in 0..ASKED {
        post(format!("more-{number}")).await;
    }
    let written = lines() - before;
    let seconds = began.elapsed().as_secs() as usize;
    assert!(
        written <= seconds + 1,
        "{written} in {seconds} s: {}",
        replica.log()
    );
}
