//! The identity of a stage within a run.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Stage;

/// Identifies a stage of a run. A run has at most one stage with a given id.
///
/// Serialized as the members `stage`, `generator` and `wave`; types that hold an id flatten it. The order is that of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageId {
    /// The stage.
    pub stage: Stage,
    /// The generator, if the stage is per generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// The wave (from 1), if the stage is per wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
}

impl StageId {
    /// Returns the id of a stage that a run has once.
    pub fn once(stage: Stage) -> StageId {
        StageId {
            stage,
            generator: None,
            wave: None,
        }
    }

    /// Returns the id of a stage that each generator has once.
    pub fn of_generator(stage: Stage, generator: &str) -> StageId {
        StageId {
            generator: Some(generator.into()),
            ..StageId::once(stage)
        }
    }

    /// Returns the id of a stage that each wave has once.
    pub fn in_wave(stage: Stage, wave: i32) -> StageId {
        StageId {
            wave: Some(wave),
            ..StageId::once(stage)
        }
    }

    /// Returns the id as part of a file name: `generate-qwen-wave-3`.
    pub fn file_stem(&self) -> String {
        let generator = self.generator.as_ref().map(|name| format!("-{name}"));
        let wave = self.wave.map(|wave| format!("-wave-{wave}"));
        format!(
            "{}{}{}",
            self.stage,
            generator.unwrap_or_default(),
            wave.unwrap_or_default()
        )
    }

    /// Returns what orders ids: setup, then waves, then the publication. The setup is ordered by generator, then what no generator owns; a
    /// wave by stage, then generator. Generators are in the order of their names, since an id does not know the spec.
    fn run_order(&self) -> impl Ord + '_ {
        let part = match (self.stage, self.wave) {
            (Stage::Publish, _) => 2,
            (_, Some(_)) => 1,
            (_, None) => 0,
        };
        let chain = (part == 0).then_some((self.generator.is_none(), self.generator.as_deref()));
        (
            part,
            self.wave,
            chain,
            self.stage,
            self.generator.as_deref(),
        )
    }
}

impl Ord for StageId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.run_order().cmp(&other.run_order())
    }
}

impl PartialOrd for StageId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StageId {
    /// Writes `generate qwen, wave 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stage)?;
        if let Some(generator) = &self.generator {
            write!(f, " {generator}")?;
        }
        if let Some(wave) = self.wave {
            write!(f, ", wave {wave}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(generator: &str, wave: i32) -> StageId {
        StageId {
            wave: Some(wave),
            ..StageId::of_generator(Stage::Generate, generator)
        }
    }

    #[test]
    fn id_has_one_rendering() {
        let cases = [
            (StageId::once(Stage::Label), "label", "label"),
            (
                StageId::of_generator(Stage::Qft, "qwen"),
                "qft qwen",
                "qft-qwen",
            ),
            (
                StageId::in_wave(Stage::Filter, 1),
                "filter, wave 1",
                "filter-wave-1",
            ),
            (
                generate("qwen", 3),
                "generate qwen, wave 3",
                "generate-qwen-wave-3",
            ),
        ];
        for (id, shown, stem) in cases {
            assert_eq!(
                (id.to_string().as_str(), id.file_stem().as_str()),
                (shown, stem)
            );
        }
    }

    #[test]
    fn ids_are_in_run_order() {
        let ids = [
            StageId::of_generator(Stage::Qft, "a"),
            StageId::of_generator(Stage::Qpo, "a"),
            StageId::of_generator(Stage::Qft, "b"),
            StageId::once(Stage::Label),
            generate("a", 1),
            generate("b", 1),
            StageId::in_wave(Stage::Filter, 1),
            StageId::in_wave(Stage::Verify, 1),
            generate("a", 2),
            StageId::in_wave(Stage::Filter, 2),
            StageId::once(Stage::Publish),
        ];
        let mut sorted = ids.to_vec();
        sorted.reverse();
        sorted.sort();
        assert_eq!(sorted, ids);
    }

    #[test]
    fn stage_id_is_flattened_in_json() {
        let json = r#"{"stage":"Generate","generator":"qwen","wave":3}"#;
        assert_eq!(serde_json::to_string(&generate("qwen", 3)).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<StageId>(r#"{"stage":"Label"}"#).unwrap(),
            StageId::once(Stage::Label)
        );
    }
}
