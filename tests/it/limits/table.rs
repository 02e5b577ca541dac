//! The page of limits against the settings that are shipped, and against the tests.

use std::collections::BTreeSet;
use std::path::Path;

use crate::promises::{tests_below, tests_named_in};

/// `docs/limits.md` has every limit, with its default as it is, and tests that there are.
#[test]
fn the_table_of_limits_is_complete_and_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a file");
    let (table, shipped) = (read("docs/limits.md"), read("config.env"));
    let tests: BTreeSet<String> = tests_below(&["tests/it", "src"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let bare = |cell: &str| cell.trim_matches('`').to_owned();
    for row in &rows {
        let [_, name, default, _, beyond, proofs, _] = row[..] else {
            panic!("{row:?}");
        };
        let line = format!("#{}={default}", bare(name));
        assert!(shipped.lines().any(|shipped| shipped == line), "{line}");
        assert!(!beyond.is_empty(), "{row:?}");
        let proofs: Vec<&str> = proofs.split('`').skip(1).step_by(2).collect();
        assert!(!proofs.is_empty(), "no test is named: {row:?}");
        for proof in proofs {
            assert!(tests.contains(proof), "no test is called {proof}");
        }
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
        let proofs = tests_named_in(row);
        assert!(!proofs.is_empty(), "no test is named: {row}");
    }
    for name in tests_named_in(&table) {
        assert!(tests.contains(name), "no test is called {name}");
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
