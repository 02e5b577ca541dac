//! Names of parameters and members in another spelling than their own (`up_to_seq`, `upToSeq`, `UpToSeq`). Ignored as unknown ones they
//! would be dangerous: left out, `up_to_seq` means all that there is.

use crate::text::shortened;

/// A name of a caller's as a fault shows it, in characters: it may have any number of separators.
const SHOWN: usize = 64;

/// Whether `key` is `name` in another spelling: the same letters in another case, or with other separators.
pub fn is_misspelt(key: &str, name: &str) -> bool {
    key != name && letters(key).eq(letters(name))
}

/// What is wrong with a misspelt `key`, in words; `what` it is the name of.
pub fn fault(what: &str, key: &str, name: &str) -> String {
    // Its letters are those of the name, so nothing in it needs quotes.
    format!("unknown {what} {}: use {name}", shortened(key, SHOWN))
}

/// Without what separates words, in lower case.
fn letters(name: &str) -> impl Iterator<Item = u8> {
    let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fault_names_both_spellings_and_is_short() {
        let short = fault("parameter", "upToSeq", "up_to_seq");
        assert_eq!(short, "unknown parameter upToSeq: use up_to_seq");
        let long = fault("member", &format!("content{}", "_".repeat(5000)), "content");
        assert!(
            long.len() < 120 && long.ends_with("…: use content"),
            "{long}"
        );
    }

    proptest! {
        #[test]
        fn another_case_and_other_separators_are_another_spelling(
            upper in prop::collection::vec(any::<bool>(), 15), separators in prop::collection::vec("[_-]{0,2}", 15)
        ) {
            let letters = "clientmessageid".chars().zip(upper).zip(separators);
            let key: String = letters
                .map(|((letter, upper), separators)| match upper {
                    true => format!("{separators}{}", letter.to_ascii_uppercase()),
                    false => format!("{separators}{letter}"),
                })
                .collect();
            prop_assert_eq!(is_misspelt(&key, "clientMessageId"), key != "clientMessageId");
        }

        #[test]
        fn what_has_other_letters_is_another_name(key in "[a-zA-Z_-]{0,12}") {
            let plain = key.replace(['_', '-'], "").to_ascii_lowercase();
            prop_assert_eq!(is_misspelt(&key, "content"), plain == "content" && key != "content");
        }
    }
}
