//! The list of conversations, narrowed to those with unread messages (`unread`) and to those with somebody of that name (`q`).

use std::collections::HashSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// A page of a user's list.
async fn page(api: &Api, user: Uuid, query: &str) -> Value {
    let path = format!("/api/v1/chat/users/{user}/conversations?{query}");
    api.get(&path).await.ok(200)
}

fn ids(page: &Value) -> Vec<Uuid> {
    let conversations = page["conversations"].as_array().expect("conversations");
    conversations.iter().map(id_of).collect()
}

/// With whom Alice has these conversations, by first name, in alphabetical order.
fn others(page: &Value) -> Vec<&str> {
    let conversations = page["conversations"].as_array().expect("conversations");
    let other = |conversation: &'_ Value| match conversation["participant1Id"] == json!(ALICE) {
        true => "participant2",
        false => "participant1",
    };
    let mut names: Vec<_> = conversations
        .iter()
        .map(|conversation| &conversation[other(conversation)]["firstName"])
        .map(|name| name.as_str().unwrap_or("?"))
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn conversations_with_unread_messages_are_listed_alone() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let [boris, carla, david, elena, felix, greta] = {
        let mut opened = Vec::new();
        for other in [BORIS, CARLA, DAVID, ELENA, FELIX, GRETA] {
            let pair = if opened.len() % 2 == 0 {
                (ALICE, other)
            } else {
                (other, ALICE)
            };
            opened.push(api.open_conversation(pair.0, pair.1).await);
        }
        <[Uuid; 6]>::try_from(opened).expect("six")
    };
    api.send(boris, BORIS, "one").await;
    api.send(boris, BORIS, "two").await;
    api.send(carla, CARLA, "read").await;
    api.mark_read(carla, ALICE).await.ok(200);
    api.send(david, ALICE, "unread by the other").await;
    let taken_back = api.send(elena, ELENA, "taken back").await;
    let deleted = api.delete_message(id_of(&taken_back), ELENA).await;
    assert_eq!(deleted.status, 204);
    api.send(felix, FELIX, "unread, and answered").await;
    api.send(felix, ALICE, "the answer").await;

    let unread = page(&api, ALICE, "unread=true").await;
    assert_eq!(ids(&unread), [felix, boris]);
    assert_eq!(unread["hasMore"], false);
    // As they stand in the list of all.
    let mut listed = api.conversations(ALICE).await;
    listed.retain(|conversation| conversation["unreadCount"] != 0);
    assert_eq!(unread["conversations"], json!(listed));
    let old_path = format!("/api/v1/chat/conversations/{ALICE}?unread=true");
    assert_eq!(api.get(&old_path).await.ok(200), unread);
    // The reading user's.
    assert_eq!(ids(&page(&api, DAVID, "unread=true").await), [david]);
    let of_boris = page(&api, BORIS, "unread=true").await;
    assert_eq!(of_boris, json!({"conversations": [], "hasMore": false}));
    for all in ["unread=false", "q=", "unread=false&q=+"] {
        assert_eq!(
            page(&api, ALICE, all).await,
            page(&api, ALICE, "").await,
            "{all}"
        );
    }

    api.mark_read(felix, ALICE).await.ok(200);
    assert_eq!(ids(&page(&api, ALICE, "unread=true").await), [boris]);
    database
        .execute("update messages set is_read = false where content = 'read'")
        .await;
    api.send(greta, GRETA, "new").await;
    let unread = page(&api, ALICE, "unread=true").await;
    assert_eq!(ids(&unread), [greta, carla, boris]);
    // Whatever other programs have done to the column that says whose a message is.
    let strangers = api.open_conversation(BORIS, CARLA).await;
    api.send(strangers, BORIS, "not for Alice").await;
    database
        .execute(&format!(
            "begin;
             set local session_replication_role = replica;
             update messages set reader_id = '{ALICE}' where conversation_id = '{strangers}';
             commit"
        ))
        .await;
    assert_eq!(page(&api, ALICE, "unread=true").await, unread);
    let of_nobody = format!("/api/v1/chat/users/{NOBODY}/conversations?unread=true");
    api.get(&of_nobody).await.refused(404, "user_not_found");
}

/// What matches is what matches in the list of users.
#[tokio::test]
async fn conversations_are_found_by_the_name_of_the_other_participant_as_users_are() {
    let database = Database::fresh().await;
    database
        .execute(&format!(
            "update users set first_name = 'Bo_ris', last_name = '100% B' where id = '{BORIS}';
             alter table users alter first_name drop not null, alter last_name drop not null;
             update users set first_name = null, last_name = null where id = '{GRETA}';
             update users set last_name = null where id = '{HENRI}';
             update users set first_name = '', last_name = '' where id = '{FELIX}'"
        ))
        .await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    for (place, person) in PEOPLE[1..].iter().enumerate() {
        let pair = if place % 2 == 0 {
            (ALICE, person.id)
        } else {
            (person.id, ALICE)
        };
        api.open_conversation(pair.0, pair.1).await;
    }
    for (query, found) in [
        ("CAR", vec!["Carla"]),
        ("%C3%B6HL", vec!["Kátia"]),
        ("en", vec!["Elena", "Henri", "Irene"]),
        ("+caRLA+coo%20", vec!["Carla"]),
        ("per+car", vec!["Carla"]),
        ("la+coopers", vec![]),
        // Whose list it is does not matter, nor what was said.
        ("alice", vec![]),
        // Wildcards of SQL are plain characters here.
        ("%25", vec!["Bo_ris"]),
        ("_", vec!["Bo_ris"]),
        ("%5C", vec!["Lio\"nel\\"]),
        ("c%25r", vec![]),
        ("c_rla", vec![]),
        ("%5C%25", vec![]),
        ("'", vec!["Lio\"nel\\"]),
        // Who has a first name alone; of those without any name there is nothing to be found.
        ("henri", vec!["Henri"]),
        ("henri+henri", vec![]),
        ("greta", vec![]),
        ("null", vec![]),
    ] {
        let listed = page(&api, ALICE, &format!("q={query}")).await;
        assert_eq!(others(&listed), found, "q={query}");
        let users = api.get(&format!("/api/v1/users?q={query}")).await.ok(200);
        let names = users["users"].as_array().expect("users").iter();
        let mut names: Vec<_> = names
            .filter(|user| user["id"] != json!(ALICE))
            .map(|user| user["firstName"].as_str().unwrap_or("?"))
            .collect();
        names.sort_unstable();
        assert_eq!(names, found, "the users, q={query}");
    }
    let of_nobody = format!("/api/v1/chat/users/{NOBODY}/conversations?q=a");
    api.get(&of_nobody).await.refused(404, "user_not_found");
}

/// Conversations that are active within the same minute stand in their index in another order than in the list.
#[tokio::test]
async fn each_page_of_a_narrowed_list_is_what_the_whole_list_has() {
    let database = Database::fresh().await;
    let users = database.add_users(60).await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    // Some minutes of activity in no order, with one that lags behind by up to a minute.
    database
        .execute(&format!(
            "create view numbered as
               select id, last_name::int as n from users where first_name = 'User';
             insert into conversations (participant1_id, participant2_id)
             select case n % 2 when 0 then id else '{ALICE}' end, case n % 2 when 0 then '{ALICE}' else id end from numbered;
             insert into messages (conversation_id, sender_id, content)
             select c.id, u.id, 'hello' from conversations c join numbered u on u.id in (c.participant1_id, c.participant2_id);
             update messages m set is_read = true from numbered u where u.id = m.sender_id and u.n % 3 = 0;
             begin;
             set local session_replication_role = replica;
             update conversations c
                set updated_at = t.at, active_at = t.at - u.n * 91 % 256 * interval '0.23 s'
               from numbered u cross join lateral (select timestamptz '2026-01-01Z' + u.n * 37 % 256 * interval '1 s' as at) t
              where u.id in (c.participant1_id, c.participant2_id);
             commit"
        ))
        .await;
    let all = page(&api, ALICE, "limit=200").await;
    let all = all["conversations"].as_array().expect("conversations");
    assert_eq!(all.len(), users.len());
    let with_name = |conversation: &Value, part: &str| {
        ["participant1", "participant2"].iter().any(|who| {
            let name = conversation[who]["lastName"].as_str().unwrap_or_default();
            format!("user {name}").contains(part)
        })
    };
    for (query, part, unread) in [
        ("unread=true", "", true),
        ("q=user+1", "user 1", false),
        ("q=4", "4", false),
        ("q=User+2&unread=true", "user 2", true),
        ("unread=true&q=7", "7", true),
        ("unread=true&q=none", "none", true),
    ] {
        let wanted: Vec<Value> = all
            .iter()
            .filter(|found| with_name(found, part) && (!unread || found["unreadCount"] != 0))
            .cloned()
            .collect();
        for limit in [1, 3, 10, 50] {
            for offset in (0..wanted.len() + 2).step_by(limit.min(7)) {
                let page = page(
                    &api,
                    ALICE,
                    &format!("{query}&limit={limit}&offset={offset}"),
                )
                .await;
                let rest = wanted.get(offset..).unwrap_or_default();
                let (shown, has_more) = (rest.len().min(limit), rest.len() > limit);
                let wanted = json!({"conversations": rest[..shown], "hasMore": has_more});
                assert_eq!(page, wanted, "{query}, {limit} from {offset}");
            }
        }
    }
}

/// What is read leaves the list, and what is behind it moves up: so whoever reads on the way asks from as many as are left of those before.
#[tokio::test]
async fn of_unread_conversations_none_is_missed_where_they_are_read_on_the_way() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let mut unread = HashSet::new();
    for person in &PEOPLE[1..] {
        let conversation = api.open_conversation(ALICE, person.id).await;
        api.send(conversation, person.id, "hello").await;
        unread.insert(conversation);
    }
    let (mut shown, mut left) = (HashSet::new(), 0);
    loop {
        let page = page(&api, ALICE, &format!("unread=true&limit=3&offset={left}")).await;
        let found = ids(&page);
        // Of each page one is read, and one has another message, which moves it to the front.
        left += found.len() - 1;
        api.mark_read(found[0], ALICE).await.ok(200);
        if let Some(again) = found.get(1) {
            let conversation = api.conversations(ALICE).await;
            let conversation = conversation.iter().find(|listed| id_of(listed) == *again);
            let other = &conversation.expect("that one")["participant2Id"];
            let other = other.as_str().and_then(|id| id.parse().ok());
            api.send(*again, other.expect("an id"), "once more").await;
        }
        for conversation in found {
            assert!(shown.insert(conversation), "{conversation} comes twice");
        }
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(shown, unread);
}

#[tokio::test]
async fn a_wrong_value_is_refused_and_the_fault_names_the_parameter() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    api.open_conversation(ALICE, BORIS).await;
    let long = format!("q={}", "q".repeat(257));
    for path in [
        format!("/api/v1/chat/users/{ALICE}/conversations"),
        format!("/api/v1/chat/conversations/{ALICE}"),
    ] {
        for (query, words) in [
            ("unread=yes", "unread must be true or false, not \"yes\""),
            ("unread=1", "unread must be true or false, not \"1\""),
            ("unread", "unread must be true or false, not \"\""),
            ("unread=true&unread=true", "unread must be given only once"),
            ("unread=%ff", "unread is not valid UTF-8"),
            ("q=%ff", "q is not valid UTF-8"),
            ("q=%00", "q must not contain U+0000"),
            ("q=a&q=a", "q must be given only once"),
            (&*long, "q must be at most 256 bytes"),
            ("with=boris&q=a", "with must be a UUID"),
            (
                "unread=true&limit=201",
                "limit must be a whole number from 1 to 200",
            ),
            ("q=bor&offset=-1", "offset must be a whole number from 0 to"),
        ] {
            let refused = api.get(&format!("{path}?{query}")).await;
            let message = refused.refused(400, "validation_failed");
            assert!(message.starts_with(words), "{query}: {message}");
        }
        // All that is wrong at once.
        let refused = api.get(&format!("{path}?limit=0&unread=2&{long}")).await;
        let message = refused.refused(400, "validation_failed");
        for name in ["limit must", "unread must", "q must"] {
            assert!(message.contains(name), "{message}");
        }
    }
}

/// Of the one with another user, too.
#[tokio::test]
async fn what_narrows_the_list_narrows_it_together() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    for person in [BORIS, CARLA, DAVID] {
        let conversation = api.open_conversation(person, ALICE).await;
        api.send(conversation, person, "hello").await;
        if person == CARLA {
            api.mark_read(conversation, ALICE).await.ok(200);
        }
    }
    for (query, found) in [
        ("unread=true&q=o", vec!["Boris"]),
        ("unread=true&q=cooper", vec![]),
        ("unread=true&q=r", vec!["Boris", "David"]),
        (&format!("with={BORIS}&unread=true"), vec!["Boris"]),
        (&format!("with={CARLA}&unread=true"), vec![]),
        (&format!("with={CARLA}&unread=false&q="), vec!["Carla"]),
        (&format!("with={CARLA}&q=coop"), vec!["Carla"]),
        (&format!("with={CARLA}&q=boris"), vec![]),
        (&format!("with={DAVID}&q=dyer&unread=true"), vec!["David"]),
        (&format!("with={DAVID}&q=dyer&unread=true&offset=1"), vec![]),
        (&format!("with={ELENA}&unread=true"), vec![]),
        (&format!("with={ALICE}&q=a"), vec![]),
    ] {
        let listed = page(&api, ALICE, query).await;
        assert_eq!(others(&listed), found, "{query}");
        assert_eq!(listed["hasMore"], false, "{query}");
    }
}
