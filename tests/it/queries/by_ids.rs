//! Users by their ids, in tables of the host's that have very many.

use super::cost;
use crate::support::*;

/// However the host keeps its ids: each is looked up, and the table is not read.
#[tokio::test(flavor = "multi_thread")]
async fn users_by_their_ids_are_found_by_the_hosts_index_whatever_it_is() {
    const USERS: i64 = 20_000;
    const ASKED: i64 = 100;
    const NAMES: &str = "first_name text, last_name text, is_active boolean not null default true";
    const ROWS: &str = "first_name, last_name) select md5('user' || n)::uuid, 'User', n::text";
    let named = |name| ("USERS_TABLE", name);
    let hosts = [
        // (what, the table, where its rows come from, the settings)
        (
            "a uuid",
            format!("create table users (id uuid primary key, {NAMES})"),
            format!("insert into users (id, {ROWS}"),
            vec![],
        ),
        (
            "a domain",
            format!("create domain person as uuid; create table users (id person primary key, {NAMES})"),
            format!("insert into users (id, {ROWS}"),
            vec![],
        ),
        (
            "a number, and a uuid beside it",
            format!(
                "create table users (id bigint generated always as identity primary key, chat_id uuid not null unique, {NAMES})"
            ),
            format!("insert into users (chat_id, {ROWS}"),
            vec![("USERS_COLUMNS", "id=chat_id")],
        ),
        (
            "a text, by a view",
            format!(
                "create table people (id text primary key, {NAMES}); create index on people ((id::uuid));
                 create view chatters as select id::uuid as id, first_name, last_name, is_active from people"
            ),
            format!("insert into people (id, {ROWS}"),
            vec![named("chatters")],
        ),
        (
            "a uuid in one of two tables, by a view",
            format!(
                "create table staff (id uuid primary key, {NAMES}); create table people (id uuid primary key, {NAMES});
                 create view chatters as select * from staff union all select * from people"
            ),
            format!("insert into people (id, {ROWS}"),
            vec![named("chatters")],
        ),
    ];
    for (what, table, rows, settings) in hosts {
        let database = Database::empty().await;
        database.execute_as_owner(&table).await;
        let rows = format!("{rows} from generate_series(1, {USERS}) n");
        database.execute_as_owner(&rows).await;
        database.migrate(&settings).await.assert_ok();
        database.execute_as_owner("analyze").await;
        let call = |role: &str, part: &str, ids: &str| {
            format!("select * from chat_list_users_of({ids}, {role}, true, {part}, 101, 0)")
        };
        // They lie far apart.
        let ids = format!(
            "array(select md5('user' || n)::uuid from generate_series(1, {USERS}, {USERS} / {ASKED}) n)"
        );
        let client = database.sql().await;
        for (role, part) in [("null", "null"), ("null", "'user'"), ("'broker'", "null")] {
            let sql = call(role, part, &ids);
            let cost = cost(&client, &sql, 1).await;
            let plans = database.plans(&sql).await.join("\n");
            // A leaf and a row for each, and the levels above it; in each of two tables; and who is online.
            let most = 12 * ASKED + 50;
            assert!(
                cost.buffers <= most,
                "{what}: {} buffers\n{plans}",
                cost.buffers
            );
            assert!(plans.contains("Index"), "{what}\n{plans}");
            assert!(!plans.contains("Seq Scan"), "{what}\n{plans}");
        }
        // The whole table has more pages than that.
        let few = call(
            "null",
            "null",
            "array[md5('user7')::uuid, md5('nobody')::uuid]",
        );
        let found = client.query(&few, &[]).await.expect("a page");
        assert_eq!(found.len(), 1, "{what}");
        let few = cost(&client, &few, 1).await;
        assert!(few.buffers <= 60, "{what}: {} buffers", few.buffers);
    }
}
