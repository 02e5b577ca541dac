//! One replica whose listener goes through a proxy, so that a test can cut it off from the database and let it come back.

use tokio_postgres::Client;
use uuid::Uuid;

use super::*;

pub struct CutOff {
    pub database: Database,
    pub proxy: Proxy,
    pub replica: Replica,
    /// Of Alice and Boris, with one message.
    pub conversation: Uuid,
    /// A socket that has seen that message.
    pub boris: Socket,
}

impl CutOff {
    /// Everything is set, and the listener still live. `more` are settings of the replica.
    pub async fn set(more: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let proxy = Proxy::before(&database).await;
        let settings = quick(&[&proxy.for_listener()[..], more].concat());
        let replica = Replica::start(&database, &settings).await;
        let conversation = replica.api().open_conversation(ALICE, BORIS).await;
        let mut boris = Socket::connect(&replica, BORIS).await;
        replica.api().send(conversation, ALICE, "before").await;
        boris.before_message("before").await;
        Self {
            database,
            proxy,
            replica,
            conversation,
            boris,
        }
    }

    /// The listener loses its connection, and gets no other.
    pub async fn cut(&self) {
        self.proxy.refuse();
        kill_listeners(&self.database).await;
        until_status(&self.replica, "/health", 503).await;
    }

    /// From now on a catch-up stops when it listens, before it has read anything, until what is returned commits; then it finds that
    /// there is `too_much`, or not.
    pub async fn gate_catch_ups(&self, too_much: bool) -> Client {
        let gate = format!(
            "create table host_gate ();
             create or replace function chat_changes_exceed(horizon xid8, before pg_snapshot, most bigint) returns boolean
             language plpgsql volatile security definer set search_path from current as $$
             begin
               lock table host_gate in row exclusive mode;
               return {too_much};
             end $$"
        );
        self.database.execute_as_owner(&gate).await;
        let lock = "lock table host_gate in access exclusive mode";
        self.database.holding(lock).await
    }

    /// The listener may connect again, and is live.
    pub async fn comes_back(&self) {
        self.proxy.accept();
        until_healthy(&self.replica).await;
    }

    /// Alice sends a message.
    pub async fn send(&self, content: &str) {
        let api = self.replica.api();
        api.send(self.conversation, ALICE, content).await;
    }

    /// Boris is told to reload, before anything else.
    pub async fn assert_reloads(&mut self) {
        let resync = self.boris.next().await;
        assert_eq!(resync["type"], "resync_required", "{resync}");
    }

    /// Everything that Boris is told before a message that is sent now, by the `seq` of each; there is nothing but messages of the
    /// conversation.
    pub async fn told_until_now(&mut self) -> Vec<i64> {
        self.send("last").await;
        let frames = self.boris.before_message("last").await;
        let seqs = super::ledger::seqs(&frames, self.conversation);
        assert_eq!(frames.len(), seqs.len(), "{frames:?}");
        seqs
    }
}
