//! The page of limits against the settings that are shipped, and against the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::promises::{tests_below, tests_named_in};

/// `docs/limits.md` has every limit, with its default as it is, and tests that there are.
#[test]
fn the_table_of_limits_is_complete_and_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a file");
    let (page, shipped) = (read("docs/limits.md"), read("config.env"));
    let (table, evidence) = page.split_once("\n## Tests\n").expect("the tests");
    // Whoever looks for a limit finds it without the names of tests in between.
    assert!(tests_named_in(table).is_empty());
    let evidence = evidence_of_each(evidence);
    let mut proved = BTreeSet::new();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let bare = |cell: &str| cell.trim_matches('`').to_owned();
    for row in &rows {
        let [_, name, default, _, beyond, _] = row[..] else {
            panic!("{row:?}");
        };
        let line = format!("#{}={default}", bare(name));
        assert!(shipped.lines().any(|shipped| shipped == line), "{line}");
        assert!(!beyond.is_empty(), "{row:?}");
        assert!(evidence.contains_key(name), "no test is named: {row:?}");
        proved.insert(name);
    }
    let fixed = table
        .split("These limits are fixed:")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("those that are no settings");
    let fixed: Vec<&str> = fixed
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    assert!(fixed.len() > 10, "{fixed:?}");
    // But the head and the line below it.
    for row in &fixed[2..] {
        let limited = row.split('|').nth(1).expect("what is limited").trim();
        // By how it begins: some of them are long.
        let named = evidence.keys().find(|what| limited.starts_with(**what));
        proved.insert(named.unwrap_or_else(|| panic!("no test is named: {row}")));
    }
    let tests: BTreeSet<String> = tests_below(&["tests/it", "src"]);
    for (what, proofs) in &evidence {
        assert!(proved.contains(what), "{what} is no limit of the tables");
        assert!(!proofs.is_empty(), "no test is named of {what}");
        for proof in proofs {
            assert!(tests.contains(*proof), "no test is called {proof}");
        }
    }
    let named: BTreeSet<String> = rows.iter().map(|row| bare(row[1])).collect();
    let limits = shipped
        .split("# --- Limits ---")
        .nth(1)
        .and_then(|rest| rest.split("# ---").next())
        .expect("the section of limits");
    for line in limits.lines().filter(|line| line.starts_with('#')) {
        if let Some((name, _)) = line[1..].split_once('=')
            && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        {
            assert!(named.contains(name), "docs/limits.md has no row for {name}");
        }
    }
}

/// The lines `- what: the tests`.
fn evidence_of_each(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("- "));
    lines
        .map(|line| {
            let (what, proofs) = line.split_once(": ").expect("what, and its tests");
            (what, proofs.split('`').skip(1).step_by(2).collect())
        })
        .collect()
}
