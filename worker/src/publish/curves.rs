//! Training curves, as the training stages logged them: lines of JSON with a step and what was measured at it.

use scalequest_crds::v1alpha1::Stage;
use serde_json::Value;

use super::arrange::{Arranged, Sealed};
use super::error::PublishError;
use super::sealed_rows::read_file;
use crate::storage::store::Store;

/// The file in which a training stage logs its steps, beside the model.
const LOG: &str = "training_log.jsonl";

/// Most points of a curve; longer ones are thinned evenly.
const MOST_POINTS: usize = 400;

/// A curve of one training stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The training stage.
    pub stage: Stage,
    /// The generator, if per generator.
    pub generator: Option<String>,
    /// What was measured, e.g. `loss`.
    pub measure: String,
    /// Step and value.
    pub points: Vec<(f64, f64)>,
}

/// The curves of every training stage that kept a log: its loss, and what else it measured.
///
/// # Errors
/// Where a log cannot be read. Lines that are no JSON are passed over: a log decides nothing.
pub fn read(workspace: &Store, arranged: &Arranged<'_>) -> Result<Vec<Curve>, PublishError> {
    let trained = arranged
        .generators
        .iter()
        .flat_map(|generator| &generator.stages)
        .chain(&arranged.scorer);
    let mut curves = Vec::new();
    for sealed in trained.filter(|sealed| sealed.input.stage.makes_a_model()) {
        if let Some(log) = read_file(workspace, sealed.seal, LOG)? {
            curves.extend(curves_of(sealed, &String::from_utf8_lossy(&log)));
        }
    }
    Ok(curves)
}

fn curves_of(sealed: &Sealed<'_>, log: &str) -> Vec<Curve> {
    let steps: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let curve = |measure: &str| {
        let points: Vec<_> = steps
            .iter()
            .filter_map(|step| Some((step["step"].as_f64()?, step[measure].as_f64()?)))
            .collect();
        (points.len() >= 2).then(|| Curve {
            stage: sealed.input.stage,
            generator: sealed.input.generator.clone(),
            measure: measure.into(),
            points: thin(points),
        })
    };
    measures_of(&steps)
        .into_iter()
        .filter_map(|measure| curve(&measure))
        .collect()
}

/// What was measured at a step: the loss first, then what the objective adds. How the optimizer fared is left out.
fn measures_of(steps: &[Value]) -> Vec<String> {
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

/// At most [`MOST_POINTS`] of the points, evenly chosen, first and last among them.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points;
    }
    (0..MOST_POINTS)
        .map(|i| points[i * (points.len() - 1) / (MOST_POINTS - 1)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_and_keep_their_ends() {
        let points: Vec<_> = (0..5000).map(|i| (f64::from(i), 0.5)).collect();
        let thinned = thin(points);
        assert_eq!(thinned.len(), MOST_POINTS);
        assert_eq!((thinned[0].0, thinned[MOST_POINTS - 1].0), (0.0, 4999.0));
    }

    #[test]
    fn what_the_objective_measures_is_shown_and_the_optimizer_is_not() {
        let step = serde_json::json!({"step": 1, "loss": 0.7, "learningRate": 1e-5, "gradientNorm": 1.0, "margin": 0.0});
        assert_eq!(measures_of(&[step]), ["loss", "margin"]);
    }
}
