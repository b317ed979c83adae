//! Answers that are programs: finds the fenced code block, and brings it to a form without comments and insignificant white
//! space. Programs with the same behaviour but different code stay different.

/// A fenced block.
struct Block<'a> {
    language: &'a str,
    lines: Vec<&'a str>,
}

/// Returns the normal form of the last complete, non-empty fenced block of `text`; `None` if there is none.
///
/// Comments, trailing white space and blank lines are removed, runs of white space inside a line become one space, and
/// indentation becomes depth (one space a level) if it may be significant, as in Python.
pub fn last_code_block(text: &str) -> Option<String> {
    blocks(text)
        .iter()
        .rev()
        .map(normal_block)
        .find(|normal| !normal.is_empty())
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(Block<'_>, &str)> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        let fence = ["```", "~~~"]
            .into_iter()
            .find(|fence| trimmed.starts_with(fence));
        match (open.take(), fence) {
            (None, Some(fence)) => {
                let language = trimmed
                    .trim_start_matches(['`', '~'])
                    .split_whitespace()
                    .next()
                    .unwrap_or("");
                open = Some((
                    Block {
                        language,
                        lines: Vec::new(),
                    },
                    fence,
                ));
            }
            (Some((block, opened)), Some(fence)) if opened == fence => found.push(block),
            (Some((mut block, opened)), _) => {
                block.lines.push(line);
                open = Some((block, opened));
            }
            (None, None) => {}
        }
    }
    found
}

fn normal_block(block: &Block<'_>) -> String {
    let marks = CommentMarks::of(block);
    let mut commented = false;
    let mut depths: Vec<usize> = Vec::new();
    let mut out = String::new();
    for line in &block.lines {
        let kept = marks.strip(line, &mut commented);
        let words = kept.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            continue;
        }
        let indent = kept
            .chars()
            .take_while(|character| character.is_whitespace())
            .map(|c| if c == '\t' { 4 } else { 1 })
            .sum();
        while depths.last().is_some_and(|depth| *depth >= indent) {
            depths.pop();
        }
        if !marks.block {
            out.extend(std::iter::repeat_n(' ', depths.len()));
        }
        depths.push(indent);
        out.push_str(&words);
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

/// How comments are written in a language.
struct CommentMarks {
    line: &'static str,
    block: bool,
}

impl CommentMarks {
    fn of(block: &Block<'_>) -> Self {
        let hash = CommentMarks {
            line: "#",
            block: false,
        };
        let slashes = CommentMarks {
            line: "//",
            block: true,
        };
        match block.language.to_ascii_lowercase().as_str() {
            "c" | "cpp" | "c++" | "cc" | "java" | "javascript" | "js" | "typescript" | "ts"
            | "go" | "rust" | "rs" | "swift" | "kotlin" | "csharp" | "cs" | "c#" | "scala"
            | "php" | "dart" => slashes,
            "sql" | "lua" | "haskell" | "hs" => CommentMarks {
                line: "--",
                block: false,
            },
            "" if block
                .lines
                .iter()
                .any(|line| line.trim_end().ends_with([';', '{'])) =>
            {
                slashes
            }
            _ => hash,
        }
    }

    /// Removes comments from `line`; quoted text is not a comment.
    fn strip(&self, line: &str, commented: &mut bool) -> String {
        let mut kept = String::new();
        let mut quote = None;
        let mut rest = line;
        while let Some(character) = rest.chars().next() {
            let width = character.len_utf8();
            if *commented {
                if let Some(after) = rest.strip_prefix("*/") {
                    *commented = false;
                    rest = after;
                } else {
                    rest = &rest[width..];
                }
                continue;
            }
            if quote.is_none() && rest.starts_with(self.line) {
                break;
            }
            if quote.is_none() && self.block && rest.starts_with("/*") {
                *commented = true;
                rest = &rest[2..];
                continue;
            }
            kept.push(character);
            rest = &rest[width..];
            match (quote, character) {
                (Some(_), '\\') => {
                    if let Some(next) = rest.chars().next() {
                        kept.push(next);
                        rest = &rest[next.len_utf8()..];
                    }
                }
                (Some(open), close) if open == close => quote = None,
                (None, '"' | '\'') => quote = Some(character),
                _ => {}
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_white_space_are_ignored() {
        let one = "Here:\n```python\ndef f(x):\n    # double it\n    return  2*x  # done\n\n```\n";
        let other = "```py\ndef f(x):\n\treturn 2*x\n```";
        assert_eq!(
            last_code_block(one).as_deref(),
            Some("def f(x):\n return 2*x")
        );
        assert_eq!(last_code_block(one), last_code_block(other));
    }

    #[test]
    fn quoted_text_is_no_comment() {
        assert_eq!(
            last_code_block("```python\nprint('# no', \"a\\\"# b\") # yes\n```").as_deref(),
            Some("print('# no', \"a\\\"# b\")")
        );
        assert_eq!(
            last_code_block("```c\nputs(\"//\"); /* one\n two */ return 0; // end\n```").as_deref(),
            Some("puts(\"//\");\nreturn 0;")
        );
    }

    #[test]
    fn indentation_is_significant() {
        let inside = "```python\nif a:\n  b\n  c\n```";
        let outside = "```python\nif a:\n  b\nc\n```";
        assert_ne!(last_code_block(inside), last_code_block(outside));
    }

    #[test]
    fn truncated_blocks_are_ignored() {
        assert_eq!(last_code_block("```python\nprint(1)\n"), None);
        assert_eq!(last_code_block("no code"), None);
        assert_eq!(last_code_block("```python\n# nothing\n```"), None);
        assert_eq!(
            last_code_block("```python\na\n```\nand\n```\nb\n```").as_deref(),
            Some("b")
        );
        assert_eq!(
            last_code_block("```python\na\n```\nthen cut\n```\nb").as_deref(),
            Some("a")
        );
    }
}
