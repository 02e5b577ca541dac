//! How many files the process may have open, each connection being one. A shell, systemd or a container often starts programs with a soft
//! limit of 1,024 below a high hard one, for the sake of programs that use `select(2)`; a program that needs more raises it.

use std::num::NonZeroUsize;

use log::Level;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use crate::config::Limits;

/// Beside the connections of callers and of the pools: the listener's, the search index's, key files, the runtime's own.
const BESIDE: usize = 100;

/// What macOS always allows, however high its hard limit pretends to be.
const OPEN_MAX: rlim_t = 10_240;

/// That there are fewer connections than `limits` said, for the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Shortage {
    /// A warning where somebody has changed the limits. Their defaults are high enough for most, and a hard limit below them is common.
    pub level: Level,
    pub text: String,
}

/// Raises the soft limit to what `limits` and the pools need. Where the hard limit does not allow it, `limits` are lowered to
/// what it allows, and what is returned says so: a caller beyond a limit gets a 503, and one for whom there is no file gets
/// nothing at all, nor does a probe, or the listener when its connection breaks.
pub fn make_room(limits: &mut Limits, pool_size: usize) -> Option<Shortage> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let beside = pool_size + BESIDE;
    let needed = limits.connections.map_or(hard, |sockets| {
        rlim_t::try_from(sockets.get() + limits.http_connections + beside).unwrap_or(hard)
    });
    let raise = |files| setrlimit(Resource::RLIMIT_NOFILE, files, hard).is_ok();
    let allowed = raised(soft, hard, needed, raise);
    let sockets = limits.connections.filter(|_| allowed < needed)?;
    let files = usize::try_from(allowed).unwrap_or(usize::MAX);
    let room = files.saturating_sub(beside);
    let (sockets, requests) = lowered(sockets, limits.http_connections, room);
    (limits.connections, limits.http_connections) = (Some(sockets), requests);
    Some(Shortage {
        level: match limits.connections_are_chosen {
            true => Level::Warn,
            false => Level::Info,
        },
        text: format!(
            "the process may open {allowed} files, and MAX_CONNECTIONS and MAX_HTTP_CONNECTIONS need {needed}: they are {sockets} and {requests} \
             until its hard limit is raised (LimitNOFILE= of systemd, ulimits of a container) or they are lowered"
        ),
    })
}

/// How many files may be open once `raise` was asked for what is needed. It may refuse even what the hard limit allows: Linux, where
/// that is above `fs.nr_open`; macOS, where it is above [`OPEN_MAX`].
fn raised(soft: rlim_t, hard: rlim_t, needed: rlim_t, raise: impl Fn(rlim_t) -> bool) -> rlim_t {
    [needed.min(hard), OPEN_MAX.min(hard)]
        .into_iter()
        .find(|files| soft >= *files || raise(*files))
        .map_or(soft, |files| files.max(soft))
}

/// Connections for sockets and for requests, `room` of them in all: a quarter for requests at most, the rest for sockets.
fn lowered(sockets: NonZeroUsize, requests: usize, room: usize) -> (NonZeroUsize, usize) {
    let requests = requests.min(room / 4).max(1);
    let rest = NonZeroUsize::new(room.saturating_sub(requests)).unwrap_or(NonZeroUsize::MIN);
    (sockets.min(rest), requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_there_are_go_to_sockets_and_a_quarter_at_most_to_requests() {
        let set = NonZeroUsize::new(2_000).expect("some");
        let lowered = |room| {
            let (sockets, requests) = lowered(set, 500, room);
            (sockets.get(), requests)
        };
        assert_eq!(lowered(2_400), (1_900, 500));
        assert_eq!(lowered(900), (675, 225));
        assert_eq!(lowered(0), (1, 1));
    }

    #[test]
    fn where_no_limit_can_be_set_it_is_what_it_was() {
        let (granted, refused) = (|_| true, |_| false);
        assert_eq!(raised(1_024, 4_096, 2_000, granted), 2_000);
        assert_eq!(raised(1_024, 4_096, 9_000, granted), 4_096);
        assert_eq!(raised(9_999, rlim_t::MAX, 2_000, refused), 9_999);
        // Linux with a hard limit above fs.nr_open takes none at all.
        assert_eq!(raised(1_024, rlim_t::MAX, 101_108, refused), 1_024);
        assert_eq!(raised(20_000, rlim_t::MAX, 101_108, refused), 20_000);
        // macOS, whose hard limit may be anything.
        let of_macos = |files| files <= OPEN_MAX;
        assert_eq!(raised(256, rlim_t::MAX, 101_108, of_macos), OPEN_MAX);
        assert_eq!(raised(256, rlim_t::MAX, 5_000, of_macos), 5_000);
    }
}
