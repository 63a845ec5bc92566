//! How DeepSpeed's third stage of ZeRO brings a layer's weights.
//!
//! It gathers what the next product needs while this one computes, in **buckets**: tensors in the order of their use until they are a prefetch bucket's
//! size. The compute stream waits for the whole gathering stream before each product, so that a bucket hides behind the one product before it, and
//! not behind a layer. A bucket of several tensors arrives as one, and each tensor is copied out of it, on the gathering stream, too. What is used
//! again within 10⁹ elements is kept, so that a large layer that is computed again for its backward pass is gathered in part once more.
//! (`partitioned_param_coordinator.py` and `partition_parameters.py` of DeepSpeed 0.11, 2023; the sizes are those that transformers' `auto` sets.)

use super::communication::{exposed, join, near};
use super::parts::{Kind, Parts, Phase};
use super::speeds::Speeds;
use crate::calibrate::Prediction;
use crate::calibrate::collective::Collective;
use crate::estimate::memory::{Piece, lora};
use crate::units::Bytes;
use crate::workload::operations::Traffic;
use crate::workload::{Block, Checkpointing, Training};

/// Elements within which a weight that will be used again is kept (`stage3_max_reuse_distance`).
const REUSE: u64 = 1_000_000_000;

/// Tensors of at most so many elements per hidden feature stay on every GPU (`stage3_param_persistence_threshold`): norms, biases, small adapters.
const PERSISTENT: u64 = 10;

/// What the host does for a bucket beside a copy per tensor: the buffer, what is sent, the collective, an event, two streams that wait.
const OPERATIONS: u64 = 6;

/// Tensors that are gathered at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    elements: u64,
    /// Of those, elements of the base weights: what computing goes by.
    weights: u64,
    tensors: u64,
    /// How many equal ones follow each other: experts.
    times: u64,
}

impl Bucket {
    /// With what `other` holds.
    const fn and(self, other: Self) -> Self {
        let (elements, weights) = (self.elements + other.elements, self.weights + other.weights);
        Self { elements, weights, tensors: self.tensors + other.tensors, times: 1 }
    }
}

/// What a layer's weights are gathered in.
pub(super) struct Fetching {
    buckets: Vec<Bucket>,
    /// Gathering each, with the copies out of it.
    gathers: Vec<Prediction>,
    again: bool,
}

impl Fetching {
    /// Of a layer of `piece` whose elements have `width` bytes.
    pub(super) fn of(speeds: &Speeds, training: &Training, piece: &Piece, block: &Block, width: u64) -> Self {
        let buckets = buckets(training, piece, block);
        let (workers, near) = (training.parallel.workers(), near(&training.parallel));
        let gathers = buckets.iter().map(|bucket| {
            let gather = speeds.collective(Collective::AllGather, workers, Bytes(bucket.elements * width), near);
            // A GPU's own share is written together, and each tensor is read and written.
            let copied = Traffic::new(2 * bucket.elements * width / workers.max(1) + 2 * bucket.elements * width, 1 + bucket.tensors);
            if bucket.tensors > 1 { join(gather, speeds.elementwise(copied)) } else { gather }
        });
        let gathers = gathers.collect();
        Self { buckets, gathers, again: training.checkpointing == Checkpointing::Full }
    }

    /// Adds what is exposed where a layer computes for so long in the forward pass, again, and going back, of gathering and of sending its
    /// gradients, which the link does one after the other; says what the host does for it by phase.
    pub(super) fn add(&self, parts: &mut Parts, scatter: Prediction, computed: [f64; 3], count: u64) -> [u64; 3] {
        let forwards: Vec<usize> = (0..self.buckets.len()).collect();
        let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
        let all = |_: usize| true;
        let far = |bucket: usize| self.comes_back_after(bucket) >= REUSE;
        let (once, _) = self.pass(parts, Phase::Forward, computed[0], &forwards, all, count);
        let (again, (back, idle)) = if self.again {
            let (again, _) = self.pass(parts, Phase::Recompute, computed[1], &forwards, all, count);
            (again, self.pass(parts, Phase::Backward, computed[2], &backwards, far, count))
        } else {
            (0, self.pass(parts, Phase::Backward, computed[2], &backwards, all, count))
        };
        parts.add(Phase::Backward, Kind::Communication, exposed(scatter, idle).times(count as f64));
        [once, again, back]
    }

    /// Elements that are passed between a bucket's use when its layer is computed again and its use in the backward pass.
    fn comes_back_after(&self, bucket: usize) -> u64 {
        2 * self.buckets[bucket + 1..].iter().map(|later| later.elements * later.times).sum::<u64>()
    }

    /// One pass over the buckets in this order, of which those that are `gathered` have to come. Operations of the host in all, and seconds in which
    /// a layer computes while nothing is gathered.
    fn pass(
        &self,
        parts: &mut Parts,
        phase: Phase,
        computed: f64,
        order: &[usize],
        gathered: impl Fn(usize) -> bool,
        count: u64,
    ) -> (u64, f64) {
        let weights: u64 = self.buckets.iter().map(|bucket| bucket.weights * bucket.times).sum();
        let (mut host, mut idle) = (0, 0.0);
        // Before the first of a layer comes the last of the one before.
        let mut before = order.last().copied().unwrap_or_default();
        for &index in order {
            let bucket = self.buckets[index];
            // Equal ones come before each other.
            let beside = self.buckets[if bucket.times > 1 { index } else { before }];
            let computing = computed * beside.weights as f64 / weights.max(1) as f64;
            let gather = if gathered(index) { self.gathers[index].time.0 } else { 0.0 };
            idle += (computing - gather).max(0.0) * bucket.times as f64;
            if gathered(index) {
                let times = bucket.times * count;
                parts.add(phase, Kind::Communication, exposed(self.gathers[index], computing).times(times as f64));
                host += (OPERATIONS + bucket.tensors) * times;
            }
            before = index;
        }
        (host, idle)
    }
}

/// The buckets of one layer.
fn buckets(training: &Training, piece: &Piece, block: &Block) -> Vec<Bucket> {
    let hidden = piece.model.text.hidden;
    // transformers sets `stage3_prefetch_bucket_size` to nine tenths of this square.
    let least = hidden * hidden / 10 * 9;
    let adapters = training.method.adapters();
    let mut buckets = Vec::new();
    let mut open = Bucket::default();
    let mut take = |elements: u64, weights: u64| {
        if elements > PERSISTENT * hidden {
            open = open.and(Bucket { elements, weights, tensors: 1, times: 1 });
        }
        if open.elements >= least.max(1) { Some(std::mem::take(&mut open)) } else { None }
    };
    for linear in block.linears(hidden) {
        let (matrix, copies) = (linear.matrix(), piece.copies(&linear));
        if copies > 1 {
            let together = least.div_ceil(matrix.max(1)).clamp(1, copies);
            let elements = matrix * together;
            buckets.push(Bucket { elements, weights: elements, tensors: together, times: copies.div_ceil(together) });
            continue;
        }
        buckets.extend(take(matrix, matrix));
        if let Some(adapters) = adapters.filter(|adapters| lora::adapts(&adapters.targets, linear.role)) {
            for side in [linear.inputs, linear.outputs] {
                buckets.extend(take(adapters.rank * side, 0));
            }
        }
    }
    // What does not fill a bucket comes with the first of the next layer.
    match buckets.first_mut() {
        Some(first) if first.times == 1 => *first = first.and(open),
        _ if open.elements > 0 => buckets.push(open),
        _ => {}
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::units::{BytesPerSecond, Seconds};
    use crate::workload::{Adapters, Data, Method, Model, Parallel, Targets, named};

    fn model(name: &str) -> Model {
        named(&Catalog::embedded().unwrap(), name).unwrap()
    }

    fn training(method: Method, checkpointing: Checkpointing) -> Training {
        Training { parallel: Parallel { gpus: 4, data: Data::Zero3, ..Parallel::ONE }, checkpointing, ..Training::new(method, 1, 1024) }
    }

    fn lora() -> Method {
        Method::Lora(Adapters { rank: 16, targets: Targets::AllLinear, dropout: false, fp32: false })
    }

    /// Buckets of the model's first layer, with what computes in them.
    fn of(name: &str, method: Method) -> Vec<Bucket> {
        let model = model(name);
        buckets(&training(method, Checkpointing::Full), &Piece::whole(&model), &model.text.blocks[0].block)
    }

    #[test]
    fn tensors_are_taken_together_up_to_a_buckets_size() {
        let bucket = |elements, tensors| Bucket { elements, weights: elements, tensors, times: 1 };
        let (square, narrow, wide) = (4096 * 4096, 4096 * 1024, 4096 * 14336);
        // Queries; keys, values and output; three of the MLP.
        let expected = [bucket(square, 1), bucket(2 * narrow + square, 3), bucket(wide, 1), bucket(wide, 1), bucket(wide, 1)];
        assert_eq!(of("Llama-3.1-8B", Method::FullBf16), expected);
        // Adapters of more than ten times the hidden size come with what follows them, the last ones with the next layer's first: all are copied.
        let with_adapters = of("Llama-3.1-8B", lora());
        assert!(with_adapters.iter().all(|bucket| bucket.tensors > 1 && bucket.weights > 0), "{with_adapters:?}");
    }

    #[test]
    fn every_weight_is_in_one_bucket() {
        for name in ["Llama-3.1-8B", "Qwen3-30B-A3B", "Qwen2.5-0.5B", "DeepSeek-V3", "MPT-7B", "Gemma-2-9B"] {
            let model = model(name);
            for run in &model.text.blocks {
                let piece = Piece::whole(&model);
                let hidden = model.text.hidden;
                let found = buckets(&training(Method::FullBf16, Checkpointing::None), &piece, &run.block);
                let held = |linear: &crate::workload::Linear| if linear.matrix() > PERSISTENT * hidden { linear.matrix() } else { 0 };
                let expected: u64 = run.block.linears(hidden).map(|linear| held(&linear) * piece.copies(&linear)).sum();
                let taken: u64 = found.iter().map(|bucket| bucket.elements * bucket.times).sum();
                // Experts that fill a last bucket in part are counted as a whole one.
                assert!(taken >= expected && taken as f64 <= expected as f64 * 1.05, "{name}: {taken} of {expected}");
                assert!(found.iter().all(|bucket| bucket.weights <= bucket.elements && bucket.times > 0));
            }
        }
    }

    /// What is exposed in each pass of one layer that computes for so long per pass.
    fn exposed_in(name: &str, checkpointing: Checkpointing, computing: f64) -> ([f64; 3], f64) {
        let catalog = Catalog::embedded().unwrap();
        let speeds = Speeds::assumed(catalog.gpu("A100 SXM 80GB").unwrap(), &catalog, Some(BytesPerSecond(50e9)));
        let model = model(name);
        let fetching = Fetching::of(&speeds, &training(lora(), checkpointing), &Piece::whole(&model), &model.text.blocks[0].block, 2);
        let mut parts = Parts::default();
        let none = Prediction::within(Seconds(0.0), 1.0, true);
        fetching.add(&mut parts, none, [computing; 3], 1);
        let all = fetching.gathers.iter().zip(&fetching.buckets).map(|(gather, bucket)| gather.time.0 * bucket.times as f64).sum();
        ([Phase::Forward, Phase::Recompute, Phase::Backward].map(|phase| parts.phase(phase).0), all)
    }

    #[test]
    fn nothing_hides_a_gather_where_nothing_computes_and_much_hides_nearly_all() {
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        let ([forward, again, back], all) = exposed_in("Llama-3.1-8B", Checkpointing::None, 0.0);
        assert!(close(forward, all) && again == 0.0 && close(back, all));
        // A small layer is still there when it is computed again; of a large one what was used first is not.
        let ([forward, again, back], all) = exposed_in("Llama-3.1-8B", Checkpointing::Full, 0.0);
        assert!(close(forward, all) && close(again, all) && back == 0.0);
        let ([_, again, back], all) = exposed_in("Llama-3.1-405B", Checkpointing::Full, 0.0);
        assert!(close(again, all) && back > 0.1 * all && back < 0.9 * all, "{back} of {all}");
        let ([forward, ..], all) = exposed_in("Llama-3.1-8B", Checkpointing::Full, 1e3);
        assert!(forward < 0.2 * all, "{forward} of {all}");
        // A layer that computes as long as its weights take to come hides less than all of them: buckets do not lie beside equals.
        let ([halfway, ..], _) = exposed_in("Llama-3.1-8B", Checkpointing::Full, all);
        assert!(halfway > forward * 1.5 && halfway < all, "{halfway} of {all}");
    }
}
