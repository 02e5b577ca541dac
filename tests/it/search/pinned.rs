//! What the search index is over.

const SEARCH: &str = include_str!("../../../sql/migrations/V10__search.sql");

/// Of the functions between these two, without comments and blank lines.
const FIRST: &str = "create function chat_search_text(";
const BEHIND: &str = "create function chat_search_languages(";

const PINNED: u64 = 0xa354_fead_7d9b_cd5c;

/// FNV-1a: the same in every version of Rust.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An index that is there keeps what these functions said when each row came, whatever they say now: it would be valid, and find the wrong rows.
#[test]
fn the_functions_that_the_search_index_is_over_never_change() {
    let start = SEARCH.find(FIRST).expect("the first function");
    let end = SEARCH
        .find(BEHIND)
        .expect("what stands behind the last one");
    let code: Vec<&str> = SEARCH[start..end]
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
        .collect();
    let now = hash(&code.join("\n"));
    assert_eq!(
        now, PINNED,
        "{now:#018x}: what the search index is over has changed, and nothing would rebuild the indexes that are there. Before the first \
         release: put the new number here. After it: leave these functions as they are, and write new ones for an index of another name \
         (CONTRIBUTING.md, \"Where to add things\")"
    );
}
