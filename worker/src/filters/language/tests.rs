//! Cases of every kind, and the measured quality on real questions if the test data exists.

use std::path::PathBuf;

use serde_json::Value;

use super::*;

fn english() -> LanguageFilter {
    LanguageFilter::new(&["en"]).unwrap()
}

#[test]
fn english_mathematics_is_kept() {
    #[rustfmt::skip]
    let cases = [
        // Good English with what is not ASCII.
        (true, "In triangle ABC, angle A is 90°. If π ≈ 3.14, what is the area of the circle around it?"),
        (true, "Janet’s ducks lay 16 eggs per day. She says: “I eat three!” How many are left?"),
        (true, "Let $f(x) = \\frac{\\sin x}{x}$ for $x \\neq 0$. Compute $\\lim_{x \\to 0} f(x)$."),
        (true, "Erdős and Rényi meet in a café in Zürich. Each of them has 3 coins; how many coins do they have?"),
        (true, "Find all α ∈ ℝ such that αx² + βx + γ ≥ 0 for every x."),
        (true, "The word Москва has six letters. In how many ways can one arrange these six letters in a row, if all of them are to be used and no two vowels may be adjacent?"),
        // Short.
        (true, "Find x"), (true, "Compute $2^{10}$"), (true, "Solve"), (true, "Let"), (true, "Graph $y=x$"),
        (true, "Integrate"), (true, "Angle bisector theorem"), (true, "Round 3.14 to tenths"),
        // No words.
        (false, "12 + 5 = ?"), (false, "$2x+3=7$"), (false, "1 2 3 4"), (false, "---"), (false, "🙂🙂"), (false, ""),
        // Supported languages, ASCII or not, long and short.
        (false, "Ein Zug faehrt mit 60 Kilometern pro Stunde. Wie weit kommt er in drei Stunden?"),
        (false, "Un train roule a 60 kilometres par heure. Quelle distance parcourt il en trois heures?"),
        (false, "Berechne die Summe."), (false, "Calcule la somme."), (false, "Bestimme x"), (false, "Trouver x"),
        (false, "Mtoto ana vitabu vitano."),
        // Languages that are not.
        (false, "Pociąg jedzie z prędkością 60 kilometrów na godzinę. Jak daleko zajedzie po trzech godzinach?"),
        (false, "Bir tren saatte 60 kilometre hızla gidiyor. Üç saat sonra ne kadar yol alır?"),
        (false, "Sebuah kereta melaju dengan kecepatan 60 kilometer per jam. Seberapa jauh jarak yang ditempuh?"),
        (false, "Anna har 5 äpplen och köper 3 till. Hur många äpplen har hon nu?"),
        (false, "Jana má 5 jablek a koupí další 3. Kolik jablek má teď?"),
        (false, "Juna kulkee 60 kilometriä tunnissa. Kuinka pitkälle se pääsee kolmessa tunnissa?"),
        (false, "Si Maria ay may limang mansanas at bumili pa ng tatlo. Ilan na ang mansanas niya ngayon?"),
        // Other scripts.
        (false, "火车每小时行驶60公里。三小时行驶多远？"), (false, "Поезд едет 60 километров в час."), (false, "기차는 시속 60km로 달린다."),
        (false, "電車は時速60キロで走ります。"), (false, "رحلة القطار"), (false, "एक ट्रेन"),
        // A part in another language.
        (false, "A train runs at 60 kilometers per hour. How far does it get? 请用中文回答这个问题。"),
        (false, "A train runs at 60 kilometers per hour. Wie weit kommt der Zug denn eigentlich in drei Stunden?"),
    ];
    for (keep, question) in cases {
        let decision = english().evaluate(question);
        assert_eq!(decision.is_keep(), keep, "{question}: {decision:?}");
    }
}

#[test]
fn configured_languages_are_kept() {
    #[rustfmt::skip]
    let cases: [(&[&str], &str, bool); 12] = [
        (&["de"], "Ein Zug fährt mit 60 Kilometern pro Stunde. Wie weit kommt er?", true),
        (&["de"], "A train runs at 60 kilometers per hour. How far does it get?", false),
        (&["en", "de"], "Ein Zug fährt mit 60 Kilometern pro Stunde. Wie weit kommt er?", true),
        (&["en", "de"], "Un train roule à 60 kilomètres par heure. Quelle distance parcourt-il?", false),
        (&["zh"], "求函数 f(x) = sin x 在区间 [0, π] 上的最大值。", true),
        (&["zh"], "電車は時速60キロで走ります。", false),
        (&["ja"], "電車は時速60キロで走ります。", true),
        (&["ja"], "火车每小时行驶60公里。三小时行驶多远？", false),
        (&["en", "zh"], "火车每小时行驶60公里。三小时行驶多远？", true),
        (&["zh"], "Find the largest value of the function.", false),
        (&["ru"], "Поезд едет со скоростью 60 километров в час.", true),
        (&["ru"], "Потяг їде зі швидкістю шістдесят кілометрів на годину і не зупиняється.", false),
    ];
    for (keep, question, expected) in cases {
        let decision = LanguageFilter::new(keep).unwrap().evaluate(question);
        assert_eq!(
            decision.is_keep(),
            expected,
            "{keep:?} {question}: {decision:?}"
        );
    }
}

#[test]
fn unknown_languages_are_rejected() {
    let error = LanguageFilter::new(&["en", "xx"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot recognise the language \"xx\"; the languages are bn, de, el, en, es, fr, he, it, ja, ko, nl, pt, ru, sw, ta, te, th, zh"
    );
    assert_eq!(
        LanguageFilter::new(&[] as &[&str]).unwrap_err(),
        LanguageError::None
    );
}

#[test]
fn details_name_the_language() {
    let detail = |question: &str| match english().evaluate(question) {
        Decision::Reject {
            reason: RejectReason::Language,
            detail,
        } => detail,
        other => panic!("{other:?}"),
    };
    assert_eq!(detail("Поезд едет."), "100% in Cyrillic script");
    assert!(detail("Berechne die Summe aller Zahlen.").starts_with("most like German ("));
    assert_eq!(detail("1 + 1"), "it has no words");
}

/// A folder of the test data, or a note that it is not there.
fn data(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

fn mgsm(language: &str) -> Vec<String> {
    let Some(path) = data(&format!("mgsm/mgsm_{language}.tsv")) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.split('\t').next())
        .map(str::to_string)
        .collect()
}

fn questions(file: &str, member: &str) -> Vec<String> {
    let Some(path) = data(file) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(path).unwrap();
    let question = |line| {
        serde_json::from_str::<Value>(line).unwrap()[member]
            .as_str()
            .unwrap()
            .to_string()
    };
    text.lines().map(question).collect()
}

fn count_kept(filter: &LanguageFilter, questions: &[String]) -> usize {
    questions
        .iter()
        .filter(|question| filter.evaluate(question).is_keep())
        .count()
}

#[test]
fn real_english_questions_are_kept() {
    let files = [
        ("gsm8k/test.jsonl", "question", 0.999),
        ("olympiadbench/test.jsonl", "question", 0.999),
        ("scalequest/samples.jsonl", "query", 0.999),
        ("mbpp/mbpp.jsonl", "text", 0.995),
    ];
    for (file, member, least) in files {
        let questions = questions(file, member);
        let kept = count_kept(&english(), &questions);
        println!("{file}: kept {kept} of {}", questions.len());
        assert!(
            kept as f64 >= least * questions.len() as f64,
            "{file}: kept {kept} of {}",
            questions.len()
        );
    }
}

#[test]
fn eleven_languages_are_separated() {
    let languages = [
        "en", "de", "es", "fr", "sw", "bn", "ja", "ru", "te", "th", "zh",
    ];
    let all = languages.map(|language| (language, mgsm(language)));
    for keep in languages {
        let filter = LanguageFilter::new(&[keep]).unwrap();
        for (language, questions) in &all {
            let kept = count_kept(&filter, questions);
            if *language == keep {
                println!("keep {keep}: kept {kept} of its {}", questions.len());
                assert!(
                    kept * 100 >= questions.len() * 98,
                    "keep {keep}: kept {kept} of its {}",
                    questions.len()
                );
            } else if kept > 0 {
                println!(
                    "keep {keep}: kept {kept} of {} in {language}",
                    questions.len()
                );
                assert!(
                    kept * 100 <= questions.len(),
                    "keep {keep}: kept {kept} in {language}"
                );
            }
        }
    }
}

#[test]
fn foreign_sentences_are_found() {
    let english_questions = mgsm("en");
    for language in ["de", "es", "fr", "sw", "ru", "zh", "ja", "th"] {
        let foreign = mgsm(language);
        let sentence = |question: &String| {
            question
                .split(['.', '。'])
                .next()
                .unwrap_or_default()
                .to_string()
        };
        let long = |sentence: &String| {
            sentence.split_whitespace().count() >= 8
                || !sentence.is_ascii() && sentence.chars().count() > 25
        };
        let mixed: Vec<String> = english_questions
            .iter()
            .zip(foreign.iter().map(sentence))
            .filter(|(_, sentence)| long(sentence))
            .map(|(question, sentence)| format!("{question} {sentence}."))
            .collect();
        let kept = count_kept(&english(), &mixed);
        println!(
            "one sentence in {language}: dropped {} of {}",
            mixed.len() - kept,
            mixed.len()
        );
        assert!(
            kept * 100 <= mixed.len() * 15,
            "one sentence in {language}: kept {kept} of {}",
            mixed.len()
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_evaluated(text in "[\\PC\n]{0,150}|[a-zA-Z\u{c0}-\u{24f}\u{1e00}-\u{1eff} .?]{0,400}") {
        let filter = english();
        proptest::prop_assert_eq!(filter.evaluate(&text), filter.evaluate(&text));
    }
}

#[test]
fn supported_languages_match_the_api() {
    let known: BTreeSet<&str> = LATIN
        .iter()
        .map(|(code, _)| *code)
        .chain(BY_SCRIPT.iter().map(|(code, _)| *code))
        .collect();
    assert!(language_codes().eq(known));
    assert!(language_codes().all(|code| LanguageFilter::new(&[code]).is_ok()));
}
