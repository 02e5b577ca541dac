//! Rows that cannot be taken over as they are: named, with what to do, and nothing is touched.

use futures_util::stream::{self, StreamExt};

use super::{GO_SENDS, assert_taken_over, go_service};
use crate::support::*;

#[tokio::test]
async fn pairs_that_stand_twice_are_merged_by_the_sql_that_is_printed() {
    let database = go_service(2_000).await;
    database
        .execute(
            "with twice as (
               insert into conversations (participant1_id, participant2_id, created_at, updated_at)
               select participant2_id, participant1_id, '2025-02-01', '2025-02-01' from conversations limit 3
               returning id, participant1_id)
             insert into messages (conversation_id, sender_id, content, created_at, updated_at)
             select id, participant1_id, 'in the wrong one', '2024-12-31', '2024-12-31' from twice",
        )
        .await;
    let rows = database.count("messages").await;
    let conversations = database.count("conversations").await;

    let outcome = database.migrate(&[]).await;

    outcome.assert_failed(1, &["conversations", "same two participants"]);
    let told = outcome.last_line().to_owned();
    let sql = told
        .split_once("begin;")
        .and_then(|(_, rest)| rest.rsplit_once("commit;"))
        .map(|(sql, _)| format!("begin; {sql} commit;"))
        .unwrap_or_else(|| panic!("no SQL: {told}"));
    let columns = "pg_attribute where attrelid = 'messages'::regclass and attname = 'seq'";
    assert_eq!(database.count(columns).await, 0, "nothing was done");

    database.execute(&sql).await;
    database.migrate(&[]).await.assert_ok();
    assert_eq!(database.count("messages").await, rows);
    assert_eq!(database.count("conversations").await, conversations - 3);
    // The oldest of their conversations but for those that have no time.
    let merged = "messages m where content = 'in the wrong one' and seq = 1 + (
                    select count(*) from messages o where o.conversation_id = m.conversation_id
                       and exists (select from expected.messages e where e.id = o.id and e.created_at is null))";
    assert_eq!(database.count(merged).await, 3);
}

#[tokio::test]
async fn rows_that_fit_nowhere_are_counted_and_what_mends_them_is_told() {
    let cases = [
        (
            "alter table messages drop constraint messages_conversation_id_conversations_id_foreign;
             delete from conversations where id = (select conversation_id from messages limit 1)",
            ["conversations that do not exist", "delete from messages"],
            "delete from messages m where not exists (select from conversations c where c.id = m.conversation_id)",
        ),
        (
            "update messages set message_type = 'video' where content = 'message 3'",
            ["'video'", "update messages"],
            "update messages set message_type = 'file' where message_type = 'video'",
        ),
        (
            "alter table messages alter column content drop not null; update messages set content = null where content = 'message 3'",
            ["without a sender or content", "update messages"],
            "update messages set content = '' where content is null",
        ),
        (
            "alter table conversations alter column participant2_id drop not null;
             update conversations set participant2_id = null where id = (select conversation_id from messages limit 1)",
            ["without one of their participants", "delete from conversations"],
            "delete from messages m using conversations c where c.id = m.conversation_id and c.participant2_id is null;
             delete from conversations where participant2_id is null",
        ),
        (
            "alter table messages alter column sender_id drop not null,
               add constraint sent_by foreign key (sender_id) references users (id) on delete set null",
            ["sent_by", "alter table messages drop constraint sent_by"],
            "alter table messages drop constraint sent_by, add constraint sent_by foreign key (sender_id) references users(id)",
        ),
        (
            "alter table messages add column client_message_id uuid",
            ["client_message_id", "as text"],
            "alter table messages rename column client_message_id to draft_id",
        ),
        (
            "alter table messages add column seq bigserial",
            ["seq", "default nextval"],
            "alter table messages rename column seq to number",
        ),
        (
            "alter table messages add column client_message_id text not null default ''; \
             alter table messages alter column client_message_id drop default",
            ["text not null", "as text"],
            "alter table messages alter column client_message_id drop not null; update messages set client_message_id = null",
        ),
        (
            "alter table messages add column client_message_id text;
             update messages set client_message_id = 'm-' || length(content)",
            ["a sender has used more than once", "u.n > 1"],
            "with used as (select id, row_number() over (partition by sender_id, client_message_id order by created_at, id) as n
                             from messages where client_message_id is not null)
             update messages m set client_message_id = null from used u where u.id = m.id and u.n > 1",
        ),
        (
            "alter table messages add column revision int",
            ["(integer)", "as integer not null default 1"],
            "alter table messages drop column revision",
        ),
        (
            "alter table messages add column deleted_at timestamptz not null default now()",
            ["deleted_at", "not null default now()"],
            "alter table messages drop column deleted_at",
        ),
        (
            "alter table messages add column shop int not null default 0; alter table messages alter column shop drop default",
            ["fill in shop of messages", "alter column shop set default"],
            "alter table messages alter column shop set default 0",
        ),
        (
            "alter table messages drop constraint messages_pkey",
            ["the id of messages", "alter table messages add primary key (id)"],
            "alter table messages add primary key (id)",
        ),
        (
            "create function touch() returns trigger language plpgsql as $$ begin new.updated_at := now(); return new; end $$;
             create trigger touch before update on conversations for each row execute function touch()",
            ["touch of conversations", "alter table conversations disable trigger touch"],
            "alter table conversations disable trigger touch",
        ),
        (
            "alter table messages drop column updated_at, add column updated_at timestamptz generated always as (created_at) stored",
            ["updated_at", "generated"],
            "alter table messages alter column updated_at drop expression",
        ),
        (
            "create view unread as select message_type, count(*) from messages where not is_read group by 1",
            ["used by view unread", "drop that"],
            "drop view unread",
        ),
        (
            "alter table messages add column client_message_id text;
             create view named as select * from messages;
             create trigger named after insert on messages for each row when (new.client_message_id <> '')
               execute function suppress_redundant_updates_trigger();
             create policy named on messages using (client_message_id <> '')",
            [
                "client_message_id of messages gets the collation \"C\"",
                "used by policy named on table messages, trigger named on table messages, view named",
            ],
            "drop view named; drop trigger named on messages; drop policy named on messages",
        ),
        (
            "alter table messages add column shown text generated always as (upper(message_type)) stored",
            ["column shown of table messages", "drop that"],
            "alter table messages drop column shown",
        ),
        (
            "with alone as (insert into conversations (participant1_id, participant2_id) select id, id from users limit 1 returning *)
             insert into messages (conversation_id, sender_id, content) select id, participant1_id, 'a note' from alone",
            ["users with themselves", "delete from conversations"],
            "delete from messages where content = 'a note'; delete from conversations where participant1_id = participant2_id",
        ),
        (
            "alter table messages alter column created_at type timestamp",
            ["created_at", "timestamp"],
            "alter table messages alter column created_at type timestamptz using created_at at time zone 'UTC'",
        ),
    ];
    let told = |(setup, words, mend): (&'static str, [&'static str; 2], &'static str)| async move {
        let database = go_service(300).await;
        database.execute(setup).await;
        database.migrate(&[]).await.assert_failed(1, &words);
        database.execute(mend).await;
        database.migrate(&[]).await.assert_ok();
    };
    stream::iter(cases).for_each_concurrent(4, told).await;
}

#[tokio::test]
async fn what_every_message_and_conversation_needs_can_no_longer_be_null() {
    let database = go_service(300).await;
    database
        .execute(
            "alter table messages alter column sender_id drop not null, alter column content drop not null,
               alter column conversation_id drop not null;
             alter table conversations alter column participant1_id drop not null, alter column participant2_id drop not null",
        )
        .await;
    database.migrate(&[]).await.assert_ok();
    let nullable = database
        .count(
            "pg_attribute where not attnotnull
                and (attrelid = 'messages'::regclass and attname in ('id', 'conversation_id', 'sender_id', 'reader_id', 'content', 'seq')
                     or attrelid = 'conversations'::regclass and attname in ('id', 'participant1_id', 'participant2_id', 'last_seq'))",
        )
        .await;
    assert_eq!(nullable, 0);
}

/// The other service's tables had no foreign keys to the users, and some have been deleted: their messages stay.
#[tokio::test]
async fn rows_of_users_who_are_not_there_any_more_stay_and_are_told_of() {
    let database = go_service(300).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content, created_at, updated_at)
             select id, '{BORIS}', 'I am leaving', now(), now() from conversations where participant1_id = '{BORIS}';
             alter table messages drop constraint messages_sender_id_users_id_foreign;
             alter table conversations drop constraint conversations_participant1_id_users_id_foreign,
               drop constraint conversations_participant2_id_users_id_foreign;
             delete from users where id = '{BORIS}'"
        ))
        .await;
    for _ in 0..2 {
        let outcome = database.migrate(&[]).await;
        outcome.assert_ok();
        let key = "chat_conversations_participant1_id_fkey";
        assert!(outcome.stderr.contains(key), "{key}: {outcome:#?}");
    }
    let replica = Replica::start(&database, &[]).await;
    let listed = replica.api().conversations(ALICE).await;
    let gone = listed
        .iter()
        .find(|one| {
            [&one["participant1Id"], &one["participant2Id"]].contains(&&BORIS.to_string().into())
        })
        .expect("the conversation with Boris");
    let history = replica.api().history(id_of(gone)).await;
    assert!(!history.is_empty());
    replica.api().send(id_of(gone), ALICE, "still there?").await;
    // New rows are checked.
    replica
        .api()
        .try_open_conversation(CARLA, BORIS)
        .await
        .refused(404, "user_not_found");
    let sql = database.sql().await;
    let refused = sql
        .batch_execute(&format!(
            "insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{CARLA}')"
        ))
        .await
        .expect_err("no such user");
    assert_eq!(refused.code().map(|code| code.code()), Some("23503"));
}

/// The role that migrates was forgotten: nothing is begun that it could not end.
#[tokio::test]
async fn tables_of_another_owner_are_not_begun_and_handed_over_by_the_sql_that_is_printed() {
    let database = go_service(300).await;
    let service = database.role("go").await;
    database
        .execute(&format!(
            "alter table conversations owner to {service}; alter table messages owner to {service};
             grant select, references on users to {service}"
        ))
        .await;
    // Everything that there is, by its kind and owner.
    let before = catalogue(&database).await;

    let outcome = database.migrate(&[]).await;

    let belongs = format!("table messages belongs to {service}");
    outcome.assert_failed(1, &[&belongs, OWNER, "sql/roles.sql"]);
    assert_eq!(catalogue(&database).await, before, "nothing was done");

    let told = outcome.last_line().to_owned();
    let sql = told
        .split_once("begin;")
        .and_then(|(_, rest)| rest.split_once("commit"))
        .map(|(sql, _)| sql)
        .unwrap_or_else(|| panic!("no SQL: {told}"));
    database.execute(sql).await;
    database.migrate(&[]).await.assert_ok();
    assert_taken_over(&database, 0).await;
    // And the other service goes on by its own name.
    let go = database.sql_as(&service).await;
    let sends = GO_SENDS.replace("$1", "7");
    go.batch_execute(&sends).await.expect("not hindered");
    assert_taken_over(&database, 1).await;
}

async fn catalogue(database: &Database) -> Vec<String> {
    let sql = "select concat_ws(' ', 'relation', relname, relkind, pg_get_userbyid(relowner), relnatts, relhastriggers, relacl)
                 from pg_class where relnamespace = 'public'::regnamespace
               union all select concat_ws(' ', 'type', typname, pg_get_userbyid(typowner))
                 from pg_type where typnamespace = 'public'::regnamespace
               union all select concat_ws(' ', 'routine', oid::regprocedure)
                 from pg_proc where pronamespace = 'public'::regnamespace
               order by 1";
    let rows = database.sql().await.query(sql, &[]).await;
    rows.expect("the catalogue")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// What somebody deleted softly before is not shown again.
#[tokio::test]
async fn the_content_of_messages_that_gorm_deleted_softly_is_not_shown() {
    let database = go_service(300).await;
    database
        .execute(
            "alter table messages add column deleted_at timestamptz; update messages set deleted_at = now()",
        )
        .await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let history = replica.api().history(conversation).await;
    assert!(!history.is_empty());
    for message in history {
        assert_eq!(message["content"], "");
        assert_time(&message, "deletedAt");
    }
}
