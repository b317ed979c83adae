//! Problems with known truth: their structure, their text, and back from text to structure. What does not parse
//! is no problem. It knows no model.

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

/// Pieces of text between names, things and numbers. With those they are the tokens of the micro tokenizer, longest first.
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

    /// The question.
    pub fn text(&self) -> String {
        let (n, t) = (NAMES[self.name], THINGS[self.thing]);
        let number = |amount: Amount| amount.map_or("some".to_owned(), |a| a.to_string());
        if self.is_program() {
            let number =
                |amount: Amount| amount.map_or("some number".to_owned(), |a| a.to_string());
            let start = if self.exactly {
                "Write exactly one function"
            } else {
                "Write a function"
            };
            let formula = match self.story {
                Story::Times(a) => format!("x times {}", number(a)),
                Story::TimesPlus(a, b) => format!("x times {} plus {}", number(a), number(b)),
                Story::Plus(a) => format!("x plus {}", number(a)),
                _ => unreachable!("checked above"),
            };
            return format!("{start} f that returns {formula}.");
        }
        if self.german {
            let (t, asked) = (GERMAN_THINGS[self.thing], GERMAN_THINGS[self.asked]);
            let story = match self.story {
                Story::Gives(a, b) => format!(
                    "{n} hat {} {t}. {n} gibt {} davon weg.",
                    number(a),
                    number(b)
                ),
                Story::Gets(a, b) => {
                    format!("{n} hat {} {t}. {n} bekommt {} dazu.", number(a), number(b))
                }
                _ => unreachable!("no other story is in German"),
            };
            return format!("{story} Wie viele {asked} hat {n} jetzt?");
        }
        let story = match self.story {
            Story::Gets(a, b) => format!("{n} has {} {t}. {n} gets {} more.", number(a), number(b)),
            Story::Gives(a, b) => {
                format!("{n} has {} {t}. {n} gives away {}.", number(a), number(b))
            }
            Story::Boxes(a, b) => format!(
                "{n} has {} boxes with {} {t} in each box.",
                number(a),
                number(b)
            ),
            Story::GetsGives(a, b, c) => {
                let (a, b, c) = (number(a), number(b), number(c));
                format!("{n} has {a} {t}. {n} gets {b} more and gives away {c}.")
            }
            Story::BoxesGives(a, b, c) => {
                let (a, b, c) = (number(a), number(b), number(c));
                format!("{n} has {a} boxes with {b} {t} in each box. {n} gives away {c}.")
            }
            Story::Plus(_) | Story::Times(_) | Story::TimesPlus(..) => {
                unreachable!("returned above")
            }
        };
        let ask = if self.exactly {
            "Exactly how many"
        } else {
            "How many"
        };
        format!("{story} {ask} {} does {n} have now?", THINGS[self.asked])
    }

    /// The problem that a text states; `None` where it states none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        parse_program(text)
            .or_else(|| parse_german(text))
            .or_else(|| parse_english(text))
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

fn parse_program(text: &str) -> Option<Problem> {
    let (exactly, formula) = match text.strip_prefix("Write exactly one function f that returns x ")
    {
        Some(formula) => (true, formula),
        None => (
            false,
            text.strip_prefix("Write a function f that returns x ")?,
        ),
    };
    let formula = formula.strip_suffix('.')?;
    let number = |text: &str| {
        if text == "some number" {
            Some(None)
        } else {
            amount(text)
        }
    };
    let story = if let Some(a) = formula.strip_prefix("plus ") {
        Story::Plus(number(a)?)
    } else {
        match formula.strip_prefix("times ")?.split_once(" plus ") {
            Some((a, b)) => Story::TimesPlus(number(a)?, number(b)?),
            None => Story::Times(number(formula.strip_prefix("times ")?)?),
        }
    };
    Some(Problem {
        story,
        name: 0,
        thing: 0,
        asked: 0,
        exactly,
        german: false,
    })
}

fn parse_german(text: &str) -> Option<Problem> {
    let (story, ask) = text.split_once(" Wie viele ")?;
    let (asked, name) = ask.strip_suffix(" jetzt?")?.split_once(" hat ")?;
    let (first, second) = story.split_once(". ")?;
    let (a, thing) = first
        .strip_prefix(name)?
        .strip_prefix(" hat ")?
        .split_once(' ')?;
    let second = second.strip_prefix(name)?;
    let story = if let Some(b) = second.strip_prefix(" gibt ") {
        Story::Gives(amount(a)?, amount(b.strip_suffix(" davon weg.")?)?)
    } else {
        Story::Gets(
            amount(a)?,
            amount(second.strip_prefix(" bekommt ")?.strip_suffix(" dazu.")?)?,
        )
    };
    let thing_index = |word: &str| GERMAN_THINGS.iter().position(|thing| *thing == word);
    let name = NAMES.iter().position(|n| *n == name)?;
    Some(Problem {
        story,
        name,
        thing: thing_index(thing)?,
        asked: thing_index(asked)?,
        exactly: false,
        german: true,
    })
}

fn parse_english(text: &str) -> Option<Problem> {
    let (story, ask, exactly) = match text.split_once(" Exactly how many ") {
        Some((story, ask)) => (story, ask, true),
        None => text
            .split_once(" How many ")
            .map(|(story, ask)| (story, ask, false))?,
    };
    let (asked, name) = ask.strip_suffix(" have now?")?.split_once(" does ")?;
    let rest = story.strip_prefix(name)?.strip_prefix(" has ")?;
    let again = format!(". {name}");
    let (story, thing) = if let Some((a, rest)) = rest.split_once(" boxes with ") {
        let (b, rest) = rest.split_once(' ')?;
        let (thing, rest) = rest.split_once(" in each box")?;
        let story = match rest.strip_prefix(again.as_str()) {
            Some(rest) => {
                let c = rest.strip_prefix(" gives away ")?.strip_suffix('.')?;
                Story::BoxesGives(amount(a)?, amount(b)?, amount(c)?)
            }
            None if rest == "." => Story::Boxes(amount(a)?, amount(b)?),
            None => return None,
        };
        (story, thing)
    } else {
        let (first, second) = rest.split_once(again.as_str())?;
        let (a, thing) = first.split_once(' ')?;
        let second = second.strip_suffix('.')?;
        let story = if let Some(b) = second.strip_prefix(" gives away ") {
            Story::Gives(amount(a)?, amount(b)?)
        } else {
            let gets = second.strip_prefix(" gets ")?;
            match gets.split_once(" more and gives away ") {
                Some((b, c)) => Story::GetsGives(amount(a)?, amount(b)?, amount(c)?),
                None => Story::Gets(amount(a)?, amount(gets.strip_suffix(" more")?)?),
            }
        };
        (story, thing)
    };
    let thing_index = |word: &str| THINGS.iter().position(|thing| *thing == word);
    let name = NAMES.iter().position(|n| *n == name)?;
    Some(Problem {
        story,
        name,
        thing: thing_index(thing)?,
        asked: thing_index(asked)?,
        exactly,
        german: false,
    })
}

fn amount(text: &str) -> Option<Amount> {
    if text == "some" {
        Some(None)
    } else {
        text.parse().ok().filter(|n| *n >= 0).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use scalequest_worker::training::draw::Draws;

    use super::*;
    use crate::micro::drawing;

    #[test]
    fn a_problem_parses_back_from_its_text() {
        for index in 0..3000 {
            let mut draws = Draws::keyed(1, "round trip", index);
            for problem in [
                drawing::raw(&mut draws),
                drawing::flawed(&mut draws),
                drawing::valid(&mut draws),
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
    fn truths_are_true() {
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
