//! `docs/guarantees.md` names the tests behind each promise, and pages name each other: the names must be real.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pgchat::for_tests::{AuthMode, CLOSE_CODES, ErrorCode, asyncapi, openapi};
use serde_json::json;

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = fs::read_to_string(root.join("docs/guarantees.md")).expect("docs/guarantees.md");
    let tests = tests_below(&["tests/it"]);

    let (summary, evidence) = promises
        .split_once("\n## Evidence\n")
        .expect("the evidence");
    // What is promised in short needs no test, and what names one is no summary.
    assert!(tests_named_in(summary).is_empty());
    let rows: Vec<&str> = evidence
        .lines()
        .filter(|line| {
            line.starts_with("| ") && !line.starts_with("| promise") && !line.starts_with("| ---")
        })
        .collect();
    assert!(rows.len() > 10, "{} promises", rows.len());
    for row in rows {
        let checks = row
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let names: Vec<&str> = checks.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test is named in: {row}");
        for name in names {
            assert!(tests.contains(name), "no test is called {name}");
        }
    }
}

/// The tests in all source files below these directories.
pub fn tests_below(directories: &[&str]) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for directory in directories {
        for source in sources(&root.join(directory)) {
            let marked = source
                .split("#[test]")
                .flat_map(|part| part.split("#[tokio::test"));
            let names = marked
                .skip(1)
                .filter_map(|rest| rest.split_once("fn ")?.1.split('(').next());
            tests.extend(names.map(str::to_owned));
        }
    }
    tests
}

/// What a page quotes that looks like a test's name.
pub fn tests_named_in(page: &str) -> BTreeSet<&str> {
    let is_test = |name: &&str| {
        name.matches('_').count() > 2 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    page.split('`').skip(1).step_by(2).filter(is_test).collect()
}

/// `SECURITY.md` names what fails without each guard, unit tests among them.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let tests = tests_below(&["tests/it", "src"]);
    let names = tests_named_in(&text);
    assert!(names.len() > 30, "{}", names.len());
    for name in names {
        assert!(tests.contains(name), "no test is called {name}");
    }

    // Each attempt of the tables has its line among the tests, and each line is of one.
    let (tables, evidence) = text.split_once("\n## Tests\n").expect("the tests");
    let attempts = tables.lines().filter_map(|line| line.strip_prefix("| "));
    let mut attempts: Vec<&str> = attempts
        .filter(|row| !row.starts_with("tries |") && !row.starts_with("---"))
        .collect();
    assert!(attempts.len() > 10, "{attempts:?}");
    for line in evidence.lines().filter_map(|line| line.strip_prefix("- ")) {
        let (what, proofs) = line.split_once(": ").expect("what, and its tests");
        assert!(
            !tests_named_in(proofs).is_empty(),
            "no test is named: {line}"
        );
        let before = attempts.len();
        attempts.retain(|row| !row.starts_with(what));
        assert_eq!(attempts.len() + 1, before, "{what}");
    }
    assert!(attempts.is_empty(), "no test is named: {attempts:?}");
}

/// `docs/api.md` lists the code of every error, and none that is not there.
#[test]
fn every_code_of_an_error_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/api.md")).expect("docs/api.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, status, code, ..] = cells[..] else {
            return None;
        };
        (status.len() == 3 && status.parse::<u16>().is_ok())
            .then(|| code.trim_matches('`').to_owned())
    });
    let listed: BTreeSet<String> = rows.collect();

    let known = ErrorCode::ALL.map(ErrorCode::name);
    let all: BTreeSet<String> = known.map(str::to_owned).into();
    assert_eq!(all, listed, "the codes in src, and those in docs/api.md");
    let sources = sources(&root.join("src")).concat();
    for code in ErrorCode::ALL {
        let used = sources.contains(&format!("ErrorCode::{code:?}"));
        assert!(used, "no error has the code {code:?}");
    }
    let mode = AuthMode::Trusted;
    for (document, place) in [
        (openapi::document(mode), "Error"),
        (asyncapi::document(mode), "Failure"),
    ] {
        let schemas = &document["components"]["schemas"];
        let of_errors = &schemas[place]["properties"]["code"]["$ref"];
        assert_eq!(of_errors, "#/components/schemas/ErrorCode", "{place}");
        let code = &schemas["ErrorCode"];
        assert_eq!(code["x-extensible-enum"], json!(known), "{place}");
        assert_eq!(code["type"], "string", "{place}");
        // Any other text, too, and for generators of clients no choice of schemas.
        for closed in ["enum", "anyOf", "oneOf"] {
            assert!(code.get(closed).is_none(), "{place}: {closed}");
        }
    }
}

/// A type of messages that a later version adds must not break a client that was generated from the documents of this one; a client that
/// sends one of its own learns of it from them.
#[test]
fn what_a_message_holds_is_open_in_answers_and_closed_in_requests() {
    let mode = AuthMode::Trusted;
    let types = ["text", "image", "file"];
    for (document, answers, request) in [
        (
            openapi::document(mode),
            &["Message", "FoundMessage"][..],
            "SendMessage",
        ),
        (asyncapi::document(mode), &["Message"], "SendMessageCommand"),
    ] {
        let schemas = &document["components"]["schemas"];
        let of = |object: &str| schemas[object]["properties"]["messageType"].to_string();
        for answer in answers {
            assert!(of(answer).contains("/StoredMessageType\""), "{answer}");
        }
        let stored = &schemas["StoredMessageType"];
        assert_eq!(stored["x-extensible-enum"], json!(types));
        assert_eq!(stored["type"], "string");
        for closed in ["enum", "anyOf", "oneOf"] {
            assert!(stored.get(closed).is_none(), "{closed}");
        }
        assert!(of(request).contains("/MessageType\""), "{request}");
        assert_eq!(schemas["MessageType"]["enum"], json!(types));
    }
}

/// The types of the browser client list the codes of the service, for whoever writes `error.code === …`.
#[test]
fn every_code_of_an_error_is_in_the_types_of_the_client() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let types = fs::read_to_string(root.join("clients/js/pgchat.d.ts")).expect("the types");
    let (_, rest) = types
        .split_once("export type ServiceErrorCode =")
        .expect("the type");
    let (listed, _) = rest.split_once(';').expect("its end");
    let (listed, open) = listed.rsplit_once('|').expect("several");
    assert_eq!(open.trim(), "(string & {})", "later versions have more");
    let listed: Vec<&str> = listed.split('\'').skip(1).step_by(2).collect();
    assert_eq!(listed, ErrorCode::ALL.map(ErrorCode::name));
}

/// docs/api.md and the document of the socket name each code by which a socket is closed.
#[test]
fn every_close_code_is_in_the_table_and_in_the_document_of_the_socket() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/api.md")).expect("docs/api.md");
    let (_, table) = page.split_once("| close code |").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let listed = table.lines().filter_map(|line| line.split('|').nth(1));
    let listed: Vec<u16> = listed
        .flat_map(|codes| codes.split(','))
        .filter_map(|code| code.trim().parse().ok())
        .collect();
    assert_eq!(listed, CLOSE_CODES.map(|close| close.code));
    let document = asyncapi::document(AuthMode::Jwt);
    let codes = &document["channels"]["socket"]["x-close-codes"];
    let codes = codes.as_array().expect("the codes").iter();
    let codes: Vec<_> = codes.map(|close| close["code"].as_u64()).collect();
    let listed: Vec<_> = listed.iter().map(|code| Some(u64::from(*code))).collect();
    assert_eq!(codes, listed);
}

/// What a handshake takes, on the page of the API and in the document of the socket.
#[test]
fn every_parameter_of_a_handshake_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/api.md")).expect("docs/api.md");
    let (_, table) = page.split_once("| parameter |").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    for mode in [AuthMode::Trusted, AuthMode::Jwt] {
        let document = asyncapi::document(mode);
        let query = &document["channels"]["socket"]["bindings"]["ws"]["query"]["properties"];
        let query = query.as_object().expect("the query").keys();
        assert_eq!(query.map(String::as_str).collect::<BTreeSet<_>>(), listed);
    }
}

/// A reader of `docs/api.md` and one of `/openapi.json` find the same routes, under the same names, with the same parameters.
#[test]
fn every_route_is_on_the_page_of_the_api_with_its_parameters() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/api.md")).expect("docs/api.md");
    let document = openapi::document(AuthMode::Trusted);
    let mut missing = Vec::new();
    let mut found = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let route = format!("`{} {path}", method.to_uppercase());
            let ends = |rest: &str| rest.starts_with(['`', '?']);
            let mut is_about = false;
            let mut about = |line: &&str| {
                // Its rows of the table stand below each other.
                let goes_on = is_about && line.starts_with("| the same with ");
                is_about = goes_on || line.split(route.as_str()).skip(1).any(ends);
                is_about
            };
            let lines: Vec<&str> = page.lines().filter(|line| about(line)).collect();
            match lines.is_empty() {
                true => missing.push(route.clone()),
                false => found += 1,
            }
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for name in parameters.filter_map(|parameter| parameter["name"].as_str()) {
                let written = ["{", "`", "?", "&"].map(|before| format!("{before}{name}"));
                let is_written = |line: &&str| {
                    line.contains("the same parameters")
                        || written
                            .iter()
                            .any(|written| line.contains(written.as_str()))
                };
                if !lines.iter().any(is_written) {
                    missing.push(format!("{route}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/api.md: {missing:#?}");
    assert!(found >= 16, "{found} routes");
}

/// The texts of all source files below it.
fn sources(directory: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => all.extend(sources(&path)),
            false => all.push(fs::read_to_string(&path).expect("a source file")),
        }
    }
    all
}
