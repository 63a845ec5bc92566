//! What is done with a model: the settings of a generation.

use super::precision::{KvPrecision, Precision};
use super::training::{AttentionKernel, Images};
use crate::error::{Error, Result};

/// A batch of sequences: read a prompt of `seq` tokens each (*prefill*), then write `output` tokens each, one at a time (*decode*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inference {
    /// How weights are stored.
    pub precision: Precision,
    /// How cached keys and values are stored.
    pub kv_precision: KvPrecision,
    /// Whether the output head is quantised like the layers' products (LitGPT does so; transformers and vLLM do not). GGUF has its own rule.
    pub quantised_head: bool,
    /// Sequences at once.
    pub batch: u64,
    /// Tokens of a prompt, image tokens included.
    pub seq: u64,
    /// Tokens generated for each.
    pub output: u64,
    /// How keys and values are kept.
    pub cache: Cache,
    /// How attention is computed.
    pub attention: AttentionKernel,
    /// Whether keys and values are copied to every query head before the kernel, as transformers did with SDPA before 4.53.
    pub repeat_kv: bool,
    /// Tokens of the batch that are read at once: vLLM's `max_num_batched_tokens`, llama.cpp's `n_ubatch`. `None`: all.
    pub chunk: Option<u64>,
    /// Of which prompt tokens logits are computed.
    pub logits: LogitRows,
    /// Whether norms and the MLP's gate are one kernel each (vLLM, SGLang, TensorRT-LLM) instead of elementary operations (transformers).
    pub fused: bool,
    /// GPUs that share every product.
    pub tensor: u64,
    /// Stages of layers.
    pub pipeline: u64,
    /// Images in each sequence.
    pub images: Images,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// Each layer's are concatenated with the new ones (transformers' `DynamicCache`): exactly as long as needed, one tensor twice for a
    /// moment.
    Dynamic,
    /// Every step makes new tensors for all layers and drops the old afterwards (transformers before 4.36, and models with code of their own
    /// from that time): everything twice.
    Tuple,
    /// Made once, for the last token (transformers' `StaticCache`, LitGPT, llama.cpp).
    Static,
    /// Pages of so many tokens (vLLM, SGLang, TensorRT-LLM).
    Paged {
        /// Tokens of a page.
        block: u64,
    },
}

/// Of which tokens of a prompt logits are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows {
    /// Of the last of each sequence (transformers from 4.45, every server).
    Last,
    /// Of all.
    All,
}

impl Inference {
    /// Generation on one GPU as a server does it: prompts read 2,048 tokens at a time (vLLM's `DEFAULT_MAX_NUM_BATCHED_TOKENS`), pages of one
    /// token (SGLang's `page_size`), fused kernels, logits of the last token.
    pub const fn new(precision: Precision, batch: u64, seq: u64, output: u64) -> Self {
        Self {
            precision,
            kv_precision: KvPrecision::Computed,
            quantised_head: false,
            batch,
            seq,
            output,
            cache: Cache::Paged { block: 1 },
            attention: AttentionKernel::Flash,
            repeat_kv: false,
            chunk: Some(2048),
            logits: LogitRows::Last,
            fused: true,
            tensor: 1,
            pipeline: 1,
            images: Images { count: 0, width: 0, height: 0 },
        }
    }

    /// The same with vLLM: pages of 16 tokens.
    #[must_use]
    pub const fn vllm(self) -> Self {
        Self { cache: Cache::Paged { block: 16 }, chunk: Some(2048), fused: true, ..self }
    }

    /// The same with today's transformers: a cache that grows by concatenation, whole prompts at once, elementary operations.
    #[must_use]
    pub const fn transformers(self) -> Self {
        Self { cache: Cache::Dynamic, chunk: None, fused: false, ..self }
    }

    /// The same with llama.cpp: a cache made once, prompts read 512 tokens at a time.
    #[must_use]
    pub const fn llama_cpp(self) -> Self {
        Self { cache: Cache::Static, chunk: Some(512), fused: true, ..self }
    }

    /// Tokens of a sequence when it is finished.
    pub const fn length(&self) -> u64 {
        self.seq + self.output
    }

    /// Tokens that pass through a layer at once while the prompts are read.
    pub fn prefill_tokens(&self) -> u64 {
        let all = self.batch * self.seq;
        self.chunk.map_or(all, |chunk| chunk.min(all))
    }

    /// Whether these settings can be computed with: nothing zero but the output, nothing beyond any real run.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the setting.
    pub fn check(&self) -> Result<()> {
        /// More tokens than any node ever cached; small enough that no count of tokens overflows.
        const MOST: u64 = 1 << 36;
        self.precision.check()?;
        let page = match self.cache {
            Cache::Paged { block } => block,
            _ => 1,
        };
        let counts = [
            ("batch", self.batch),
            ("prompt length", self.seq),
            ("chunk of the prompt", self.chunk.unwrap_or(1)),
            ("page of the cache", page),
            ("tensor-parallel degree", self.tensor),
            ("pipeline-parallel degree", self.pipeline),
        ];
        for (name, value) in counts {
            if !(1..=MOST).contains(&value) {
                return Err(Error::usage(format!("expected a {name} of 1 to {MOST} but found {value}")));
            }
        }
        let (batch, seq, output) = (self.batch, self.seq, self.output);
        let tokens = seq.checked_add(output).and_then(|length| length.checked_mul(batch));
        if tokens.is_none_or(|tokens| tokens > MOST) {
            return Err(Error::usage(format!(
                "a batch of {batch} sequences of {seq} and {output} tokens is more than {MOST} tokens; give a smaller one"
            )));
        }
        if page > 1 << 20 {
            return Err(Error::usage(format!("expected a page of the cache of 1 to {} tokens but found {page}", 1 << 20)));
        }
        if self.images.count > MOST {
            return Err(Error::usage(format!("expected at most {MOST} images but found {}", self.images.count)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_no_run_has_are_refused_by_name() {
        let usual = Inference::new(Precision::Bf16, 1, 4096, 256);
        usual.check().unwrap();
        Inference { output: 0, ..usual }.check().unwrap();
        let refused = |inference: Inference, what: &str| {
            let error = inference.check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        refused(Inference { batch: 0, ..usual }, "batch of 1");
        refused(Inference { seq: 0, ..usual }, "prompt length");
        refused(Inference { seq: u64::MAX, ..usual }, "prompt length");
        refused(Inference { output: u64::MAX, ..usual }, "give a smaller one");
        refused(Inference { batch: 1 << 20, seq: 1 << 20, ..usual }, "give a smaller one");
        refused(Inference { tensor: 0, ..usual }, "tensor-parallel");
        refused(Inference { chunk: Some(0), ..usual }, "chunk");
        refused(Inference { cache: Cache::Paged { block: 0 }, ..usual }, "page");
        refused(Inference { cache: Cache::Paged { block: 1 << 30 }, ..usual }, "page");
        refused(Inference { precision: Precision::Awq { group: 0 }, ..usual }, "group");
        refused(Inference { images: Images { count: u64::MAX, width: 1, height: 1 }, ..usual }, "images");
    }

    #[test]
    fn a_chunk_bounds_what_passes_at_once() {
        let inference = Inference::new(Precision::Bf16, 4, 4096, 0);
        assert_eq!(inference.transformers().prefill_tokens(), 16384);
        assert_eq!(inference.prefill_tokens(), 2048);
        assert_eq!(Inference { seq: 100, ..inference }.prefill_tokens(), 400);
    }
}
