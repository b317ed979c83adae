//! Kubernetes events from the difference between two statuses. Pure.

use kube::runtime::events::{Event, EventType};
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::SynthesisRunStatus;
use scalequest_crds::v1alpha1::conditions::{
    ACCEPTED, COMPLETE, DEGRADED, FAILED, PROGRESSING, SUSPENDED, reason,
};
use scalequest_crds::v1alpha1::status::StageStatus;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Longest note of an event, in characters; the API server takes 1,024 bytes.
const NOTE_MAX: usize = 330;

/// Action of the event that a run is complete.
const COMPLETES: &str = "Complete";

/// Reasons of progress events.
const STAGE_STARTED: &str = "StageStarted";
const STAGE_REUSED: &str = "StageReused";
const WAVE_ENDED: &str = "WaveEnded";
const PUBLISHED: &str = "Published";

/// Reason of the events of a preflight.
const PREFLIGHT_WARNING: &str = "PreflightWarning";

/// Longest action of an event, in characters; the API server takes 128.
const ACTION_MAX: usize = 120;

/// Returns the events of the change from `before` to `after`.
pub fn events(before: &SynthesisRunStatus, after: &SynthesisRunStatus) -> Vec<Event> {
    let mut events: Vec<Event> = after
        .conditions
        .iter()
        .filter_map(|condition| of_condition(&before.conditions, condition))
        .collect();
    for stage in &after.stages {
        let was = before.stages.iter().find(|was| was.id() == stage.id());
        let was = was.map_or("Waiting", |was| was.state.as_str());
        if was != stage.state {
            events.extend(of_stage(stage));
        }
    }
    let accepted = |status: &SynthesisRunStatus| {
        let progress = status.progress.as_ref();
        progress.map(|progress| (progress.accepted, progress.target))
    };
    // The wave that reaches the target has the event of the publication instead.
    if let (Some((was, _)), Some((is, target))) = (accepted(before), accepted(after))
        && is > was
        && is < target
    {
        let note = format!("{is} of {target} pairs are accepted");
        let action = format!("Accept-{is}");
        events.push(event(EventType::Normal, WAVE_ENDED, &action, note));
    }
    let published = after.dataset.as_ref();
    if let Some(dataset) = published.filter(|_| before.dataset != after.dataset) {
        let note = format!("{} pairs are published at {}", dataset.rows, dataset.uri);
        // The event of completion includes the publication.
        match events.iter_mut().find(|event| event.action == COMPLETES) {
            Some(complete) => complete.note = Some(note),
            None => events.push(event(EventType::Normal, PUBLISHED, "Publish", note)),
        }
    }
    events
}

/// Returns the events of the acceptance of a run: what its preflight found that is no error, and notes on its spec.
pub fn preflight_events<'a>(found: impl Iterator<Item = &'a FieldError>) -> Vec<Event> {
    let of = |found: &FieldError| {
        // Events of the same reason and action are aggregated, which would drop all notes but the first.
        let action = format!("Preflight-{}", found.field);
        let action: String = action.chars().take(ACTION_MAX).collect();
        event(
            EventType::Warning,
            PREFLIGHT_WARNING,
            &action,
            found.to_string(),
        )
    };
    found.map(of).collect()
}

/// Whether the event occurs once in a run: that of a stage, a wave, the end.
pub fn is_one_shot(event: &Event) -> bool {
    let once = [
        STAGE_STARTED,
        STAGE_REUSED,
        WAVE_ENDED,
        PUBLISHED,
        PREFLIGHT_WARNING,
    ];
    once.contains(&event.reason.as_str()) || event.action == COMPLETES
}

fn of_condition(before: &[Condition], is: &Condition) -> Option<Event> {
    let was = before.iter().find(|was| was.type_ == is.type_);
    let same = was.is_some_and(|was| {
        was.status == is.status && was.reason == is.reason && was.message == is.message
    });
    if same {
        return None;
    }
    let flipped = was.is_none_or(|was| was.status != is.status);
    let reason_changed = was.is_none_or(|was| was.reason != is.reason);
    let (kind, action) = match (is.type_.as_str(), is.status.as_str()) {
        (ACCEPTED, "True") if was.is_some_and(|was| was.status == "False") => {
            (EventType::Normal, "Accept")
        }
        (ACCEPTED, "False") => (EventType::Warning, "Accept"),
        (SUSPENDED, "True") if flipped => (EventType::Normal, "Suspend"),
        (SUSPENDED, "False") if flipped && was.is_some() => (EventType::Normal, "Resume"),
        (PROGRESSING, "False") if reason_changed && is.reason == reason::MAX_WAVES_REACHED => {
            (EventType::Normal, "Stop")
        }
        (PROGRESSING, "False") if reason_changed && is.reason == "BudgetExhausted" => {
            (EventType::Warning, "Stop")
        }
        (COMPLETE, "True") if flipped => (EventType::Normal, COMPLETES),
        (FAILED, "True") if flipped => (EventType::Warning, "Fail"),
        (DEGRADED, "True") => (EventType::Warning, "Observe"),
        (DEGRADED, "False") if flipped && was.is_some() => (EventType::Normal, "Recover"),
        _ => return None,
    };
    Some(event(kind, &is.reason, action, is.message.clone()))
}

fn of_stage(stage: &StageStatus) -> Option<Event> {
    let name = stage.id().to_string();
    // Events of the same reason and action are aggregated, which would drop all notes but the first.
    let action = name.replace(", ", "-").replace(' ', "-");
    let (reason, note) = match stage.state.as_str() {
        "Running" => {
            let job = stage.job.iter().map(|job| format!(", Job {job}"));
            let job: String = job.collect();
            (
                STAGE_STARTED,
                format!("{name}: {} shards{job}", stage.shards.total),
            )
        }
        "Reused" => (STAGE_REUSED, format!("{name}: reused from the workspace")),
        _ => return None,
    };
    Some(event(EventType::Normal, reason, &action, note))
}

fn event(type_: EventType, reason: &str, action: &str, note: String) -> Event {
    let note = match note.chars().count() > NOTE_MAX {
        true => note.chars().take(NOTE_MAX - 1).chain(['…']).collect(),
        false => note,
    };
    Event {
        type_,
        reason: reason.into(),
        note: Some(note),
        action: action.into(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scalequest_core::status::before_acceptance;
    use scalequest_core::status::conditions::{Acceptance, ConditionInputs};

    fn shown(
        acceptance: Acceptance<'_>,
        suspended: bool,
        before: &SynthesisRunStatus,
    ) -> SynthesisRunStatus {
        let inputs = ConditionInputs {
            acceptance,
            suspended,
            plan: None,
            degradations: &[],
            waiting: None,
        };
        before_acceptance(&inputs, &before.conditions, Some(1), 0)
    }

    #[test]
    fn events_follow_status_changes() {
        let first = shown(
            Acceptance::Validating,
            false,
            &SynthesisRunStatus::default(),
        );
        assert!(events(&SynthesisRunStatus::default(), &first).is_empty());
        assert!(events(&first, &first).is_empty());
        let errors = [FieldError {
            field: "spec.output".into(),
            message: "x".repeat(2000),
        }];
        let refused = shown(Acceptance::Invalid(&errors), false, &first);
        let emitted = events(&first, &refused);
        assert_eq!((emitted.len(), emitted[0].reason.as_str()), (1, "Invalid"));
        assert!(
            emitted[0]
                .note
                .as_ref()
                .is_some_and(|note| note.len() <= 1024)
        );
    }

    #[test]
    fn preflight_warnings_become_events() {
        let found = ["spec.models[0]", "spec.reward"].map(|field| FieldError {
            field: field.into(),
            message: "has no licence".into(),
        });
        let emitted = preflight_events(found.iter());
        assert_eq!(emitted.len(), 2);
        assert_ne!(emitted[0].action, emitted[1].action);
        assert!(emitted.iter().all(is_one_shot));
    }

    #[test]
    fn suspend_and_resume_emit_events() {
        let first = shown(
            Acceptance::Validating,
            false,
            &SynthesisRunStatus::default(),
        );
        let held = shown(Acceptance::Validating, true, &first);
        assert!(
            events(&first, &held)
                .iter()
                .any(|event| event.action == "Suspend")
        );
        let again = shown(Acceptance::Validating, false, &held);
        assert!(
            events(&held, &again)
                .iter()
                .any(|event| event.action == "Resume")
        );
    }
}
