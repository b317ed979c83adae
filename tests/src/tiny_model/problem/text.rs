//! From a problem to its text.

use super::{Amount, GERMAN_THINGS, NAMES, Problem, Story, THINGS};

impl Problem {
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
}
