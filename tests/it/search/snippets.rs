//! What of a message is shown with a result.

use super::*;

#[tokio::test]
async fn a_snippet_is_plain_text_in_parts_whatever_the_message_holds() {
    let scene = Scene::set().await;
    let api = scene.here();
    let content = "<script>alert('apple')</script> & <b>apple</b> \u{2}pear\u{3}";
    api.send(scene.with_boris, BORIS, content).await;
    api.found(ALICE, "q=apple").await;

    let found = api.search(ALICE, "q=apple&snippets=true").await.ok(200);
    let parts = found["messages"][0]["snippet"].as_array().expect("parts");
    let joined: String = parts
        .iter()
        .map(|part| part["text"].as_str().expect("text"))
        .collect();
    // What looks like a tag may be left out; nothing is added but the sign between two places.
    for word in joined.split_whitespace() {
        assert!(content.contains(word), "{word:?} in {joined:?}");
    }
    let matches: Vec<&Value> = parts.iter().filter(|part| part["match"] == true).collect();
    assert!(!matches.is_empty());
    for part in matches {
        assert_eq!(part["text"], "apple");
    }
    // No part is empty, not even where a match comes first.
    api.send(scene.with_boris, BORIS, "plum plum, then a plum")
        .await;
    let found = api.search(ALICE, "q=plum&snippets=true").await.ok(200);
    let part = |text: &str| json!({"text": text, "match": text == "plum"});
    let parts = ["plum", " ", "plum", ", then a ", "plum"].map(part);
    assert_eq!(found["messages"][0]["snippet"], json!(parts));
    // Only for those who ask.
    let without = api.search(ALICE, "q=apple").await.ok(200);
    assert_eq!(without["messages"][0].get("snippet"), None);
}

#[tokio::test]
async fn the_snippet_of_a_short_message_is_all_of_it_its_short_words_and_numbers_too() {
    let scene = Scene::set().await;
    let api = scene.here();
    let longest = format!("Of all that we saw{} the heron costs 450", ".".repeat(82));
    let contents = [
        "I saw a heron",
        "heron: is it on or off",
        "it is a heron",
        "The heron costs 450",
        "12:30, heron, at no. 7?!",
        "the <b>heron</b>\n\n&amp; 3",
        &longest,
    ];
    assert_eq!(longest.chars().count(), 120);
    for content in contents {
        api.send(scene.with_boris, BORIS, content).await;
    }
    let found = eventually("all are found", || async {
        let found = api.search(ALICE, "q=heron&snippets=true").await.ok(200);
        let messages = found["messages"].as_array().expect("messages").clone();
        (messages.len() == contents.len()).then_some(messages)
    })
    .await;
    for message in found {
        let parts = message["snippet"].as_array().expect("parts");
        let joined: String = parts
            .iter()
            .map(|part| part["text"].as_str().expect("text"))
            .collect();
        assert_eq!(joined, message["content"]);
    }
}

#[tokio::test]
async fn the_snippet_of_a_long_message_shows_where_it_matches_and_little_else() {
    let scene = Scene::set().await;
    let api = scene.here();
    let content = format!(
        "{}the needle is sharp {}another needle lies there {}",
        "filler words here ".repeat(300),
        "more filler text ".repeat(300),
        "end ".repeat(200)
    );
    api.send(scene.with_boris, BORIS, &content).await;
    api.found(ALICE, "q=needle").await;
    let found = api.search(ALICE, "q=needle&snippets=true").await.ok(200);
    let parts = found["messages"][0]["snippet"].as_array().expect("parts");
    let text = |part: &Value| part["text"].as_str().expect("text").to_owned();
    let matches = parts.iter().filter(|part| part["match"] == true);
    assert_eq!(matches.map(text).collect::<Vec<_>>(), ["needle"; 2]);
    let joined: String = parts.iter().map(text).collect();
    let places: Vec<&str> = joined.split(" … ").collect();
    assert_eq!(places.len(), 2, "{joined}");
    assert!(places[0].contains("the needle is sharp"), "{joined}");
    assert!(places[1].contains("another needle lies there"), "{joined}");
    let words = joined.split_whitespace().count();
    assert!(words < 60, "{words} words: {joined}");
}

/// What matches in a snippet of the only message that Alice finds, and all of the snippet.
async fn marked(api: &Api, query: &str) -> (Vec<String>, String) {
    api.found(ALICE, query).await;
    let found = api.search(ALICE, &format!("{query}&snippets=true")).await;
    let found = found.ok(200);
    assert_eq!(found["messages"].as_array().map(Vec::len), Some(1));
    let parts = found["messages"][0]["snippet"].as_array().expect("parts");
    let text = |part: &Value| part["text"].as_str().expect("text").to_owned();
    let matches = parts.iter().filter(|part| part["match"] == true);
    (
        matches.map(text).collect(),
        parts.iter().map(text).collect(),
    )
}

/// The stem of these words is not how they begin: properti, citi, haus.
#[tokio::test]
async fn a_word_is_shown_deep_in_a_long_message_also_where_its_stem_stands_nowhere() {
    let filler = "some other words here ".repeat(1_400);
    for (language, sentence, query, matches) in [
        ("english", "the property is ours", "q=property", "property"),
        ("english", "of a city by the sea", "q=cities", "city"),
        ("german", "zwei alte Häuser am Fluss", "q=haus", "Häuser"),
    ] {
        let database = Database::fresh().await.without_search_index().await;
        let conversation = database.conversation(ALICE, BORIS).await;
        let replica = Replica::start(
            &database,
            &[("SEARCH_LANGUAGE", language), UNHURRIED_SEARCH],
        )
        .await;
        let api = replica.api();
        api.send(conversation, BORIS, &format!("{filler}{sentence} {filler}"))
            .await;
        let (marked, joined) = marked(&api, query).await;
        assert_eq!(marked, [matches], "{query}: {joined}");
        let words = joined.split_whitespace().count();
        assert!(words < 60, "{words} words: {joined}");
    }
}

#[tokio::test]
async fn of_words_that_no_portion_of_a_long_message_has_together_one_is_shown() {
    let database = Database::fresh().await.without_search_index().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(
        &database,
        &[("SEARCH_LANGUAGE", "english"), UNHURRIED_SEARCH],
    )
    .await;
    let api = replica.api();
    let filler = "some other words here ".repeat(500);
    // A stem that stands where it does not match keeps nothing from being found: citizen.
    let content = format!("{filler}a city {filler}a balcony {filler}a citizen {filler}");
    api.send(conversation, BORIS, &content).await;
    let (first, joined) = marked(&api, "q=balcony+city").await;
    assert_eq!(first, ["city"], "{joined}");
    // Together they are preferred to either alone.
    let content = format!("{filler}a study {filler}a property with a study {filler}");
    api.send(conversation, BORIS, &content).await;
    let (both, joined) = marked(&api, "q=property+study").await;
    assert_eq!(both, ["property", "study"], "{joined}");
}

/// PostgreSQL makes no word of more than 2,047 bytes, and no snippet of what has no word.
#[tokio::test]
async fn the_snippet_of_a_message_that_begins_with_a_huge_word_is_not_empty() {
    let scene = Scene::set().await;
    let api = scene.here();
    let huge = "x".repeat(3_000);
    api.send(scene.with_boris, BORIS, &format!("{huge} and Heron"))
        .await;
    let (matches, joined) = marked(&api, "q=heron").await;
    assert_eq!(matches, ["Heron"], "{joined}");
    // Nothing is marked where nothing may be in it.
    let (matches, joined) = marked(&api, "q=-plum").await;
    assert_eq!(matches, [""; 0]);
    assert_eq!(joined, huge[..120]);
}

/// A column that was adopted may have such a collation, for which PostgreSQL has no search for a part of a text.
#[tokio::test]
async fn snippets_are_made_whatever_the_collation_of_the_messages() {
    let database = Database::fresh().await;
    if !database.has_icu().await {
        return;
    }
    database
        .execute_as_owner(
            "create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             alter table messages alter column content type text collate any_case",
        )
        .await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    let filler = "filler words here ".repeat(300);
    let deep = format!("{filler}a HERON there {filler}");
    for content in [&deep, "a Stork"] {
        api.send(conversation, BORIS, content).await;
    }
    for (query, matches) in [("q=heron", "HERON"), ("q=stork", "Stork")] {
        let (marked, joined) = marked(&api, query).await;
        assert_eq!(marked, [matches], "{joined}");
    }
}
