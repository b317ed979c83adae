//! Content keys: a stage's output is stored under the hash of everything that decides its bytes, so that runs that share a workspace reuse
//! finished work and never mistake one output for another.

use serde::Serialize;
use serde_json::Value;

use super::task::StageTask;
use crate::digest::sha256_hex;
use crate::v1alpha1::Stage;

/// Computes the content key of `task`, whatever its `key` says: [`content_key`] of what decides its bytes. If rows carry the names of their
/// generator and wave (Sample, Generate), the key covers those too; later stages have them by the digests of their inputs. The key of a
/// publication covers its location, since its output is there, but not its costs, which decide no data file.
pub fn task_key(task: &StageTask) -> String {
    let mut params = serde_json::to_value(&task.params).unwrap_or(Value::Null);
    let publication = params
        .pointer_mut("/publish/publication")
        .and_then(Value::as_object_mut);
    let published_to = publication.and_then(|publication| {
        publication.shift_remove("costs");
        publication.get("location").cloned()
    });
    let rows_name_them = matches!(task.id.stage, Stage::Sample | Stage::Generate);
    let addressed = serde_json::json!({
        "params": params,
        "generator": task.id.generator.as_ref().filter(|_| rows_name_them),
        "wave": task.id.wave.filter(|_| rows_name_them),
        "publishedTo": published_to,
    });
    let digests: Vec<String> = task
        .inputs
        .iter()
        .map(|input| input.digest.clone())
        .collect();
    content_key(task.id.stage, task.seed, task.rows, &addressed, &digests)
}

/// Computes the content key of a stage: the hash of stage, stage version, seed, number of rows, parameters and the digests of its inputs in
/// order. Members named `location` and `checkpointSteps` are left out of `params`: neither the place of an input nor the number of
/// checkpoints changes a byte of the output.
pub fn content_key(
    stage: Stage,
    seed: i64,
    rows: i64,
    params: &impl Serialize,
    input_digests: &[String],
) -> String {
    let mut params = serde_json::to_value(params).unwrap_or(Value::Null);
    strip_locations(&mut params);
    let value = serde_json::json!({
        "stage": stage.slug(), "version": stage.version(), "seed": seed, "rows": rows, "params": params, "inputs": input_digests,
    });
    sha256_hex(canonical(&value).as_bytes())
}

/// Returns JSON with the members of every object in order of their names, and no white space.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_by(|a, b| a.0.cmp(b.0));
            let body: Vec<_> = names
                .iter()
                .map(|(name, v)| format!("{}:{}", Value::String((*name).clone()), canonical(v)))
                .collect();
            format!("{{{}}}", body.join(","))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(canonical).collect::<Vec<_>>().join(",")
        ),
        other => other.to_string(),
    }
}

fn strip_locations(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.shift_remove("location");
            members.shift_remove("checkpointSteps");
            members.values_mut().for_each(strip_locations);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_locations),
        _ => {}
    }
}
