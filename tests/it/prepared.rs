//! Statements are prepared once in a session of the pool, and functions keep their plans.

use futures_util::future::join_all;

use crate::support::*;

#[tokio::test]
async fn a_function_that_a_migration_changed_is_called_anew_and_no_request_fails() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    api.send(conversation, ALICE, "unread").await;
    assert_eq!(api.unread_count(BORIS).await, 1);
    api.mark_read(conversation, BORIS).await.ok(200);

    // Other columns come back: what was prepared is of no more use ("cached plan must not change result type").
    // A new version's would have the same names; the service does not look at them.
    database
        .execute_as_owner(
            "drop function chat_unread_count(uuid);
             create function chat_unread_count(user_id uuid) returns table (first bigint, second bigint)
                 language sql stable security definer set search_path from current as 'select 7::bigint, 3::bigint';
             grant execute on function chat_unread_count(uuid) to pgchat_service;
             alter function chat_mark_read(uuid, uuid, bigint, bigint, bigint) rename to chat_mark_read_before;
             create function chat_mark_read(conversation uuid, reader uuid, up_to_seq bigint, after_seq bigint)
                 returns table (first text, second bigint, third bigint, fourth bigint)
                 language sql security definer set search_path from current
                 as 'select * from chat_mark_read_before(conversation, reader, up_to_seq, after_seq)';
             grant execute on function chat_mark_read(uuid, uuid, bigint, bigint) to pgchat_service;",
        )
        .await;

    for _ in 0..3 {
        assert_eq!(api.unread_count(BORIS).await, 7);
    }
    // Nobody has anything to do about it.
    let log = replica.log();
    assert!(!log.contains("cached plan must not change"), "{log}");
    api.send(conversation, ALICE, "unread, too").await;
    let marked = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(marked["markedCount"], 1, "{marked}");
}

/// PL/pgSQL goes on with what it has planned for the column's former type, for as long as a session lives.
#[tokio::test]
async fn a_column_of_another_type_fails_no_request() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = &replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut ids = Vec::new();
    for _ in 0..16 {
        ids.push(id_of(&api.send(conversation, ALICE, "hello").await));
    }
    let edit_all = async |content: &str| {
        let edits = ids.iter().map(|id| api.edit(*id, ALICE, content));
        for edited in join_all(edits).await {
            edited.ok(200);
        }
    };
    // In all sessions.
    edit_all("before").await;
    edit_all("and again").await;
    for kind in ["varchar(1000)", "text"] {
        let alter = format!("alter table messages alter column content type {kind}");
        database.execute_as_owner(&alter).await;
        edit_all(kind).await;
        api.mark_read(conversation, BORIS).await.ok(200);
        let sent = api.send(conversation, BORIS, "afterwards").await;
        let deleted = api.delete_message(id_of(&sent), BORIS).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }
}

/// The function has been looked up by its name, and is not there any more when it is called: PostgreSQL calls that an internal error. In a
/// function in SQL it is not there when its rights are looked up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_is_made_anew_in_the_midst_of_a_statement_fails_no_request() {
    let database = Database::fresh().await;
    database
        .execute_as_owner(
            "create table host_door as select true as closed;
             create table host_news ();
             -- How often the door is looked at does not matter. PostgreSQL hears of what others have changed when it locks a table.
             create function host_wait() returns integer language plpgsql as $$
             begin
               while exists (select from host_door d where d.closed) loop
                 perform pg_sleep(0.01);
               end loop;
               perform from host_news;
               return 1;
             end $$;
             create function host_price() returns integer language plpgsql as 'begin return 1; end';
             create function host_both() returns integer language sql volatile as 'select host_wait(); select host_price()';
             create function host_check() returns trigger language plpgsql as $$
             begin
               case when new.content like 'in SQL%' then perform host_both();
                    when new.content like 'in PL/pgSQL%' then perform host_wait(), host_price();
                    else null;
               end case;
               return new;
             end $$;
             create trigger host_check before insert or update of content on messages for each row execute function host_check();
             grant select on host_door, host_news to public",
        )
        .await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let message = id_of(&api.send(conversation, ALICE, "hello").await);
    let meanwhile = async || {
        eventually("a statement that waits", || async {
            let waiting =
                "pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
            (database.count(waiting).await > 0).then_some(())
        })
        .await;
        database
            .execute_as_owner(
                "drop function host_price();
                 create function host_price() returns integer language plpgsql as 'begin return 2; end';
                 update host_door set closed = false",
            )
            .await;
    };
    for how in ["in SQL", "in PL/pgSQL"] {
        let close = "update host_door set closed = true";
        database.execute_as_owner(close).await;
        let (edited, ()) = tokio::join!(api.edit(message, ALICE, how), meanwhile());
        edited.ok(200);
        database.execute_as_owner(close).await;
        let (sent, ()) = tokio::join!(api.try_send(conversation, BORIS, how), meanwhile());
        sent.ok(201);
    }
}

/// With the codes that PostgreSQL has for plans that are out of date as well.
#[tokio::test]
async fn what_a_trigger_of_the_hosts_refuses_is_no_lost_statement_whatever_its_code() {
    let database = Database::fresh().await;
    database
        .execute_as_owner(
            "create function host_check() returns trigger language plpgsql as $$
             declare word text;
             begin
               if new.content = 'refused' then
                 raise feature_not_supported using message = 'not in this shop';
               end if;
               foreach word in array new.content loop end loop;
               return new;
             end $$;
             create trigger host_check before update of content on messages for each row execute function host_check()",
        )
        .await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let message = id_of(&api.send(conversation, ALICE, "hello").await);
    for (content, cause) in [
        ("refused", "not in this shop (0A000)"),
        ("wrong", "(42804)"),
    ] {
        // One a second has a line.
        let told = eventually(cause, || async {
            let refused = api.edit(message, ALICE, content).await;
            refused.refused(500, "internal");
            let log = replica.log();
            let mut lines = log.lines();
            lines.find(|line| line.contains(cause)).map(str::to_owned)
        })
        .await;
        assert!(told.contains("PL/pgSQL function host_check()"), "{told}");
    }
}

/// A function in SQL that is not inlined is parsed and planned at each call, and one in PL/pgSQL may be.
#[tokio::test]
async fn what_is_called_often_is_planned_once() {
    let database = Database::fresh().await;
    let sql = database.sql().await;
    let rows = sql
        .query(
            "select p.proname from pg_proc p join pg_language l on l.oid = p.prolang
              where p.proname like 'chat\\_%' and p.prosecdef and l.lanname = 'sql' order by 1",
            &[],
        )
        .await
        .expect("the functions");
    let planned_at_each_call: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    // At a start or an end, by a timer, and once for a socket behind a login.
    assert_eq!(
        planned_at_each_call,
        [
            "chat_create_ticket",
            "chat_leave",
            "chat_schema_versions",
            "chat_search_indexes",
            "chat_sweep_tickets",
        ]
    );
    // Of those with many tables PostgreSQL would make a plan for each set of parameters.
    let row = sql
        .query_one(
            "select count(*) from pg_proc
              where proname in ('chat_missed', 'chat_list_conversations', 'chat_list_matching_conversations', 'chat_list_messages')
                and 'plan_cache_mode=force_generic_plan' = any (proconfig)",
            &[],
        )
        .await
        .expect("their settings");
    assert_eq!(row.get::<_, i64>(0), 4);
}
