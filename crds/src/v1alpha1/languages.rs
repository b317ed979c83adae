//! The languages that the language filter can distinguish: the one table of operator and worker.

/// ISO 639-1 code and English name of each, by code.
pub const LANGUAGES: [(&str, &str); 18] = [
    ("bn", "Bengali"),
    ("de", "German"),
    ("el", "Greek"),
    ("en", "English"),
    ("es", "Spanish"),
    ("fr", "French"),
    ("he", "Hebrew"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("ko", "Korean"),
    ("nl", "Dutch"),
    ("pt", "Portuguese"),
    ("ru", "Russian"),
    ("sw", "Swahili"),
    ("ta", "Tamil"),
    ("te", "Telugu"),
    ("th", "Thai"),
    ("zh", "Chinese"),
];

/// Returns the codes, sorted.
pub fn language_codes() -> impl Iterator<Item = &'static str> + Clone {
    LANGUAGES.iter().map(|(code, _)| *code)
}
