//! The valid name nearest to a mistyped one.

/// The nearest of `names` to `wrong`, if near enough to be meant: at most a third of its letters differ.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (wrong.chars().count() / 3).max(1);
    let wrong = wrong.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong, &name.to_lowercase());
    names
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// `; did you mean x`, or nothing.
pub(crate) fn did_you_mean<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, names)
        .map(|name| format!("; did you mean {name}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typos_only() {
        let names = ["generators", "models", "seed"];
        assert_eq!(nearest("genrators", names), Some("generators"));
        assert_eq!(nearest("Models", names), Some("models"));
        assert_eq!(nearest("sede", names), Some("seed"));
        assert_eq!(nearest("kubernetes", names), None);
        assert_eq!(nearest("", names), None);
    }
}
