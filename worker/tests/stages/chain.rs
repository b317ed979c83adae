//! A whole run, from seed questions through every stage.

use scalequest_crds::protocol::rows::{AcceptedRow, QuestionRow, RejectRow};
use scalequest_crds::protocol::task::{DuplicateParams, StageParams};
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};

use crate::fixture::{Fixture, finish, sampling, trained, training};

#[test]
fn every_stage_completes() {
    let fixture = Fixture::new();
    let params = |model| StageParams::Qft {
        model,
        system_prompt: None,
        seed_questions: fixture.seeds(),
        training: training(),
    };
    let qft = finish(&fixture.task(params(fixture.model("model")), &[], 12));
    assert_eq!(fixture.count(&qft), 12);
    let params = StageParams::Sample {
        model: trained(&qft),
        system_prompt: None,
        sampling: sampling(1.0, 60),
    };
    let sample = finish(&fixture.task(params, &[], 24));
    let sampled = fixture.count(&sample);
    assert!(sampled > 0, "no question ended by itself");
    let params = StageParams::Rewrite {
        model: fixture.model("model"),
        sampling: sampling(1.0, 60),
        domain: Domain::Mathematics,
    };
    let rewrite = finish(&fixture.task(params, &[&sample], sampled));
    let pairs = fixture.count(&rewrite);
    assert!(pairs > 0, "no rewrite was accepted");
    assert_eq!(
        sampled - pairs,
        fixture.rows::<RejectRow>(&rewrite, "rejects").len() as i64
    );
    let params = StageParams::Qpo {
        model: trained(&qft),
        system_prompt: None,
        beta: 0.1,
        training: training(),
    };
    let qpo = finish(&fixture.task(params, &[&rewrite], pairs));

    let (samples, answer_format, domain) = (2, AnswerFormat::Boxed, Domain::Mathematics);
    let params = StageParams::Label {
        model: fixture.model("model"),
        seed_questions: fixture.seeds(),
        samples,
        sampling: sampling(1.0, 8),
        answer_format,
        domain,
    };
    let label = finish(&fixture.task(params, &[], 12));
    assert_eq!(fixture.count(&label), 12);
    let scorer = finish(&fixture.task(
        StageParams::TrainScorer {
            model: fixture.model("model"),
            training: training(),
        },
        &[&label],
        12,
    ));

    let params = StageParams::Generate {
        model: trained(&qpo),
        system_prompt: None,
        sampling: sampling(1.0, 60),
        first_id: 0,
    };
    let generated = finish(&fixture.task(params, &[], 24));
    let generated_rows = fixture.count(&generated);
    let params = StageParams::Filter {
        languages: None,
        contamination: None,
        duplicates: Some(DuplicateParams { similarity: 0.7 }),
    };
    let filter = finish(&fixture.task(params, &[&generated], generated_rows));
    let kept = fixture.count(&filter);
    assert!(kept > 0);
    let params = StageParams::Judge {
        model: fixture.model("model"),
        sampling: sampling(0.0, 8),
        domain,
    };
    let judge = fixture.task(params, &[&filter], kept);
    let judged = finish(&judge);
    assert_eq!(
        kept - fixture.count(&judged),
        fixture.rows::<RejectRow>(&judged, "rejects").len() as i64
    );
    let params = StageParams::Score {
        model: trained(&scorer),
        minimum: 0.0,
        generators: vec!["g".into()],
    };
    let rate = finish(&fixture.task(params, &[&filter], kept));
    let rated: Vec<QuestionRow> = fixture.rows(&rate, "rows");
    assert!(
        rated.len() as i64 == kept
            && rated.iter().all(|row| row
                .difficulty
                .is_some_and(|value| (0.0..=1.0).contains(&value)))
    );
    let params = StageParams::Respond {
        model: fixture.model("model"),
        samples,
        sampling: sampling(1.0, 12),
        answer_format,
        domain,
    };
    let respond = finish(&fixture.task(params, &[&rate], kept));
    let params = StageParams::Reward {
        model: fixture.model("model"),
        domain,
        pooled: false,
    };
    let reward = finish(&fixture.task(params, &[&respond], kept));
    let verify = finish(&fixture.task(
        StageParams::Verify {
            at_least: 1,
            answer_format,
        },
        &[&reward],
        kept,
    ));
    let accepted: Vec<AcceptedRow> = fixture.rows(&verify, "rows");
    let rejects: Vec<RejectRow> = fixture.rows(&verify, "rejects");
    assert_eq!((accepted.len() + rejects.len()) as i64, kept);
    assert!(rejects.iter().all(|row| {
        row.responses.len() == 2
            && row
                .responses
                .iter()
                .all(|response| response.reward.is_some())
    }));
}
