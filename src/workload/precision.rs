//! In what form weights and cached keys and values are stored.
//!
//! A **format** stores the elements of a matrix with few bits each, and beside them what is needed to read them back: a *scale* per *group*
//! of neighbours in a row (or per row, or per square tile), often a *zero point* of the same grouping, sometimes an index that says to which
//! group a column belongs. Neither comes free: 4-bit weights take 4.13 to 4.5 bits. Groups run along the inputs of a product, so a row whose
//! length the group does not divide pays for a whole last group; every count here is rounded up as the format's own tensors are.
//!
//! **What stays at 16 bits.** The formats of the Python world quantise the products of the decoder's layers only. Embedding, norms, biases,
//! router, vision tower and (unless asked for) the output head keep the type that is computed with. GGUF files are different: every matrix is
//! quantised, embedding and head too, each in a type that depends on its role and layer; see [`Mix`].

use std::fmt;
use std::str::FromStr;

use super::gguf::Mix;
use super::linear::Role;
use crate::error::{Error, Result};

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats, computed in 32 bits too.
    Fp32,
    /// Brain floats.
    Bf16,
    /// Half floats.
    Fp16,
    /// 8-bit floats, an FP32 scale per tile of 128 × 128 (DeepSeek V3, Qwen 3, the fine-grained FP8 of transformers).
    Fp8,
    /// 8-bit integers, a 16-bit scale per output.
    Int8,
    /// 8-bit integers as bitsandbytes' LLM.int8 makes them: an FP32 scale per output.
    LlmInt8,
    /// GPTQ: packed integers; per group a 16-bit scale and a packed zero point, and a 32-bit group number per input.
    Gptq {
        /// Bits of a weight: 2, 3, 4 or 8.
        bits: u64,
        /// Inputs that share a scale.
        group: u64,
    },
    /// AWQ: packed 4-bit integers; per group a 16-bit scale and a packed zero point.
    Awq {
        /// Inputs that share a scale.
        group: u64,
    },
    /// Packed integers with a 16-bit scale and a 16-bit zero point per group (HQQ, torchao). `int4` is this with 4 bits and groups of 128.
    Hqq {
        /// Bits of a weight: 1, 2, 3, 4 or 8.
        bits: u64,
        /// Inputs that share scale and zero point.
        group: u64,
    },
    /// bitsandbytes' 4-bit normal floats (FP4 takes the same): an FP32 scale per 64 elements of the flattened matrix.
    Nf4,
    /// The same with its scales quantised to 8 bits, an FP32 scale per 256 of those.
    Nf4Double,
    /// Microscaling 4-bit floats: an 8-bit exponent per 32 inputs.
    Mxfp4,
    /// Microscaling 8-bit floats: an 8-bit exponent per 32 inputs.
    Mxfp8,
    /// NVIDIA's 4-bit floats: an FP8 scale per 16 inputs and an FP32 scale per matrix.
    Nvfp4,
    /// A GGUF file of llama.cpp.
    Gguf(Mix),
}

/// Inputs that share a scale where a format's name does not say otherwise.
const GROUP: u64 = 128;

impl Precision {
    /// 4-bit integers in groups of 128 with scale and zero point: what a bare `int4` means.
    pub const INT4: Self = Self::Hqq { bits: 4, group: GROUP };

    /// One of every kind, for listings and tests.
    pub const EXAMPLES: [Self; 15] = [
        Self::Fp32,
        Self::Bf16,
        Self::Fp16,
        Self::Fp8,
        Self::Int8,
        Self::LlmInt8,
        Self::INT4,
        Self::Gptq { bits: 4, group: GROUP },
        Self::Awq { group: GROUP },
        Self::Nf4,
        Self::Nf4Double,
        Self::Mxfp4,
        Self::Mxfp8,
        Self::Nvfp4,
        Self::Gguf(Mix::Q4KM),
    ];

    /// Bytes of an element that is not quantised, and of activations: 4 for [`Self::Fp32`], 2 for all others.
    pub const fn width(self) -> u64 {
        match self {
            Self::Fp32 => 4,
            _ => 2,
        }
    }

    /// Whether weights of a 16-bit checkpoint are quantised on the GPU while they are loaded, which holds a matrix in both forms for a moment.
    pub const fn quantised_on_load(self) -> bool {
        matches!(self, Self::LlmInt8 | Self::Nf4 | Self::Nf4Double | Self::Hqq { .. })
    }

    /// Whether a product over many rows first unpacks its whole matrix to 16 bits, as bitsandbytes, HQQ, AutoAWQ and GPTQ's kernels do.
    pub const fn unpacks(self) -> bool {
        matches!(self, Self::Nf4 | Self::Nf4Double | Self::Hqq { .. } | Self::Awq { .. } | Self::Gptq { .. })
    }

    /// Bytes of a layer's matrix `outputs × inputs` in `role`, scales and padding included. Biases are not. For GGUF see
    /// [`Mix::matrix`], which needs to know the layer.
    pub const fn matrix(self, role: Role, inputs: u64, outputs: u64) -> u64 {
        let elements = inputs * outputs;
        match (self, role) {
            (Self::Fp32, _) => 4 * elements,
            (Self::Bf16 | Self::Fp16 | Self::Gguf(_), _) | (_, Role::Router | Role::SharedGate) => 2 * elements,
            (Self::Fp8, _) => elements + 4 * outputs.div_ceil(128) * inputs.div_ceil(128),
            (Self::Int8, _) => elements + 2 * outputs,
            (Self::LlmInt8, _) => elements + 4 * outputs,
            (Self::Gptq { bits, group }, _) => {
                // Weights are packed along the inputs into 32-bit words, zero points along the outputs.
                let groups = inputs.div_ceil(group);
                4 * (inputs * bits).div_ceil(32) * outputs + groups * (2 * outputs + 4 * (outputs * bits).div_ceil(32)) + 4 * inputs
            }
            (Self::Awq { group }, _) => {
                // Both are packed along the outputs.
                let (groups, words) = (inputs.div_ceil(group), (outputs * 4).div_ceil(32));
                4 * inputs * words + groups * (2 * outputs + 4 * words)
            }
            (Self::Hqq { bits, group }, _) => outputs * ((inputs * bits).div_ceil(8) + 4 * inputs.div_ceil(group)),
            (Self::Nf4, _) => elements.div_ceil(2) + 4 * elements.div_ceil(64),
            (Self::Nf4Double, _) => elements.div_ceil(2) + elements.div_ceil(64) + 4 * elements.div_ceil(64 * 256),
            (Self::Mxfp4, _) => outputs * (inputs.div_ceil(2) + inputs.div_ceil(32)),
            (Self::Mxfp8, _) => outputs * (inputs + inputs.div_ceil(32)),
            (Self::Nvfp4, _) => outputs * (inputs.div_ceil(2) + inputs.div_ceil(16)) + 4,
        }
    }

    /// Whether its parameters are ones that exist.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the number of bits or the group.
    pub fn check(self) -> Result<()> {
        let (bits, group) = match self {
            Self::Gptq { bits, group } | Self::Hqq { bits, group } => (bits, group),
            Self::Awq { group } => (4, group),
            _ => return Ok(()),
        };
        if ![1, 2, 3, 4, 8].contains(&bits) || matches!(self, Self::Gptq { bits: 1, .. }) {
            return Err(Error::usage(format!("{self}: expected 2, 3, 4 or 8 bits but found {bits}")));
        }
        if !(8..=1 << 16).contains(&group) {
            return Err(Error::usage(format!(
                "{self}: expected a group of 8 to 65536 weights but found {group}; most checkpoints use 128"
            )));
        }
        Ok(())
    }
}

/// The name that [`Precision::from_str`] takes: lower case, with the group where it is not 128: `gptq4-g32`.
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grouped = |name: String, group: u64| if group == GROUP { name } else { format!("{name}-g{group}") };
        let name = match *self {
            Self::Fp32 => "fp32".to_owned(),
            Self::Bf16 => "bf16".to_owned(),
            Self::Fp16 => "fp16".to_owned(),
            Self::Fp8 => "fp8".to_owned(),
            Self::Int8 => "int8".to_owned(),
            Self::LlmInt8 => "llm.int8".to_owned(),
            Self::Gptq { bits, group } => grouped(format!("gptq{bits}"), group),
            Self::Awq { group } => grouped("awq".to_owned(), group),
            Self::Hqq { bits: 4, group } => grouped("int4".to_owned(), group),
            Self::Hqq { bits, group } => grouped(format!("hqq{bits}"), group),
            Self::Nf4 => "nf4".to_owned(),
            Self::Nf4Double => "nf4-double".to_owned(),
            Self::Mxfp4 => "mxfp4".to_owned(),
            Self::Mxfp8 => "mxfp8".to_owned(),
            Self::Nvfp4 => "nvfp4".to_owned(),
            Self::Gguf(mix) => mix.name().to_owned(),
        };
        f.pad(&name)
    }
}

/// Case, `_`, `-` and `.` do not matter. `gptq4`, `gptq-int8`, `awq`, `hqq3` and `int4` may be followed by `-g` and a group.
impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            let examples = Self::EXAMPLES.map(|precision| precision.to_string()).join(", ");
            Error::usage(format!("{text:?} is no precision; expected one such as {examples}, or another GGUF type such as q5_k_m or q8_0"))
        };
        let plain: String = text.trim().to_ascii_lowercase().chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).collect();
        if let Some(mix) = Mix::ALL.into_iter().find(|mix| mix.name().replace('_', "") == plain) {
            return Ok(Self::Gguf(mix));
        }
        let simple = match plain.as_str() {
            "fp32" | "float32" | "f32" => Some(Self::Fp32),
            "bf16" | "bfloat16" => Some(Self::Bf16),
            "fp16" | "float16" | "half" => Some(Self::Fp16),
            "fp8" | "fp8e4m3" | "e4m3" => Some(Self::Fp8),
            "int8" | "w8a16" | "w8a8" => Some(Self::Int8),
            "llmint8" | "bnbint8" => Some(Self::LlmInt8),
            "nf4" | "fp4" | "bnbnf4" | "bnbfp4" => Some(Self::Nf4),
            "nf4double" | "nf4dq" | "fp4dq" | "bnbnf4dq" | "bnbfp4dq" => Some(Self::Nf4Double),
            "mxfp4" => Some(Self::Mxfp4),
            "mxfp8" => Some(Self::Mxfp8),
            "nvfp4" => Some(Self::Nvfp4),
            _ => None,
        };
        if let Some(precision) = simple {
            return Ok(precision);
        }
        // What is left is a family, a number of bits, and a group.
        let family = ["gptq", "awq", "hqq", "int"].into_iter().find(|family| plain.starts_with(family)).ok_or_else(unknown)?;
        let rest = plain[family.len()..].trim_start_matches("int");
        let (bits, group) = rest.split_once('g').map_or((rest, None), |(bits, group)| (bits, Some(group)));
        let bits = if bits.is_empty() { 4 } else { bits.parse().map_err(|_| unknown())? };
        let group = group.map_or(Ok(GROUP), |group| group.parse().map_err(|_| unknown()))?;
        let precision = match (family, bits) {
            ("gptq", _) => Self::Gptq { bits, group },
            ("awq", 4) => Self::Awq { group },
            ("hqq", _) | ("int", 4) => Self::Hqq { bits, group },
            _ => return Err(unknown()),
        };
        precision.check().map(|()| precision)
    }
}

/// How cached keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvPrecision {
    /// As they are computed: 16 bits, or 32 where the weights are FP32.
    #[default]
    Computed,
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats of either kind.
    Bf16,
    /// 8-bit floats with one scale per layer.
    Fp8,
    /// 8-bit integers with a 16-bit scale and zero point per head and token.
    Int8,
    /// 4-bit integers with a 16-bit scale and zero point per 32 elements (KIVI).
    Int4,
}

impl KvPrecision {
    /// Every one, with its name.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Computed, "auto"),
        (Self::Fp32, "fp32"),
        (Self::Bf16, "bf16"),
        (Self::Fp8, "fp8"),
        (Self::Int8, "int8"),
        (Self::Int4, "int4"),
    ];

    /// Bytes of one token's `elements`, kept in vectors of `head` elements, where `width` bytes are computed with.
    pub const fn vector(self, head: u64, elements: u64, width: u64) -> u64 {
        let vectors = if head == 0 { 0 } else { elements.div_ceil(head) };
        match self {
            Self::Computed => width * elements,
            Self::Fp32 => 4 * elements,
            Self::Bf16 => 2 * elements,
            Self::Fp8 => elements,
            Self::Int8 => elements + 4 * vectors,
            Self::Int4 => elements.div_ceil(2) + 4 * vectors * head.div_ceil(32),
        }
    }

    /// Whether values must be unpacked before attention can read them.
    pub const fn quantised(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }
}

impl fmt::Display for KvPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(precision, _)| precision == self).map_or("", |(_, name)| name);
        f.pad(name)
    }
}

/// The names of [`KvPrecision::ALL`], and `fp16` for 16 bits.
impl FromStr for KvPrecision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = text.trim().to_ascii_lowercase();
        if plain == "fp16" {
            return Ok(Self::Bf16);
        }
        Self::ALL.iter().find(|(_, name)| *name == plain).map(|(precision, _)| *precision).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            Error::usage(format!("{text:?} is no precision of keys and values; expected one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(precision: Precision, inputs: u64, outputs: u64) -> f64 {
        precision.matrix(Role::Up, inputs, outputs) as f64 * 8.0 / (inputs * outputs) as f64
    }

    #[test]
    fn bits_per_weight_are_those_of_the_formats() {
        let near = |name: &str, expected: f64| {
            let precision: Precision = name.parse().unwrap();
            let found = bits(precision, 4096, 12288);
            assert!((found - expected).abs() < 0.004, "{name}: {found} instead of {expected}");
        };
        for (name, expected) in [
            ("fp32", 32.0),
            ("bf16", 16.0),
            ("fp8", 8.002),
            ("int8", 8.004),
            ("llm.int8", 8.008),
            ("gptq4", 4.159),
            ("gptq-int8", 8.190),
            ("awq", 4.156),
            ("int4", 4.25),
            ("hqq4-g64", 4.5),
            ("nf4", 4.5),
            ("nf4-double", 4.127),
            ("mxfp4", 4.25),
            ("mxfp8", 8.25),
            ("nvfp4", 4.5),
        ] {
            near(name, expected);
        }
    }

    #[test]
    fn routers_are_never_quantised() {
        for precision in Precision::EXAMPLES {
            let expected = if precision == Precision::Fp32 { 4 } else { 2 };
            assert_eq!(precision.matrix(Role::Router, 4096, 8), expected * 4096 * 8);
        }
    }

    #[test]
    fn a_last_group_is_paid_whole() {
        // 130 inputs make two groups of 128: a scale and a zero point of 2 bytes each, twice.
        assert_eq!(Precision::INT4.matrix(Role::Up, 130, 1), 65 + 8);
        assert_eq!(Precision::Mxfp4.matrix(Role::Up, 33, 2), 2 * (17 + 2));
        assert_eq!(Precision::Nf4.matrix(Role::Up, 65, 1), 33 + 8);
    }

    #[test]
    fn names_parse_back() {
        let more = [Precision::Gptq { bits: 8, group: 32 }, Precision::Awq { group: 64 }, Precision::Hqq { bits: 3, group: 64 }];
        let mixes = Mix::ALL.map(Precision::Gguf);
        for precision in Precision::EXAMPLES.into_iter().chain(more).chain(mixes) {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        assert_eq!("Q4_K_M".parse::<Precision>().unwrap(), Precision::Gguf(Mix::Q4KM));
        for (precision, name) in KvPrecision::ALL {
            assert_eq!(name.parse::<KvPrecision>().unwrap(), precision);
            assert_eq!(precision.to_string(), name);
        }
    }

    #[test]
    fn what_is_no_precision_is_said_to_be_none() {
        for text in ["", "int5", "int4g", "awq3", "gptq1", "gptq4-g0", "hqq99", "fp64", "gptq4-g99999999999999999999", "ü"] {
            let error = text.parse::<Precision>().unwrap_err().to_string();
            assert!(error.contains("expected"), "{error}");
        }
        assert!("bf17".parse::<KvPrecision>().is_err());
    }

    #[test]
    fn cached_vectors_carry_their_scales() {
        // A head of 128: 256 bytes in 16 bits, 128 and four of scale and zero point in 8, 64 and four times four in 4.
        assert_eq!(KvPrecision::Bf16.vector(128, 128, 2), 256);
        assert_eq!(KvPrecision::Fp8.vector(128, 128, 2), 128);
        assert_eq!(KvPrecision::Int8.vector(128, 128, 2), 132);
        assert_eq!(KvPrecision::Int4.vector(128, 128, 2), 80);
    }

    proptest! {
        #[test]
        fn fewer_bits_never_take_more(inputs in 64u64..20_000, outputs in 1u64..20_000) {
            let bytes = |precision: Precision| precision.matrix(Role::Down, inputs, outputs);
            prop_assert!(bytes(Precision::INT4) <= bytes(Precision::Int8));
            prop_assert!(bytes(Precision::Nf4Double) <= bytes(Precision::Nf4));
            prop_assert!(bytes(Precision::Int8) <= bytes(Precision::Bf16));
            prop_assert!(bytes(Precision::Bf16) <= bytes(Precision::Fp32));
        }

        #[test]
        fn a_larger_matrix_never_takes_less(inputs in 1u64..1 << 20, outputs in 1u64..1 << 20, more in 0u64..1000) {
            for precision in Precision::EXAMPLES {
                let bytes = precision.matrix(Role::Down, inputs, outputs);
                prop_assert!(bytes <= precision.matrix(Role::Down, inputs + more, outputs));
                prop_assert!(bytes <= precision.matrix(Role::Down, inputs, outputs + more));
            }
        }

        #[test]
        fn any_text_is_a_precision_or_an_error(text in "\\PC{0,16}") {
            let _ = text.parse::<Precision>();
            let _ = text.parse::<KvPrecision>();
        }
    }
}
