//! What stands in pages of the documentation that tests run.

/// The blocks of code in this language, in their order.
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let behind = page.split(&begin).skip(1);
    behind
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

/// The first block of SQL that `is_it`.
pub fn sql_block(page: &str, is_it: impl Fn(&str) -> bool) -> &str {
    let mut blocks = blocks(page, "sql").into_iter();
    blocks.find(|block| is_it(block)).expect("it is documented")
}
