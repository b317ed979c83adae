//! Brackets and lists: strips brackets, and splits text outside of them.

/// Returns the opening bracket, the content and the closing bracket if one pair encloses all of `text`.
pub(super) fn strip_brackets(text: &str) -> Option<(&str, &str, &str)> {
    for open in ["(", "[", "\\{"] {
        for close in [")", "]", "\\}"] {
            if let Some(inside) = text
                .strip_prefix(open)
                .and_then(|rest| rest.strip_suffix(close))
            {
                return closes_only_at_end(inside).then_some((open, inside, close));
            }
        }
    }
    None
}

fn closes_only_at_end(inside: &str) -> bool {
    let mut depth = 0_i64;
    inside.chars().all(|character| {
        depth += match character {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        depth >= 0
    })
}

/// Splits a list like `2, 3 and 4` into its items.
pub(super) fn split_list(text: &str) -> Vec<&str> {
    split_top_level(text, ",")
        .into_iter()
        .flat_map(|item| split_top_level(item, " and "))
        .map(|item| item.trim_start_matches("and "))
        .collect()
}

/// Splits `text` at every `separator` outside brackets.
pub(super) fn split_top_level<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0_i64, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ if depth == 0 && at >= start && text[at..].starts_with(separator) => {
                items.push(&text[start..at]);
                start = at + separator.len();
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items
}
