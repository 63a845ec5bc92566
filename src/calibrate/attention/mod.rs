//! How long attention takes, as a function of its shape.
//!
//! **Prefill** has many queries per sequence and is limited by arithmetic; **decoding** has one and is limited by memory, launches and how
//! evenly blocks fall on the SMs. Each has a formula from physics and from the rules by which kernels are launched (`prefill.rs`,
//! `decode.rs`), with some terms that only a machine can tell. At most two dozen timings each ([`design`]) move those terms from their
//! typical values (`fit.rs`); where there is no timing they stand. The same formula therefore speaks everywhere, inside what was measured
//! and outside, and all that a prediction says about itself besides is its interval and whether the shape lies beyond the measured ones.
//!
//! Typical values are what a Hopper board showed with TensorRT-LLM's kernels, in cycles where cycles count; their spreads leave room for
//! other generations, and how wide the intervals are without a timing says how little they are worth there.
//!
//! Times include the launches and, for prefill, the kernel that writes keys and values to their cache. Factors are 16 bits wide.
//!
//! **Monotone**: prefill never takes less time for more sequences, tokens or heads (chunks of up to 64 queries apart, which are weighed
//! against decoding). Nor does decoding with the same launch; but where more work makes a library choose another kernel or other splits,
//! the time may fall, and so it does on real GPUs, to a half at worst. Whoever needs decoding times that never fall takes
//! [`AttentionModel::rising`], which is a little less exact.

mod decode;
pub mod design;
mod device;
mod fit;
mod prefill;
mod rising;
mod span;
mod training;
mod work;

#[cfg(test)]
mod tests;

pub use rising::RisingDecode;

use super::Prediction;
use crate::catalog::GpuModel;
use crate::units::Seconds;
use crate::workload::operations::AttentionWork;
use decode::Kernels;
use device::Device;
use fit::{Fitted, Sample, Term, Terms};
use span::Span;
use work::Work;

/// One attention call of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: u64,
    /// New tokens of each.
    pub queries: u64,
    /// All tokens of each, the new ones included.
    pub context: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Features of one head.
    pub head_dim: u64,
    /// Only the last so many positions are seen.
    pub window: Option<u64>,
}

impl AttentionShape {
    /// Of a workload's attention.
    pub const fn of(work: &AttentionWork) -> Self {
        Self {
            batch: work.sequences,
            queries: work.queries,
            context: work.context,
            heads: work.heads,
            kv_heads: work.kv_heads,
            head_dim: work.head_dim,
            window: work.window,
        }
    }

    /// `tokens` tokens of each of `batch` new sequences, causal.
    pub const fn prefill(batch: u64, tokens: u64, heads: u64, kv_heads: u64, head_dim: u64) -> Self {
        Self { batch, queries: tokens, context: tokens, heads, kv_heads, head_dim, window: None }
    }

    /// The last token of each of `batch` sequences of `context` tokens.
    pub const fn decode(batch: u64, context: u64, heads: u64, kv_heads: u64, head_dim: u64) -> Self {
        Self { batch, queries: 1, context, heads, kv_heads, head_dim, window: None }
    }
}

/// One timed attention call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionTiming {
    /// What was timed.
    pub shape: AttentionShape,
    /// Time of one call.
    pub time: Seconds,
}

/// Half of a 90 % interval, as a logarithm, over the mean error at timings that are left out. A normal law would have 2.1; but the
/// timings lie at the corners of the shapes, and leaving one out hurts more there than between.
const NINETY: f64 = 1.65;
/// Mean error expected at a timing left out, of prefill and of decoding, and how many timings that expectation counts as.
const EXPECTED: [f64; 2] = [0.055, 0.075];
const EXPECTED_COUNTS: f64 = 24.0;
/// A fit to fewer timings than this is trusted less.
const ENOUGH: f64 = 24.0;
/// By how much predictions without any timing may be wrong.
const ASSUMED: f64 = 1.6;
/// Beyond the shapes measured the interval's logarithm is so much wider.
const BEYOND: f64 = 1.5;
/// Queries up to which a chunk is weighed against decoding its tokens one by one.
const FEW: f64 = 64.0;

/// Time of attention on one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionModel {
    device: Device,
    rows: f64,
    prefill: Part<7>,
    kernels: Kernels,
    decode: Part<18>,
}

/// One of the two formulas, with what is known of its terms.
#[derive(Debug, Clone, PartialEq)]
struct Part<const N: usize> {
    terms: Terms<N>,
    /// Width of its 90 % interval, as a factor, inside what was measured and beyond.
    factors: (f64, f64),
    /// What was measured; `None` where nothing was.
    span: Option<Span>,
}

impl AttentionModel {
    /// What physics and the GPU's family say without a measurement; `None` where the GPU's documents name no 16-bit peak or number of SMs.
    pub fn assumed(gpu: &GpuModel) -> Option<Self> {
        let device = Device::new(gpu)?;
        let kernels = if device.grouped { Kernels::Grouped } else { Kernels::Both };
        let (prefill, decode) = (Part::assumed(&prefill::TERMS), Part::assumed(&decode::TERMS));
        Some(Self { device, rows: device.rows, prefill, kernels, decode })
    }

    /// The model that explains `timings` best; timings that are no positive number are left out. Where there are none of prefill or of
    /// decoding, that part stays as assumed.
    pub fn fit(gpu: &GpuModel, timings: &[AttentionTiming]) -> Option<Self> {
        let mut model = Self::assumed(gpu)?;
        let device = model.device;
        let samples = timings.iter().filter_map(|timing| {
            let work = Work::of(&timing.shape)?;
            let time = timing.time.0 * 1e6;
            (time > 0.0 && time.is_finite()).then_some(Sample { head_dim: work.head_dim, shape: work, time })
        });
        let (decoding, prefilling): (Vec<_>, Vec<_>) = samples.partition(|sample| sample.shape.decodes());
        let rows = prefill::ROWS
            .map(|rows| (rows, fit::fit(&prefill::TERMS, &prefilling, |terms, work| prefill::time(&device, rows, terms, work))));
        if let Some((rows, fitted)) = best(rows) {
            (model.rows, model.prefill) = (rows, Part::fitted(fitted, &prefilling, EXPECTED[0]));
        }
        let kernels = [Kernels::Both, Kernels::Grouped]
            .map(|kernels| (kernels, fit::fit(&decode::TERMS, &decoding, |terms, work| decode::time(&device, kernels, terms, work))));
        if let Some((kernels, fitted)) = best(kernels) {
            (model.kernels, model.decode) = (kernels, Part::fitted(fitted, &decoding, EXPECTED[1]));
        }
        Some(model)
    }

    /// Time of one call, launches included; zero where there is nothing to do.
    pub fn time(&self, shape: &AttentionShape) -> Prediction {
        let Some(work) = Work::of(shape) else { return Prediction::within(Seconds(0.0), 1.0, false) };
        if work.decodes() {
            self.decode.predict(&work, self.decode_time(&work))
        } else {
            self.prefill.predict(&work, self.prefill_time(&work))
        }
    }

    fn decode_time(&self, work: &Work) -> f64 {
        decode::time(&self.device, self.kernels, &self.decode.terms.at(work.head_dim), work)
    }

    /// A few queries after a long context would leave most SMs idle in a kernel made for many; no library then does worse than decoding
    /// the tokens one after the other.
    fn prefill_time(&self, work: &Work) -> f64 {
        let together = prefill::time(&self.device, self.rows, &self.prefill.terms.at(work.head_dim), work);
        if work.queries > FEW || work.queries == work.context {
            return together;
        }
        together.min(work.queries * self.decode_time(&Work { queries: 1.0, ..*work }))
    }
}

impl<const N: usize> Part<N> {
    fn assumed(priors: &[Term; N]) -> Self {
        Self { terms: Terms::typical(priors), factors: (ASSUMED, ASSUMED), span: None }
    }

    fn fitted(fitted: Fitted<N>, samples: &[Sample<Work>], expected: f64) -> Self {
        let count = samples.len() as f64;
        let squares = count * fitted.left_out.powi(2) + EXPECTED_COUNTS * expected.powi(2);
        let typical = (squares / (count + EXPECTED_COUNTS)).sqrt();
        let half = NINETY * typical * (1.0 + 4.0 / count.min(ENOUGH)) / (1.0 + 4.0 / ENOUGH);
        let span = Span::of(samples.iter().map(|sample| &sample.shape));
        Self { terms: fitted.terms, factors: (half.exp(), (BEYOND * half).exp()), span }
    }

    /// A time in µs as a prediction.
    fn predict(&self, work: &Work, time: f64) -> Prediction {
        let beyond = self.span.as_ref().is_none_or(|span| !span.holds(work));
        Prediction::within(Seconds(time / 1e6), if beyond { self.factors.1 } else { self.factors.0 }, beyond)
    }
}

/// The alternative that explains the timings best.
fn best<A, const N: usize, const M: usize>(alternatives: [(A, Option<Fitted<N>>); M]) -> Option<(A, Fitted<N>)> {
    let fitted = alternatives.into_iter().filter_map(|(alternative, fitted)| Some((alternative, fitted?)));
    fitted.min_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost))
}
