//! What a reject may say: bounded, since it is read by people and kept for every dropped row.

/// Longest detail in characters.
const LONGEST: usize = 500;

/// `text` with its middle left out where it is longer than a detail may be: how it begins and how it ends tell the most.
pub fn detail(text: &str) -> String {
    let text = text.trim();
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= LONGEST {
        return text.to_owned();
    }
    let (head, tail) = (LONGEST / 3, LONGEST - LONGEST / 3 - 3);
    let start: String = characters[..head].iter().collect();
    let end: String = characters[characters.len() - tail..].iter().collect();
    format!("{start} … {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_at_most_500_characters_and_keeps_both_ends() {
        assert_eq!(detail(" short "), "short");
        let long = format!("begin{}end", "ü".repeat(2000));
        let cut = detail(&long);
        assert_eq!(cut.chars().count(), 500);
        assert!(cut.starts_with("begin") && cut.ends_with("end"));
    }
}
