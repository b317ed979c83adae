//! The keys of all random numbers of a run, beside its seed. They decide every sampled token and every shuffled batch, so they are
//! literals of their own: a stage may change its name, and the same spec and seed still give the same rows.

use scalequest_crds::v1alpha1::{Stage, StageId};

/// Purpose of the random numbers that choose the direction of a rewrite. Those that sample tokens have no purpose.
pub const REWRITE_DIRECTION: &str = "direction";

/// Returns the key of the random numbers with which `stage` samples tokens, or of those for `purpose`.
pub fn sampling_key(stage: &StageId, purpose: Option<&str>) -> String {
    let generator = stage.generator.as_deref().unwrap_or_default();
    let key = [name(stage.stage), generator, purpose.unwrap_or_default()].join("/");
    key.trim_end_matches('/').to_owned()
}

/// Returns the key of the random numbers with which `stage` shuffles its training data. The engine appends ` shuffle` and the epoch.
pub fn training_key(stage: &StageId) -> String {
    let generator = stage.generator.as_deref().unwrap_or_default();
    [name(stage.stage), generator].join(" ")
}

/// Returns the name of `stage` in keys. It never changes.
fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Qft => "qft",
        Stage::Sample => "sample",
        Stage::Rewrite => "rewrite",
        Stage::Qpo => "qpo",
        Stage::Label => "label",
        Stage::TrainScorer => "scorer",
        Stage::Generate => "generate",
        Stage::Filter => "filter",
        Stage::Judge => "judge",
        Stage::Score => "rate",
        Stage::Respond => "respond",
        Stage::Reward => "reward",
        Stage::Verify => "verify",
        Stage::Publish => "publish",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_keys_are_fixed() {
        let names = Stage::ALL.map(name).join(" ");
        assert_eq!(
            names,
            "qft sample rewrite qpo label scorer generate filter judge rate respond reward verify publish"
        );
    }

    #[test]
    fn keys_are_fixed() {
        let rewrite = StageId::of_generator(Stage::Rewrite, "qwen");
        let generate = StageId {
            wave: Some(3),
            ..StageId::of_generator(Stage::Generate, "qwen")
        };
        let sampling = [
            sampling_key(&rewrite, None),
            sampling_key(&rewrite, Some(REWRITE_DIRECTION)),
            sampling_key(&generate, None),
            sampling_key(&StageId::in_wave(Stage::Judge, 3), None),
        ];
        assert_eq!(
            sampling,
            [
                "rewrite/qwen",
                "rewrite/qwen/direction",
                "generate/qwen",
                "judge"
            ]
        );
        let training = [
            StageId::of_generator(Stage::Qpo, "qwen"),
            StageId::once(Stage::TrainScorer),
        ];
        assert_eq!(
            training.map(|id| training_key(&id)),
            ["qpo qwen", "scorer "]
        );
    }
}
