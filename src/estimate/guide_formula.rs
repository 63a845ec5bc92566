//! The written guide's own calculator (its section B.6), to the last digit.
//!
//! The guide estimates memory by a handful of products: bytes per parameter for weights, gradients and optimizer, `34·B·S·d` activation elements
//! per layer, divided by `√L` under checkpointing, and 500 MiB for everything else. That is a good first order with known errors (see
//! `gpu-assay guide --errata`); [`memory`](super::memory) is the estimate to trust. This one is kept because people have the guide's numbers in
//! hand, and a program that means to correct them has to show the same ones first.
//!
//! **To the digit** means the same arithmetic in the same order: products of whole numbers are exact, everything else is double precision, and
//! each printed number is the decimal nearest to the binary value, a tie going to the even digit. What the guide calls GB is 2³⁰ bytes.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::catalog::{Catalog, GuideShape, ModelRow};
use crate::error::{Error, Result};

/// A model as the guide's calculator describes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// As the guide prints it.
    pub name: String,
    /// Parameters, in units of 10⁹.
    pub params_billion: f64,
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Features of one head.
    pub head_dim: u64,
}

impl From<&GuideShape> for Shape {
    fn from(row: &GuideShape) -> Self {
        Self {
            name: row.name.clone(),
            params_billion: row.params_billion,
            layers: row.layers,
            hidden: row.hidden,
            kv_heads: row.kv_heads,
            head_dim: row.head_dim,
        }
    }
}

impl Shape {
    /// The guide's own numbers for a model, errors included; `None` for a model that it does not have.
    pub fn named(catalog: &Catalog, name: &str) -> Option<Self> {
        let is_called = |row: &&ModelRow| row.names().any(|known| known.eq_ignore_ascii_case(name.trim()));
        catalog.models.iter().rev().find(is_called)?.guide.as_ref().map(Self::from)
    }

    fn check(&self) -> Result<()> {
        if !(self.params_billion > 0.0 && self.params_billion <= 1e6) {
            return Err(Error::usage(format!("expected 0 to 1000000 billion parameters but found {}", self.params_billion)));
        }
        positive(&[
            ("number of layers", self.layers),
            ("hidden size", self.hidden),
            ("number of key-value heads", self.kv_heads),
            ("head dimension", self.head_dim),
        ])
    }
}

/// A type of a few values with the guide's names, on which parsing, display and serialisation agree.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them, in the guide's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The guide's name.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }

        /// Takes the guide's names, with hyphens or underscores.
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let wanted = text.replace('-', "_");
                Self::ALL.iter().copied().find(|value| value.word() == wanted).ok_or_else(|| {
                    let known = [$($word),+].join(", ");
                    Error::usage(format!("the guide's calculator has no {} {text:?}; it knows {known}", $what))
                })
            }
        }
    };
}

names!(
    /// How the guide trains.
    Method, "method", {
        /// Everything in 4 bytes.
        FullFp32 = "full_fp32",
        /// Weights and gradients in 2 bytes.
        FullMixed = "full_mixed",
        /// Adapters on weights in 2 bytes.
        Lora = "lora",
        /// Adapters on weights in 0.55 bytes.
        Qlora = "qlora",
    }
);

names!(
    /// What the guide updates weights with.
    Optimizer, "optimizer", {
        /// 12 bytes a trained parameter.
        AdamW = "adamw",
        /// 4 bytes.
        Sgd = "sgd",
        /// 6 bytes.
        Adam8bit = "adam_8bit",
    }
);

names!(
    /// What the guide stores weights in for inference.
    Precision, "precision", {
        /// 4 bytes.
        Fp32 = "fp32",
        /// 2 bytes.
        Bf16 = "bf16",
        /// 2 bytes.
        Fp16 = "fp16",
        /// 1 byte.
        Int8 = "int8",
        /// Half a byte.
        Int4 = "int4",
        /// 1 byte.
        Fp8 = "fp8",
    }
);

impl Optimizer {
    /// Bytes of state per trained parameter, master weights among them.
    const fn bytes(self) -> u64 {
        match self {
            Self::AdamW => 12,
            Self::Sgd => 4,
            Self::Adam8bit => 6,
        }
    }
}

impl Precision {
    /// Bytes per parameter.
    const fn bytes(self) -> f64 {
        match self {
            Self::Fp32 => 4.0,
            Self::Bf16 | Self::Fp16 => 2.0,
            Self::Int8 | Self::Fp8 => 1.0,
            Self::Int4 => 0.5,
        }
    }
}

/// A training step as the guide describes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// What is trained, in what precision.
    pub method: Method,
    /// What updates it.
    pub optimizer: Optimizer,
    /// Sequences.
    pub batch: u64,
    /// Tokens of a sequence.
    pub seq: u64,
    /// Whether activations are divided by the root of the layers.
    pub checkpointing: bool,
    /// Inner width of LoRA's adapters.
    pub rank: u64,
    /// Adapted products of a layer, all taken to be square.
    pub targets: u64,
}

impl Setting {
    /// The guide's defaults: batch 1, 2048 tokens, checkpointing, AdamW, rank 64 on four products.
    pub const fn new(method: Method) -> Self {
        Self { method, optimizer: Optimizer::AdamW, batch: 1, seq: 2048, checkpointing: true, rank: 64, targets: 4 }
    }
}

/// What the guide prints for training. Memory in units of 2³⁰ bytes, two decimals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Training {
    /// Its name.
    pub model: String,
    /// What was asked for.
    pub method: Method,
    /// Weights.
    pub params_memory_gb: f64,
    /// Gradients.
    pub gradient_memory_gb: f64,
    /// Optimizer states.
    pub optimizer_memory_gb: f64,
    /// Activations.
    pub activation_memory_gb: f64,
    /// Everything else.
    pub overhead_gb: f64,
    /// The sum, rounded once.
    pub total_vram_gb: f64,
    /// Trained parameters in units of 10⁹, four decimals.
    pub trainable_params_billion: f64,
    /// Parameters of the adapters in units of 10⁶, one decimal; only where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_params_million: Option<f64>,
    /// At most three lines of the guide's list of GPUs, in its own words.
    pub recommended_gpus: Vec<String>,
}

/// What the guide prints for inference. Memory in units of 2³⁰ bytes, two decimals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inference {
    /// Its name.
    pub model: String,
    /// What was asked for.
    pub precision: Precision,
    /// Sequences.
    pub batch_size: u64,
    /// Tokens of a sequence.
    pub seq_len: u64,
    /// Weights.
    pub params_memory_gb: f64,
    /// Keys and values, always in 2 bytes.
    pub kv_cache_gb: f64,
    /// Everything else.
    pub overhead_gb: f64,
    /// The sum, rounded once.
    pub total_vram_gb: f64,
}

const GIB: f64 = 1_073_741_824.0;

/// Everything that is neither weights, states nor activations: 500 MiB.
const OVERHEAD: f64 = 524_288_000.0;

/// The guide's answer for a training step.
///
/// # Errors
/// [`Error::Usage`] for a setting that is zero or too large to be counted.
pub fn train(model: &Shape, setting: &Setting) -> Result<Training> {
    model.check()?;
    positive(&[
        ("batch", setting.batch),
        ("sequence length", setting.seq),
        ("LoRA rank", setting.rank),
        ("number of LoRA targets", setting.targets),
    ])?;
    let parameters = model.params_billion * 1e9;
    let adapters = match setting.method {
        Method::Lora | Method::Qlora => Some(count(&[2, setting.rank, model.hidden, setting.targets, model.layers])?),
        Method::FullFp32 | Method::FullMixed => None,
    };
    // Bytes of a weight, and of a trained parameter's gradient.
    let (weight, gradient) = match setting.method {
        Method::FullFp32 => (4.0, 4.0),
        Method::FullMixed | Method::Lora => (2.0, 2.0),
        Method::Qlora => (0.55, 2.0),
    };
    // A count of adapters stays a whole number until its bytes are known, so that nothing is rounded twice.
    let per_trained = |bytes: f64| match adapters {
        Some(adapters) => (adapters * bytes as u128) as f64,
        None => parameters * bytes,
    };
    let weights = parameters * weight;
    let gradients = per_trained(gradient);
    let states = per_trained(setting.optimizer.bytes() as f64);
    let activations = activations(model, setting)?;
    let trained = adapters.map_or(parameters, |adapters| adapters as f64);
    let total = rounded((weights + gradients + states + activations + OVERHEAD) / GIB, 2);
    Ok(Training {
        model: model.name.clone(),
        method: setting.method,
        params_memory_gb: rounded(weights / GIB, 2),
        gradient_memory_gb: rounded(gradients / GIB, 2),
        optimizer_memory_gb: rounded(states / GIB, 2),
        activation_memory_gb: rounded(activations / GIB, 2),
        overhead_gb: rounded(OVERHEAD / GIB, 2),
        total_vram_gb: total,
        trainable_params_billion: rounded(trained / 1e9, 4),
        lora_params_million: adapters.map(|adapters| rounded(adapters as f64 / 1e6, 1)),
        recommended_gpus: recommended(total),
    })
}

/// The guide's answer for inference.
///
/// # Errors
/// [`Error::Usage`] for a setting that is zero or too large to be counted.
pub fn infer(model: &Shape, precision: Precision, batch: u64, seq: u64) -> Result<Inference> {
    model.check()?;
    positive(&[("batch", batch), ("sequence length", seq)])?;
    tokens(batch, seq)?;
    let weights = model.params_billion * 1e9 * precision.bytes();
    // Keys and values, two bytes each.
    let cache = count(&[2, model.layers, batch, seq, model.kv_heads, model.head_dim, 2])? as f64;
    Ok(Inference {
        model: model.name.clone(),
        precision,
        batch_size: batch,
        seq_len: seq,
        params_memory_gb: rounded(weights / GIB, 2),
        kv_cache_gb: rounded(cache / GIB, 2),
        overhead_gb: rounded(OVERHEAD / GIB, 2),
        total_vram_gb: rounded((weights + cache + OVERHEAD) / GIB, 2),
    })
}

/// 34 elements of 2 bytes for every feature of every token in every layer; with checkpointing, the root of the layers as many.
fn activations(model: &Shape, setting: &Setting) -> Result<f64> {
    tokens(setting.batch, setting.seq)?;
    let all = count(&[setting.batch, setting.seq, model.hidden, 34, 2, model.layers])? as f64;
    Ok(if setting.checkpointing { all / (model.layers as f64).sqrt() } else { all })
}

/// The guide's list: a GPU, or several, and their memory in marketing GB.
const GPUS: [(&str, u64); 9] = [
    ("RTX 4090", 24),
    ("RTX 6000 Ada / L40S", 48),
    ("A100 40GB", 40),
    ("A100 80GB", 80),
    ("H100 80GB", 80),
    ("2× A100 80GB", 160),
    ("4× A100 80GB", 320),
    ("8× A100 80GB", 640),
    ("8× H100 80GB", 640),
];

/// The first three of the guide's list that hold `gigabytes` with a margin of a tenth; its own sentence, in Korean, where none does.
pub fn recommended(gigabytes: f64) -> Vec<String> {
    let needed = gigabytes * 1.1;
    let enough = GPUS.iter().filter(|(_, memory)| *memory as f64 >= needed);
    let found: Vec<String> = enough.take(3).map(|(name, memory)| format!("{name} ({memory}GB)")).collect();
    if found.is_empty() { vec!["8× H100 이상 필요".to_owned()] } else { found }
}

/// `value` to so many decimals as the guide's language rounds: the formatter's digits are those of the exact binary value, ties to even.
fn rounded(value: f64, decimals: usize) -> f64 {
    format!("{value:.decimals$}").parse().unwrap_or(value)
}

fn positive(counts: &[(&str, u64)]) -> Result<()> {
    match counts.iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(Error::usage(format!("expected a {name} of at least 1 but found 0"))),
        None => Ok(()),
    }
}

/// Fails where batch × sequence is beyond any counter.
fn tokens(batch: u64, seq: u64) -> Result<()> {
    match batch.checked_mul(seq) {
        Some(tokens) if i64::try_from(tokens).is_ok() => Ok(()),
        _ => Err(Error::usage(format!("a batch of {batch} sequences of {seq} tokens is more than 2^63 tokens; give a smaller one"))),
    }
}

/// The exact product, with room for the few bytes it is multiplied by later.
fn count(factors: &[u64]) -> Result<u128> {
    let product = factors.iter().try_fold(1u128, |product, &factor| product.checked_mul(u128::from(factor)));
    product
        .filter(|&product| product < 1 << 120)
        .ok_or_else(|| Error::usage("these dimensions multiply to more than 2^120; give smaller ones"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model() -> Shape {
        Shape { name: "test".to_owned(), params_billion: 7.07, layers: 28, hidden: 3584, kv_heads: 4, head_dim: 128 }
    }

    #[test]
    fn ties_go_to_the_even_digit() {
        for (value, decimals, expected) in
            [(0.125, 2, 0.12), (0.375, 2, 0.38), (3.125, 2, 3.12), (2.675, 2, 2.67), (0.25, 1, 0.2), (0.75, 1, 0.8), (1.03125, 4, 1.0312)]
        {
            assert_eq!(rounded(value, decimals), expected, "{value}");
        }
    }

    proptest! {
        /// A tie at two decimals is an odd number of eighths of which a quarter is a whole hundredth: exact in binary, so it can be decided in whole numbers.
        #[test]
        fn eighths_round_to_even_hundredths(eighths in 0u64..1 << 40) {
            // eighths/8 = 12.5·eighths hundredths.
            let halves = 25 * u128::from(eighths);
            let hundredths = match (halves % 2, (halves / 2) % 2) {
                (0, _) | (1, 0) => halves / 2,
                _ => halves / 2 + 1,
            };
            prop_assert_eq!(rounded(eighths as f64 / 8.0, 2), hundredths as f64 / 100.0);
        }

        #[test]
        fn rounding_moves_by_no_more_than_half_a_digit(value in 0.0..1e6f64, decimals in 0usize..5) {
            let half = 0.5 * 10f64.powi(-(decimals as i32));
            prop_assert!((rounded(value, decimals) - value).abs() <= half * (1.0 + 1e-9));
        }

        #[test]
        fn hostile_numbers_are_errors_and_never_panics(batch: u64, seq: u64, layers: u64, hidden: u64, rank: u64) {
            let model = Shape { layers, hidden, ..model() };
            for &method in Method::ALL {
                if let Ok(training) = train(&model, &Setting { batch, seq, rank, ..Setting::new(method) }) {
                    prop_assert!(training.total_vram_gb.is_finite() && training.total_vram_gb > 0.0);
                }
            }
            let _ = infer(&model, Precision::Bf16, batch, seq);
        }

        #[test]
        fn more_tokens_and_wider_adapters_never_take_less(batch in 1u64..64, seq in 1u64..65536, rank in 1u64..512, more in 1u64..64) {
            let model = model();
            let setting = Setting { batch, seq, rank, ..Setting::new(Method::Lora) };
            let total = |setting: &Setting| train(&model, setting).unwrap().total_vram_gb;
            let least = total(&setting);
            for larger in [
                Setting { batch: batch + more, ..setting },
                Setting { seq: seq + more, ..setting },
                Setting { rank: rank + more, ..setting },
            ] {
                prop_assert!(total(&larger) >= least, "{:?}", larger);
            }
        }
    }

    #[test]
    fn unknown_names_are_errors_that_list_the_known_ones() {
        assert_eq!(
            "full-bf16".parse::<Method>().unwrap_err().to_string(),
            r#"the guide's calculator has no method "full-bf16"; it knows full_fp32, full_mixed, lora, qlora"#
        );
        assert_eq!(
            "q4_k_m".parse::<Precision>().unwrap_err().to_string(),
            r#"the guide's calculator has no precision "q4_k_m"; it knows fp32, bf16, fp16, int8, int4, fp8"#
        );
        assert_eq!("adam-8bit".parse::<Optimizer>().unwrap(), Optimizer::Adam8bit);
        assert!("lion".parse::<Optimizer>().is_err());
    }

    #[test]
    fn impossible_settings_say_what_is_wrong() {
        let model = model();
        let said = |setting: Setting| train(&model, &setting).unwrap_err().to_string();
        let usual = Setting::new(Method::Lora);
        assert_eq!(said(Setting { batch: 0, ..usual }), "expected a batch of at least 1 but found 0");
        assert_eq!(said(Setting { rank: 0, ..usual }), "expected a LoRA rank of at least 1 but found 0");
        let huge = said(Setting { batch: 1 << 40, seq: 1 << 30, ..usual });
        assert_eq!(huge, "a batch of 1099511627776 sequences of 1073741824 tokens is more than 2^63 tokens; give a smaller one");
        let nothing = Shape { params_billion: f64::NAN, ..model };
        assert!(train(&nothing, &usual).unwrap_err().to_string().contains("found NaN"));
    }
}
