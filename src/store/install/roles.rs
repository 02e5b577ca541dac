//! `sql/roles.sql` for a database that has no `psql`: the embedded one, and those of tests.

use crate::store::quoted_text;

/// Serves: it owns nothing, touches no table, and executes the functions that it calls.
pub const SERVICE: &str = "pgchat_service";

const FILE: &str = include_str!("../../../sql/roles.sql");

/// The file without what only `psql` understands, with its variables filled in; those that are not given have the file's
/// defaults.
pub fn sql(variables: &[(&str, &str)]) -> String {
    let statements: String = FILE
        .lines()
        .filter(|line| !line.starts_with('\\'))
        .flat_map(|line| [line, "\n"])
        .collect();
    let defaults = FILE
        .lines()
        .filter_map(|line| line.strip_prefix("\\set ")?.split_once(' '));
    defaults.fold(statements, |sql, (name, default)| {
        let given = variables.iter().find(|(given, _)| *given == name);
        let value = given.map_or(default.trim_matches('\''), |(_, value)| *value);
        sql.replace(&format!(":'{name}'"), &quoted_text(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_only_psql_understands_and_what_is_given_counts() {
        let sql = sql(&[("schema", "o'chat")]);
        for (name, value) in [
            ("owner", "pgchat_owner"),
            ("service", SERVICE),
            ("integrator", "pgchat_integrator"),
            ("schema", "o''chat"),
            ("users_table", "users"),
            ("users_columns", ""),
        ] {
            let set = format!("set_config('pgchat.{name}', '{value}', true)");
            assert!(sql.contains(&set), "{set}: {sql}");
        }
        assert!(!sql.contains(":'") && !sql.contains("\n\\"), "{sql}");
    }
}
