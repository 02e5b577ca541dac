//! Taking over tables that another service made, with all their rows, while that service goes on
//! working.
//!
//! What takes long is done before the migrations and outside their one transaction: adding columns
//! (a moment under an exclusive lock), numbering the messages (batches, each a transaction of its
//! own), building the indexes (concurrently). Each step finds out by itself what is left to do, so
//! it can be interrupted at any moment and run again. `V1__tables.sql` does the rest: rows that
//! came meanwhile, and what makes the columns binding.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::catalog::has;
use super::lock_retries::{
    LockRetries, Purpose, is_locked, patiently, wait_briefly, wait_for_autovacuum, wait_for_long,
};
use crate::store::describe;
use crate::store::migration_files::{PRIVILEGES, section};

/// Whether the tables can be adopted; an error says what to do.
const CHECK: &str = include_str!("../../../sql/adopt/check.sql");

/// The host's indexes on the tables that are better dropped, and why.
const INDEXES: &str = include_str!("../../../sql/adopt/indexes.sql");

const TABLES: &str = include_str!("../../../sql/migrations/V1__tables.sql");

/// Messages in one transaction: their rows are locked for that long, a fraction of a second.
const BATCH: i64 = 5_000;

/// So few rows without a number may be left to the migration itself, which keeps others out
/// meanwhile. More are left where numbering them again would find as many.
const LEFT_TO_MIGRATION: i64 = 1_000;

/// The columns may only be of pgchat's own type in the end; until then the old column stays as it
/// is, and this one stands by.
const STAND_IN: &str = "
do $$
begin
  if to_regtype('chat_message_type') is null then
    create type chat_message_type as enum ('text', 'image', 'file');
  end if;
  if exists (select from pg_attribute
              where attrelid = 'messages'::regclass and attname = 'message_type' and not attisdropped
                and atttypid <> 'chat_message_type'::regtype) then
    alter table messages add column if not exists chat_adopted_type chat_message_type;
  end if;
end
$$";

/// Every message without a number: which it gets, by time within its conversation, and who reads
/// it. In the order in which the rows lie on disk. Unlogged: after a crash it is empty, and made
/// anew.
///
/// Where an earlier run was interrupted, some messages have their numbers already. Those in between
/// get the numbers that it left free, in the same order, and so what they would have got; the
/// others come behind.
const NUMBER: &str = "
drop table if exists chat_adoption;
create unlogged table chat_adoption as
with newest as materialized (
  select distinct on (m.conversation_id) m.conversation_id, m.seq, m.created_at, m.id,
         count(*) over (partition by m.conversation_id) as numbered
    from messages m
   where m.seq is not null
     -- All others are done with: in the second round that is almost all of the table, which need not be sorted.
     and m.conversation_id in (select o.conversation_id from messages o where o.seq is null)
   order by m.conversation_id, m.seq desc
), free as materialized (
  select n.conversation_id, s.seq,
         row_number() over (partition by n.conversation_id order by s.seq) as nth
    from newest n
   cross join lateral generate_series(1, n.seq) s (seq)
    left join messages m on m.conversation_id = n.conversation_id and m.seq = s.seq
   where n.numbered < n.seq and m.id is null
), open as materialized (
  select m.id, m.ctid as place, m.conversation_id, m.sender_id, m.created_at, coalesce(n.seq, 0) as newest_seq,
         n.seq is not null and (m.created_at is null or (m.created_at, m.id) < (n.created_at, n.id)) as in_between,
         row_number() over (partition by m.conversation_id order by m.created_at nulls first, m.id) as nth
    from messages m
    left join newest n on n.conversation_id = m.conversation_id
   where m.seq is null
), numbered as (
  select o.*, coalesce(f.seq, o.newest_seq + row_number() over (partition by o.conversation_id, f.seq is null order by o.nth)) as seq
    from open o
    left join free f on f.conversation_id = o.conversation_id and f.nth = o.nth and o.in_between
)
select row_number() over (order by o.place) as n, o.id, o.seq,
       case o.sender_id when c.participant1_id then c.participant2_id else c.participant1_id end as reader_id
  from numbered o
  join conversations c on c.id = o.conversation_id;
alter table chat_adoption add primary key (n);
analyze chat_adoption";

/// Rows `$1` < n <= `$2` of the plan get what it says.
const FILL: &str = "
update messages m
   set seq = a.seq,
       reader_id = a.reader_id,
       is_read = coalesce(m.is_read, false),
       created_at = coalesce(m.created_at, m.updated_at, now()),
       updated_at = coalesce(m.updated_at, m.created_at, now()){type}
  from chat_adoption a
 where a.n > $1 and a.n <= $2 and m.id = a.id and m.seq is null";

/// Conversations `$1` < id <= `$2` get their newest message.
const FILL_CONVERSATIONS: &str = "
update conversations c
   set last_seq = n.seq,
       last_message_id = n.message,
       created_at = coalesce(c.created_at, c.updated_at, now()),
       updated_at = coalesce(c.updated_at, c.created_at, now()),
       active_at = coalesce(c.updated_at, c.created_at, now())
  from (select p.id, l.seq, l.id as message
          from conversations p
         cross join lateral (select m.seq, m.id from messages m
                              where m.conversation_id = p.id and m.seq is not null
                              order by m.seq desc limit 1) l
         where p.id > $1 and p.id <= $2) n
 where n.id = c.id and c.last_seq <> n.seq";

/// Prepares the tables in the session's schema. Whether there are any that were not migrated yet.
pub(super) async fn prepare(client: &Client) -> Result<bool, Error> {
    if has(client, "to_regclass('chat_tombstones')").await? {
        return Ok(false);
    }
    client.batch_execute(CHECK).await?;
    if !has(client, "to_regclass('messages')").await?
        || !has(client, "to_regclass('conversations')").await?
    {
        return Ok(false);
    }
    log::info!("taking over the tables conversations and messages; they stay in use meanwhile");
    patiently(client, STAND_IN).await?;
    patiently(client, section(TABLES, "columns")).await?;
    // First of all: what it refuses is the other service's mistake, and must not happen behind our
    // back.
    let (pairs, others) = indexes();
    let built = build(client, &pairs).await;
    if let Err(error) = &built
        && error.code() == Some(&SqlState::UNIQUE_VIOLATION)
    {
        // Says which pairs.
        client.batch_execute(CHECK).await?;
    }
    built?;
    number(client).await?;
    for index in others {
        build(client, &index).await?;
    }
    fill_conversations(client).await?;
    reference(client).await?;
    Ok(true)
}

async fn number(client: &Client) -> Result<(), Error> {
    let stand_in = "(select 1 from pg_attribute where attrelid = 'messages'::regclass
                        and attname = 'chat_adopted_type' and not attisdropped)";
    let fill = FILL.replace(
        "{type}",
        match has(client, stand_in).await? {
            true => {
                ",\n chat_adopted_type = coalesce(m.message_type::text, 'text')::chat_message_type"
            }
            false => "",
        },
    );
    // In one transaction: by default the host may give others rights on whatever is made.
    let plan = format!("{NUMBER};{}", section(PRIVILEGES, "internal tables"));
    let mut before = i64::MAX;
    loop {
        // Again, since the other service goes on writing.
        client.batch_execute(&plan).await?;
        let total = "select coalesce(max(n), 0) from chat_adoption";
        let total: i64 = client.query_typed_one(total, &[]).await?.try_get(0)?;
        if total > 0 {
            fill_messages(client, &fill, total).await?;
        }
        // Where messages come nearly as fast as they are numbered, another round would leave as
        // many.
        if total <= LEFT_TO_MIGRATION || total > before / 10 * 9 {
            return client.batch_execute("drop table chat_adoption").await;
        }
        before = total;
    }
}

async fn fill_messages(client: &Client, fill: &str, total: i64) -> Result<(), Error> {
    // Each row by its primary key: no plan for a table of a million rows is better, and several are
    // worse. What is switched off counts as very dear wherever nothing else is possible, also in
    // the host's triggers, and would be compiled for each row.
    client
        .batch_execute(
            "set jit = off; set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off",
        )
        .await?;
    let started = Instant::now();
    let mut told = started;
    let mut done = 0;
    while done < total {
        let upto = (done + BATCH).min(total);
        let bounds = fill
            .replace("$1", &done.to_string())
            .replace("$2", &upto.to_string());
        patiently(client, &bounds).await?;
        done = upto;
        if told.elapsed() > Duration::from_secs(5) || done == total {
            told = Instant::now();
            log::info!(
                "taking over: {done} of {total} messages are numbered after {} s",
                started.elapsed().as_secs()
            );
        }
    }
    client
        .batch_execute(
            "reset jit; reset enable_seqscan; reset enable_hashjoin; reset enable_mergejoin",
        )
        .await
}

async fn fill_conversations(client: &Client) -> Result<(), Error> {
    let mut after = uuid::Uuid::nil();
    loop {
        let next = format!(
            "select id from (select id from conversations where id > '{after}' order by id limit {BATCH}) p
              order by id desc limit 1"
        );
        let Some(row) = client.query_typed_opt(&next, &[]).await? else {
            return Ok(());
        };
        let last: uuid::Uuid = row.try_get(0)?;
        let bounds = FILL_CONVERSATIONS
            .replace("$1", &format!("'{after}'"))
            .replace("$2", &format!("'{last}'"));
        patiently(client, &bounds).await?;
        after = last;
    }
}

/// A foreign key from messages to conversations where there is none. [`validate`] checks the rows
/// that are there.
async fn reference(client: &Client) -> Result<(), Error> {
    let missing = "(select 1 where not exists (select from pg_constraint
                      where conrelid = 'messages'::regclass and contype = 'f' and confrelid = 'conversations'::regclass))";
    if has(client, missing).await? {
        let add = "alter table messages add constraint messages_conversation_id_fkey
                   foreign key (conversation_id) references conversations (id) not valid";
        patiently(client, add).await?;
    }
    Ok(())
}

/// Foreign keys of the host's are left to the host. One costs each message a lock on its sender's
/// row, and proves nothing where both participants have keys. Of pgchat's there are none to a view:
/// so it is asked once the users table is linked.
pub(super) async fn tell_senders_keys(client: &Client) -> Result<(), Error> {
    let keys = "select format('the foreign key %I of messages has each message lock its sender''s row of %s; the chat does not need it: \
                               alter table %s drop constraint %I', k.conname, k.confrelid::regclass, k.conrelid::regclass, k.conname)
                  from pg_constraint k
                  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey)
                 where k.conrelid = 'messages'::regclass and k.contype = 'f' and k.conparentid = 0 and a.attname = 'sender_id'
                   and (select count(distinct b.attname) from pg_constraint p
                          join pg_attribute b on b.attrelid = p.conrelid and b.attnum = any (p.conkey)
                         where p.conrelid = 'conversations'::regclass and p.contype = 'f' and p.confrelid = k.confrelid
                           and b.attname in ('participant1_id', 'participant2_id')) = 2
                 order by k.conname";
    for row in client.query_typed(keys, &[]).await? {
        log::info!("{}", row.try_get::<_, &str>(0)?);
    }
    Ok(())
}

/// Indexes of the host's are left to the host as well.
pub(super) async fn tell_indexes(client: &Client) -> Result<(), Error> {
    for row in client.query_typed(INDEXES, &[]).await? {
        log::info!("{}", row.try_get::<_, &str>(0)?);
    }
    Ok(())
}

/// Checks the rows of pgchat's foreign keys, which are added without a look at them. Writers go on
/// meanwhile. Where a user is missing, because the other service's tables had no such keys, the old
/// rows stay, and new ones are checked all the same. So nothing depends on it, and where the table
/// is held (by a vacuum, or an index that is built) it is left to the next time.
pub(super) async fn validate(client: &Client, purpose: Purpose) -> Result<(), Error> {
    let open = "select format('alter table %s validate constraint %I', conrelid::regclass, conname), conname::text
                  from pg_constraint
                 where conrelid in (to_regclass('conversations'), to_regclass('messages'))
                   and conname in ('messages_conversation_id_fkey', 'chat_conversations_participant1_id_fkey',
                                   'chat_conversations_participant2_id_fkey')
                   and not convalidated";
    let mut retries = LockRetries::of(purpose);
    for row in client.query_typed(open, &[]).await? {
        // SHARE UPDATE EXCLUSIVE, which an autovacuum holds as well.
        wait_for_autovacuum(client).await?;
        let validated = retries.run(client, row.try_get(0)?).await;
        let waits_briefly = wait_briefly(client).await;
        match validated {
            Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
                log::warn!(
                    "rows from before pgchat refer to rows that do not exist; they stay: {}",
                    describe(&error)
                );
            }
            Err(error) if is_locked(&error) => {
                log::warn!(
                    "whether the rows from before pgchat fit its foreign key {} was not checked, and is at the next start or \
                     migration: {}",
                    row.try_get::<_, &str>(1)?,
                    describe(&error)
                );
            }
            ended => ended?,
        }
        waits_briefly?;
    }
    Ok(())
}

/// Builds an index of `V1__tables.sql` without keeping writers out. One that an interrupted build
/// left is dropped first.
async fn build(client: &Client, ddl: &str) -> Result<(), Error> {
    let name = index_name(ddl);
    let broken = format!(
        "(select 1 from pg_index where indexrelid = to_regclass('{name}') and not indisvalid)"
    );
    if has(client, &broken).await? {
        client
            .batch_execute(&format!("drop index concurrently {name}"))
            .await?;
    }
    log::info!("taking over: building the index {name}, where it is not there yet");
    // It waits for transactions to end, in no lock's queue.
    wait_for_long(client).await?;
    client
        .batch_execute(&ddl.replacen("index if not exists", "index concurrently if not exists", 1))
        .await?;
    wait_briefly(client).await
}

/// The statements of the indexes: that of the pairs, and the others.
fn indexes() -> (String, Vec<String>) {
    let mut statements = section(TABLES, "indexes")
        .split(';')
        .filter_map(|statement| {
            let at = statement.find("create ")?;
            Some(statement[at..].trim().to_owned())
        });
    let pairs = statements.next().unwrap_or_default();
    (pairs, statements.collect())
}

fn index_name(ddl: &str) -> &str {
    ddl.split("if not exists ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sections_of_the_migration_are_found() {
        assert_eq!(section(TABLES, "columns").matches("add column").count(), 21);
        let (pairs, others) = indexes();
        assert_eq!(index_name(&pairs), "chat_conversations_pair");
        let names: Vec<_> = others.iter().map(|ddl| index_name(ddl)).collect();
        let written = section(TABLES, "indexes")
            .matches("index if not exists")
            .count();
        assert_eq!(1 + names.len(), written, "{names:?}");
        assert!(names.contains(&"chat_messages_seq"));
        assert!(names.contains(&"chat_messages_read"));
        for ddl in others.iter().chain([&pairs]) {
            assert!(ddl.contains("index if not exists"), "{ddl}");
        }
    }
}
