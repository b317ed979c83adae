//! What an earlier or half-finished run of the same spec has measured: shares that were kept and tokens by row, from the seals on its
//! record. It knows no file.

use scalequest_crds::v1alpha1::{Stage, StageId};

use super::Assumptions;
use crate::record::{RunRecord, SealRecord, StageRecord, WaveRecord};
use crate::validate::ValidRun;

/// What the seals of a run say.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurements {
    /// The waves that were planned, in order.
    pub waves: Vec<WaveRecord>,
    /// The sealed stages.
    stages: Vec<StageRecord>,
}

impl Measurements {
    /// What `record` has measured of `run`: none where nothing is sealed.
    ///
    /// # Errors
    /// The record is of another spec; the first field that differs, for a person.
    pub fn of(record: &RunRecord, run: &ValidRun) -> Result<Option<Measurements>, String> {
        let mut same = record.clone();
        // A target that shrank makes fewer waves, and no other rows.
        same.spec.target = run.spec().target.clone();
        if let Err(errors) = same.amend(run) {
            let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
            return Err(fields.join(", "));
        }
        let sealed = record.stages.iter().filter(|stage| stage.seal.is_some());
        let stages: Vec<StageRecord> = sealed.cloned().collect();
        let waves = record.waves.clone();
        Ok((!stages.is_empty()).then_some(Measurements { waves, stages }))
    }

    /// The sum of `count` over the stages that `of` selects.
    fn sum(
        &self,
        of: impl Fn(&StageId) -> bool,
        count: impl Fn(&StageRecord, &SealRecord) -> i64,
    ) -> f64 {
        let stages = self.stages.iter().filter(|stage| of(&stage.id));
        let seals = stages.filter_map(|stage| Some((stage, stage.seal.as_ref()?)));
        seals.map(|(stage, seal)| count(stage, seal)).sum::<i64>() as f64
    }

    /// Tokens read and made (or learnt) by row of a stage, where any was sealed.
    pub fn tokens_per_row(&self, stage: Stage, generator: Option<&str>) -> Option<(f64, f64)> {
        let of = |id: &StageId| id.stage == stage && id.generator.as_deref() == generator;
        let rows = self.sum(of, work);
        let read = self.sum(of, |_, seal| seal.counts.tokens_in);
        let made = self.sum(of, |_, seal| seal.counts.tokens_out);
        (rows > 0.0).then(|| (read / rows, made / rows))
    }

    /// The share of its rows that a stage let out, over all generators; none where nothing came out, since a share of 0 tells too little.
    fn pass_rate(&self, stage: Stage) -> Option<f64> {
        let into = self.sum(|id| id.stage == stage, |_, seal| seal.counts.rows_in);
        let out = self.sum(|id| id.stage == stage, |_, seal| seal.counts.rows_out);
        (into > 0.0 && out > 0.0).then(|| (out / into).min(1.0))
    }

    /// Tokens made by row of a stage, over all generators.
    fn decoded(&self, stage: Stage) -> Option<f64> {
        let rows = self.sum(|id| id.stage == stage, work);
        let tokens = self.sum(|id| id.stage == stage, |_, seal| seal.counts.tokens_out);
        (rows > 0.0 && tokens > 0.0).then(|| tokens / rows)
    }

    /// Puts what was measured in the place of what `a` assumes, for `samples` responses a question. Returns the names of what was replaced.
    pub fn replace(&self, a: &mut Assumptions, samples: i32) -> Vec<&'static str> {
        let questions = self.decoded(Stage::Generate);
        let questions = questions.or_else(|| self.decoded(Stage::Sample));
        let responses = self.decoded(Stage::Respond);
        let response = responses.map(|tokens| tokens / f64::from(samples.max(1)));
        let drawn = self.pass_rate(Stage::Generate);
        let filtered = drawn.and_then(|drawn| Some(drawn * self.pass_rate(Stage::Filter)?));
        let measured = [
            ("questionTokens", questions),
            ("responseTokens", response),
            ("judgementTokens", self.decoded(Stage::Judge)),
            ("rewriteKept", self.pass_rate(Stage::Rewrite)),
            ("filterKept", filtered),
            ("judgeKept", self.pass_rate(Stage::Judge)),
            ("difficultyKept", self.pass_rate(Stage::Score)),
            ("verified", self.pass_rate(Stage::Verify)),
        ];
        let measured = measured.into_iter();
        let measured = measured.filter_map(|(name, value)| Some((name.into(), value?.into())));
        // Numbers under these names always fit, as a test checks.
        a.replace(measured.collect()).unwrap_or_default()
    }
}

/// Rows that were work: of Label those with an answer, which are the ones that came out.
fn work(stage: &StageRecord, seal: &SealRecord) -> i64 {
    match stage.id.stage {
        Stage::Label => seal.rows,
        _ => stage.work,
    }
}

#[cfg(test)]
mod tests {
    use scalequest_crds::protocol::preflight::PreflightReport;
    use serde_json::json;

    use super::*;
    use crate::parse::parse;
    use crate::record::WorkerIdentity;
    use crate::validate::{Environment, validate};

    const SPEC: &str = "
apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: tiny}
spec:
  recipe: MathSimple
  target: {examples: 16}
  models: [{name: m, source: {path: m.gguf}}]
  seedQuestions: [{path: seeds.jsonl}]
  generators: [{name: g, model: m}]
  filters: {solvability: {model: m}}
  responses: {model: m, samples: 4}
  workspace: {path: ws}
  output: {path: out}
";

    fn run(edit: impl Fn(&str) -> String) -> ValidRun {
        validate(&parse(&edit(SPEC)).unwrap(), Environment::Local).unwrap()
    }

    /// The pilot of the quickstart, by its record.
    fn record() -> RunRecord {
        let run = run(|text| text.to_owned());
        let mut record = RunRecord::new(
            &run,
            PreflightReport::default(),
            WorkerIdentity::default(),
            1,
        );
        let stage = |stage: &str, generator: Option<&str>, work: i64, counts: [i64; 4]| {
            let [rows_in, rows_out, tokens_in, tokens_out] = counts;
            json!({"stage": stage, "generator": generator, "wave": 1, "key": stage, "work": work, "shardRows": work, "seal": {
                "digest": "d", "rows": rows_out, "counts": {
                    "rowsIn": rows_in, "rowsOut": rows_out, "dropped": {}, "tokensIn": tokens_in, "tokensOut": tokens_out}}})
        };
        record.stages = serde_json::from_value(json!([
            stage("Generate", Some("g"), 32, [32, 32, 768, 921]),
            stage("Filter", None, 32, [32, 32, 0, 0]),
            stage("Judge", None, 32, [32, 4, 4339, 2598]),
            stage("Respond", None, 4, [4, 4, 276, 3086]),
            stage("Reward", None, 4, [4, 4, 4417, 0]),
            stage("Verify", None, 4, [4, 0, 0, 0]),
        ]))
        .unwrap();
        record
    }

    #[test]
    fn measurements_override_assumptions() {
        let run = run(|text| text.to_owned());
        let measured = Measurements::of(&record(), &run).unwrap().unwrap();
        let mut a = Assumptions::default();
        // Of none accepted no share is known.
        let names = measured.replace(&mut a, 4);
        assert_eq!(
            names,
            [
                "questionTokens",
                "responseTokens",
                "judgementTokens",
                "filterKept",
                "judgeKept"
            ]
        );
        let expected = Assumptions {
            question_tokens: 921.0 / 32.0,
            response_tokens: 3086.0 / 16.0,
            judgement_tokens: 2598.0 / 32.0,
            filter_kept: Some(1.0),
            judge_kept: 0.125,
            ..Assumptions::default()
        };
        assert_eq!(a, expected);
        assert_eq!(
            measured.tokens_per_row(Stage::Reward, None),
            Some((4417.0 / 4.0, 0.0))
        );
        assert_eq!(measured.tokens_per_row(Stage::Generate, None), None);
    }

    #[test]
    fn every_measured_value_replaces_an_assumption() {
        let run = run(|text| text.to_owned());
        let mut record = record();
        let sealed = record.stages[0].clone();
        let stages = [
            Stage::Rewrite,
            Stage::Generate,
            Stage::Filter,
            Stage::Judge,
            Stage::Score,
            Stage::Respond,
            Stage::Verify,
        ];
        record.stages = stages.iter().map(|_| sealed.clone()).collect();
        for (each, stage) in record.stages.iter_mut().zip(stages) {
            each.id.stage = stage;
        }
        let measured = Measurements::of(&record, &run).unwrap().unwrap();
        let names = measured.replace(&mut Assumptions::default(), 4);
        assert_eq!(names.len(), 8, "{names:?}");
    }

    #[test]
    fn measurements_survive_targets_not_models() {
        let record = record();
        for target in ["examples: 4", "examples: 400"] {
            let run = run(|text| text.replace("examples: 16", target));
            assert!(Measurements::of(&record, &run).unwrap().is_some());
        }
        let other = run(|text| text.replace("samples: 4", "samples: 2"));
        let fields = Measurements::of(&record, &other).unwrap_err();
        assert!(fields.starts_with("spec.responses.samples"), "{fields}");
        let mut unsealed = record;
        unsealed.stages.clear();
        assert_eq!(
            Measurements::of(&unsealed, &run(|text| text.to_owned())),
            Ok(None)
        );
    }
}
