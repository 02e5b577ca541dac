//! How long the others wait while somebody attacks, beside the same replica's quiet time just before: `make attack`. The
//! attackers are a process of their own with the least right to the processor, as they would be on machines of their own.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::attackers;
use crate::support::*;

/// What the attackers' process is told.
const ATTACK: &str = "PGCHAT_TEST_ATTACK";

/// One attack's name: only that one is measured, and the document stays as it is.
const ONLY: &str = "ATTACK_ONLY";

/// Between two messages of the others: 25 a second.
const PACE: Duration = Duration::from_millis(40);

/// What the attackers may take to open all their connections.
const BEGINNING: Duration = Duration::from_secs(120);

/// The file that the attackers make once they are at it.
const AT_IT: &str = "at-it";

struct Attack {
    name: &'static str,
    what: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// What it may cost of memory.
    most_mib: u64,
}

/// What the others' times may grow to, and what is looked at of them.
const MOST: f64 = 2.0;
const SHARES: [(&str, f64); 3] = [("median", 0.5), ("p95", 0.95), ("p99", 0.99)];

const ATTACKS: [Attack; 5] = [
    Attack {
        name: "slow_heads",
        what: "2,000 connections with a request's head that never ends, a byte a second, opened again when they are cut off",
        settings: &[],
        most_mib: 64,
    },
    Attack {
        name: "handshakes",
        what: "500 clients that ask for WebSockets without a pause, for a user who has all that he may have, and for nobody",
        settings: &[],
        most_mib: 32,
    },
    Attack {
        name: "frames",
        what: "20 sockets of one user that send commands of all kinds without a pause",
        settings: &[],
        most_mib: 48,
    },
    Attack {
        name: "attempts",
        what: "one user who opens 1,000 sockets, where 20 are allowed, and is sent 20 messages a second",
        settings: &[],
        most_mib: 32,
    },
    Attack {
        name: "sockets",
        what: "one user with 1,000 sockets, where 1,000 are allowed, who is sent 20 messages a second: 20,000 frames",
        settings: &[("MAX_CONNECTIONS_PER_USER", "1000")],
        most_mib: 48,
    },
];

/// Milliseconds, sorted.
struct Times(Vec<f64>);

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

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
        format!(
            "{:.0} handshakes, {:.0} frames received and {:.0} sent a second, {:.2} cores of the processor",
            per_second(self.handshakes, before.handshakes),
            per_second(self.received, before.received),
            per_second(self.sent, before.sent),
            processor.as_secs_f64() / took.as_secs_f64(),
        )
    }
}

/// From a message's sending to its arrival, and a page of history on a connection of its own.
async fn others(replica: &Replica, conversation: Uuid, lasting: Duration) -> [Times; 2] {
    let mut boris = Socket::connect(replica, BORIS).await;
    let mut carla = Socket::connect(replica, CARLA).await;
    let (mut messages, mut pages) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let millis = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
    while started.elapsed() < lasting {
        pace.tick().await;
        let sent = Instant::now();
        let data = json!({"conversationId": conversation, "content": "are you there?"});
        let request = boris.request("send_message", data).await;
        carla.expect("chat_message").await;
        messages.push(millis(sent));
        assert_eq!(boris.answer(&request).await["type"], "ack");
        boris.arrived();
        let asked = Instant::now();
        let api = replica.api();
        api.messages(conversation, "limit=1").await.ok(200);
        pages.push(millis(asked));
    }
    [Times::of(messages), Times::of(pages)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes, and writes docs/attacks.md"]
async fn report() {
    let seconds = std::env::var("ATTACK_SECONDS").map_or(20, |text| text.parse().expect("seconds"));
    let lasting = Duration::from_secs(seconds);
    // What else the machine does meets both, and makes both longer.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let mut table = String::new();
    let mut worst: Vec<String> = Vec::new();
    let only = std::env::var(ONLY).ok();
    let wanted = |attack: &&Attack| only.as_ref().is_none_or(|only| only == attack.name);
    for attack in ATTACKS.iter().filter(wanted) {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, attack.settings).await;
        let theirs = database.conversation(BORIS, CARLA).await;
        let attacked = database.conversation(ALICE, DAVID).await;
        // What is only slow once is neither of the two.
        others(&replica, theirs, Duration::from_secs(3)).await;
        let at_first = Work::of(&replica).await;
        let quiet = others(&replica, theirs, lasting).await;
        let quiet_work = Work::of(&replica).await.since(&at_first, lasting);
        let memory = replica.resident_kib().unwrap_or(0);

        let dir = fresh_dir("attack");
        let told = format!(
            "{} {} {attacked} {}",
            attack.name,
            replica.port(),
            dir.display()
        );
        let mut attackers = Process::start(
            Command::new("nice")
                .args(["-n", "19"])
                .arg(std::env::current_exe().expect("this program"))
                .args([
                    "--exact",
                    "security::measured::attackers_process",
                    "--ignored",
                ])
                .env(ATTACK, told)
                .stdout(Stdio::null()),
            Signal::Kill,
        );
        // With the least right to the processor that takes its time.
        let begun = Instant::now();
        while !dir.join(AT_IT).exists() {
            assert!(begun.elapsed() < BEGINNING, "the attack has not begun");
            tokio::time::sleep(PACE).await;
        }
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
        let fanned_out = matches!(attack.name, "attempts" | "sockets");
        let at_first = Work::of(&replica).await;
        let started = Instant::now();
        let attacked = tokio::select! {
            times = others(&replica, theirs, lasting) => times,
            () = sending, if fanned_out => unreachable!("it has no end"),
        };
        let connections = replica.open_files();
        let work = Work::of(&replica).await.since(&at_first, started.elapsed());
        let grown = replica.resident_kib().unwrap_or(0).saturating_sub(memory);
        // One that gave up half-way would make the figures good.
        let ended = attackers.ended();
        worst.extend(ended.map(|status| format!("{}: the attackers ended: {status}", attack.name)));
        drop(attackers);

        writeln!(table, "\n**{}**: {}\n", attack.name, attack.what).expect("a string");
        writeln!(
            table,
            "| | | samples | {} |\n| --- | --- | --- | --- | --- | --- |",
            SHARES.map(|(name, _)| name).join(" | ")
        )
        .expect("a string");
        for (name, (quiet, attacked)) in ["message", "page of history"]
            .iter()
            .zip(quiet.iter().zip(&attacked))
        {
            for (when, times) in [("quiet", quiet), ("attacked", attacked)] {
                let cells = SHARES.map(|(_, share)| format!("{:.1} ms", times.at(share)));
                let count = times.0.len();
                writeln!(
                    table,
                    "| {name} | {when} | {count} | {} |",
                    cells.join(" | ")
                )
                .expect("a string");
            }
            let ratios = SHARES.map(|(_, share)| attacked.at(share) / quiet.at(share));
            let cells = ratios.map(|ratio| format!("{ratio:.2}"));
            writeln!(table, "| {name} | ratio | | {} |", cells.join(" | ")).expect("a string");
            for ((share, _), ratio) in SHARES.iter().zip(ratios) {
                if ratio > MOST {
                    worst.push(format!(
                        "{}: {name}: {share}: {ratio:.2} times",
                        attack.name
                    ));
                }
            }
        }
        if grown > attack.most_mib * 1024 {
            worst.push(format!("{}: {grown} KiB of memory", attack.name));
        }
        writeln!(
            table,
            "\nThe replica did {quiet_work} while it was quiet, and {work} under attack. It had {:.1} MiB more resident memory at \
             the end (the bound is {} MiB), with {connections} files and connections open.",
            grown as f64 / 1024.0,
            attack.most_mib,
        )
        .expect("a string");
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let verdict = match worst.is_empty() {
        true => format!(
            "**Nothing is more than {MOST} times its quiet figure, and memory stays within its bounds.**"
        ),
        false => format!(
            "**More than {MOST} times the quiet figure, or than the memory's bound: {}.**",
            worst.join("; ")
        ),
    };
    let text = format!(
        "# Under attack\n\n\
         Made by `make attack`; do not edit.\n\n\
         {verdict}\n\n\
         One replica with the default settings (where not said otherwise), its PostgreSQL, two users who write to each other up to \
         {} times a second, and the attackers share a machine of {cores} cores. The attackers are a process at `nice` 19: their \
         computing is not the service's, but what they make the service and PostgreSQL do, and the kernel for both, is all in the \
         figures. A {} build, with a load of {load} on the machine before. Each attack is measured for {seconds} s, beside \
         {seconds} quiet seconds of the same replica just before, which had been warmed up. \"message\" is from its sending on a \
         socket to its arrival at another, through the database; \"page of history\" is a request on a new connection. A p99 \
         stands on a hundredth of the samples.\n{table}",
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks.md");
    std::fs::write(path, text).expect("docs/attacks.md");
}

/// Ends when it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is what `report` starts"]
async fn attackers_process() {
    let Ok(told) = std::env::var(ATTACK) else {
        return;
    };
    let mut told = told.split(' ');
    let mut word = || told.next().expect("a word");
    let (attack, port) = (word(), word().parse::<u16>().expect("a port"));
    let (conversation, dir) = (word().parse::<Uuid>().expect("an id"), word());
    let mut tasks = JoinSet::new();
    match attack {
        "slow_heads" => {
            for _ in 0..2000 {
                let stream = attackers::slow_head(port).await;
                tasks.spawn(attackers::always_slow(port, stream));
            }
        }
        "handshakes" => {
            for number in 0..500 {
                tasks.spawn(attackers::always_handshakes(
                    port,
                    [ALICE, NOBODY][number % 2],
                ));
            }
        }
        "frames" => {
            for _ in 0..20 {
                let (status, stream) = attackers::handshake(port, ALICE).await;
                assert_eq!(status, 101);
                tasks.spawn(async move {
                    attackers::flood(stream, conversation, usize::MAX).await;
                });
            }
        }
        "attempts" | "sockets" => {
            for _ in 0..1000 {
                let (status, stream) = attackers::handshake(port, ALICE).await;
                if status == 101 {
                    tasks.spawn(attackers::stays(stream));
                }
            }
        }
        other => panic!("{other}"),
    }
    std::fs::write(Path::new(dir).join(AT_IT), "").expect("a file");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("an attacker goes on");
    }
    std::future::pending::<()>().await;
}
