//! Text of others, as a message or the log shows it: never longer than somebody reads.

/// The longest text that a message quotes, in characters.
const QUOTED: usize = 64;

/// A user's wrong text as a message quotes it: escaped, and not longer than 64 characters.
pub fn quoted(text: &str) -> String {
    quoted_within(text, QUOTED)
}

/// The text as a literal of one line, with what is escaped in it; of a longer one so many characters, and `…` behind the quotes.
pub fn quoted_within(text: &str, characters: usize) -> String {
    let (beginning, rest) = split(text, characters);
    format!("{beginning:?}{}", dots(rest))
}

/// The text as it is; of a longer one so many characters, and `…`.
pub fn shortened(text: &str, characters: usize) -> String {
    let (beginning, rest) = split(text, characters);
    format!("{beginning}{}", dots(rest))
}

fn split(text: &str, characters: usize) -> (&str, &str) {
    let end = text.char_indices().nth(characters);
    text.split_at(end.map_or(text.len(), |(end, _)| end))
}

fn dots(rest: &str) -> &'static str {
    if rest.is_empty() { "" } else { "…" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_is_cut_between_two_characters_and_says_so() {
        let fits = "é".repeat(QUOTED);
        assert_eq!(shortened(&fits, QUOTED), fits);
        assert_eq!(quoted(&fits), format!("\"{fits}\""));
        let longer = format!("{fits}é");
        assert_eq!(shortened(&longer, QUOTED), format!("{fits}…"));
        assert_eq!(quoted(&longer), format!("\"{fits}\"…"));
        // Escapes do not count: they are cut as a whole.
        assert_eq!(quoted_within("a\n\"b", 2), r#""a\n"…"#);
        assert_eq!(quoted(""), r#""""#);
    }
}
