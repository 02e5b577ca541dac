//! Tables that somebody else holds for long, while a replica starts or serves: what it can do without is done later.

use uuid::Uuid;

use crate::support::*;

/// An index that is built concurrently, a `vacuum` of the host's or one to prevent wraparound holds a table in this mode.
#[tokio::test]
async fn a_replica_starts_though_maintenance_holds_conversations_with_unchecked_rows() {
    let mut database = Database::fresh().await;
    database.served_by = OWNER;
    let key = "chat_conversations_participant1_id_fkey";
    database
        .execute_as_owner(&format!(
            "alter table conversations drop constraint {key},
                add constraint {key} foreign key (participant1_id) references users (id) not valid"
        ))
        .await;
    let holder = database
        .holding("lock table conversations in share update exclusive mode")
        .await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
    let told = format!("its foreign key {key} was not checked");
    assert!(replica.log().contains(&told), "{}", replica.log());

    holder.batch_execute("rollback").await.expect("it ended");
    database.migrate(&[]).await.assert_ok();
    let unchecked = format!("pg_constraint where conname = '{key}' and not convalidated");
    assert_eq!(database.count(&unchecked).await, 0);
}

/// As `pg_dump` reads them. The host swaps its users table meanwhile: users are read from the new one at once, and whoever is only
/// in that one opens conversations once the reader is done. The service owns nothing.
#[tokio::test]
async fn users_of_a_table_that_was_replaced_chat_on_while_somebody_reads_conversations_for_long() {
    let database = Database::fresh().await;
    let settings = [("USERS_TABLE_CHECK_SECONDS", "1")];
    let running = Replica::start(&database, &settings).await;
    let conversation = running.api().open_conversation(ALICE, BORIS).await;
    let reader = database.holding("select from conversations").await;
    database
        .execute(&format!(
            "alter table users rename to users_old;
             create table users (id uuid primary key, given_name text);
             insert into users select id, first_name from users_old;
             insert into users values ('{NOBODY}', 'Newt');
             grant select, references (id) on users to {OWNER}"
        ))
        .await;

    let path = format!("/api/v1/users/{NOBODY}");
    eventually("the new table's users are read", || async {
        (running.api().status(&path).await == Some(200)).then_some(())
    })
    .await;
    running.api().send(conversation, ALICE, "hello").await;
    let left = "the foreign keys of conversations to the users table are not as they should be";
    until_logged(&running, left).await;

    let started = Replica::start(&database, &settings).await;
    started.api().send(conversation, BORIS, "hello").await;
    let keys = "pg_constraint where contype = 'f' and confrelid = 'users'::regclass";
    assert_eq!(database.count(keys).await, 0, "somebody reads");

    reader.batch_execute("commit").await.expect("it has read");
    eventually("the foreign keys are mended", || async {
        (database.count(keys).await == 2).then_some(())
    })
    .await;
    running.api().open_conversation(ALICE, NOBODY).await;
}

/// Nobody reads: they do not wait for the next time at which they would be looked at.
#[tokio::test]
async fn foreign_keys_follow_at_once_where_nobody_holds_the_tables() {
    let database = Database::fresh().await;
    let running = Replica::start(&database, &[]).await;
    database
        .execute(&format!(
            "alter table users rename to users_old;
             create table users (id uuid primary key, given_name text);
             insert into users select id, first_name from users_old;
             grant select, references (id) on users to {OWNER}"
        ))
        .await;
    let keys = "pg_constraint where contype = 'f' and confrelid = 'users'::regclass";
    eventually("the foreign keys follow", || async {
        (database.count(keys).await == 2).then_some(())
    })
    .await;
    running.api().open_conversation(ALICE, BORIS).await;
}

/// It is read as the one before, so nothing else tells of it.
#[tokio::test]
async fn foreign_keys_follow_to_a_table_of_the_same_columns_that_takes_the_place_of_the_users() {
    let database = Database::fresh().await;
    let running = Replica::start(&database, &[]).await;
    let keys = |table: &str| {
        format!("pg_constraint where contype = 'f' and confrelid = '{table}'::regclass")
    };
    for (former, user) in [("users_old", NOBODY), ("users_older", Uuid::from_u128(7))] {
        database
            .execute(&format!(
                "begin;
                 create table users_new (like users including all);
                 insert into users_new select * from users;
                 insert into users_new (id, first_name, last_name, email) values ('{user}', 'Newt', 'Newman', '{user}@host.example');
                 grant select, references (id) on users_new to {OWNER};
                 alter table users rename to {former};
                 alter table users_new rename to users;
                 commit"
            ))
            .await;
        eventually("the foreign keys follow", || async {
            (database.count(&keys("users")).await == 2).then_some(())
        })
        .await;
        assert_eq!(database.count(&keys(former)).await, 0);
        running.api().open_conversation(ALICE, user).await;
    }
}

/// Nobody waits for them yet, and whom a conversation has must not be deleted. One of them migrates, and the other finds all
/// migrations applied; when the first one is gone, so does the next.
#[tokio::test]
async fn services_that_are_new_wait_for_their_foreign_keys() {
    let database = Database::with_users().await;
    let holder = database
        .holding("lock table users in share update exclusive mode")
        .await;
    let has_tried = |replica: &Replica| {
        let log = replica.log();
        let tries = log.matches("another transaction holds the tables").count();
        for early in ["listening on", GOES_ON] {
            assert!(!log.contains(early), "{log}");
        }
        tries >= 5
    };
    let mut first = Replica::launch(&database, &[]);
    eventually_within(3 * DEADLINE, "it has tried some times", || async {
        has_tried(&first).then_some(())
    })
    .await;
    first.kill();

    let mut replicas = [(); 2].map(|()| Replica::launch(&database, &[]));
    // Longer than a start has patience where it can do without.
    eventually_within(3 * DEADLINE, "one tries and one waits", || async {
        let waited = "pg_stat_activity where application_name = 'pgchat migrate' and datname = current_database()
                        and backend_start < clock_timestamp() - interval '8 seconds'";
        let tried = replicas.iter().map(has_tried).filter(|tried| *tried);
        (tried.count() == 1 && database.count(waited).await == 2).then_some(())
    })
    .await;
    holder.batch_execute("rollback").await.expect("it ended");
    let keys = "pg_constraint where contype = 'f' and confrelid = 'users'::regclass";
    for replica in &mut replicas {
        replica.until_ready().await;
        assert_eq!(database.count(keys).await, 2);
    }
}

/// Said by a replica that waits no longer for a session that migrates. Of those that wait for foreign keys one may say so in the moment in which
/// they are there and the session has not ended.
const GOES_ON: &str = "another session still migrates";

/// What `pgchat migrate` holds for as long as others hold the tables.
const MIGRATING: &str = "select pg_advisory_lock(1885562997, 0)";

/// A rescheduled pod, of whichever version: Kubernetes would end it again and again.
#[tokio::test]
async fn a_replica_serves_while_another_session_migrates_for_long() {
    for served_by in [SERVICE, OWNER] {
        let mut database = Database::fresh().await;
        database.served_by = served_by;
        let migrating = database.sql().await;
        migrating.batch_execute(MIGRATING).await.expect("the lock");
        let replica = Replica::start(&database, &[]).await;
        let conversation = replica.api().open_conversation(ALICE, BORIS).await;
        replica.api().send(conversation, ALICE, "hello").await;
        let log = replica.log();
        assert!(log.contains(GOES_ON), "{log}");
        drop(migrating);
    }
}

#[tokio::test]
async fn a_users_table_that_could_not_be_linked_at_the_start_is_linked_afterwards() {
    let mut database = Database::fresh().await;
    database.served_by = OWNER;
    database
        .execute_as_owner(&format!(
            "create table people (id uuid primary key, given_name text);
             insert into people values ('{NOBODY}', 'Newt'), ('{ALICE}', 'Alice')"
        ))
        .await;
    let migrating = database.sql().await;
    migrating.batch_execute(MIGRATING).await.expect("the lock");
    let settings = [
        ("USERS_TABLE", "people"),
        ("USERS_TABLE_CHECK_SECONDS", "1"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let path = format!("/api/v1/users/{NOBODY}");
    eventually("its users are read", || async {
        (replica.api().status(&path).await == Some(200)).then_some(())
    })
    .await;
    let keys = "pg_constraint where contype = 'f' and confrelid = 'people'::regclass";
    eventually("the foreign keys follow", || async {
        (database.count(keys).await == 2).then_some(())
    })
    .await;
    replica.api().open_conversation(ALICE, NOBODY).await;
    drop(migrating);
}

#[tokio::test]
async fn a_replica_waits_for_migrations_that_it_lacks_and_no_longer() {
    for served_by in [SERVICE, OWNER] {
        let mut database = Database::fresh().await;
        database.served_by = served_by;
        database
            .execute(
                "create table kept as select * from chat_schema_history order by version desc limit 1;
                 delete from chat_schema_history where version = (select version from kept)",
            )
            .await;
        let migrating = database.sql().await;
        migrating.batch_execute(MIGRATING).await.expect("the lock");
        let mut replica = Replica::launch(&database, &[]);
        // Longer than one waits that lacks nothing.
        eventually("it has waited for long", || async {
            let waiting = "pg_stat_activity where application_name = 'pgchat migrate' and datname = current_database()
                              and backend_start < clock_timestamp() - interval '8 seconds'";
            let log = replica.log();
            assert!(!log.contains(GOES_ON), "{log}");
            (database.count(waiting).await == 1).then_some(())
        })
        .await;
        database
            .execute("insert into chat_schema_history select * from kept")
            .await;
        replica.until_ready().await;
        drop(migrating);
    }
}
