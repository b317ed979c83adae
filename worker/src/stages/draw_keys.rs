//! The names by which a stage's random draws are keyed. They decide every sampled token and every shuffled batch, so they are
//! literals of their own: a stage may change its name, and the same spec and seed still give the same rows.

use scalequest_crds::v1alpha1::Stage;

/// Returns the name of `stage` in the keys of its random draws. It never changes.
pub fn draw_key(stage: Stage) -> &'static str {
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
    fn draw_keys_are_fixed() {
        let keys = Stage::ALL.map(draw_key).join(" ");
        assert_eq!(
            keys,
            "qft sample rewrite qpo label scorer generate filter judge rate respond reward verify publish"
        );
    }
}
