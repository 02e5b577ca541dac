//! What nobody sees of a text: a content of nothing else is no message.

/// Whether `character` leaves no mark, alone or beside others: what Unicode 17 has as `White_Space` (PropList.txt) or as
/// `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt; some of these are reserved, and all of them are ignored), and the Braille
/// pattern without dots. `chat_is_invisible()` has the same in SQL, `web/dom.js` on the page; a test compares all of them.
///
/// Many of them have a meaning beside what can be seen, such as the joiners and variation selectors of emoji.
pub const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{9}'..='\u{d}'
            | '\u{20}'
            | '\u{85}'
            | '\u{a0}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{1680}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3000}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_white_space_is_invisible() {
        let mut white = ('\0'..=char::MAX).filter(|c| c.is_whitespace());
        assert!(white.all(is_invisible));
    }
}
