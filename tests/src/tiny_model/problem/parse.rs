//! From a text back to the problem that it states, if it states one.

use super::{Amount, GERMAN_THINGS, NAMES, Problem, Story, THINGS};

impl Problem {
    /// The problem that a text states; `None` where it states none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        parse_program(text)
            .or_else(|| parse_german(text))
            .or_else(|| parse_english(text))
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
