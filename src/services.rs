//! What the handlers of `http` and `ws` get: the pieces of a replica, and how they are put together.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use uuid::Uuid;

use crate::auth::{Auth, Keys};
use crate::config::Config;
use crate::health::Health;
use crate::hub::Hub;
use crate::lifecycle::Lifecycle;
use crate::limits::{MemoryBudget, Refusals, UserLimiter};
use crate::listener::{Listener, ListenerConfig, ListenerStatus};
use crate::live::{Live, PresenceTimes, TypingTimes};
use crate::metrics::{Metrics, Sources};
use crate::model::ReplicaId;
use crate::reads::Reads;
use crate::replay::{Replay, ReplayLimits};
use crate::store::{Connector, Store, UsersLink};
use crate::writer::{Writer, WriterLimits};

/// Pages, conversations and messages asked for by id, of more than 64 KiB, that clients have not taken yet: 16 of the largest pages, of one user two.
pub const ANSWERS_BYTES: usize = 64 * 1024 * 1024;

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
    /// How fast a user may send and edit, over HTTP and sockets. Nothing else takes of it: what is set is a rate of sends.
    pub send_limiter: UserLimiter,
    /// How fast a user may do what is no send but costs as much: open a conversation, mark, delete, search, ask for a ticket, bring a
    /// new token.
    pub other_limiter: UserLimiter,
    /// How often a user may say that they type, whom they watch (counted by the length of the list), or whether a socket is active.
    pub live_limiter: UserLimiter,
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

/// What is yet to be run of the services, as tasks that end with [`Lifecycle::stopping`].
pub(crate) struct Background<W> {
    pub listener: Listener,
    pub listening: ListenerStatus,
    /// Stores what [`Services::writer`] takes.
    pub writing: W,
}

impl Services {
    /// A replica of its own; nothing is connected, and nothing runs yet. `past_pooler` leads to the database of `store`, past a pooler.
    pub(crate) fn new(
        config: Config,
        keys: Keys,
        hub: Hub,
        store: Store,
        past_pooler: Connector,
        users: UsersLink,
        lifecycle: Lifecycle,
    ) -> (Self, Background<impl Future<Output = ()> + Send + 'static>) {
        let replica_id = ReplicaId(Uuid::new_v4());
        let live = Live::new(
            store.clone(),
            hub.clone(),
            replica_id,
            TypingTimes::from(&config),
            PresenceTimes::from(&config),
        );
        let (listener, listening) = Listener::new(
            ListenerConfig::new(&config, past_pooler, replica_id),
            store.clone(),
            hub.clone(),
            live.clone(),
        );
        let (writer, writing) = Writer::new(
            store.clone(),
            WriterLimits::from(&config),
            lifecycle.tasks.clone(),
            lifecycle.stopping.clone(),
        );
        let health = Health::new(store.clone(), listening.clone(), users, lifecycle.clone());
        let auth = Auth::new(&config.auth, keys, store.clone());
        let reads = Reads::new(store.clone(), config.limits.reads_per_user);
        let replay = Replay::new(store.clone(), hub.clone(), ReplayLimits::from(&config));
        let services = Self {
            metrics: Metrics::new(Sources {
                store: store.clone(),
                writer: writer.clone(),
                hub: hub.clone(),
                listener: listening.clone(),
                live: live.clone(),
                health: health.clone(),
                auth: auth.clone(),
                queue_usage: Gauge::default(),
            }),
            auth,
            send_limiter: UserLimiter::new(config.limits.rate),
            other_limiter: UserLimiter::new(config.limits.rate),
            live_limiter: UserLimiter::new(config.limits.rate),
            frame_limiter: UserLimiter::of_frames(config.limits.rate),
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
        };
        let background = Background {
            listener,
            listening,
            writing,
        };
        (services, background)
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
