//! The tables as an interface: what other programs write is as good as what came through the service.

mod advised_against;
mod alone;
mod beside;
mod changes;
mod conversations;
mod dropped;
mod examples;
mod generated;
mod hosts;
mod imported;
mod inserts;
mod interface;
mod marks;
mod meddling;
mod nested;
mod opening;
mod outright;
mod packing;
mod reading;
mod refusals;
mod refused;
mod surroundings;

use serde_json::Value;
use uuid::Uuid;

use crate::support::*;

/// Alice and Boris, each with a socket on a replica of their own.
pub struct Scene {
    database: Database,
    pub replicas: [Replica; 2],
    pub conversation: Uuid,
    pub sockets: [Socket; 2],
}

impl Scene {
    pub async fn set() -> Self {
        let database = Database::fresh().await;
        let conversation = database.conversation(ALICE, BORIS).await;
        let replicas: [Replica; 2] = Replica::start_many(&database, &[UNHURRIED_SEARCH]).await;
        let sockets = [
            Socket::connect(&replicas[0], ALICE).await,
            Socket::connect(&replicas[1], BORIS).await,
        ];
        Self {
            database,
            replicas,
            conversation,
            sockets,
        }
    }

    fn api(&self) -> Api {
        self.replicas[0].api()
    }

    /// `INSERT` with no more than the three columns that it needs.
    fn insert(&self, sender: Uuid, content: &str) -> String {
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{}', '{sender}', '{content}')",
            self.conversation
        )
    }

    /// Has a trigger of the host's run this at the event.
    async fn with_trigger(&self, event: &str, body: &str) {
        self.database
            .execute(&format!(
                "create function meddle() returns trigger language plpgsql security definer as $$ begin {body} end $$;
                 create trigger meddle {event} for each row execute function meddle()"
            ))
            .await;
    }

    /// The next frame of this type, which is the same on both sockets.
    async fn expect(&mut self, kind: &str) -> Value {
        let [alice, boris] = &mut self.sockets;
        let frame = alice.expect(kind).await;
        assert_eq!(boris.expect(kind).await["data"], frame["data"]);
        frame
    }

    /// What has arrived since what was asked for last, in order: the same on both sockets.
    async fn told_since(&mut self) -> Vec<Value> {
        self.api().send(self.conversation, ALICE, "the end").await;
        let [alice, boris] = &mut self.sockets;
        let frames = alice.before_message("the end").await;
        let data = |frames: &[Value]| {
            frames
                .iter()
                .map(|frame| frame["data"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(data(&boris.before_message("the end").await), data(&frames));
        frames
    }

    /// Nothing but what was asked for has arrived.
    async fn assert_silence(&mut self) {
        self.api().send(self.conversation, ALICE, "the end").await;
        for socket in &mut self.sockets {
            assert_eq!(socket.before_message("the end").await, Vec::<Value>::new());
        }
    }

    /// SQL that must fail with this SQLSTATE; the answer is the error's text.
    async fn refused(&self, sqlstate: &str, sql: &str) -> String {
        let Err(fault) = self.database.sql().await.batch_execute(sql).await else {
            panic!("not refused: {sql}");
        };
        let fault = fault.as_db_error().expect("an error of SQL");
        assert_eq!(fault.code().code(), sqlstate, "{fault}\n{sql}");
        fault.to_string()
    }
}
