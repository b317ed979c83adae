//! Every kind of error that reading and validating a spec can find, told by the words that no other kind has.

use scalequest_crds::protocol::preflight::FieldError;

/// A kind of error: the field it is at, as far as that matters, and words of its message.
pub struct FaultKind {
    /// End of the field's path, without indices; empty: any.
    field: &'static str,
    /// Words of the message.
    words: &'static str,
}

const fn kind(field: &'static str, words: &'static str) -> FaultKind {
    FaultKind { field, words }
}

/// All kinds, those that say more first. A size over 1 MiB, and a default that a recipe does not have, cannot come of
/// changing these specs.
pub const KINDS: &[FaultKind] = &[
    // Of the text.
    kind("", "is no valid YAML"),
    kind("(document)", "is empty: write a SynthesisRun"),
    kind("(document)", "documents: a file describes one run"),
    kind("(document)", "not a SynthesisRun"),
    // Of the form.
    kind("apiVersion", "is missing: write"),
    kind("kind", "is missing: write"),
    kind("apiVersion", ", not scalequest.dev/v1alpha1"),
    kind("kind", ", not SynthesisRun"),
    kind("metadata", "is missing: a run needs a name, write"),
    kind("metadata.name", "is missing: a run needs a name"),
    kind("metadata.name", ", not a text"),
    kind("", "is no field of metadata"),
    kind("", "is no field of a SynthesisRun"),
    kind("", ", which does not fit: "),
    kind("status", "the operator writes it"),
    kind("", "is an unknown field"),
    kind("", "is no name: use lower-case letters"),
    kind("", "is empty: write {} for its defaults"),
    kind("", "is empty: set a value"),
    kind("", ", not true or false"),
    kind("", ", not a mapping of fields"),
    kind("", ", not a list"),
    kind("", ", not a text"),
    kind("", ", not a whole number or a quantity"),
    kind("", ", not a whole number: put it in quotes"),
    kind("", "is no quantity such as"),
    kind("", ", not a whole number"),
    kind("", ", not a number"),
    kind("", ".0: write "),
    kind("", "it must be at least"),
    kind("", " is none of "),
    kind("", "is no decimal number such as"),
    kind("", "is no commit: write its 40 hex digits"),
    kind("", "is no currency code"),
    kind("", "is no language code"),
    kind("", "needed"),
    kind("", "are allowed"),
    // Of the sense: names.
    kind("", "is no model of this spec"),
    kind("", "is no generator of this spec"),
    kind("", "is declared twice"),
    kind("", "is no language that the filter can distinguish"),
    // Models.
    kind("engine.server", "is set, but the engine's type is"),
    kind("engine.openAI", "is set, but the engine's type is"),
    kind("", "is missing: an engine of type"),
    kind("", "is served by an endpoint"),
    kind("source", "is set, but an endpoint serves the model"),
    kind("baseUrl", "is no http or https URL"),
    kind("baseUrl", "holds a user name or password"),
    kind("baseUrl", "has a query or a fragment"),
    kind("baseUrl", "is no URL ("),
    kind("engine.server.image", "is missing: in a cluster"),
    kind("engine.server.command", "does not hold"),
    kind("source", "is missing: say where the weights are"),
    kind(
        "source",
        "set exactly one of hub, path, uri, claim and image",
    ),
    kind("", "exists in a cluster only"),
    kind("source.hub.repo", "is no repository of the hub"),
    kind("source.hub.file", "is no GGUF file in the repository"),
    kind("", "is a path of one machine"),
    // Places.
    kind("", "places: set exactly one of path, uri and claim"),
    kind("", "is a persistent volume claim"),
    kind("", "is a directory of one machine"),
    kind("", "is the same place as spec.workspace"),
    kind("", "files: set exactly one of path, uri and claim"),
    kind("", "is a file in a persistent volume claim"),
    kind("", "is a file of one machine"),
    kind("", "is no object store URI"),
    kind("claim.subPath", "leaves the claim"),
    kind("claim.name", "is no name of a claim"),
    kind("stores.prefix", "begins no object store URI"),
    kind("stores.prefix", "is a second store of the kind"),
    kind("stores.caConfigMap", "differs from that of"),
    // Pods.
    kind("", "a stage belongs to one entry"),
    kind("", "a worker uses one"),
    // Amounts.
    kind("budget.cost", "is no amount of money"),
    kind("budget.pricePerGpuHour", "is no amount of money"),
    kind("budget.cost", "cannot be kept without a price"),
    kind("generators", "every generator has weight 0"),
    kind("", "responses can never agree"),
    kind("benchmarks", "is empty: name the benchmarks"),
    kind(
        "filters.difficulty",
        "needs seed questions with known answers",
    ),
    kind("", "0 draws the same question"),
    kind("", "0 draws the same response"),
    kind("qpo.epochs", "0 would train nothing"),
    kind("spec", "fit into the run's record"),
    // The form again, where nothing more can be said.
    kind("", "is missing"),
];

/// The number of the kind that an error is of.
pub fn kind_of(error: &FieldError) -> Option<usize> {
    let field: String = {
        let mut inside = 0_u32;
        error
            .field
            .chars()
            .filter(|c| {
                inside += u32::from(*c == '[');
                let keep = inside == 0;
                inside -= u32::from(*c == ']' && inside > 0);
                keep
            })
            .collect()
    };
    KINDS
        .iter()
        .position(|kind| field.ends_with(kind.field) && error.message.contains(kind.words))
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` at `{}`", self.words, self.field)
    }
}
