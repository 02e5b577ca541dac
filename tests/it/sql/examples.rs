//! The programs in examples/sql, run as they stand, by a role with the grants of sql/README.md and nothing else.

mod apart;
mod listening_apart;
mod outbox;
mod push;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use uuid::Uuid;

use super::Scene;
use crate::support::*;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/sql")
        .join(name)
}

/// A role with these grants.
async fn role(scene: &Scene, grants: &str) -> String {
    let role = scene.database.role("host").await;
    scene.database.execute(&grants.replace("ROLE", &role)).await;
    role
}

fn succeeded(ran: &Output) -> String {
    let fault = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{fault}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// `node` on an example; needs `npm ci` in examples/sql.
fn node(scene: &Scene, role: &str, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command
        .arg(example(name))
        .args(arguments)
        .env("DATABASE_URL", scene.database.url(role));
    command
}

fn psql_on(scene: &Scene, role: &str, name: &str) -> Command {
    let mut command = Command::new(psql());
    command
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
        .arg("--file")
        .arg(example(name))
        .arg(scene.database.url(role));
    command
}

#[tokio::test]
async fn psql_sends_and_marks_as_read() {
    let mut scene = Scene::set().await;
    let grants = "grant insert (conversation_id, sender_id, content) on messages to ROLE;
                  grant insert (participant1_id, participant2_id) on conversations to ROLE;
                  grant execute on function chat_conversation(uuid, uuid) to ROLE;
                  grant select on conversations, messages to ROLE;
                  grant update (is_read) on messages to ROLE;
                  grant execute on function chat_send_message(uuid, uuid, text, text, text) to ROLE";
    let role = role(&scene, grants).await;
    for round in 0..2 {
        let ran = psql_on(&scene, &role, "send.sql")
            .arg(format!("--set=sender={ALICE}"))
            .arg(format!("--set=reader={BORIS}"))
            .output();
        let printed = succeeded(&ran.expect("psql runs"));
        let seqs: Vec<&str> = printed.split_whitespace().collect();
        assert_eq!(
            scene.expect("chat_message").await["data"]["content"],
            "from psql"
        );
        if round == 0 {
            assert_eq!(
                scene.expect("chat_message").await["data"]["content"],
                "from psql, once"
            );
        }
        assert_eq!(seqs.last(), Some(&"2"), "{printed}");
        scene.expect("messages_read").await;
    }
}

/// COPY passes the triggers like any insert: `seq` in the order of the lines, one set of notifications a statement.
#[tokio::test]
async fn psql_copies_many_messages() {
    let mut scene = Scene::set().await;
    let grants = "grant insert (conversation_id, sender_id, content, is_read, created_at) on messages to ROLE";
    let role = role(&scene, grants).await;
    let other = scene.database.conversation(ALICE, CARLA).await;
    scene.sockets[0].expect("conversation_created").await;
    let mut lines = String::new();
    for number in 0..1_000 {
        let (conversation, sender) = match number % 2 {
            0 => (scene.conversation, BORIS),
            _ => (other, CARLA),
        };
        lines += &format!(
            "{conversation},{sender},\"line {number}, with a comma\",true,2024-05-01T12:00:00Z\n"
        );
    }
    let mut notifications = scene.database.listen("chat_events").await;
    let mut child = psql_on(&scene, &role, "copy.sql")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut pipe = child.stdin.take().expect("its input");
    pipe.write_all(lines.as_bytes()).expect("its input");
    drop(pipe);
    succeeded(&child.wait_with_output().expect("psql ends"));

    let alice = scene.sockets[0].collect_messages(1_000).await;
    for conversation in [scene.conversation, other] {
        let of_it: Vec<&Value> = alice
            .iter()
            .filter(|message| uuid_in(message, "conversationId") == conversation)
            .collect();
        let numbers: Vec<i64> = of_it.iter().map(|message| seq_of(message)).collect();
        assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
        let first = if conversation == other { 1 } else { 0 };
        for (place, message) in of_it.iter().enumerate() {
            assert_eq!(
                message["content"],
                format!("line {}, with a comma", 2 * place + first)
            );
            assert_eq!(message["createdAt"], "2024-05-01T12:00:00.000000Z");
            assert_eq!(message["isRead"], true);
        }
    }
    scene.sockets[1].collect_messages(500).await;
    // Packed: several events in each.
    let mut payloads = 0;
    let mut events = 0;
    while events < 1_000 {
        let payload: Value = serde_json::from_str(&notifications.next().await).expect("JSON");
        if let Some(some) = payload["events"].as_array() {
            payloads += 1;
            events += some.len();
        }
    }
    assert!(payloads <= 1_000 / 8, "{payloads} notifications");

    // One bad line, and nothing of it is stored or told.
    let bad = fresh_dir("copy").join("messages.csv");
    let line = |sender| format!("{other},{sender},text,false,2024-05-01T12:00:00Z\n");
    fs::write(&bad, line(CARLA) + &line(DAVID)).expect("written");
    let ran = psql_on(&scene, &role, "copy.sql")
        .stdin(fs::File::open(&bad).expect("a file"))
        .output();
    let ran = ran.expect("psql runs");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(
        !ran.status.success() && told.contains("not a participant"),
        "{told}"
    );
    assert_eq!(scene.database.count("messages").await, 1_000);
    scene.assert_silence().await;
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn node_postgres_sends_once_and_inserts() {
    let mut scene = Scene::set().await;
    let grants = "grant insert (conversation_id, sender_id, content) on messages to ROLE;
                  grant execute on function chat_send_message(uuid, uuid, text, text, text) to ROLE";
    let role = role(&scene, grants).await;
    let conversation = scene.conversation.to_string();
    let alice = ALICE.to_string();
    let mut first = None;
    for round in 0..2 {
        let ran = node(
            &scene,
            &role,
            "send.mjs",
            &[&conversation, &alice, "by node", "node-1"],
        )
        .output();
        let printed: Value =
            serde_json::from_str(&succeeded(&ran.expect("node runs"))).expect("JSON");
        assert_message(&printed);
        if round == 0 {
            assert_eq!(scene.expect("chat_message").await["data"], printed);
        }
        assert_eq!(first.get_or_insert(printed.clone()), &printed);
        for content in ["by node (2)", "by node (3)"] {
            assert_eq!(
                scene.expect("chat_message").await["data"]["content"],
                content
            );
        }
    }
    let david = DAVID.to_string();
    let ran = node(
        &scene,
        &role,
        "send.mjs",
        &[&conversation, &david, "not mine", "node-2"],
    )
    .output();
    let told = String::from_utf8_lossy(&ran.expect("node runs").stderr).into_owned();
    assert!(told.contains("23514"), "{told}");
    scene.assert_silence().await;
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn typeorm_saves_and_updates_entities() {
    let mut scene = Scene::set().await;
    let grants = "grant insert (id, conversation_id, sender_id, content) on messages to ROLE;
                  grant select on messages to ROLE; grant update (content) on messages to ROLE";
    let role = role(&scene, grants).await;
    let conversation = scene.conversation.to_string();
    let ran = node(
        &scene,
        &role,
        "typeorm.mjs",
        &[&conversation, &BORIS.to_string(), "by TypeORM"],
    )
    .output();
    let printed: Value = serde_json::from_str(&succeeded(&ran.expect("node runs"))).expect("JSON");
    assert_eq!(printed["seq"], "1", "a bigint is a string to TypeORM");
    let frame = scene.expect("chat_message").await;
    assert_eq!(frame["data"]["id"], printed["id"]);
    assert_eq!(frame["data"]["content"], "by TypeORM");
    let frame = scene.expect("message_updated").await;
    assert_eq!(frame["data"]["content"], "by TypeORM, edited");
}

/// It hears what is sent, reads what does not fit into a notification, and what came while it was down or cut off.
#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn a_service_that_listens_by_itself_misses_nothing() {
    let scene = Scene::set().await;
    let table = fs::read_to_string(example("listen.sql")).expect("listen.sql");
    let grants = "grant select, insert, update on listener_seen to ROLE";
    let role = role(&scene, "grant select on conversations, messages to ROLE").await;
    let mut early = node(&scene, &role, "listen.mjs", &[&BORIS.to_string()]);
    let early = early.output().expect("node");
    let told = String::from_utf8_lossy(&early.stderr);
    assert!(
        !early.status.success() && told.contains("listener_seen"),
        "{told}"
    );
    scene.database.execute(&table).await;
    scene.database.execute(&grants.replace("ROLE", &role)).await;
    let printed = fresh_dir("listener").join("stdout");
    let start = || {
        let out = fs::File::options()
            .create(true)
            .append(true)
            .open(&printed)
            .expect("a file");
        let mut command = node(&scene, &role, "listen.mjs", &[&BORIS.to_string()]);
        command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null());
        Process::start(&mut command, Signal::Kill)
    };
    let heard = async |content: &str| {
        eventually(content, || async {
            let text = fs::read_to_string(&printed).expect("its output");
            text.contains(content).then_some(())
        })
        .await;
    };
    let api = scene.api();
    let send = async |content: &str| api.send(scene.conversation, ALICE, content).await;

    send("before it ran").await;
    let mut listener = start();
    heard("before it ran").await;
    heard("listening").await;
    send("live").await;
    heard("\"live\"").await;
    let large = format!("large {}", "x".repeat(9_000));
    send(&large).await;
    heard(&large).await;
    // By the time that it is read, it is another one, behind the next.
    let anew = Uuid::now_v7();
    let insert = |id: Uuid, content: &str| {
        format!(
            "insert into messages (id, conversation_id, sender_id, content) values ('{id}', '{}', '{ALICE}', {content});",
            scene.conversation
        )
    };
    let made_anew = [
        insert(anew, "repeat('x', 9000)"),
        insert(Uuid::now_v7(), "'between'"),
        format!("delete from messages where id = '{anew}';"),
        insert(anew, "'anew'"),
    ];
    scene.database.execute(&made_anew.concat()).await;
    heard("\"anew\"").await;
    let elsewhere = scene.database.conversation(ALICE, CARLA).await;
    api.send(elsewhere, ALICE, "not to Boris").await;

    // Its connections are cut.
    let cut =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");
    scene.database.execute(&cut).await;
    send("while it was cut off").await;
    heard("while it was cut off").await;
    // It is killed.
    listener.kill();
    // More than it reads at a time.
    let missed = format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{}', '{ALICE}', 'while it was down ' || n from generate_series(1, 1200) n",
        scene.conversation
    );
    scene.database.execute(&missed).await;
    let _listener = start();
    heard("while it was down 1200").await;
    send("the end").await;
    heard("the end").await;

    let text = fs::read_to_string(&printed).expect("its output");
    let seqs: Vec<i64> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| seq_of(&line))
        .collect();
    // The fourth was deleted.
    let expected: Vec<i64> = (1..=3).chain(5..=1208).collect();
    assert_eq!(seqs, expected, "each once, in order");
}

/// Whatever it hands messages to may fail, or it may itself end: then the message comes again.
#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn a_service_that_listens_by_itself_hears_again_what_it_could_not_hand_over() {
    let scene = Scene::set().await;
    let table = fs::read_to_string(example("listen.sql")).expect("listen.sql");
    scene.database.execute(&table).await;
    let grants = "grant select on conversations, messages to ROLE;
                  grant select, insert, update on listener_seen to ROLE";
    let role = role(&scene, grants).await;
    let dir = fresh_dir("handed-over");
    let printed = dir.join("stdout");
    // Ahead of the program: what it prints a message with throws at the first.
    let fails_once = dir.join("fails_once.mjs");
    let script = "const print = console.log;
        console.log = (text) => {
          if (!text.includes('fails once')) return print(text);
          console.log = print;
          throw new Error('not handed over');
        };";
    fs::write(&fails_once, script).expect("written");
    let mut command = node(&scene, &role, "listen.mjs", &[&BORIS.to_string()]);
    command
        .env("NODE_OPTIONS", format!("--import={}", fails_once.display()))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&printed).expect("a file"))
        .stderr(Stdio::null());
    let _listener = Process::start(&mut command, Signal::Kill);
    let heard = async |content: &str| {
        eventually(content, || async {
            let text = fs::read_to_string(&printed).expect("its output");
            text.contains(content).then_some(())
        })
        .await;
    };
    heard("listening").await;
    let api = scene.api();
    api.send(scene.conversation, ALICE, "fails once").await;
    api.send(scene.conversation, ALICE, "the next").await;
    heard("the next").await;
    let text = fs::read_to_string(&printed).expect("its output");
    let contents: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|line| line["content"].clone())
        .collect();
    assert_eq!(contents, ["fails once", "the next"]);
}
