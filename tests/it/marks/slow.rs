//! Whose mark has taken long is made alone for a while.

use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::{Crowd, insert};
use crate::support::*;

const SLOW: usize = 0;

impl Crowd {
    /// A trigger of the host's takes two seconds for what this reader marks.
    async fn takes_two_seconds(&self, reader: usize) {
        let (conversation, _) = self.readers[reader];
        self.database
            .execute(&format!(
                "create function dawdle() returns trigger language plpgsql as $$
                 begin
                   perform pg_sleep(2);
                   return new;
                 end $$;
                 create trigger dawdle before update on messages for each row
                   when (new.conversation_id = '{conversation}') execute function dawdle()"
            ))
            .await;
    }

    /// Something to mark for each of them.
    async fn write_to_all(&self) {
        for (conversation, _) in &self.readers {
            insert(&self.database, *conversation, 1).await;
        }
    }

    async fn mark(&self, reader: usize) {
        let (conversation, reader) = self.readers[reader];
        let api = self.replica.api();
        let reply = within("an answer", api.mark_read(conversation, reader)).await;
        reply.ok(200);
    }

    /// While somebody else's mark is being made: those of all but the slow one, and then theirs, which takes as long as the test wants. The
    /// others are answered, and not all of them with it.
    async fn all_but_the_slow_one_are_answered(&self, of_another: (Uuid, Uuid)) {
        let (conversation, reader) = self.readers[SLOW];
        let gate = format!("insert into gates values ('{conversation}', '%', 8)");
        self.database.execute(&gate).await;
        let gate = "select pg_advisory_xact_lock(8)";
        let gate = self.database.holding(gate).await;
        let api = self.replica.api();
        let mark = async move { api.mark_read(of_another.0, of_another.1).await };
        let of_another = tokio::spawn(mark);
        until_lock_waiters(&self.database, 1).await;
        let batched = self.batched().await;
        let mut others = JoinSet::new();
        for (conversation, reader) in self.readers[SLOW + 1..].iter().copied() {
            let api = self.replica.api();
            others.spawn(async move { api.mark_read(conversation, reader).await });
        }
        // A group that comes to be waits for its turn, and counts there.
        self.until_in_line(others.len() + 1).await;
        let api = self.replica.api();
        let slow = tokio::spawn(async move { api.mark_read(conversation, reader).await });
        self.until_in_line(others.len() + 2).await;
        let open = "select pg_advisory_unlock(7)";
        self.gate.batch_execute(open).await.expect("open");
        let reply = within("an answer", of_another).await.expect("an answer");
        assert_eq!(reply.ok(200)["markedCount"], 1);
        let count = others.len() as f64;
        while let Some(reply) = within("an answer", others.join_next()).await {
            reply.expect("an answer").ok(200);
        }
        let batched = self.batched().await - batched;
        assert!(batched <= count, "{batched} of {count}, with the slow one");
        assert!(!slow.is_finished());
        gate.batch_execute("commit").await.expect("its end");
        let reply = within("an answer", slow).await.expect("an answer");
        assert_eq!(reply.ok(200)["markedCount"], 1);
    }

    async fn batched(&self) -> f64 {
        let figure = "pgchat_marks_batched_total";
        self.replica.api().metric(figure).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_mark_has_taken_long_by_itself_delays_no_others_with_the_next() {
    let crowd = Crowd::of(6).await;
    crowd.takes_two_seconds(SLOW).await;
    let (_, reader) = crowd.readers[SLOW];
    crowd.mark(SLOW).await;
    assert_eq!(crowd.replica.api().unread_count(reader).await, 0);
    crowd.write_to_all().await;
    let of_another = (crowd.davids, DAVID);
    crowd.all_but_the_slow_one_are_answered(of_another).await;
}

/// It ends in time, and nobody knows by whom it was slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_mark_has_made_a_group_slow_delays_no_others_with_the_next() {
    let mut crowd = Crowd::of(6).await;
    // What is usual.
    crowd.replica.api().mark_read(crowd.davids, ALICE).await;
    crowd.takes_two_seconds(SLOW).await;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(6).await;
    crowd.go_on().await;
    while let Some(reply) = within("an answer", marks.join_next()).await {
        let (number, reply) = reply.expect("an answer");
        crowd.assert_is_marked(number, &reply);
    }
    assert_eq!(crowd.transactions().await, 1);
    crowd.write_to_all().await;
    // The others are found not to be slow.
    for reader in SLOW + 1..6 {
        crowd.mark(reader).await;
    }
    for (conversation, _) in &crowd.readers[SLOW + 1..] {
        insert(&crowd.database, *conversation, 1).await;
    }
    // David's mark may have taken long, too.
    crowd
        .database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content) values ('{}', '{DAVID}', 'hello')",
            crowd.davids
        ))
        .await;
    crowd
        .gate
        .batch_execute("select pg_advisory_lock(7)")
        .await
        .expect("shut");
    let of_another = (crowd.davids, ALICE);
    crowd.all_but_the_slow_one_are_answered(of_another).await;
}

/// A read of somebody else's that has the only connection for requests, from when there is one until the test lets it go on.
struct Read {
    gate: Gate,
    asked: JoinHandle<Reply>,
}

impl Read {
    async fn begin(crowd: &Crowd) -> Self {
        let function = Function {
            name: "chat_unread_count",
            types: "uuid",
            returns: "table (unread_messages bigint, unread_conversations bigint)",
            call: "return query select * from chat_unread_count_at_once($1)",
        };
        let gate = Gate::before(&crowd.database, function, "true").await;
        let api = crowd.replica.api();
        let path = format!("/api/v1/chat/users/{CARLA}/unread-count");
        let asked = tokio::spawn(async move { api.get(&path).await });
        Self { gate, asked }
    }

    /// Once what waits for the connection has done so for longer than a mark takes that is not slow.
    async fn end_after_long(self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.gate.open().await;
        let reply = within("an answer", self.asked).await.expect("an answer");
        reply.ok(200);
    }
}

const ONE_CONNECTION: [(&str, &str); 1] = [("DB_POOL_SIZE", "3")];

impl Crowd {
    async fn until_one_waits_for_a_connection(&self) {
        let figure = "pgchat_pool_waiting{pool=\"requests\"}";
        until_metric(&self.replica, figure, 1.0).await;
    }

    /// The next marks of all of them wait for each other, and are made.
    async fn all_mark_together(&mut self) {
        self.write_to_all().await;
        self.shut_again().await;
        self.begin().await;
        let mut marks = self.all_mark();
        self.until_waiting(self.readers.len()).await;
        self.go_on().await;
        while let Some(reply) = within("an answer", marks.join_next()).await {
            reply.expect("an answer").1.ok(200);
        }
    }
}

/// It is what has the connections that is slow, and not who waits for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_marks_have_waited_long_for_a_connection_are_not_made_alone_for_that() {
    let mut crowd = Crowd::with(6, &ONE_CONNECTION).await;
    // What is usual.
    crowd.replica.api().mark_read(crowd.davids, ALICE).await;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(6).await;
    // It has the connection before they have.
    let read = Read::begin(&crowd).await;
    crowd.until_one_waits_for_a_connection().await;
    crowd.go_on().await;
    crowd.until_waiting(0).await;
    crowd.until_one_waits_for_a_connection().await;
    read.end_after_long().await;
    while let Some(reply) = within("an answer", marks.join_next()).await {
        let (number, reply) = reply.expect("an answer");
        crowd.assert_is_marked(number, &reply);
    }
    assert_eq!(crowd.transactions().await, 1);
    crowd.all_mark_together().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_mark_has_waited_long_for_a_connection_is_not_made_alone_for_that() {
    let mut crowd = Crowd::with(1, &ONE_CONNECTION).await;
    let read = Read::begin(&crowd).await;
    until_lock_waiters(&crowd.database, 1).await;
    let mut marks = crowd.all_mark();
    crowd.until_one_waits_for_a_connection().await;
    read.end_after_long().await;
    let marked = within("an answer", marks.join_next()).await.expect("one");
    marked.expect("an answer").1.ok(200);
    crowd.all_mark_together().await;
}
