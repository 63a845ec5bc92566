//! Attention beyond fused inference: its gradient, and attention that is not fused.

use super::work::Work;
use super::{AttentionModel, AttentionShape};
use crate::calibrate::Prediction;
use crate::units::Seconds;

/// The backward pass multiplies five matrices where the forward one multiplies two (scores again, and the gradients of queries, keys,
/// values and probabilities): 2.5 times the operations. It reaches 63 % of the peak where forward reaches 73 % (FlashAttention-2, Dao
/// 2023, section 4.1, A100), or about 550 TFLOP/s where forward reaches 740 (FlashAttention-3, Shah et al. 2024, section 4.1, H100): 2.9
/// and 3.3 times as long.
const BACKWARD: f64 = 3.1;
/// The interval's logarithm grows by this much for that ratio.
const BACKWARD_DOUBT: f64 = 1.2;

/// Share of the peak that batched products of one head each reach, and of the bandwidth that elementwise passes reach.
const PRODUCTS: f64 = 0.55;
const PASSES: f64 = 0.85;
/// Kernels of unfused attention: two products, scale, mask, softmax, cast; and µs to launch one from Python.
const KERNELS: f64 = 6.0;
const LAUNCH: f64 = 4.0;
/// By how much an unfused time may be wrong.
const EAGER_DOUBT: f64 = 1.6;

impl AttentionModel {
    /// Time of the gradient of one fused call, for training.
    pub fn backward(&self, shape: &AttentionShape) -> Prediction {
        let forward = self.time(shape);
        let backward = forward.times(BACKWARD);
        Prediction {
            low: Seconds(backward.low.0 / BACKWARD_DOUBT),
            high: Seconds(backward.high.0 * BACKWARD_DOUBT),
            extrapolated: true,
            ..backward
        }
    }

    /// Time of one call that is not fused, as a model in plain PyTorch does it, with numbers of `bytes` bytes: all scores, causal or not,
    /// are computed, written and read again.
    ///
    /// Per score: written by the product (b), scaled (2b), masked (2b), softmax read and written in 32 bits (b + 4), cast back (4 + b; not
    /// where b is 4), read by the second product (b).
    pub fn eager(&self, shape: &AttentionShape, bytes: u64) -> Prediction {
        let Some(work) = Work::of(shape) else { return Prediction::within(Seconds(0.0), 1.0, false) };
        let b = bytes as f64;
        let per_score = 6.0 * b + 4.0 + if bytes < 4 { 4.0 + b } else { 0.0 };
        let scores = work.batch * work.heads * work.queries * work.context;
        // Products slow down as their factors widen: 16 bits at the peak, 32 at half of it.
        let peak = self.device.sms * self.device.sm_flops * (2.0 / b.max(1.0)).min(1.0);
        let products = 4.0 * scores * work.head_dim / (PRODUCTS * peak);
        let tensors = b * work.batch * work.head_dim * work.heads * (2.0 * work.queries + 2.0 * work.context);
        let passes = (scores * per_score + tensors) / (PASSES * self.device.bandwidth);
        Prediction::within(Seconds((KERNELS * LAUNCH + products + passes) / 1e6), EAGER_DOUBT, true)
    }
}
