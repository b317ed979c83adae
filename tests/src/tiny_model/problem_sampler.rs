//! Draws problems: valid ones, flawed ones, and the mix that an untrained generator asks; and mends and hardens them
//! as a rewriter should.

use scalequest_engine::training::rng::KeyedRng;

use super::problem::{Amount, NAMES, Problem, Story, THINGS, Truth};

/// Shares of what the base model learns to ask.
pub const FLAWED: f64 = 0.35;
/// Questions in German.
pub const FOREIGN: f64 = 0.06;
/// Questions that are the same few over and over.
pub const REPEATED: f64 = 0.04;
/// Questions for programs.
pub const PROGRAMS: f64 = 0.12;

/// The few questions that the base model repeats.
const FAVOURITES: usize = 4;

fn between(draws: &mut KeyedRng, low: i64, high: i64) -> i64 {
    low + draws.below((high - low + 1) as usize) as i64
}

/// A valid word problem in English.
pub fn valid(draws: &mut KeyedRng) -> Problem {
    let story = match draws.below(5) {
        0 => Story::Gets(Some(between(draws, 2, 9)), Some(between(draws, 2, 6))),
        1 => {
            let b = between(draws, 2, 6);
            Story::Gives(Some(b + between(draws, 1, 6)), Some(b))
        }
        2 => Story::Boxes(Some(between(draws, 2, 5)), Some(between(draws, 2, 5))),
        3 => {
            let (a, b) = (between(draws, 2, 6), between(draws, 2, 6));
            Story::GetsGives(
                Some(a),
                Some(b),
                Some(between(draws, 2, (a + b - 1).min(5))),
            )
        }
        _ => {
            let (a, b) = (between(draws, 2, 4), between(draws, 2, 4));
            Story::BoxesGives(
                Some(a),
                Some(b),
                Some(between(draws, 2, (a * b - 1).min(5))),
            )
        }
    };
    let thing = draws.below(THINGS.len());
    let exactly = draws.uniform() < 0.15;
    Problem {
        story,
        name: draws.below(NAMES.len()),
        thing,
        asked: thing,
        exactly,
        german: false,
    }
}

/// A valid programming task.
pub fn program(draws: &mut KeyedRng) -> Problem {
    let a = Some(between(draws, 2, 9));
    let story = match draws.below(3) {
        0 => Story::Plus(a),
        1 => Story::Times(a),
        _ => Story::TimesPlus(a, Some(between(draws, 2, 9))),
    };
    Problem {
        story,
        name: 0,
        thing: 0,
        asked: 0,
        exactly: draws.uniform() < 0.15,
        german: false,
    }
}

/// A word problem that cannot be solved: a number is missing, something else is asked for, or more is given than there is.
pub fn flawed(draws: &mut KeyedRng) -> Problem {
    let mut problem = valid(draws);
    match draws.below(4) {
        0 => problem.asked = (problem.thing + 1 + draws.below(THINGS.len() - 1)) % THINGS.len(),
        1 => {
            let a = between(draws, 2, 9);
            problem.story = Story::Gives(Some(a), Some(a + between(draws, 1, 6)));
        }
        _ => problem.story = without_a_number(problem.story, draws),
    }
    problem
}

/// A programming task without a number.
pub fn flawed_program(draws: &mut KeyedRng) -> Problem {
    let problem = program(draws);
    Problem {
        story: without_a_number(problem.story, draws),
        ..problem
    }
}

/// A word problem in German.
pub fn foreign(draws: &mut KeyedRng) -> Problem {
    loop {
        let problem = valid(draws);
        if matches!(problem.story, Story::Gets(..) | Story::Gives(..)) {
            return Problem {
                german: true,
                exactly: false,
                ..problem
            };
        }
    }
}

/// What the base model asks: the imperfect mix.
pub fn raw(draws: &mut KeyedRng) -> Problem {
    let share = draws.uniform();
    let is_program = draws.uniform() < PROGRAMS;
    if share < FOREIGN {
        foreign(draws)
    } else if share < FOREIGN + REPEATED {
        let favourite = draws.below(FAVOURITES);
        valid(&mut KeyedRng::new(0, "favourite", favourite as u64))
    } else if share < FOREIGN + REPEATED + FLAWED {
        if is_program {
            flawed_program(draws)
        } else {
            flawed(draws)
        }
    } else if is_program {
        program(draws)
    } else {
        valid(draws)
    }
}

fn without_a_number(story: Story, draws: &mut KeyedRng) -> Story {
    let amounts = match story {
        Story::Plus(_) | Story::Times(_) => 1,
        Story::Gets(..) | Story::Gives(..) | Story::Boxes(..) | Story::TimesPlus(..) => 2,
        Story::GetsGives(..) | Story::BoxesGives(..) => 3,
    };
    let gone = draws.below(amounts);
    let keep = |index: usize, amount: Amount| if index == gone { None } else { amount };
    match story {
        Story::Gets(a, b) => Story::Gets(keep(0, a), keep(1, b)),
        Story::Gives(a, b) => Story::Gives(keep(0, a), keep(1, b)),
        Story::Boxes(a, b) => Story::Boxes(keep(0, a), keep(1, b)),
        Story::GetsGives(a, b, c) => Story::GetsGives(keep(0, a), keep(1, b), keep(2, c)),
        Story::BoxesGives(a, b, c) => Story::BoxesGives(keep(0, a), keep(1, b), keep(2, c)),
        Story::Plus(_) => Story::Plus(None),
        Story::Times(_) => Story::Times(None),
        Story::TimesPlus(a, b) => Story::TimesPlus(keep(0, a), keep(1, b)),
    }
}

/// The problem made solvable; where nothing is wrong, asked for exactly.
pub fn mended(problem: &Problem, draws: &mut KeyedRng) -> Problem {
    let mut mended = Problem {
        german: false,
        asked: problem.thing,
        ..*problem
    };
    let mut given = |amount: Amount| Some(amount.unwrap_or_else(|| between(draws, 2, 5)));
    mended.story = match problem.story {
        Story::Gets(a, b) => Story::Gets(given(a), given(b)),
        Story::Boxes(a, b) => Story::Boxes(given(a), given(b)),
        Story::Plus(a) => Story::Plus(given(a)),
        Story::Times(a) => Story::Times(given(a)),
        Story::TimesPlus(a, b) => Story::TimesPlus(given(a), given(b)),
        Story::Gives(Some(a), Some(b)) => Story::Gives(Some(a.max(b)), Some(a.min(b))),
        Story::Gives(Some(a), None) => Story::Gives(Some(a), Some(1)),
        Story::Gives(None, b) => Story::Gives(Some(12), b),
        Story::GetsGives(a, b, c) => Story::GetsGives(a.or(Some(5)), b.or(Some(5)), c.or(Some(2))),
        Story::BoxesGives(a, b, c) => {
            Story::BoxesGives(a.or(Some(4)), b.or(Some(4)), c.or(Some(2)))
        }
    };
    if !matches!(mended.truth(), Truth::Valid { .. }) {
        // Two flaws at once: fall back to the plainest story with the same people and things.
        mended.story = Story::Gets(Some(4), Some(3));
    }
    mended.exactly |= mended == *problem;
    mended
}

/// The problem mended and with one more step; one that has two steps already is asked for exactly.
pub fn harder(problem: &Problem, draws: &mut KeyedRng) -> Problem {
    let mended = Problem {
        exactly: problem.exactly,
        ..mended(problem, draws)
    };
    let story = match mended.story {
        Story::Gets(a, b) => Story::GetsGives(a, b, Some(2)),
        Story::Gives(a, b) => Story::GetsGives(a, Some(4), b),
        Story::Boxes(a, b) => Story::BoxesGives(a, b, Some(2)),
        Story::Plus(a) => Story::TimesPlus(Some(2), a),
        Story::Times(a) => Story::TimesPlus(a, Some(2)),
        two_steps => two_steps,
    };
    let harder = Problem { story, ..mended };
    Problem {
        exactly: harder.exactly || harder == *problem,
        ..harder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flawed_problems_are_invalid() {
        for index in 0..2000 {
            let mut draws = KeyedRng::new(2, "truth", index);
            let is_valid = |problem: Problem| matches!(problem.truth(), Truth::Valid { .. });
            assert!(is_valid(valid(&mut draws)) && is_valid(program(&mut draws)));
            for problem in [
                flawed(&mut draws),
                flawed_program(&mut draws),
                foreign(&mut draws),
            ] {
                assert!(!is_valid(problem), "{}", problem.text());
            }
        }
    }

    #[test]
    fn mended_and_harder_problems_are_valid() {
        for index in 0..3000 {
            let mut draws = KeyedRng::new(3, "mend", index);
            let problem = raw(&mut draws);
            for rewrite in [mended(&problem, &mut draws), harder(&problem, &mut draws)] {
                let truth = rewrite.truth();
                assert!(
                    matches!(truth, Truth::Valid { .. }),
                    "{} from {}",
                    rewrite.text(),
                    problem.text()
                );
            }
            let harder = harder(&problem, &mut draws);
            assert!(
                harder.is_hard(),
                "{} from {}",
                harder.text(),
                problem.text()
            );
        }
    }

    #[test]
    fn base_mix_is_imperfect() {
        let problems: Vec<Problem> = (0..4000)
            .map(|index| raw(&mut KeyedRng::new(4, "mix", index)))
            .collect();
        let share = |test: &dyn Fn(&Problem) -> bool| {
            problems.iter().filter(|p| test(p)).count() as f64 / 4000.0
        };
        let valid = share(&|problem| matches!(problem.truth(), Truth::Valid { .. }));
        assert!(
            (valid - (1.0 - FLAWED - FOREIGN)).abs() < 0.03,
            "{valid} valid"
        );
        assert!((share(&|problem| problem.german) - FOREIGN).abs() < 0.02);
    }
}
