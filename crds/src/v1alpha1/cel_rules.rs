//! The CEL rules of the CRD: what the API server checks beyond types and bounds. Root rules name the field, since their own path is lost.

use kube_core::{Message, Rule};

/// `has(oldSelf...)`: whether the run had been accepted.
const ACCEPTED: &str = "has(oldSelf.status) && has(oldSelf.status.conditions) && oldSelf.status.conditions.exists(c, c.type == 'Accepted' && c.status == 'True')";

fn at(field: &str, rule: Rule) -> Rule {
    Rule {
        field_path: Some(field.into()),
        ..rule
    }
}

/// Exactly one of `members` is set.
pub(super) fn exactly_one(members: &[&str]) -> Rule {
    let all: Vec<String> = members
        .iter()
        .map(|member| format!("has(self.{member})"))
        .collect();
    Rule::new(format!("[{}].filter(x, x).size() == 1", all.join(", "))).message(Message::Message(
        format!("set exactly one of {}", members.join(", ")),
    ))
}

/// `member` is set if and only if the discriminator is `kind`.
pub(super) fn member_of_its_type(member: &str, kind: &str) -> Rule {
    Rule::new(format!("has(self.{member}) == (self.type == '{kind}')")).message(Message::Message(
        format!("{member} is set with type {kind}, and only then"),
    ))
}

/// Job and pod names are derived from the name of the run.
pub(super) fn short_name() -> Rule {
    // Metadata is not part of the schema, so the API server takes no path into it: the message names the field.
    Rule::new("size(self.metadata.name) <= 40").message(
        "metadata.name has at most 40 characters: the names of Jobs and pods are derived from it",
    )
}

/// `spec.<field>` does not change once the run is accepted; an invalid spec can still be fixed.
pub(super) fn fixed_once_accepted(field: &str, is_required: bool) -> Rule {
    let same = if is_required {
        format!("self.spec.{field} == oldSelf.spec.{field}")
    } else {
        format!(
            "has(self.spec.{field}) == has(oldSelf.spec.{field}) && (!has(self.spec.{field}) || self.spec.{field} == oldSelf.spec.{field})"
        )
    };
    at(
        &format!(".spec.{field}"),
        Rule::new(format!("!({ACCEPTED}) || ({same})"))
            .message(Message::Message(format!("spec.{field} cannot change once the run is accepted: create another run with the same workspace, which reuses the stages that did not change"))),
    )
}

/// Accepted pairs are never discarded.
pub(super) fn target_only_grows() -> Rule {
    at(
        ".spec.target.examples",
        // A message that names both numbers would cost more than the API server allows a schema.
        Rule::new(format!(
            "!({ACCEPTED}) || self.spec.target.examples >= oldSelf.spec.target.examples"
        ))
        .message("spec.target.examples may only grow once the run is accepted: accepted pairs are never discarded"),
    )
}

/// A complete run has ended.
pub(super) fn target_rests_once_complete() -> Rule {
    let complete = ACCEPTED.replace("'Accepted'", "'Complete'");
    at(
        ".spec.target.examples",
        Rule::new(format!("!({complete}) || self.spec.target.examples == oldSelf.spec.target.examples"))
            .message("spec.target.examples cannot grow once the run is complete: create another run with the same workspace, which reuses all finished stages"),
    )
}

/// Two controllers must never reconcile the same run.
pub(super) fn managed_by_never_changes() -> Rule {
    at(
        ".spec.managedBy",
        Rule::new("has(self.spec.managedBy) == has(oldSelf.spec.managedBy) && (!has(self.spec.managedBy) || self.spec.managedBy == oldSelf.spec.managedBy)")
            .message("spec.managedBy never changes"),
    )
}

/// The model of every generator is declared.
pub(super) fn every_generator_is_of_a_model() -> Rule {
    at(
        ".generators",
        Rule::new("self.generators.all(g, self.models.exists(m, m.name == g.model))")
            .message("generators: every model must be a name in spec.models"),
    )
}

/// Every rewriter is declared.
pub(super) fn every_rewriter_is_a_model() -> Rule {
    at(
        ".generators",
        Rule::new("self.generators.all(g, !has(g.qpo) || !has(g.qpo.rewriter) || self.models.exists(m, m.name == g.qpo.rewriter))")
            .message("generators: every qpo.rewriter must be a name in spec.models"),
    )
}

/// `spec.<field>` is a declared model, if `is_set` holds.
pub(super) fn refers_to_a_model(field: &str, is_set: &str) -> Rule {
    at(
        &format!(".{field}"),
        Rule::new(format!(
            "!({is_set}) || self.models.exists(m, m.name == self.{field})"
        ))
        .message(Message::Message(format!(
            "{field} must be a name in spec.models"
        ))),
    )
}

/// Difficulty sampling refers to generators that exist.
pub(super) fn difficulty_names_generators() -> Rule {
    at(
        ".filters.difficulty.generators",
        Rule::new(
            "!has(self.filters) || !has(self.filters.difficulty) || !has(self.filters.difficulty.generators) || self.filters.difficulty.generators.all(n, self.generators.exists(g, g.name == n))",
        )
        .message("filters.difficulty.generators: every entry must be a name in spec.generators"),
    )
}

/// A limit on money needs a price.
pub(super) fn cost_has_a_price() -> Rule {
    at(
        ".budget.cost",
        Rule::new(
            "!has(self.budget) || !has(self.budget.cost) || has(self.budget.pricePerGpuHour) || self.models.exists(m, has(m.engine) && has(m.engine.openAI) && has(m.engine.openAI.prices))",
        )
        .message("budget.cost cannot be kept without a price: set budget.pricePerGpuHour as well, or the prices of the endpoints that serve models"),
    )
}
