//! `docs/guarantees.md` names the tests behind each promise, and pages name each other: the names must be real.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = fs::read_to_string(root.join("docs/guarantees.md")).expect("docs/guarantees.md");
    let tests = tests_below(&["tests/it"]);

    let rows: Vec<&str> = promises
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

/// The functions of all source files below these directories.
pub fn tests_below(directories: &[&str]) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    for directory in directories {
        collect_tests(&root.join(directory), &mut tests);
    }
    tests
}

/// `SECURITY.md` names what fails without each guard, unit tests among them.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let tests = tests_below(&["tests/it", "src"]);
    let is_test = |name: &&str| {
        name.matches('_').count() > 2 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let names: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(names.len() > 30, "{}", names.len());
    for name in names {
        assert!(tests.contains(name), "no test is called {name}");
    }
}

fn collect_tests(directory: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect_tests(&path, tests);
        } else {
            let source = fs::read_to_string(&path).expect("a source file");
            let functions = source.split("fn ").skip(1);
            tests.extend(
                functions
                    .filter_map(|f| f.split('(').next())
                    .map(str::to_owned),
            );
        }
    }
}
