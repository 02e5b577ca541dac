//! PgBouncer in transaction mode before the database (Debian's 1.18, which knows no prepared statements): replicas work
//! through it, and listen and migrate past it.

use serde_json::json;

use crate::support::*;

/// Fewer than the replicas' pools have together, so that sessions change hands all the time.
const SERVER_CONNECTIONS: i64 = 2;

/// Everything that a replica asks the database, through sessions that belong to somebody else a moment later.
#[tokio::test]
async fn replicas_work_through_pgbouncer_in_transaction_mode() {
    let database = Database::with_users().await;
    let pooler = pooler(&database, SERVER_CONNECTIONS).await;
    let roomy = [
        ("DB_POOL_SIZE", "8"),
        // Of a whole test's haste, nothing may be refused.
        ("RATE_LIMIT_PER_SECOND", "0"),
        UNHURRIED_SEARCH,
    ];
    let settings = [&pooler.settings()[..], &roomy].concat();
    let [one, other]: [Replica; 2] = Replica::start_many(&database, &settings).await;
    let (api, there) = (one.api(), other.api());

    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&other, BORIS).await;
    let cursor = cursor_of(&boris.connected);
    let senders = (0..8).map(|sender| {
        let api = if sender % 2 == 0 {
            one.api()
        } else {
            other.api()
        };
        async move {
            for number in 0..25 {
                api.send(conversation, ALICE, &format!("message {sender}-{number}"))
                    .await;
                api.messages(conversation, "limit=5").await.ok(200);
                api.unread_count(BORIS).await;
            }
        }
    });
    futures_util::future::join_all(senders).await;
    let arrived: Vec<_> = boris
        .collect_messages(200)
        .await
        .iter()
        .map(seq_of)
        .collect();
    assert_eq!(arrived, (1..=200).collect::<Vec<_>>());

    let sent = api
        .send_once(conversation, ALICE, "once", "m-1")
        .await
        .ok(201);
    assert_eq!(
        there
            .send_once(conversation, ALICE, "once", "m-1")
            .await
            .ok(200),
        sent
    );
    api.edit(id_of(&sent), ALICE, "twice").await.ok(200);
    assert_eq!(
        boris.expect("message_updated").await["data"]["content"],
        "twice"
    );
    assert_eq!(
        api.mark_read(conversation, BORIS).await.ok(200)["markedCount"],
        201
    );
    assert_eq!(there.found(BORIS, "q=twice").await, ["twice"]);
    assert_eq!(api.delete_message(id_of(&sent), ALICE).await.status, 204);
    assert_eq!(there.conversations(BORIS).await[0]["unreadCount"], 0);
    api.get("/api/v1/users/active").await.ok(200);
    let ticket = api
        .post(&format!("/api/v1/ws/ticket?user_id={ALICE}"), &json!({}))
        .await
        .ok(201);
    let path = format!(
        "/ws?ticket={}",
        ticket["ticket"].as_str().expect("a ticket")
    );
    let mut alice = Socket::connect_to(&other, ALICE, &path).await;
    alice.types(conversation, true).await;
    boris.expect("typing").await;
    let mut again = Socket::resume(&one, BORIS, &cursor).await;
    let replayed: Vec<_> = again
        .collect_messages(200)
        .await
        .iter()
        .map(seq_of)
        .collect();
    assert_eq!(replayed, (1..=200).collect::<Vec<_>>());

    // All that went through the few sessions of the pooler.
    let pooled = format!(
        "pg_stat_activity where datname = '{}' and application_name = 'pgchat pool'",
        database.name
    );
    let sessions = database.count(&pooled).await;
    assert!((1..=SERVER_CONNECTIONS).contains(&sessions), "{sessions}");
    assert_eq!(api.status("/health").await, Some(200));
    for log in [one.log(), other.log()] {
        assert!(!log.contains("prepared statement"), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
    }
}

/// LISTEN through a pooler in transaction mode hears nothing, and a session's settings and locks would stay behind in sessions of
/// the pooler's: whoever sets LISTEN_DATABASE_URL then starts as if nothing had been.
#[tokio::test]
async fn a_start_through_the_pooler_alone_says_what_to_set_and_leaves_nothing_behind() {
    let database = Database::fresh().await;
    let pooler = pooler(&database, SERVER_CONNECTIONS).await;
    for command in ["serve", "migrate"] {
        let settings = settings(&database, &[("DB_PORT", &pooler.port)]);
        let outcome = pgchat(&[command], &settings).await;
        outcome.assert_failed(1, &["pooler", "LISTEN_DATABASE_URL"]);
    }
    let locks = format!(
        "pg_locks l join pg_database d on d.oid = l.database where d.datname = '{}' and locktype = 'advisory'",
        database.name
    );
    assert_eq!(database.count(&locks).await, 0);

    Replica::start(&database, &pooler.settings()).await;
}

/// Better no start than a replica that delivers nothing.
#[tokio::test]
async fn a_listener_that_hears_nothing_ends_the_start_and_says_what_to_set() {
    let database = Database::fresh().await;
    let other = Database::fresh().await;
    let elsewhere = other.url(OWNER);
    let settings = settings(
        &database,
        &[
            ("LISTEN_DATABASE_URL", &elsewhere),
            ("DB_CONNECT_TIMEOUT_SECONDS", "8"),
            ("LISTENER_HEARTBEAT_SECONDS", "1"),
        ],
    );
    let outcome = pgchat(&["serve"], &settings).await;
    outcome.assert_failed(1, &["listener", "LISTEN_DATABASE_URL", "same database"]);
}
