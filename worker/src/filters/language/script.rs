//! The script of a letter, which distinguishes most languages from those in Latin script. Pure.

/// A script; [`Script::Other`] stands for all scripts without a supported language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Script {
    Latin,
    Greek,
    Cyrillic,
    Hebrew,
    Bengali,
    Tamil,
    Telugu,
    Thai,
    Hangul,
    Kana,
    Han,
    Other,
}

impl Script {
    /// Returns the script of a letter or vowel sign.
    pub(super) fn of(letter: char) -> Script {
        match letter {
            'a'..='z' | 'A'..='Z' | 'ª' | 'º' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => {
                Script::Latin
            }
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Script::Greek,
            // Letters of its neighbours that Russian does not have.
            'і' | 'ї' | 'є' | 'ґ' | 'ў' | 'ђ' | 'ћ' | 'љ' | 'њ' | 'џ' | 'ј' | 'ѓ' | 'ќ' | 'ѕ' => {
                Script::Other
            }
            'І' | 'Ї' | 'Є' | 'Ґ' | 'Ў' | 'Ђ' | 'Ћ' | 'Љ' | 'Њ' | 'Џ' | 'Ј' | 'Ѓ' | 'Ќ' | 'Ѕ' => {
                Script::Other
            }
            '\u{400}'..='\u{52f}' => Script::Cyrillic,
            '\u{590}'..='\u{5ff}' => Script::Hebrew,
            '\u{980}'..='\u{9ff}' => Script::Bengali,
            '\u{b80}'..='\u{bff}' => Script::Tamil,
            '\u{c00}'..='\u{c7f}' => Script::Telugu,
            '\u{e00}'..='\u{e7f}' => Script::Thai,
            '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7af}' => {
                Script::Hangul
            }
            '\u{3040}'..='\u{30ff}' => Script::Kana,
            '\u{3005}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}' => Script::Han,
            _ => Script::Other,
        }
    }

    /// Returns how many Latin letters carry as much text as one letter of this script.
    pub(super) fn weight(self) -> usize {
        match self {
            Script::Han => 3,
            Script::Kana | Script::Hangul => 2,
            _ => 1,
        }
    }

    /// Returns its name in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Script::Latin => "Latin",
            Script::Greek => "Greek",
            Script::Cyrillic => "Cyrillic",
            Script::Hebrew => "Hebrew",
            Script::Bengali => "Bengali",
            Script::Tamil => "Tamil",
            Script::Telugu => "Telugu",
            Script::Thai => "Thai",
            Script::Hangul => "Hangul",
            Script::Kana => "Kana",
            Script::Han => "Han",
            Script::Other => "another",
        }
    }
}
