//! Seals a stage: checks that its committed shards cover its rows and that every object is intact, then merges their manifests into one. Corrupt
//! objects and the shards that refer to them are removed, so that they are recomputed. It does not know what the rows mean.

mod tiling;

mod verify;

mod merge;

use scalequest_crds::protocol::manifest::{Seal, ShardManifest};
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;

use super::envelope;
use super::store::{PutOutcome, Store, StoreError};
use super::workspace::{ReadError, SEAL, StageDir};
use merge::merge;
use tiling::tile;
use verify::{CorruptObject, verify_objects, verify_sizes};

/// The result of sealing.
#[derive(Clone, Debug)]
pub struct SealResult {
    /// [`Outcome::Sealed`] or [`Outcome::Missing`].
    pub outcome: Outcome,
    /// The seal, if the stage is sealed.
    pub seal: Option<Seal>,
    /// Corruption that was found and removed, for users.
    pub warnings: Vec<String>,
}

/// Seals the stage of `task`, or reports which of its shards are missing.
///
/// A stage that is sealed already is checked again: with `verify` every byte is read and any corruption found, otherwise only missing
/// objects and wrong sizes. A new seal always reads every byte.
pub fn seal(store: &Store, task: &StageTask, verify: bool) -> Result<SealResult, StoreError> {
    let dir = StageDir::for_task(store, task);
    let mut warnings = Warnings::default();
    if let Some(seal) = existing_seal(&dir, task, verify, &mut warnings)? {
        return Ok(sealed(seal, warnings));
    }
    let grid: Vec<_> = (0..task.shards()).map(|index| task.range(index)).collect();
    loop {
        let shards = load_manifests(&dir, &mut warnings)?;
        let ranges: Vec<_> = shards.iter().map(|shard| shard.start..shard.end).collect();
        let tiling = tile(task.rows, &grid, &ranges);
        if !tiling.missing.is_empty() {
            let total = tiling.missing.len() as i64;
            let shards = tiling.missing.into_iter().collect();
            return Ok(SealResult {
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
        let verification = verify_objects(&dir, &used)?;
        if verification.corrupt.is_empty() {
            let seal = merge(dir.stage(), dir.key(), verification.digest, used);
            return Ok(sealed(write(&dir, seal)?, warnings));
        }
        remove(&dir, &used, &verification.corrupt, &mut warnings)?;
    }
}

/// Whether shards with a manifest cover all rows of `task` and the stage's objects have at most `max_bytes`, judged by listings only: sealing
/// will then probably succeed and be fast.
pub fn is_covered(store: &Store, task: &StageTask, max_bytes: u64) -> Result<bool, StoreError> {
    let dir = StageDir::for_task(store, task);
    let grid: Vec<_> = (0..task.shards()).map(|index| task.range(index)).collect();
    if !tile(task.rows, &grid, &dir.shard_ranges()?)
        .missing
        .is_empty()
    {
        return Ok(false);
    }
    let objects = store.list(&dir.path("objects"))?;
    let bytes = objects.iter().map(|object| object.bytes);
    Ok(bytes.fold(0, u64::saturating_add) <= max_bytes)
}

fn sealed(seal: Seal, warnings: Warnings) -> SealResult {
    let outcome = Outcome::Sealed {
        digest: seal.digest.clone(),
        rows: seal.rows.clone(),
    };
    SealResult {
        outcome,
        seal: Some(seal),
        warnings: warnings.0,
    }
}

/// Returns the existing seal if it is valid. An invalid one is removed with the corrupt objects.
fn existing_seal(
    dir: &StageDir,
    task: &StageTask,
    verify: bool,
    warnings: &mut Warnings,
) -> Result<Option<Seal>, StoreError> {
    let seal = match dir.seal() {
        Ok(None) => return Ok(None),
        Ok(Some(seal)) => seal,
        Err(ReadError::Store(error)) => return Err(error),
        Err(corrupted) => {
            warnings.add(format!("{corrupted}; sealing again"));
            dir.store().delete(&dir.path(SEAL))?;
            return Ok(None);
        }
    };
    let corrupt = match verify {
        true => {
            let verification = verify_objects(dir, &seal.shards)?;
            restore_manifests(dir, &seal, warnings)?;
            match verification.corrupt.is_empty() && verification.digest != seal.digest {
                // All objects are intact, so the seal is not that of these shards.
                true => None,
                false => Some(verification.corrupt),
            }
        }
        false => Some(verify_sizes(dir, &seal.shards)?),
    };
    match corrupt {
        Some(corrupt) if corrupt.is_empty() && is_consistent(&seal, task) => return Ok(Some(seal)),
        Some(corrupt) if !corrupt.is_empty() => remove(dir, &seal.shards, &corrupt, warnings)?,
        _ => warnings.add(format!(
            "{} does not match its shards; sealing again",
            dir.store().describe(&dir.path(SEAL))
        )),
    }
    dir.store().delete(&dir.path(SEAL))?;
    Ok(None)
}

/// Whether the seal covers the task's rows and equals the merge of its shards.
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

/// Restores missing and corrupt manifests of a seal's shards: the seal contains them.
fn restore_manifests(
    dir: &StageDir,
    seal: &Seal,
    warnings: &mut Warnings,
) -> Result<(), StoreError> {
    for shard in &seal.shards {
        let range = shard.start..shard.end;
        if dir.manifest(&range)?.and_then(Result::ok).as_ref() != Some(shard) {
            warnings.add(format!(
                "{} was corrupt; restored from the seal",
                dir.store().describe(&dir.shard_path(&range))
            ));
            dir.store()
                .put(&dir.shard_path(&range), envelope::wrap(shard))?;
        }
    }
    Ok(())
}

/// Loads all intact manifests, in row order; corrupt ones are removed.
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
                    "{} is corrupt: {problem}; removed, its shard is recomputed",
                    dir.store().describe(&path)
                ));
                dir.store().delete(&path)?;
            }
        }
    }
    manifests.sort_by_key(|manifest| (manifest.start, manifest.end));
    Ok(manifests)
}

/// Removes corrupt objects and the manifests of the shards that refer to them.
fn remove(
    dir: &StageDir,
    shards: &[ShardManifest],
    corrupt: &[CorruptObject],
    warnings: &mut Warnings,
) -> Result<(), StoreError> {
    for CorruptObject {
        shard,
        object,
        problem,
    } in corrupt
    {
        let range = shards[*shard].start..shards[*shard].end;
        let path = dir.object_path(object);
        warnings.add(format!(
            "{} of rows {}..{} of stage {} is corrupt: {problem}; removed, its shard is recomputed",
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

/// Writes the seal; if a concurrent worker has sealed the same content, its seal stays.
fn write(dir: &StageDir, seal: Seal) -> Result<Seal, StoreError> {
    let path = dir.path(SEAL);
    let bytes = envelope::wrap(&seal);
    if let PutOutcome::AlreadyExists { same: false } = dir.store().put_new(&path, bytes.clone())? {
        match dir.seal() {
            Ok(Some(existing)) if existing.digest == seal.digest => return Ok(existing),
            Err(ReadError::Store(error)) => return Err(error),
            _ => dir.store().put(&path, bytes)?,
        }
    }
    Ok(seal)
}

/// Warnings for users; each is logged when it is added.
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
