//! The pages of the repository point at each other, at files, and at each other's headings. A reader who follows a
//! link must arrive.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Not ours, or made by a build.
const LEFT_OUT: [&str; 3] = ["target", "node_modules", ".git"];

#[test]
fn every_link_between_pages_leads_to_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = pages_below(root);
    let mut followed = 0;
    let mut dead = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page");
        for link in links(&text).filter(|link| !link.contains("://")) {
            followed += 1;
            if !leads_somewhere(page, link) {
                let page = page.strip_prefix(root).expect("below the root");
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(followed > 100, "{followed} links on {} pages", pages.len());
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn a_dead_link_is_found() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    assert!(leads_somewhere(&here, "docs/api.md#the-socket"));
    assert!(leads_somewhere(&here, "#quick-start"));
    assert!(!leads_somewhere(&here, "docs/api.md#no-such-heading"));
    assert!(!leads_somewhere(&here, "docs/no-such-page.md"));
    let found: Vec<&str> =
        links("see [one](a.md) and `[none](b.md)`\n```\n[none](c.md)\n```\n").collect();
    assert_eq!(found, ["a.md"]);
}

fn pages_below(directory: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let name = path.file_name().and_then(OsStr::to_str);
            if !name.is_some_and(|name| LEFT_OUT.contains(&name)) {
                pages.extend(pages_below(&path));
            }
        } else if path.extension() == Some(OsStr::new("md")) {
            pages.push(path);
        }
    }
    pages
}

/// What stands in the round brackets of a link, outside code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| {
        // Code spans stand at the odd places.
        let outside_code = line.split('`').step_by(2);
        outside_code.flat_map(|part| {
            part.split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
        })
    })
}

/// The lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, heading) = match link.split_once('#') {
        Some((file, heading)) => (file, Some(heading)),
        None => (link, None),
    };
    let target = if file.is_empty() {
        page.to_owned()
    } else {
        page.parent().expect("a directory").join(file)
    };
    match heading {
        None => target.exists(),
        Some(heading) => {
            fs::read_to_string(&target).is_ok_and(|text| headings(&text).contains(heading))
        }
    }
}

/// As GitHub names them: in lower case, without signs, with hyphens for spaces.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = prose(text).filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.trim())
    });
    titles
        .map(|title| {
            title
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}
