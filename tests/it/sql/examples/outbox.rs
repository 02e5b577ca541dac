//! The outbox of outbox.sql: what pgchat and other programs store, edit and delete is in it, and outbox.mjs hands it on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use uuid::Uuid;

use super::apart::Apart;
use super::example;
use crate::support::*;

/// `console.log`, by which outbox.mjs hands on, does not take one message the first time.
const FAILS_ONCE: &str = "const print = console.log;
    console.log = (text) => {
      if (!text.includes('fails once')) return print(text);
      console.log = print;
      throw new Error('not taken');
    };";

/// It takes one, and never goes on: as a program that is about to die.
const HANGS: &str = "const print = console.log;
    console.log = (text) => {
      print(text);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };";

/// Each that is handed on takes 11 s, by the program's own clock. With the third it never gets done.
const SLOW: &str = "const print = console.log;
    const now = Date.now;
    let handedOn = 0;
    Date.now = () => now() + handedOn * 11_000;
    console.log = (text) => {
      print(text);
      handedOn += 1;
      if (handedOn === 3) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };";

/// The first that is handed on is not done before the second one is, whatever the signal says. Stands in handOn.
const HELD: &str = "console.log(JSON.stringify({ event, message }));
  globalThis.handedOn = (globalThis.handedOn ?? 0) + 1;
  while (globalThis.handedOn === 1) await sleep(10);";

struct Outbox {
    scene: Apart,
    conversation: Uuid,
}

struct Consumer {
    process: Process,
    printed: PathBuf,
}

impl Outbox {
    async fn set() -> Self {
        let scene = Apart::set("outbox.sql", "outbox.mjs").await;
        let conversation = scene.database.conversation(ALICE, BORIS).await;
        Self {
            scene,
            conversation,
        }
    }

    async fn send(&self, content: &str) -> Uuid {
        let api = self.scene.replica.api();
        id_of(&api.send(self.conversation, ALICE, content).await)
    }

    fn insert(&self, conversation: Uuid, content: &str) -> String {
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', '{content}')"
        )
    }

    fn consume(&self, before: &str) -> Consumer {
        self.run(&example("outbox.mjs"), before)
    }

    /// With another `handOn`.
    fn consume_by(&self, hand_on: &str) -> Consumer {
        let dir = fresh_dir("outbox_by");
        let program = fs::read_to_string(example("outbox.mjs")).expect("a program");
        let as_it_is = "console.log(JSON.stringify({ event, message }));";
        assert_eq!(program.matches(as_it_is).count(), 1);
        let file = dir.join("outbox.mjs");
        fs::write(&file, program.replace(as_it_is, hand_on)).expect("written");
        symlink(example("node_modules"), dir.join("node_modules")).expect("a link");
        // It may take as long as it likes: only the loss of its connection ends it.
        self.run(
            &file,
            "AbortSignal.timeout = () => new AbortController().signal;",
        )
    }

    fn run(&self, program: &Path, before: &str) -> Consumer {
        let dir = fresh_dir("outbox");
        let printed = dir.join("stdout");
        let script = dir.join("before.mjs");
        fs::write(&script, before).expect("written");
        let mut command = Command::new("node");
        command
            .arg(program)
            .env("DATABASE_URL", self.scene.database.url(&self.scene.role))
            .env("NODE_OPTIONS", format!("--import={}", script.display()))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&printed).expect("a file"))
            .stderr(Stdio::null());
        let process = Process::start(&mut command, Signal::Kill);
        Consumer { process, printed }
    }

    async fn until_empty(&self) {
        eventually("the outbox is empty", || async {
            (self.scene.database.count("message_outbox").await == 0).then_some(())
        })
        .await;
    }

    /// What is in it: the event, and the place in the conversation.
    async fn rows(&self) -> Vec<(String, i64)> {
        let sql = "select event, seq from message_outbox order by id";
        let rows = self.scene.database.sql().await.query(sql, &[]).await;
        let rows = rows.expect("the outbox");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

impl Consumer {
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.printed).expect("its output");
        let lines = text.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The events and contents that it has handed on.
    fn handed_on(&self) -> Vec<(String, Value)> {
        let told = |line: &Value| {
            let event = line["event"].as_str().expect("an event").to_owned();
            (event, line["message"]["content"].clone())
        };
        self.lines().iter().map(told).collect()
    }
}

fn expected(events: &[(&str, Value)]) -> Vec<(String, Value)> {
    let owned = |(event, content): &(&str, Value)| ((*event).to_owned(), content.clone());
    events.iter().map(owned).collect()
}

#[tokio::test]
async fn what_is_stored_edited_and_deleted_is_in_the_outbox_and_read_marks_are_not() {
    let outbox = Outbox::set().await;
    let database = &outbox.scene.database;
    let api = outbox.scene.replica.api();
    let edited = outbox.send("edited").await;
    let deleted = outbox.send("deleted").await;
    outbox.send("marked").await;
    api.edit(edited, ALICE, "anew").await.ok(200);
    let reply = api.delete_message(deleted, ALICE).await;
    assert_eq!(reply.status, 204, "{reply:?}");
    api.mark_read(outbox.conversation, BORIS).await.ok(200);
    let by_sql = outbox.insert(outbox.conversation, "by SQL");
    database.execute(&by_sql).await;
    // The second one is told of already.
    database
        .execute("delete from messages where seq in (2, 3)")
        .await;
    let rows = outbox.rows().await;
    let rows: Vec<(&str, i64)> = rows.iter().map(|(event, seq)| (&**event, *seq)).collect();
    assert_eq!(
        rows,
        [
            ("stored", 1),
            ("stored", 2),
            ("stored", 3),
            ("edited", 1),
            ("deleted", 2),
            ("stored", 4),
            ("deleted", 3)
        ]
    );
}

/// A session keeps its plan of the trigger. That for one row, used for thousands, would look through all of them for each.
#[tokio::test]
async fn a_session_that_has_marked_one_message_marks_thousands() {
    let outbox = Outbox::set().await;
    let database = &outbox.scene.database;
    let conversation = outbox.conversation;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content) select '{conversation}', '{ALICE}', n from generate_series(1, 20000) n"
    );
    database.execute(&insert).await;
    let session = database.sql().await;
    let one = format!(
        "update messages set is_read = true where conversation_id = '{conversation}' and seq = 1"
    );
    // A minute, where they are joined in the wrong way.
    let all = "update messages set is_read = true where not is_read";
    for sql in [&*one, "set statement_timeout = '15s'", all] {
        session.batch_execute(sql).await.expect("marked");
    }
    assert_eq!(database.count("messages where not is_read").await, 0);
}

/// The functions have the rights of their owner, and the enum of pgchat's has no operator of its own: one that is made for it would be preferred.
#[tokio::test]
async fn an_operator_in_the_schema_of_the_outbox_is_not_run() {
    let outbox = Outbox::set().await;
    outbox.send("first").await;
    let database = &outbox.scene.database;
    database
        .execute(
            "create function host.trap(a chat.chat_message_type, b chat.chat_message_type) returns boolean language plpgsql
               as $$ begin raise exception 'run by %', current_user; end $$;
             create operator host.= (leftarg = chat.chat_message_type, rightarg = chat.chat_message_type, function = host.trap);
             update messages set is_read = true;
             update messages set message_type = 'image'",
        )
        .await;
    let rows = [("stored".to_owned(), 1), ("edited".to_owned(), 1)];
    assert_eq!(outbox.rows().await, rows);
}

/// As sql/README.md says: the triggers of the inner statement run first.
#[tokio::test]
async fn what_a_trigger_of_the_hosts_writes_comes_ahead_of_what_fired_it() {
    let outbox = Outbox::set().await;
    let answer = format!(
        "create function host.answer() returns trigger language plpgsql security definer set search_path = chat, pg_temp as $$
         begin
           insert into messages (conversation_id, sender_id, content) values (new.conversation_id, '{BORIS}', 'answer');
           return null;
         end $$;
         create trigger answer after insert on chat.messages
           for each row when (new.content = 'question') execute function host.answer()"
    );
    outbox.scene.database.execute(&answer).await;
    outbox.send("question").await;
    let rows = [("stored".to_owned(), 2), ("stored".to_owned(), 1)];
    assert_eq!(outbox.rows().await, rows);
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn what_commits_late_is_handed_on_like_what_overtook_it() {
    let outbox = Outbox::set().await;
    let database = &outbox.scene.database;
    let consumer = outbox.consume("");
    let late = database
        .holding(&outbox.insert(outbox.conversation, "late"))
        .await;
    let elsewhere = database.conversation(ALICE, CARLA).await;
    database
        .execute(&outbox.insert(elsewhere, "overtakes"))
        .await;
    outbox.until_empty().await;
    late.batch_execute("commit").await.expect("it commits");
    eventually("both are handed on", || async {
        (consumer.lines().len() == 2).then_some(())
    })
    .await;
    let events = [("stored", "overtakes".into()), ("stored", "late".into())];
    assert_eq!(consumer.handed_on(), expected(&events));
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn what_could_not_be_handed_on_comes_again_before_what_is_behind_it() {
    let outbox = Outbox::set().await;
    let edited = outbox.send("first").await;
    outbox.send("fails once").await;
    outbox.send("gone").await;
    let api = outbox.scene.replica.api();
    api.edit(edited, ALICE, "anew").await.ok(200);
    let outright = "delete from messages where content = 'gone'";
    outbox.scene.database.execute(outright).await;
    let consumer = outbox.consume(FAILS_ONCE);
    outbox.until_empty().await;
    // As each stands now: of what is gone only that.
    let events = [
        ("stored", "anew".into()),
        ("stored", "fails once".into()),
        ("edited", "anew".into()),
        ("deleted", Value::Null),
    ];
    assert_eq!(consumer.handed_on(), expected(&events));
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn another_takes_the_place_of_a_program_that_dies_and_not_before() {
    let outbox = Outbox::set().await;
    outbox.send("one").await;
    outbox.send("two").await;
    let mut dying = outbox.consume(HANGS);
    eventually("it has begun", || async {
        (dying.lines().len() == 1).then_some(())
    })
    .await;
    let other = outbox.consume("");
    // Nobody who writes waits for it.
    outbox.send("three").await;
    eventually("the other one has asked", || async {
        let asked = format!(
            "pg_stat_activity where usename = '{}' and state = 'idle' and query = 'commit'",
            outbox.scene.role
        );
        (outbox.scene.database.count(&asked).await == 1).then_some(())
    })
    .await;
    assert_eq!(other.lines(), Vec::<Value>::new());
    dying.process.kill();
    outbox.until_empty().await;
    let events = ["one", "two", "three"].map(|content| ("stored", content.into()));
    assert_eq!(other.handed_on(), expected(&events));
}

/// The server would end its session, nothing would be deleted, and the same rows would come again.
#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn what_a_slow_receiver_has_taken_is_done_with_before_the_rest_is_handed_on() {
    let outbox = Outbox::set().await;
    for content in ["one", "two", "three"] {
        outbox.send(content).await;
    }
    let consumer = outbox.consume(SLOW);
    eventually("the third is handed on", || async {
        (consumer.lines().len() == 3).then_some(())
    })
    .await;
    assert_eq!(outbox.rows().await, [("stored".to_owned(), 3)]);
}

/// Another one has its place from then on.
#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn a_program_that_has_lost_its_connection_hands_on_nothing_of_what_it_had() {
    let outbox = Outbox::set().await;
    outbox.send("one").await;
    outbox.send("two").await;
    let consumer = outbox.consume_by(HELD);
    eventually("it has begun", || async {
        (consumer.lines().len() == 1).then_some(())
    })
    .await;
    let end = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'",
        outbox.scene.role
    );
    outbox.scene.database.execute(&end).await;
    outbox.until_empty().await;
    let events = ["one", "one", "two"].map(|content| ("stored", content.into()));
    assert_eq!(consumer.handed_on(), expected(&events));
}
