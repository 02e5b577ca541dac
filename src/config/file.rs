//! The file format of `config.env`: lines of `KEY=VALUE`. Knows no setting by name.

/// One variable of the file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub value: String,
    /// Counted from 1.
    pub line: usize,
}

/// A line that is none of: blank, a comment, `KEY=VALUE`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineError {
    pub line: usize,
    /// Never holds any of the line's text, which may be a password.
    pub problem: &'static str,
}

/// Reads the lines of a file, in order.
///
/// The format is what shells, Docker and dotenv readers agree on, with one difference: `$` is an
/// ordinary character everywhere, since passwords hold it. An optional `export ` stands before the name.
/// Without quotes a value ends at the line's end or at a `#` after white space, and is trimmed. In single
/// quotes everything is literal. In double quotes `\n`, `\r`, `\t`, `\"` and `\\` are escapes, and any
/// other backslash is literal.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, LineError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let at = |problem| LineError {
            line: index + 1,
            problem,
        };
        if let Some((name, value)) = parse_line(line).map_err(at)? {
            entries.push(Entry {
                name: name.to_owned(),
                value,
                line: index + 1,
            });
        }
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let (name, rest) = line
        .split_once('=')
        .ok_or("must be a comment or KEY=VALUE, but there is no \"=\"")?;
    let name = name.trim_end();
    if !is_name(name) {
        return Err("must be KEY=VALUE, where KEY has only letters, digits and \"_\"");
    }
    Ok(Some((name, parse_value(rest)?)))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn parse_value(rest: &str) -> Result<String, &'static str> {
    let value = rest.trim_start();
    let (value, after) = if let Some(quoted) = value.strip_prefix('\'') {
        let (value, after) = quoted
            .split_once('\'')
            .ok_or("the closing quote ' is missing")?;
        (value.to_owned(), after)
    } else if let Some(quoted) = value.strip_prefix('"') {
        parse_double_quoted(quoted)?
    } else {
        return Ok(unquoted(rest).to_owned());
    };
    let blank = after.trim_start();
    if blank.is_empty() || (blank.starts_with('#') && blank.len() < after.len()) {
        Ok(value)
    } else {
        Err("after the closing quote only a comment may follow")
    }
}

/// Takes `rest` untrimmed: the white space before a `#` is what makes it a comment.
fn unquoted(rest: &str) -> &str {
    let comment = rest.char_indices().find(|&(at, c)| {
        c == '#'
            && rest[..at]
                .chars()
                .next_back()
                .is_some_and(char::is_whitespace)
    });
    match comment {
        Some((at, _)) => rest[..at].trim(),
        None => rest.trim(),
    }
}

/// The value and what follows its closing quote.
fn parse_double_quoted(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok((value, chars.as_str())),
            '\\' => {
                let mut ahead = chars.clone();
                let escaped = match ahead.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(same @ ('"' | '\\')) => same,
                    _ => {
                        value.push('\\');
                        continue;
                    }
                };
                value.push(escaped);
                chars = ahead;
            }
            other => value.push(other),
        }
    }
    Err("the closing quote \" is missing")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let entries = parse(text).unwrap_or_else(|error| panic!("{error:?} in {text:?}"));
        entries.into_iter().map(|e| (e.name, e.value)).collect()
    }

    #[test]
    fn values_are_read_as_written() {
        let cases = [
            ("A=b", "b"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("  A = b c  ", "b c"),
            ("A=b\r", "b"),
            ("\u{feff}A=b", "b"),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=#b", "#b"),
            ("A=a=b=c", "a=b=c"),
            ("A=$HOME ${B} $(c) `d`", "$HOME ${B} $(c) `d`"),
            ("A=it's", "it's"),
            (r"A=a\nb", r"a\nb"),
            (r"A='a \n # $b' # comment", r"a \n # $b"),
            (r#"A="a\"b\\c\nd\te\rf""#, "a\"b\\c\nd\te\rf"),
            (r#"A="p$a\s's #w""#, r"p$a\s's #w"),
            ("A='  '", "  "),
            (r#"A="""#, ""),
            ("A=päß→", "päß→"),
        ];
        for (text, value) in cases {
            assert_eq!(
                pairs(text),
                [("A".to_owned(), value.to_owned())],
                "{text:?}"
            );
        }
        assert_eq!(
            pairs("\n# A=1\n   # B=2\n\nexport_me=1\nexport=2\n"),
            [
                ("export_me".into(), "1".into()),
                ("export".into(), "2".into())
            ]
        );
    }

    #[test]
    fn a_bad_line_is_reported_by_its_number_without_its_text() {
        let cases = [
            ("A=1\nhunter2", 2, "no \"=\""),
            ("\n\n=hunter2", 3, "KEY has only"),
            ("1A=hunter2", 1, "KEY has only"),
            ("A-B=hunter2", 1, "KEY has only"),
            ("export A B=hunter2", 1, "KEY has only"),
            ("A='hunter2", 1, "closing quote '"),
            ("A=\"hunter2", 1, "closing quote \""),
            ("A=\"hunter2\\\"", 1, "closing quote \""),
            ("A='a' hunter2", 1, "after the closing quote"),
            ("A='a'#hunter2", 1, "after the closing quote"),
        ];
        for (text, line, part) in cases {
            let Err(error) = parse(text) else {
                panic!("{text:?} was accepted");
            };
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.problem.contains(part), "{text:?}: {}", error.problem);
            assert!(!error.problem.contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in r"(?s).{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn text_made_of_the_formats_own_characters_is_parsed_or_refused(
            text in "[A='\"\\\\#$ \n\t\u{feff}ab]{0,60}"
        ) {
            let _ = parse(&text);
        }

        #[test]
        fn a_double_quoted_value_comes_back(value in r"(?s).{0,100}") {
            let quoted = value
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n");
            prop_assert_eq!(pairs(&format!("A=\"{quoted}\" # c\nB=1"))[0].1.clone(), value);
        }

        #[test]
        fn a_single_quoted_value_comes_back(value in r"[^'\n]{0,100}") {
            prop_assert_eq!(pairs(&format!("export A='{value}'\n"))[0].1.clone(), value);
        }

        #[test]
        fn a_plain_value_comes_back(value in r"[!-~&&[^'\x22#]][!-~]{0,40}") {
            prop_assert_eq!(pairs(&format!("A={value}\r\n"))[0].1.clone(), value);
        }
    }
}
