//! How long the others wait while somebody attacks, beside the same replica's quiet time in the same round: `make attack`. The
//! attackers are a process of their own that runs while nobody else wants a processor, as if they had machines of their own:
//! at `nice` 19 they would still keep it for some milliseconds when somebody else is woken.
//!
//! What else the machine does falls into some round or other, so an attack is measured in [`ROUNDS`] rounds, quiet and attacked in
//! turn, and what counts is the median of the rounds' ratios.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::attacking::attackers_of;
use super::bounds::BOUNDS;
use super::figures::{MOST, Measured, Round, Times, Waits};
use crate::support::*;

/// One attack's name: only that one is measured, and the document stays as it is.
const ONLY: &str = "ATTACK_ONLY";

/// Each is as long quiet as attacked. An odd number, so that there is a middle one.
const ROUNDS: usize = 5;

/// The others: each writes to their neighbour on a socket.
const PAIRS: [(Uuid, Uuid); 4] = [
    (BORIS, CARLA),
    (ELENA, FELIX),
    (GRETA, HENRI),
    (JONAS, KATIA),
];

/// Between two messages of a pair, on average: 25 a second.
const PACE: Duration = Duration::from_millis(40);

pub struct Attack {
    pub name: &'static str,
    pub what: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// Somebody writes to the attacker meanwhile.
    is_written_to: bool,
    /// What it may cost of memory.
    pub most_mib: u64,
}

const ATTACKS: [Attack; 8] = [
    Attack {
        name: "slow_heads",
        what: "2,000 connections with a request's head that never ends, a byte a second, opened again when they are cut off",
        settings: &[],
        is_written_to: false,
        most_mib: 64,
    },
    Attack {
        name: "handshakes",
        what: "500 clients that ask for WebSockets without a pause, for a user who has as many as allowed, and for nobody",
        settings: &[],
        is_written_to: false,
        most_mib: 32,
    },
    Attack {
        name: "frames",
        what: "20 sockets of one user that send short messages, pings, typing and frames that are no command, without a pause",
        settings: &[],
        is_written_to: false,
        most_mib: 48,
    },
    Attack {
        name: "long_messages",
        what: "20 sockets of one user that send messages of 64 KiB without a pause",
        settings: &[],
        is_written_to: false,
        most_mib: 96,
    },
    Attack {
        name: "changes",
        what: "20 sockets of one user that edit messages, to 64 KiB each time, delete some, and mark others as read, without a pause",
        settings: &[],
        is_written_to: true,
        most_mib: 96,
    },
    Attack {
        name: "attempts",
        what: "one user who opens 1,000 sockets, where 20 are allowed, and is sent 20 messages a second",
        settings: &[],
        is_written_to: true,
        most_mib: 32,
    },
    Attack {
        name: "sockets",
        what: "one user with 1,000 sockets, where 1,000 are allowed, who is sent 20 messages a second: 20,000 frames",
        settings: &[("MAX_CONNECTIONS_PER_USER", "1000")],
        is_written_to: true,
        most_mib: 48,
    },
    Attack {
        name: "replays",
        what: "20 sockets of one user, who is sent 20 messages a second, that come back with an old cursor and go again, without a pause",
        settings: &[],
        is_written_to: true,
        most_mib: 48,
    },
];

/// What the replica had to do, since its start.
struct Work {
    handshakes: f64,
    received: f64,
    sent: f64,
    processor: Duration,
}

impl Work {
    async fn of(replica: &Replica) -> Self {
        let figures = replica.api().get("/metrics").await.text;
        let sum = |name: &str, label: &str| -> f64 {
            figures
                .lines()
                .filter(|line| line.starts_with(name) && line.contains(label))
                .filter_map(|line| line.rsplit_once(' '))
                .map(|(_, value)| value.parse::<f64>().expect("a number"))
                .sum()
        };
        Self {
            handshakes: sum(
                "pgchat_http_request_duration_seconds_count",
                r#"route="/ws""#,
            ),
            received: sum("pgchat_frames_total", r#"direction="received""#),
            sent: sum("pgchat_frames_total", r#"direction="sent""#),
            processor: replica.processor_time(),
        }
    }

    /// What it did in so long a time since `before`, in words.
    fn since(&self, before: &Self, took: Duration) -> String {
        let per_second = |now: f64, then: f64| (now - then) / took.as_secs_f64();
        let processor = self.processor.saturating_sub(before.processor);
        let handshakes = per_second(self.handshakes, before.handshakes).round();
        let plural = if handshakes == 1.0 { "" } else { "s" };
        format!(
            "{handshakes} handshake{plural}, {:.0} frames received and {:.0} sent a second, with {:.2} cores of the processor",
            per_second(self.received, before.received),
            per_second(self.sent, before.sent),
            processor.as_secs_f64() / took.as_secs_f64(),
        )
    }
}

/// What all pairs together waited.
async fn others(replica: &Replica, conversations: &[Uuid], lasting: Duration) -> Waits {
    let pairs = PAIRS.iter().zip(conversations);
    let pairs = pairs.map(|(&pair, &conversation)| one_pair(replica, pair, conversation, lasting));
    let (mut messages, mut pages) = (Vec::new(), Vec::new());
    for [more_messages, more_pages] in join_all(pairs).await {
        messages.extend(more_messages);
        pages.extend(more_pages);
    }
    [Times::of(messages), Times::of(pages)]
}

/// People do not take turns: the time between two of their messages is distributed exponentially, so that what happens at
/// random moments meets with what else does, quiet or attacked.
fn next_gap() -> Duration {
    PACE.mul_f64(-(1.0 - rand::random::<f64>()).ln())
}

/// From a message's sending to its arrival, and a page of history on a connection of its own.
async fn one_pair(
    replica: &Replica,
    (writer, reader): (Uuid, Uuid),
    conversation: Uuid,
    lasting: Duration,
) -> [Vec<f64>; 2] {
    let mut writer = Socket::connect(replica, writer).await;
    let mut reader = Socket::connect(replica, reader).await;
    let (mut messages, mut pages) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut due = started;
    let millis = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
    while started.elapsed() < lasting {
        due += next_gap();
        // The pace of the measurement.
        tokio::time::sleep_until(due.into()).await;
        let sent = Instant::now();
        let data = json!({"conversationId": conversation, "content": "are you there?"});
        let request = writer.request("send_message", data).await;
        reader.expect("chat_message").await;
        messages.push(millis(sent));
        assert_eq!(writer.answer(&request).await["type"], "ack");
        writer.arrived();
        let asked = Instant::now();
        let api = replica.api();
        api.messages(conversation, "limit=1").await.ok(200);
        pages.push(millis(asked));
    }
    [messages, pages]
}

async fn measured(attack: &'static Attack, lasting: Duration) -> Measured {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, attack.settings).await;
    let mut theirs = Vec::new();
    for (writer, reader) in PAIRS {
        theirs.push(database.conversation(writer, reader).await);
    }
    let attacked = database.conversation(ALICE, DAVID).await;
    // What is only slow once is neither quiet nor attacked.
    others(&replica, &theirs, Duration::from_secs(3)).await;
    let memory = replica.resident_kib().unwrap_or(0);
    let files = replica.open_files();
    let mut measured = Measured {
        attack,
        rounds: Vec::new(),
        quiet_work: String::new(),
        attacked_work: String::new(),
        grown_kib: 0,
        connections: 0,
        gave_up: Vec::new(),
    };
    for round in 0..ROUNDS {
        let (before, started) = (Work::of(&replica).await, Instant::now());
        let quiet = others(&replica, &theirs, lasting).await;
        measured.quiet_work = Work::of(&replica).await.since(&before, started.elapsed());

        let at = (&database, &replica);
        let mut attackers = attackers_of(attack.name, at, attacked, round).await;
        let sending = async {
            let mut david = tokio::time::interval(Duration::from_millis(50));
            loop {
                david.tick().await;
                replica
                    .api()
                    .try_send(attacked, DAVID, "to all of them")
                    .await;
            }
        };
        let (before, started) = (Work::of(&replica).await, Instant::now());
        let attacked = tokio::select! {
            times = others(&replica, &theirs, lasting) => times,
            () = sending, if attack.is_written_to => unreachable!("it has no end"),
        };
        measured.attacked_work = Work::of(&replica).await.since(&before, started.elapsed());
        measured.connections = replica.open_files();
        let grown = replica.resident_kib().unwrap_or(0).saturating_sub(memory);
        measured.grown_kib = measured.grown_kib.max(grown);
        if let Some(status) = attackers.ended() {
            measured
                .gave_up
                .push(format!("{}: the attackers ended: {status}", attack.name));
        }
        drop(attackers);
        eventually("the attackers' connections are gone", || async {
            (replica.open_files() <= files + 10).then_some(())
        })
        .await;
        measured.rounds.push(Round { quiet, attacked });
    }
    measured
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes, and writes docs/attacks.md"]
async fn report() {
    let seconds = std::env::var("ATTACK_SECONDS").map_or(10, |text| text.parse().expect("seconds"));
    // What else the machine does meets both, and makes both longer.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let only = std::env::var(ONLY).ok();
    let wanted = |attack: &&Attack| only.as_ref().is_none_or(|only| only == attack.name);
    let (mut tables, mut faults) = (String::new(), Vec::new());
    for attack in ATTACKS.iter().filter(wanted) {
        let measured = measured(attack, Duration::from_secs(seconds)).await;
        tables.push_str(&measured.table().expect("a string"));
        faults.extend(measured.faults());
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let verdict = match faults.is_empty() {
        true => format!(
            "**Nothing is more than {MOST} times its quiet figure, and memory stays within its bounds.**"
        ),
        false => format!(
            "**More than {MOST} times the quiet figure, or than the memory's bound: {}.**",
            faults.join("; ")
        ),
    };
    let pairs = PAIRS.len();
    let text = format!(
        "# Under attack\n\n\
         Made by `make attack`; do not edit.\n\n\
         {verdict}\n\n\
         One replica with the default settings (unless stated otherwise), its PostgreSQL, {pairs} pairs of users who write to each \
         other {} times a second, at random moments, and the attackers share a machine of {cores} cores. The attackers are a process of the \
         scheduler's class SCHED_IDLE with small send buffers: they yield the processor to the service, but the work that they cause in the service, PostgreSQL and the kernel is \
         in the figures. A {} build; the machine's load before was {load}.\n\n\
         Each attack is measured in {ROUNDS} rounds on a warmed-up replica: {seconds} s quiet, then {seconds} s attacked. \
         A figure is the median of the rounds. A ratio compares the two figures of one round: the table has the median of these ratios, and in \
         brackets the least and the greatest. \"message\" is the time from its sending on one socket to its arrival at another, through the database; \"page \
         of history\" is a request on a new connection. A p99 rests on a hundredth of the samples.\n{tables}\n{BOUNDS}",
        1000 / PACE.as_millis(),
        match cfg!(debug_assertions) {
            true => "dev",
            false => "release",
        }
    );
    print!("{text}");
    if cfg!(debug_assertions) || only.is_some() {
        return println!("Figures of a dev build, or of one attack, are not kept.");
    }
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks.md");
    std::fs::write(path, text).expect("docs/attacks.md");
}
