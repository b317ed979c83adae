//! Specs changed at random, for tests of what reads them: half stay sensible, so that the checks behind the form are
//! reached, a quarter are damaged in their values and a quarter in their text. Mutant `n` is the same every time. It knows
//! nothing of what is right: that is for the tests to ask.

mod place;

mod alter;

mod graft;

mod damage;

mod scramble;

use scalequest_engine::training::draw::Draws;
use serde_json::Value;

/// Seed of all draws.
const SEED: i64 = 7;

/// What was done to a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Values changed within their bounds, options dropped or taken over from another spec, members and entries reordered.
    Altered,
    /// The same, and one thing that does not fit the rest: a name with a typo, an entry twice, a part of another spec.
    Grafted,
    /// Values replaced by strange ones, members renamed and added.
    Damaged,
    /// Text cut, doubled and written over.
    Scrambled,
}

/// A changed spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// What was done.
    pub kind: Kind,
    /// The text, YAML or JSON.
    pub text: String,
}

/// Where mutants come from.
pub struct Mutants {
    texts: Vec<String>,
    values: Vec<Value>,
    schema: Value,
}

impl Mutants {
    /// Mutants of these specs, which are valid, and of two that set every field: one for a machine, one for a cluster.
    ///
    /// # Panics
    /// If one of them is no YAML.
    pub fn of(specs: impl IntoIterator<Item = String>) -> Self {
        let rich = [include_str!("machine.yaml"), include_str!("cluster.yaml")];
        let texts: Vec<String> = rich.into_iter().map(str::to_owned).chain(specs).collect();
        let read = |text: &String| serde_saphyr::from_str(text).expect("a spec is YAML");
        Self {
            values: texts.iter().map(read).collect(),
            texts,
            schema: scalequest_crds::v1alpha1::schema(),
        }
    }

    /// The specs that the mutants come from.
    pub fn originals(&self) -> &[String] {
        &self.texts
    }

    /// Mutant `number`: a spec changed in one to four places.
    pub fn mutant(&self, number: u64) -> Mutant {
        let mut draws = Draws::keyed(SEED, "mutant", number);
        let kind = match draws.below(8) {
            0..3 => Kind::Altered,
            3 => Kind::Grafted,
            4..6 => Kind::Damaged,
            _ => Kind::Scrambled,
        };
        // One of the rich specs, half of the time.
        let which = match draws.below(2) {
            0 => draws.below(2),
            _ => draws.below(self.texts.len()),
        };
        let changes = 1 + draws.below(4);
        let text = match kind {
            Kind::Altered => self.altered(which, changes, false, &mut draws),
            Kind::Grafted => self.altered(which, changes, true, &mut draws),
            Kind::Damaged => {
                let mut spec = self.values[which].clone();
                (0..changes).for_each(|_| damage::damage(&mut spec, &mut draws));
                written(&spec, &mut draws)
            }
            Kind::Scrambled => {
                let mut bytes = self.texts[which].clone().into_bytes();
                (0..changes).for_each(|_| scramble::scramble(&mut bytes, &mut draws));
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        Mutant { kind, text }
    }

    fn altered(&self, which: usize, changes: usize, graft: bool, draws: &mut Draws) -> String {
        let mut spec = self.values[which].clone();
        for _ in 0..changes {
            alter::alter(&mut spec, &self.schema, draws);
        }
        if graft {
            let other = &self.values[draws.below(self.values.len())];
            graft::graft(&mut spec, other, draws);
        }
        written(&spec, draws)
    }
}

/// The spec as YAML or as JSON, which is YAML too.
fn written(spec: &Value, draws: &mut Draws) -> String {
    match draws.below(4) {
        0 => serde_saphyr::to_string(spec).expect("a value is YAML"),
        _ => spec.to_string(),
    }
}
