//! Imports run one way (ARCHITECTURE.md, "Rules"): no module of `src/` needs one that needs it, nor does one of several below the same
//! module. And statements are given to the database in few places.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Which modules each one names.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Where a module is: `store`, `marks`, `line`.
type Place = Vec<String>;

#[test]
fn no_module_needs_one_that_needs_it() {
    let imports = Library::read().imports();
    let top = &imports[&place("")];
    assert!(top.len() > 15, "{top:#?}");
    assert!(top["app"].contains("server") && top["store"].contains("model"));
    let store = &imports[&place("store")];
    assert!(store["lease"].contains("connect"));
    assert!(
        store["users"].contains("pages"),
        "by way of what the store itself names"
    );
    let knots: BTreeMap<Place, Imports> = imports
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
    let imports = Library::read().imports();
    let top = &imports[&place("")];
    for (module, other) in MUST_NOT {
        assert!(top.contains_key(other), "{other}");
        assert!(!top[module].contains(other), "{module} names {other}");
    }
}

#[test]
fn modules_that_need_each_other_by_way_of_a_third_are_found() {
    let imports = Imports::from([
        ("above".to_owned(), names(&["a"])),
        ("a".to_owned(), names(&["b", "below"])),
        ("b".to_owned(), names(&["c"])),
        ("c".to_owned(), names(&["a"])),
    ]);
    let knot = knot(imports);
    assert!(["a", "b", "c"].iter().all(|name| knot.contains_key(*name)));
}

#[test]
fn whatever_way_a_module_is_named_it_is_found() {
    let text = "use crate::{a, b::{c, d}, e};\n// crate::f\nfn g() -> crate::h::I {}\n\
                #[cfg(test)]\nmod tests {\n    use crate::j;\n}\n";
    let mut modules = vec![("x", text)];
    modules.extend(["a", "b", "e", "f", "h", "j"].map(|other| (other, "")));
    let imports = Library::of(&modules).imports();
    assert_eq!(imports[&place("")]["x"], names(&["a", "b", "e", "h"]));

    let siblings = Library::of(&[
        (
            "x",
            "mod a;\npub use a::{A, d::{D as E, F}};\npub(crate) use b::G;\nuse c::H;\nstruct Own;",
        ),
        ("x::a", "use super::{G, Own,};\nuse crate::y;"),
        ("x::a::d", "use super::super::H;"),
        ("x::b", "type B = super::c::C;"),
        ("x::c", "use crate::x::{self, F};"),
        ("y", "use crate::x::G;"),
    ]);
    let imports = siblings.imports();
    let [a, b, c] = ["a", "b", "c"].map(|name| &imports[&place("x")][name]);
    assert_eq!(*a, names(&["b", "c"]));
    assert_eq!((b, c), (&names(&["c"]), &names(&["a"])));
    assert_eq!(imports[&place("x::a")]["d"], names(&[]));
    assert_eq!(imports[&place("")]["x"], names(&["y"]));
    assert_eq!(imports[&place("")]["y"], names(&["x"]));
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Of `a::b`; of nothing it is that of all.
fn place(path: &str) -> Place {
    let names = path.split("::").filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    with_statements_below(root, "src", &mut found);
    let (there, elsewhere): (Vec<_>, Vec<_>) = found
        .iter()
        .partition(|file| PLACES.iter().any(|place| file.starts_with(place)));
    assert!(there.len() > 5, "{there:?}");
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    for place in PLACES {
        assert!(there.iter().any(|file| file.starts_with(place)), "{place}");
    }
}

/// The files below a directory that call what gives a statement to a client of tokio-postgres.
fn with_statements_below(root: &Path, directory: &str, found: &mut BTreeSet<String>) {
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
    for entry in fs::read_dir(root.join(directory)).expect("a directory") {
        let name = entry.expect("an entry").file_name();
        let path = format!("{directory}/{}", name.to_str().expect("a name in UTF-8"));
        if root.join(&path).is_dir() {
            with_statements_below(root, &path, found);
            continue;
        }
        let text = fs::read_to_string(root.join(&path)).expect("a source file");
        if code(&text).any(|line| CALLS.iter().any(|call| line.contains(call))) {
            found.insert(path);
        }
    }
}

/// Without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
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

/// The library's modules: their code without comments and tests, and the names that each takes from modules below it.
struct Library {
    code: BTreeMap<Place, String>,
    taken: BTreeMap<Place, BTreeMap<String, Place>>,
}

impl Library {
    fn read() -> Self {
        let mut files = BTreeMap::new();
        read_below(
            Path::new(env!("CARGO_MANIFEST_DIR")),
            "src",
            &[],
            &mut files,
        );
        Self::new(files)
    }

    fn of(modules: &[(&str, &str)]) -> Self {
        let files = modules
            .iter()
            .map(|(path, text)| (place(path), (*text).to_owned()));
        Self::new(files.collect())
    }

    fn new(files: BTreeMap<Place, String>) -> Self {
        let code: BTreeMap<Place, String> = files
            .into_iter()
            .map(|(place, text)| (place, without_tests(&text)))
            .collect();
        let mut taken: BTreeMap<Place, BTreeMap<String, Place>> = BTreeMap::new();
        for (place, text) in &code {
            for path in text.split("use ").skip(1).flat_map(|tree| paths(tree).0) {
                let path = [&place[..], &path].concat();
                let (Some(below), Some(name)) = (path.get(..=place.len()), path.last()) else {
                    continue;
                };
                if code.contains_key(below) {
                    let taken = taken.entry(place.clone()).or_default();
                    taken.insert(name.clone(), path.clone());
                }
            }
        }
        Self { code, taken }
    }

    /// Of the modules below each one, which others there they name: themselves, or by what is below them.
    fn imports(&self) -> BTreeMap<Place, Imports> {
        let mut all: BTreeMap<Place, Imports> = BTreeMap::new();
        for (module, text) in &self.code {
            for (depth, name) in module.iter().enumerate() {
                let below = all.entry(module[..depth].to_vec()).or_default();
                below.entry(name.clone()).or_default();
            }
            for path in named_in(module, text) {
                let home = self.home(&path);
                let depth = module.iter().zip(&home).take_while(|(a, b)| a == b);
                let depth = depth.count();
                if let (Some(one), Some(other)) = (module.get(depth), home.get(depth)) {
                    let below = all.entry(module[..depth].to_vec()).or_default();
                    below.entry(one.clone()).or_default().insert(other.clone());
                }
            }
        }
        all
    }

    /// The module that has what is named so.
    fn home(&self, path: &[String]) -> Place {
        let mut home = Place::new();
        for (depth, name) in path.iter().enumerate() {
            let below = path[..=depth].to_vec();
            if self.code.contains_key(&below) {
                home = below;
            } else if let Some(from) = self.taken.get(&home).and_then(|taken| taken.get(name)) {
                return self.home(from);
            } else {
                break;
            }
        }
        home
    }
}

/// Adds the library's files below a directory. Tests, what they share and what the fuzzer runs look at everything.
fn read_below(root: &Path, directory: &str, place: &[String], files: &mut BTreeMap<Place, String>) {
    for entry in fs::read_dir(root.join(directory)).expect("a directory") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name in UTF-8");
        let path = format!("{directory}/{name}");
        let module = [place, &[name.trim_end_matches(".rs").to_owned()]].concat();
        if root.join(&path).is_dir() {
            if name != "tests" {
                read_below(root, &path, &module, files);
            }
            continue;
        }
        const AT_THE_TOP: [&str; 7] = [
            "lib.rs",
            "main.rs",
            "cli.rs",
            "exit.rs",
            "signals.rs",
            "task.rs",
            "testing.rs",
        ];
        let left_out = match directory {
            "src" if AT_THE_TOP.contains(&name) => true,
            _ => ["fuzzing.rs", "tests.rs"].contains(&name),
        };
        if !name.ends_with(".rs") || left_out {
            continue;
        }
        let text = fs::read_to_string(root.join(&path)).expect("a source file");
        files.insert(module, text);
    }
}

/// A file's code without its comments and its tests.
fn without_tests(text: &str) -> String {
    let (text, _) = text
        .split_once("#[cfg(test)]\nmod tests {")
        .unwrap_or((text, ""));
    code(text).flat_map(|line| [line, "\n"]).collect()
}

/// What a module names behind `crate::` or `super::`, from the top.
fn named_in(module: &[String], code: &str) -> Vec<Place> {
    let parent = &module[..module.len() - 1];
    let of_crate = code.split("crate::").skip(1).flat_map(|tree| paths(tree).0);
    // In `super::super::a` the second one is part of the first one's path.
    let behind_super = code
        .match_indices("super::")
        .filter(|(at, _)| !code[..*at].ends_with("::"));
    let of_parent = behind_super.flat_map(|(at, word)| paths(&code[at + word.len()..]).0);
    let of_parent = of_parent.map(|path| {
        let further = path.iter().take_while(|name| *name == "super").count();
        [&parent[..parent.len() - further], &path[further..]].concat()
    });
    of_crate.chain(of_parent).collect()
}

/// The paths that a text begins with, and what comes behind them: of `a` it is that one, of `{a, b::{self, c}}` they are `a`, `b`, and `b::c`.
fn paths(text: &str) -> (Vec<Place>, &str) {
    let text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        return listed_paths(list);
    }
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if ["", "self"].contains(&name) {
        return (vec![Place::new()], rest);
    }
    let (behind, rest) = match rest.strip_prefix("::") {
        Some(rest) => paths(rest),
        None => (vec![Place::new()], rest),
    };
    let whole = |behind: Place| [vec![name.to_owned()], behind].concat();
    (behind.into_iter().map(whole).collect(), rest)
}

fn listed_paths(mut list: &str) -> (Vec<Place>, &str) {
    let mut all = Vec::new();
    loop {
        let (some, rest) = paths(list);
        all.extend(some);
        // Behind a name there may be another one: `a as b`.
        let Some(end) = rest.find([',', '}']) else {
            return (all, "");
        };
        list = &rest[end + 1..];
        if rest[end..].starts_with('}') {
            return (all, list);
        }
    }
}
