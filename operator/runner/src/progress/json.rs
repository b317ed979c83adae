//! Events for machines: one JSON object a line on standard error, each with its time.

use std::io::Write;

use serde::Serialize;

use super::{Display, Event};

/// Writes JSON lines to standard error.
pub struct Json;

#[derive(Serialize)]
struct Line<'a> {
    time: jiff::Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

impl Display for Json {
    fn show(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(&Line {
            time: jiff::Timestamp::now(),
            event,
        }) {
            // If nobody reads any more, the run continues all the same.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scalequest_crds::v1alpha1::{Stage, StageId};

    #[test]
    fn event_is_flat_object() {
        let name = StageId::in_wave(Stage::Judge, 2);
        let event = Event::StageStarted {
            name,
            rows: 5,
            shards: 1,
        };
        let line = Line {
            time: jiff::Timestamp::UNIX_EPOCH,
            event: &event,
        };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(
            json,
            r#"{"time":"1970-01-01T00:00:00Z","event":"stageStarted","stage":"Judge","wave":2,"rows":5,"shards":1}"#
        );
    }
}
