//! What `estimate` and `plan` both ask about a training: what its method needs besides its name (adapters, the form of 4 bits, the width of
//! gradients), and whose code runs it.

use clap::Args;

use super::words::{self, MethodWord, TargetsWord};
use crate::error::{Error, Result};
use crate::workload::{Adapters, AttentionKernel, CrossEntropy, Framework, Method, Quantised, Targets};

#[derive(Debug, Args)]
pub(in crate::cli) struct Adapting {
    /// Inner width of LoRA's adapters
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(in crate::cli) lora_rank: u64,

    /// Products that have adapters: a number, names of q,k,v,o,gate,up,down, or all-linear
    #[arg(long, value_name = "TARGETS", value_parser = words::targets, default_value = "q,k,v,o")]
    pub(in crate::cli) lora_targets: TargetsWord,

    /// Dropout before the adapters
    #[arg(long, value_name = "SHARE")]
    pub(in crate::cli) lora_dropout: Option<f64>,

    /// Keep adapters in BF16 instead of FP32
    #[arg(long)]
    pub(in crate::cli) lora_bf16: bool,

    /// Quantise the scales of QLoRA's weights too
    #[arg(long)]
    pub(in crate::cli) double_quant: bool,

    /// Keep the gradients of full-mixed in FP32
    #[arg(long)]
    pub(in crate::cli) fp32_gradients: bool,
}

/// Whose code trains, and with which kernels.
#[derive(Debug, Args)]
pub(in crate::cli) struct Code {
    /// Attention's kernel: flash, eager, masked (flash with padding) [default: flash]
    #[arg(long, value_name = "KERNEL", value_parser = words::attention)]
    pub(in crate::cli) attention: Option<AttentionKernel>,

    /// How the loss is computed: full, chunked, in-place, fused [default: full]
    #[arg(long, value_name = "HOW", value_parser = words::cross_entropy)]
    pub(in crate::cli) cross_entropy: Option<CrossEntropy>,

    /// Whose code trains: hugging-face, megatron, lightning [default: hugging-face]
    #[arg(long, value_name = "NAME", value_parser = words::framework)]
    pub(in crate::cli) framework: Option<Framework>,
}

impl Adapting {
    /// The method that `word` names.
    pub(in crate::cli) fn method(&self, word: MethodWord) -> Result<Method> {
        let quantised = if self.double_quant { Quantised::Nf4Double } else { Quantised::Nf4 };
        Ok(word.with(self.adapters()?, self.fp32_gradients, quantised))
    }

    fn adapters(&self) -> Result<Adapters> {
        let dropout = match self.lora_dropout {
            None => false,
            Some(share) if (0.0..1.0).contains(&share) => share > 0.0,
            Some(share) => return Err(Error::usage(format!("expected a --lora-dropout of 0 to 1 but found {share}"))),
        };
        let targets: Targets = self.lora_targets.targets.clone().ok_or_else(|| {
            Error::usage(format!("expected 1 to 7 products of a layer in --lora-targets but found {}", self.lora_targets.count))
        })?;
        Ok(Adapters { rank: self.lora_rank, targets, dropout, fp32: !self.lora_bf16 })
    }
}
