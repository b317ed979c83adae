//! What only a cluster uses: checked there, reported as not used on one machine.

use std::collections::BTreeMap;

use scalequest_crds::v1alpha1::{Stage, SynthesisRunSpec};

use super::Validator;

impl Validator<'_> {
    /// Checks the pods and names what this environment does not use.
    pub(super) fn check_pods(&mut self) {
        let spec = self.spec;
        let mut owners: BTreeMap<Stage, &str> = BTreeMap::new();
        for (index, pods) in spec.pods.iter().enumerate() {
            for stage in &pods.stages {
                if let Some(other) = owners.insert(*stage, &pods.name) {
                    self.error(
                        format!("spec.pods[{index}].stages"),
                        format!(
                            "{stage:?} is named by `{other}` and by `{}`: a stage belongs to one entry",
                            pods.name
                        ),
                    );
                }
                if is_served(spec, *stage) {
                    continue;
                }
                let limits = pods.resources.iter();
                let limits = limits.flat_map(|resources| &resources.limits);
                for (name, count) in limits.filter(|(name, _)| name.ends_with("/gpu")) {
                    if count.whole().is_some_and(|count| count > 1) {
                        self.error(
                            format!("spec.pods[{index}].resources.limits[{name}]"),
                            format!("{count} GPUs for {stage:?}: a worker uses one, ask for 1 and raise parallelism"),
                        );
                    }
                }
            }
        }
        if !self.is_local() {
            return;
        }
        let members = [
            ("queueName", spec.queue_name.is_some()),
            ("managedBy", spec.managed_by.is_some()),
            ("priorityClassName", spec.priority_class_name.is_some()),
            ("serviceAccountName", spec.service_account_name.is_some()),
            (
                "ttlSecondsAfterFinished",
                spec.ttl_seconds_after_finished.is_some(),
            ),
            ("pods", !spec.pods.is_empty()),
        ];
        for (name, _) in members.iter().filter(|(_, is_set)| *is_set) {
            self.note(format!("spec.{name}"), "is not used on one machine");
        }
    }
}

/// Whether whoever computes in the stage's pods is a server, which may use several GPUs: for every generator that the stage is of.
fn is_served(spec: &SynthesisRunSpec, stage: Stage) -> bool {
    let of = |generator: Option<&str>| {
        let served = spec.server_of(stage, generator);
        spec.model_of(stage, generator).map(|_| served.is_some())
    };
    let generators = spec.generators.iter().map(|each| of(Some(&each.name)));
    let all: Vec<bool> = generators.flatten().collect();
    !all.is_empty() && all.into_iter().all(|is_served| is_served)
}
