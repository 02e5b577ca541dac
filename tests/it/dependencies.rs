//! The crates that the service is built from are what `deny.toml` allows: their licences, where they come from, and no two
//! versions of one without a reason. This is the part of `cargo deny check` that needs no more than cargo; `make deny` is all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const RULES: &str = include_str!("../../deny.toml");

/// The strings of a list in `deny.toml`. Not all of TOML: the file is ours.
fn list(name: &str) -> Vec<&'static str> {
    let start = format!("\n{name} = [");
    let (_, rest) = RULES.split_once(&*start).expect(name);
    // Of a list over several lines the end stands alone; one on a line has no other bracket.
    let (list, _) = match rest.starts_with('\n') {
        true => rest.split_once("\n]"),
        false => rest.split_once(']'),
    }
    .expect(name);
    let lines = list.lines().filter_map(|line| line.split('#').next());
    lines
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .collect()
}

/// All packages that a build for any of the targets takes in, tests included.
fn packages() -> Vec<Value> {
    let mut packages = BTreeMap::new();
    for target in list("targets") {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .args(["--filter-platform", target])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_str(&text).expect("JSON");
        let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
        let built: BTreeSet<&str> = nodes
            .iter()
            .filter_map(|node| node["id"].as_str())
            .collect();
        for package in metadata["packages"].as_array().expect("packages") {
            let id = package["id"].as_str().expect("an id");
            if built.contains(id) {
                packages.insert(id.to_owned(), package.clone());
            }
        }
    }
    packages.into_values().collect()
}

fn text<'a>(package: &'a Value, member: &str) -> &'a str {
    package[member].as_str().unwrap_or_default()
}

/// Whether a licence expression (SPDX, annex D; `/` is an older way to write `OR`) can be met with those that are allowed.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let verdict = alternatives(&mut words, allowed);
    verdict == Some(true) && words.is_empty()
}

/// `AND` binds closer than `OR`. `None`: it is no expression.
fn alternatives(words: &mut Vec<&str>, allowed: &[&str]) -> Option<bool> {
    let mut fine = all_of(words, allowed)?;
    while words.last() == Some(&"OR") {
        words.pop();
        fine |= all_of(words, allowed)?;
    }
    Some(fine)
}

fn all_of(words: &mut Vec<&str>, allowed: &[&str]) -> Option<bool> {
    let mut fine = licence(words, allowed)?;
    while words.last() == Some(&"AND") {
        words.pop();
        fine &= licence(words, allowed)?;
    }
    Some(fine)
}

fn licence(words: &mut Vec<&str>, allowed: &[&str]) -> Option<bool> {
    let mut name = words.pop()?.to_owned();
    if name == "(" {
        let fine = alternatives(words, allowed)?;
        return (words.pop()? == ")").then_some(fine);
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        name = format!("{name} WITH {}", words.pop()?);
    }
    Some(allowed.contains(&&*name))
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
    for fine in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "(MIT OR GPL-3.0) AND Apache-2.0",
        "GPL-3.0 AND MIT OR Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(fine, &allowed), "{fine}");
    }
    for wrong in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND GPL-3.0",
        "MIT OR",
        "MIT)",
        "(MIT",
        "MIT WITH LLVM-exception",
        "MIT Apache-2.0",
    ] {
        assert!(!is_allowed(wrong, &allowed), "{wrong}");
    }
}

#[test]
fn every_crate_has_a_licence_that_is_allowed_and_comes_from_the_registry() {
    let (licences, registries) = (list("allow"), list("allow-registry"));
    let mut wrong = Vec::new();
    let packages = packages();
    assert!(packages.len() > 200, "{}", packages.len());
    for package in &packages {
        let name = format!("{} {}", text(package, "name"), text(package, "version"));
        if !is_allowed(text(package, "license"), &licences) {
            wrong.push(format!("{name}: licence {:?}", package["license"]));
        }
        let own = package["source"].is_null()
            && Path::new(text(package, "manifest_path")).starts_with(env!("CARGO_MANIFEST_DIR"));
        let registry = text(package, "source").strip_prefix("registry+");
        if !own && !registry.is_some_and(|registry| registries.contains(&registry)) {
            wrong.push(format!("{name}: from {:?}", package["source"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_crate_is_there_in_two_versions_without_a_reason() {
    let words = list("skip");
    let skipped: Vec<(&str, &str)> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let of_name = versions.entry(text(&package, "name").to_owned());
        let version = text(&package, "version").to_owned();
        of_name.or_default().insert(version);
    }
    let is_skipped = |name: &str, version: &str| {
        let of = |wanted: &str| version == wanted || version.starts_with(&format!("{wanted}."));
        skipped
            .iter()
            .any(|(skipped, wanted)| *skipped == name && of(wanted))
    };
    for (name, versions) in &versions {
        let counted = versions.iter().filter(|version| !is_skipped(name, version));
        assert!(counted.count() < 2, "{name}: {versions:?}");
    }
    // A reason that is gone goes out of the list.
    for (name, wanted) in &skipped {
        let there = versions.get(*name).is_some_and(|all| all.len() > 1);
        assert!(there, "{name} {wanted} is in the list for nothing");
    }
}
