//! The most common words of each language in Latin script, which decide if letter statistics are unsure (short questions, many
//! names). A word that is common in several of the languages is listed for none.

use lingua::Language;

/// The common words of a language.
pub(super) fn common_words(language: Language) -> &'static [&'static str] {
    match language {
        Language::English => &ENGLISH,
        Language::German => &GERMAN,
        Language::French => &FRENCH,
        Language::Spanish => &SPANISH,
        Language::Swahili => &SWAHILI,
        Language::Italian => &ITALIAN,
        Language::Portuguese => &PORTUGUESE,
        Language::Dutch => &DUTCH,
    }
}

#[rustfmt::skip]
const ENGLISH: [&str; 84] = [
    "the", "of", "and", "to", "is", "are", "be", "that", "it", "its", "he", "she", "they", "his", "her", "their", "for", "with",
    "if", "how", "many", "much", "what", "which", "each", "has", "have", "had", "does", "do", "did", "can", "from", "by", "than",
    "then", "this", "there", "where", "when", "who", "why", "all", "every", "more", "less", "old", "you", "your", "or", "not",
    "find", "compute", "calculate", "determine", "evaluate", "solve", "simplify", "prove", "show", "let", "given", "suppose",
    "such", "number", "value", "equation", "write", "two", "three", "one", "after", "before", "between", "given", "at", "as",
    "years", "year", "day", "per", "into", "was", "were",
];

#[rustfmt::skip]
const GERMAN: [&str; 44] = [
    "der", "das", "und", "ist", "sind", "ein", "eine", "einen", "einem", "einer", "mit", "von", "zu", "den", "dem", "wie", "viel",
    "viele", "wenn", "er", "sie", "auf", "für", "nicht", "hat", "haben", "wird", "werden", "pro", "aus", "bei", "nach", "jeder",
    "jede", "jeden", "jedes", "sein", "ihre", "berechne", "bestimme", "finde", "zeige", "gegeben", "welche",
];

#[rustfmt::skip]
const FRENCH: [&str; 40] = [
    "le", "les", "des", "du", "et", "est", "sont", "une", "dans", "pour", "avec", "sur", "qui", "au", "aux", "combien", "il",
    "elle", "ils", "son", "sa", "ses", "ce", "cette", "chaque", "plus", "quel", "quelle", "calculer", "calculez", "trouver",
    "trouvez", "soit", "donc", "ont", "fait", "par", "été", "leur", "nombre",
];

#[rustfmt::skip]
const SPANISH: [&str; 36] = [
    "el", "los", "las", "del", "y", "es", "son", "una", "para", "con", "por", "cuántos", "cuántas", "cuánto", "cuánta", "tiene",
    "tienen", "cada", "más", "menos", "su", "sus", "cuál", "hay", "si", "calcula", "calcular", "encuentra", "halla", "después",
    "entre", "cuando", "días", "número", "sea", "qué",
];

#[rustfmt::skip]
const SWAHILI: [&str; 30] = [
    "ya", "wa", "na", "kwa", "ni", "za", "katika", "ana", "kila", "ngapi", "gani", "kama", "ikiwa", "yake", "wake", "kiasi", "zaidi",
    "kuliko", "alikuwa", "mara", "hii", "huu", "vya", "cha", "pia", "lakini", "baada", "tafuta", "jumla", "idadi",
];

#[rustfmt::skip]
const ITALIAN: [&str; 32] = [
    "il", "gli", "di", "che", "è", "sono", "della", "del", "dei", "delle", "nel", "nella", "con", "ogni", "quanti", "quante",
    "quanto", "quanta", "più", "anni", "ha", "hanno", "suo", "sua", "calcola", "trova", "qual", "quale", "numero", "sia", "dopo", "alla",
];

#[rustfmt::skip]
const PORTUGUESE: [&str; 32] = [
    "os", "as", "um", "uma", "do", "da", "dos", "das", "é", "são", "não", "com", "para", "quantos", "quantas", "quanto", "ele", "ela",
    "seu", "sua", "cada", "mais", "tem", "têm", "calcule", "encontre", "determine", "qual", "número", "seja", "depois", "dias",
];

#[rustfmt::skip]
const DUTCH: [&str; 32] = [
    "de", "het", "een", "en", "van", "zijn", "hoeveel", "met", "voor", "niet", "hij", "zij", "ze", "heeft", "hebben", "elke", "elk",
    "aan", "als", "dan", "dat", "wordt", "worden", "naar", "uit", "bij", "meer", "bereken", "bepaal", "vind", "welke", "jaar",
];
