//! Gradients of variables, each in one place from its first part to its last. candle's backward pass makes zeros and a new sum for every
//! part, on one thread: for weights that was several times the memory and a fifth of a step's time.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use candle_core::{Result, Tensor, TensorId};

thread_local! {
    /// What the backward pass that runs on this thread adds to.
    static GATHERED: RefCell<Option<Gradients>> = const { RefCell::new(None) };
}

/// Sums of gradients, by variable, and memory for more of them.
#[derive(Default)]
pub struct Gradients {
    sums: HashMap<TensorId, Tensor>,
    spare: HashMap<TensorId, Tensor>,
    /// The variables whose parts are put here, and not made by candle: only for them memory is kept.
    put_here: HashSet<TensorId>,
}

impl Gradients {
    /// Adds the gradient of a scalar for each of the variables that it depends on.
    ///
    /// # Errors
    /// A tensor operation of the backward pass fails.
    pub fn add<'a>(
        &mut self,
        loss: &Tensor,
        variables: impl IntoIterator<Item = &'a Tensor>,
    ) -> Result<()> {
        GATHERED.set(Some(std::mem::take(self)));
        let found = loss.backward();
        *self = GATHERED.take().unwrap_or_default();
        let mut found = found?;
        for variable in variables {
            // What the reference's operations and small vectors gave.
            let Some(part) = found.remove(variable) else {
                continue;
            };
            match self.sums.entry(variable.id()) {
                Entry::Occupied(mut sum) => {
                    let more = (sum.get() + part)?;
                    sum.insert(more);
                }
                Entry::Vacant(sum) => {
                    sum.insert(part);
                }
            }
        }
        Ok(())
    }

    /// Takes a variable's gradient; nothing where there is none.
    pub fn take(&mut self, variable: &Tensor) -> Option<Tensor> {
        self.sums.remove(&variable.id())
    }

    #[cfg(test)]
    pub(super) fn holds_memory_for(&self, variable: &Tensor) -> bool {
        self.spare.contains_key(&variable.id())
    }

    /// Forgets all sums.
    pub fn forget(&mut self) {
        for (id, gradient) in self.sums.drain() {
            if self.put_here.contains(&id) {
                self.spare.insert(id, gradient);
            }
        }
    }

    /// Takes back a gradient of a variable that nobody reads any more: the next one is written over it, where it is not made by candle.
    pub fn reuse(&mut self, variable: &Tensor, gradient: Tensor) {
        if self.put_here.contains(&variable.id()) {
            self.spare.insert(variable.id(), gradient);
        }
    }
}

/// A part of a gradient: how it is made, and how it is put where others lie.
pub(super) trait Part {
    /// The part as a tensor of its own.
    fn alone(&self) -> Result<Tensor>;

    /// Adds the part to `sum`, or with `over` writes it there.
    fn put(&self, sum: &Tensor, over: bool) -> Result<()>;
}

/// A part of the gradient of `input`, within a backward pass: for a variable whose gradients are gathered it goes there, and nothing is left
/// for candle.
pub(super) fn gathered(input: &Tensor, part: &impl Part) -> Result<Option<Tensor>> {
    let id = input.id();
    let places = GATHERED.with_borrow_mut(|all| {
        let all = all.as_mut().filter(|_| input.is_variable())?;
        Some((all.sums.get(&id).cloned(), all.spare.remove(&id)))
    });
    let made = match places {
        None => return part.alone().map(Some),
        Some((Some(sum), _)) => return part.put(&sum, false).map(|()| None),
        Some((None, Some(spare))) => part.put(&spare, true).map(|()| spare)?,
        Some((None, None)) => part.alone()?,
    };
    GATHERED.with_borrow_mut(|all| {
        if let Some(all) = all {
            all.put_here.insert(id);
            all.sums.insert(id, made);
        }
    });
    Ok(None)
}
