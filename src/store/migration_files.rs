//! The numbered migrations as they are in this program, and the functions that they make.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use refinery::Migration;

mod embedded {
    refinery::embed_migrations!("sql/migrations");
}

/// Who may execute what, whatever the migrations added.
pub(super) const PRIVILEGES: &str = include_str!("../../sql/privileges.sql");

/// By their numbers: refinery has them by the names of their files.
pub(super) fn all() -> Vec<Migration> {
    let mut migrations = embedded::migrations::runner().get_migrations().clone();
    migrations.sort();
    migrations
}

/// The names of all functions and procedures that the migrations make.
pub(super) fn routines() -> BTreeSet<String> {
    let all = all();
    all.iter()
        .filter_map(Migration::sql)
        .flat_map(made_by)
        .collect()
}

/// Whether pgchat has a function of this name. Others may begin with `chat_` as well.
pub(super) fn is_own(function: &str) -> bool {
    static OWN: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let mut own = routines();
        own.extend(made_by(PRIVILEGES));
        own
    });
    OWN.contains(function)
}

/// The part of a file between its marks.
pub(super) fn section(file: &'static str, name: &str) -> &'static str {
    let inner = file
        .split_once(&format!("-- begin {name}\n"))
        .and_then(|(_, rest)| rest.split_once(&format!("-- end {name}\n")));
    inner.map_or("", |(section, _)| section)
}

fn made_by(sql: &str) -> impl Iterator<Item = String> {
    let made = [
        "create function ",
        "create or replace function ",
        "create procedure ",
    ];
    let definitions = made
        .into_iter()
        .flat_map(move |made| sql.split(made).skip(1));
    definitions.map(|definition| definition.split('(').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_applied_in_the_order_of_their_numbers() {
        let versions: Vec<i32> = all().iter().map(Migration::version).collect();
        let expected: Vec<i32> = (1..).take(versions.len()).collect();
        assert_eq!(versions, expected);
        assert!(versions.len() > 10);
    }
}
