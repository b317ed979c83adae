//! The flags of `scalequest run` that say what workers may use of this machine. It only parses.

use clap::Args;
use clap::builder::RangedU64ValueParser;

/// Settings of one execution.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Most workers at once [default: as many as memory and cores allow]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub workers: Option<usize>,

    /// Cores that the workers share [default: all that this process may use]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub cores: Option<usize>,

    /// Memory that the workers share, e.g. 6GiB [default: what is available, less a tenth]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<i64>,

    /// GPUs that the workers share, one each; 0: none [default: all that nvidia-smi finds and CUDA_VISIBLE_DEVICES leaves]
    #[arg(long, value_name = "N")]
    pub gpus: Option<usize>,

    /// Use finished stages without verifying their digests first
    #[arg(long = "no-check")]
    pub skip_verification: bool,
}

/// Bytes from `6GiB`, `500M`, `1073741824`.
fn parse_size(text: &str) -> Result<i64, String> {
    let digits = text
        .trim()
        .trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.trim()[digits.len()..].to_ascii_lowercase();
    let scale: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "ki" | "kib" => 1024.0,
        "m" | "mb" => 1e6,
        "mi" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" => 1e9,
        "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" => 1e12,
        "ti" | "tib" => 1024.0f64.powi(4),
        other => {
            return Err(format!(
                "`{other}` is no unit of memory: use KiB, MiB, GiB or TiB"
            ));
        }
    };
    let number: f64 = digits
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no size: write a number and a unit, for example 6GiB"))?;
    let bytes = number * scale;
    if !(1.0..9e18).contains(&bytes) {
        return Err(format!("`{text}` is no size of memory"));
    }
    Ok(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_with_units() {
        for (text, bytes) in [
            ("6GiB", 6 << 30),
            ("500M", 500_000_000),
            ("1.5Ki", 1536),
            ("17", 17),
            ("2 GiB", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1GiB", "5 apples", "1e30G", "NaN"] {
            parse_size(text).unwrap_err();
        }
    }
}
