//! A SynthesisRun as the watch observes it. One that this version cannot decode is a value too, not an error of the watch, so that it stops no
//! other run. The status is never needed for a decision: one that does not decode is empty, but for its conditions.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use scalequest_core::parse::check_schema;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunStatus};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A run of the API server.
#[derive(Clone, Debug)]
pub enum WatchedRun {
    /// A run whose spec this version decodes.
    Decoded(Box<SynthesisRun>),
    /// A run whose spec it does not.
    Undecodable(Box<UndecodableRun>),
}

/// A run whose spec does not decode.
#[derive(Clone, Debug, PartialEq)]
pub struct UndecodableRun {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// `spec.managedBy`, if it is a string.
    pub managed_by: Option<String>,
    /// `spec.suspend`, if it is a boolean.
    pub is_suspended: bool,
    /// Every field that does not decode.
    pub errors: Vec<FieldError>,
    /// Its status as the API server has it.
    pub status: Value,
}

impl UndecodableRun {
    /// Returns the conditions of its status.
    pub fn conditions(&self) -> Vec<Condition> {
        conditions(&self.status)
    }
}

fn conditions(status: &Value) -> Vec<Condition> {
    serde_json::from_value(status["conditions"].clone()).unwrap_or_default()
}

impl WatchedRun {
    /// Returns `spec.managedBy`.
    pub fn managed_by(&self) -> Option<&str> {
        match self {
            WatchedRun::Decoded(run) => run.spec.managed_by.as_deref(),
            WatchedRun::Undecodable(run) => run.managed_by.as_deref(),
        }
    }

    /// Returns the run if it is decoded.
    pub fn decoded(&self) -> Option<&SynthesisRun> {
        match self {
            WatchedRun::Decoded(run) => Some(run),
            WatchedRun::Undecodable(_) => None,
        }
    }

    fn decode(mut object: Value) -> Result<WatchedRun, serde_json::Error> {
        let status = object["status"].take();
        let members = object.as_object_mut();
        drop(members.map(|members| members.shift_remove("status")));
        match SynthesisRun::deserialize(&object) {
            Ok(mut run) => {
                if !status.is_null() {
                    let lenient = |_| SynthesisRunStatus {
                        conditions: conditions(&status),
                        ..SynthesisRunStatus::default()
                    };
                    let decoded = SynthesisRunStatus::deserialize(&status);
                    run.status = Some(decoded.unwrap_or_else(lenient));
                }
                Ok(WatchedRun::Decoded(Box::new(run)))
            }
            Err(error) => {
                let mut errors = check_schema(&object);
                if errors.is_empty() {
                    errors.push(FieldError {
                        field: "spec".into(),
                        message: error.to_string(),
                    });
                }
                Ok(WatchedRun::Undecodable(Box::new(UndecodableRun {
                    metadata: ObjectMeta::deserialize(&object["metadata"])?,
                    managed_by: object["spec"]["managedBy"].as_str().map(String::from),
                    is_suspended: object["spec"]["suspend"] == true,
                    errors,
                    status,
                })))
            }
        }
    }
}

impl<'de> Deserialize<'de> for WatchedRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WatchedRun::decode(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Resource for WatchedRun {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        SynthesisRun::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        SynthesisRun::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        SynthesisRun::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        SynthesisRun::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            WatchedRun::Decoded(run) => &run.metadata,
            WatchedRun::Undecodable(run) => &run.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            WatchedRun::Decoded(run) => &mut run.metadata,
            WatchedRun::Undecodable(run) => &mut run.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Returns a run of the API server with one value changed.
    fn watched(pointer: &str, value: Value) -> WatchedRun {
        let run = crate::decide::tests::fake_cluster::run("  queueName: q");
        let mut object = serde_json::to_value(run).unwrap();
        object["status"] = json!({"conditions": [{
            "type": "Accepted",
            "status": "True",
            "reason": "Valid",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
        *object.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value(object).expect("every object decodes")
    }

    #[test]
    fn undecodable_spec_is_a_value() {
        let WatchedRun::Undecodable(run) = watched("/spec/queueName", json!(7)) else {
            panic!("a number is no queue");
        };
        let fields: Vec<&str> = run
            .errors
            .iter()
            .map(|error| error.field.as_str())
            .collect();
        assert_eq!(fields, ["spec.queueName"]);
        assert_eq!(run.metadata.name.as_deref(), Some("math"));
        assert_eq!(run.conditions()[0].type_, "Accepted");
    }

    #[test]
    fn unknown_field_is_named() {
        let WatchedRun::Undecodable(run) = watched("/spec/target", json!({"exemples": 3})) else {
            panic!("a field of another version");
        };
        assert!(
            run.errors
                .iter()
                .any(|error| error.field == "spec.target.exemples")
        );
    }

    #[test]
    fn undecodable_status_leaves_conditions() {
        let status = json!({"phase": 3, "conditions": [{
            "type": "Accepted",
            "status": "True",
            "reason": "Valid",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
        let run = watched("/status", status);
        let status = run.decoded().unwrap().status.clone().unwrap();
        assert_eq!((status.conditions.len(), status.phase), (1, None));
        let none = watched("/status", json!([1]));
        assert!(none.decoded().unwrap().status.is_some());
    }
}
