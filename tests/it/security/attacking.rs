//! The attackers of `measured`: a process of their own, which runs while nobody else wants a processor.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::attackers;
use crate::support::*;

/// What the process is told.
const ATTACK: &str = "PGCHAT_TEST_ATTACK";

/// As many as a user may have.
const SOCKETS: usize = 20;

/// What the attackers may take to open all their connections.
const BEGINNING: Duration = Duration::from_secs(120);

/// Messages of Alice's that each of her sockets changes in a round of the attack `changes`.
const CHANGED_BY_A_SOCKET: usize = 40;

/// The file that they make once they are at it.
const AT_IT: &str = "at-it";

/// Those that a socket of Alice's changes in this round: the attackers know them by their numbers.
fn changed_by(round: usize, socket: usize) -> Vec<Uuid> {
    let first = (round * SOCKETS + socket) * CHANGED_BY_A_SOCKET;
    (first..first + CHANGED_BY_A_SOCKET)
        .map(|number| Uuid::from_u128((0xa77ac << 96) + number as u128))
        .collect()
}

/// Makes the messages that are changed in this round.
async fn make_messages(database: &Database, conversation: Uuid, round: usize) {
    let ids: Vec<Uuid> = (0..SOCKETS)
        .flat_map(|socket| changed_by(round, socket))
        .collect();
    let insert = "insert into messages (id, conversation_id, sender_id, content)
                  select id, $2, $3, 'to be changed' from unnest($1::uuid[]) id";
    let sql = database.sql().await;
    let made = sql.execute(insert, &[&ids, &conversation, &ALICE]).await;
    made.expect("messages");
}

/// The attackers' process, which is at it. Who comes back does so with `cursor`.
pub async fn attackers_of(
    attack: &str,
    (database, replica): (&Database, &Replica),
    attacked: Uuid,
    round: usize,
) -> Process {
    let cursor = settled_cursor(replica, ALICE).await;
    if attack == "changes" {
        make_messages(database, attacked, round).await;
    }
    let dir = fresh_dir("attack");
    let port = replica.port();
    let told = format!(
        "{attack} {port} {attacked} {cursor} {round} {}",
        dir.display()
    );
    let process = Process::start(
        Command::new("chrt")
            .args(["--idle", "0"])
            .arg(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "security::attacking::attackers_process",
                "--ignored",
            ])
            .env(ATTACK, told)
            .stdout(Stdio::null()),
        Signal::Kill,
    );
    // On a busy machine that takes its time.
    eventually_within(BEGINNING, "the attack has begun", || async {
        dir.join(AT_IT).exists().then_some(())
    })
    .await;
    process
}

/// Ends when it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is what `measured::report` starts"]
async fn attackers_process() {
    let Ok(told) = std::env::var(ATTACK) else {
        return;
    };
    let mut told = told.split(' ');
    let mut word = || told.next().expect("a word");
    let (attack, port) = (word(), word().parse::<u16>().expect("a port"));
    let conversation = word().parse::<Uuid>().expect("an id");
    let (cursor, round) = (word(), word().parse::<usize>().expect("a round"));
    let dir = word();
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
        "frames" | "long_messages" | "changes" => {
            for socket in 0..SOCKETS {
                let (status, stream) = attackers::handshake(port, ALICE).await;
                assert_eq!(status, 101);
                match attack {
                    "frames" => tasks.spawn(async move {
                        attackers::flood(stream, conversation, usize::MAX).await;
                    }),
                    "long_messages" => tasks.spawn(attackers::always_long(stream, conversation)),
                    _ => {
                        let messages = changed_by(round, socket);
                        tasks.spawn(async move {
                            attackers::always_changes(stream, conversation, &messages).await;
                        })
                    }
                };
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
        "replays" => {
            for _ in 0..SOCKETS {
                let path = format!("/ws?user_id={ALICE}&cursor={cursor}");
                tasks.spawn(attackers::comes_back(port, path));
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
