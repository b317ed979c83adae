//! Brackets and lists: what stands in brackets, and where a text is cut outside of them.

/// The two brackets around the whole of `text` and what is between.
pub(super) fn bracketed(text: &str) -> Option<(&str, &str, &str)> {
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

/// The items of `2, 3 and 4`.
pub(super) fn listed(text: &str) -> Vec<&str> {
    top_level(text, ",")
        .into_iter()
        .flat_map(|item| top_level(item, " and "))
        .map(|item| item.trim_start_matches("and "))
        .collect()
}

/// `text` cut at every `separator` outside brackets.
pub(super) fn top_level<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
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
