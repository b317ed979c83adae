//! Model roles: which model a stage uses, by the resolved spec, and what its tokens cost if an endpoint serves it.

use super::{Generator, Model, Prices, ServerEngine, Stage, SynthesisRunSpec};

impl SynthesisRunSpec {
    /// Returns the model that `stage` uses (a training stage: starts from), for `generator` if the stage is per generator. `None` if the
    /// stage has no model, or if its role is not filled.
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
            Stage::TrainScorer | Stage::Score => &difficulty()?.base,
            Stage::Judge => filters?.solvability.as_ref()?.model.as_ref()?,
            Stage::Respond => &self.responses.model,
            Stage::Reward => self.reward.as_ref()?.model.as_ref()?,
            Stage::Filter | Stage::Verify | Stage::Publish => return None,
        };
        self.models.iter().find(|model| model.name == *name)
    }

    /// Returns the server that `stage` starts for its model. Training, and scoring with the trained scorer, need the built-in engine.
    pub fn server_of(&self, stage: Stage, generator: Option<&str>) -> Option<&ServerEngine> {
        let is_built_in = stage.makes_a_model() || stage == Stage::Score;
        let model = self.model_of(stage, generator)?;
        model.own_server().filter(|_| !is_built_in)
    }

    /// Returns the token prices of `stage`, if an endpoint with prices serves its model.
    pub fn token_prices(&self, stage: Stage, generator: Option<&str>) -> Option<&Prices> {
        self.model_of(stage, generator)?.served()?.prices.as_ref()
    }

    /// Returns whether any endpoint has prices.
    pub fn has_token_prices(&self) -> bool {
        let served = self.models.iter().filter_map(Model::served);
        served.into_iter().any(|served| served.prices.is_some())
    }
}
