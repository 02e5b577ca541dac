//! The way back to the present, which `resync_required` asks for.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{Session, SessionEnd};
use crate::api::{Miss, Page};
use crate::client::Online;
use crate::model::{ClientIx, ConnectionNo};
use crate::world::World;

/// Messages of one page.
const PAGE: u32 = 100;

impl Session<'_> {
    pub(super) fn resync(&mut self) {
        self.world().checker().resync_required(self.number);
        self.held_cursor = Some(None);
        self.online = None;
        let reload = reload(self.client.world.clone(), self.client.ix, self.number);
        self.reload = Some(AbortOnDropHandle::new(tokio::spawn(reload)));
    }

    pub(super) fn reloaded(&mut self) -> Option<SessionEnd> {
        self.reload = None;
        let now = self.world().clock.now();
        self.world().checker().reload_complete(self.number, now);
        if let Some(Some(cursor)) = self.held_cursor.take() {
            self.client.cursor = Some(cursor);
        }
        self.online = Some(Online::new(&self.client.world));
        None
    }
}

/// Reads over HTTP all that this client has not seen as it is, however often it has to be tried.
async fn reload(world: Arc<World>, client: ClientIx, connection: ConnectionNo) {
    for ix in &world.clients[usize::from(client)].conversations {
        let id = world.conversations[usize::from(*ix)].id;
        let mut after = world.checker().reload_from(connection, *ix);
        loop {
            match world.api.messages(id, Page::After(after), PAGE).await {
                Ok(page) => {
                    let now = world.clock.now();
                    for view in &page.messages {
                        world.checker().reloaded(connection, view, now);
                        after = after.max(u32::try_from(view.seq).unwrap_or(after));
                    }
                    if !page.has_more || page.messages.is_empty() {
                        break;
                    }
                }
                Err(Miss::Retry(note)) => {
                    world.count(&format!("reload: {note}"));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(Miss::Refused(text)) => {
                    world.refused(client, None, format!("reload: {text}"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}
