//! Read marks that come at the same moment: made together, and answered, refused and told of as if each had been alone.

mod drawn;
mod refused;
mod slow;
mod together;
mod waiting;

use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::*;

/// One change at a time, of the three connections for requests; and no test waits in vain.
const SETTINGS: [(&str, &str); 3] = [
    ("DB_POOL_SIZE", "5"),
    ("DB_TIMEOUT_SECONDS", "60"),
    ("RATE_LIMIT_PER_SECOND", "0"),
];

/// Alice has written to many, who read it at once: while David's mark is being made, which takes as long as the test wants.
struct Crowd {
    database: Database,
    replica: Replica,
    davids: Uuid,
    /// Their conversations with Alice, each with one to three unread messages.
    readers: Vec<(Uuid, Uuid)>,
    gate: Client,
    of_david: Option<JoinHandle<Reply>>,
}

impl Crowd {
    async fn of(readers: i32) -> Self {
        Self::with(readers, &[]).await
    }

    /// With these settings, too, which win.
    async fn with(readers: i32, more: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let davids = database.conversation(ALICE, DAVID).await;
        let readers = database.add_users(readers).await;
        let conversations = database.conversations(ALICE, &readers).await;
        let crowd: Vec<_> = conversations.into_iter().zip(readers).collect();
        insert(&database, davids, 1).await;
        for (number, (conversation, _)) in crowd.iter().enumerate() {
            insert(&database, *conversation, 1 + number % 3).await;
        }
        database
            .execute(&format!(
                "create table gates (conversation_id uuid, of_query text, key integer);
                 insert into gates values ('{davids}', '%', 7);
                 create function takes_long() returns trigger language plpgsql security definer set lock_timeout = '300s' as $$
                 begin
                   perform pg_advisory_xact_lock_shared(key) from gates
                     where conversation_id = new.conversation_id and current_query() like of_query;
                   return new;
                 end $$;
                 create trigger takes_long before update on messages for each row execute function takes_long()"
            ))
            .await;
        let gate = database.sql().await;
        let shut = "select pg_advisory_lock(7)";
        gate.batch_execute(shut).await.expect("shut");
        Self {
            replica: Replica::start(&database, &[&SETTINGS[..], more].concat()).await,
            database,
            davids,
            readers: crowd,
            gate,
            of_david: None,
        }
    }

    /// From now on marks wait for David's.
    async fn begin(&mut self) {
        let (api, conversation) = (self.replica.api(), self.davids);
        let mark = async move { api.mark_read(conversation, DAVID).await };
        self.of_david = Some(tokio::spawn(mark));
        until_lock_waiters(&self.database, 1).await;
    }

    /// For another time that David marks something.
    async fn shut_again(&self) {
        let shut = "select pg_advisory_unlock_all(); select pg_advisory_lock(7)";
        self.gate.batch_execute(shut).await.expect("shut");
        let unread = format!(
            "messages where conversation_id = '{}' and not is_read",
            self.davids
        );
        if self.database.count(&unread).await == 0 {
            insert(&self.database, self.davids, 1).await;
        }
    }

    async fn until_waiting(&self, count: usize) {
        until_metric(&self.replica, "pgchat_marks_waiting", count as f64).await;
    }

    /// Marks that wait for others, and turns that are waited for.
    async fn until_in_line(&self, count: usize) {
        let api = self.replica.api();
        eventually("they are in line", || async {
            let marks = api.metric("pgchat_marks_waiting").await;
            let turns = api.metric("pgchat_turns_waiting{kind=\"changes\"}").await;
            (marks + turns >= count as f64).then_some(())
        })
        .await;
    }

    /// David's mark is made, and with it the others can be.
    async fn go_on(&mut self) {
        let open = "select pg_advisory_unlock(7)";
        self.gate.batch_execute(open).await.expect("open");
        let of_david = self.of_david.take().expect("David's mark");
        let reply = within("an answer", of_david).await.expect("an answer");
        assert_eq!(reply.ok(200)["markedCount"], 1);
    }

    /// The mark of this reader, too, takes as long as the test wants, which holds what is returned; but not if it is made alone.
    async fn takes_long_with_others(&self, reader: usize) -> Client {
        let (conversation, _) = self.readers[reader];
        let gate = "insert into gates values ('$CONVERSATION', '%chat_mark_read_many%', 8)";
        let gate = gate.replace("$CONVERSATION", &conversation.to_string());
        self.database.execute(&gate).await;
        self.database
            .holding("select pg_advisory_xact_lock(8)")
            .await
    }

    /// All of them read all of theirs; their answers, once there are any.
    fn all_mark(&self) -> JoinSet<(usize, Reply)> {
        let mut marks = JoinSet::new();
        for (number, (conversation, reader)) in self.readers.iter().copied().enumerate() {
            let api = self.replica.api();
            marks.spawn(async move { (number, api.mark_read(conversation, reader).await) });
        }
        marks
    }

    /// In how many transactions what is read was marked, but for David's.
    async fn transactions(&self) -> i64 {
        let davids = self.davids;
        self.database
            .count(&format!(
                "(select distinct read_xid from messages where is_read and conversation_id <> '{davids}') t"
            ))
            .await
    }

    fn assert_is_marked(&self, number: usize, reply: &Reply) {
        let (conversation, reader) = self.readers[number];
        let count = 1 + number % 3;
        let expected = json!({
            "conversationId": conversation, "userId": reader, "markedCount": count, "readSeq": count
        });
        assert_eq!(reply.ok(200), expected);
    }
}

async fn insert(database: &Database, conversation: Uuid, messages: usize) {
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', 'number ' || n from generate_series(1, {messages}) n"
        ))
        .await;
}
