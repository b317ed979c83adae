//! Seals a stage: checks that its committed shards cover its rows and that every object is whole, then merges their
//! manifests into one. What is damaged is removed, so that it is made again. It does not know what the rows say.

mod tiling;

mod examine;

mod merge;

use scalequest_crds::protocol::manifest::{Seal, ShardManifest};
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;

use super::envelope;
use super::store::{Created, Store, StoreError};
use super::workspace::{ReadError, SEAL, StageDir};
use examine::{Damage, examine, examine_sizes};
use merge::merge;
use tiling::tile;

/// Shard indices that a report of missing shards names at most.
const MISSING_NAMED: usize = 100;

/// How sealing ended.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// [`Outcome::Sealed`] or [`Outcome::Missing`].
    pub outcome: Outcome,
    /// The seal, where there is one.
    pub seal: Option<Seal>,
    /// Damage that was found and removed, for a person.
    pub warnings: Vec<String>,
}

/// Seals the stage of `task`, or says which of its shards are to be made (again).
///
/// A stage that is sealed already is looked at again: `verify` reads every byte and finds any damage, otherwise only
/// objects that are gone or have another size are found. A new seal always reads every byte.
pub fn seal(store: &Store, task: &StageTask, verify: bool) -> Result<Sealing, StoreError> {
    let dir = StageDir::of(store, task);
    let mut warnings = Warnings::default();
    if let Some(seal) = standing_seal(&dir, task, verify, &mut warnings)? {
        return Ok(sealed(seal, warnings));
    }
    let grid: Vec<_> = (0..task.shards()).map(|index| task.range(index)).collect();
    loop {
        let shards = load_manifests(&dir, &mut warnings)?;
        let ranges: Vec<_> = shards.iter().map(|shard| shard.start..shard.end).collect();
        let tiling = tile(task.rows, &grid, &ranges);
        if !tiling.missing.is_empty() {
            let total = tiling.missing.len() as i64;
            let shards = tiling.missing.into_iter().take(MISSING_NAMED).collect();
            return Ok(Sealing {
                outcome: Outcome::Missing { shards, total },
                seal: None,
                warnings: warnings.0,
            });
        }
        let is_used = |shard: &ShardManifest| {
            let position = tiling
                .ranges
                .binary_search_by_key(&shard.start, |range| range.start);
            position.is_ok_and(|index| tiling.ranges[index].end == shard.end)
        };
        let used: Vec<_> = shards.into_iter().filter(is_used).collect();
        let examination = examine(&dir, &used)?;
        if examination.damage.is_empty() {
            let seal = merge(dir.stage(), dir.key(), examination.digest, used);
            return Ok(sealed(write(&dir, seal)?, warnings));
        }
        remove(&dir, &used, &examination.damage, &mut warnings)?;
    }
}

/// Whether shards with a manifest cover all rows of `task` and its objects are `most_bytes` at most, as lists of names tell: a seal is
/// likely to come about, and soon.
pub fn is_covered(store: &Store, task: &StageTask, most_bytes: u64) -> Result<bool, StoreError> {
    let dir = StageDir::of(store, task);
    let grid: Vec<_> = (0..task.shards()).map(|index| task.range(index)).collect();
    if !tile(task.rows, &grid, &dir.shard_ranges()?)
        .missing
        .is_empty()
    {
        return Ok(false);
    }
    let objects = store.list(&dir.path("objects"))?;
    let bytes = objects.iter().map(|object| object.bytes);
    Ok(bytes.fold(0, u64::saturating_add) <= most_bytes)
}

fn sealed(seal: Seal, warnings: Warnings) -> Sealing {
    let outcome = Outcome::Sealed {
        digest: seal.digest.clone(),
        rows: seal.rows.clone(),
    };
    Sealing {
        outcome,
        seal: Some(seal),
        warnings: warnings.0,
    }
}

/// The seal that is there, if it holds. One that does not is removed with what is damaged.
fn standing_seal(
    dir: &StageDir,
    task: &StageTask,
    verify: bool,
    warnings: &mut Warnings,
) -> Result<Option<Seal>, StoreError> {
    let seal = match dir.seal() {
        Ok(None) => return Ok(None),
        Ok(Some(seal)) => seal,
        Err(ReadError::Store(error)) => return Err(error),
        Err(damaged) => {
            warnings.add(format!("{damaged}; sealing again"));
            dir.store().delete(&dir.path(SEAL))?;
            return Ok(None);
        }
    };
    let damage = match verify {
        true => {
            let examination = examine(dir, &seal.shards)?;
            restore_manifests(dir, &seal, warnings)?;
            match examination.damage.is_empty() && examination.digest != seal.digest {
                // Every object is whole, so the seal itself is not that of these shards.
                true => None,
                false => Some(examination.damage),
            }
        }
        false => Some(examine_sizes(dir, &seal.shards)?),
    };
    match damage {
        Some(damage) if damage.is_empty() && is_consistent(&seal, task) => return Ok(Some(seal)),
        Some(damage) if !damage.is_empty() => remove(dir, &seal.shards, &damage, warnings)?,
        _ => warnings.add(format!(
            "{} does not fit its shards; sealing again",
            dir.store().describe(&dir.path(SEAL))
        )),
    }
    dir.store().delete(&dir.path(SEAL))?;
    Ok(None)
}

/// Whether the seal covers the task's rows and says of its shards what they say themselves.
fn is_consistent(seal: &Seal, task: &StageTask) -> bool {
    let mut at = 0;
    for shard in &seal.shards {
        if shard.start != at || shard.stage != seal.stage || shard.key != seal.key {
            return false;
        }
        at = shard.end;
    }
    at == task.rows
        && !seal.shards.is_empty()
        && *seal
            == merge(
                seal.stage,
                &seal.key,
                seal.digest.clone(),
                seal.shards.clone(),
            )
}

/// Writes again the manifests of a seal's shards that are gone or damaged: the seal holds all they say.
fn restore_manifests(
    dir: &StageDir,
    seal: &Seal,
    warnings: &mut Warnings,
) -> Result<(), StoreError> {
    for shard in &seal.shards {
        let range = shard.start..shard.end;
        if dir.manifest(&range)?.and_then(Result::ok).as_ref() != Some(shard) {
            warnings.add(format!(
                "{} was damaged; restored from the seal",
                dir.store().describe(&dir.shard_path(&range))
            ));
            dir.store()
                .put(&dir.shard_path(&range), envelope::wrap(shard))?;
        }
    }
    Ok(())
}

/// All manifests that are whole, in row order; damaged ones are removed.
fn load_manifests(
    dir: &StageDir,
    warnings: &mut Warnings,
) -> Result<Vec<ShardManifest>, StoreError> {
    let mut manifests = Vec::new();
    for range in dir.shard_ranges()? {
        match dir.manifest(&range)? {
            None => {}
            Some(Ok(manifest)) => manifests.push(manifest),
            Some(Err(problem)) => {
                let path = dir.shard_path(&range);
                warnings.add(format!(
                    "{} is damaged: {problem}; removed to be made again",
                    dir.store().describe(&path)
                ));
                dir.store().delete(&path)?;
            }
        }
    }
    manifests.sort_by_key(|manifest| (manifest.start, manifest.end));
    Ok(manifests)
}

/// Removes damaged objects and the manifests of the shards that refer to them.
fn remove(
    dir: &StageDir,
    shards: &[ShardManifest],
    damage: &[Damage],
    warnings: &mut Warnings,
) -> Result<(), StoreError> {
    for Damage {
        shard,
        object,
        problem,
    } in damage
    {
        let range = shards[*shard].start..shards[*shard].end;
        let path = dir.object_path(object);
        warnings.add(format!(
            "{} of rows {}..{} of stage {} is damaged: {problem}; removed to be made again",
            dir.store().describe(&path),
            range.start,
            range.end,
            dir.stage()
        ));
        dir.store().delete(&path)?;
        dir.store().delete(&dir.shard_path(&range))?;
    }
    Ok(())
}

/// Writes the seal; where a twin has sealed the same content in the meantime, that one stands.
fn write(dir: &StageDir, seal: Seal) -> Result<Seal, StoreError> {
    let path = dir.path(SEAL);
    let bytes = envelope::wrap(&seal);
    if let Created::AlreadyThere { same: false } = dir.store().put_new(&path, bytes.clone())? {
        match dir.seal() {
            Ok(Some(standing)) if standing.digest == seal.digest => return Ok(standing),
            Err(ReadError::Store(error)) => return Err(error),
            _ => dir.store().put(&path, bytes)?,
        }
    }
    Ok(seal)
}

/// What a person should know; each is logged as it is found.
#[derive(Default)]
struct Warnings(Vec<String>);

impl Warnings {
    fn add(&mut self, message: String) {
        tracing::warn!("{message}");
        self.0.push(message);
    }
}

#[cfg(test)]
mod tests;
