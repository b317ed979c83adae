//! Problems with known truth: their structure, their text, and back from text to structure. What does not parse
//! is no problem. It knows no model.

mod parse;

mod text;

/// Who the stories are about.
pub const NAMES: [&str; 12] = [
    "Tom", "Anna", "Ben", "Mia", "Leo", "Eva", "Max", "Zoe", "Sam", "Lily", "Jack", "Nora",
];

/// What they have.
pub const THINGS: [&str; 10] = [
    "apples", "books", "coins", "cards", "pens", "shells", "stamps", "cups", "balls", "cookies",
];

/// The same in German, in order.
pub const GERMAN_THINGS: [&str; 10] = [
    "Birnen", "Hefte", "Taler", "Karten", "Stifte", "Muscheln", "Marken", "Tassen", "Kugeln",
    "Kekse",
];

/// A number, or `None` where the text says "some" instead.
pub type Amount = Option<i64>;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// a and b more.
    Gets(Amount, Amount),
    /// a less b.
    Gives(Amount, Amount),
    /// a boxes of b.
    Boxes(Amount, Amount),
    /// a and b more, less c.
    GetsGives(Amount, Amount, Amount),
    /// a boxes of b, less c.
    BoxesGives(Amount, Amount, Amount),
    /// A program: x plus a.
    Plus(Amount),
    /// A program: x times a.
    Times(Amount),
    /// A program: x times a plus b.
    TimesPlus(Amount, Amount),
}

/// A problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What happens, or what the program computes.
    pub story: Story,
    /// Index into [`NAMES`]; 0 for programs.
    pub name: usize,
    /// Index into [`THINGS`] of what is counted; 0 for programs.
    pub thing: usize,
    /// Index into [`THINGS`] of what is asked for.
    pub asked: usize,
    /// Whether it asks for an exact number (or for exactly one function).
    pub exactly: bool,
    /// Whether it is in German; only `Gets` and `Gives` are.
    pub german: bool,
}

/// What is true of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It can be solved.
    Valid {
        /// The number, or the program.
        answer: String,
    },
    /// It cannot, or is of no use.
    Invalid(Flaw),
}

/// What is wrong with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A number is missing, or something else is asked for than told of.
    Missing,
    /// More is given away than there is.
    Contradictory,
    /// It is not in English.
    Foreign,
    /// It is no problem of this world.
    Malformed,
}

/// What is true of a question, from its text alone.
pub fn truth(question: &str) -> Truth {
    Problem::parse(question).map_or(Truth::Invalid(Flaw::Malformed), |problem| problem.truth())
}

/// Pieces of text between names, things and numbers. With those they are the tokens of the tiny tokenizer, longest first.
pub const PIECES: [&str; 26] = [
    " has ",
    " gets ",
    " more. ",
    " more and gives away ",
    " gives away ",
    " boxes with ",
    " in each box. ",
    ". ",
    "How many ",
    "Exactly how many ",
    " does ",
    " have now?",
    "some",
    "some number",
    " hat ",
    " bekommt ",
    " dazu. ",
    " gibt ",
    " davon weg. ",
    "Wie viele ",
    " jetzt?",
    "Write a function f that returns ",
    "Write exactly one function f that returns ",
    "x",
    " plus ",
    " times ",
];

impl Problem {
    /// Whether it asks for a program.
    pub fn is_program(&self) -> bool {
        matches!(
            self.story,
            Story::Plus(_) | Story::Times(_) | Story::TimesPlus(..)
        )
    }

    /// Whether it takes two steps.
    pub fn is_hard(&self) -> bool {
        matches!(
            self.story,
            Story::GetsGives(..) | Story::BoxesGives(..) | Story::TimesPlus(..)
        )
    }

    /// What is true of it.
    pub fn truth(&self) -> Truth {
        let flaw = if self.german {
            Some(Flaw::Foreign)
        } else if self.asked != self.thing || self.amounts().contains(&None) {
            Some(Flaw::Missing)
        } else if self.value().is_some_and(|value| value < 0) {
            Some(Flaw::Contradictory)
        } else {
            None
        };
        match (flaw, self.value()) {
            (None, Some(value)) => Truth::Valid {
                answer: value.to_string(),
            },
            (None, None) => Truth::Valid {
                answer: self.program(),
            },
            (Some(flaw), _) => Truth::Invalid(flaw),
        }
    }

    /// Its numbers in the order of the text.
    pub fn amounts(&self) -> Vec<Amount> {
        match self.story {
            Story::Gets(a, b)
            | Story::Gives(a, b)
            | Story::Boxes(a, b)
            | Story::TimesPlus(a, b) => vec![a, b],
            Story::GetsGives(a, b, c) | Story::BoxesGives(a, b, c) => vec![a, b, c],
            Story::Plus(a) | Story::Times(a) => vec![a],
        }
    }

    /// The number that is asked for, where all numbers are given; `None` for programs.
    fn value(&self) -> Option<i64> {
        match self.story {
            Story::Gets(a, b) => Some(a? + b?),
            Story::Gives(a, b) => Some(a? - b?),
            Story::Boxes(a, b) => Some(a? * b?),
            Story::GetsGives(a, b, c) => Some(a? + b? - c?),
            Story::BoxesGives(a, b, c) => Some(a? * b? - c?),
            Story::Plus(_) | Story::Times(_) | Story::TimesPlus(..) => None,
        }
    }

    /// The program that is asked for, with 1 for numbers that are not given.
    pub fn program(&self) -> String {
        let formula = match self.story {
            Story::Times(a) => format!("x * {}", a.unwrap_or(1)),
            Story::TimesPlus(a, b) => format!("x * {} + {}", a.unwrap_or(1), b.unwrap_or(1)),
            _ => format!("x + {}", self.amounts()[0].unwrap_or(1)),
        };
        format!("def f(x):\n    return {formula}")
    }
}

#[cfg(test)]
mod tests {
    use scalequest_engine::training::rng::KeyedRng;

    use super::*;
    use crate::tiny_model::problem_sampler;

    #[test]
    fn problem_round_trips_through_text() {
        for index in 0..3000 {
            let mut draws = KeyedRng::new(1, "round trip", index);
            for problem in [
                problem_sampler::raw(&mut draws),
                problem_sampler::flawed(&mut draws),
                problem_sampler::valid(&mut draws),
            ] {
                assert_eq!(
                    Problem::parse(&problem.text()),
                    Some(problem),
                    "{}",
                    problem.text()
                );
            }
        }
    }

    #[test]
    fn truth_matches_the_story() {
        let valid = |answer: &str| Truth::Valid {
            answer: answer.into(),
        };
        for (question, expected) in [
            (
                "Tom has 7 apples. Tom gets 5 more. How many apples does Tom have now?",
                valid("12"),
            ),
            (
                "Mia has 7 pens. Mia gives away 5. Exactly how many pens does Mia have now?",
                valid("2"),
            ),
            (
                "Leo has 3 boxes with 4 cups in each box. How many cups does Leo have now?",
                valid("12"),
            ),
            (
                "Leo has 3 boxes with 4 cups in each box. Leo gives away 5. How many cups does Leo have now?",
                valid("7"),
            ),
            (
                "Tom has 7 apples. Tom gets 5 more and gives away 2. How many apples does Tom have now?",
                valid("10"),
            ),
            (
                "Write a function f that returns x times 3 plus 2.",
                valid("def f(x):\n    return x * 3 + 2"),
            ),
            (
                "Write a function f that returns x plus some number.",
                Truth::Invalid(Flaw::Missing),
            ),
            (
                "Mia has 5 pens. Mia gives away 7. How many pens does Mia have now?",
                Truth::Invalid(Flaw::Contradictory),
            ),
            (
                "Mia has some pens. Mia gives away 7. How many pens does Mia have now?",
                Truth::Invalid(Flaw::Missing),
            ),
            (
                "Mia has 9 pens. Mia gives away 7. How many cups does Mia have now?",
                Truth::Invalid(Flaw::Missing),
            ),
            (
                "Mia hat 9 Kekse. Mia gibt 7 davon weg. Wie viele Kekse hat Mia jetzt?",
                Truth::Invalid(Flaw::Foreign),
            ),
            (
                "Mia has 9 pens. Tom gives away 7. How many pens does Mia have now?",
                Truth::Invalid(Flaw::Malformed),
            ),
            ("Mia has", Truth::Invalid(Flaw::Malformed)),
            ("", Truth::Invalid(Flaw::Malformed)),
        ] {
            assert_eq!(truth(question), expected, "{question}");
        }
    }
}
