//! The roles of a model in a run and the capabilities that they require. Pure.

use scalequest_crds::v1alpha1::SynthesisRunSpec;

/// The capabilities that a run requires of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The first role that needs a chat template.
    pub chat: Option<&'static str>,
    /// System prompts with which questions are sampled after the model's bare question prefix.
    pub system_prompts: Vec<Option<String>>,
    /// The first role that generates text.
    pub generation: Option<&'static str>,
    /// Whether it scores responses.
    pub scoring: bool,
}

/// Returns what the run requires of the model called `name`.
pub fn requirements(spec: &SynthesisRunSpec, name: &str) -> Requirements {
    let mut required = Requirements::default();
    for generator in spec
        .generators
        .iter()
        .filter(|generator| generator.model == name)
    {
        required
            .system_prompts
            .push(generator.system_prompt.clone());
        required.generation.get_or_insert("a generator");
        required.chat.get_or_insert("a generator");
    }
    let is = |model: Option<&String>| model.is_some_and(|model| model == name);
    let filters = spec.filters.as_ref();
    let judge = filters
        .and_then(|filters| filters.solvability.as_ref())
        .and_then(|judge| judge.model.as_ref());
    let solver = filters
        .and_then(|filters| filters.difficulty.as_ref())
        .map(|difficulty| &difficulty.solver);
    let rewrites = spec
        .generators
        .iter()
        .any(|generator| is(generator.qpo.as_ref().and_then(|qpo| qpo.rewriter.as_ref())));
    let generating = [
        (rewrites, "the rewriter"),
        (is(judge), "the judge"),
        (is(solver), "the solver"),
        (spec.responses.model == name, "the responder"),
    ];
    for (_, role) in generating.into_iter().filter(|(is_used, _)| *is_used) {
        required.generation.get_or_insert(role);
        required.chat.get_or_insert(role);
    }
    if is(spec
        .reward
        .as_ref()
        .and_then(|reward| reward.model.as_ref()))
    {
        required.chat.get_or_insert("the reward model");
        required.scoring = true;
    }
    required
}
