//! The machine's GPUs, as `nvidia-smi` lists them. It reads them once, before the first worker starts, and must not know what they are used for.

use std::process::Command;

/// The program that knows the machine's GPUs.
const PROGRAM: &str = "nvidia-smi";

/// The variable that limits a process to some of them.
pub const VISIBLE_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, as `nvidia-smi` counts.
    pub index: u32,
    /// By which a process is given it, whatever the order in which libraries count.
    pub uuid: String,
    /// Bytes of memory that it has.
    pub memory: i64,
    /// Bytes of memory that are free now.
    pub free: i64,
}

/// The GPUs that this process may use: those that `nvidia-smi` finds, of them those that [`VISIBLE_VARIABLE`] leaves; none where there is no
/// such program. `most` limits their number.
///
/// # Errors
/// The program says what cannot be understood, or there are fewer than `most`; for a person.
pub fn find(most: Option<usize>) -> Result<Vec<Gpu>, String> {
    if most == Some(0) {
        return Ok(Vec::new());
    }
    let query = "--query-gpu=index,uuid,memory.total,memory.free";
    let output = Command::new(PROGRAM)
        .args([query, "--format=csv,noheader,nounits"])
        .output();
    let found = match output {
        // A driver that does not work is as good as none: workers then say why, where they need one.
        Ok(output) if output.status.success() => parse(&String::from_utf8_lossy(&output.stdout))?,
        _ => Vec::new(),
    };
    let named = std::env::var(VISIBLE_VARIABLE).ok();
    let gpus = visible(&found, named.as_deref());
    match most {
        Some(most) if most > gpus.len() => Err(format!(
            "--gpus {most}: {} can be used ({PROGRAM} finds {}, {VISIBLE_VARIABLE} is {})",
            gpus.len(),
            found.len(),
            named.map_or("not set".into(), |named| format!("`{named}`"))
        )),
        Some(most) => Ok(gpus[..most].to_vec()),
        None => Ok(gpus),
    }
}

/// The lines of `nvidia-smi`: index, UUID, and MiB of memory in all and free. A GPU that does not tell its memory (`[N/A]`, one that is cut into
/// instances or shares the machine's) is left out.
///
/// # Errors
/// A line of another form; for a person.
pub fn parse(text: &str) -> Result<Vec<Gpu>, String> {
    let mut gpus = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let unclear =
            || format!("{PROGRAM} says `{line}`, which is no GPU: set --gpus 0 to use none");
        let [index, uuid, memory, free] = fields[..] else {
            return Err(unclear());
        };
        let index = index.parse().map_err(|_| unclear())?;
        if !uuid.starts_with("GPU-") {
            return Err(unclear());
        }
        let mebibytes = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        if let (Some(memory), Some(free)) = (mebibytes(memory), mebibytes(free)) {
            gpus.push(Gpu {
                index,
                uuid: uuid.into(),
                memory: memory.saturating_mul(1 << 20),
                free: free.saturating_mul(1 << 20),
            });
        }
    }
    Ok(gpus)
}

/// What `named`, the value of [`VISIBLE_VARIABLE`], leaves of `gpus`: numbers, UUIDs or beginnings of UUIDs, separated by commas and in its
/// order; from the first on that there is not, nothing, as CUDA does.
pub fn visible(gpus: &[Gpu], named: Option<&str>) -> Vec<Gpu> {
    let Some(named) = named else {
        return gpus.to_vec();
    };
    let named_gpu = |name: &str| {
        let of_number = |gpu: &&Gpu| name.parse() == Ok(gpu.index);
        let of_uuid = |gpu: &&Gpu| name.len() > 4 && gpu.uuid.starts_with(name);
        let mut fitting = gpus.iter().filter(|gpu| of_number(gpu) || of_uuid(gpu));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    let mut selected: Vec<Gpu> = Vec::new();
    for gpu in named.split(',').map(|name| named_gpu(name.trim())) {
        match gpu {
            Some(gpu) if !selected.contains(gpu) => selected.push(gpu.clone()),
            _ => break,
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWO: &str = "0, GPU-5d1c, 81559, 81008\n1, GPU-5d2e, 24576, 300\n";

    fn uuids(gpus: &[Gpu]) -> Vec<&str> {
        gpus.iter().map(|gpu| gpu.uuid.as_str()).collect()
    }

    #[test]
    fn listed_gpus_are_parsed() {
        let gpus = parse(TWO).unwrap();
        assert_eq!(uuids(&gpus), ["GPU-5d1c", "GPU-5d2e"]);
        assert_eq!((gpus[0].memory, gpus[1].free), (81_559 << 20, 300 << 20));
        assert_eq!(parse("\n"), Ok(vec![]));
        assert_eq!(parse("0, GPU-a, [N/A], [N/A]\n"), Ok(vec![]));
        let unclear = parse("No devices were found").unwrap_err();
        assert!(unclear.contains("--gpus 0"), "{unclear}");
    }

    #[test]
    fn visible_variable_selects_in_order() {
        let gpus = parse(TWO).unwrap();
        let selected = |named| uuids(&visible(&gpus, named)).join(" ");
        assert_eq!(selected(None), "GPU-5d1c GPU-5d2e");
        assert_eq!(selected(Some("1,0")), "GPU-5d2e GPU-5d1c");
        assert_eq!(selected(Some("GPU-5d2, 0")), "GPU-5d2e GPU-5d1c");
        for nothing in ["", "-1", "7", "NoDevFiles", "GPU-5d", "GPU-"] {
            assert_eq!(selected(Some(nothing)), "", "{nothing}");
        }
        assert_eq!(selected(Some("1,-1,0")), "GPU-5d2e");
        assert_eq!(selected(Some("1,1")), "GPU-5d2e");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_safely(text in "\\PC{0,80}", named in "[-0-9A-Za-z,]{0,20}") {
            let _ = parse(&text);
            let gpus = parse(TWO).unwrap();
            prop_assert!(visible(&gpus, Some(&named)).len() <= gpus.len());
        }
    }
}
