//! What PostgreSQL says unasked: notifications as another program hears them, and notices.

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::database::Database;
use super::wait::within;

/// Of one channel, as long as the value lives.
pub struct Notifications {
    payloads: UnboundedReceiver<String>,
    _client: Client,
}

impl Notifications {
    pub async fn next(&mut self) -> String {
        within("a notification", self.payloads.recv())
            .await
            .expect("the listening connection lives")
    }

    /// The next payload that speaks of this row.
    pub async fn about(&mut self, id: &str) -> String {
        loop {
            let payload = self.next().await;
            if payload.contains(id) {
                return payload;
            }
        }
    }

    /// All that come before the next one that holds this text.
    pub async fn before(&mut self, text: &str) -> Vec<String> {
        let mut payloads = Vec::new();
        loop {
            match self.next().await {
                payload if payload.contains(text) => return payloads,
                payload => payloads.push(payload),
            }
        }
    }
}

impl Database {
    pub async fn listen(&self, channel: &str) -> Notifications {
        let (client, payloads) = self
            .connect_and_hear(|message| match message {
                AsyncMessage::Notification(notification) => Some(notification.payload().to_owned()),
                _ => None,
            })
            .await;
        let listen = format!("listen {channel}");
        client.batch_execute(&listen).await.expect("listen");
        Notifications {
            payloads,
            _client: client,
        }
    }

    /// A connection as the superuser, and the notices that come over it.
    pub async fn sql_with_notices(&self) -> (Client, UnboundedReceiver<String>) {
        self.connect_and_hear(|message| match message {
            AsyncMessage::Notice(notice) => Some(notice.message().to_owned()),
            _ => None,
        })
        .await
    }

    /// Executes a statement, and what it executes in functions, as `auto_explain` logs it; what it changes is rolled back.
    pub async fn plans(&self, sql: &str) -> Vec<String> {
        let (client, mut notices) = self.sql_with_notices().await;
        client
            .batch_execute(
                "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;
                 set auto_explain.log_buffers = on; set auto_explain.log_timing = off;
                 set auto_explain.log_nested_statements = on; set client_min_messages = log; begin",
            )
            .await
            .expect("settings");
        client.batch_execute(sql).await.expect("the statement");
        client.batch_execute("rollback").await.expect("rolled back");
        drop(client);
        let mut plans = Vec::new();
        while let Some(plan) = within("the connection ends", notices.recv()).await {
            plans.push(plan);
        }
        plans
    }

    async fn connect_and_hear(
        &self,
        wanted: fn(AsyncMessage) -> Option<String>,
    ) -> (Client, UnboundedReceiver<String>) {
        let (client, mut connection) = self
            .cluster
            .address(&self.name, "postgres")
            .connect(NoTls)
            .await
            .expect("a connection");
        let (sender, heard) = unbounded_channel();
        tokio::spawn(async move {
            let mut messages = poll_fn(|context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let Some(text) = wanted(message) {
                    // Whoever asked may have heard enough, and the connection is still in use.
                    let _ = sender.send(text);
                }
            }
        });
        (client, heard)
    }
}
