//! The training checkpoint: one safetensors file with trained weights, moments, the record of every step and the objective's state. The
//! number of records is the position in the data; random numbers are keyed, so there is no generator state. A training resumed from it
//! gives the same bits as an uninterrupted one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use safetensors::{Dtype, SafeTensors, View};

use super::TrainingError;
use super::callback::StepRecord;
use super::optimizer::{AdamW, AdamWSettings, Moments};
use crate::heartbeat::{CountedReader, beat};

/// The contents of a training checkpoint.
pub struct TrainingState {
    /// Trained weights.
    pub weights: Weights,
    /// The optimizer with its moments.
    pub optimizer: AdamW,
    /// Every step done.
    pub records: Vec<StepRecord>,
    /// The objective's state.
    pub state: Vec<f32>,
}

/// Weights by the name of their variable.
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// Sets every variable to its value here.
    pub(super) fn restore(&self, variables: &BTreeMap<String, Var>) -> Result<(), String> {
        if let Some(name) = self.0.keys().find(|name| !variables.contains_key(*name)) {
            return Err(format!("it has weights of `{name}`, which is not trained"));
        }
        for (name, variable) in variables {
            let value = self
                .0
                .get(name)
                .ok_or_else(|| format!("it lacks the weights of `{name}`"))?;
            if value.dims() != variable.dims() {
                return Err(format!(
                    "`{name}` has shape {:?}; expected {:?}",
                    value.dims(),
                    variable.dims()
                ));
            }
            value
                .to_device(variable.device())
                .and_then(|value| variable.set(&value))
                .map_err(|error| format!("`{name}`: {error}"))?;
        }
        Ok(())
    }
}

/// Values of a step record that every objective has.
const FIXED: usize = 3;

impl TrainingState {
    /// Writes a checkpoint of the training called `identity`, streaming: nothing is held twice but one tensor at a time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        path: &Path,
        identity: &str,
        variables: &BTreeMap<String, Var>,
        optimizer: &AdamW,
        records: &[StepRecord],
        state: &[f32],
    ) -> Result<(), TrainingError> {
        let mut entries: Vec<(String, Entry<'_>)> = Vec::new();
        for (name, variable) in variables {
            entries.push((format!("weight/{name}"), Entry::Weight(variable)));
        }
        for (name, Moments { first, second }) in optimizer.moments() {
            entries.push((format!("first/{name}"), Entry::Single(first, [first.len()])));
            entries.push((
                format!("second/{name}"),
                Entry::Single(second, [second.len()]),
            ));
        }
        let flat: Vec<f64> = records
            .iter()
            .flat_map(|r| {
                [r.loss, r.learning_rate, r.gradient_norm]
                    .into_iter()
                    .chain(r.metrics.iter().copied())
            })
            .collect();
        let width = records
            .first()
            .map_or(FIXED, |record| FIXED + record.metrics.len());
        entries.push((
            "records".into(),
            Entry::Double(&flat, [records.len(), width]),
        ));
        entries.push(("state".into(), Entry::Single(state, [state.len()])));
        let metadata = [
            ("identity".to_owned(), identity.to_owned()),
            ("step".to_owned(), records.len().to_string()),
            ("optimizerStep".to_owned(), optimizer.step().to_string()),
        ];
        safetensors::serialize_to_file(entries, Some(metadata.into_iter().collect()), path).map_err(
            |error| TrainingError::Io {
                action: "write",
                path: path.to_owned(),
                source: into_io(error),
            },
        )
    }

    /// Reads a checkpoint of the training called `identity`.
    ///
    /// # Errors
    /// The file is damaged, or another training's.
    pub fn read(
        path: &Path,
        identity: &str,
        settings: AdamWSettings,
    ) -> Result<Self, TrainingError> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| CountedReader(file).read_to_end(&mut bytes))
            .map_err(|source| TrainingError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            })?;
        parse(&bytes, identity, settings).map_err(|reason| TrainingError::Checkpoint {
            path: path.to_owned(),
            reason,
        })
    }
}

fn parse(bytes: &[u8], identity: &str, settings: AdamWSettings) -> Result<TrainingState, String> {
    let damaged = |error: safetensors::SafeTensorError| format!("it is damaged: {error}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let empty = Default::default();
    let metadata = header.metadata().as_ref().unwrap_or(&empty);
    let text = |name: &str| {
        metadata
            .get(name)
            .ok_or_else(|| format!("its metadata lack `{name}`"))
    };
    if text("identity")? != identity {
        return Err(format!(
            "it belongs to the training `{}`, not to `{identity}`",
            text("identity")?
        ));
    }
    let number = |name: &str| {
        text(name)?
            .parse::<u64>()
            .map_err(|_| format!("its `{name}` is not a number"))
    };

    let mut weights = BTreeMap::new();
    let mut moments: BTreeMap<String, Moments> = BTreeMap::new();
    let (mut records, mut state) = (Vec::new(), Vec::new());
    for (name, view) in SafeTensors::deserialize(bytes).map_err(damaged)?.iter() {
        let data = view.data();
        match name.split_once('/') {
            Some(("weight", name)) => {
                let tensor = Tensor::from_vec(singles(data), view.shape(), &Device::Cpu);
                weights.insert(
                    name.to_owned(),
                    tensor.map_err(|error| format!("`{name}`: {error}"))?,
                );
            }
            Some(("first", name)) => {
                moments.entry(name.to_owned()).or_default().first = singles(data)
            }
            Some(("second", name)) => {
                moments.entry(name.to_owned()).or_default().second = singles(data)
            }
            None if name == "state" => state = singles(data),
            None if name == "records" => {
                let width = view
                    .shape()
                    .last()
                    .copied()
                    .filter(|width| *width >= FIXED)
                    .ok_or("its records are cut")?;
                records = doubles(data).chunks_exact(width).map(record).collect();
            }
            _ => return Err(format!("it holds an unknown tensor `{name}`")),
        }
    }
    for (name, Moments { first, second }) in &moments {
        let expected = weights.get(name).map(|tensor| tensor.elem_count());
        if expected != Some(first.len()) || expected != Some(second.len()) {
            return Err(format!("the moments of `{name}` do not fit its weights"));
        }
    }
    if number("step")? != records.len() as u64 {
        return Err("its step is not its number of records".into());
    }
    let optimizer = AdamW::restored(settings, number("optimizerStep")?, moments);
    Ok(TrainingState {
        weights: Weights(weights),
        optimizer,
        records,
        state,
    })
}

fn record(values: &[f64]) -> StepRecord {
    StepRecord {
        loss: values[0],
        learning_rate: values[1],
        gradient_norm: values[2],
        metrics: values[FIXED..].to_vec(),
    }
}

fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|chunk| f64::from_le_bytes(*chunk))
        .collect()
}

fn into_io(error: safetensors::SafeTensorError) -> std::io::Error {
    match error {
        safetensors::SafeTensorError::IoError(error) => error,
        error => std::io::Error::other(error),
    }
}

/// One tensor of the file, made into bytes when it is written.
enum Entry<'a> {
    Weight(&'a Var),
    Single(&'a [f32], [usize; 1]),
    Double(&'a [f64], [usize; 2]),
}

impl View for Entry<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Weight(_) | Self::Single(..) => Dtype::F32,
            Self::Double(..) => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Weight(variable) => variable.dims(),
            Self::Single(_, shape) => shape,
            Self::Double(_, shape) => shape,
        }
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        // Called when the entry is written.
        beat();
        match self {
            Self::Weight(variable) => variable.data(),
            Self::Single(values, _) => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<_>>()
                .into(),
            Self::Double(values, _) => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<_>>()
                .into(),
        }
    }

    fn data_len(&self) -> usize {
        let size = if matches!(self, Self::Double(..)) {
            8
        } else {
            4
        };
        self.shape().iter().product::<usize>() * size
    }
}
