//! The model behind the server: renders the conversation, generates, and gives the first token's alternatives where they are asked for.

use std::ops::ControlFlow;
use std::path::Path;

use scalequest_engine::inference::{
    BatchLimits, CounterRng, Engine, Finish, GenerateRequest, Generator, Sampling, Scorer, Segment,
};
use scalequest_engine::model::{ChatMessage, ChatTemplate, Checkpoint, Tokenizer};
use scalequest_engine::ops::Dtype;
use serde_json::{Value, json};

/// A loaded model.
pub(super) struct Model {
    name: String,
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Model {
    /// Loads the model in a folder.
    pub(super) fn load(path: &Path, name: &str) -> Self {
        let checkpoint = Checkpoint::open(path).expect("a model");
        let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
        let template = checkpoint.chat_template(&tokenizer).expect("a template");
        let engine = Engine::load(&checkpoint, Dtype::Bf16).expect("weights");
        Model {
            name: name.to_owned(),
            engine,
            tokenizer,
            template,
        }
    }

    /// The chat completion for a request; an error where the prompt does not fit.
    pub(super) fn answer(&self, request: &Value) -> Result<Value, String> {
        let is_prefix = request.get("prompt").is_some();
        let rendered = match is_prefix {
            true => said(request).to_owned(),
            false => self
                .template
                .render(&[ChatMessage::user(said(request))], true)
                .expect("a conversation"),
        };
        let prompt = self.tokenizer.encode(&rendered).expect("tokens");
        let number = |name: &str| request[name].as_f64();
        let mut stops: Vec<u32> = self.tokenizer.control_tokens().keys().copied().collect();
        stops.extend(self.tokenizer.end_tokens());
        let asked = GenerateRequest {
            id: 0,
            prompt: prompt.clone(),
            sampling: Sampling {
                temperature: number("temperature").unwrap_or(1.0),
                top_p: number("top_p").unwrap_or(1.0),
                top_k: None,
            },
            max_new_tokens: number("max_tokens").unwrap_or(64.0) as usize,
            stop_tokens: stops,
            stop_strings: Vec::new(),
        };
        let seed = request["seed"].as_u64().unwrap_or(0);
        let draw = CounterRng::new(seed, "served");
        let generator = Generator::new(
            &self.engine,
            &self.tokenizer,
            draw,
            BatchLimits::generating(),
        );
        let mut made = generator
            .generate(&[asked], &mut |_| ControlFlow::Continue(()))
            .expect("an answer");
        let made = made.remove(0);
        if made.finish == Finish::PromptTooLong {
            return Err(self.too_long());
        }
        let reason = match made.finish {
            Finish::Stop => "stop",
            _ => "length",
        };
        let logprobs = (request["logprobs"] == true).then(|| self.alternatives(&prompt));
        let mut choice = json!({"index": 0, "finish_reason": reason, "logprobs": logprobs});
        match is_prefix {
            true => choice["text"] = made.text.into(),
            false => choice["message"] = json!({"role": "assistant", "content": made.text}),
        }
        Ok(json!({
            "model": self.name, "choices": [choice],
            "usage": {"prompt_tokens": prompt.len(), "completion_tokens": made.tokens.len(), "total_tokens": prompt.len() + made.tokens.len()},
        }))
    }

    /// Whether it gives a value, and says no text.
    pub(super) fn is_scalar(&self) -> bool {
        self.engine.config().head.is_scalar()
    }

    /// The value of a conversation; an error where it does not fit.
    pub(super) fn pooled(&self, request: &Value) -> Result<Value, String> {
        let words = |index: usize| request["messages"][index]["content"].as_str();
        let said = [
            ChatMessage::user(words(0).unwrap_or_default()),
            ChatMessage::assistant(words(1).unwrap_or_default()),
        ];
        let rendered = self.template.render(&said, false).expect("a conversation");
        let tokens = self.tokenizer.encode(&rendered).expect("tokens");
        let read = tokens.len();
        if read > self.engine.config().max_position_embeddings {
            return Err(self.too_long());
        }
        let scorer = Scorer::new(&self.engine, BatchLimits::scoring());
        let values = scorer
            .scores(&[tokens], &mut |_| ControlFlow::Continue(()))
            .expect("a value");
        Ok(json!({
            "model": self.name, "data": [{"index": 0, "object": "pooling", "data": values}],
            "usage": {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read},
        }))
    }

    fn too_long(&self) -> String {
        let context = self.engine.config().max_position_embeddings;
        format!("This model's maximum context length is {context} tokens")
    }

    /// The twenty likeliest first tokens with their log-probabilities.
    fn alternatives(&self, prompt: &[u32]) -> Value {
        let mut cache = self.engine.new_cache();
        let mut segments = [Segment {
            tokens: prompt,
            cache: &mut cache,
        }];
        let hidden = self
            .engine
            .last_hidden(&mut segments)
            .expect("hidden states");
        let (logits, _) = self.engine.head(&hidden);
        let mut all: Vec<(usize, f64)> = logits[..self.engine.head_width()]
            .iter()
            .map(|logit| f64::from(*logit))
            .enumerate()
            .collect();
        let sum: f64 = all.iter().map(|(_, logit)| logit.exp()).sum();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        let top: Vec<Value> = all[..20]
            .iter()
            .map(|(token, logit)| {
                let text = self.tokenizer.decode(&[*token as u32]).unwrap_or_default();
                json!({"token": text, "logprob": logit - sum.ln()})
            })
            .collect();
        json!({"content": [{"token": top[0]["token"], "logprob": top[0]["logprob"], "top_logprobs": top}]})
    }
}

/// What a request says to the model: a user's words, or the beginning of a text.
pub(super) fn said(request: &Value) -> &str {
    let words = request
        .get("prompt")
        .unwrap_or(&request["messages"][0]["content"]);
    words.as_str().unwrap_or_default()
}
