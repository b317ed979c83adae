//! What a person may state in place of what is assumed.

use super::Assumptions;
use crate::validate::nearest::did_you_mean;

/// Something that may be stated.
#[derive(Debug)]
pub struct Assumption {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for a person.
    pub what: &'static str,
    kind: Kind,
    place: fn(&mut Assumptions) -> Place<'_>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Above 0 and at most 1.
    Share,
    /// Tokens: above 0.
    Tokens,
    /// A whole number.
    Count,
}

enum Place<'a> {
    Number(&'a mut f64),
    Known(&'a mut Option<f64>),
    Count(&'a mut i64),
    KnownCount(&'a mut Option<i64>),
}

macro_rules! assumption {
    ($name:literal, $what:literal, $kind:ident, $place:ident($field:ident)) => {
        Assumption {
            name: $name,
            what: $what,
            kind: Kind::$kind,
            place: |a| Place::$place(&mut a.$field),
        }
    };
}

/// All that may be stated.
pub const ASSUMPTIONS: [Assumption; 13] = [
    assumption!(
        "yield",
        "accepted pairs per question",
        Share,
        Known(yield_ratio)
    ),
    assumption!(
        "questionTokens",
        "tokens in a question",
        Tokens,
        Number(question_tokens)
    ),
    assumption!(
        "promptTokens",
        "tokens in a prompt around a question",
        Tokens,
        Number(prompt_tokens)
    ),
    assumption!(
        "responseTokens",
        "tokens in a response",
        Tokens,
        Number(response_tokens)
    ),
    assumption!(
        "judgementTokens",
        "tokens of a judge's reasons and verdict",
        Tokens,
        Number(judgement_tokens)
    ),
    assumption!(
        "rewriteKept",
        "share of rewrites that make a pair",
        Share,
        Number(rewrite_kept)
    ),
    assumption!(
        "languageKept",
        "share that the language filter keeps",
        Share,
        Number(language_kept)
    ),
    assumption!(
        "filterKept",
        "share that all rule-based filters together keep",
        Share,
        Known(filter_kept)
    ),
    assumption!(
        "judgeKept",
        "share that the judge keeps",
        Share,
        Number(judge_kept)
    ),
    assumption!(
        "difficultyKept",
        "share that difficulty sampling keeps",
        Share,
        Number(difficulty_kept)
    ),
    assumption!(
        "verified",
        "share of answered questions that are accepted",
        Share,
        Number(verified)
    ),
    assumption!(
        "seedQuestions",
        "seed questions",
        Count,
        Count(seed_questions)
    ),
    assumption!(
        "seedAnswers",
        "seed questions with an answer",
        Count,
        KnownCount(seed_answers)
    ),
];

/// Takes up `NAME=VALUE,...`; the names that were stated.
///
/// # Errors
/// An unknown name, with the nearest one, or a value that it cannot have.
pub fn assume(text: &str, a: &mut Assumptions) -> Result<Vec<&'static str>, String> {
    let mut stated = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let Some((name, value)) = part.split_once('=') else {
            return Err(format!("`{part}` is no NAME=VALUE"));
        };
        let (name, value) = (name.trim(), value.trim());
        let names = || ASSUMPTIONS.iter().map(|each| each.name);
        let Some(known) = ASSUMPTIONS.iter().find(|each| each.name == name) else {
            return Err(format!(
                "`{name}` is nothing that is assumed{}; the names are {}",
                did_you_mean(name, names()),
                names().collect::<Vec<_>>().join(", ")
            ));
        };
        let number = value
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite());
        let (fits, expected) = match known.kind {
            Kind::Share => (
                number.is_some_and(|n| n > 0.0 && n <= 1.0),
                "a share above 0 and at most 1, such as 0.25",
            ),
            Kind::Tokens => (
                number.is_some_and(|n| n > 0.0 && n <= 1e6),
                "a number of tokens above 0",
            ),
            Kind::Count => (
                number.is_some_and(|n| (0.0..=1e12).contains(&n) && n.fract() == 0.0),
                "a whole number",
            ),
        };
        let Some(number) = number.filter(|_| fits) else {
            return Err(format!("{name} cannot be `{value}`: give {expected}"));
        };
        match (known.place)(a) {
            Place::Number(place) => *place = number,
            Place::Known(place) => *place = Some(number),
            Place::Count(place) => *place = number as i64,
            Place::KnownCount(place) => *place = Some(number as i64),
        }
        a.tokens_are_stated |= known.kind == Kind::Tokens;
        a.judge_is_stated |= name == "judgeKept";
        stated.push(known.name);
    }
    Ok(stated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_takes_the_place_of_what_is_assumed() {
        let mut a = Assumptions::default();
        let stated = assume("yield=0.09, questionTokens=40,seedAnswers=24", &mut a).unwrap();
        assert_eq!(stated, ["yield", "questionTokens", "seedAnswers"]);
        assert_eq!(
            (a.yield_ratio, a.question_tokens, a.seed_answers),
            (Some(0.09), 40.0, Some(24))
        );
        assert!(a.tokens_are_stated && !a.judge_is_stated);
    }

    #[test]
    fn every_name_can_be_stated_once_and_changes_something() {
        for each in &ASSUMPTIONS {
            let mut a = Assumptions::default();
            assume(&format!("{}=1", each.name), &mut a).unwrap();
            let changed = a != Assumptions::default();
            assert!(changed || each.name == "rewriteKept", "{}", each.name);
        }
        let mut names: Vec<_> = ASSUMPTIONS.iter().map(|each| each.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ASSUMPTIONS.len());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let refused = |text: &str, words: &str| {
            let message = assume(text, &mut Assumptions::default()).unwrap_err();
            assert!(message.contains(words), "{message}");
        };
        refused("yeild=0.1", "did you mean yield");
        refused("nonsense=0.1", "the names are yield, questionTokens");
        refused("yield", "no NAME=VALUE");
        for wrong in ["0", "1.5", "-1", "NaN", "ten", ""] {
            refused(&format!("yield={wrong}"), "a share above 0");
        }
        refused("questionTokens=0", "tokens above 0");
        refused("seedQuestions=1.5", "a whole number");
    }
}
