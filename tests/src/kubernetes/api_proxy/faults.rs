//! What goes wrong between a client and the API server. Whether and what is drawn from the seed, the kind of request or event, and which of
//! its kind it is: the same seed disturbs the same requests, however fast they come.

use scalequest_crds::digest::sha256_hex;

use super::call::Call;

/// A plan of what goes wrong. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The seed.
    pub seed: u64,
    /// Percent of writes that go wrong.
    pub writes: u64,
    /// Percent of lists and reads that go wrong.
    pub reads: u64,
    /// Percent of watch events that go wrong.
    pub events: u64,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not done, and answered with this status.
    Refused(u16),
    /// It is done, and its answer lost.
    AnswerLost,
}

/// What goes wrong with an event of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventFault {
    /// It never comes.
    Dropped,
    /// It comes twice.
    Doubled,
    /// It comes after the one behind it.
    Late,
    /// It never comes, and the watch ends.
    Ended,
    /// It never comes: what it follows is too old (410).
    TooOld,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Refused(409) => "answered 409",
            Fault::Refused(429) => "answered 429",
            Fault::Refused(_) => "answered 500",
            Fault::AnswerLost => "answer lost",
        }
    }
}

impl EventFault {
    pub(super) fn name(self) -> &'static str {
        match self {
            EventFault::Dropped => "event dropped",
            EventFault::Doubled => "event doubled",
            EventFault::Late => "event late",
            EventFault::Ended => "watch ended",
            EventFault::TooOld => "watch too old",
        }
    }
}

impl Faults {
    /// What goes wrong with the `nth` request of its kind.
    pub(super) fn of_request(&self, call: &Call, nth: u64) -> Option<Fault> {
        let percent = match call.is_write() {
            true => self.writes,
            false => self.reads,
        };
        let kinds: &[Fault] = match call.verb {
            "watch" | "list" | "get" => &[Fault::Refused(429), Fault::Refused(500)],
            _ => &[
                Fault::Refused(409),
                Fault::Refused(429),
                Fault::Refused(500),
                Fault::AnswerLost,
                Fault::AnswerLost,
            ],
        };
        let drawn = self.draw(&format!("{call:?}"), nth, percent)?;
        Some(kinds[drawn % kinds.len()])
    }

    /// What goes wrong with the `nth` event of a kind.
    pub(super) fn of_event(&self, resource: &str, nth: u64) -> Option<EventFault> {
        const KINDS: [EventFault; 5] = [
            EventFault::Dropped,
            EventFault::Doubled,
            EventFault::Late,
            EventFault::Ended,
            EventFault::TooOld,
        ];
        let drawn = self.draw(&format!("event {resource}"), nth, self.events)?;
        Some(KINDS[drawn % KINDS.len()])
    }

    /// A number for one of `percent` in a hundred, none for the rest.
    fn draw(&self, what: &str, nth: u64, percent: u64) -> Option<usize> {
        let hash = sha256_hex(format!("{} {what} {nth}", self.seed).as_bytes());
        let number = |at: usize| u64::from_str_radix(&hash[at..at + 8], 16).unwrap_or(0);
        (number(0) % 100 < percent).then(|| usize::try_from(number(8)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn faults_are_deterministic_by_seed() {
        let faults = Faults {
            seed: 1,
            writes: 30,
            reads: 10,
            events: 20,
        };
        let call = Call {
            verb: "create",
            group: "batch".into(),
            resource: "jobs".into(),
        };
        let drawn: Vec<_> = (0..1000).map(|nth| faults.of_request(&call, nth)).collect();
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for fault in drawn.iter().flatten() {
            *kinds.entry(fault.name()).or_default() += 1;
        }
        assert_eq!(kinds.len(), 4, "{kinds:?}");
        assert!((250..350).contains(&kinds.values().sum::<usize>()));
        let again: Vec<_> = (0..1000).map(|nth| faults.of_request(&call, nth)).collect();
        assert_eq!(drawn, again);
        let events = (0..1000).filter_map(|nth| faults.of_event("jobs", nth));
        assert!((150..250).contains(&events.count()));
        assert_eq!(Faults::default().of_request(&call, 3), None);
    }
}
