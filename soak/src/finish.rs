//! The end of a run: waits until all is calm, then holds the table against what was acknowledged and seen.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, pin_mut};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::Failure;
use crate::api::Miss;
use crate::checker::{FaultRecord, Kind, TablePass, Violation};
use crate::client::Order;
use crate::faults::{Tally, erase_newest};
use crate::model::*;
use crate::world::World;

const POLL: Duration = Duration::from_millis(50);
/// Sockets stay open this long after all has been seen, for what comes twice or late: some heartbeats of
/// the listeners.
const WATCH: Duration = Duration::from_secs(3);
/// One client in so many leaves at the end, to be missed.
const LEAVES: usize = 5;
/// One conversation in so many loses its newest message at the end.
const ERASED: usize = 3;
/// How long it may take until all are shown who is there, and that nobody types: the grace, and more.
const TRUTH: Duration = Duration::from_secs(30);
/// A fault that is still under way excuses that nothing goes on, and is waited for, so long after the last one has begun. One that takes
/// longer never ends.
const EXCUSED: Duration = Duration::from_secs(5 * 60);
/// Users whose counts are read at once.
const AT_ONCE: usize = 16;
/// How often a count is asked for before it is given up.
const TRIES: u32 = 20;

/// How long it has been since the way back to calm went on: fewer clients without a socket, or fewer messages that are not
/// acknowledged and seen by both, than ever before; of messages, than ever since all clients were online for the first time, because
/// until then more of them may be added than are seen. A machine that has little time for it is slow, and not at fault.
struct Standstill {
    /// Of the way back: no more faults begin.
    began: Instant,
    since: Instant,
    offline: usize,
    unfinished: usize,
}

impl Standstill {
    fn begin(now: Instant) -> Self {
        Self {
            began: now,
            since: now,
            offline: usize::MAX,
            unfinished: usize::MAX,
        }
    }

    /// `is_hurt`: a fault is under way.
    fn look(&mut self, offline: usize, unfinished: usize, is_hurt: bool, now: Instant) -> Duration {
        let excused = is_hurt && now - self.began < EXCUSED;
        if excused {
            (self.offline, self.unfinished) = (usize::MAX, usize::MAX);
        }
        if offline == 0 && self.offline > 0 {
            self.unfinished = usize::MAX;
        }
        if offline < self.offline || unfinished < self.unfinished {
            self.since = now;
        }
        self.offline = self.offline.min(offline);
        self.unfinished = self.unfinished.min(unfinished);
        now - self.since
    }
}

/// From the stage `calm` on, waits until everything is acknowledged and seen and all clients are online, or nothing has gone on for the
/// settings' time since the last fault, or since no fault excuses it any more; then until those who still type are judged. What is missing
/// then is told by the verdict, too.
pub async fn settle(world: &World, senders: &mut JoinSet<JoinSet<()>>) -> Result<(), Failure> {
    let mut insisting = Vec::new();
    let mut last = None;
    let mut standstill = Standstill::begin(Instant::now());
    loop {
        while let Some(done) = senders.try_join_next() {
            insisting.push(done?);
        }
        if senders.is_empty() && last.is_none() {
            last = Some(heads(world).await?);
        }
        let online = world.online.load(Ordering::Relaxed);
        let (unfinished, caught_up) = {
            let checker = world.checker();
            let caught_up = last.as_ref().is_some_and(|last| checker.caught_up(last));
            (checker.unfinished(), caught_up && checker.changes_seen())
        };
        if online == world.clients.len() && unfinished == 0 && caught_up {
            world.stages.settled.cancel();
            for one in insisting {
                one.join_all().await;
            }
            break;
        }
        let hurt = under_way(&world.faults());
        let offline = world.clients.len().saturating_sub(online);
        let stood = standstill.look(offline, unfinished, !hurt.is_empty(), Instant::now());
        if stood >= world.settings.settle {
            let open = insisting.iter().filter(|one| !one.is_empty()).count();
            let text = format!(
                "nothing has gone on for {:?}: {online} of {} clients online, {unfinished} messages not acknowledged and seen by both, \
                 {open} who still type and were not judged, faults under way: {hurt:?}",
                world.settings.settle,
                world.clients.len()
            );
            let violation = Violation::new(Kind::NotSettled, world.clock.now(), text);
            world.checker().violate(violation);
            break;
        }
        sleep(POLL).await;
    }
    sleep(WATCH).await;
    Ok(())
}

/// The numbers and names of the faults that have not ended.
fn under_way(faults: &[FaultRecord]) -> Vec<String> {
    faults
        .iter()
        .filter(|fault| fault.ended.is_none())
        .map(|fault| format!("{} {}", fault.number, fault.name))
        .collect()
}

/// What the faults came to. One that does not end is a violation, and none of them counts then.
pub async fn tally(world: &World, faults: &mut JoinSet<Tally>) -> Result<Tally, Failure> {
    match timeout(EXCUSED, faults.join_next()).await {
        Ok(Some(tally)) => Ok(tally?),
        Ok(None) => Err("the faults ended early".into()),
        Err(_) => {
            faults.abort_all();
            let text = format!(
                "faults under way {EXCUSED:?} after the end: {:?}",
                under_way(&world.faults())
            );
            let violation = Violation::new(Kind::NotSettled, world.clock.now(), text);
            world.checker().violate(violation);
            Ok(Tally::default())
        }
    }
}

/// Another program erases the newest messages of some conversations: all are shown it, and the lists of conversations, which
/// the verdict looks at, show the messages before them.
pub async fn erase_heads(world: &World) -> Result<(), Failure> {
    let mut session = world.cluster.connect().await?;
    let mut erased = 0;
    for ix in (0..world.conversations.len()).step_by(ERASED) {
        let ix = ConversationIx::try_from(ix).unwrap_or(0);
        erased += usize::from(erase_newest(world, &mut session, ix).await);
    }
    println!("{erased} conversations have lost their newest message");
    let deadline = Instant::now() + TRUTH;
    while !world.checker().changes_seen() && Instant::now() < deadline {
        sleep(POLL).await;
    }
    Ok(())
}

/// Some clients leave. The others are shown that they have left and who is still there, and that nobody types; the
/// service says the same.
pub async fn moment(world: &World) {
    let left: HashSet<ClientIx> = (0..world.settings.clients).step_by(LEAVES).collect();
    for client in &left {
        // It fails only for a client whose task has ended, which is then told by what its socket did.
        let _ = world.clients[usize::from(*client)]
            .orders
            .send(Order::Depart)
            .await;
    }
    let deadline = Instant::now() + TRUTH;
    loop {
        let untrue = world.checker().untrue_moments(&left, world.clock.now());
        if untrue.is_empty() {
            break;
        }
        if Instant::now() >= deadline {
            let mut checker = world.checker();
            untrue
                .into_iter()
                .for_each(|violation| checker.violate(violation));
            break;
        }
        sleep(POLL).await;
    }
    futures_util::stream::iter((0..).zip(&world.users))
        .for_each_concurrent(AT_ONCE, |(client, id)| presence(world, &left, client, *id))
        .await;
}

async fn presence(world: &World, left: &HashSet<ClientIx>, client: ClientIx, id: Uuid) {
    for attempt in 1..=TRIES {
        match world.api.standing(id).await {
            Ok(standing) => {
                let has_left = left.contains(&client);
                if standing.is_online == has_left || (has_left && standing.last_seen_at.is_none()) {
                    let text =
                        format!("they have left: {has_left}, and the service says {standing:?}");
                    let violation = Violation::new(Kind::PresenceWrong, world.clock.now(), text);
                    world.checker().violate(violation.client(client));
                }
                return;
            }
            Err(Miss::Retry(_)) if attempt < TRIES => sleep(POLL * attempt).await,
            Err(Miss::Retry(text) | Miss::Refused(text)) => {
                return world.refused(client, None, format!("presence at the end: {text}"));
            }
        }
    }
}

/// The highest `seq` of each conversation.
async fn heads(world: &World) -> Result<Vec<(Uuid, i64)>, Failure> {
    let rows = world
        .cluster
        .connect()
        .await?
        .query(
            "select conversation_id, max(seq)::bigint from messages group by conversation_id",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The table, and what the service says of it. Returns the number of rows.
pub async fn verdict(world: &Arc<World>) -> Result<u64, Failure> {
    let pass = table(world).await?;
    futures_util::stream::iter(0..world.users.len())
        .for_each_concurrent(AT_ONCE, |user| counts(world, &pass, user))
        .await;
    Ok(pass.rows)
}

async fn table(world: &World) -> Result<TablePass, Failure> {
    let client = world.cluster.connect().await?;
    let none: [&(dyn ToSql + Sync); 0] = [];
    let rows = client
        .query_raw(
            "select id, conversation_id, sender_id, content, seq::bigint, client_message_id, is_read, deleted_at::text
               from messages
              order by conversation_id, seq",
            none,
        )
        .await?;
    pin_mut!(rows);
    let mut pass = world.checker().begin_table();
    while let Some(row) = rows.try_next().await? {
        let view = MessageView {
            id: row.try_get(0)?,
            conversation_id: row.try_get(1)?,
            sender_id: row.try_get(2)?,
            content: row.try_get(3)?,
            seq: row.try_get(4)?,
            client_message_id: row.try_get(5)?,
            is_read: row.try_get(6)?,
            deleted_at: row.try_get(7)?,
        };
        let now = world.clock.now();
        world.checker().row(&mut pass, &view, now);
    }
    let now = world.clock.now();
    world.checker().end_table(&pass, now);
    Ok(pass)
}

/// A user's unread count, and the list of conversations.
async fn counts(world: &World, pass: &TablePass, user: usize) {
    let (id, client) = (world.users[user], ClientIx::try_from(user).unwrap_or(0));
    for attempt in 1..=TRIES {
        let answers = tokio::try_join!(world.api.unread_count(id), world.api.conversations(id));
        let miss = match answers {
            Ok((count, list)) => {
                let now = world.clock.now();
                let mut checker = world.checker();
                checker.unread_count(pass, client, count, now);
                for view in &list {
                    checker.conversation(pass, client, view, now);
                }
                let expected = world.clients[user].conversations.len();
                if list.len() != expected {
                    let text = format!("{} conversations of {expected} listed", list.len());
                    checker.violate(Violation::new(Kind::HeadWrong, now, text).client(client));
                }
                return;
            }
            Err(miss) => miss,
        };
        match miss {
            Miss::Retry(_) if attempt < TRIES => sleep(POLL * attempt).await,
            Miss::Retry(text) | Miss::Refused(text) => {
                return world.refused(client, None, format!("counts at the end: {text}"));
            }
        }
    }
}

/// Ends the replicas as an operator would: each must drain cleanly.
pub async fn drain_all(world: &World) {
    let drains = world.replicas.iter().map(|replica| async {
        let Some(mut taken) = replica.take() else {
            return;
        };
        if let Err(text) = taken.drain().await {
            let text = format!("replica {} at the end: {text}", replica.number);
            let violation = Violation::new(Kind::ReplicaFailed, world.clock.now(), text);
            world.checker().violate(violation);
        }
    });
    futures_util::future::join_all(drains).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_on_no_more_stands_still() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut standstill = Standstill::begin(start);
        for (seconds, offline, unfinished, since) in [
            (0, 4, 900, 0),
            (50, 4, 899, 50),
            (100, 3, 900, 100),
            // A socket that is lost and had again is no progress.
            (110, 4, 950, 100),
            (120, 3, 899, 100),
            // All are online, and what was added since the smallest number is being seen.
            (130, 0, 2_000, 130),
            (140, 0, 1_999, 140),
            (150, 1, 1_999, 140),
            // That counts once.
            (160, 0, 2_000, 140),
            (190, 0, 1_999, 140),
        ] {
            let stood = standstill.look(offline, unfinished, false, at(seconds));
            assert_eq!(stood.as_secs(), seconds - since, "after {seconds} s");
        }
    }

    #[test]
    fn a_fault_excuses_that_nothing_goes_on_but_not_for_ever() {
        let start = Instant::now();
        let mut standstill = Standstill::begin(start);
        for (seconds, is_hurt, stood) in [
            (10, true, 0),
            (100, true, 0),
            (130, false, 30),
            (200, true, 0),
            (299, true, 0),
            (300, true, 1),
            (400, true, 101),
        ] {
            let now = start + Duration::from_secs(seconds);
            let found = standstill.look(3, 900, is_hurt, now).as_secs();
            assert_eq!(found, stood, "after {seconds} s");
        }
    }

    #[test]
    fn those_under_way_are_named() {
        let fault = |number, name, ended| FaultRecord {
            number,
            name,
            text: String::new(),
            began: 1,
            ended,
        };
        let faults = [
            fault(3, "kill-replica", Some(2)),
            fault(4, "stop-replica", None),
        ];
        assert_eq!(under_way(&faults), ["4 stop-replica"]);
    }
}
