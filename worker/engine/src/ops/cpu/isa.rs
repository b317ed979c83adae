//! Which instructions this process uses: the best the machine has, or the ones that a variable names.
//! All give the same bits; the choice is one of speed, and of testing.

use std::sync::OnceLock;

/// The environment variable that forces a set of instructions: `avx512-bf16`, `avx512`, `avx2` or `portable`.
pub const BACKEND_VARIABLE: &str = "SCALEQUEST_CPU_BACKEND";

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512F, BW, VL and the dot products of BF16 and VNNI.
    Avx512Bf16,
    /// x86-64 with AVX-512F.
    Avx512,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// What the compiler's baseline offers.
    Portable,
}

impl Isa {
    /// Every set, fastest first.
    pub const ALL: [Self; 4] = [Self::Avx512Bf16, Self::Avx512, Self::Avx2, Self::Portable];

    /// Its name, as the variable spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this machine can run it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Avx512Bf16 => {
                Self::Avx512.is_available()
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Avx512 => Self::Avx2.is_available() && is_x86_feature_detected!("avx512f"),
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            Self::Portable => true,
        }
    }

    /// Whether this machine can run it.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// Every set that this machine can run, fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }
}

static SELECTED: OnceLock<Isa> = OnceLock::new();

/// The instructions in use, chosen once a process: those that [`BACKEND_VARIABLE`] names, or else the fastest
/// that the machine has. A name that cannot be used is ignored here, with a warning; a program says so at its
/// start by [`from_environment`].
pub fn isa() -> Isa {
    *SELECTED.get_or_init(|| {
        from_environment().unwrap_or_else(|reason| {
            tracing::warn!(reason, "using the fastest instructions instead");
            fastest()
        })
    })
}

/// The instructions that the environment asks for, or the fastest where it asks for none.
///
/// # Errors
/// The name is unknown, or the machine cannot run it.
pub fn from_environment() -> Result<Isa, String> {
    let Ok(name) = std::env::var(BACKEND_VARIABLE) else {
        return Ok(fastest());
    };
    let wanted = Isa::ALL
        .into_iter()
        .find(|isa| isa.name() == name)
        .ok_or_else(|| {
            let known = Isa::ALL.map(Isa::name).join(", ");
            format!("{BACKEND_VARIABLE} is `{name}`; expected one of {known}")
        })?;
    if !wanted.is_available() {
        return Err(format!(
            "{BACKEND_VARIABLE} is `{name}`, which this machine cannot run"
        ));
    }
    Ok(wanted)
}

fn fastest() -> Isa {
    Isa::available().next().unwrap_or(Isa::Portable)
}

/// Compiles one plain function for every instruction set and dispatches at run time.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $name:ident, $on:ident, $plain:ident, ($($argument:ident: $kind:ty),*) $(-> $result:ty)?) => {
        $(#[$doc])*
        pub fn $name($($argument: $kind),*) $(-> $result)? {
            $on(isa(), $($argument),*)
        }

        #[allow(unsafe_code)]
        fn $on(isa: Isa, $($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512($($argument: $kind),*) $(-> $result)? {
                $plain($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $kind),*) $(-> $result)? {
                $plain($($argument),*)
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instruction set was detected when it was chosen.
                Isa::Avx512Bf16 | Isa::Avx512 => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx2 => unsafe { avx2($($argument),*) },
                _ => $plain($($argument),*),
            }
        }
    };
}
pub(super) use for_each_isa;
