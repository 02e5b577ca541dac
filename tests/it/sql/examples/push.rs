//! The queue of push notifications: push.sql, run by the owner of pgchat's tables, and workers that have the rights that push.mjs names. pgchat
//! and the queue are in schemas of their own, and the service has no rights on the queue's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use uuid::Uuid;

use super::apart::Apart;
use super::example;
use crate::support::*;

/// In this process `console.log`, by which push.mjs pushes, does this first.
type Fault<'a> = &'a str;

/// Prints that it has come so far, and never goes on: as a worker that is about to die.
const HANGS: Fault = "const print = console.log;
    console.log = () => {
      print('in hand');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };";

/// A push service that does not take one message the first time.
const FAILS_ONCE: Fault = "const print = console.log;
    console.log = (text) => {
      if (!text.includes('fails once')) return print(text);
      console.log = print;
      throw new Error('not taken');
    };";

struct Queue {
    database: Database,
    replica: Replica,
    role: String,
}

struct Worker {
    process: Process,
    printed: PathBuf,
}

impl Queue {
    async fn set() -> Self {
        let Apart {
            database,
            replica,
            role,
        } = Apart::set("push.sql", "push.mjs").await;
        Self {
            database,
            replica,
            role,
        }
    }

    /// Somebody with whom Alice has a conversation sends her nothing; she sends them these.
    async fn sent_by_alice(&self, reader: Uuid, contents: &[String]) -> Vec<Value> {
        let conversation = self.database.conversation(ALICE, reader).await;
        let api = self.replica.api();
        let mut sent = Vec::new();
        for content in contents {
            sent.push(api.send(conversation, ALICE, content).await);
        }
        sent
    }

    /// What is in the queue has waited for long enough.
    async fn ripen(&self) {
        let sql = "update push_queue set created_at = now() - interval '1 minute'";
        self.database.execute(sql).await;
    }

    async fn waiting(&self) -> i64 {
        self.database.count("push_queue").await
    }

    async fn until_waiting(&self, count: i64) {
        eventually(&format!("{count} in the queue"), || async {
            (self.waiting().await == count).then_some(())
        })
        .await;
    }

    fn work(&self, fault: Fault) -> Worker {
        let dir = fresh_dir("push");
        let printed = dir.join("stdout");
        let before = dir.join("before.mjs");
        fs::write(&before, fault).expect("written");
        let mut command = Command::new("node");
        command
            .arg(example("push.mjs"))
            .env("DATABASE_URL", self.database.url(&self.role))
            .env("NODE_OPTIONS", format!("--import={}", before.display()))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&printed).expect("a file"))
            .stderr(Stdio::null());
        let process = Process::start(&mut command, Signal::Kill);
        Worker { process, printed }
    }
}

fn read(printed: &Path) -> String {
    fs::read_to_string(printed).expect("its output")
}

/// What these workers have pushed: how often each content, and to whom.
fn pushed(workers: &[&Worker]) -> BTreeMap<(Uuid, String), usize> {
    let mut all = BTreeMap::new();
    for worker in workers {
        for line in read(&worker.printed).lines() {
            let Ok(push) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let content = push["message"]["content"].as_str().expect("a content");
            let key = (uuid_in(&push, "user"), content.to_owned());
            *all.entry(key).or_default() += 1;
        }
    }
    all
}

fn numbered(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("number {number}"))
        .collect()
}

fn once_each(reader: Uuid, contents: &[String]) -> BTreeMap<(Uuid, String), usize> {
    let each = contents
        .iter()
        .map(|content| ((reader, content.clone()), 1));
    each.collect()
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn what_stays_unread_is_pushed_once_by_two_workers_and_nothing_else_is() {
    let queue = Queue::set().await;
    let api = queue.replica.api();
    let text = |content: &str| vec![content.to_owned()];
    // More than a worker takes at once.
    let unread = numbered(120);
    queue.sent_by_alice(CARLA, &unread).await;

    let seen = queue.sent_by_alice(BORIS, &text("read meanwhile")).await;
    api.mark_read(uuid_in(&seen[0], "conversationId"), BORIS)
        .await
        .ok(200);
    let gone = queue
        .sent_by_alice(ELENA, &[numbered(2), text("deleted outright")].concat())
        .await;
    let deleted = api.delete_message(id_of(&gone[0]), ALICE).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let outright = "delete from messages where content = 'deleted outright'";
    queue.database.execute(outright).await;
    let by_sql = format!(
        "update messages set is_read = true where reader_id = '{ELENA}' and content = 'number 2'"
    );
    queue.database.execute(&by_sql).await;
    let _david = Socket::connect(&queue.replica, DAVID).await;
    eventually("David is online", || async {
        let online = format!("chat_presence where is_online and user_id = '{DAVID}'");
        (queue.database.count(&online).await == 1).then_some(())
    })
    .await;
    queue
        .sent_by_alice(DAVID, &text("to somebody online"))
        .await;
    let conversation = queue.database.conversation(ALICE, FELIX).await;
    let import = format!(
        "insert into messages (conversation_id, sender_id, content, is_read, created_at)
         values ('{conversation}', '{ALICE}', 'old', false, now() - interval '1 day'),
                ('{conversation}', '{ALICE}', 'old and read', true, now() - interval '1 day')"
    );
    queue.database.execute(&import).await;
    assert_eq!(queue.waiting().await, 120 + 1 + 3 + 1 + 1);
    queue.ripen().await;
    queue.sent_by_alice(GRETA, &text("too young")).await;
    // For as long as this test lasts.
    let young = "update push_queue q set created_at = now() + interval '1 hour'
                   from messages m where m.id = q.message_id and m.content = 'too young'";
    queue.database.execute(young).await;

    let workers = [queue.work(""), queue.work("")];
    queue.until_waiting(1).await;
    let [one, other] = &workers;
    assert_eq!(pushed(&[one, other]), once_each(CARLA, &unread));
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn what_a_worker_that_dies_had_in_hand_is_pushed_by_another() {
    let queue = Queue::set().await;
    let unread = numbered(60);
    queue.sent_by_alice(CARLA, &unread).await;
    queue.ripen().await;
    let mut dying = queue.work(HANGS);
    eventually("it has begun", || async {
        read(&dying.printed).contains("in hand").then_some(())
    })
    .await;
    // Others wait for nothing that it holds.
    let other = queue.work("");
    queue.until_waiting(50).await;
    assert_eq!(pushed(&[&other]).len(), 10);
    // Nor does whoever writes.
    queue.sent_by_alice(BORIS, &["meanwhile".to_owned()]).await;
    dying.process.kill();
    queue.ripen().await;
    queue.until_waiting(0).await;
    let mut expected = once_each(CARLA, &unread);
    expected.insert((BORIS, "meanwhile".to_owned()), 1);
    assert_eq!(pushed(&[&other]), expected);
}

#[tokio::test]
#[ignore = "needs npm: scripts/test-sql-examples.sh runs it"]
async fn what_could_not_be_pushed_is_tried_again_and_holds_nothing_up() {
    let queue = Queue::set().await;
    let texts = ["fails once".to_owned(), "the next".to_owned()];
    queue.sent_by_alice(CARLA, &texts).await;
    queue.ripen().await;
    let worker = queue.work(FAILS_ONCE);
    queue.until_waiting(1).await;
    assert_eq!(pushed(&[&worker]), once_each(CARLA, &texts[1..]));
    queue.ripen().await;
    queue.until_waiting(0).await;
    assert_eq!(pushed(&[&worker]), once_each(CARLA, &texts));
}
