//! Which parts a model plays in a run, and so what it must be able to do. Pure.

use scalequest_crds::v1alpha1::SynthesisRunSpec;

/// What the parts of a model ask of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A conversation is rendered for it: the part that asks for that first.
    pub chat: Option<&'static str>,
    /// Questions are drawn after its bare question prefix, with these system prompts.
    pub prefixes: Vec<Option<String>>,
    /// It says text: the part that asks for that first.
    pub speaks: Option<&'static str>,
    /// It scores responses.
    pub rewards: bool,
}

/// What the run asks of the model called `name`.
pub fn needs(spec: &SynthesisRunSpec, name: &str) -> Needs {
    let mut needs = Needs::default();
    for generator in spec
        .generators
        .iter()
        .filter(|generator| generator.model == name)
    {
        needs.prefixes.push(generator.system_prompt.clone());
        needs.speaks.get_or_insert("a generator");
        needs.chat.get_or_insert("a generator");
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
    let speaking = [
        (rewrites, "the rewriter"),
        (is(judge), "the judge"),
        (is(solver), "the solver"),
        (spec.responses.model == name, "the responder"),
    ];
    for (_, part) in speaking.into_iter().filter(|(plays, _)| *plays) {
        needs.speaks.get_or_insert(part);
        needs.chat.get_or_insert(part);
    }
    if is(spec
        .reward
        .as_ref()
        .and_then(|reward| reward.model.as_ref()))
    {
        needs.chat.get_or_insert("the reward model");
        needs.rewards = true;
    }
    needs
}
