//! Checks the size of the resolved spec, which the run's record holds beside what happens: a spec that leaves too little of the record is
//! rejected before anything starts.

use super::Validator;

/// Largest spec in bytes, its defaults filled in, as compact JSON: what it leaves of the record is for what happens.
pub const SPEC_MAX_BYTES: usize = 128 * 1024;

impl Validator<'_> {
    /// Checks that the resolved spec has at most [`SPEC_MAX_BYTES`].
    pub(super) fn check_record_size(&mut self) {
        let Ok(value) = serde_json::to_value(self.spec) else {
            return;
        };
        let taken = value.to_string().len();
        if taken <= SPEC_MAX_BYTES {
            return;
        }
        let parts = value.as_object().into_iter().flatten();
        let sizes = parts.map(|(name, part)| (part.to_string().len(), name.as_str()));
        let (size, name) = sizes.max().unwrap_or_default();
        self.error("spec", format!("takes {taken} bytes with its recipe's defaults, at most {SPEC_MAX_BYTES} fit into the run's record: shorten it; the largest part is spec.{name} with {size} bytes"));
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;
    use crate::record::RunRecord;
    use crate::validate::{Environment, validate};

    fn run(prompt: usize) -> String {
        let prompt = "\u{1f642}".repeat(prompt);
        let generators: Vec<String> = (0..8)
            .map(|n| format!("  - {{name: g{n}, model: m, systemPrompt: {prompt}}}\n"))
            .collect();
        let files: Vec<String> = (0..64)
            .map(|n| format!("  - {{path: {}{n}}}\n", "s".repeat(1000)))
            .collect();
        format!(
            "apiVersion: scalequest.dev/v1alpha1\nkind: SynthesisRun\nmetadata: {{name: long}}\nspec:\n  recipe: MathSimple\n  target: {{examples: 10}}\n  models: [{{name: m, source: {{path: m}}}}]\n  seedQuestions:\n{}  generators:\n{}  responses: {{model: m}}\n  workspace: {{path: w}}\n  output: {{path: o}}\n",
            files.concat(),
            generators.concat()
        )
    }

    #[test]
    fn oversized_spec_names_largest_part() {
        let errors = validate(&parse(&run(2048)).unwrap(), Environment::Local).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let message = errors[0].to_string();
        assert!(message.starts_with("spec: takes "), "{message}");
        assert!(
            message.contains("the largest part is spec.generators"),
            "{message}"
        );
    }

    #[test]
    fn accepted_spec_leaves_room() {
        let valid = validate(&parse(&run(1500)).unwrap(), Environment::Local).unwrap();
        let record = RunRecord::new(&valid, Default::default(), Default::default(), 0);
        assert!(record.has_room_for_wave());
    }
}
