//! Packing changes what is computed together, and nothing else.

use crate::model::Architecture;
use crate::ops::TrainingBackend;
use crate::ops::cpu::PackedType;
use crate::training::Objective;
use crate::training::batch::{Example, log_probabilities};
use crate::training::fixtures::{adapted, config, full, parameters, questions};
use crate::training::micro_batches::micro_batches;
use crate::training::rng::KeyedRng;
use crate::training::{DpoObjective, SftObjective, TrainingError, evaluate};

#[test]
fn packed_equals_alone() {
    for architecture in Architecture::ALL {
        let model = full(architecture);
        let examples = questions(7);
        let together: Vec<Vec<&Example>> = vec![
            vec![&examples[0], &examples[1], &examples[2]],
            vec![&examples[3]],
            vec![&examples[4], &examples[5]],
        ];
        let packed = log_probabilities(model.decoder(), &together)
            .unwrap()
            .sums()
            .unwrap();
        for (index, packed) in packed.to_vec1::<f32>().unwrap().into_iter().enumerate() {
            let alone = log_probabilities(model.decoder(), &[vec![&examples[index]]])
                .unwrap()
                .sums()
                .unwrap();
            let alone = alone.to_vec1::<f32>().unwrap()[0];
            assert!(
                (packed - alone).abs() < 1e-4 * alone.abs(),
                "{packed} packed, {alone} alone"
            );
        }
    }
}

#[test]
fn epoch_has_every_token_once() {
    let objective = SftObjective::new(questions(40), 24).unwrap();
    let units = objective.units(&mut KeyedRng::new(1, "epoch", 0));
    let mut indices = units.concat();
    indices.sort_unstable();
    assert_eq!(indices, (0..40).collect::<Vec<_>>());
    let weight: f64 = units.iter().map(|unit| objective.weight(unit)).sum();
    let expected: usize = questions(40)
        .iter()
        .map(|example| example.loss_range().len())
        .sum();
    assert_eq!(weight, expected as f64);
    assert_eq!(
        micro_batches(&objective, &units).concat().concat(),
        units.concat(),
        "order is kept"
    );
    assert_ne!(
        units,
        objective.units(&mut KeyedRng::new(1, "epoch", 1)),
        "epochs differ"
    );
}

#[test]
fn mean_loss_ignores_row_length() {
    let model = full(Architecture::Llama);
    let loss = |max_length| {
        let objective = SftObjective::new(questions(30), max_length).unwrap();
        evaluate(&objective, model.decoder()).unwrap().loss
    };
    assert!((loss(16) - loss(64)).abs() < 1e-5);
}

#[test]
fn long_questions_are_truncated_and_counted() {
    let objective = SftObjective::new(vec![Example::question(&[1], &[2, 3, 4, 5], 9)], 4).unwrap();
    assert_eq!(objective.truncated(), 1);
    assert_eq!(objective.examples()[0].tokens, [1, 2, 3, 4]);
}

#[test]
fn prefix_may_fill_the_row() {
    let error = SftObjective::new(vec![Example::question(&[1, 2, 3], &[4], 9)], 3)
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "`maxLength` is 3: the question prefix alone has 3 tokens"
    );
    assert!(matches!(
        SftObjective::new(vec![], 8),
        Err(TrainingError::NoExamples(_))
    ));
}

#[test]
fn long_pairs_are_dropped_and_counted() {
    let pairs = crate::training::fixtures::pairs(20);
    let longest = pairs
        .iter()
        .map(|pair| pair.chosen.tokens.len())
        .max()
        .unwrap();
    let objective = DpoObjective::new(pairs, 0.1, longest - 1).unwrap();
    assert!(objective.dropped() > 0);
    assert_eq!(objective.len() + objective.dropped(), 20);
}

#[test]
fn adapters_start_at_zero_and_merge() {
    for architecture in [Architecture::Qwen2, Architecture::Llama] {
        // An adapter beside a rounded weight is not quite the rounded sum of both.
        let backend = TrainingBackend::Fused(PackedType::F32);
        let (model, plain) = (
            adapted(architecture).with_backend(backend),
            full(architecture).with_backend(backend),
        );
        let objective = SftObjective::new(questions(5), 24).unwrap();
        let loss = |model: &crate::model::Decoder| evaluate(&objective, model).unwrap().loss;
        assert_eq!(loss(model.decoder()), loss(plain.decoder()));
        for (name, variable) in model.variables() {
            let mut rng = KeyedRng::new(8, name, 0);
            let values: Vec<f32> = (0..variable.elem_count())
                .map(|_| rng.normal() as f32 * 0.1)
                .collect();
            variable
                .set(
                    &candle_core::Tensor::from_vec(
                        values,
                        variable.dims(),
                        &candle_core::Device::Cpu,
                    )
                    .unwrap(),
                )
                .unwrap();
        }
        let merged =
            crate::model::Decoder::new(config(architecture), model.merged_parameters().unwrap())
                .unwrap();
        assert!((loss(model.decoder()) - loss(&merged)).abs() < 1e-4);
        assert!((loss(&merged) - loss(plain.decoder())).abs() > 1e-3);
        assert_eq!(
            parameters(&config(architecture)).len(),
            merged.parameters().len()
        );
    }
}
