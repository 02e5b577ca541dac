//! Checks of values with a syntax of their own: identifiers, tables, columns.

/// Longest identifier of PostgreSQL, in bytes (manual, "Identifiers and Key Words").
const IDENTIFIER_BYTES: usize = 63;

/// The channel is `chat_events_<schema>`, an identifier itself; a longer one would be cut off by LISTEN,
/// and refused by NOTIFY.
const SCHEMA_BYTES: usize = IDENTIFIER_BYTES - "chat_events_".len();

/// Whether this is a schema name that needs no quoting and leaves room for the channel's name.
pub(super) fn is_schema(name: &str) -> bool {
    needs_no_quotes(name) && name.len() <= SCHEMA_BYTES && !name.starts_with("pg_")
}

fn needs_no_quotes(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// What [`is_schema`] demands.
pub(super) fn schema_rule() -> String {
    format!(
        "must start with a lower-case letter or \"_\", go on with lower-case letters, digits or \"_\", have \
         at most {SCHEMA_BYTES} bytes, and not start with pg_, which PostgreSQL reserves"
    )
}

/// The index is `chat_messages_search_<language>`, an identifier itself.
const SEARCH_LANGUAGE_BYTES: usize = IDENTIFIER_BYTES - "chat_messages_search_".len();

/// Whether this can be a text search configuration that needs no quoting and no schema.
pub(super) fn is_search_language(name: &str) -> bool {
    needs_no_quotes(name) && name.len() <= SEARCH_LANGUAGE_BYTES
}

/// What [`is_search_language`] demands.
pub(super) fn search_language_rule() -> String {
    format!(
        "must be off or a text search configuration such as simple or english: letters, digits or \"_\", no digit \
         first, at most {SEARCH_LANGUAGE_BYTES} bytes"
    )
}

/// Whether this is `table` or `schema.table` as SQL spells them, each plain or in double quotes.
pub(super) fn is_table(text: &str) -> bool {
    let Some(rest) = after_identifier(text) else {
        return false;
    };
    match rest.strip_prefix('.') {
        Some(table) => after_identifier(table) == Some(""),
        None => rest.is_empty(),
    }
}

/// What follows the identifier that the text begins with.
fn after_identifier(text: &str) -> Option<&str> {
    let (bytes, rest) = match text.strip_prefix('"') {
        Some(quoted) => after_quoted(quoted)?,
        None => {
            let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            let end = text.find(|c| !plain(c)).unwrap_or(text.len());
            let first = text.chars().next()?;
            if first == '$' || first.is_numeric() {
                return None;
            }
            (end, &text[end..])
        }
    };
    (1..=IDENTIFIER_BYTES).contains(&bytes).then_some(rest)
}

/// The length of a quoted identifier without its quotes, and what follows it. `""` stands for one quote.
fn after_quoted(quoted: &str) -> Option<(usize, &str)> {
    let mut bytes = 0;
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        bytes += end;
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                bytes += 1;
                rest = more;
            }
            None => return Some((bytes, rest)),
        }
    }
}

/// The fields of a user that `USERS_COLUMNS` may name.
const USER_FIELDS: [&str; 7] = [
    "id",
    "firstName",
    "lastName",
    "avatarUrl",
    "role",
    "isActive",
    "deletedAt",
];

/// The fields and columns of `field=column,…`, or what is wrong with it.
pub(super) fn columns(text: &str) -> Result<Vec<(String, String)>, String> {
    let fields = USER_FIELDS.join(", ");
    let mut columns: Vec<(String, String)> = Vec::new();
    for part in text.split(',') {
        let (field, column) = part
            .split_once('=')
            .ok_or_else(|| format!("must be field=column, comma-separated; fields are {fields}"))?;
        let (field, column) = (field.trim(), column.trim());
        if !USER_FIELDS.contains(&field) {
            return Err(format!("names an unknown field; fields are {fields}"));
        }
        if columns.iter().any(|(named, _)| named == field) {
            return Err(format!("names the field {field} twice"));
        }
        // Nothing stands for no column; a user without an id is none.
        if (column.is_empty() && field == "id") || column.len() > IDENTIFIER_BYTES {
            return Err(format!(
                "must name a column of 1 to {IDENTIFIER_BYTES} bytes for {field}"
            ));
        }
        columns.push((field.to_owned(), column.to_owned()));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_spelled_as_in_sql() {
        for good in [
            "users",
            "crm.people",
            "\"User\"",
            "a.\"b.c\"",
            "\"a\"\"b\".c",
            "_x$1",
            "größe",
        ] {
            assert!(is_table(good), "{good}");
        }
        let long = "x".repeat(64);
        for bad in [
            "", ".", "a.", ".a", "a.b.c", "a b", "a;drop", "1a", "$a", "\"a", "\"\"", "a\"b\"",
            "a-b", " a", &long,
        ] {
            assert!(!is_table(bad), "{bad}");
        }
    }

    #[test]
    fn columns_are_named_by_field_and_an_empty_one_is_none() {
        let named = columns(" id = chat id , lastName=").expect("columns");
        let expected = [("id", "chat id"), ("lastName", "")];
        assert_eq!(named, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_schema_needs_no_quotes_and_leaves_room_for_the_channel() {
        let longest = "s".repeat(51);
        for good in ["public", "chat", "_a1", &longest] {
            assert!(is_schema(good), "{good}");
        }
        let too_long = "s".repeat(52);
        for bad in [
            "", "Chat", "1a", "a-b", "a.b", "a b", "\"a\"", "ä", "pg_chat", &too_long,
        ] {
            assert!(!is_schema(bad), "{bad}");
        }
    }
}
