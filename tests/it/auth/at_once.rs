//! Many who come at once: one query answers for all who wait, and what is wrong with one of them is theirs alone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::tokens::token;
use super::*;
use crate::security::attackers;
use crate::support::*;

/// Over one connection users are asked about.
const ONE_QUERY_AT_A_TIME: (&str, &str) = ("DB_POOL_SIZE", "4");

/// Another server opens a socket for this user.
async fn opens(replica: &Replica, user: Uuid) -> (Uuid, Reply) {
    let bearer = format!("Bearer {SERVICE_TOKEN}");
    let path = format!("/ws?user_id={user}");
    let reply = handshake(replica, &path, &[("authorization", &bearer)]).await;
    (user, reply)
}

/// Waits until so many have come since `before` files and connections were open.
async fn until_come(replica: &Replica, before: usize, count: usize) {
    eventually("all have come", || async {
        (replica.open_files() >= before + count).then_some(())
    })
    .await;
}

/// As when a replica is lost, and all who were there come to another one. The database is far away: 0.6 s for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_come_at_once_are_let_in_by_a_few_queries_though_the_database_is_slow() {
    const SOCKETS: i32 = 300;
    let database = Database::fresh().await;
    let users = database.add_users(SOCKETS).await;
    let proxy = Proxy::before(&database).await;
    // As behind a pooler: each query says what it asks for.
    let settings = [&proxy.for_all()[..], &proxy.for_listener()].concat();
    let replica = Replica::start(&database, &settings).await;
    let asked = || proxy.round_trips(&["chat_active_users("]).0;
    assert_eq!(asked(), 0);
    proxy.delay(Duration::from_millis(300));

    let handshakes = users
        .iter()
        .map(|user| attackers::handshake(replica.port(), *user));
    let answers = within("answers", join_all(handshakes)).await;
    let let_in = answers.iter().filter(|(status, _)| *status == 101).count();
    assert_eq!(let_in, users.len());
    let asked = asked();
    assert!(asked > 0 && asked * 5 <= users.len(), "{asked} queries");
}

/// A view of the host's fails for one user; one does not exist, one is deactivated, and some do not wait for their answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_are_asked_about_together_each_has_an_answer_of_their_own() {
    const EACH: usize = 10;
    let database = Database::fresh().await;
    let refusals = ("REFUSED_HANDSHAKES_PER_SECOND", "0");
    let settings = [ONE_QUERY_AT_A_TIME, refusals, ("DB_TIMEOUT_SECONDS", "60")];
    let replica = Arc::new(replica(&database, &settings).await);
    let deactivate = format!("update people set is_active = false where id = '{CARLA}'");
    users_view_that_fails_for(&database, DAVID, &deactivate).await;
    let holder = database
        .holding("lock table people in access exclusive mode")
        .await;

    let before = replica.open_files();
    let mut gone = JoinSet::new();
    let mut waiting = JoinSet::new();
    for user in [ALICE, NOBODY, CARLA, DAVID, BORIS].repeat(EACH) {
        let (here, there) = (replica.clone(), replica.clone());
        gone.spawn(async move { opens(&here, ELENA).await });
        waiting.spawn(async move { opens(&there, user).await });
    }
    until_come(&replica, before, gone.len() + waiting.len()).await;
    gone.shutdown().await;
    holder.batch_execute("commit").await.expect("its end");

    for (user, reply) in within("answers", waiting.join_all()).await {
        match user {
            NOBODY => _ = reply.refused(404, "user_not_found"),
            CARLA => _ = reply.refused(403, "user_deactivated"),
            DAVID => _ = reply.refused(500, "internal"),
            _ => assert_eq!(reply.status, 101, "{user}"),
        }
    }
}

/// By a check of a domain, by a division, and by a subquery.
#[tokio::test]
async fn of_many_in_one_query_only_those_for_whom_the_view_fails_have_no_answer() {
    let database = Database::fresh().await;
    let mut users = database.add_users(100).await;
    users.extend([ALICE, NOBODY, BORIS, CARLA, DAVID]);
    database
        .execute(&format!(
            "begin;
             create domain flag as boolean check (value);
             alter table users rename to people;
             create view users as
               select id, first_name, last_name, avatar_url, role,
                      case id when '{BORIS}' then (email is null)::flag::boolean
                              when '{CARLA}' then 1 / (length(email) - length(email)) > 0
                              when '{DAVID}' then (select is_active from people limit 2)
                              else is_active end as is_active
                 from people;
             grant select on users to public;
             commit"
        ))
        .await;
    let sql = "select id, is_active, failure from chat_active_users($1)";
    let session = database.sql_as(SERVICE).await;
    let rows = session.query(sql, &[&users]).await.expect("answers");
    let mut failed: Vec<Uuid> = Vec::new();
    for row in &rows {
        match row.get::<_, Option<String>>(2) {
            Some(_) => failed.push(row.get(0)),
            None => assert!(row.get::<_, bool>(1)),
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, [BORIS, CARLA, DAVID]);
    assert_eq!(rows.len(), users.len() - 1, "one does not exist");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_fails_is_told_to_all_who_waited_for_it_and_to_nobody_else() {
    const WAITING: usize = 20;
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let settings = [
        &proxy.for_all()[..],
        &proxy.for_listener(),
        &[ONE_QUERY_AT_A_TIME, ("DB_TIMEOUT_SECONDS", "60")],
    ];
    let replica = Replica::start(&database, &settings.concat()).await;
    let holder = database.holding("alter table users rename to away").await;
    let before = replica.open_files();
    let commit = async {
        until_come(&replica, before, WAITING).await;
        holder.batch_execute("commit").await.expect("its end");
    };
    let handshakes = (0..WAITING).map(|_| attackers::handshake(replica.port(), ALICE));
    let (answers, ()) = within("answers", async {
        tokio::join!(join_all(handshakes), commit)
    })
    .await;
    for (status, _) in answers {
        assert_eq!(status, 500);
    }
    // Whoever the table fails for is not looked for where it fails for everybody.
    let asked = proxy.round_trips(&["chat_active_users("]).0;
    assert!(asked * 2 <= WAITING, "{asked} queries");
    database.execute("alter table away rename to users").await;
    assert_eq!(attackers::handshake(replica.port(), BORIS).await.0, 101);
}

/// Whoever has waited long for their turn has time left to be answered, or in the end nobody would be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_used_up_though_ever_more_come_than_the_database_takes() {
    const TICKETS: usize = 300;
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let settings = [
        &proxy.for_all()[..],
        &[ONE_QUERY_AT_A_TIME, ("DB_TIMEOUT_SECONDS", "2")],
    ];
    let taking = replica(&database, &settings.concat()).await;
    // Made at another one, whose patience with the database is longer.
    let settings = [
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("TICKET_SECONDS", "300"),
        ("DB_TIMEOUT_SECONDS", "60"),
    ];
    let making = replica(&database, &settings).await;
    let mut paths = Vec::new();
    for _ in 0..TICKETS {
        let asked = making.api().request(Method::POST, "/api/v1/ws/ticket");
        let reply = Reply::to(asked.bearer_auth(token(ALICE))).await.ok(201);
        let ticket = reply["ticket"].as_str().expect("a ticket");
        paths.push(format!("/ws?ticket={ticket}"));
    }
    // A ticket takes 0.1 s, and every 0.02 s another one comes.
    proxy.delay(Duration::from_millis(50));
    let come = paths.iter().zip(1..).map(|(path, n)| {
        let taking = &taking;
        async move {
            tokio::time::sleep(Duration::from_millis(20) * n).await;
            handshake(taking, path, &[]).await.status
        }
    });
    let statuses = within("answers", join_all(come)).await;
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!(count(101) + count(503), TICKETS, "{statuses:?}");
    let last = &statuses[TICKETS / 2..];
    assert!(last.contains(&101), "{statuses:?}");
}

/// One after the other they would wait for twelve times the database's deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_that_wait_for_a_silent_database_are_refused_in_its_time() {
    let database = Database::fresh().await;
    let settings = [ONE_QUERY_AT_A_TIME, ("DB_TIMEOUT_SECONDS", "10")];
    let replica = replica(&database, &settings).await;
    let _holder = database
        .holding("lock table chat_tickets in access exclusive mode")
        .await;
    let path = format!("/ws?ticket={}", "0".repeat(64));
    let waiting = join_all((0..12).map(|_| handshake(&replica, &path, &[])));
    // One has its turn.
    let figure = "pgchat_turns_waiting{kind=\"tickets\"}";
    let (replies, ()) = tokio::join!(
        within("answers", waiting),
        until_metric(&replica, figure, 11.0)
    );
    for reply in replies {
        reply.refused(503, "unavailable");
    }
    assert_eq!(replica.api().metric(figure).await, 0.0);
    let log = replica.log();
    assert!(log.contains("tickets: a turn did not come"), "{log}");
}

/// As after the loss of a replica, when each browser asks for a ticket before it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_ask_for_tickets_leave_half_of_the_connections_to_the_others() {
    const ASKING: usize = 16;
    /// Of six for requests, where `DB_POOL_SIZE` is eight.
    const AT_A_TIME: usize = 3;
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_create_ticket",
        types: "bytea, uuid, double precision, double precision",
        returns: "text",
        call: "return chat_create_ticket_at_once($1, $2, $3, $4)",
    };
    let gate = Gate::before(&database, function, "true").await;
    let settings = [("DB_POOL_SIZE", "8"), ("DB_TIMEOUT_SECONDS", "60")];
    let replica = replica(&database, &settings).await;
    let mut asking = JoinSet::new();
    for _ in 0..ASKING {
        let asked = replica.api().request(Method::POST, "/api/v1/ws/ticket");
        asking.spawn(Reply::to(asked.bearer_auth(token(ALICE))));
    }
    until_lock_waiters(&database, AT_A_TIME as i64).await;
    let figure = "pgchat_turns_waiting{kind=\"tickets\"}";
    until_metric(&replica, figure, (ASKING - AT_A_TIME) as f64).await;
    let path = format!("/api/v1/chat/users/{BORIS}/unread-count");
    let others = async {
        for _ in 0..10 {
            let asked = replica.api().request(Method::GET, &path);
            Reply::to(asked.bearer_auth(token(BORIS))).await.ok(200);
        }
    };
    within("the others' counts", others).await;
    assert_eq!(database.count(LOCK_WAITERS).await, AT_A_TIME as i64);

    gate.open().await;
    while let Some(reply) = within("a ticket", asking.join_next()).await {
        reply.expect("a reply").ok(201);
    }
}
