//! Imports run one way (ARCHITECTURE.md, "Rules"): no module of `src/` needs one that needs it, nor does one of several below the same
//! module. And statements are given to the database in few places.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Which modules each one names.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Where a module is, or something in it: `store`, `marks`, `line`.
type Place = Vec<String>;

#[test]
fn no_module_needs_one_that_needs_it() {
    let imports = imports();
    let top = &imports[""];
    assert!(top.len() > 15, "{top:#?}");
    assert!(top["app"].contains("server") && top["store"].contains("model"));
    let store = &imports["store"];
    assert!(store["lease"].contains("connect"));
    assert!(
        store["users"].contains("pages"),
        "by way of what the store itself names"
    );
    let knots: BTreeMap<String, Imports> = imports
        .into_iter()
        .map(|(below, imports)| (below, knot(imports)))
        .filter(|(_, knot)| !knot.is_empty())
        .collect();
    assert!(knots.is_empty(), "they need each other: {knots:#?}");
}

/// What goes out to sockets comes from the database, and by no other way.
#[test]
fn no_module_names_what_it_must_not_know() {
    const MUST_NOT: [(&str, &str); 4] = [
        ("http", "ws"),
        ("ws", "http"),
        ("hub", "store"),
        ("store", "hub"),
    ];
    let top = &imports()[""];
    for (module, other) in MUST_NOT {
        assert!(top.contains_key(other), "{other}");
        assert!(!top[module].contains(other), "{module} names {other}");
    }
}

/// All other SQL is below `sql/`, or in the store.
#[test]
fn only_the_store_and_three_more_places_give_the_database_statements() {
    const PLACES: [&str; 4] = [
        "src/store",
        "src/embedded",
        // A start that migrates, and the demo data.
        "src/app/database.rs",
        // The session that listens.
        "src/listener/reader.rs",
    ];
    /// What gives a statement to a client of tokio-postgres.
    const CALLS: [&str; 11] = [
        ".batch_execute(",
        ".simple_query(",
        ".query(",
        ".query_one(",
        ".query_opt(",
        ".query_raw(",
        ".query_typed",
        ".execute(",
        ".execute_raw(",
        ".copy_in(",
        ".copy_out(",
    ];
    let files = sources().into_iter();
    let (there, elsewhere): (Vec<_>, Vec<_>) = files
        .filter(|(_, code)| CALLS.iter().any(|call| code.contains(call)))
        .map(|(file, _)| file)
        .partition(|file| PLACES.iter().any(|place| file.starts_with(place)));
    assert!(there.len() > 5, "{there:?}");
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    for place in PLACES {
        assert!(there.iter().any(|file| file.starts_with(place)), "{place}");
    }
}

/// The files below `src/`, without comments.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut directories, mut files) = (vec!["src".to_owned()], BTreeMap::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory)).expect("a directory") {
            let name = entry.expect("an entry").file_name();
            let path = format!("{directory}/{}", name.to_str().expect("a name in UTF-8"));
            if root.join(&path).is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(root.join(&path)).expect("a source file");
            let code = text.lines().filter(|it| !it.trim_start().starts_with("//"));
            files.insert(path, code.flat_map(|line| [line, "\n"]).collect());
        }
    }
    files
}

/// The library's modules, without their tests. Tests, what they share and what the fuzzer runs look at everything.
fn modules() -> BTreeMap<Place, String> {
    const LEFT_OUT: [&str; 9] = [
        "lib", "main", "cli", "exit", "signals", "task", "testing", "fuzzing", "tests",
    ];
    let module = |(path, code): (String, String)| {
        let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let place: Place = path.split('/').map(str::to_owned).collect();
        let tests = code.find("#[cfg(test)]\nmod tests {");
        let code = code[..tests.unwrap_or(code.len())].to_owned();
        let is_left_out = place.iter().any(|name| LEFT_OUT.contains(&&**name));
        (!is_left_out).then_some((place, code))
    };
    sources().into_iter().filter_map(module).collect()
}

/// Of the modules below each one, which others there they name: themselves, or by what is below them.
fn imports() -> BTreeMap<String, Imports> {
    let modules = modules();
    let mut used: BTreeMap<Place, Place> = BTreeMap::new();
    for (module, code) in &modules {
        for path in used_in(code) {
            let (path, name) = path.split_once(" as ").unwrap_or((&path, ""));
            let from = absolute(module, path);
            let name = match name {
                "" => from.last().cloned().unwrap_or_default(),
                other => other.to_owned(),
            };
            // Of others' names a module's own modules need none.
            if from.len() > module.len() + 1 && from.starts_with(module) {
                used.insert([&module[..], &[name]].concat(), from);
            }
        }
    }
    let mut all: BTreeMap<String, Imports> = BTreeMap::new();
    for (module, code) in &modules {
        let words = code.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
        let named = words.filter(|it| it.starts_with("crate::") || it.starts_with("super::"));
        let named = named.map(str::to_owned).chain(used_in(code));
        let homes = named.map(|path| home(&modules, &used, &absolute(module, &path)));
        for home in homes.chain([module.clone()]) {
            for depth in 0..module.len() {
                let below = all.entry(module[..depth].join("::")).or_default();
                let named = below.entry(module[depth].clone()).or_default();
                if home.get(depth) != Some(&module[depth]) {
                    named.extend(home.get(depth).cloned());
                    break;
                }
            }
        }
    }
    all
}

/// What `use` brings into a module, one path each: of `use super::{a, b::{self, c as d}}` they are `super::a`, `super::b::self` and
/// `super::b::c as d`.
fn used_in(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, word) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        if !before.is_empty() && !before.starts_with("pub") {
            continue;
        }
        let tree = code[at + word.len()..].split(';').next();
        let mut tree = tree.unwrap_or_default().to_owned();
        while let Some(open) = tree.rfind('{') {
            let close = open + tree[open..].find('}').expect("its end");
            let start = tree[..open].rfind(['{', ',']).map_or(0, |at| at + 1);
            let before = tree[start..open].trim();
            let listed = tree[open + 1..close].split(',').map(str::trim);
            let listed = listed.filter(|path| !path.is_empty());
            let each: Vec<String> = listed.map(|path| format!("{before}{path}")).collect();
            tree.replace_range(start..=close, &each.join(","));
        }
        all.extend(tree.split(',').map(|path| path.trim().to_owned()));
    }
    all
}

/// What a module calls so, from the top.
fn absolute(module: &[String], path: &str) -> Place {
    let mut place = module.to_vec();
    let path = path.split_once(" as ").map_or(path, |(path, _)| path);
    for name in path.split("::") {
        match name {
            "crate" => place.clear(),
            "super" => drop(place.pop()),
            "self" | "" => {}
            name => place.push(name.to_owned()),
        }
    }
    place
}

/// The module that has what is at this place, also where another one has it by `use`.
fn home(
    modules: &BTreeMap<Place, String>,
    used: &BTreeMap<Place, Place>,
    path: &[String],
) -> Place {
    let mut home = Place::new();
    for depth in 1..=path.len() {
        let place = path[..depth].to_vec();
        match used.get(&place) {
            _ if modules.contains_key(&place) => home = place,
            Some(from) => return self::home(modules, used, from),
            None => break,
        }
    }
    home
}

/// Without those that need none of the others: what is left needs each other, or one that does.
fn knot(mut imports: Imports) -> Imports {
    loop {
        let is_needed = |name: &String| imports.contains_key(name);
        let free: Vec<String> = imports
            .iter()
            .filter(|(_, named)| !named.iter().any(is_needed))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            return imports;
        }
        imports.retain(|name, _| !free.contains(name));
    }
}
