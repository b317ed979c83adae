//! The chart's role, verb by verb, and roles like it with fewer.

use std::collections::BTreeSet;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::PostParams;
use scalequest_tests::kubernetes::api_proxy::Call;
use scalequest_tests::kubernetes::namespace::eventually;
use scalequest_tests::kubernetes::product::chart;
use scalequest_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};

/// One verb on one resource, and the names it is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub verb: String,
    group: String,
    pub resource: String,
    pub names: Vec<String>,
}

impl Right {
    pub fn rule(&self) -> Value {
        let mut rule =
            json!({"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]});
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }

    fn attributes(&self, namespace: &str) -> Value {
        let (resource, subresource) = self
            .resource
            .split_once('/')
            .unwrap_or((&self.resource, ""));
        json!({
            "namespace": namespace, "verb": self.verb, "group": self.group,
            "resource": resource, "subresource": subresource,
        })
    }

    /// What is refused without it. An owner's finalizers are never written: whoever may not is refused to make an object that blocks its
    /// owner's deletion, as records and Jobs do.
    pub fn is_needed_for(&self, call: &Call) -> bool {
        match self.resource.as_str() {
            "synthesisruns/finalizers" => {
                call.verb == "create" && matches!(call.resource.as_str(), "configmaps" | "jobs")
            }
            _ => self.is_used_by(call),
        }
    }

    fn is_used_by(&self, call: &Call) -> bool {
        (call.verb, &call.group, &call.resource)
            == (self.verb.as_str(), &self.group, &self.resource)
    }
}

/// Every right of the operator in one namespace, as the chart gives it.
pub fn rights(cluster: &Cluster) -> BTreeSet<Right> {
    let rendered = cluster
        .helm(&[
            "template",
            "release",
            &chart(),
            "--show-only",
            "templates/rbac.yaml",
            "--set",
            "watchNamespaces={watched},fullnameOverride=lease",
        ])
        .exits_with(0);
    let documents = rendered.stdout.split("\n---");
    let documents = documents.filter_map(|text| serde_saphyr::from_str::<Value>(text).ok());
    let mut rights = BTreeSet::new();
    for role in documents.filter(|document| document["kind"] == "Role") {
        let role: Role = serde_json::from_value(role).expect("a Role");
        for rule in role.rules.into_iter().flatten() {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    rights.extend(rule.verbs.iter().map(|verb| Right {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        names: rule.resource_names.clone().unwrap_or_default(),
                    }));
                }
            }
        }
    }
    rights
}

/// Gives a user these rights in a namespace, and waits until they are in force.
pub async fn grant(space: &Namespace, user: &str, rights: &BTreeSet<&Right>) {
    let rules: Vec<Value> = rights.iter().map(|right| right.rule()).collect();
    space
        .create::<Role>(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "operator"}, "rules": rules,
        }))
        .await;
    space
        .create::<RoleBinding>(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }))
        .await;
    // The API server learns of a Role and its binding by watching them, a moment later.
    let any = rights.iter().find(|right| right.names.is_empty());
    let any = any.expect("a right that is bound to no name");
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {"user": user, "resourceAttributes": any.attributes(space.name())},
    });
    let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
    let reviews: Api<SubjectAccessReview> = Api::all(space.client());
    eventually("rights that are in force", || async {
        let answer = reviews.create(&PostParams::default(), &review).await.ok()?;
        answer.status?.allowed.then_some(())
    })
    .await;
}
