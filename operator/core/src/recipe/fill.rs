//! Filling what is absent from a part of a spec with defaults of the same type, member by member.

use scalequest_crds::v1alpha1::{
    Agreement, Contamination, Duplicates, FailurePolicy, Language, Lora, Qft, Qpo, Sampling,
    Solvability, Tuning, Verification,
};

/// A part of a spec that defaults can complete.
pub(super) trait Fill: Clone {
    /// Adds what `defaults` has and `self` has not.
    fn fill(&mut self, defaults: &Self);
}

impl<T: Fill> Fill for Option<T> {
    fn fill(&mut self, defaults: &Self) {
        if let Some(defaults) = defaults {
            filled(self, defaults);
        }
    }
}

/// Puts `defaults` into `place`, or what `place` lacks of them, and returns the whole.
pub(super) fn filled<'a, T: Fill>(place: &'a mut Option<T>, defaults: &T) -> &'a mut T {
    let value = place.get_or_insert_with(|| defaults.clone());
    value.fill(defaults);
    value
}

/// A value without optional members is whole: there is nothing to fill.
macro_rules! whole {
    ($($type:ty),+) => { $(impl Fill for $type { fn fill(&mut self, _: &Self) {} })+ };
}

whole!(i32, i64, f64, String, Vec<String>, Agreement, Lora, Tuning);

/// Fills each named member; the compiler refuses a list that leaves one out. Members after `;` have no defaults.
macro_rules! members {
    ($($type:ident { $($name:ident),+ $(; $apart:ident)* }),+ $(,)?) => { $(
        impl Fill for $type {
            fn fill(&mut self, defaults: &Self) {
                let $type { $($name,)+ $($apart: _,)* } = defaults;
                $(self.$name.fill($name);)+
            }
        }
    )+ };
}

members! {
    Qft { epochs, learning_rate, warmup_ratio, max_length, batch_size, tuning, lora },
    Qpo {
        pairs, rewriter, rewriting, epochs, learning_rate, warmup_ratio, beta, max_length, batch_size, tuning, lora
    },
    Sampling { temperature, top_p, top_k, max_new_tokens },
    Language { keep },
    Contamination { ngram; benchmarks },
    Duplicates { similarity },
    Solvability { model, sampling },
    Verification { agreement },
    FailurePolicy { max_failed_shards_percent },
}
