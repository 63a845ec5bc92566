//! What runs the work: how kernels are launched, which attention kernel there is, how quantised weights are unpacked, who loads data.

use crate::units::Seconds;
use crate::workload::operations::Kernels;
use crate::workload::{Framework, Inference, Precision, Training};

/// How kernels get from the host to the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launching {
    /// One by one from Python, through a framework's dispatcher.
    Python,
    /// One by one from compiled code (TurboMind, llama.cpp, TensorRT-LLM without graphs).
    Native,
    /// Recorded once, replayed as a graph.
    Graph,
}

/// Generation of flash attention's kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flash {
    /// Of 2022, and its Triton version: a quarter to two fifths of an A100's peak.
    First,
    /// Of July 2023: half to three quarters of an A100's peak, a third of an H100's.
    Second,
    /// The best there is for the GPU: the third on Hopper, cuDNN's and others on Blackwell, the second elsewhere.
    Latest,
}

/// How 4-bit weights become 16-bit ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacking {
    /// One kernel that reads the packed matrix and writes the whole one (bitsandbytes).
    Kernel,
    /// In elementary operations: AutoGPTQ's `qlinear_cuda` for more than 128 rows. The shift makes 32-bit integers (4.5 bytes a weight),
    /// they become bytes (5), are masked (2); zero points are gathered (1) and subtracted (3), scales are gathered (2) and multiplied (5).
    Elementary,
}

impl Unpacking {
    /// Bytes read and written per weight, and kernels per matrix.
    pub(super) const fn per_weight(self) -> (f64, u64) {
        match self {
            Self::Kernel => (0.5 + 0.016 + 2.0, 1),
            Self::Elementary => (22.5, 11),
        }
    }
}

/// Workers that prepare data while the GPU computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loading {
    /// Time of one worker for one sequence: read, decode, resize, tokenize.
    pub per_sequence: Seconds,
    /// Workers (`num_workers`); none: the training process itself.
    pub workers: u64,
}

/// What runs the work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Software {
    /// How kernels are launched.
    pub launching: Launching,
    /// Whether elementwise work is fused.
    pub kernels: Kernels,
    /// Generation of the attention kernel.
    pub flash: Flash,
    /// How 4-bit weights are unpacked.
    pub unpacking: Unpacking,
    /// Who loads data; `None`: it is there in time.
    pub loading: Option<Loading>,
    /// Whether the host waits for the GPU at every quantised product, so that neither works while the other does: transformers' `FP8Linear`
    /// calls `synchronize` (since its first version, 4.51), bitsandbytes' LLM.int8 asks how many outliers there are.
    pub waits: bool,
    /// Whether a prompt is read but for its last token, which the first step of decoding takes: TurboMind before December 2023 (LMDeploy's #775).
    pub last_apart: bool,
}

impl Software {
    const USUAL: Self = Self {
        launching: Launching::Python,
        kernels: Kernels::Elementary,
        flash: Flash::Latest,
        unpacking: Unpacking::Kernel,
        loading: None,
        waits: false,
        last_apart: false,
    };

    /// What trains under these settings today.
    pub const fn training(training: &Training) -> Self {
        let kernels = match training.framework {
            Framework::HuggingFace | Framework::Lightning => Kernels::Elementary,
            Framework::Megatron => Kernels::Fused,
        };
        Self { kernels, ..Self::USUAL }
    }

    /// What runs these settings today: servers and llama.cpp replay graphs, transformers launches from Python.
    pub const fn inference(inference: &Inference) -> Self {
        let (launching, kernels) = match inference.fused {
            true => (Launching::Graph, Kernels::Fused),
            false => (Launching::Python, Kernels::Elementary),
        };
        let waits = !inference.fused && matches!(inference.precision, Precision::Fp8 | Precision::LlmInt8);
        Self { launching, kernels, waits, ..Self::USUAL }
    }
}

/// Whether products read packed weights themselves, as servers' kernels for few rows do.
pub(super) const fn reads_packed(precision: Precision, rows: u64) -> bool {
    /// Beyond so many rows it is cheaper to unpack first (vLLM's AWQ switches at 256 tokens; AutoGPTQ's kernels at 128).
    const ROWS: u64 = 256;
    match precision {
        // bitsandbytes' `matmul_4bit` has such a kernel for one row only.
        Precision::Nf4 | Precision::Nf4Double => rows == 1,
        _ => !precision.unpacks() || rows < ROWS,
    }
}

/// What the host does for a quantised product beside launching kernels, where it launches them from Python: a tensor that is allocated, the
/// device set and set back, a wait. Counted in the code of transformers and of bitsandbytes 0.41.
pub(super) const fn beside_launches(precision: Precision) -> u64 {
    match precision {
        // `FP8Linear`: three tensors, the device, the wait, and what is not a number is replaced.
        Precision::Fp8 | Precision::Mxfp8 => 6,
        // `gemv_4bit` and `dequantize_4bit`: the result, the device.
        Precision::Nf4 => 2,
        // And the same once more for the scales.
        Precision::Nf4Double => 4,
        // `MatMul8bitLt` with outliers: 15 tensors, five changes of the device, two waits.
        Precision::LlmInt8 => 22,
        _ => 0,
    }
}

/// Kernels that bitsandbytes runs for a product of LLM.int8 beside the product itself. Without outliers: the cast, the maxima with their two
/// fills and a clearing, the running sum, its copy to the host, rounding with two clearings, three changes of layout and scale with two
/// clearings, the cast back. With outliers, which models of 6.7 billion parameters and more have in every layer (Dettmers et al., arXiv 2208.07339):
/// three clearings, a copy, a sort, two gathers, finding what is unique (four), a cast, the extraction with its clearing, four of scaling and
/// transposing, two scatters, a gather, the second product and its addition.
pub(super) const LLM_INT8_KERNELS: u64 = 15 + 23;
