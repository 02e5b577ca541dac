//! The users tables that hosts have: as TypeORM and Prisma make them (tests/hosts), with nullable names, roles of their own
//! and users who are deleted softly; and what the host does to its table afterwards.

use serde_json::json;

use crate::support::*;

/// A database with a host's table of three users: Alice, who has everything; Boris, who has no names and a role of the host's
/// own; Carla, who was deleted softly.
struct Host {
    database: Database,
    settings: Vec<(&'static str, &'static str)>,
}

/// How a host calls its columns.
struct Names<'a> {
    table: &'a str,
    /// id, first name, last name, avatar, role, deleted at
    columns: [&'a str; 6],
    own_role: &'a str,
    /// Columns that have no default, and their values.
    more: [&'a str; 2],
}

impl Host {
    async fn new(ddl: &str, names: &Names<'_>, settings: &[(&'static str, &'static str)]) -> Self {
        let database = Database::empty().await;
        database.execute_as_owner(ddl).await;
        let Names {
            table,
            columns: [id, first, last, avatar, role, deleted],
            own_role,
            more: [more, values],
        } = names;
        database
            .execute(&format!(
                "insert into {table} ({id}, email, {first}, {last}, {avatar}, {role}, {deleted}{more}) values
                 ('{ALICE}', 'a@host.example', 'Alice', 'Archer', 'https://host.example/a.png', 'admin', null{values}),
                 ('{BORIS}', 'b@host.example', null, null, null, '{own_role}', null{values}),
                 ('{CARLA}', 'c@host.example', 'Carla', 'Cooper', null, 'buyer', now(){values})"
            ))
            .await;
        let mut all = vec![("USERS_TABLE_CHECK_SECONDS", "1")];
        all.extend(settings);
        Self {
            database,
            settings: all,
        }
    }

    async fn typeorm() -> Self {
        let names = Names {
            table: "users",
            columns: [
                "id",
                "\"firstName\"",
                "\"lastName\"",
                "\"avatarUrl\"",
                "role",
                "\"deletedAt\"",
            ],
            own_role: "superadmin",
            more: ["", ""],
        };
        Self::new(include_str!("../hosts/sql/typeorm.sql"), &names, &[]).await
    }

    /// Serves, with everything that a user of this host can ask for.
    async fn serve_all(&self, own_role: &str) -> Replica {
        let replica = Replica::start(&self.database, &self.settings).await;
        let api = replica.api();
        let user = |id| format!("/api/v1/users/{id}");

        let alice = api.get(&user(ALICE)).await.ok(200);
        assert_user(&alice);
        let names = json!([
            "Alice",
            "Archer",
            "https://host.example/a.png",
            "admin",
            true
        ]);
        let of = |user: &serde_json::Value| {
            json!([
                user["firstName"],
                user["lastName"],
                user["avatarUrl"],
                user["role"],
                user["isActive"]
            ])
        };
        assert_eq!(of(&alice), names);
        let boris = api.get(&user(BORIS)).await.ok(200);
        assert_eq!(of(&boris), json!([null, null, null, own_role, true]));
        let carla = api.get(&user(CARLA)).await.ok(200);
        assert_eq!(of(&carla), json!(["Carla", "Cooper", null, "buyer", false]));
        let active = api.get("/api/v1/users/active").await.ok(200);
        assert_eq!(active["users"].as_array().map(Vec::len), Some(2));

        let conversation = api.open_conversation(ALICE, BORIS).await;
        let mut socket = Socket::connect(&replica, BORIS).await;
        let sent = api.send(conversation, ALICE, "hello").await;
        assert_eq!(socket.expect("chat_message").await["data"], sent);
        assert_eq!(sent["sender"]["firstName"], "Alice");
        assert_eq!(
            api.send(conversation, BORIS, "hi").await["sender"]["firstName"],
            json!(null)
        );
        replica
    }
}

#[tokio::test]
async fn a_table_of_typeorm_is_used_as_it_is() {
    Host::typeorm().await.serve_all("superadmin").await;
}

#[tokio::test]
async fn a_table_of_typeorm_in_snake_case_is_used_as_it_is() {
    let names = Names {
        table: "users",
        columns: [
            "id",
            "first_name",
            "last_name",
            "avatar_url",
            "role",
            "deleted_at",
        ],
        own_role: "superadmin",
        more: ["", ""],
    };
    let ddl = include_str!("../hosts/sql/typeorm_snake_case.sql");
    Host::new(ddl, &names, &[])
        .await
        .serve_all("superadmin")
        .await;
}

#[tokio::test]
async fn a_table_of_prisma_is_used_as_it_is() {
    let names = Names {
        table: "\"User\"",
        columns: [
            "id",
            "\"firstName\"",
            "\"lastName\"",
            "\"avatarUrl\"",
            "role",
            "\"deletedAt\"",
        ],
        own_role: "moderator",
        more: [", \"updatedAt\"", ", now()"],
    };
    for spelt in ["\"User\"", "User"] {
        let host = Host::new(
            include_str!("../hosts/sql/prisma_plain.sql"),
            &names,
            &[("USERS_TABLE", spelt)],
        )
        .await;
        host.serve_all("moderator").await;
    }
}

#[tokio::test]
async fn a_mapped_table_of_prisma_in_another_schema_is_used_as_it_is() {
    let names = Names {
        table: "accounts.app_users",
        columns: [
            "user_id",
            "first_name",
            "last_name",
            "avatar_url",
            "user_role",
            "deleted_at",
        ],
        own_role: "broker",
        more: ["", ""],
    };
    let settings = [("USERS_TABLE", "accounts.app_users")];
    let host = Host::new(
        include_str!("../hosts/sql/prisma_mapped.sql"),
        &names,
        &settings,
    )
    .await;
    host.serve_all("broker").await;
    let keys = "pg_constraint where contype = 'f' and confrelid = 'accounts.app_users'::regclass";
    assert_eq!(
        host.database.count(keys).await,
        2,
        "foreign keys to the host's table"
    );
}

#[tokio::test]
async fn a_view_over_the_hosts_tables_is_used() {
    let mut host = Host::typeorm().await;
    host.database
        .execute_as_owner(
            "create view chatters as
             select id as \"userId\", \"firstName\" as given_name, \"lastName\" as family_name, \"avatarUrl\" as picture,
                    role as \"userRole\", \"deletedAt\" from users",
        )
        .await;
    host.settings.push(("USERS_TABLE", "chatters"));
    host.serve_all("superadmin").await;
}

/// As Prisma makes them without `@db.Uuid`.
#[tokio::test]
async fn ids_that_are_text_are_uuids_in_a_view_and_found_by_an_index() {
    const GUIDE: &str = include_str!("../../docs/your-database.md");
    const STATEMENTS: &str = "\
create view chatters as select id::uuid as id, \"firstName\", \"lastName\", \"avatarUrl\", role from \"User\";
create index on \"User\" ((id::uuid));
";
    assert!(GUIDE.contains(STATEMENTS));
    let database = Database::empty().await;
    let table = "create table \"User\" (id text primary key, \"firstName\" text, \"lastName\" text, \"avatarUrl\" text, role text);";
    let users = format!("insert into \"User\" values ('{ALICE}', 'Alice'), ('{BORIS}', 'Boris')");
    for statements in [table, STATEMENTS, &users] {
        database.execute_as_owner(statements).await;
    }
    let replica = Replica::start(&database, &[("USERS_TABLE", "chatters")]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    assert_eq!(sent["sender"]["firstName"], "Alice");

    let client = database.sql().await;
    let plan = client
        .simple_query(&format!(
            "set enable_seqscan = off; explain select * from chat_users() where id = '{ALICE}'"
        ))
        .await
        .expect("a plan");
    let plan = format!("{plan:?}");
    assert!(plan.contains("User_id_idx"), "{plan}");
}

#[tokio::test]
async fn a_column_can_be_left_out_by_name() {
    let mut host = Host::typeorm().await;
    host.settings.push(("USERS_COLUMNS", "deletedAt=,role="));
    let replica = Replica::start(&host.database, &host.settings).await;
    let carla = replica.api().user(CARLA).await;
    assert_eq!(
        json!([carla["role"], carla["isActive"]]),
        json!([null, true])
    );
}

/// What TypeORM's and Prisma's migrations do to a table: none of it waits for pgchat or is refused, and replicas go on.
#[tokio::test]
async fn the_host_alters_and_drops_its_columns_while_replicas_run() {
    let host = Host::typeorm().await;
    let replica = host.serve_all("superadmin").await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    for change in [
        "alter table users alter column \"firstName\" type varchar(200), alter column \"lastName\" type text",
        "alter table users alter column role drop default, alter column role type text; drop type users_role_enum",
        "alter table users drop column \"avatarUrl\"",
        "alter table users rename column \"firstName\" to first_name",
        "alter table users drop column \"isActive\", drop column \"deletedAt\"",
        "alter table users rename to people; create view users as select * from people",
        "drop view users; alter table people rename to users; alter table users drop column role",
    ] {
        // As the host's migration runs: a lock that it has to wait for is an error, and a lock of ours would be one.
        host.database
            .execute_as_owner(&format!("set lock_timeout = '10s'; {change}"))
            .await;
        eventually(change, || async {
            let sent = api.try_send(conversation, ALICE, change).await;
            (sent.status == 201).then_some(())
        })
        .await;
        until_status(&replica, "/health/ready", 200).await;
    }
    let alice = api.user(ALICE).await;
    assert_user(&alice);
    let left = json!([
        alice["firstName"],
        alice["avatarUrl"],
        alice["role"],
        alice["isActive"]
    ]);
    assert_eq!(left, json!(["Alice", null, null, true]));
    eventually("the log tells of the column", || async {
        let log = replica.log();
        log.contains("has no column for avatarUrl").then_some(())
    })
    .await;
}

/// The table is found anew, and the answer to that never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_is_looked_after_though_an_answer_is_lost() {
    let host = Host::typeorm().await;
    let proxy = Proxy::before(&host.database).await;
    let patience = [("DB_TIMEOUT_SECONDS", "5")];
    let settings = [&host.settings[..], &proxy.for_all()[..], &patience].concat();
    let replica = Replica::start(&host.database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;

    let lost = proxy.lose_answer("chat_link_users", Answer::Held);
    host.database
        .execute_as_owner("alter table users rename column \"firstName\" to first_name")
        .await;
    lost.happened().await;
    host.database
        .execute_as_owner("alter table users drop column \"avatarUrl\"")
        .await;
    eventually("the table is found anew", || async {
        let sent = api.try_send(conversation, ALICE, "hello").await;
        (sent.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_mapping_that_no_longer_fits_fails_the_probe_and_is_told_in_the_log_and_at_the_start() {
    let mut host = Host::typeorm().await;
    host.settings.push(("USERS_COLUMNS", "firstName=firstName"));
    let replica = Replica::start(&host.database, &host.settings).await;
    let api = replica.api();

    host.database
        .execute("alter table users rename column \"firstName\" to nickname")
        .await;

    // Anybody may ask, so it is a word.
    let checks =
        json!({"database": "ok", "listener": "ok", "users": "unavailable", "draining": false});
    eventually("the probe tells", || async {
        let reply = api.get("/health/ready").await;
        (reply.status == 503 && reply.json()["checks"] == checks).then_some(())
    })
    .await;
    eventually("the log tells why", || async {
        let log = replica.log();
        let words = ["the users table does not fit", "USERS_COLUMNS", "firstName"];
        words.iter().all(|word| log.contains(word)).then_some(())
    })
    .await;
    let health = api.get("/health").await.ok(503);
    assert_eq!(health["checks"]["users"], "unavailable");
    assert_eq!(api.status("/health/live").await, Some(200));
    let outcome = pgchat(&["serve"], &settings(&host.database, &host.settings)).await;
    outcome.assert_failed(1, &["USERS_COLUMNS", "users", "firstName"]);

    host.database
        .execute("alter table users rename column nickname to \"firstName\"")
        .await;
    until_status(&replica, "/health/ready", 200).await;

    for (change, words, back) in [
        (
            "alter table users rename to people",
            ["USERS_TABLE", "users"],
            "alter table people rename to users",
        ),
        (
            "alter table users alter column \"isActive\" drop default, alter column \"isActive\" type integer using 1",
            ["isActive", "boolean"],
            "alter table users alter column \"isActive\" type boolean using true",
        ),
    ] {
        let before = replica.log().len();
        host.database.execute(change).await;
        eventually(change, || async {
            let reply = api.get("/health/ready").await;
            let told = &replica.log()[before..];
            (reply.status == 503 && words.iter().all(|word| told.contains(word)))
                .then(|| assert_eq!(reply.json()["checks"], checks))
        })
        .await;
        host.database.execute(back).await;
        until_status(&replica, "/health/ready", 200).await;
    }
}

/// A foreign key would find only the users of the table itself.
#[tokio::test]
async fn users_in_a_table_that_inherits_from_the_users_table_chat_like_others() {
    let host = Host::typeorm().await;
    host.database
        .execute_as_owner("create table staff (desk text) inherits (users)")
        .await;
    host.database
        .execute(&format!(
            "insert into staff select * from only users where id = '{ALICE}'; delete from only users where id = '{ALICE}'"
        ))
        .await;
    let replica = Replica::start(&host.database, &host.settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "from the desk").await;
    assert_eq!(sent["sender"]["firstName"], "Alice");
}
