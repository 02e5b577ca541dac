//! Taking over the tables of the Go service (tests/hosts/sql/gorm.sql) with their rows, while that service goes on writing.

mod endless;
mod indexes;
mod interrupted;
mod million;
mod refused;

use std::cell::Cell;

use crate::migrate::assert_no_index_depends_on_a_collation;
use crate::support::*;

/// There once the tables are taken over.
const MADE_LAST: &str = "pg_class where relname = 'chat_tombstones'";

/// What the Go service does to write a message: two statements, each a transaction of its own.
pub const GO_SENDS: &str = "
insert into messages (conversation_id, sender_id, content, message_type, is_read, created_at, updated_at)
select id, participant1_id, 'meanwhile', 'text', false, now(), now() from conversations offset $1 limit 1;
update conversations set updated_at = now() where id = (select id from conversations offset $1 limit 1)";

/// The tables of the Go service with `messages` rows in 200 conversations and more: neither in the order of their times on
/// disk nor by id, some of them without a type, a time or a read mark, which gorm allows.
pub async fn go_service(messages: i64) -> Database {
    go_service_in(Database::empty().await, messages).await
}

/// The tables of [`go_service`], in this database, where nothing is yet.
pub async fn go_service_in(database: Database, messages: i64) -> Database {
    database
        .execute_as_owner(include_str!("../hosts/sql/gorm.sql"))
        .await;
    // So many users that every conversation gets some of the messages.
    let users = (messages / 100).clamp(200, 10_000) / 4;
    database
        .execute_as_owner(&format!(
            "insert into users (id, first_name, last_name, email)
             values ('{ALICE}', 'Alice', 'Archer', 'a'), ('{BORIS}', 'Boris', 'Baker', 'b');
             insert into users (first_name, last_name, email)
             select 'User', n::text, n || '@host.example' from generate_series(1, {users}) n;
             with numbered as (select id, row_number() over (order by email collate \"C\" desc) as n from users)
             insert into conversations (participant1_id, participant2_id, created_at, updated_at)
             select a.id, b.id, '2025-01-01', '2025-06-01'
               from numbered a join numbered b on b.n between a.n + 1 and a.n + 4;
             with numbered as (select c.*, row_number() over (order by id) - 1 as n from conversations c)
             insert into messages (conversation_id, sender_id, content, message_type, is_read, created_at, updated_at)
             select c.id, case g % 3 when 0 then c.participant1_id else c.participant2_id end, 'message ' || g,
                    (array['text', 'image', 'file', null])[1 + g % 4], nullif(g % 5, 4) = 0, t.at, t.at
               from generate_series(1::bigint, {messages}) g
               join numbered c on c.n = g * 31 % (select count(*) from conversations)
              cross join lateral (select case when g % 1000 > 0
                                              then timestamptz '2025-01-01' + make_interval(secs => g * 7919 % 999983) end as at) t;
             update conversations c set last_message_id = (select id from messages m where m.conversation_id = c.id limit 1);
             create schema expected;
             create table expected.messages as
             select m.*, row_number() over (partition by conversation_id order by created_at nulls first, id) as seq
               from messages m"
        ))
        .await;
    database.execute("vacuum analyze").await;
    database
}

/// Every row is there as it was, numbered by time; and everything that pgchat keeps besides is right.
pub async fn assert_taken_over(database: &Database, more: i64) {
    let rows = database.count("expected.messages").await;
    assert_eq!(database.count("messages").await, rows + more);
    for (what, query) in [
        (
            "changed rows",
            "expected.messages e left join messages m on m.id = e.id and m.seq = e.seq and m.content = e.content
               and m.conversation_id = e.conversation_id and m.sender_id = e.sender_id
               and m.message_type::text = coalesce(e.message_type, 'text') and m.is_read = coalesce(e.is_read, false)
               and m.created_at = coalesce(e.created_at, m.created_at)
             where m.id is null",
        ),
        (
            "gaps",
            "(select seq, row_number() over (partition by conversation_id order by seq) as place from messages) n
             where n.seq <> n.place",
        ),
        (
            "wrong readers",
            "messages m join conversations c on c.id = m.conversation_id
             where m.reader_id = m.sender_id or m.reader_id not in (c.participant1_id, c.participant2_id)",
        ),
        (
            "conversations that are not up to date",
            "conversations c left join lateral (select m.id, m.seq from messages m where m.conversation_id = c.id
                                                 order by m.seq desc limit 1) l on true
             where c.last_seq <> coalesce(l.seq, 0) or c.last_message_id is distinct from l.id
                or c.active_at > c.updated_at or c.active_at <= c.updated_at - chat_activity_lag()",
        ),
        (
            "tables without room for the next version of a row that every message changes",
            "pg_class where oid = 'conversations'::regclass and not coalesce(reloptions, '{}') @> '{fillfactor=60}'",
        ),
        ("invalid indexes", "pg_index where not indisvalid"),
        ("foreign keys that were not checked", "pg_constraint where contype = 'f' and not convalidated"),
        ("leftovers", "pg_class where relname = 'chat_adoption'"),
        (
            "leftover columns",
            "pg_attribute where attrelid = 'messages'::regclass and attname = 'chat_adopted_type'",
        ),
    ] {
        assert_eq!(database.count(query).await, 0, "{what}");
    }
}

#[tokio::test]
async fn the_rows_of_the_go_service_are_kept_and_numbered_by_time() {
    let database = go_service(2_000).await;
    // What each message would cost less without. Told once.
    let drop = "alter table messages drop constraint messages_sender_id_users_id_foreign";
    for is_told in [true, false] {
        let outcome = database.migrate(&[]).await;
        outcome.assert_ok();
        assert_eq!(outcome.stderr.contains(drop), is_told, "{outcome:#?}");
        assert_taken_over(&database, 0).await;
    }
    let keys = "pg_constraint where contype = 'f' and confrelid = 'users'::regclass";
    assert_eq!(database.count(keys).await, 3, "those that were there");

    // And they are a chat: history, unread counts, events.
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(BORIS, ALICE).await;
    let history = api.history(conversation).await;
    assert!(!history.is_empty());
    for message in &history {
        assert_message(message);
    }
    let unread = format!("messages where reader_id = '{ALICE}' and not is_read");
    assert_eq!(api.unread_count(ALICE).await, database.count(&unread).await);
    let mut boris = Socket::connect(&replica, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    assert_eq!(seq_of(&sent), history.len() as i64 + 1);
    assert_eq!(boris.expect("chat_message").await["data"], sent);
}

/// PostgreSQL makes none to a view. Nothing but the sender's then keeps a user who has messages.
#[tokio::test]
async fn the_senders_key_is_to_be_dropped_only_where_both_participants_have_keys() {
    let advice = "the chat does not need it: alter table messages drop constraint messages_sender_id_users_id_foreign";
    for (users, is_told) in [("users", true), ("people", false)] {
        let database = go_service(300).await;
        database
            .execute_as_owner(
                "create view people as select * from users;
                 do $$ declare key name; begin
                   for key in select conname from pg_constraint
                               where conrelid = 'conversations'::regclass and confrelid = 'users'::regclass loop
                     execute format('alter table conversations drop constraint %I', key);
                   end loop;
                 end $$",
            )
            .await;
        let outcome = database.migrate(&[("USERS_TABLE", users)]).await;
        outcome.assert_ok();
        assert_eq!(outcome.stderr.contains(advice), is_told, "{outcome:#?}");
    }
}

/// Whoever changed it would decide on the order of the messages.
#[tokio::test]
async fn what_is_planned_of_a_takeover_is_open_to_nobody_else() {
    let database = go_service(300).await;
    let role = database.role("anon").await;
    database
        .execute(&format!(
            "alter default privileges for role {OWNER} in schema public grant all on tables to {role}, public;
             create function wait_for_the_test() returns trigger language plpgsql as
             $$ begin perform pg_advisory_xact_lock(42); return new; end $$;
             create trigger wait_for_the_test after update on messages for each row execute function wait_for_the_test()"
        ))
        .await;
    let blocker = database.sql().await;
    let (lock, unlock) = (
        "select pg_advisory_lock(42)",
        "select pg_advisory_unlock(42)",
    );
    blocker.batch_execute(lock).await.expect("a lock");
    let looking = async {
        let plan = "pg_class where relname = 'chat_adoption'";
        eventually("the plan", || async {
            (database.count(plan).await == 1).then_some(())
        })
        .await;
        let open = format!(
            "{plan} and (has_any_column_privilege('{role}', oid, 'select, insert, update, references')
                         or has_table_privilege('{role}', oid, 'delete, truncate, trigger'))"
        );
        let open = database.count(&open).await;
        blocker.batch_execute(unlock).await.expect("unlocked");
        open
    };
    let (outcome, open) = tokio::join!(database.migrate(&[]), looking);
    outcome.assert_ok();
    assert_eq!(open, 0);
    assert_taken_over(&database, 0).await;
}

/// In a column of that name the row stays as it was.
#[tokio::test]
async fn what_the_go_service_had_deleted_is_shown_to_nobody() {
    let database = go_service(300).await;
    database
        .execute_as_owner(
            "alter table messages add column deleted_at timestamptz; update messages set deleted_at = now()",
        )
        .await;
    database.migrate(&[]).await.assert_ok();
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(BORIS, ALICE).await;
    let history = replica.api().history(conversation).await;
    assert!(!history.is_empty());
    assert!(history.iter().all(|message| message["content"] == ""));
    assert_eq!(replica.api().unread_count(ALICE).await, 0);
}

/// Names that PostgreSQL gives by itself, or that suggest themselves.
#[tokio::test]
async fn indexes_of_the_hosts_are_not_taken_for_pgchats() {
    let database = go_service(300).await;
    database
        .execute_as_owner(
            "alter table messages add column client_message_id text unique;
             alter table conversations add constraint conversations_pair_key unique (participant1_id, participant2_id);
             create index messages_conversation_seq_key on users (email);
             do $$ begin execute format('alter database %I set quote_all_identifiers = on', current_database()); end $$",
        )
        .await;
    database.migrate(&[]).await.assert_ok();
    let unique = "pg_index where indrelid in ('conversations'::regclass, 'messages'::regclass) and indisunique
                     and (indexprs is not null or indnatts = 2 and indrelid = 'messages'::regclass)";
    assert_eq!(database.count(unique).await, 3);
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(BORIS, ALICE).await;
    for status in [201, 200] {
        let api = replica.api();
        let sent = api.send_once(conversation, ALICE, "once", "m-1").await;
        sent.ok(status);
    }
    assert_no_index_depends_on_a_collation(&database).await;
}

/// Of such rows the mark's is the only transaction number.
#[tokio::test]
async fn who_was_away_when_a_message_of_the_go_service_was_read_is_told_of_it() {
    let database = go_service(300).await;
    database
        .execute_as_owner(&format!(
            "insert into messages (conversation_id, sender_id, content, created_at, updated_at)
             select id, '{BORIS}', 'unread', now(), now() from conversations
              where '{ALICE}' in (participant1_id, participant2_id) and '{BORIS}' in (participant1_id, participant2_id)"
        ))
        .await;
    database.migrate(&[]).await.assert_ok();
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    let marked = api.mark_read(conversation, ALICE).await.ok(200);

    let mut boris = Socket::resume(&replica, BORIS, &cursor).await;
    assert_eq!(boris.connected["data"]["resumed"], true);
    api.send(conversation, ALICE, "the end").await;
    let frames = boris.before_message("the end").await;
    let (mark, updated) = frames.split_last().expect("the mark");
    assert_eq!(mark["type"], "messages_read");
    assert_eq!(mark["data"]["upToSeq"], marked["readSeq"]);
    assert_eq!(marked["markedCount"], updated.len());
    let last = updated.last().expect("what was marked");
    assert_eq!(last["type"], "message_updated");
    assert_eq!(last["data"]["content"], "unread");
    assert_eq!(last["data"]["isRead"], true);
}

/// While the indexes are built the rows that were there have their numbers, and the triggers that number others are still to come.
#[tokio::test]
async fn what_the_go_service_writes_behind_the_numbering_is_taken_over_like_the_rest() {
    let database = go_service(300).await;
    // Whoever builds an index beside others waits until their snapshots are gone.
    let snapshot = async || {
        let reader = database.sql().await;
        let sql = "begin isolation level repeatable read; select from users";
        reader.batch_execute(sql).await.expect("a snapshot");
        reader
    };
    let built = async |index: &str| {
        let waits = format!(
            "pg_stat_activity where query like 'create%{index}%' and wait_event = 'virtualxid' and datname = current_database()"
        );
        eventually(index, || async {
            (database.count(&waits).await == 1).then_some(())
        })
        .await;
    };
    let ahead = snapshot().await;
    let conversation =
        "(select conversation_id from expected.messages where content = 'message 1')";
    let writing = async {
        // Ahead of the numbering, then behind it.
        built("chat_conversations_pair").await;
        let behind = snapshot().await;
        ahead.batch_execute("commit").await.expect("its end");
        built("chat_conversations_participant1").await;
        let write = format!(
            "insert into messages (conversation_id, sender_id, content, message_type, is_read, created_at, updated_at)
             select c.id, c.participant1_id, late.*
               from conversations c,
                    (values ('late 3', null, true, timestamptz '2026-01-01', null), ('late 2', 'image', null, '2025-12-01', '2025-12-02'),
                            ('late 1', 'file', false, null, timestamptz '2025-12-03')) late
              where c.id = {conversation};
             update messages set message_type = 'file' where content = 'message 5';
             update expected.messages set message_type = 'file' where content = 'message 5'"
        );
        database.execute(&write).await;
        behind.batch_execute("commit").await.expect("its end");
    };
    let (outcome, ()) = tokio::join!(database.migrate(&[]), writing);
    outcome.assert_ok();
    assert_taken_over(&database, 3).await;
    let late = format!(
        "messages m join (values ('late 1', 1, 'file', false, timestamptz '2025-12-03', timestamptz '2025-12-03'),
                                 ('late 2', 2, 'image', false, '2025-12-01', '2025-12-02'),
                                 ('late 3', 3, 'text', true, '2026-01-01', '2026-01-01')) l (content, place, type, is_read, created_at, updated_at)
           on m.content = l.content and m.message_type::text = l.type and m.is_read = l.is_read
              and m.created_at = l.created_at and m.updated_at = l.updated_at
              and m.seq = l.place + (select count(*) from expected.messages where conversation_id = {conversation})"
    );
    assert_eq!(database.count(&late).await, 3);
}

/// Until the last moment it is the other service's table, and from then on pgchat's triggers number what it inserts.
#[tokio::test]
async fn the_go_service_writes_on_while_its_tables_are_taken_over() {
    let database = go_service(20_000).await;
    let ended = Cell::new(false);
    let migrating = async {
        let outcome = database.migrate(&[]).await;
        ended.set(true);
        outcome
    };
    let writing = async {
        let sql = database.sql().await;
        let mut written = 0;
        loop {
            // Some before the migration, some during it, one after.
            let over = ended.get() || database.count(MADE_LAST).await > 0;
            let sends = GO_SENDS.replace("$1", &(written % 150).to_string());
            sql.batch_execute(&format!("set lock_timeout = '20s'; {sends}"))
                .await
                .expect("the Go service is not hindered");
            written += 1;
            if over {
                return written;
            }
        }
    };
    let (outcome, written) = tokio::join!(migrating, writing);
    outcome.assert_ok();
    assert!(written > 1, "the migration was over at once");
    assert_taken_over(&database, written).await;
}
