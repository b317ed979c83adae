//! Finds the contents of `\boxed{...}`, with nested and escaped braces. It does not interpret them.

/// Returns the contents of the boxes on the line of the last box, joined by a comma: a response that ends in
/// `z is \boxed{6} and w is \boxed{2}` has the answer `6, 2`. `None` if no box is complete or all are empty.
pub fn last_boxed(text: &str) -> Option<String> {
    let boxes = all_boxed(text);
    let last = boxes
        .iter()
        .rposition(|found| !found.content.trim().is_empty())?;
    let line_start = text[..boxes[last].start].rfind('\n').map_or(0, |at| at + 1);
    let together: Vec<_> = boxes[..=last]
        .iter()
        .filter(|found| found.start >= line_start)
        .map(|found| found.content.trim())
        .filter(|content| !content.is_empty())
        .collect();
    Some(together.join(", "))
}

struct BoxedContent<'a> {
    /// Byte offset of the backslash.
    start: usize,
    content: &'a str,
}

fn all_boxed(text: &str) -> Vec<BoxedContent<'_>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(offset) = text[from..].find('\\') {
        let start = from + offset;
        from = start + 1;
        let Some(rest) = ["boxed", "fbox"]
            .iter()
            .find_map(|name| text[from..].strip_prefix(name))
        else {
            continue;
        };
        let after = text.len() - rest.len();
        if let Some(content) = braced(rest) {
            found.push(BoxedContent { start, content });
            from = text.len() - rest.len() + rest.find('{').unwrap_or(0) + content.len() + 2;
        } else if let Some(content) = bare(rest) {
            found.push(BoxedContent { start, content });
            from = after + content.len();
        }
    }
    found
}

/// Returns the text between the brace that opens `text` (after white space) and the one that closes it.
fn braced(text: &str) -> Option<&str> {
    let open = text.len() - text.trim_start().len();
    let body = text[open..].strip_prefix('{')?;
    let mut depth = 1;
    let mut escaped = false;
    for (at, character) in body.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(&body[..at]);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the word after the space in `\boxed 5`.
fn bare(text: &str) -> Option<&str> {
    let word = text
        .strip_prefix(' ')?
        .split(['$', '\\', ' ', '\n'])
        .next()?;
    (!word.is_empty() && !word.starts_with('{')).then_some(&text[..word.len() + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_box_is_found() {
        let cases: [(&str, Option<&str>); 12] = [
            (r"so \boxed{18}.", Some("18")),
            (
                r"\boxed{1} no, \n \boxed{\frac{1}{2}}",
                Some(r"1, \frac{1}{2}"),
            ),
            (
                "\\boxed{1} no,\n \\boxed{\\frac{1}{2}}",
                Some(r"\frac{1}{2}"),
            ),
            (r"\boxed{\{1, 2\}}", Some(r"\{1, 2\}")),
            (r"\boxed{\text{no \} brace}}", Some(r"\text{no \} brace}")),
            (r"z is \boxed{6} and w is \boxed{2}", Some("6, 2")),
            (r"\boxed {7}", Some("7")),
            (r"\fbox{7}", Some("7")),
            (r"$\boxed 42$", Some("42")),
            (r"\boxed{cut \frac{1}{", None),
            (r"\boxed{} and \boxed{  }", None),
            ("no box", None),
        ];
        for (text, expected) in cases {
            assert_eq!(last_boxed(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn truncated_boxes_are_ignored() {
        assert_eq!(
            last_boxed("\\boxed{3}\nand \\boxed{4").as_deref(),
            Some("3")
        );
    }
}
