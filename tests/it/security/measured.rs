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
}

const ATTACKS: [Attack; 5] = [
    Attack {
        name: "slow_heads",
        what: "2,000 connections with a request's head that never ends, a byte a second, opened again when they are cut off",
        settings: &[],
    },
    Attack {
        name: "handshakes",
        what: "64 clients that ask for WebSockets without a pause, for a user who has all that he may have, and for nobody",
        settings: &[],
    },
    Attack {
        name: "frames",
        what: "20 sockets of one user that send commands of all kinds without a pause",
        settings: &[],
    },
    Attack {
        name: "attempts",
        what: "one user who opens 1,000 sockets, where 20 are allowed, and is sent 20 messages a second",
        settings: &[],
    },
    Attack {
        name: "sockets",
        what: "one user with 1,000 sockets, where 1,000 are allowed, who is sent 20 messages a second: 20,000 frames",
        settings: &[("MAX_CONNECTIONS_PER_USER", "1000")],
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
    for attack in &ATTACKS {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, attack.settings).await;
        let theirs = database.conversation(BORIS, CARLA).await;
        let attacked = database.conversation(ALICE, DAVID).await;
        // What is only slow once is neither of the two.
        others(&replica, theirs, Duration::from_secs(3)).await;
        let quiet = others(&replica, theirs, lasting).await;
        let memory = replica.resident_kib().unwrap_or(0);

        let dir = fresh_dir("attack");
        let told = format!(
            "{} {} {attacked} {}",
            attack.name,
            replica.port(),
            dir.display()
        );
        let attackers = Process::start(
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
        let attacked = tokio::select! {
            times = others(&replica, theirs, lasting) => times,
            () = sending, if fanned_out => unreachable!("it has no end"),
        };
        let grown = replica.resident_kib().unwrap_or(0).saturating_sub(memory);
        let connections = replica.open_files();
        drop(attackers);

        writeln!(table, "\n**{}**: {}\n", attack.name, attack.what).expect("a string");
        writeln!(table, "| | quiet, median | quiet, p99 | attacked, median | attacked, p99 | ratio of medians | ratio of p99 |\n| --- | --- | --- | --- | --- | --- | --- |").expect("a string");
        for (name, (quiet, attacked)) in ["message", "page of history"]
            .iter()
            .zip(quiet.iter().zip(&attacked))
        {
            let ratio = |share: f64| attacked.at(share) / quiet.at(share);
            writeln!(
                table,
                "| {name} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.2} | {:.2} |",
                quiet.at(0.5),
                quiet.at(0.99),
                attacked.at(0.5),
                attacked.at(0.99),
                ratio(0.5),
                ratio(0.99)
            )
            .expect("a string");
            if ratio(0.5) > 2.0 {
                worst.push(format!("{}: {name}: {:.2}", attack.name, ratio(0.5)));
            }
        }
        writeln!(
            table,
            "\n{} more resident memory at the end, with {connections} files and connections open.",
            match grown {
                0..1024 => format!("{grown} KiB"),
                _ => format!("{} MiB", grown / 1024),
            }
        )
        .expect("a string");
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let verdict = match worst.is_empty() {
        true => "No median is more than twice its quiet one.".to_owned(),
        false => format!("More than twice the quiet median: {}.", worst.join("; ")),
    };
    let text = format!(
        "# Under attack\n\n\
         Made by `make attack`; do not edit. One replica with the default settings (where not said otherwise), its PostgreSQL, two \
         users who write to each other 25 times a second, and the attackers share a machine of {cores} cores; the attackers are a process at \
         `nice` 19. A {} build, with a load of {load} on the machine before. Each attack is measured for {seconds} s, beside {seconds} quiet seconds of the same replica just before. \"message\" is from its \
         sending on a socket to its arrival at another, through the database; \"page of history\" is a request on a new \
         connection. {verdict}\n{table}",
        match cfg!(debug_assertions) {
            true => "dev",
            false => "release",
        }
    );
    print!("{text}");
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
                tasks.spawn(attackers::always_slow(port));
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        "handshakes" => {
            for number in 0..64 {
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
                let (_, stream) = attackers::handshake(port, ALICE).await;
                tasks.spawn(attackers::read_until(stream, "never"));
            }
        }
        other => panic!("{other}"),
    }
    std::fs::write(Path::new(dir).join(AT_IT), "").expect("a file");
    while tasks.join_next().await.is_some() {}
    std::future::pending::<()>().await;
}
