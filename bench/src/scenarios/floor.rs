//! The least that a message can take through NOTIFY: one connection that inserts and notifies, one that
//! listens, nothing in between. And steps from there to pgchat: the least that numbers messages without gaps and stores
//! a repeated one once, pgchat's own function without the service, and each of these over two processes that only
//! relay, as any service with two replicas has them.

mod relay;
mod sending;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pgchat_harness::process::Process;
use pgchat_harness::{Failure, with_causes};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket, Statement};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::relay::Line;
pub use self::relay::{COMMAND as RELAY, serve as relay};
use self::sending::send_each;
use super::pairs::CONTENT;
use super::tell;
use crate::load::{Faults, Schedule, Stamp};
use crate::record::Run;
use crate::settings::Effort;
use crate::systems::{Bench, Database, System};

/// As long as the event of such a message is with pgchat.
const PAYLOAD: usize = 850;
const CONVERSATIONS: usize = 32;
/// How long the last answers may take, and then the last notifications.
const SETTLE: Duration = Duration::from_secs(10);

/// What one message is to the database, and how it gets there and back.
#[derive(Clone, Copy)]
pub enum Floor {
    Direct(Work),
    /// Over two processes that only relay: one takes it in, the other hears of it.
    Relayed(Work),
}

/// What one message is to the database.
#[derive(Clone, Copy)]
pub enum Work {
    /// An insert and a notification.
    Bare,
    /// `seq` without gaps, a repeated name stored once, one statement by hand: no checks, no search, no catching up.
    Gapless,
    /// `chat_store_message()`.
    Function,
}

impl Floor {
    const ALL: [Self; 6] = [
        Self::Direct(Work::Bare),
        Self::Direct(Work::Gapless),
        Self::Direct(Work::Function),
        Self::Relayed(Work::Bare),
        Self::Relayed(Work::Gapless),
        Self::Relayed(Work::Function),
    ];

    /// What stands beside the systems; in short runs without the relays.
    pub fn chosen(effort: Effort) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |floor| !effort.quick || matches!(floor, Self::Direct(_)))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Direct(Work::Bare) => "floor",
            Self::Direct(Work::Gapless) => "floor-gapless",
            Self::Direct(Work::Function) => "floor-function",
            Self::Relayed(Work::Bare) => "floor-relayed",
            Self::Relayed(Work::Gapless) => "floor-gapless-relayed",
            Self::Relayed(Work::Function) => "floor-function-relayed",
        }
    }

    fn work(self) -> Work {
        match self {
            Self::Direct(work) | Self::Relayed(work) => work,
        }
    }
}

impl Work {
    /// A database with as many conversations as the load of the others has.
    async fn database(self, bench: &Bench) -> Result<(Database, Vec<Uuid>), Failure> {
        let pairs: Vec<(usize, usize)> = (0..CONVERSATIONS).map(|n| (2 * n, 2 * n + 1)).collect();
        let database = match self {
            Self::Bare => {
                let database = bench.host_database(2 * CONVERSATIONS).await?;
                database.client.batch_execute(BARE_TABLES).await?;
                let conversations = pairs.iter().map(|_| Uuid::now_v7()).collect();
                return Ok((database, conversations));
            }
            Self::Gapless => {
                let database = bench.host_database(2 * CONVERSATIONS).await?;
                database.client.batch_execute(GAPLESS_TABLES).await?;
                database
            }
            Self::Function => {
                let database = bench.database(System::Pgchat, 2 * CONVERSATIONS).await?;
                // Makes the schema.
                drop(bench.start(System::Pgchat, &database.name, 1).await?);
                database
            }
        };
        let conversations = database.conversations(&pairs).await?;
        Ok((database, conversations))
    }

    /// A message of both participants of each conversation, in turn.
    fn line(self, stamp: Stamp, conversations: &[Uuid], users: &[Uuid]) -> Line {
        let lane = stamp.number as usize % (2 * CONVERSATIONS);
        Line {
            conversation: conversations[lane / 2],
            sender: users[lane],
            name: stamp.number.into(),
            content: text(stamp, CONTENT),
            payload: match self {
                Self::Bare | Self::Gapless => {
                    format!("{{\"content\":\"{}\"}}", text(stamp, PAYLOAD))
                }
                // Makes its own.
                Self::Function => String::new(),
            },
        }
    }

    fn channel(self) -> &'static str {
        match self {
            Self::Bare | Self::Gapless => "floor",
            Self::Function => "chat_events",
        }
    }

    fn statement(self) -> &'static str {
        match self {
            Self::Bare => {
                "with stored as (
                     insert into messages (id, conversation_id, sender_id, content, seq) values ($1, $2, $3, $4, $5)
                 )
                 select pg_notify('floor', $6)"
            }
            Self::Gapless => {
                "with held as (
                     update conversations set last_seq = last_seq + 1, updated_at = now() where id = $2 returning last_seq
                 ), stored as (
                     insert into messages (id, conversation_id, sender_id, content, client_message_id, seq)
                     select $1, $2, $3, $4, $5::bigint::text, last_seq from held
                 )
                 select pg_notify('floor', $6)"
            }
            Self::Function => {
                "select chat_store_message($1, $2, $3, $4, 'text', $5::bigint::text, true, 100)"
            }
        }
    }
}

/// As in pgchat, messages have no foreign key to the users, here and below: no floor pays for what pgchat does without.
const BARE_TABLES: &str = "
create table messages (
    id uuid primary key,
    conversation_id uuid not null,
    sender_id uuid not null,
    content text not null,
    seq bigint not null,
    created_at timestamptz not null default now(),
    unique (conversation_id, seq)
)";

const GAPLESS_TABLES: &str = "
create table conversations (
    id uuid primary key default gen_random_uuid(),
    participant1_id uuid not null references users (id),
    participant2_id uuid not null references users (id),
    last_seq bigint not null default 0,
    updated_at timestamptz not null default now()
) with (fillfactor = 60);
create table messages (
    id uuid primary key,
    conversation_id uuid not null references conversations (id),
    sender_id uuid not null,
    content text not null,
    client_message_id text not null,
    seq bigint not null,
    created_at timestamptz not null default now(),
    unique (conversation_id, seq),
    unique (sender_id, client_message_id)
)";

/// Where a message goes in.
enum Intake {
    Direct(Client, Statement),
    Relayed(Process, relay::Intake),
}

/// Where it is heard of.
enum Outlet {
    Direct(Client, Box<Listener>),
    Relayed(Process, TcpStream),
}

type Listener = Connection<Socket, NoTlsStream>;

async fn open(
    bench: &Bench,
    database: &Database,
    floor: Floor,
) -> Result<(Intake, Outlet), Failure> {
    let (name, work) = (&database.name, floor.work());
    match floor {
        Floor::Direct(_) => {
            let (listener, mut connection) = bench.cluster.config(name).connect(NoTls).await?;
            let listen = format!("listen {}", work.channel());
            tokio::select! {
                listening = listener.batch_execute(&listen) => listening?,
                _ = poll_fn(|context| connection.poll_message(context)) => {
                    return Err("the listener's connection has ended".into());
                }
            }
            let client = bench.connect(name).await?;
            let statement = client.prepare(work.statement()).await?;
            Ok((
                Intake::Direct(client, statement),
                Outlet::Direct(listener, Box::new(connection)),
            ))
        }
        Floor::Relayed(_) => {
            let (takes, messages) = relay::start(bench, name, work, 0).await?;
            let (hears, notifications) = relay::start(bench, name, work, 1).await?;
            Ok((
                Intake::Relayed(takes, relay::Intake::new(messages)),
                Outlet::Relayed(hears, notifications),
            ))
        }
    }
}

impl Intake {
    async fn store(&self, line: &Line) -> Result<(), Failure> {
        match self {
            Self::Direct(client, statement) => line.store(client, statement).await,
            Self::Relayed(_process, relay) => relay.store(line).await,
        }
    }
}

impl Outlet {
    /// Until nothing more can come, and why.
    async fn hear(self, mut each: impl FnMut(&[u8])) -> Failure {
        let each = |payload: &[u8]| {
            each(payload);
            Ok(())
        };
        let end = match self {
            Self::Direct(_client, connection) => notifications(*connection, each).await,
            Self::Relayed(_process, socket) => relay::each_line(&socket, each).await,
        };
        end.err()
            .unwrap_or_else(|| "nothing is heard any more".into())
    }
}

/// Until the connection ends.
async fn notifications(
    mut connection: Listener,
    mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message? {
            each(notification.payload().as_bytes())?;
        }
    }
    Ok(())
}

pub async fn run(
    bench: &Bench,
    floor: Floor,
    rate: u64,
    effort: Effort,
    round: usize,
) -> Result<Run, Failure> {
    let (database, conversations) = floor.work().database(bench).await?;
    bench
        .connect("postgres")
        .await?
        .batch_execute("checkpoint")
        .await?;

    let began = Instant::now();
    let latencies = Rc::new(RefCell::new(Histogram::<u64>::new_with_bounds(
        1_000,
        60_000_000_000,
        3,
    )?));
    let received = Rc::new(RefCell::new(0_u64));
    let from = nanos(effort.warm_up);
    let (intake, outlet) = open(bench, &database, floor).await?;
    let (heard, count) = (latencies.clone(), received.clone());
    let mut listening = AbortOnDropHandle::new(spawn_local(outlet.hear(move |payload| {
        let now = nanos(began.elapsed());
        let Some(stamp) = Stamp::find(payload) else {
            return;
        };
        *count.borrow_mut() += 1;
        if stamp.intended >= from {
            heard
                .borrow_mut()
                .saturating_record(now.saturating_sub(stamp.intended));
        }
    })));

    let schedule = Schedule::new(rate);
    let total = schedule.due_by(nanos(effort.warm_up + effort.measured));
    // The clock of the schedule began with the listener's, so nothing is due yet that could be late.
    let start = nanos(began.elapsed());
    let answers = send_each(schedule, total, SETTLE, |number, due| {
        let stamp = Stamp {
            lane: 0,
            number,
            intended: start + due,
        };
        let line = floor.work().line(stamp, &conversations, &database.users);
        let intake = &intake;
        async move { intake.store(&line).await }
    })
    .await?;
    let all = async {
        while *received.borrow() < total {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let deaf = tokio::select! {
        _ = timeout(SETTLE, all) => None,
        end = &mut listening => Some(end?),
    };
    drop(listening);

    let mut run = Run::new(floor.name(), &format!("{rate}/s"), round);
    run.set_latencies("end_to_end", &latencies.borrow());
    run.set_faults(&Faults {
        lost: total.saturating_sub(*received.borrow()),
        refused: answers.refused,
        unanswered: answers.unanswered,
        ..Faults::default()
    });
    let complaints = [answers.complaint, deaf].into_iter().flatten();
    run.complaints = complaints.map(|failure| with_causes(&*failure)).collect();
    tell(&run, &["end_to_end_p50_ms", "end_to_end_p99_ms"]);
    drop(intake);
    bench.drop_database(database).await?;
    Ok(run)
}

fn text(stamp: Stamp, size: usize) -> String {
    let mut text = Vec::with_capacity(size);
    stamp.write(size, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
