//! Search over one's own conversations: what is found, by whom, in which order, and how the index comes to be.

mod index;
mod keys;
mod language;
mod merging;
mod parser;
mod pinned;
mod snippets;
mod steps;
mod turns;
mod walk;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// Alice with Boris and with Carla, and two replicas.
struct Scene {
    database: Database,
    replicas: [Replica; 2],
    with_boris: Uuid,
    with_carla: Uuid,
}

impl Scene {
    async fn set() -> Self {
        let database = Database::fresh().await;
        let with_boris = database.conversation(ALICE, BORIS).await;
        let with_carla = database.conversation(CARLA, ALICE).await;
        let replicas = Replica::start_many(&database, &[UNHURRIED_SEARCH]).await;
        Self {
            database,
            replicas,
            with_boris,
            with_carla,
        }
    }

    fn here(&self) -> Api {
        self.replicas[0].api()
    }

    fn there(&self) -> Api {
        self.replicas[1].api()
    }
}

#[tokio::test]
async fn one_finds_what_was_said_in_ones_own_conversations_and_nothing_else() {
    let scene = Scene::set().await;
    let (here, there) = (scene.here(), scene.there());
    let first = here
        .send(scene.with_boris, BORIS, "The garden is lovely")
        .await;
    there
        .send(scene.with_carla, ALICE, "a Garden with a shed")
        .await;
    here.send(scene.with_carla, CARLA, "no such thing").await;
    let of_others = here.open_conversation(BORIS, CARLA).await;
    here.send(of_others, CARLA, "our garden").await;

    let newest_first = ["a Garden with a shed", "The garden is lovely"];
    for api in [&here, &there] {
        assert_eq!(api.found(ALICE, "q=GARDEN").await, newest_first);
    }
    assert_eq!(
        here.found(CARLA, "q=garden").await,
        ["our garden", "a Garden with a shed"]
    );
    assert!(here.found(DAVID, "q=garden").await.is_empty());
    // Who has but one conversation, whichever of its two participants that is.
    let only = here.open_conversation(ELENA, KATIA).await;
    here.send(only, KATIA, "my garden").await;
    for user in [ELENA, KATIA] {
        assert_eq!(here.found(user, "q=garden").await, ["my garden"]);
    }
    let here_only = format!("q=garden&conversation_id={}", scene.with_boris);
    assert_eq!(there.found(ALICE, &here_only).await, newest_first[1..]);

    assert_message(&first);
    let mut found = first.clone();
    found["otherParticipant"] = first["sender"].clone();
    let reply = here.search(ALICE, "q=lovely").await.ok(200);
    assert_eq!(reply, json!({"messages": [found], "hasMore": false}));
}

#[tokio::test]
async fn each_match_says_with_whom_the_conversation_is_whoever_wrote_it() {
    let scene = Scene::set().await;
    let api = scene.here();
    api.send(scene.with_boris, ALICE, "a pear from Alice").await;
    api.send(scene.with_boris, BORIS, "a pear from Boris").await;
    api.send(scene.with_carla, ALICE, "a pear for Carla").await;
    for (user, others) in [
        (ALICE, [CARLA, BORIS, BORIS].as_slice()),
        (BORIS, &[ALICE, ALICE]),
        (CARLA, &[ALICE]),
    ] {
        for more in ["", "&snippets=true"] {
            let reply = api.search(user, &format!("q=pear{more}")).await.ok(200);
            let messages = reply["messages"].as_array().expect("messages");
            let with: Vec<Uuid> = messages
                .iter()
                .map(|message| {
                    assert_user_summary(&message["otherParticipant"]);
                    id_of(&message["otherParticipant"])
                })
                .collect();
            assert_eq!(with, others, "{user}{more}");
            let has_snippets = messages.iter().all(|m| m.get("snippet").is_some());
            assert_eq!(has_snippets, !more.is_empty());
        }
    }
    // Of whom the host has deleted only the id is left.
    scene
        .database
        .execute(&format!(
            "alter table conversations drop constraint chat_conversations_participant2_id_fkey;
             delete from users where id = '{BORIS}'"
        ))
        .await;
    let query = format!("q=pear&conversation_id={}", scene.with_boris);
    let reply = api.search(ALICE, &query).await.ok(200);
    let gone = json!({"id": BORIS, "firstName": null, "lastName": null, "avatarUrl": null});
    assert_eq!(reply["messages"][0]["otherParticipant"], gone);
}

#[tokio::test]
async fn words_phrases_alternatives_and_exclusions_are_understood() {
    let scene = Scene::set().await;
    let api = scene.here();
    for content in ["red apple pie", "green apple", "apple red"] {
        api.send(scene.with_boris, ALICE, content).await;
    }
    let found = async |q: &str| -> BTreeSet<String> {
        api.found(BORIS, &format!("q={q}"))
            .await
            .into_iter()
            .collect()
    };
    let set = |contents: &[&str]| -> BTreeSet<String> {
        contents
            .iter()
            .map(|content| (*content).to_owned())
            .collect()
    };

    assert_eq!(
        found("apple+red").await,
        set(&["red apple pie", "apple red"])
    );
    assert_eq!(found("%22red+apple%22").await, set(&["red apple pie"]));
    assert_eq!(
        found("pie+or+green").await,
        set(&["red apple pie", "green apple"])
    );
    assert_eq!(found("apple+-red").await, set(&["green apple"]));
    assert_eq!(found("-red").await, set(&["green apple"]));
    // Nothing but signs is no word.
    for nothing in ["...", "%27%26%7C%21", "%22%22", "%01", "%5C%27%3A*"] {
        assert_eq!(found(nothing).await, set(&[]), "{nothing}");
    }
}

#[tokio::test]
async fn what_is_deleted_or_edited_is_gone_from_search_at_once_however_it_was_done() {
    let scene = Scene::set().await;
    let (here, there) = (scene.here(), scene.there());
    let mut boris = Socket::connect(&scene.replicas[1], BORIS).await;
    let mut ids = Vec::new();
    for n in 1..=6 {
        let sent = here
            .send(scene.with_boris, BORIS, &format!("secret number{n}"))
            .await;
        ids.push(id_of(&sent));
    }
    assert_eq!(there.found(ALICE, "q=secret").await.len(), 6);

    assert_eq!(here.delete_message(ids[0], BORIS).await.status, 204);
    assert!(there.found(ALICE, "q=number1").await.is_empty());
    boris
        .send_command("delete_message", json!({"messageId": ids[1]}))
        .await;
    assert!(here.found(ALICE, "q=number2").await.is_empty());
    let soft = format!(
        "update messages set deleted_at = now() where id = '{}'",
        ids[2]
    );
    scene.database.execute(&soft).await;
    assert!(here.found(ALICE, "q=number3").await.is_empty());
    let outright = format!("delete from messages where id = '{}'", ids[3]);
    scene.database.execute(&outright).await;
    assert!(here.found(ALICE, "q=number4").await.is_empty());

    here.edit(ids[4], BORIS, "harmless").await.ok(200);
    assert!(there.found(ALICE, "q=number5").await.is_empty());
    assert_eq!(there.found(ALICE, "q=harmless").await, ["harmless"]);
    let edit = format!(
        "update messages set content = 'innocent' where id = '{}'",
        ids[5]
    );
    scene.database.execute(&edit).await;
    assert!(there.found(BORIS, "q=secret").await.is_empty());
    assert_eq!(there.found(BORIS, "q=innocent").await, ["innocent"]);
    // Gone from the rows as well.
    assert_eq!(
        scene
            .database
            .count("messages where content like 'secret%'")
            .await,
        0
    );
}

/// Keys are hashes, and the same id makes the same ones, whether it is a user's or a conversation's.
#[tokio::test]
async fn a_conversation_that_has_a_users_id_is_not_searched_for_that_user() {
    let scene = Scene::set().await;
    let insert = format!(
        "insert into conversations (id, participant1_id, participant2_id) values ('{CARLA}', '{BORIS}', '{DAVID}')"
    );
    scene.database.execute(&insert).await;
    let api = scene.here();
    api.send(CARLA, BORIS, "their secret").await;
    let with_carla = api.open_conversation(BORIS, CARLA).await;
    api.send(with_carla, CARLA, "her secret").await;
    assert_eq!(api.found(CARLA, "q=secret").await, ["her secret"]);
    let theirs = format!("q=secret&conversation_id={CARLA}");
    assert_eq!(api.found(BORIS, &theirs).await, ["their secret"]);
}

/// As only another program can store one: longer than a page, and with more words than an index takes.
#[tokio::test]
async fn of_a_very_long_message_the_beginning_is_searched() {
    let scene = Scene::set().await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{}', '{BORIS}', rpad('early', 131070) || ' end late ' || string_agg(md5(n::text), ' ') from generate_series(1, 150000) n",
        scene.with_boris
    );
    scene.database.execute(&insert).await;
    let api = scene.here();
    for (words, found) in [("early", 1), ("end", 0), ("late", 0)] {
        let query = format!("q={words}&snippets=true");
        let reply = api.search_once_indexed(ALICE, &query).await.ok(200);
        let messages = reply["messages"].as_array().expect("messages");
        assert_eq!(messages.len(), found, "{words}");
    }
    // Up to the last character that counts.
    let shorter = "update messages set content = overlay(left(content, 131100) placing 'last' from 131069 for 4)";
    scene.database.execute(shorter).await;
    assert_eq!(api.found(ALICE, "q=last").await.len(), 1);
}

#[tokio::test]
async fn results_are_paged_in_a_stable_order() {
    let scene = Scene::set().await;
    let api = scene.here();
    for n in 0..25 {
        let conversation = [scene.with_boris, scene.with_carla][n % 2];
        // The more often, the higher the rank.
        let content = format!("{n} {}", "apple ".repeat(1 + n % 3));
        api.send(conversation, ALICE, &content).await;
    }
    let all = api.found(ALICE, "q=apple&limit=200").await;
    assert_eq!(all.len(), 25);
    assert!(all[0].matches("apple").count() > all[24].matches("apple").count());

    let mut paged = Vec::new();
    for offset in [0, 10, 20] {
        let query = format!("q=apple&limit=10&offset={offset}");
        let page = scene.there().search(ALICE, &query).await.ok(200);
        assert_eq!(page["hasMore"], offset < 20, "{page}");
        for message in page["messages"].as_array().expect("messages") {
            paged.push(message["content"].as_str().expect("text").to_owned());
        }
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn bad_searches_are_refused_by_name() {
    let scene = Scene::set().await;
    let api = scene.here();
    api.found(ALICE, "q=ready").await;
    let long = format!("q={}", "x".repeat(257));
    for (query, word) in [
        ("", "q is required"),
        ("q=", "q must not be empty"),
        ("q=+%09", "q must not be empty"),
        (long.as_str(), "q must be at most 256 bytes"),
        ("q=a%00b", "U+0000"),
        ("q=a&limit=0", "limit"),
        ("q=a&limit=201", "limit"),
        ("q=a&offset=1001", "offset"),
        ("q=a&snippets=yes", "snippets"),
        ("q=a&conversation_id=x", "conversation_id"),
    ] {
        let message = api
            .search(ALICE, query)
            .await
            .refused(400, "validation_failed");
        assert!(message.contains(word), "{query}: {message}");
    }
    for within in ["q=a&limit=200", "q=a&offset=1000"] {
        api.search(ALICE, within).await.ok(200);
    }
    let unknown = api.search(NOBODY, "q=a").await;
    unknown.refused(404, "user_not_found");
    let within = format!("q=a&conversation_id={}", scene.with_boris);
    let stranger = api.search(CARLA, &within).await;
    stranger.refused(403, "not_a_participant");
    let unknown = api.search(NOBODY, &within).await;
    unknown.refused(404, "user_not_found");
    let nowhere = api
        .search(ALICE, &format!("q=a&conversation_id={NOBODY}"))
        .await;
    nowhere.refused(404, "conversation_not_found");
}

/// So many that they are looked for among the newest messages, where they are not.
#[tokio::test]
async fn many_matches_behind_many_newer_messages_are_found() {
    let scene = Scene::set().await;
    for (count, content) in [(5_200, "a garden"), (1_100, "no such thing")] {
        scene
            .database
            .execute(&format!(
                "insert into messages (conversation_id, sender_id, content)
                 select '{}', '{BORIS}', '{content}' from generate_series(1, {count})",
                scene.with_boris
            ))
            .await;
    }
    let here_only = format!("q=garden&limit=5&conversation_id={}", scene.with_boris);
    for query in ["q=garden&limit=5", &here_only] {
        assert_eq!(
            scene.here().found(ALICE, query).await,
            ["a garden"; 5],
            "{query}"
        );
    }
}

/// The newest messages of many long conversations do not have the word: it is not walked through all of them.
#[tokio::test]
async fn a_search_gives_up_walking_and_finds_what_lies_behind_many_long_conversations() {
    let scene = Scene::set().await;
    let partners = scene.database.add_users(25).await;
    let ids: Vec<String> = partners.iter().map(|id| format!("'{id}'")).collect();
    // The triggers are off: nobody is to read the events of all this.
    scene
        .database
        .execute(&format!(
            "set session_replication_role = replica;
             insert into conversations (participant1_id, participant2_id, last_seq, updated_at, active_at)
             select '{ALICE}', u, 1000, now(), now() from unnest(array[{}]::uuid[]) u;
             insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at)
             select c.id, '{ALICE}', c.participant2_id, 'no such thing', n, now(), now()
               from conversations c, generate_series(1, 1000) n where c.last_seq = 1000;
             insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at)
             select '{with_boris}', '{BORIS}', '{ALICE}', 'a garden', n, now() - interval '1 hour', now()
               from generate_series(1, 5200) n;
             update conversations set last_seq = 5200, updated_at = now() - interval '1 hour',
                    active_at = now() - interval '1 hour'
              where id = '{with_boris}';
             set session_replication_role = origin; analyze messages, conversations",
            ids.join(","),
            with_boris = scene.with_boris,
        ))
        .await;
    let walk = format!(
        "unnest(chat_search_walk('{ALICE}', 'garden'::tsquery, null, 'simple', 100)) as found"
    );
    assert_eq!(scene.database.count(&walk).await, 0, "it gave up");
    assert_eq!(
        scene.here().found(ALICE, "q=garden&limit=5").await,
        ["a garden"; 5]
    );
    // In fewer conversations it has not far to go.
    let first: Vec<&str> = ids.iter().take(15).map(String::as_str).collect();
    scene
        .database
        .execute(&format!(
            "update conversations set active_at = now() - interval '1 day', updated_at = now() - interval '1 day'
              where participant2_id in ({})",
            first.join(",")
        ))
        .await;
    assert_eq!(scene.database.count(&walk).await, 100);
}
