//! What of a record moves as a run goes on: all but what was fixed at acceptance. A Job carries it while the record itself is not saved, so
//! that the write that makes a Job also makes durable what the Job follows from.

use serde_json::{Map, Value};

use super::{RecordError, RunRecord};

/// What a ledger leaves out: what never changes, and the spec, which only edits change.
const FIXED: [&str; 6] = [
    "version",
    "name",
    "acceptedAtMillis",
    "spec",
    "worker",
    "inspection",
];

/// What no ledger lacks: without these, a record would forget what it holds.
const MOVING: [&str; 4] = ["revision", "waves", "stages", "usage"];

impl RunRecord {
    /// What moves of the record, as JSON: the same record, the same bytes.
    pub fn ledger(&self) -> String {
        let mut fields = self.fields();
        FIXED.iter().for_each(|field| drop(fields.remove(*field)));
        Value::Object(fields).to_string()
    }

    /// The record with all that moves as `ledger` says.
    ///
    /// # Errors
    /// Text that is no ledger.
    pub fn with_ledger(&self, ledger: &str) -> Result<RunRecord, RecordError> {
        let unreadable = |error: serde_json::Error| RecordError::Unreadable(error.to_string());
        let moved: Map<String, Value> = serde_json::from_str(ledger).map_err(unreadable)?;
        if let Some(field) = MOVING.iter().find(|field| !moved.contains_key(**field)) {
            return Err(RecordError::Unreadable(format!("a ledger without {field}")));
        }
        let mut fields = self.fields();
        fields.retain(|field, _| FIXED.contains(&field.as_str()));
        for (field, value) in moved {
            if FIXED.contains(&field.as_str()) {
                return Err(RecordError::Unreadable(format!("a ledger with {field}")));
            }
            fields.insert(field, value);
        }
        serde_json::from_value(Value::Object(fields)).map_err(unreadable)
    }

    /// Whether a ledger tells all in which the record differs from `saved`.
    pub fn differs_by_ledger(&self, saved: &RunRecord) -> bool {
        self.version == saved.version
            && self.name == saved.name
            && self.accepted_at_millis == saved.accepted_at_millis
            && self.spec == saved.spec
            && self.worker == saved.worker
            && self.inspection == saved.inspection
    }

    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::simulation::{Imagined, accepted, run};
    use crate::record::RunRecord;

    fn saved() -> RunRecord {
        accepted(&run(&Imagined::default()))
    }

    #[test]
    fn a_ledger_says_all_but_what_is_fixed() {
        let saved = saved();
        let mut record = saved.clone();
        record.revision = 7;
        record.given_up_total = 3;
        let ledger = record.ledger();
        assert!(!ledger.contains("\"spec\"") && ledger.len() < record.to_json().len());
        assert_eq!(saved.with_ledger(&ledger), Ok(record.clone()));
        assert!(record.differs_by_ledger(&saved));
        record.spec.suspend = !record.spec.suspend;
        assert!(!record.differs_by_ledger(&saved));
    }

    #[test]
    fn what_is_no_ledger_is_refused() {
        let saved = saved();
        for text in [
            "",
            "[]",
            "{\"revision\": 9}",
            "{\"more\": 1}",
            "{\"spec\": {}}",
        ] {
            assert!(saved.with_ledger(text).is_err(), "{text}");
        }
    }
}
