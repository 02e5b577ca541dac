//! Imports run one way (ARCHITECTURE.md, "Rules"): no module of `src/` needs one that needs it. And statements are given to the
//! database in few places.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Which modules each one names.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_module_needs_one_that_needs_it() {
    let mut imports = Imports::new();
    read_below(Path::new(env!("CARGO_MANIFEST_DIR")), "src", &mut imports);
    assert!(imports.len() > 15, "{imports:#?}");
    assert!(imports["app"].contains("server") && imports["store"].contains("model"));
    let knot = knot(imports);
    assert!(knot.is_empty(), "they need each other: {knot:#?}");
}

#[test]
fn modules_that_need_each_other_by_way_of_a_third_are_found() {
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let imports = Imports::from([
        ("above".to_owned(), of(&["a"])),
        ("a".to_owned(), of(&["b", "below"])),
        ("b".to_owned(), of(&["c"])),
        ("c".to_owned(), of(&["a"])),
    ]);
    let knot = knot(imports);
    assert!(["a", "b", "c"].iter().all(|name| knot.contains_key(*name)));
    let text = "use crate::{a, b::{c, d}, e};\n// crate::f\nfn g() -> crate::h::I {}\n\
                #[cfg(test)]\nmod tests {\n    use crate::j;\n}\n";
    assert_eq!(named_in(text), of(&["a", "b", "e", "h"]));
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
    const CALLS: [&str; 10] = [
        ".batch_execute(",
        ".simple_query(",
        ".query(",
        ".query_one(",
        ".query_opt(",
        ".query_raw(",
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

/// Adds what the library's files below a directory import. Tests, what they share and what the fuzzer runs look at everything.
fn read_below(root: &Path, directory: &str, imports: &mut Imports) {
    for entry in fs::read_dir(root.join(directory)).expect("a directory") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name in UTF-8");
        let path = format!("{directory}/{name}");
        if root.join(&path).is_dir() {
            if name != "tests" {
                read_below(root, &path, imports);
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
        let module = path.split('/').nth(1).expect("a place below src");
        let module = module.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(root.join(&path)).expect("a source file");
        let mut named = named_in(&text);
        named.remove(&module);
        imports.entry(module).or_default().extend(named);
    }
}

/// The modules that a file names behind `crate::`, its comments and its tests left out.
fn named_in(text: &str) -> BTreeSet<String> {
    let (text, _) = text
        .split_once("#[cfg(test)]\nmod tests {")
        .unwrap_or((text, ""));
    let code: String = code(text).flat_map(|line| [line, "\n"]).collect();
    code.split("crate::")
        .skip(1)
        .flat_map(first_names)
        .collect()
}

/// Of `a::b` it is `a`, of `{a, b::{c, d}}` they are `a` and `b`.
fn first_names(path: &str) -> Vec<String> {
    let name = |part: &str| -> String {
        let part = part.trim_start().chars();
        part.take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(list) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let (mut depth, mut names) = (1, vec![name(list)]);
    for (place, sign) in list.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&list[place + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
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
    let mut imports = Imports::new();
    read_below(Path::new(env!("CARGO_MANIFEST_DIR")), "src", &mut imports);
    for (module, other) in MUST_NOT {
        assert!(!imports[module].contains(other), "{module} names {other}");
    }
}
