//! What PostgreSQL's text search parser is given: it takes a time that grows with the square of some texts, and leaves others out.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

/// Texts of these, repeated, of which the parser looks ahead from each place to the end.
const SLOW: [&str; 9] = ["a1@", "a_", "1_", "_a", "~/", "./", "<!--", ".E-1", "1-E-1"];

/// What its lookahead minds.
const SIGNS: [&str; 24] = [
    "a", "aa", "1", "e", "E", "é", "٣", "@", "_", "-", "+", ".", "/", "//", "~", ":", "?", "&",
    ";", "#", "<", ">", "\"", " ",
];

/// The longest that is searched.
fn repeated(pattern: &str) -> String {
    let length = pattern.chars().count();
    pattern.repeat(131_072 / length + 1)
}

/// All that a text is given to: for the index, to show what was found, and as a query.
const PARSED: &str = "select octet_length(chat_search_words('simple', $1)::text)
    + octet_length(chat_search_snippet('simple', $1, 'nothing | a'))
    + numnode(chat_search_query('simple', left($1, 4096)))";

/// Less than a second each, where the parser by itself takes from three minutes to an hour.
#[tokio::test]
async fn no_text_takes_a_time_that_grows_with_its_square() {
    let database = Database::fresh().await;
    let session = database.sql().await;
    session
        .batch_execute("set statement_timeout = '10s'")
        .await
        .expect("a setting");
    let parse = session.prepare(PARSED).await.expect("a statement");
    // The longest runs that are left as they are, too.
    let of_short_runs = |pattern: &str| {
        let length = pattern.chars().count();
        format!("{} ", pattern.repeat(63 / length))
    };
    let mut patterns: Vec<String> = SLOW.map(str::to_owned).to_vec();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..10 {
        let length = random.random_range(2..7);
        let signs = (0..length).map(|_| SIGNS[random.random_range(0..SIGNS.len())]);
        patterns.push(signs.collect());
    }
    for pattern in &patterns {
        for text in [repeated(pattern), repeated(&of_short_runs(pattern))] {
            let parsed = session.query_one(&parse, &[&text]).await;
            let beginning: String = text.chars().take(70).collect();
            parsed.unwrap_or_else(|fault| panic!("{beginning:?}…: {fault:?}"));
        }
    }
}

/// All are stored by the same writer, those of others beside it in the same batch.
#[tokio::test]
async fn a_message_that_the_parser_is_slow_on_is_stored_and_holds_up_nobody() {
    let scene = Scene::set().await;
    let (here, there) = (scene.here(), scene.there());
    let long = |pattern: &str| pattern.repeat(65_536 / pattern.len());
    let (first, second, third) = (long("a1@"), long("a_"), long("b1@_"));
    let (one, another, beside) = tokio::join!(
        here.try_send(scene.with_boris, ALICE, &first),
        here.try_send(scene.with_boris, ALICE, &second),
        here.try_send(scene.with_carla, CARLA, "beside them"),
    );
    beside.ok(201);
    another.ok(201);
    let id = id_of(&one.ok(201));
    for (query, content) in [("q=a1", &first), ("q=a", &second)] {
        assert_eq!(there.found(BORIS, query).await, [content.as_str()]);
        let query = format!("{query}&snippets=true");
        let found = there.search(BORIS, &query).await.ok(200);
        for excerpt in joined(&found["messages"][0]["snippet"]).split(" … ") {
            assert!(content.contains(excerpt), "{excerpt}");
        }
    }
    here.edit(id, ALICE, &third).await.ok(200);
    let marked = there.mark_read(scene.with_boris, BORIS).await.ok(200);
    assert_eq!(marked["markedCount"], 2);
    assert_eq!(there.found(BORIS, "q=b1").await, [third.as_str()]);
}

fn joined(snippet: &Value) -> String {
    let parts = snippet.as_array().expect("parts");
    let text = |part: &Value| part["text"].as_str().expect("text").to_owned();
    parts.iter().map(text).collect()
}

/// Nobody writes markup in a message.
#[tokio::test]
async fn what_looks_like_a_tag_is_found_and_shown() {
    let scene = Scene::set().await;
    let api = scene.here();
    let filler = "some other words here ".repeat(20);
    for content in [
        "see <Hauptstrasse 5> at noon",
        "<!-- never closed, the bakery",
        "<script> of the play",
        &format!("{filler}<b>lighthouse</b> {filler}"),
    ] {
        api.send(scene.with_boris, ALICE, content).await;
        let word = ["hauptstrasse", "bakery", "play", "lighthouse"]
            .into_iter()
            .find(|word| content.to_lowercase().contains(word))
            .expect("a word");
        assert_eq!(api.found(BORIS, &format!("q={word}")).await, [content]);
        let query = format!("q={word}&snippets=true");
        let found = api.search(BORIS, &query).await.ok(200);
        let snippet = &found["messages"][0]["snippet"];
        let shown = joined(snippet);
        assert!(content.contains(&shown), "{shown:?}");
        let parts = snippet.as_array().expect("parts");
        let matches = parts.iter().filter(|part| part["match"] == true);
        let marked: Vec<String> = matches
            .map(|part| part["text"].as_str().expect("text").to_lowercase())
            .collect();
        assert_eq!(marked, [word]);
    }
    let found = api
        .search(BORIS, "q=lighthouse&snippets=true")
        .await
        .ok(200);
    let shown = joined(&found["messages"][0]["snippet"]);
    assert!(shown.contains("<b>lighthouse</b>"), "{shown}");
}

/// In a short message they are one word, and in a long one with such a run their parts are.
#[tokio::test]
async fn addresses_are_found_in_short_and_in_long_messages() {
    let scene = Scene::set().await;
    let api = scene.here();
    let filler = "some other words here ".repeat(20);
    let address =
        "https://shop.example.com/products/red-bicycle_2026/sizes-and-colours/?colour=red";
    let short = format!("look: {address}");
    let long = format!("{filler}({address}) or ask mail.me@shop.example.com, {filler}");
    let plain = format!("{filler} shop.example.com {filler}");
    for content in [&short, &long, &plain] {
        api.send(scene.with_boris, ALICE, content).await;
    }
    let encoded = |words: &str| {
        let escaped = words.bytes().map(|byte| format!("%{byte:02X}"));
        format!("q={}", escaped.collect::<String>())
    };
    let found = async |words: &str| {
        let mut found = api.found(BORIS, &encoded(words)).await;
        found.sort();
        found
    };
    let sorted = |contents: &[&String]| {
        let mut contents: Vec<String> = contents.iter().map(|&content| content.clone()).collect();
        contents.sort();
        contents
    };
    assert_eq!(found(address).await, sorted(&[&short, &long]));
    assert_eq!(
        found("shop.example.com").await,
        sorted(&[&short, &long, &plain])
    );
    assert_eq!(found("mail.me@shop.example.com").await, sorted(&[&long]));
    assert_eq!(found("bicycle").await, sorted(&[&long]));
    assert_eq!(found("look shop.example.com").await, sorted(&[&short]));
    assert_eq!(
        found("words -mail.me@shop.example.com").await,
        sorted(&[&plain])
    );
    assert_eq!(found("-words").await, sorted(&[&short]));
    // What is excluded is so in both forms, also beside a phrase, and as one.
    assert_eq!(
        found("\"other words\" -mail.me@shop.example.com").await,
        sorted(&[&plain])
    );
    for none in [
        "\"other words\" -shop.example.com",
        "words -\"shop.example.com some\"",
    ] {
        assert_eq!(found(none).await, sorted(&[]), "{none}");
    }

    for words in [address, "shop.example.com", "bicycle"] {
        let query = format!("{}&snippets=true", encoded(words));
        let reply = api.search(BORIS, &query).await.ok(200);
        for message in reply["messages"].as_array().expect("messages") {
            let parts = message["snippet"].as_array().expect("parts");
            assert!(parts.iter().any(|part| part["match"] == true), "{parts:?}");
            let content = message["content"].as_str().expect("text");
            for excerpt in joined(&json!(parts)).split(" … ") {
                assert!(content.contains(excerpt), "{excerpt:?} of {content:?}");
            }
        }
    }
}
