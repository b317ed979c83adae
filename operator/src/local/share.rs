//! Shares out the machine: which waiting workers may start now, and with how many cores each. Pure: it must not know what a
//! worker does, and asks neither the clock nor the machine.

/// What of the machine is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Cores that no worker holds.
    pub cores: usize,
    /// Bytes of memory that no worker holds.
    pub memory: i64,
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
}

/// Cores below which a worker is not cut further where a machine has more: loading a model once for two cores costs half
/// the memory and half the loading of two workers with one core each.
pub const CORES_PER_WORKER: usize = 2;

/// The cores of each of the waiting workers that may start now: a prefix of `waiting`, which is in the order of the run, so
/// that a large worker is never starved by small ones behind it. The sum never exceeds the free cores or memory, with one
/// exception: on an idle machine the first one starts whatever it needs, since waiting longer cannot help it.
pub fn share(free: Free, waiting: &[Need], limit: usize) -> Vec<usize> {
    if free.cores == 0 {
        return Vec::new();
    }
    let most = (free.cores / CORES_PER_WORKER).max(1).min(limit);
    let mut admitted = Vec::new();
    let (mut memory, mut narrow) = (free.memory, 0);
    for need in waiting {
        let fits = need.memory <= memory || (free.idle && admitted.is_empty());
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
        memory -= need.memory;
        narrow += usize::from(is_narrow);
        admitted.push(need.max_cores.max(1));
    }
    divide(free.cores, &admitted)
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
            })
            .collect()
    }

    fn free(cores: usize, gib: i64, idle: bool) -> Free {
        Free {
            cores,
            memory: gib * GIB,
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
            assert_eq!(&share(*free, &needs(waiting), *limit), expected, "{name}");
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
            let shares = share(free, &waiting, limit);
            prop_assert!(shares.iter().sum::<usize>() <= cores);
            prop_assert!(shares.len() <= limit && shares.len() <= waiting.len());
            prop_assert!(shares.iter().zip(&waiting).all(|(share, need)| *share >= 1 && *share <= need.max_cores));
            let memory: i64 = waiting.iter().take(shares.len()).map(|need| need.memory).sum();
            prop_assert!(memory <= free.memory || (idle && memory - waiting[0].memory <= free.memory.max(0)));
        }

        #[test]
        fn an_idle_machine_never_stands_still(cores in 1usize..70, memory in 0i64..64, waiting in proptest::collection::vec((0i64..128, 1usize..9), 1..12)) {
            prop_assert!(!share(free(cores, memory, true), &needs(&waiting), 4).is_empty());
        }
    }
}
