//! What other programs write: rows that are inserted, edited, deleted softly and outright, and marked as read by plain SQL,
//! in transactions that are sometimes held open, and sometimes rolled back.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::{Client, Error, Transaction};
use uuid::Uuid;

use super::{Plan, Skipped};
use crate::checker::Rewrite;
use crate::content;
use crate::model::*;
use crate::world::World;

/// How often a transaction that rewrites is rolled back.
const REGRETS: f64 = 0.2;

/// How a transaction ends once its statements are done.
#[derive(Clone, Copy)]
pub enum Finish {
    Commit,
    Rollback,
}

/// How long a transaction is held open, and how it ends then.
#[derive(Clone, Copy)]
pub struct Hold {
    open: Duration,
    finish: Finish,
}

impl Hold {
    pub const COMMIT_AT_ONCE: Self = Self {
        open: Duration::ZERO,
        finish: Finish::Commit,
    };

    fn of(plan: Plan, finish: Finish) -> Self {
        let open = match plan.coin {
            true => plan.time(100, 3_000),
            false => Duration::ZERO,
        };
        Self { open, finish }
    }

    /// Ends the transaction, if the work in it went well.
    async fn end(self, world: &World, worked: Result<Transaction<'_>, Error>) -> End {
        let transaction = match worked {
            Ok(transaction) => transaction,
            Err(error) => return End::RolledBack(error.to_string()),
        };
        world.pause(self.open).await;
        match self.finish {
            Finish::Rollback => match transaction.rollback().await {
                Ok(()) => End::RolledBack("rolled back".to_owned()),
                // Without its commit it can't be there.
                Err(error) => End::RolledBack(error.to_string()),
            },
            Finish::Commit => match transaction.commit().await {
                Ok(()) => End::Committed,
                Err(error) if error.as_db_error().is_some() => End::RolledBack(error.to_string()),
                Err(error) => End::Unknown(error.to_string()),
            },
        }
    }
}

/// Edits, deletes or erases some of a conversation's latest messages.
pub async fn rewrite(world: &World, plan: Plan, what: Rewrite) -> Result<String, Skipped> {
    let mut client = world.cluster.connect().await?;
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let place = plan.target(world.conversations.len());
    let ix = ConversationIx::try_from(place).unwrap_or(0);
    let finish = match rng.random_bool(REGRETS) {
        true => Finish::Rollback,
        false => Finish::Commit,
    };
    let hold = Hold::of(plan, finish);
    let (count, dice) = (plan.count(1, 12), rng.random_range(0..1_000));
    match apply(world, &mut client, ix, what, (count, dice), hold).await {
        Some(text) => Ok(format!("{text}, open for {:?}", hold.open)),
        None => Err(Skipped(format!(
            "nothing to {} in conversation {ix}",
            what.name()
        ))),
    }
}

/// Whatever can be done to a conversation's messages, to a few of them each.
pub async fn rewrite_some(world: &World, client: &mut Client, ix: ConversationIx, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for what in [Rewrite::Edit, Rewrite::Delete, Rewrite::Erase] {
        let choice = (rng.random_range(1..5), rng.random_range(0..1_000));
        apply(world, client, ix, what, choice, Hold::COMMIT_AT_ONCE).await;
    }
    let reader = rng.random_range(0..2);
    read(world, client, ix, reader, Hold::COMMIT_AT_ONCE).await;
}

/// The newest message of a conversation; whether there was one to erase.
pub async fn erase_newest(world: &World, client: &mut Client, ix: ConversationIx) -> bool {
    let (newest, hold) = ((1, 0), Hold::COMMIT_AT_ONCE);
    let done = apply(world, client, ix, Rewrite::Erase, newest, hold).await;
    done.is_some()
}

/// So many of a conversation's latest messages, from the one on that a dice chooses, in one statement. What became of it; `None`: there are none
/// to which it can be done.
async fn apply(
    world: &World,
    client: &mut Client,
    ix: ConversationIx,
    what: Rewrite,
    (count, dice): (usize, usize),
    hold: Hold,
) -> Option<String> {
    let now = world.clock.now();
    let targets = world.checker().begin_rewrite(ix, what, count, dice, now);
    if targets.is_empty() {
        return None;
    }
    let ids: Vec<Uuid> = targets.iter().map(|target| target.id).collect();
    let contents: Vec<String> = targets
        .iter()
        .map(|target| content::edited(world.settings.seed, target.key))
        .collect();
    let mut done: Vec<Uuid> = Vec::new();
    let work = async {
        let transaction = client.transaction().await?;
        // In order, as those do who mark as read: a deadlock would be the other program's own business.
        transaction
            .execute(
                "select from messages where id = any ($1) order by seq for update",
                &[&ids],
            )
            .await?;
        let rows = match what {
            Rewrite::Edit => {
                let sql = "update messages m set content = e.content
                             from unnest($1::uuid[], $2::text[]) as e (id, content)
                            where m.id = e.id and m.deleted_at is null
                        returning m.id";
                transaction.query(sql, &[&ids, &contents]).await?
            }
            Rewrite::Delete => {
                let sql = "update messages set deleted_at = now() where id = any ($1) returning id";
                transaction.query(sql, &[&ids]).await?
            }
            Rewrite::Erase => {
                let sql = "delete from messages where id = any ($1) returning id";
                transaction.query(sql, &[&ids]).await?
            }
        };
        done = rows.iter().map(|row| row.get(0)).collect();
        Ok::<_, Error>(transaction)
    };
    let ended = hold.end(world, work.await).await;
    let now = world.clock.now();
    let mut checker = world.checker();
    match &ended {
        End::Committed => checker.rewrite_committed(&targets, what, &done, now),
        End::RolledBack(note) => checker.rewrite_rolled_back(&targets, note, now),
        End::Unknown(note) => checker.rewrite_unknown(&targets, note, now),
    }
    let (count, what, text) = (targets.len(), what.name(), ended.text());
    Some(format!("{what} {count} of conversation {ix}, {text}"))
}

/// Marks what a participant has seen of a conversation as read.
pub async fn mark_read(world: &World, plan: Plan) -> Result<String, Skipped> {
    let mut client = world.cluster.connect().await?;
    let place = plan.target(world.conversations.len());
    let ix = ConversationIx::try_from(place).unwrap_or(0);
    let hold = Hold::of(plan, Finish::Commit);
    Ok(read(world, &mut client, ix, plan.count(0, 1), hold).await)
}

/// A participant has read a conversation up to what they have seen, and another program says so. Never rolled back: it cannot
/// be told from a mark of the client's own up to the same place.
async fn read(
    world: &World,
    client: &mut Client,
    ix: ConversationIx,
    member: usize,
    hold: Hold,
) -> String {
    let conversation = &world.conversations[usize::from(ix)];
    let reader = conversation.members[member];
    let up_to = {
        let mut checker = world.checker();
        let (up_to, _) = checker.seen_up_to(reader, ix);
        checker.read_asked(reader, ix, up_to);
        up_to
    };
    let mut marked = 0;
    let work = async {
        let transaction = client.transaction().await?;
        marked = transaction
            .execute(
                "update messages set is_read = true
                  where id in (select id from messages
                                where conversation_id = $1 and sender_id <> $2 and seq <= $3 and not is_read
                                order by seq for no key update)",
                &[&conversation.id, &world.users[usize::from(reader)], &i64::from(up_to)],
            )
            .await?;
        Ok::<_, Error>(transaction)
    };
    let ended = hold.end(world, work.await).await;
    if matches!(ended, End::Committed) {
        world.checker().read_committed(reader, ix, up_to);
    }
    let text = ended.text();
    format!(
        "{marked} of conversation {ix} up to {up_to}, open for {:?}, {text}",
        hold.open
    )
}

/// Plain SQL rows as another program would write them: one statement, sometimes held open before its end, and rolled back if wanted.
pub async fn write(world: &World, plan: Plan, finish: Finish) -> Result<String, Skipped> {
    let mut client = world.cluster.connect().await?;
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let count = plan.count(1, 120);
    let hold = Hold::of(plan, finish);
    let ix = plan.target(world.conversations.len());
    // Rows of several conversations in one statement can deadlock with others; that is the other
    // program's business, so most go into one.
    let spread = if rng.random_bool(0.2) { 4 } else { 1 };
    let places: Vec<(usize, usize)> = (0..count)
        .map(|_| {
            let conversation = (ix + rng.random_range(0..spread)) % world.conversations.len();
            (conversation, rng.random_range(0..2))
        })
        .collect();
    // As another program's default may be. Then it fails where somebody else has written meanwhile.
    let isolation = match rng.random_bool(0.3) {
        true => "repeatable read",
        false => "read committed",
    };
    let set = format!("set default_transaction_isolation = '{isolation}'");
    client.batch_execute(&set).await?;
    let done = insert(world, &mut client, &places, hold).await;
    Ok(format!(
        "{count} rows from conversation {ix} on, {isolation}, open for {:?}, {done}",
        hold.open
    ))
}

/// Inserts a row for each (conversation, member) in one statement; what became of it.
pub async fn insert(
    world: &World,
    client: &mut Client,
    places: &[(usize, usize)],
    hold: Hold,
) -> String {
    let mut keys = Vec::new();
    let (mut conversations, mut senders, mut contents) = (Vec::new(), Vec::new(), Vec::new());
    {
        let mut checker = world.checker();
        let now = world.clock.now();
        for (conversation, member) in places {
            let known = &world.conversations[*conversation];
            let sender = known.members[*member];
            let ix = ConversationIx::try_from(*conversation).unwrap_or(0);
            let key = checker.register(sender, ix, Via::Sql, now);
            keys.push(key);
            conversations.push(known.id);
            senders.push(world.users[usize::from(sender)]);
        }
    }
    for key in &keys {
        contents.push(content::make(world.settings.seed, *key));
    }
    let mut inserted: Vec<MessageView> = Vec::new();
    let work = async {
        let transaction = client.transaction().await?;
        let rows = transaction
            .query(
                "insert into messages (conversation_id, sender_id, content)
                 select * from unnest($1::uuid[], $2::uuid[], $3::text[])
                 returning id, conversation_id, sender_id, content, seq::bigint, client_message_id",
                &[&conversations, &senders, &contents],
            )
            .await?;
        for row in rows {
            inserted.push(MessageView {
                id: row.get::<_, Uuid>(0),
                conversation_id: row.get(1),
                sender_id: row.get(2),
                content: row.get(3),
                seq: row.get(4),
                client_message_id: row.get(5),
                is_read: false,
                deleted_at: None,
            });
        }
        Ok::<_, Error>(transaction)
    };
    let ended = hold.end(world, work.await).await;
    let now = world.clock.now();
    let mut checker = world.checker();
    match &ended {
        End::Committed => {
            for view in &inserted {
                if let Some(key) = content::key_of(&view.content) {
                    checker.acknowledged(key, view, Via::Sql, 0, "commit", now);
                }
            }
        }
        End::RolledBack(note) => {
            for key in keys {
                checker.rolled_back(key, note, now);
            }
        }
        End::Unknown(note) => {
            for key in keys {
                checker.unknown(key, note, now);
            }
        }
    }
    ended.text()
}

/// How a transaction ended.
enum End {
    Committed,
    RolledBack(String),
    Unknown(String),
}

impl End {
    fn text(&self) -> String {
        match self {
            Self::Committed => "committed".to_owned(),
            Self::RolledBack(note) => format!("not committed: {note}"),
            Self::Unknown(note) => format!("commit without an answer: {note}"),
        }
    }
}
