//! Which model plays in which stage, by the resolved spec, and what its tokens cost where an endpoint serves it.

use super::{Generator, Model, Prices, ServerEngine, Stage, SynthesisRunSpec};

impl SynthesisRunSpec {
    /// The model that `stage` uses (a training stage: starts from), for `generator` where the stage is per generator; none for stages without
    /// a model, or whose part is not filled.
    pub fn model_of(&self, stage: Stage, generator: Option<&str>) -> Option<&Model> {
        let own = || -> Option<&Generator> {
            self.generators
                .iter()
                .find(|each| Some(each.name.as_str()) == generator)
        };
        let filters = self.filters.as_ref();
        let difficulty = || filters?.difficulty.as_ref();
        let name = match stage {
            Stage::Qft | Stage::Qpo | Stage::Sample | Stage::Generate => &own()?.model,
            Stage::Rewrite => own()?.qpo.as_ref()?.rewriter.as_ref()?,
            Stage::Label => &difficulty()?.solver,
            Stage::Scorer | Stage::Rate => &difficulty()?.base,
            Stage::Judge => filters?.solvability.as_ref()?.model.as_ref()?,
            Stage::Respond => &self.responses.model,
            Stage::Reward => self.reward.as_ref()?.model.as_ref()?,
            Stage::Filter | Stage::Verify | Stage::Publish => return None,
        };
        self.models.iter().find(|model| model.name == *name)
    }

    /// The server that `stage` starts for its model. What trains, and the scorer that was trained, needs the built-in engine.
    pub fn server_of(&self, stage: Stage, generator: Option<&str>) -> Option<&ServerEngine> {
        let is_built_in = stage.makes_a_model() || stage == Stage::Rate;
        let model = self.model_of(stage, generator)?;
        model.own_server().filter(|_| !is_built_in)
    }

    /// What the tokens of `stage` cost, where an endpoint with prices serves its model.
    pub fn token_prices(&self, stage: Stage, generator: Option<&str>) -> Option<&Prices> {
        self.model_of(stage, generator)?.served()?.prices.as_ref()
    }

    /// Whether any endpoint has prices.
    pub fn has_token_prices(&self) -> bool {
        let served = self.models.iter().filter_map(Model::served);
        served.into_iter().any(|served| served.prices.is_some())
    }
}
