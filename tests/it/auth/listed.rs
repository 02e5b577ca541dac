//! A route or a command that somebody adds is in the table, or this fails. The documents are asked, and the source is: what
//! stands in no document is not seen there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pgchat::for_tests::{AuthMode, CommandType, asyncapi, openapi};

use super::commands::COMMANDS;
use super::table::{OPEN, routes};

/// What needs a row in the table: method and path of each documented operation.
fn documented() -> BTreeSet<String> {
    let document = openapi::document(AuthMode::Jwt);
    let paths = document["paths"].as_object().expect("paths");
    let methods = |(path, item): (&String, &serde_json::Value)| -> Vec<String> {
        let methods = item.as_object().expect("methods").keys();
        methods
            .map(|method| format!("{} {path}", method.to_uppercase()))
            .collect()
    };
    paths.iter().flat_map(methods).collect()
}

/// The service's source below a directory, without its tests.
fn sources(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let own = text.split("#[cfg(test)]\nmod tests {").next();
        if !path.ends_with("tests.rs") {
            found.push((path.display().to_string(), own.unwrap_or(&text).to_owned()));
        }
    }
    found
}

fn source() -> Vec<(String, String)> {
    let found = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(found.len() > 50, "{}", found.len());
    found
}

/// The texts in quotes between each `start` and the bracket that closes it.
fn quoted_within<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let parts = text.split(start).skip(1);
    parts
        .filter_map(|part| part.split(')').next())
        .flat_map(|part| part.split('"').skip(1).step_by(2))
        .collect()
}

#[test]
fn the_table_lists_every_route_that_is_documented() {
    let documented = documented();
    let routes = routes();
    let listed: BTreeSet<String> = routes
        .iter()
        .map(|route| route.name)
        .chain(OPEN)
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = documented.difference(&listed).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    for route in &routes {
        let name = route.name;
        assert!(documented.contains(name), "in no document: {name}");
    }
}

#[test]
fn no_route_is_made_that_stands_in_no_document() {
    let documented = documented();
    let known: BTreeSet<&str> = documented
        .iter()
        .map(String::as_str)
        .chain(OPEN)
        .chain(["GET /ws"])
        .flat_map(|route| route.split(['/', ' ']).skip(1))
        .collect();
    let mut made = 0;
    for (file, text) in source() {
        for word in ["path!(", "warp::path("]
            .iter()
            .flat_map(|start| quoted_within(&text, start))
        {
            assert!(known.contains(word), "{file}: no route has {word:?}");
        }
        // The explorer's own files and the documents are no operations of the document.
        if !file.contains("/http/docs") {
            let calls = text.match_indices("route(").filter(|(at, _)| {
                let before = text[..*at].chars().next_back();
                before.is_some_and(|c| c.is_whitespace()) && !text[..*at].ends_with("fn ")
            });
            made += calls.count();
        }
    }
    assert_eq!(made, documented.len(), "routes made, and documented");
}

#[test]
fn the_table_lists_every_command() {
    let document = asyncapi::document(AuthMode::Jwt);
    let messages = document["components"]["messages"]
        .as_object()
        .expect("messages");
    let documented: BTreeSet<&str> = messages
        .keys()
        .filter_map(|name| name.strip_prefix("client."))
        .collect();
    let listed: BTreeSet<&str> = COMMANDS.iter().map(|command| command.name).collect();
    assert_eq!(documented, listed);

    let understood: BTreeSet<&str> = CommandType::ALL.map(CommandType::name).into();
    assert_eq!(understood, listed);
}
