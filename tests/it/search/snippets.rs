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
