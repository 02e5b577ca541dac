//! The users' directory: `/api/v1/users`.

mod by_ids;

use serde_json::{Value, json};

use crate::support::*;

fn ids(page: &Value) -> Vec<uuid::Uuid> {
    let users = page["users"].as_array().expect("users");
    users.iter().map(id_of).collect()
}

fn ids_where(wanted: impl Fn(&Person) -> bool) -> Vec<uuid::Uuid> {
    let matching = PEOPLE.iter().filter(|person| wanted(person));
    matching.map(|person| person.id).collect()
}

#[tokio::test]
async fn users_are_listed_by_last_name_with_their_details() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;

    let page = replica.api().get("/api/v1/users/").await.ok(200);

    assert_eq!(page["hasMore"], false);
    let users = page["users"].as_array().expect("users");
    assert_eq!(users.len(), PEOPLE.len());
    for (user, person) in users.iter().zip(&PEOPLE) {
        assert_user(user);
        assert_eq!(user["id"], json!(person.id));
        assert_eq!(user["firstName"], person.first_name);
        assert_eq!(user["lastName"], person.last_name);
        assert_eq!(user["avatarUrl"], json!(person.avatar_url));
        assert_eq!(user["role"], person.role);
        assert_eq!(user["isActive"], person.is_active);
    }
}

#[tokio::test]
async fn namesakes_are_ordered_by_first_name_and_id() {
    let database = Database::fresh().await;
    database
        .execute(
            "insert into users (id, first_name, last_name, email) values
             ('00000000-0000-4000-8000-000000000003', 'Zoe', 'Aaron', '3'),
             ('00000000-0000-4000-8000-000000000002', 'Ada', 'Aaron', '2'),
             ('00000000-0000-4000-8000-000000000001', 'Ada', 'Aaron', '1')",
        )
        .await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;

    let page = replica.api().get("/api/v1/users?limit=3").await.ok(200);

    let last_digits: Vec<String> = ids(&page)
        .iter()
        .map(|id| id.to_string().split_off(35))
        .collect();
    assert_eq!(last_digits, ["1", "2", "3"]);
}

#[tokio::test]
async fn users_are_paged_without_gaps_or_repeats() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();

    let mut seen = Vec::new();
    for offset in [0, 5, 10] {
        let path = format!("/api/v1/users/?limit=5&offset={offset}");
        let page = api.get(&path).await.ok(200);
        assert_eq!(page["hasMore"], offset < 10, "{page}");
        seen.extend(ids(&page));
    }
    assert_eq!(seen, ids_where(|_| true));

    let exact = api.get("/api/v1/users/?limit=12").await.ok(200);
    assert_eq!(exact["hasMore"], false, "nothing follows the last page");
    let past = api.get("/api/v1/users/?offset=1000000").await.ok(200);
    assert_eq!(past, json!({"users": [], "hasMore": false}));
}

#[tokio::test]
async fn users_are_found_by_a_part_of_their_name_in_any_case() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();

    for (query, found) in [
        ("LIC", vec![ALICE]),
        ("öHL", vec![KATIA]),
        ("ke", vec![BORIS]),
        ("nobody", vec![]),
        // Wildcards of SQL are plain characters here.
        ("%25", vec![]),
        ("_", vec![]),
        ("%5C", vec![LIONEL]),
        ("'", vec![LIONEL]),
        // The full name, in either order.
        ("boRIS+BA", vec![BORIS]),
        ("ker+bo", vec![BORIS]),
    ] {
        let page = api.get(&format!("/api/v1/users/?q={query}")).await.ok(200);
        assert_eq!(ids(&page), found, "q={query}");
    }
    // Among the active ones, and among those of a role.
    let named = |person: &Person| {
        let names = format!("{} {}", person.first_name, person.last_name);
        names.to_lowercase().contains('i')
    };
    for (path, wanted) in [
        (
            "active",
            ids_where(|person| person.is_active && named(person)),
        ),
        (
            "role/buyer",
            ids_where(|person| person.role == "buyer" && named(person)),
        ),
    ] {
        let page = api.get(&format!("/api/v1/users/{path}?q=I")).await.ok(200);
        assert_eq!(ids(&page), wanted, "{path}");
    }
}

/// A search box sends what it holds, on whichever list it stands.
#[tokio::test]
async fn a_name_filters_each_list_and_white_space_around_it_does_not_count() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();

    let everybody = ids_where(|_| true);
    for (path, found) in [
        ("/api/v1/users?q=", everybody.clone()),
        ("/api/v1/users?q=%20+", everybody),
        ("/api/v1/users?q=+ke%20", vec![BORIS]),
        ("/api/v1/users?q=en", vec![ELENA, HENRI, IRENE]),
        ("/api/v1/users/active?q=en", vec![ELENA, HENRI]),
        ("/api/v1/users/role/buyer?q=en", vec![ELENA, IRENE]),
    ] {
        let page = api.get(path).await.ok(200);
        assert_eq!(ids(&page), found, "{path}");
    }
}

#[tokio::test]
async fn active_users_are_listed_apart() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();

    let page = api.get("/api/v1/users/active").await.ok(200);
    assert_eq!(ids(&page), ids_where(|person| person.is_active));
    assert_eq!(page["hasMore"], false);

    let first = api.get("/api/v1/users/active?limit=1").await.ok(200);
    assert_eq!(ids(&first), [ALICE]);
    assert_eq!(first["hasMore"], true);
}

#[tokio::test]
async fn users_are_listed_by_role() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();

    for role in ["buyer", "developer", "broker", "admin"] {
        let page = api.get(&format!("/api/v1/users/role/{role}")).await.ok(200);
        assert_eq!(ids(&page), ids_where(|person| person.role == role));
        assert_eq!(page["hasMore"], false);
    }

    for unknown in ["king", "BUYER", "buyer%20"] {
        let message = api
            .get(&format!("/api/v1/users/role/{unknown}"))
            .await
            .refused(400, "validation_failed");
        for role in ["buyer", "developer", "broker", "admin"] {
            assert!(message.contains(role), "{message}");
        }
    }
}

#[tokio::test]
async fn one_list_is_filtered_by_role_activity_and_name_together() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    let has_e = |name: &str| name.to_lowercase().contains('e');
    let is_named = |person: &Person| has_e(person.first_name) || has_e(person.last_name);
    for role in [None, Some("buyer"), Some("broker")] {
        for active in [None, Some(false), Some(true)] {
            for q in ["", "e"] {
                let mut path = format!("/api/v1/users?q={q}");
                if let Some(role) = role {
                    path += &format!("&role={role}");
                }
                if let Some(active) = active {
                    path += &format!("&active={active}");
                }
                let wanted = ids_where(|person| {
                    role.is_none_or(|role| person.role == role)
                        && active.is_none_or(|active| person.is_active == active)
                        && (q.is_empty() || is_named(person))
                });
                assert_eq!(ids(&api.get(&path).await.ok(200)), wanted, "{path}");
            }
        }
    }
    for (wrong, words) in [
        ("role=", "role must be 1 to 256 bytes"),
        ("role=buyer&role=buyer", "role must be given only once"),
        ("active=yes", "active must be true or false, not \"yes\""),
        ("active=", "active must be true or false"),
        ("active=true&active=true", "active must be given only once"),
    ] {
        let refused = api.get(&format!("/api/v1/users?{wrong}")).await;
        let message = refused.refused(400, "validation_failed");
        assert!(message.contains(words), "{wrong}: {message}");
    }
}

/// The four of the path are the Go service's; what roles there are is the host's own affair.
#[tokio::test]
async fn users_are_listed_by_any_role_that_the_host_has() {
    let database = Database::fresh().await;
    let set = |user, role| format!("update users set role = '{role}' where id = '{user}'");
    database.execute(&set(ALICE, "seller")).await;
    database.execute(&set(BORIS, "Vendeur agréé, 1''er")).await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    for (role, found) in [
        ("seller", vec![ALICE]),
        ("Seller", vec![]),
        ("sell", vec![]),
        ("Vendeur%20agr%C3%A9%C3%A9,%201'er", vec![BORIS]),
        ("seller&q=lic&active=true", vec![ALICE]),
        ("seller&q=boris", vec![]),
    ] {
        let page = api.get(&format!("/api/v1/users?role={role}")).await.ok(200);
        assert_eq!(ids(&page), found, "{role}");
    }
}

fn listed(ids: &[uuid::Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(uuid::Uuid::to_string).collect();
    ids.join(",")
}

#[tokio::test]
async fn users_are_listed_by_their_ids_in_the_lists_order_and_who_is_not_there_is_left_out() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    // In another order than the list's, one of them twice, one who never was.
    let asked = [KATIA, NOBODY, BORIS, ELENA, ALICE, KATIA];
    let path = format!("/api/v1/users?ids={}", listed(&asked));
    let page = api.get(&path).await.ok(200);
    assert_eq!(ids(&page), ids_where(|person| asked.contains(&person.id)));
    assert_eq!(page["hasMore"], false);
    page["users"]
        .as_array()
        .expect("users")
        .iter()
        .for_each(assert_user);
    // As each is found alone.
    for user in page["users"].as_array().expect("users") {
        assert_eq!(*user, api.user(id_of(user)).await);
    }

    // Encoded, in any form of an id, and by each route that lists.
    let encoded = path.replace(',', "%2C").replace('-', "").to_uppercase();
    let encoded = encoded.replace("/API/V1/USERS?IDS=", "/api/v1/users/?ids=");
    assert_eq!(api.get(&encoded).await.ok(200), page);
    database
        .execute(&format!("delete from users where id = '{ELENA}'"))
        .await;
    let left = api.get(&path).await.ok(200);
    assert_eq!(ids(&left), [ALICE, BORIS, KATIA]);
    let nobody = api.get(&format!("/api/v1/users?ids={NOBODY}")).await;
    assert_eq!(nobody.ok(200), json!({"users": [], "hasMore": false}));
}

#[tokio::test]
async fn ids_and_the_other_filters_leave_who_is_all_of_that_in_pages() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let everybody = listed(&PEOPLE.map(|person| person.id));
    type Wanted = fn(&Person) -> bool;
    let cases: [(&str, Wanted); 6] = [
        ("?", |_| true),
        ("?active=true&", |person| person.is_active),
        ("?role=broker&active=false&", |person| {
            person.role == "broker" && !person.is_active
        }),
        ("?q=en&", |person| {
            [ELENA, HENRI, IRENE].contains(&person.id)
        }),
        ("/active?", |person| person.is_active),
        ("/role/buyer?", |person| person.role == "buyer"),
    ];
    for (path, wanted) in cases {
        let path = format!("/api/v1/users{path}ids={everybody}");
        let page = api.get(&path).await.ok(200);
        assert_eq!(ids(&page), ids_where(wanted), "{path}");
    }
    let few = listed(&[KATIA, ALICE, BORIS]);
    let mut seen = Vec::new();
    for (offset, more) in [(0, true), (2, false)] {
        let path = format!("/api/v1/users?ids={few}&limit=2&offset={offset}");
        let page = api.get(&path).await.ok(200);
        assert_eq!(page["hasMore"], more);
        seen.extend(ids(&page));
    }
    assert_eq!(seen, [ALICE, BORIS, KATIA]);
}

#[tokio::test]
async fn ids_that_are_none_or_too_many_are_refused() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let many = |count| listed(&vec![ALICE; count]);
    let most = api.get(&format!("/api/v1/users?ids={}", many(100))).await;
    assert_eq!(ids(&most.ok(200)), [ALICE]);
    for (wrong, words) in [
        (
            &*many(101),
            "ids must be 1 to 100 ids, separated by commas, not 101",
        ),
        ("", "ids must be 1 to 100 ids, separated by commas, not 0"),
        ("1234", "each of ids must be a UUID, not \"1234\""),
        (&format!("{ALICE},"), "each of ids must be a UUID, not \"\""),
        (&format!("{ALICE},%20{BORIS}"), "each of ids must be a UUID"),
        (&format!("{ALICE};{BORIS}"), "each of ids must be a UUID"),
        ("me", "each of ids can be me only with a user's token"),
        (
            &format!("{ALICE}&ids={BORIS}"),
            "ids must be given only once",
        ),
    ] {
        for list in ["", "/active", "/role/broker"] {
            let refused = api.get(&format!("/api/v1/users{list}?ids={wrong}")).await;
            let message = refused.refused(400, "validation_failed");
            assert!(message.contains(words), "{wrong}: {message}");
        }
    }
    // All faults at once.
    let refused = api.get("/api/v1/users?ids=&limit=0&active=yes").await;
    let message = refused.refused(400, "validation_failed");
    for name in ["ids must", "limit must", "active must"] {
        assert!(message.contains(name), "{message}");
    }
}

#[tokio::test]
async fn one_user_is_found_by_id() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();

    let lionel = api.user(LIONEL).await;
    assert_user(&lionel);
    assert_eq!(lionel["firstName"], "Lio\"nel\\");
    let jonas = api.user(JONAS).await;
    assert_eq!(jonas["avatarUrl"], Value::Null);

    let message = api
        .get(&format!("/api/v1/users/{NOBODY}"))
        .await
        .refused(404, "user_not_found");
    assert!(message.contains(&NOBODY.to_string()), "{message}");
    api.get("/api/v1/users/not-a-uuid")
        .await
        .refused(400, "validation_failed");
}

#[tokio::test]
async fn what_the_host_changes_is_seen_at_once() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    api.user(ALICE).await;

    database
        .execute(&format!(
            "update users set last_name = 'Zucker', is_active = false where id = '{ALICE}'"
        ))
        .await;

    let alice = api.user(ALICE).await;
    assert_eq!(alice["lastName"], "Zucker");
    assert_eq!(alice["isActive"], false);
}
