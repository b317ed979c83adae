//! What an earlier or half-finished run of the same spec has measured: shares that were kept and tokens by row, from the seals on its
//! record. It knows no file.

use std::collections::BTreeMap;

use scalequest_crds::v1alpha1::Stage;

use super::Overrides;
use crate::record::{RunRecord, StageRecord, WaveRecord};
use crate::validate::ValidRun;

/// What the seals of a run say.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurements {
    /// The waves that were planned, in order.
    pub waves: Vec<WaveRecord>,
    totals: BTreeMap<(Stage, Option<String>), StageTotals>,
}

/// The sums over a stage's seals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct StageTotals {
    work: i64,
    rows_in: i64,
    rows_out: i64,
    tokens_in: i64,
    tokens_out: i64,
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
        let mut totals: BTreeMap<_, StageTotals> = BTreeMap::new();
        for stage in &record.stages {
            let Some(seal) = &stage.seal else { continue };
            let sum = totals
                .entry((stage.id.stage, stage.id.generator.clone()))
                .or_default();
            sum.work += work(stage, seal.rows);
            sum.rows_in += seal.counts.rows_in;
            sum.rows_out += seal.counts.rows_out;
            sum.tokens_in += seal.counts.tokens_in;
            sum.tokens_out += seal.counts.tokens_out;
        }
        Ok((!totals.is_empty()).then(|| Measurements {
            waves: record.waves.clone(),
            totals,
        }))
    }

    /// Tokens read and made (or learnt) by row of a stage, where any was sealed.
    pub fn tokens_per_row(&self, stage: Stage, generator: Option<&str>) -> Option<(f64, f64)> {
        let totals = self.totals.get(&(stage, generator.map(String::from)))?;
        let rows = totals.work as f64;
        (totals.work > 0).then(|| {
            (
                totals.tokens_in as f64 / rows,
                totals.tokens_out as f64 / rows,
            )
        })
    }

    /// The share of its rows that a stage let out, over all generators; none where nothing came out, since a share of 0 tells too little.
    fn pass_rate(&self, stage: Stage) -> Option<f64> {
        let of_stage = self.totals.iter().filter(|((each, _), _)| *each == stage);
        let (into, out) = of_stage.fold((0, 0), |(into, out), (_, totals)| {
            (into + totals.rows_in, out + totals.rows_out)
        });
        (into > 0 && out > 0).then(|| (out as f64 / into as f64).min(1.0))
    }

    /// Tokens made by row of a stage, over all generators.
    fn decoded(&self, stage: Stage) -> Option<f64> {
        let of_stage = self.totals.iter().filter(|((each, _), _)| *each == stage);
        let (work, tokens) = of_stage.fold((0, 0), |(work, tokens), (_, totals)| {
            (work + totals.work, tokens + totals.tokens_out)
        });
        (work > 0 && tokens > 0).then(|| tokens as f64 / work as f64)
    }

    /// Returns what takes the place of what is assumed, for `samples` responses a question.
    pub fn overrides(&self, samples: i32) -> Overrides {
        let questions = self.decoded(Stage::Generate);
        let responses = self.decoded(Stage::Respond);
        let drawn = self.pass_rate(Stage::Generate);
        Overrides {
            question_tokens: questions.or_else(|| self.decoded(Stage::Sample)),
            judgement_tokens: self.decoded(Stage::Judge),
            response_tokens: responses.map(|tokens| tokens / f64::from(samples.max(1))),
            rewrite_kept: self.pass_rate(Stage::Rewrite),
            judge_kept: self.pass_rate(Stage::Judge),
            difficulty_kept: self.pass_rate(Stage::Score),
            verified: self.pass_rate(Stage::Verify),
            filter_kept: drawn.and_then(|drawn| Some(drawn * self.pass_rate(Stage::Filter)?)),
            ..Overrides::default()
        }
    }
}

/// Rows that were work: of Label those with an answer, which are the ones that came out.
fn work(stage: &StageRecord, rows: i64) -> i64 {
    match stage.id.stage {
        Stage::Label => rows,
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
    fn what_the_seals_say_takes_the_place_of_what_is_assumed() {
        let run = run(|text| text.to_owned());
        let measured = Measurements::of(&record(), &run).unwrap().unwrap();
        let expected = Overrides {
            question_tokens: Some(921.0 / 32.0),
            response_tokens: Some(3086.0 / 16.0),
            judgement_tokens: Some(2598.0 / 32.0),
            filter_kept: Some(1.0),
            judge_kept: Some(0.125),
            // Of none accepted no share is known.
            verified: None,
            ..Overrides::default()
        };
        assert_eq!(measured.overrides(4), expected);
        assert_eq!(
            measured.tokens_per_row(Stage::Reward, None),
            Some((4417.0 / 4.0, 0.0))
        );
        assert_eq!(measured.tokens_per_row(Stage::Generate, None), None);
    }

    #[test]
    fn another_target_measures_the_same_and_another_model_does_not() {
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
