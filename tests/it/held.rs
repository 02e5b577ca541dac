//! Hundreds of conversations that another program holds for longer than a message may wait.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::*;

/// Alice alone sends all of them.
const UNLIMITED: [(&str, &str); 1] = [("RATE_LIMIT_PER_SECOND", "0")];

struct Scene {
    database: Database,
    /// Runs until the end.
    _replica: Replica,
    /// One, so that a thousand sends do not start with a thousand clients.
    api: Api,
    conversations: Vec<Uuid>,
    /// Holds them all.
    program: Client,
    sends: JoinSet<(Uuid, Reply, Duration)>,
}

impl Scene {
    /// Alice has sent to each of so many others, and waits.
    async fn set(count: i32, settings: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, &[&UNLIMITED[..], settings].concat()).await;
        let others = database.add_users(count).await;
        let mut scene = Self {
            conversations: database.conversations(ALICE, &others).await,
            program: database.sql().await,
            database,
            api: replica.api(),
            _replica: replica,
            sends: JoinSet::new(),
        };
        scene.hold(&scene.program, &scene.conversations).await;
        for conversation in scene.conversations.clone() {
            scene.send(conversation);
        }
        scene
    }

    async fn hold(&self, program: &Client, conversations: &[Uuid]) {
        program.batch_execute("begin").await.expect("begin");
        program
            .query(
                "select from conversations where id = any ($1) for update",
                &[&conversations],
            )
            .await
            .expect("the locks");
    }

    fn send(&mut self, conversation: Uuid) {
        let api = self.api.clone();
        self.sends.spawn(async move {
            let started = Instant::now();
            let id = conversation.to_string();
            let reply = api.send_once(conversation, ALICE, "waits", &id).await;
            (conversation, reply, started.elapsed())
        });
    }

    async fn until_held(&self, messages: usize) {
        eventually_within(3 * DEADLINE, "so many are held", || async {
            let held = self.api.metric("pgchat_writer_held").await;
            (held == messages as f64).then_some(())
        })
        .await;
    }

    async fn next(&mut self) -> (Uuid, Reply, Duration) {
        let next = within("an answer", self.sends.join_next()).await;
        next.expect("a send").expect("an answer")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_hundreds_of_held_conversations_the_one_that_is_free_again_goes_through() {
    const HELD: i32 = 1500;
    let mut scene = Scene::set(HELD, &[("WRITE_TIMEOUT_SECONDS", "300")]).await;
    let david = scene.database.conversation(ALICE, DAVID).await;
    let other = scene.database.sql().await;
    scene.hold(&other, &[david]).await;
    scene.send(david);
    scene.until_held(scene.conversations.len() + 1).await;

    other.batch_execute("commit").await.expect("its end");
    let (conversation, reply, _) = scene.next().await;
    assert_eq!(conversation, david, "{reply:?}");
    reply.ok(201);
    scene
        .program
        .batch_execute("commit")
        .await
        .expect("its end");
    for _ in &scene.conversations.clone() {
        scene.next().await.1.ok(201);
    }
    scene.until_held(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_hundreds_of_held_conversations_is_refused_in_time() {
    // More than the default.
    const TIMEOUT: Duration = Duration::from_secs(15);
    let mut scene = Scene::set(300, &[("WRITE_TIMEOUT_SECONDS", "15")]).await;
    for _ in &scene.conversations.clone() {
        let (_, reply, took) = scene.next().await;
        reply.refused(503, "unavailable");
        assert!(took >= TIMEOUT, "refused after {took:?}");
        assert!(took < 3 * TIMEOUT, "refused after {took:?}");
    }
    scene.until_held(0).await;
    scene
        .program
        .batch_execute("commit")
        .await
        .expect("its end");
    assert_eq!(scene.database.count("messages").await, 0);
}

#[tokio::test]
async fn what_waits_for_held_conversations_takes_no_more_than_its_bound_and_no_place_of_others() {
    const BOUND: usize = 10;
    let bound = BOUND.to_string();
    let settings = [
        ("WRITER_QUEUE", bound.as_str()),
        ("WRITE_TIMEOUT_SECONDS", "60"),
    ];
    let mut scene = Scene::set(BOUND as i32, &settings).await;
    scene.until_held(BOUND).await;
    for conversation in scene.conversations.clone() {
        let reply = scene
            .api
            .send_once(
                conversation,
                ALICE,
                "one more",
                &conversation.simple().to_string(),
            )
            .await;
        let reason = reply.refused(503, "unavailable");
        assert!(reason.contains("too many messages wait"), "{reason}");
    }
    let api = scene.api.clone();
    let refused = api.metric("pgchat_writer_refused_total").await;
    assert_eq!(refused, BOUND as f64);
    let free = scene.database.conversation(ALICE, DAVID).await;
    for number in 0..3 * BOUND {
        api.send(free, DAVID, &number.to_string()).await;
    }
    assert!(
        scene.sends.try_join_next().is_none(),
        "the locks are held still"
    );
    scene
        .program
        .batch_execute("commit")
        .await
        .expect("its end");
    for _ in 0..BOUND {
        scene.next().await.1.ok(201);
    }
}
