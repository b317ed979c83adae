//! The prompt for the judge of solvability (paper, section 3.3: reasons first, then Yes or No).

use scalequest_crds::v1alpha1::Domain;

/// Returns the judge's prompt for `question`.
pub fn judge_prompt(question: &str, domain: Domain) -> String {
    let (kind, checks) = match domain {
        Domain::Mathematics => (
            "mathematics problem",
            "Does it state everything that is needed? Are its conditions free of contradictions? Does it ask for one definite answer?",
        ),
        Domain::Programming => (
            "programming task",
            "Is it clear what the program must do? Does it describe its input and result well enough to write the program? Are its requirements free of contradictions?",
        ),
    };
    format!(
        "Decide whether the following {kind} can be solved as it is written.\n\n\
         Problem:\n{question}\n\n\
         {checks} Do not solve the problem. First give your reasons in one or two sentences. Then, on the last line, write \
         \"Verdict: Yes\" or \"Verdict: No\"."
    )
}
