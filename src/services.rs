//! What the handlers of `http` and `ws` get: the pieces of a replica, built once by `app`.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use crate::auth::{Auth, Keys};
use crate::config::Config;
use crate::health::Health;
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::limits::{MemoryBudget, Refusals, UserLimiter};
use crate::listener::ListenerStatus;
use crate::live::Live;
use crate::metrics::{Metrics, Sources};
use crate::model::ReplicaId;
use crate::reads::Reads;
use crate::replay::{Replay, ReplayLimits};
use crate::store::{Store, UsersLink};
use crate::writer::Writer;

/// Pages, conversations and messages asked for by id, of more than 64 KiB, that clients have not taken yet: 16 of the largest pages, of one user two.
const ANSWERS_BYTES: usize = 64 * 1024 * 1024;

/// Bodies and WebSocket messages of more than 64 KiB that have not arrived in full, or wait on their socket. At least eight of the largest, so that each user has
/// one.
const INCOMING_BYTES: usize = 64 * 1024 * 1024;

/// A handle on all of them; clones share them.
#[derive(Clone)]
pub struct Services {
    pub config: Arc<Config>,
    pub auth: Auth,
    pub replica_id: ReplicaId,
    pub store: Store,
    pub writer: Writer,
    pub hub: Hub,
    pub live: Live,
    pub replay: Replay,
    pub health: Health,
    pub metrics: Metrics,
    /// How fast a user may send, over HTTP and sockets.
    pub send_limiter: UserLimiter,
    /// How many frames a user's sockets may send.
    pub frame_limiter: UserLimiter,
    /// How fast handshakes are refused.
    pub refusals: Refusals,
    /// Turns of reads over HTTP.
    pub reads: Reads,
    /// For pages and objects that their clients have not taken yet.
    pub answers: MemoryBudget,
    /// For bodies and messages of sockets that have not arrived in full, or wait there.
    pub incoming: MemoryBudget,
    pub lifecycle: Lifecycle,
}

/// What has tasks or connections, of which the rest of the services is made.
pub(crate) struct Parts {
    pub replica_id: ReplicaId,
    pub store: Store,
    pub hub: Hub,
    pub live: Live,
    pub listener: ListenerStatus,
    pub writer: Writer,
    pub users: UsersLink,
}

impl Services {
    pub(crate) fn of(config: Config, keys: Keys, parts: Parts, lifecycle: Lifecycle) -> Self {
        let Parts {
            replica_id,
            store,
            hub,
            live,
            listener,
            writer,
            users,
        } = parts;
        let health = Health::new(store.clone(), listener.clone(), users, lifecycle.clone());
        let auth = Auth::new(&config.auth, keys, store.clone());
        let reads = Reads::new(store.clone(), &config);
        let replay = Replay::new(
            store.clone(),
            hub.clone(),
            listener.database(),
            ReplayLimits::from(&config),
        );
        Self {
            metrics: Metrics::new(Sources {
                store: store.clone(),
                writer: writer.clone(),
                hub: hub.clone(),
                listener,
                live: live.clone(),
                health: health.clone(),
                auth: auth.clone(),
                queue_usage: Gauge::default(),
            }),
            auth,
            send_limiter: UserLimiter::of_sends(&config),
            frame_limiter: UserLimiter::of_frames(&config),
            refusals: Refusals::new(config.limits.refused_handshakes),
            reads,
            answers: MemoryBudget::new(ANSWERS_BYTES),
            incoming: MemoryBudget::new(INCOMING_BYTES.max(8 * config.limits.body_bytes)),
            replay,
            health,
            config: Arc::new(config),
            replica_id,
            store,
            writer,
            hub,
            live,
            lifecycle,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::limits::Holder;
    use crate::model::UserId;
    use crate::testing;

    #[tokio::test]
    async fn eight_users_have_room_for_one_of_the_largest_bodies_each_whatever_is_the_largest() {
        for largest in ["1048576", "67108864"] {
            let vars = [("DB_HOST", "127.0.0.1"), ("MAX_BODY_BYTES", largest)];
            let config = Config::from_vars(&vars).unwrap();
            let bytes = config.limits.body_bytes;
            let services = testing::services_of(testing::hub(1), config);
            let taken: Vec<_> = (0..8)
                .map(|number| {
                    let user = Holder::User(UserId(Uuid::from_u128(number)));
                    services.incoming.reserve(user, bytes)
                })
                .collect();
            assert!(taken.iter().all(Option::is_some), "{largest}");
        }
    }
}
