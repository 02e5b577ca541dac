//! Settings: what is wrong is said in one line, and where they come from.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::*;

#[tokio::test]
async fn a_wrong_setting_is_named_in_one_line() {
    let database = Database::fresh().await;
    for (name, value) in [
        ("SERVER_PORT", "http"),
        ("SERVER_PORT", "65536"),
        ("SERVER_HOST", "nowhere.example"),
        ("DB_PORT", "x"),
        ("DB_SSL_MODE", "sometimes"),
        ("DB_POOL_SIZE", "0"),
        ("DB_POOL_SIZE", "-1"),
        ("DB_SCHEMA", "no\"quotes"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("MAX_MESSAGE_BYTES", "many"),
        ("MAX_CONNECTIONS", "-1"),
        ("HEARTBEAT_SECONDS", "0"),
        ("SHUTDOWN_GRACE_SECONDS", "soon"),
        ("SHUTDOWN_DELAY_SECONDS", "30"),
        ("WRITE_TIMEOUT_SECONDS", "1e9"),
        ("USERS_COLUMNS", "nonsense"),
        ("ALLOWED_ORIGINS", "not an origin"),
        ("AUTH_MODE", "none"),
    ] {
        for command in ["serve", "migrate"] {
            let outcome = pgchat(&[command], &settings(&database, &[(name, value)])).await;
            outcome.assert_failed(2, &[name]);
            assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome:#?}");
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_ends_the_start() {
    let database = Database::fresh().await;
    // Taken, and nobody answers there.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("its address").port().to_string();
    let closed = free_port().to_string();
    for (port, command) in [(&closed, "serve"), (&closed, "migrate"), (&silent, "serve")] {
        let more = [
            ("DB_PORT", port.as_str()),
            ("DB_CONNECT_TIMEOUT_SECONDS", "1"),
        ];
        let outcome = pgchat(&[command], &settings(&database, &more)).await;
        outcome.assert_failed(1, &["database"]);
        // Without the setting it would be 30 s.
        assert!(outcome.took < Duration::from_secs(25), "{outcome:#?}");
    }
    // Each of two ways is tried, and the one that leads nowhere is named.
    let listener = format!("postgres://127.0.0.1:{closed}/elsewhere");
    let more = [
        ("LISTEN_DATABASE_URL", listener.as_str()),
        ("DB_CONNECT_TIMEOUT_SECONDS", "1"),
    ];
    let outcome = pgchat(&["serve"], &settings(&database, &more)).await;
    let target = format!("elsewhere at 127.0.0.1:{closed}");
    outcome.assert_failed(1, &["LISTEN_DATABASE_URL", &target]);
    assert!(!outcome.last_line().contains("DB_PORT"), "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_yet_is_waited_for_at_the_start() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    cluster.stop();
    let mut replica = Replica::launch(&database, &[]);
    eventually("it says that it tries", || async {
        replica.log().contains("trying for 30 s").then_some(())
    })
    .await;
    cluster.start();
    replica.until_ready().await;
}

#[tokio::test]
async fn a_database_that_refuses_is_quoted() {
    let database = Database::fresh().await;
    let role = "app";
    database
        .execute(&format!(
            "do $$ begin create role {role} login password 'app'; exception when others then null; end $$"
        ))
        .await;
    for (name, value, word) in [
        ("DB_NAME", "no_such_database", "no_such_database"),
        ("DB_USER", "no_such_role", "no_such_role"),
        ("DB_USER", role, "password"),
    ] {
        let more = [
            (name, value),
            ("DB_PASSWORD", "wrong"),
            ("DB_CONNECT_TIMEOUT_SECONDS", "1"),
        ];
        let outcome = pgchat(&["serve"], &settings(&database, &more)).await;
        outcome.assert_failed(1, &[word]);
    }
    // And with the right one it is let in.
    database
        .execute(&format!("grant pg_read_all_data to {role}"))
        .await;
    let more = [("DB_USER", role), ("DB_PASSWORD", "app")];
    let outcome = pgchat(&["migrate"], &settings(&database, &more)).await;
    assert!(!outcome.stderr.contains("password"), "{outcome:#?}");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_said_to_be_so() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("WRITE_TIMEOUT_SECONDS", "5")]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    database
        .execute(&format!(
            "alter database {} set default_transaction_read_only = on",
            database.name
        ))
        .await;
    // The first one: it needs a connection of the writer's.
    let refused = replica.api().try_send(conversation, ALICE, "Hello").await;
    refused.refused(503, "unavailable");
    let log = replica.log();
    let is_told = |line: &str| {
        line.contains("had no answer") && line.ends_with("database does not allow writes")
    };
    assert!(log.lines().any(is_told), "{log}");
    let more = [("DB_CONNECT_TIMEOUT_SECONDS", "1")];
    let outcome = pgchat(&["serve"], &settings(&database, &more)).await;
    outcome.assert_failed(
        1,
        &["does not allow writes", "default_transaction_read_only"],
    );
    assert!(!outcome.last_line().contains("DB_PORT"), "{outcome:#?}");
}

#[tokio::test]
async fn a_port_in_use_ends_the_start() {
    let database = Database::fresh().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let outcome = pgchat(&["serve"], &settings(&database, &[("SERVER_PORT", &port)])).await;
    outcome.assert_failed(1, &[&port]);
}

#[tokio::test]
async fn settings_come_from_the_file_and_the_environment_wins() {
    let database = Database::fresh().await;
    let dir = fresh_dir("config");
    let base = settings(&database, &[]);
    let mut file = String::from("# a comment\n\nTYPO_IN_NAME=1\n");
    for (name, value) in &base {
        file += &format!("{name}={value}\n");
    }
    fs::write(dir.join("config.env"), &file).expect("config.env");

    let outcome = pgchat_in(&dir, &["migrate"], &Vec::new()).await;
    outcome.assert_ok();
    assert!(
        outcome.stderr.contains("TYPO_IN_NAME"),
        "a warning: {outcome:#?}"
    );

    let misspelled = vec![("JWT_ISSUR".to_owned(), "x".to_owned())];
    let outcome = pgchat_in(&dir, &["migrate"], &misspelled).await;
    outcome.assert_ok();
    assert!(
        outcome.stderr.contains("is JWT_ISSUER meant?"),
        "a warning: {outcome:#?}"
    );

    let wins = vec![("DB_PORT".to_owned(), "x".to_owned())];
    let outcome = pgchat_in(&dir, &["migrate"], &wins).await;
    outcome.assert_failed(2, &["DB_PORT"]);

    let elsewhere = dir.join("other.env");
    fs::write(&elsewhere, file.replace("DB_PORT=", "DB_PORT=x")).expect("other.env");
    let path = elsewhere.to_str().expect("a path");
    let outcome = pgchat_in(&dir, &["--config", path, "migrate"], &Vec::new()).await;
    outcome.assert_failed(2, &["DB_PORT"]);
    let outcome = pgchat_in(&dir, &["--config", "/no/such/file", "migrate"], &base).await;
    outcome.assert_failed(2, &["/no/such/file"]);
}

/// The commands of a container that nobody can give arguments to, such as the health check of the image.
#[tokio::test]
async fn a_variable_names_the_file_unless_the_command_line_does() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let dir = fresh_dir("config");
    let file = |name: &str, port: u16| {
        let path = dir.join(name);
        fs::write(&path, format!("SERVER_PORT={port}\n")).expect("written");
        path.to_str().expect("a path").to_owned()
    };
    let (right, wrong) = (file("right.env", replica.port()), file("wrong.env", 1));
    let by_variable = |path: &str| vec![("PGCHAT_CONFIG".to_owned(), path.to_owned())];
    pgchat(&["healthcheck"], &by_variable(&right))
        .await
        .assert_ok();
    let named = ["--config", right.as_str(), "healthcheck"];
    pgchat(&named, &by_variable(&wrong)).await.assert_ok();
    // A file that is named must be there, however it is named; a name that is empty is none.
    let missing = by_variable("/no/such/file");
    let outcome = pgchat(&["healthcheck"], &missing).await;
    outcome.assert_failed(2, &["/no/such/file"]);
    fs::write(
        dir.join("config.env"),
        format!("SERVER_PORT={}\n", replica.port()),
    )
    .expect("config.env");
    let outcome = pgchat_in(&dir, &["healthcheck"], &by_variable("")).await;
    outcome.assert_ok();
}

#[tokio::test]
async fn one_url_says_where_the_database_is() {
    let database = Database::fresh().await;
    let url = format!(
        "postgres://{SERVICE}@127.0.0.1:{}/{}?sslmode=disable",
        database.cluster.port, database.name
    );
    let only = vec![
        ("DATABASE_URL".to_owned(), url),
        ("SERVER_PORT".to_owned(), "0".to_owned()),
    ];
    pgchat(&["migrate"], &only).await.assert_ok();
}

#[tokio::test]
async fn the_first_host_that_accepts_writes_is_taken() {
    let database = Database::fresh().await;
    let port = format!("{},{}", free_port(), database.cluster.port);
    let more = [
        ("DB_HOST", "127.0.0.1,127.0.0.1"),
        ("DB_PORT", port.as_str()),
    ];
    let replica = Replica::start(&database, &more).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
    boris.expect("chat_message").await;
}

#[tokio::test]
async fn a_replica_that_waits_for_no_database_starts_where_there_is_one() {
    let database = Database::fresh().await;
    let more = [("DB_CONNECT_TIMEOUT_SECONDS", "0")];
    let replica = Replica::start(&database, &more).await;
    replica.api().open_conversation(ALICE, BORIS).await;
}

/// A machine under load may not answer in time what is asked once the schema is applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_lost_before_the_start_is_complete_is_waited_for_too() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    // What is read is repeated once on another connection, and that is lost as well.
    let lost = [(); 2].map(|()| proxy.lose_answer("chat_search_languages", Answer::Cut));
    let replica = Replica::start(&database, &proxy.for_all()).await;
    for lost in lost {
        lost.happened().await;
    }
    replica.api().open_conversation(ALICE, BORIS).await;
}

/// As a machine whose disk hangs: it takes connections, and answers nothing. The next host is asked in time, and first from then on.
#[tokio::test]
async fn a_silent_host_leaves_the_next_one_its_time() {
    let database = Database::fresh().await;
    // On a machine that stands still meanwhile, the next one's time may be over before it has answered.
    for _ in 0..5 {
        if is_served_in_time_beside_a_silent_host(&database).await {
            return;
        }
    }
    panic!("the next host never answered in its time");
}

/// Whether the host behind a silent one has answered whenever it was asked. Then the silent one was asked once.
async fn is_served_in_time_beside_a_silent_host(database: &Database) -> bool {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    silent.set_nonblocking(true).expect("its mode");
    let silent_port = silent.local_addr().expect("its address").port();
    let port = format!("{silent_port},{}", database.cluster.port);
    let more = [
        ("DB_HOST", "127.0.0.1,127.0.0.1"),
        ("DB_PORT", port.as_str()),
        ("DB_CONNECT_TIMEOUT_SECONDS", "20"),
        ("LOG_LEVEL", "debug"),
    ];
    let replica = Replica::start(database, &more).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
    boris.expect("chat_message").await;
    let log = replica.log();
    if log.contains("; trying for 20 s") || log.contains("database host 2: no answer within") {
        return false;
    }
    let asked = std::iter::from_fn(|| silent.accept().ok()).count();
    assert_eq!(asked, 1, "connections to the silent host");
    true
}

#[tokio::test]
async fn it_serves_with_the_command_or_without_any_until_a_signal_ends_it_in_good_order() {
    let database = Database::fresh().await;
    let settings = settings(&database, &[]);
    for (arguments, signal) in [
        (&["serve"][..], Signal::Terminate),
        (&[], Signal::Interrupt),
    ] {
        let mut replica = Replica::start_by(arguments, &settings).await;
        let conversation = replica.api().open_conversation(ALICE, BORIS).await;
        let mut alice = Socket::connect(&replica, ALICE).await;
        alice.send_message(conversation, "hello").await;

        replica.signal(signal);
        alice.expect("server_closing").await;
        assert_eq!(alice.closed().await, Some(1012));
        assert_eq!(replica.ended().await.code(), Some(0), "{signal:?}");
    }
    assert_eq!(database.count("messages").await, 2);
}

#[tokio::test]
async fn a_healthcheck_tells_by_its_exit_code() {
    let database = Database::fresh().await;
    let slow = [
        ("SHUTDOWN_DELAY_SECONDS", "300"),
        ("SHUTDOWN_GRACE_SECONDS", "600"),
    ];
    let replica = Replica::start(&database, &slow).await;
    let port = replica.port().to_string();
    let here = settings(&database, &[("SERVER_PORT", &port)]);
    pgchat(&["healthcheck"], &here).await.assert_ok();
    // It answers, and takes no traffic.
    replica.terminate();
    until_status(&replica, "/health/ready", 503).await;
    pgchat(&["healthcheck"], &here)
        .await
        .assert_failed(1, &["/health/ready answers", "503"]);
    let live = ["healthcheck", "--live"];
    pgchat(&live, &here).await.assert_ok();
    drop(replica);
    for arguments in [&live[..1], &live] {
        pgchat(arguments, &here).await.assert_failed(1, &[&port]);
    }
}

#[tokio::test]
async fn the_start_says_with_which_settings_and_shows_no_secret() {
    let database = Database::fresh().await;
    let more = [
        ("DB_PASSWORD", "hunter2"),
        ("SERVICE_NAME", "chat\nWARN forged"),
    ];
    for (format, mark) in [("pretty", "settings: "), ("json", "\"settings: ")] {
        let all = [&more[..1], &[("LOG_FORMAT", format)]].concat();
        let log = Replica::start(&database, &all).await.log();
        let line = log.lines().find(|line| line.contains(mark)).expect(mark);
        for part in [
            "DB_HOST=",
            "DB_PASSWORD=***",
            "SERVER_PORT=",
            "(the environment)",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!log.contains("hunter2"), "{log}");
    }
    let outcome = pgchat(&["serve"], &settings(&database, &more)).await;
    outcome.assert_failed(2, &["SERVICE_NAME"]);
}
