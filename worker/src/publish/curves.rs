//! Training curves from the logs of the training stages: lines of JSON with a step and its metrics.

use scalequest_crds::v1alpha1::Stage;
use serde_json::Value;

use super::error::PublishError;
use super::sealed_rows::read_file;
use super::stage_index::{SealedStage, StageIndex};
use crate::storage::store::Store;

/// The log that a training stage commits with its model.
const LOG_FILE: &str = "training_log.jsonl";

/// Maximum points of a curve; longer curves are thinned evenly.
const MAX_POINTS: usize = 400;

/// A curve of one training stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The training stage.
    pub stage: Stage,
    /// The generator, if the stage trains one.
    pub generator: Option<String>,
    /// The metric, e.g. `loss`.
    pub metric: String,
    /// Step and value.
    pub points: Vec<(f64, f64)>,
}

/// Reads the curves of every training stage that has a log: its loss and further metrics.
///
/// # Errors
/// A log cannot be read. Lines that are not JSON are skipped.
pub fn read(workspace: &Store, stage_index: &StageIndex<'_>) -> Result<Vec<Curve>, PublishError> {
    let trained = stage_index
        .generators
        .iter()
        .flat_map(|generator| &generator.stages)
        .chain(&stage_index.scorer);
    let mut curves = Vec::new();
    for sealed in trained.filter(|sealed| sealed.input.id.stage.makes_a_model()) {
        if let Some(log) = read_file(workspace, sealed.seal, LOG_FILE)? {
            curves.extend(curves_of(sealed, &String::from_utf8_lossy(&log)));
        }
    }
    Ok(curves)
}

fn curves_of(sealed: &SealedStage<'_>, log: &str) -> Vec<Curve> {
    let steps: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let curve = |metric: &str| {
        let points: Vec<_> = steps
            .iter()
            .filter_map(|step| Some((step["step"].as_f64()?, step[metric].as_f64()?)))
            .collect();
        (points.len() >= 2).then(|| Curve {
            stage: sealed.input.id.stage,
            generator: sealed.input.id.generator.clone(),
            metric: metric.into(),
            points: thin(points),
        })
    };
    metrics_of(&steps)
        .into_iter()
        .filter_map(|metric| curve(&metric))
        .collect()
}

/// Returns the metrics of a step: the loss first, then those of the objective, without those of the optimizer.
fn metrics_of(steps: &[Value]) -> Vec<String> {
    let of_optimizer = ["step", "learningRate", "gradientNorm"];
    let members = steps
        .first()
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    members
        .map(|(name, _)| name.clone())
        .filter(|name| !of_optimizer.contains(&name.as_str()))
        .collect()
}

/// Returns at most [`MAX_POINTS`] evenly chosen points, with the first and the last.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= MAX_POINTS {
        return points;
    }
    (0..MAX_POINTS)
        .map(|i| points[i * (points.len() - 1) / (MAX_POINTS - 1)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_curves_keep_their_ends() {
        let points: Vec<_> = (0..5000).map(|i| (f64::from(i), 0.5)).collect();
        let thinned = thin(points);
        assert_eq!(thinned.len(), MAX_POINTS);
        assert_eq!((thinned[0].0, thinned[MAX_POINTS - 1].0), (0.0, 4999.0));
    }

    #[test]
    fn optimizer_metrics_are_left_out() {
        let step = serde_json::json!({"step": 1, "loss": 0.7, "learningRate": 1e-5, "gradientNorm": 1.0, "margin": 0.0});
        assert_eq!(metrics_of(&[step]), ["loss", "margin"]);
    }
}
