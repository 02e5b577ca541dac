//! Row-level security that the host has on its users table.

use crate::support::*;

/// The host's policies are for pgchat's owner, too, who is told of it.
#[tokio::test]
async fn users_whom_row_level_security_hides_do_not_exist_and_it_is_told() {
    let database = Database::fresh().await;
    database
        .execute(
            "alter table users enable row level security;
             create policy active on users for select using (is_active)",
        )
        .await;
    let replica = Replica::start(&database, &[]).await;
    assert!(
        replica
            .log()
            .contains("row-level security of users applies to"),
        "{}",
        replica.log()
    );
    let irene = format!("/api/v1/users/{IRENE}");
    replica
        .api()
        .get(&irene)
        .await
        .refused(404, "user_not_found");
    // As the documentation has it.
    database
        .execute(&format!(
            "create policy chat on users for select to {OWNER} using (true)"
        ))
        .await;
    assert_user(&replica.api().get(&irene).await.ok(200));
}

/// As hosts with many tenants have it: their own sessions say whose they are.
#[tokio::test]
async fn row_level_security_that_fails_for_the_chat_ends_the_start() {
    let database = Database::fresh().await;
    database
        .execute(
            "alter table users enable row level security;
             create policy own on users using (id = current_setting('app.tenant')::uuid)",
        )
        .await;
    for command in ["serve", "migrate"] {
        let outcome = pgchat(&[command], &settings(&database, &[])).await;
        outcome.assert_failed(
            1,
            &[
                "row-level security of users fails",
                "app.tenant",
                "create policy chat",
            ],
        );
    }
    // As it says.
    database
        .execute(&format!(
            "create policy chat on users for select to {OWNER} using (true)"
        ))
        .await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    api.send(conversation, ALICE, "hello").await;
}

/// The policy comes while replicas run: they are not ready until it lets the chat read the users, and say why.
#[tokio::test]
async fn row_level_security_that_begins_to_fail_is_told_by_the_probe() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute("alter table users enable row level security; create policy every on users using (true)")
        .await;
    let replica = Replica::start(&database, &[("USERS_TABLE_CHECK_SECONDS", "1")]).await;
    let api = replica.api();
    for (policy, word) in [
        ("id = current_setting('app.tenant')::uuid", "app.tenant"),
        ("last_name::integer > 0", "22P02"),
    ] {
        let before = replica.log().len();
        database
            .execute(&format!("alter policy every on users using ({policy})"))
            .await;
        eventually(policy, || async {
            let reply = api.get("/health/ready").await;
            let words = [
                "the users table does not fit any more: row-level security of users fails",
                word,
                "create policy chat",
            ];
            // Anybody may ask, and the error names the table and quotes a last name.
            for name in ["invalid input", "security", "policy", "app.tenant"] {
                assert!(!reply.text.contains(name), "{}", reply.text);
            }
            let told = &replica.log()[before..];
            (reply.status == 503 && words.iter().all(|word| told.contains(word)))
                .then(|| assert_eq!(reply.json()["checks"]["users"], "unavailable"))
        })
        .await;
        database
            .execute("alter policy every on users using (true)")
            .await;
        until_status(&replica, "/health/ready", 200).await;
        api.send(conversation, ALICE, policy).await;
    }
}

/// All replicas ask for the same user: if that were enough, one odd row would end the chat of all.
#[tokio::test]
async fn a_policy_that_fails_for_one_user_makes_no_replica_not_ready() {
    let database = Database::fresh().await;
    database.conversation(ALICE, BORIS).await;
    database
        .execute("alter table users enable row level security; create policy every on users using (true)")
        .await;
    let client = database.sql().await;
    let fails_for = |users: &str| {
        format!("alter policy every on users using (id not in ({users}) or last_name::integer > 0)")
    };
    for (users, is_ready) in [
        (format!("'{ALICE}'"), true),
        (format!("'{BORIS}'"), true),
        (format!("'{ALICE}', '{BORIS}'"), false),
    ] {
        database.execute(&fails_for(&users)).await;
        let tried = client.batch_execute("select chat_try_users()").await;
        assert_eq!(tried.is_ok(), is_ready, "{users}");
    }
}

/// Whose lock is in the way is no fault of a policy.
#[tokio::test]
async fn users_behind_row_level_security_are_waited_for_while_the_host_holds_their_table() {
    let database = Database::fresh().await;
    database
        .execute("alter table users enable row level security; create policy every on users using (true)")
        .await;
    let holder = database.holding("lock table users").await;
    let release = async {
        until_a_lock_is_waited_for(&database, "the users are asked for").await;
        eventually("that was given up", || async {
            let waiting = "pg_locks where not granted and relation = 'users'::regclass";
            (database.count(waiting).await == 0).then_some(())
        })
        .await;
        holder.batch_execute("commit").await.expect("its end");
    };
    let (outcome, ()) = tokio::join!(database.migrate(&[]), release);
    outcome.assert_ok();
}

/// A column that the chat would take has come, and the policy fails where it is linked anew: tried at each look.
#[tokio::test]
async fn a_table_that_cannot_be_linked_as_it_is_by_now_is_told_once() {
    let database = Database::fresh().await;
    database.conversation(CARLA, DAVID).await;
    let replica = Replica::start(&database, &[("USERS_TABLE_CHECK_SECONDS", "1")]).await;
    // A sequence counts what was rolled back, too.
    database
        .execute(&format!(
            "create sequence tries; grant usage on sequence tries to {OWNER}; grant select on users to {OWNER};
             create function fail() returns boolean language plpgsql as $$
               begin perform nextval('public.tries'); raise exception 'odd'; end $$;
             create policy odd on users using (case when id in ('{CARLA}', '{DAVID}') then true else fail() end);
             alter table users enable row level security, add deleted_at timestamptz"
        ))
        .await;
    eventually("it was tried three times", || async {
        (database.count("tries where last_value > 3").await == 1).then_some(())
    })
    .await;
    let told = "the users table has changed, and is not linked as it is yet";
    assert_eq!(replica.log().matches(told).count(), 1, "{}", replica.log());
    database.execute("drop policy odd on users").await;
    let policy = "create policy every on users using (true)";
    database.execute(policy).await;
    let linked = "the users table has changed: its columns were detected anew";
    eventually(linked, || async {
        replica.log().contains(linked).then_some(())
    })
    .await;
}
