//! Every feature in every way in which it can be done (`table`), over two replicas: what the sockets of both participants are
//! sent, what a client is sent that comes back to either replica, and what HTTP, search and the tables then say.

mod scene;
mod table;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use futures_util::stream::{self, StreamExt};
use pgchat::for_tests::{AuthMode, asyncapi, openapi};
use uuid::Uuid;

use crate::support::*;
use scene::Scene;
use table::{FEATURES, Feature, WAYS, Way};

/// Scenes that are played at once.
const AT_ONCE: usize = 4;

pub struct Stage {
    database: Database,
    replicas: [Replica; 2],
    /// Of another program, with no more than the documented grants.
    program: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_feature_in_every_way_is_seen_on_two_replicas_and_by_those_who_come_back() {
    play_all(Database::fresh().await).await;
}

/// A host adds columns to the tables. A name in a function of pgchat's must not mean one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_host_calls_its_columns_every_feature_is_what_it_was() {
    let database = Database::fresh().await;
    // One letter is how pgchat calls a table in a query.
    let words = r"
        select distinct lower(word[1])
          from pg_proc p
         cross join regexp_matches(p.prosrc || ' ' || coalesce(array_to_string(p.proargnames, ' '), ''), '[a-zA-Z_][a-zA-Z_0-9]+', 'g') word
         where p.pronamespace = 'public'::regnamespace and p.proname like 'chat\_%'";
    for table in ["messages", "conversations"] {
        database
            .execute_as_owner(&format!(
                "do $$
                 declare
                   columns text;
                 begin
                   select string_agg(format('add column %I text default ''host''', w.word), ', ') into columns
                     from ({words}) w (word)
                    where w.word not in (select attname from pg_attribute where attrelid = '{table}'::regclass);
                   execute 'alter table {table} ' || columns;
                 end $$"
            ))
            .await;
    }
    play_all(database).await;
}

async fn play_all(database: Database) {
    let brief = [
        // The outsiders' sockets are read at the end only.
        ("HEARTBEAT_SECONDS", "3600"),
        // After one that does not come back in time the listener begins anew, and presence is told once more.
        ("LISTENER_HEARTBEAT_SECONDS", "3"),
        ("PRESENCE_GRACE_SECONDS", "2"),
        ("RATE_LIMIT_PER_SECOND", "0"),
        UNHURRIED_SEARCH,
    ];
    let replicas: [Replica; 2] = Replica::start_many(&database, &brief).await;
    let program = database.role("program").await;
    let grant = format!("grant {INTEGRATOR} to {program}");
    database.execute(&grant).await;
    let stage = Stage {
        database,
        replicas,
        program,
    };
    let cells: Vec<(Feature, Way)> = FEATURES
        .into_iter()
        .flat_map(|feature| WAYS.map(|way| (feature, way)))
        .filter(|(feature, way)| feature.by(*way).is_some())
        .collect();
    let people = stage.database.add_users(2 * cells.len() as i32).await;
    let mut outsiders = [
        Socket::connect(&stage.replicas[0], CARLA).await,
        Socket::connect(&stage.replicas[1], CARLA).await,
    ];
    let played = cells.iter().zip(people.chunks(2)).map(|(cell, people)| {
        let (feature, way) = *cell;
        let people = [people[0], people[1]];
        play(&stage, feature, way, people)
    });
    let seen: Vec<BTreeSet<String>> = stream::iter(played).buffered(AT_ONCE).collect().await;
    for ((feature, way), seen) in cells.iter().zip(seen) {
        assert!(
            seen.contains(feature.frame()),
            "{feature:?} by {way:?}: {seen:?}"
        );
    }
    let api = stage.replicas[0].api();
    let own = api.open_conversation(CARLA, DAVID).await;
    api.send(own, DAVID, "the end").await;
    for socket in &mut outsiders {
        let frames = socket.before_message("the end").await;
        assert_eq!(frames.len(), 1, "only her own conversation: {frames:?}");
    }
}

/// The types of the frames that were seen.
async fn play(stage: &Stage, feature: Feature, way: Way, people: [Uuid; 2]) -> BTreeSet<String> {
    let mut scene = Scene::set(stage, feature, way, people).await;
    let what = format!("{feature:?} by {way:?}");
    let outcome = feature.outcome();
    let mut live = scene.act().await;
    if feature.is_told_once() {
        scene.act_again().await;
    }
    for replica in &stage.replicas {
        assert_eq!(scene.state(replica).await, outcome.state, "{what}");
    }
    let seen = scene.until_the_end().await;
    let mut types = BTreeSet::new();
    for (person, expected) in [outcome.to_alice, outcome.to_boris].into_iter().enumerate() {
        for replica in 0..2 {
            let frames = &mut live[person][replica];
            frames.extend(seen[person][replica].iter().cloned());
            let gists: Vec<String> = frames.iter().map(|frame| scene.gist(frame)).collect();
            assert_eq!(
                gists, expected,
                "{what}: person {person} on replica {replica}"
            );
            types.extend(
                frames
                    .iter()
                    .filter_map(|frame| frame["type"].as_str().map(str::to_owned)),
            );
        }
    }
    for person in 0..2 {
        for replica in &stage.replicas {
            let gists = scene.resumed(person, replica).await;
            assert_eq!(gists, outcome.resumed, "{what}: person {person} comes back");
        }
    }
    types
}

/// A route, command or frame that the service's own documents name is a cell of the table.
#[tokio::test]
async fn no_way_to_write_is_left_out_of_the_table() {
    let openapi = openapi::document(AuthMode::Trusted);
    let mut routes = BTreeSet::new();
    for (path, item) in openapi["paths"].as_object().expect("paths") {
        for method in ["post", "put", "patch", "delete"] {
            if !item[method].is_null() && path.starts_with("/api/v1/chat/") {
                routes.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    assert_eq!(column(Way::Http), routes);

    let asyncapi = asyncapi::document(AuthMode::Trusted);
    let messages = asyncapi["components"]["messages"].as_object();
    let named = |prefix: &str, about_the_connection: &[&str]| -> BTreeSet<String> {
        messages
            .expect("messages")
            .keys()
            .filter_map(|name| name.strip_prefix(prefix))
            .filter(|name| !about_the_connection.contains(name))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        column(Way::Socket),
        named("client.", &["authenticate", "ping"])
    );
    let about_the_connection = [
        "connected",
        "ack",
        "error",
        "resync_required",
        "token_expiring",
        "server_closing",
    ];
    let frames: BTreeSet<String> = FEATURES
        .iter()
        .map(|feature| feature.frame().to_owned())
        .collect();
    assert_eq!(frames, named("server.", &about_the_connection));
}

fn column(way: Way) -> BTreeSet<String> {
    let ways = FEATURES.iter().filter_map(|feature| feature.by(way));
    ways.map(str::to_owned).collect()
}

#[test]
fn the_document_of_the_features_shows_the_table() {
    let mut table = String::from(
        "| | HTTP | socket | SQL | frame | for a client that was away |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for feature in FEATURES {
        let how = |ways: &[Way]| {
            let ways: Vec<String> = ways
                .iter()
                .filter_map(|way| feature.by(*way))
                .map(|how| format!("`{how}`"))
                .collect();
            if ways.is_empty() {
                "—".to_owned()
            } else {
                ways.join(", ")
            }
        };
        writeln!(
            table,
            "| {} | {} | {} | {} | `{}` | {} |",
            feature.name(),
            how(&[Way::Http]),
            how(&[Way::Socket]),
            how(&[Way::Sql, Way::Function]),
            feature.frame(),
            feature.afterwards()
        )
        .expect("a string");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/features.md");
    let document = std::fs::read_to_string(path).expect("docs/features.md");
    assert!(
        document.contains(&table),
        "docs/features.md is to hold\n{table}"
    );
}
