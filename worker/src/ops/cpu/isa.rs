//! Which instructions this process uses: the best the machine has, or the ones that a variable names.
//! All give the same bits; the choice is one of speed, and of testing.

use std::sync::OnceLock;

/// The environment variable that forces a set of instructions: `avx512`, `avx2` or `portable`.
pub const BODY_VARIABLE: &str = "SCALEQUEST_CPU_BODY";

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512F.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// What the compiler's baseline offers.
    Portable,
}

impl Isa {
    /// Every set, fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Its name, as the variable spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }
}

static SELECTED: OnceLock<Isa> = OnceLock::new();

/// The instructions in use: those that [`select`] chose, or else the fastest available.
pub fn isa() -> Isa {
    *SELECTED.get_or_init(|| fastest(Isa::ALL))
}

/// Chooses by name, or the fastest for `None`; called once, before any arithmetic.
///
/// # Errors
/// The name is unknown, the machine cannot run it, or another choice is already in use.
pub fn select(name: Option<&str>) -> Result<Isa, String> {
    let wanted = match name {
        None => fastest(Isa::ALL),
        Some(name) => *Isa::ALL
            .iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| {
                format!("{BODY_VARIABLE} is `{name}`; expected avx512, avx2 or portable")
            })?,
    };
    if !wanted.is_available() {
        return Err(format!(
            "{BODY_VARIABLE} is `{}`, which this machine cannot run",
            wanted.name()
        ));
    }
    let selected = *SELECTED.get_or_init(|| wanted);
    if selected != wanted {
        return Err(format!(
            "`{}` is already in use, `{}` was asked for",
            selected.name(),
            wanted.name()
        ));
    }
    Ok(selected)
}

fn fastest(all: [Isa; 3]) -> Isa {
    all.into_iter()
        .find(|isa| isa.is_available())
        .unwrap_or(Isa::Portable)
}
