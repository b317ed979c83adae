//! Allocates the machine's resources: which waiting workers may start now, with how many cores and which GPU each. Pure: it must not
//! know what a worker does, and asks neither the clock nor the machine.

/// Resources that no worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailableResources {
    /// Cores that no worker holds.
    pub cores: usize,
    /// Bytes of memory that no worker holds.
    pub memory: i64,
    /// The GPUs that no worker holds: which, and bytes of memory that are free on each.
    pub gpus: Vec<(usize, i64)>,
    /// Whether no worker runs at all.
    pub idle: bool,
}

/// Resources that a waiting worker requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceRequest {
    /// Bytes of memory it takes.
    pub memory: i64,
    /// The most cores that it can use; at least 1.
    pub max_cores: usize,
    /// Bytes of memory that it takes on a GPU, which it has for itself; none: it needs no GPU.
    pub gpu: Option<i64>,
}

/// Resources of a worker that starts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Cores.
    pub cores: usize,
    /// Which GPU.
    pub gpu: Option<usize>,
}

/// Cores below which a worker is not cut further where a machine has more: loading a model once for two cores costs half
/// the memory and half the loading of two workers with one core each.
pub const CORES_PER_WORKER: usize = 2;

/// Allocates resources to the waiting workers that may start now: a prefix of `waiting`, which is in the order of the run, so
/// that a large worker is never starved by small ones behind it. The sum never exceeds the free cores or memory, and no GPU is given twice
/// or to a worker that takes more than is free on it, with one exception: on an idle machine the first one starts whatever it needs, since
/// waiting longer cannot help it. Of the GPUs that have room a worker gets the one with the least, so that a larger one finds room too.
pub fn allocate(
    free: &AvailableResources,
    waiting: &[ResourceRequest],
    limit: usize,
) -> Vec<Allocation> {
    let most_wide = (free.cores / CORES_PER_WORKER).max(1);
    let (mut admitted, mut given) = (Vec::new(), Vec::new());
    let (mut memory, mut wide) = (free.memory, 0);
    let mut gpus = free.gpus.clone();
    for request in waiting {
        let first = free.idle && admitted.is_empty();
        let is_wide = request.max_cores >= CORES_PER_WORKER;
        let has_room = admitted.len() < limit.min(free.cores) && (!is_wide || wide < most_wide);
        if !has_room || (request.memory > memory && !first) {
            break;
        }
        match request.gpu.map(|bytes| take_gpu(&mut gpus, bytes, first)) {
            Some(None) if !first => break,
            gpu => given.push(gpu.flatten()),
        }
        memory -= request.memory;
        wide += usize::from(is_wide);
        admitted.push(request.max_cores.max(1));
    }
    let cores = divide(free.cores, &admitted);
    let allocations = cores.into_iter().zip(given);
    allocations
        .map(|(cores, gpu)| Allocation { cores, gpu })
        .collect()
}

/// Takes the GPU with the least room for `bytes` out of `gpus`; with `force`, the one with the most room where none has enough.
fn take_gpu(gpus: &mut Vec<(usize, i64)>, bytes: i64, force: bool) -> Option<usize> {
    let enough = |gpu: &&(usize, i64)| gpu.1 >= bytes;
    let least = gpus.iter().filter(enough).min_by_key(|gpu| (gpu.1, gpu.0));
    let most = || {
        gpus.iter()
            .max_by_key(|gpu| (gpu.1, std::cmp::Reverse(gpu.0)))
    };
    let (taken, _) = *least.or_else(|| most().filter(|_| force))?;
    gpus.retain(|gpu| gpu.0 != taken);
    Some(taken)
}

/// Divides `cores` as evenly as the limits `most` of each allow; everyone gets one at least (`most.len() <= cores`).
fn divide(cores: usize, most: &[usize]) -> Vec<usize> {
    let mut allocations = vec![1; most.len()];
    for _ in most.len()..cores {
        let places = (0..most.len()).filter(|place| allocations[*place] < most[*place]);
        let Some(narrowest) = places.min_by_key(|place| allocations[*place]) else {
            break;
        };
        allocations[narrowest] += 1;
    }
    allocations
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: i64 = 1 << 30;

    fn needs(list: &[(i64, usize)]) -> Vec<ResourceRequest> {
        list.iter()
            .map(|(gib, max_cores)| ResourceRequest {
                memory: gib * GIB,
                max_cores: *max_cores,
                gpu: None,
            })
            .collect()
    }

    fn free(cores: usize, gib: i64, idle: bool) -> AvailableResources {
        AvailableResources {
            cores,
            memory: gib * GIB,
            gpus: Vec::new(),
            idle,
        }
    }

    #[test]
    fn cores_and_memory_are_allocated() {
        type Case = (
            &'static str,
            AvailableResources,
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

    fn cores_of(
        free: &AvailableResources,
        waiting: &[ResourceRequest],
        limit: usize,
    ) -> Vec<usize> {
        let allocations = allocate(free, waiting, limit);
        allocations
            .iter()
            .map(|allocation| allocation.cores)
            .collect()
    }

    #[test]
    fn gpus_are_allocated() {
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
            let free = AvailableResources {
                gpus: gpus.to_vec(),
                ..free(16, 64, *idle)
            };
            let request = |gpu: &Option<i64>| ResourceRequest {
                memory: GIB,
                max_cores: 2,
                gpu: *gpu,
            };
            let waiting: Vec<ResourceRequest> = waiting.iter().map(request).collect();
            let allocations = allocate(&free, &waiting, 99);
            let given: Vec<_> = allocations
                .iter()
                .map(|allocation| allocation.gpu)
                .collect();
            assert_eq!(&given, expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn allocations_never_exceed_free_resources(
            cores in 0usize..70, memory in 0i64..64, idle: bool, limit in 1usize..9,
            waiting in proptest::collection::vec((0i64..32, 1usize..9), 0..12),
        ) {
            let waiting = needs(&waiting);
            let free = free(cores, memory, idle);
            let allocations = cores_of(&free, &waiting, limit);
            prop_assert!(allocations.iter().sum::<usize>() <= cores);
            prop_assert!(allocations.len() <= limit && allocations.len() <= waiting.len());
            prop_assert!(allocations.iter().zip(&waiting).all(|(allocation, request)| *allocation >= 1 && *allocation <= request.max_cores));
            let memory: i64 = waiting.iter().take(allocations.len()).map(|request| request.memory).sum();
            prop_assert!(memory <= free.memory || (idle && memory - waiting[0].memory <= free.memory.max(0)));
        }

        #[test]
        fn idle_machine_always_starts(cores in 1usize..70, memory in 0i64..64, waiting in proptest::collection::vec((0i64..128, 1usize..9), 1..12)) {
            prop_assert!(!allocate(&free(cores, memory, true), &needs(&waiting), 4).is_empty());
        }

        #[test]
        fn gpus_are_exclusive_and_large_enough(
            idle: bool, free_bytes in proptest::collection::vec(0i64..64, 0..9),
            waiting in proptest::collection::vec(proptest::option::of(0i64..64), 0..12),
        ) {
            let gpus: Vec<(usize, i64)> = free_bytes.into_iter().enumerate().collect();
            let free = AvailableResources { gpus: gpus.clone(), ..free(64, 64, idle) };
            let needs: Vec<ResourceRequest> = waiting.iter().map(|gpu| ResourceRequest { memory: 0, max_cores: 2, gpu: *gpu }).collect();
            let allocations = allocate(&free, &needs, 99);
            let mut given: Vec<usize> = allocations.iter().filter_map(|allocation| allocation.gpu).collect();
            for (place, (allocation, request)) in allocations.iter().zip(&needs).enumerate() {
                let force = idle && place == 0;
                prop_assert!(request.gpu.is_some() || allocation.gpu.is_none());
                prop_assert!(force || request.gpu.is_some() == allocation.gpu.is_some());
                if let (Some(gpu), Some(bytes), false) = (allocation.gpu, request.gpu, force) {
                    prop_assert!(gpus[gpu].1 >= bytes);
                }
            }
            given.sort_unstable();
            given.dedup();
            prop_assert_eq!(given.len(), allocations.iter().filter(|allocation| allocation.gpu.is_some()).count());
        }
    }
}
