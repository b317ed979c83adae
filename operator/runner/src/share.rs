//! Shares out the machine: which waiting workers may start now, and with how many cores each. Pure: it must not know what a
//! worker does, and asks neither the clock nor the machine.

/// What of the machine is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Free {
    /// Cores that no worker holds.
    pub cores: usize,
    /// Bytes of memory that no worker holds.
    pub memory: i64,
    /// The GPUs that no worker holds: which, and bytes of memory that are free on each.
    pub gpus: Vec<(usize, i64)>,
    /// Whether no worker runs at all.
    pub idle: bool,
}

/// What a waiting worker wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bytes of memory it takes.
    pub memory: i64,
    /// The most cores that it can use; at least 1.
    pub max_cores: usize,
    /// Bytes of memory that it takes on a GPU, which it has for itself; none: it needs no GPU.
    pub gpu: Option<i64>,
}

/// What a worker that starts now is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Cores.
    pub cores: usize,
    /// Which GPU.
    pub gpu: Option<usize>,
}

/// Cores below which a worker is not cut further where a machine has more: loading a model once for two cores costs half
/// the memory and half the loading of two workers with one core each.
pub const CORES_PER_WORKER: usize = 2;

/// What each of the waiting workers that may start now is given: a prefix of `waiting`, which is in the order of the run, so
/// that a large worker is never starved by small ones behind it. The sum never exceeds the free cores or memory, and no GPU is given twice
/// or to a worker that takes more than is free on it, with one exception: on an idle machine the first one starts whatever it needs, since
/// waiting longer cannot help it. Of the GPUs that have room a worker gets the one with the least, so that a larger one finds room too.
pub fn share(free: &Free, waiting: &[Need], limit: usize) -> Vec<Share> {
    if free.cores == 0 {
        return Vec::new();
    }
    let most = (free.cores / CORES_PER_WORKER).max(1).min(limit);
    let (mut admitted, mut given) = (Vec::new(), Vec::new());
    let (mut memory, mut narrow) = (free.memory, 0);
    let mut gpus = free.gpus.clone();
    for need in waiting {
        let first = free.idle && admitted.is_empty();
        let fits = need.memory <= memory || first;
        let is_narrow = need.max_cores < CORES_PER_WORKER;
        let wide = admitted.len() - narrow;
        let room = if is_narrow {
            admitted.len() < limit && admitted.len() < free.cores
        } else {
            wide < most && admitted.len() < limit
        };
        if !fits || !room || admitted.len() >= free.cores {
            break;
        }
        match need.gpu.map(|bytes| take(&mut gpus, bytes, first)) {
            Some(None) if !first => break,
            gpu => given.push(gpu.flatten()),
        }
        memory -= need.memory;
        narrow += usize::from(is_narrow);
        admitted.push(need.max_cores.max(1));
    }
    let cores = divide(free.cores, &admitted);
    let shares = cores.into_iter().zip(given);
    shares.map(|(cores, gpu)| Share { cores, gpu }).collect()
}

/// Takes the GPU with the least room for `bytes` out of `gpus`; with `whatever`, the one with the most room where none has enough.
fn take(gpus: &mut Vec<(usize, i64)>, bytes: i64, whatever: bool) -> Option<usize> {
    let enough = |gpu: &&(usize, i64)| gpu.1 >= bytes;
    let least = gpus.iter().filter(enough).min_by_key(|gpu| (gpu.1, gpu.0));
    let most = || {
        gpus.iter()
            .max_by_key(|gpu| (gpu.1, std::cmp::Reverse(gpu.0)))
    };
    let (taken, _) = *least.or_else(|| most().filter(|_| whatever))?;
    gpus.retain(|gpu| gpu.0 != taken);
    Some(taken)
}

/// Divides `cores` as evenly as the limits `most` of each allow; everyone gets one at least (`most.len() <= cores`).
fn divide(cores: usize, most: &[usize]) -> Vec<usize> {
    let mut shares = vec![1; most.len()];
    let mut left = cores - most.len().min(cores);
    while left > 0 {
        let Some((position, _)) = shares
            .iter()
            .enumerate()
            .filter(|(i, share)| **share < most[*i])
            .min_by_key(|(_, share)| **share)
        else {
            break;
        };
        shares[position] += 1;
        left -= 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: i64 = 1 << 30;

    fn needs(list: &[(i64, usize)]) -> Vec<Need> {
        list.iter()
            .map(|(gib, max_cores)| Need {
                memory: gib * GIB,
                max_cores: *max_cores,
                gpu: None,
            })
            .collect()
    }

    fn free(cores: usize, gib: i64, idle: bool) -> Free {
        Free {
            cores,
            memory: gib * GIB,
            gpus: Vec::new(),
            idle,
        }
    }

    #[test]
    fn the_table_of_shares_holds() {
        type Case = (
            &'static str,
            Free,
            &'static [(i64, usize)],
            usize,
            &'static [usize],
        );
        let table: &[Case] = &[
            (
                "one worker takes the machine",
                free(8, 16, true),
                &[(2, 99)],
                99,
                &[8],
            ),
            (
                "two workers take half each",
                free(8, 16, true),
                &[(2, 99), (2, 99)],
                99,
                &[4, 4],
            ),
            (
                "an odd core goes to the first",
                free(7, 16, true),
                &[(2, 99), (2, 99)],
                99,
                &[4, 3],
            ),
            (
                "two cores stay together",
                free(2, 16, true),
                &[(2, 99), (2, 99)],
                99,
                &[2],
            ),
            (
                "memory limits the number",
                free(8, 5, true),
                &[(2, 99), (2, 99), (2, 99)],
                99,
                &[4, 4],
            ),
            (
                "the first that does not fit holds up the rest",
                free(8, 5, false),
                &[(2, 99), (9, 99), (1, 99)],
                99,
                &[8],
            ),
            (
                "an idle machine starts even what does not fit",
                free(8, 1, true),
                &[(9, 99), (1, 99)],
                99,
                &[8],
            ),
            (
                "a busy one does not",
                free(8, 1, false),
                &[(9, 99), (1, 99)],
                99,
                &[],
            ),
            (
                "no core, no worker",
                free(0, 16, false),
                &[(1, 99)],
                99,
                &[],
            ),
            (
                "a narrow worker leaves its cores to others",
                free(8, 16, true),
                &[(0, 1), (2, 99)],
                99,
                &[1, 7],
            ),
            (
                "narrow workers may run one a core",
                free(2, 16, true),
                &[(0, 1), (0, 1), (0, 1)],
                99,
                &[1, 1],
            ),
            (
                "a limit of one holds",
                free(8, 16, true),
                &[(1, 99), (1, 99)],
                1,
                &[8],
            ),
        ];
        for (name, free, waiting, limit, expected) in table {
            assert_eq!(&cores_of(free, &needs(waiting), *limit), expected, "{name}");
        }
    }

    fn cores_of(free: &Free, waiting: &[Need], limit: usize) -> Vec<usize> {
        let shares = share(free, waiting, limit);
        shares.iter().map(|share| share.cores).collect()
    }

    #[test]
    fn the_table_of_gpus_holds() {
        type Case = (
            &'static str,
            bool,
            &'static [(usize, i64)],
            &'static [Option<i64>],
            &'static [Option<usize>],
        );
        let table: &[Case] = &[
            (
                "each its own",
                true,
                &[(0, 80), (1, 80)],
                &[Some(40), Some(40), Some(1)],
                &[Some(0), Some(1)],
            ),
            (
                "a small one leaves the large GPU",
                true,
                &[(0, 80), (1, 24)],
                &[Some(20), Some(70)],
                &[Some(1), Some(0)],
            ),
            (
                "who needs none waits for none",
                true,
                &[(3, 80)],
                &[None, Some(40), None],
                &[None, Some(3), None],
            ),
            ("no GPU has room", false, &[(0, 24)], &[Some(25), None], &[]),
            (
                "an idle machine starts even what has no room",
                true,
                &[(0, 16), (1, 24)],
                &[Some(25)],
                &[Some(1)],
            ),
            ("and where there is no GPU", true, &[], &[Some(25)], &[None]),
            ("none is free", false, &[], &[Some(1)], &[]),
        ];
        for (name, idle, gpus, waiting, expected) in table {
            let free = Free {
                gpus: gpus.to_vec(),
                ..free(16, 64, *idle)
            };
            let need = |gpu: &Option<i64>| Need {
                memory: GIB,
                max_cores: 2,
                gpu: *gpu,
            };
            let waiting: Vec<Need> = waiting.iter().map(need).collect();
            let shares = share(&free, &waiting, 99);
            let given: Vec<_> = shares.iter().map(|share| share.gpu).collect();
            assert_eq!(&given, expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shared_out_never_exceeds_what_is_free(
            cores in 0usize..70, memory in 0i64..64, idle: bool, limit in 1usize..9,
            waiting in proptest::collection::vec((0i64..32, 1usize..9), 0..12),
        ) {
            let waiting = needs(&waiting);
            let free = free(cores, memory, idle);
            let shares = cores_of(&free, &waiting, limit);
            prop_assert!(shares.iter().sum::<usize>() <= cores);
            prop_assert!(shares.len() <= limit && shares.len() <= waiting.len());
            prop_assert!(shares.iter().zip(&waiting).all(|(share, need)| *share >= 1 && *share <= need.max_cores));
            let memory: i64 = waiting.iter().take(shares.len()).map(|need| need.memory).sum();
            prop_assert!(memory <= free.memory || (idle && memory - waiting[0].memory <= free.memory.max(0)));
        }

        #[test]
        fn an_idle_machine_never_stands_still(cores in 1usize..70, memory in 0i64..64, waiting in proptest::collection::vec((0i64..128, 1usize..9), 1..12)) {
            prop_assert!(!share(&free(cores, memory, true), &needs(&waiting), 4).is_empty());
        }

        #[test]
        fn no_gpu_is_given_twice_or_to_a_worker_that_has_no_room_on_it(
            idle: bool, free_bytes in proptest::collection::vec(0i64..64, 0..9),
            waiting in proptest::collection::vec(proptest::option::of(0i64..64), 0..12),
        ) {
            let gpus: Vec<(usize, i64)> = free_bytes.into_iter().enumerate().collect();
            let free = Free { gpus: gpus.clone(), ..free(64, 64, idle) };
            let needs: Vec<Need> = waiting.iter().map(|gpu| Need { memory: 0, max_cores: 2, gpu: *gpu }).collect();
            let shares = share(&free, &needs, 99);
            let mut given: Vec<usize> = shares.iter().filter_map(|share| share.gpu).collect();
            for (place, (share, need)) in shares.iter().zip(&needs).enumerate() {
                let whatever = idle && place == 0;
                prop_assert!(need.gpu.is_some() || share.gpu.is_none());
                prop_assert!(whatever || need.gpu.is_some() == share.gpu.is_some());
                if let (Some(gpu), Some(bytes), false) = (share.gpu, need.gpu, whatever) {
                    prop_assert!(gpus[gpu].1 >= bytes);
                }
            }
            given.sort_unstable();
            given.dedup();
            prop_assert_eq!(given.len(), shares.iter().filter(|share| share.gpu.is_some()).count());
        }
    }
}
