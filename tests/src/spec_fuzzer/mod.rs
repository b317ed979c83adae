//! Specs changed at random, for tests of what reads them: half stay sensible, so that the checks behind the form are
//! reached, a quarter have invalid values and a quarter a corrupt text. Spec `n` is the same every time. It knows
//! nothing of what is right: that is for the tests to ask.

mod target;

mod valid_edit;

mod cross_field_error;

mod invalid_value;

mod corrupt_text;

use scalequest_engine::training::rng::KeyedRng;
use serde_json::Value;

/// Seed of all draws.
const SEED: i64 = 7;

/// What was done to a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// Values changed within their bounds, options dropped or taken over from another spec, members and entries reordered.
    ValidEdit,
    /// The same, and one thing that does not fit the rest: a name with a typo, an entry twice, a part of another spec.
    CrossFieldError,
    /// Values replaced by strange ones, members renamed and added.
    InvalidValue,
    /// Text cut, doubled and written over.
    CorruptText,
}

/// A changed spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuzzedSpec {
    /// What was done.
    pub mutation: Mutation,
    /// The text, YAML or JSON.
    pub text: String,
}

/// Changes valid specs at random.
pub struct SpecFuzzer {
    texts: Vec<String>,
    values: Vec<Value>,
    schema: Value,
}

impl SpecFuzzer {
    /// Creates a fuzzer of these specs, which are valid, and of two that set every field: one for a machine, one for a cluster.
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

    /// Returns the specs that the fuzzed ones are made from.
    pub fn originals(&self) -> &[String] {
        &self.texts
    }

    /// Returns fuzzed spec `number`, changed in one to four places.
    pub fn spec(&self, number: u64) -> FuzzedSpec {
        let mut draws = KeyedRng::new(SEED, "mutant", number);
        let mutation = match draws.below(8) {
            0..3 => Mutation::ValidEdit,
            3 => Mutation::CrossFieldError,
            4..6 => Mutation::InvalidValue,
            _ => Mutation::CorruptText,
        };
        // One of the rich specs, half of the time.
        let which = match draws.below(2) {
            0 => draws.below(2),
            _ => draws.below(self.texts.len()),
        };
        let changes = 1 + draws.below(4);
        let text = match mutation {
            Mutation::ValidEdit => self.edited(which, changes, false, &mut draws),
            Mutation::CrossFieldError => self.edited(which, changes, true, &mut draws),
            Mutation::InvalidValue => {
                let mut spec = self.values[which].clone();
                (0..changes).for_each(|_| invalid_value::insert(&mut spec, &mut draws));
                written(&spec, &mut draws)
            }
            Mutation::CorruptText => {
                let mut bytes = self.texts[which].clone().into_bytes();
                (0..changes).for_each(|_| corrupt_text::corrupt(&mut bytes, &mut draws));
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        FuzzedSpec { mutation, text }
    }

    fn edited(
        &self,
        which: usize,
        changes: usize,
        has_error: bool,
        draws: &mut KeyedRng,
    ) -> String {
        let mut spec = self.values[which].clone();
        for _ in 0..changes {
            valid_edit::edit(&mut spec, &self.schema, draws);
        }
        if has_error {
            let other = &self.values[draws.below(self.values.len())];
            cross_field_error::introduce(&mut spec, other, draws);
        }
        written(&spec, draws)
    }
}

/// The spec as YAML or as JSON, which is YAML too.
fn written(spec: &Value, draws: &mut KeyedRng) -> String {
    match draws.below(4) {
        0 => serde_saphyr::to_string(spec).expect("a value is YAML"),
        _ => spec.to_string(),
    }
}
