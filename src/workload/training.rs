//! What is done with a model: the settings of a training step.

use crate::error::{Error, Result};

/// One optimizer step of training, per data-parallel worker where not said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Which weights are trained, and in what precision.
    pub method: Method,
    /// What updates them.
    pub optimizer: Optimizer,
    /// Sequences of one micro-batch on one GPU.
    pub batch: u64,
    /// Tokens of a sequence, padding included, image tokens too.
    pub seq: u64,
    /// What is recomputed instead of kept.
    pub checkpointing: Checkpointing,
    /// How attention is computed.
    pub attention: AttentionKernel,
    /// Whether dropout is applied in training (to attention, after attention, after the MLP), as GPT-2's time did; today's models have none.
    pub dropout: bool,
    /// How the loss is computed.
    pub cross_entropy: CrossEntropy,
    /// Micro-batches before an optimizer step.
    pub grad_accum: u64,
    /// Whose code runs the model and shares its states among data-parallel workers.
    pub framework: Framework,
    /// How GPUs share the work.
    pub parallel: Parallel,
    /// What lives in host memory.
    pub offload: Offload,
    /// Images in each sequence.
    pub images: Images,
}

/// Which weights are trained, and in what precision.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// Weights, gradients and states in FP32, products in FP32.
    FullFp32,
    /// Weights, gradients and states in FP32, products in BF16 under autocast.
    AmpBf16,
    /// Weights in BF16; master weights, and states, in FP32 (Megatron, DeepSpeed).
    FullMixed {
        /// Whether gradients are kept in FP32 too.
        fp32_gradients: bool,
    },
    /// Everything in BF16, states included.
    FullBf16,
    /// Adapters on frozen BF16 weights.
    Lora(Adapters),
    /// Adapters on frozen 4-bit weights.
    Qlora(Adapters, Quantised),
}

/// Low-rank adapters.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapters {
    /// Inner width of every adapter.
    pub rank: u64,
    /// Which products have one.
    pub targets: Targets,
    /// Whether dropout is applied to their inputs, which keeps a copy and a mask.
    pub dropout: bool,
    /// Whether adapters are FP32 (as PEFT makes them) instead of BF16.
    pub fp32: bool,
}

/// Products that LoRA adapts. The language model's only; a vision tower stays frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// By name.
    Some {
        /// Queries.
        q: bool,
        /// Keys.
        k: bool,
        /// Values.
        v: bool,
        /// Attention's output.
        o: bool,
        /// The MLP's gate.
        gate: bool,
        /// The MLP's way up.
        up: bool,
        /// The MLP's way down.
        down: bool,
    },
    /// Every product of every layer, the output head excepted.
    AllLinear,
}

/// How the frozen 4-bit weights of QLoRA are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantised {
    /// NF4, an FP32 scale per 64 weights.
    Nf4,
    /// NF4 with its scales quantised to 8 bits.
    Nf4Double,
}

/// What updates the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimizer {
    /// AdamW, tensors updated in lists, which needs temporaries as large as the parameters.
    AdamWForeach,
    /// AdamW, one tensor after another.
    AdamWLoop,
    /// AdamW in one kernel.
    AdamWFused,
    /// Plain gradient descent with momentum.
    SgdMomentum,
    /// AdamW with states in 8 bits.
    Adam8bit,
    /// The same in memory that the driver pages to the host.
    PagedAdam8bit,
}

/// What is recomputed in the backward pass instead of kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpointing {
    /// Nothing.
    None,
    /// The inside of attention (Megatron's selective recomputation).
    Selective,
    /// Every layer from its input.
    Full,
}

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKernel {
    /// Scores never leave the chip; one number per row is kept.
    Flash,
    /// As flash, given a mask as a tensor (sequences padded to one length): keys and values are repeated to all heads, and the mask is kept.
    Masked,
    /// Scores are written out.
    Eager,
}

/// How the loss is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrossEntropy {
    /// All logits at once, in FP32.
    Full,
    /// Eight pieces of the sequence one after another.
    Chunked,
    /// All logits at once, in the width of products, overwritten by their gradients (flash-attention's kernel for the loss).
    InPlace,
    /// Logits never stored: head and loss in one kernel.
    Fused,
}

/// Whose code runs the model: which operations are one kernel, and what stands beside the tensors of data-parallel workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    /// Hugging Face's modules as they are written, in elementary operations; DDP of PyTorch, ZeRO of DeepSpeed.
    HuggingFace,
    /// Megatron-LM: one kernel per norm, per activation and per softmax, in 16 bits; gradients reduced where they lie.
    Megatron,
    /// Lightning Fabric, as LitGPT uses it: modules in elementary operations as Hugging Face's. Its FSDP loads a checkpoint by gathering all
    /// weights on every GPU, filling them and writing each GPU's share back, so that loading can take more than a step.
    Lightning,
}

/// How GPUs share the work. `gpus = data × tensor × pipeline`; experts are spread over the data-parallel workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallel {
    /// GPUs altogether.
    pub gpus: u64,
    /// What data-parallel workers share.
    pub data: Data,
    /// GPUs that share every product.
    pub tensor: u64,
    /// Whether activations between products are split along the sequence too.
    pub sequence: bool,
    /// Stages of layers.
    pub pipeline: u64,
    /// Pieces of layers per stage (1: not interleaved).
    pub interleave: u64,
    /// GPUs that share the experts.
    pub expert: u64,
    /// GPUs of one node, which share its host memory.
    pub per_node: u64,
}

/// What data-parallel workers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Nothing: each has all, and gradients are averaged.
    Ddp,
    /// Optimizer states.
    Zero1,
    /// Gradients too.
    Zero2,
    /// Weights too, gathered product by product (DeepSpeed's ZeRO-3).
    Zero3,
    /// The same, gathered layer by layer (PyTorch's FSDP). FP32 weights under autocast are gathered in BF16, as its mixed precision does.
    Fsdp,
}

/// What lives in host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Nothing.
    None,
    /// Optimizer states and master weights.
    Optimizer,
    /// Weights too.
    All,
}

/// Images of a sequence; all of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Images {
    /// How many in a sequence.
    pub count: u64,
    /// Pixels across.
    pub width: u64,
    /// Pixels down.
    pub height: u64,
}

impl Method {
    /// The adapters, where only they are trained.
    pub const fn adapters(&self) -> Option<&Adapters> {
        match self {
            Self::Lora(adapters) | Self::Qlora(adapters, _) => Some(adapters),
            _ => None,
        }
    }
}

impl Parallel {
    /// One GPU.
    pub const ONE: Self = Self { gpus: 1, data: Data::Ddp, tensor: 1, sequence: false, pipeline: 1, interleave: 1, expert: 1, per_node: 8 };

    /// Data-parallel workers: what ZeRO divides by, never all GPUs.
    pub const fn workers(&self) -> u64 {
        self.gpus / (self.tensor * self.pipeline)
    }
}

impl Training {
    /// The usual way to train with `method` on one GPU: AdamW, flash attention, everything kept, the loss over all logits.
    pub const fn new(method: Method, batch: u64, seq: u64) -> Self {
        Self {
            method,
            optimizer: Optimizer::AdamWLoop,
            batch,
            seq,
            checkpointing: Checkpointing::None,
            attention: AttentionKernel::Flash,
            dropout: false,
            cross_entropy: CrossEntropy::Full,
            grad_accum: 1,
            framework: Framework::HuggingFace,
            parallel: Parallel::ONE,
            offload: Offload::None,
            images: Images { count: 0, width: 0, height: 0 },
        }
    }

    /// Tokens of one micro-batch on one GPU, once [`Self::check`] has passed.
    pub const fn tokens(&self) -> u64 {
        self.batch * self.seq
    }

    /// Whether these settings can be computed with: nothing zero, nothing beyond any real run.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the setting.
    pub fn check(&self) -> Result<()> {
        /// More tokens than any GPU ever held at once; small enough that no count of bytes overflows.
        const MOST: u64 = 1 << 28;
        let counts = [
            ("batch", self.batch),
            ("sequence length", self.seq),
            ("number of gradient accumulation steps", self.grad_accum),
            ("number of GPUs", self.parallel.gpus),
            ("tensor-parallel degree", self.parallel.tensor),
            ("pipeline-parallel degree", self.parallel.pipeline),
            ("interleaving degree", self.parallel.interleave),
            ("expert-parallel degree", self.parallel.expert),
            ("number of GPUs per node", self.parallel.per_node),
        ];
        for (name, value) in counts {
            if !(1..=MOST).contains(&value) {
                return Err(Error::usage(format!("expected a {name} of 1 to {MOST} but found {value}")));
            }
        }
        if self.batch.checked_mul(self.seq).is_none_or(|tokens| tokens > MOST) {
            let (batch, seq) = (self.batch, self.seq);
            return Err(Error::usage(format!(
                "a batch of {batch} sequences of {seq} tokens is more than {MOST} tokens; give a smaller one"
            )));
        }
        let shards = self.parallel.tensor.saturating_mul(self.parallel.pipeline);
        if !self.parallel.gpus.is_multiple_of(shards) {
            let Parallel { gpus, tensor, pipeline, .. } = self.parallel;
            return Err(Error::usage(format!("{gpus} GPUs cannot be divided into {tensor} (tensor) × {pipeline} (pipeline)")));
        }
        Ok(())
    }
}
