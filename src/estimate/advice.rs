//! One line of advice that follows from the numbers: what to change so that a workload fits, or how much room is left.
//!
//! Nothing is advised that was not estimated. A job that does not fit is estimated again with one setting changed after another, those first
//! that change the least: recomputing activations and smaller batches give the same model; sharing states costs communication; fewer bits of
//! optimizer state, adapters instead of all weights, and shorter sequences give another result. The first that is sure to fit is named, as the
//! options to add to the command, with what it then takes. A job that fits is estimated with larger batches.

use super::fit::{Room, Verdict};
use super::memory::Memory;
use crate::figure::Figure;
use crate::units::Bytes;
use crate::workload::{
    Adapters, Checkpointing, CrossEntropy, Data, Inference, KvPrecision, Method, Optimizer, Precision, Quantised, Targets, Training,
};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Advice {
    /// It does not fit, or not surely; with these options it surely does.
    Change(Proposal),
    /// It fits, and so does this larger batch, the largest that surely does.
    Larger(Proposal),
    /// It fits, and a larger batch might not.
    Full,
    /// Nothing that was tried surely fits; this came nearest.
    Nearest(Proposal),
    /// Nothing that was tried could be estimated.
    Nothing,
}

/// Options, and what the job takes with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// To add to the command, or to replace there: `--checkpointing full --batch 2`.
    pub options: String,
    /// What nvidia-smi would show.
    pub device: Figure<Bytes>,
}

/// The largest batch that is looked for.
const LARGEST_BATCH: u64 = 1 << 20;

/// Advice on training with these settings; `estimate` says what others would take, or nothing for settings that are impossible.
pub fn train(training: &Training, room: &Room, estimate: impl Fn(&Training) -> Option<Memory>) -> Advice {
    let with_batch = |batch| Training { batch, ..training.clone() };
    if fits(training, room, &estimate) {
        let batch = largest(training.batch, |batch| fits(&with_batch(batch), room, &estimate));
        return larger(training.batch, batch, estimate(&with_batch(batch)));
    }
    first(trainings(training), room, &estimate, |other| training_options(training, other))
}

/// Advice on inference with these settings, in the same way.
pub fn infer(inference: &Inference, room: &Room, estimate: impl Fn(&Inference) -> Option<Memory>) -> Advice {
    let with_batch = |batch| Inference { batch, ..*inference };
    if fits(inference, room, &estimate) {
        let batch = largest(inference.batch, |batch| fits(&with_batch(batch), room, &estimate));
        return larger(inference.batch, batch, estimate(&with_batch(batch)));
    }
    first(inferences(inference), room, &estimate, |other| inference_options(inference, other))
}

/// The most sequences like these that surely fit at once; `None` where not even one does.
pub fn largest_batch(inference: &Inference, room: &Room, estimate: impl Fn(&Inference) -> Option<Memory>) -> Option<u64> {
    let with_batch = |batch| Inference { batch, ..*inference };
    fits(&with_batch(1), room, &estimate).then(|| largest(1, |batch| fits(&with_batch(batch), room, &estimate)))
}

/// The longest prompt of this batch that surely fits with its answer; `None` where not even one token does.
pub fn longest_prompt(inference: &Inference, room: &Room, estimate: impl Fn(&Inference) -> Option<Memory>) -> Option<u64> {
    let with_seq = |seq| Inference { seq, ..*inference };
    fits(&with_seq(1), room, &estimate).then(|| largest(1, |seq| fits(&with_seq(seq), room, &estimate)))
}

fn fits<S>(settings: &S, room: &Room, estimate: impl Fn(&S) -> Option<Memory>) -> bool {
    estimate(settings).is_some_and(|memory| room.verdict(&memory) == Verdict::Yes)
}

fn larger(batch: u64, largest: u64, memory: Option<Memory>) -> Advice {
    match memory {
        Some(memory) if largest > batch => Advice::Larger(Proposal { options: format!("--batch {largest}"), device: memory.device }),
        _ => Advice::Full,
    }
}

/// The largest batch from `batch` upwards that fits, given that `batch` does and that more never fits better.
fn largest(batch: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut good, mut step) = (batch, batch.max(1));
    while good < LARGEST_BATCH && fits(good + step) {
        good += step;
        step *= 2;
    }
    // Now `good` fits and `good + step` does not.
    while step > 1 {
        step = step.div_ceil(2);
        if good < LARGEST_BATCH && fits(good + step) {
            good += step;
        } else if step == 1 {
            break;
        }
    }
    good
}

/// The first of `candidates` that surely fits, else the one that takes least.
fn first<S>(candidates: Vec<S>, room: &Room, estimate: impl Fn(&S) -> Option<Memory>, options: impl Fn(&S) -> String) -> Advice {
    let mut nearest: Option<Proposal> = None;
    for candidate in candidates {
        let Some(memory) = estimate(&candidate) else { continue };
        let proposal = Proposal { options: options(&candidate), device: memory.device.clone() };
        if room.verdict(&memory) == Verdict::Yes {
            return Advice::Change(proposal);
        }
        if nearest.as_ref().is_none_or(|least| proposal.device.value < least.device.value) {
            nearest = Some(proposal);
        }
    }
    nearest.map_or(Advice::Nothing, Advice::Nearest)
}

/// `count` halved again and again, down to `least`.
fn halves(count: u64, least: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(count / 2), |half| Some(half / 2)).take_while(move |half| *half >= least)
}

/// What to try for training, the mildest first.
fn trainings(asked: &Training) -> Vec<Training> {
    let mut tried = Vec::new();
    let mut recomputing = asked.clone();
    if asked.checkpointing != Checkpointing::Full {
        recomputing.checkpointing = Checkpointing::Full;
        tried.push(recomputing.clone());
    }
    tried.extend(halves(asked.batch, 1).map(|batch| Training { batch, ..asked.clone() }));
    if asked.cross_entropy == CrossEntropy::Full {
        tried.push(Training { cross_entropy: CrossEntropy::Chunked, ..recomputing.clone() });
    }
    tried.extend(halves(asked.batch, 1).map(|batch| Training { batch, ..recomputing.clone() }));
    let single = Training { batch: 1, ..recomputing.clone() };
    let sizes = if asked.batch > 1 { vec![recomputing.clone(), single.clone()] } else { vec![single.clone()] };

    // States can be shared among the workers there are.
    if asked.parallel.workers() > 1 {
        let stronger: &[Data] = match asked.parallel.data {
            Data::Ddp => &[Data::Zero1, Data::Zero2, Data::Zero3],
            Data::Zero1 => &[Data::Zero2, Data::Zero3],
            Data::Zero2 => &[Data::Zero3],
            Data::Zero3 | Data::Fsdp => &[],
        };
        for base in &sizes {
            tried.extend(stronger.iter().map(|&data| sharing(base, data, base.parallel.gpus)));
        }
    }
    let adam = matches!(asked.optimizer, Optimizer::AdamWForeach | Optimizer::AdamWLoop | Optimizer::AdamWFused);
    if adam && asked.method.adapters().is_none() {
        tried.extend(sizes.iter().map(|base| Training { optimizer: Optimizer::Adam8bit, ..base.clone() }));
    }
    let adapters = asked.method.adapters().cloned().unwrap_or_else(usual_adapters);
    if asked.method.adapters().is_none() {
        tried.extend(sizes.iter().map(|base| Training { method: Method::Lora(adapters.clone()), ..base.clone() }));
    }
    if !matches!(asked.method, Method::Qlora(..)) {
        let method = Method::Qlora(adapters, Quantised::Nf4);
        tried.extend(sizes.iter().map(|base| Training { method: method.clone(), ..base.clone() }));
    }
    for times in (1..=10).map(|power| 1u64 << power) {
        let gpus = asked.parallel.gpus.saturating_mul(times);
        tried.extend(sizes.iter().map(|base| sharing(base, shared_all(base.parallel.data), gpus)));
    }
    tried.extend(halves(asked.seq, 64).map(|seq| Training { seq, ..single.clone() }));
    tried
}

/// The way of sharing that leaves least on each GPU, in the same framework.
const fn shared_all(data: Data) -> Data {
    match data {
        Data::Fsdp => Data::Fsdp,
        _ => Data::Zero3,
    }
}

fn sharing(base: &Training, data: Data, gpus: u64) -> Training {
    let mut shared = base.clone();
    shared.parallel.data = data;
    shared.parallel.gpus = gpus;
    shared
}

/// The adapters of a command that names none: what its defaults are.
pub const fn usual_adapters() -> Adapters {
    let targets = Targets::Some { q: true, k: true, v: true, o: true, gate: false, up: false, down: false };
    Adapters { rank: 64, targets, dropout: false, fp32: true }
}

/// What to try for inference, the mildest first.
fn inferences(asked: &Inference) -> Vec<Inference> {
    let single = Inference { batch: 1, ..*asked };
    let mut tried: Vec<Inference> = halves(asked.batch, 1).map(|batch| Inference { batch, ..*asked }).collect();
    let sizes = if asked.batch > 1 { vec![*asked, single] } else { vec![*asked] };
    tried.extend(sizes.iter().map(|base| Inference { kv_precision: KvPrecision::Fp8, ..*base }));
    tried.extend(sizes.iter().map(|base| Inference { precision: Precision::Int8, ..*base }));
    for times in [2, 4, 8] {
        tried.extend(sizes.iter().map(|base| Inference { tensor: base.tensor.saturating_mul(times), ..*base }));
    }
    tried.extend(sizes.iter().map(|base| Inference { precision: Precision::INT4, ..*base }));
    tried.extend(halves(asked.seq, 64).map(|seq| Inference { seq, ..single }));
    tried
}

/// The options that turn one training into another.
fn training_options(from: &Training, to: &Training) -> String {
    let mut options = Options::default();
    options.changed("method", &method_word(&from.method), &method_word(&to.method));
    options.changed("checkpointing", &checkpointing_word(from.checkpointing), &checkpointing_word(to.checkpointing));
    options.changed("cross-entropy", &cross_entropy_word(from.cross_entropy), &cross_entropy_word(to.cross_entropy));
    options.changed("optimizer", &optimizer_word(from.optimizer), &optimizer_word(to.optimizer));
    options.changed("batch", &from.batch, &to.batch);
    options.changed("seq", &from.seq, &to.seq);
    options.changed("parallel", &data_word(from.parallel.data), &data_word(to.parallel.data));
    options.changed("gpus", &from.parallel.gpus, &to.parallel.gpus);
    options.0
}

/// The options that turn one inference into another.
fn inference_options(from: &Inference, to: &Inference) -> String {
    let mut options = Options::default();
    options.changed("precision", &from.precision.to_string(), &to.precision.to_string());
    options.changed("kv-precision", &from.kv_precision.to_string(), &to.kv_precision.to_string());
    options.changed("batch", &from.batch, &to.batch);
    options.changed("seq", &from.seq, &to.seq);
    options.changed("tp", &from.tensor, &to.tensor);
    options.0
}

#[derive(Default)]
struct Options(String);

impl Options {
    fn changed<T: PartialEq + std::fmt::Display>(&mut self, name: &str, from: &T, to: &T) {
        if from != to {
            let gap = if self.0.is_empty() { "" } else { " " };
            self.0.push_str(&format!("{gap}--{name} {to}"));
        }
    }
}

/// The command line's word for a method.
pub const fn method_word(method: &Method) -> &'static str {
    match method {
        Method::FullFp32 => "full-fp32",
        Method::AmpBf16 => "amp-bf16",
        Method::FullMixed { .. } => "full-mixed",
        Method::FullBf16 => "full-bf16",
        Method::Lora(_) => "lora",
        Method::Qlora(..) => "qlora",
    }
}

/// The command line's word for what is recomputed.
pub const fn checkpointing_word(checkpointing: Checkpointing) -> &'static str {
    match checkpointing {
        Checkpointing::None => "none",
        Checkpointing::Selective => "selective",
        Checkpointing::Full => "full",
    }
}

const fn cross_entropy_word(cross_entropy: CrossEntropy) -> &'static str {
    match cross_entropy {
        CrossEntropy::Full => "full",
        CrossEntropy::Chunked => "chunked",
        CrossEntropy::InPlace => "in-place",
        CrossEntropy::Fused => "fused",
    }
}

const fn optimizer_word(optimizer: Optimizer) -> &'static str {
    match optimizer {
        Optimizer::AdamWLoop => "adamw",
        Optimizer::AdamWForeach => "adamw-foreach",
        Optimizer::AdamWFused => "adamw-fused",
        Optimizer::SgdMomentum => "sgd",
        Optimizer::Adam8bit => "adam-8bit",
        Optimizer::PagedAdam8bit => "paged-adam-8bit",
    }
}

/// The command line's word for what workers share.
pub const fn data_word(data: Data) -> &'static str {
    match data {
        Data::Ddp => "ddp",
        Data::Zero1 => "zero1",
        Data::Zero2 => "zero2",
        Data::Zero3 => "zero3",
        Data::Fsdp => "fsdp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Basis;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn memory(bytes: u64) -> Memory {
        let device = Figure::new(Bytes(bytes), Basis::Assumed, "test");
        let context = Figure::new(Bytes(0), Basis::Assumed, "test");
        Memory { moments: Vec::new(), allocated: device.clone(), reserved: device.clone(), context, device, host: Bytes(0) }
    }

    fn room(gib: u64) -> Room {
        let capacity = Figure::new(Bytes(gib * GIB), Basis::Assumed, "test");
        Room { gpu: "test".to_owned(), capacity }
    }

    /// States of 64 GiB, shared by ZeRO-3, a sixteenth with adapters; 8 GiB of activations per sequence, 1 with checkpointing.
    fn toy(training: &Training) -> Option<Memory> {
        let mut states = if training.method.adapters().is_some() { 4 } else { 64 } * GIB;
        if training.parallel.data == Data::Zero3 {
            states /= training.parallel.workers();
        }
        let per_sequence = if training.checkpointing == Checkpointing::Full { GIB } else { 8 * GIB };
        Some(memory(states + training.batch * per_sequence))
    }

    fn advised(training: &Training, gib: u64) -> (String, u64) {
        match train(training, &room(gib), toy) {
            Advice::Change(proposal) => (proposal.options, proposal.device.value.0 / GIB),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_mildest_change_that_fits_is_named() {
        let asked = Training::new(Method::FullBf16, 4, 2048);
        assert_eq!(advised(&asked, 80), ("--checkpointing full".to_owned(), 68));
        assert_eq!(advised(&asked, 66), ("--checkpointing full --batch 2".to_owned(), 66));
        assert_eq!(advised(&asked, 65), ("--checkpointing full --batch 1".to_owned(), 65));
        assert_eq!(advised(&asked, 40), ("--method lora --checkpointing full".to_owned(), 8));
        let mut shared = asked.clone();
        shared.parallel.gpus = 4;
        assert_eq!(advised(&shared, 40), ("--checkpointing full --parallel zero3".to_owned(), 20));
    }

    #[test]
    fn a_job_that_fits_hears_of_its_largest_batch() {
        let asked = Training::new(Method::FullBf16, 1, 2048);
        let Advice::Larger(proposal) = train(&asked, &room(100), toy) else { panic!("there is room") };
        assert_eq!((proposal.options.as_str(), proposal.device.value.0 / GIB), ("--batch 4", 96));
        assert_eq!(train(&asked, &room(72), toy), Advice::Full);
    }

    #[test]
    fn where_nothing_fits_the_nearest_is_told() {
        let asked = Training::new(Method::FullBf16, 1, 2048);
        let Advice::Nearest(proposal) = train(&asked, &room(1), toy) else { panic!("nothing fits") };
        assert!(!proposal.options.is_empty() && proposal.device.value.0 >= GIB, "{proposal:?}");
        assert_eq!(train(&asked, &room(1), |_| None), Advice::Nothing);
    }

    #[test]
    fn inference_first_gives_up_batch_then_bits_then_one_gpu() {
        let asked = Inference::new(Precision::Bf16, 8, 4096, 0);
        // 32 GiB of weights in 16 bits, 1 GiB of cache per sequence.
        let toy = |inference: &Inference| {
            let weights = match inference.precision {
                Precision::Bf16 => 32,
                Precision::Int8 => 16,
                _ => 8,
            };
            Some(memory((weights * GIB + inference.batch * GIB) / inference.tensor))
        };
        let options = |gib| match infer(&asked, &room(gib), toy) {
            Advice::Change(proposal) => proposal.options,
            other => panic!("{other:?}"),
        };
        assert_eq!(options(37), "--batch 4");
        assert_eq!(options(24), "--precision int8");
        assert_eq!(options(17), "--precision int8 --batch 1");
        assert_eq!(options(11), "--tp 4");
        let Advice::Larger(proposal) = infer(&asked, &room(64), toy) else { panic!("there is room") };
        assert_eq!(proposal.options, "--batch 32");
    }

    proptest! {
        #[test]
        fn the_largest_batch_is_the_largest(limit in 1u64..100_000, asked in 1u64..1000) {
            let asked = asked.min(limit);
            prop_assert_eq!(largest(asked, |batch| batch <= limit), limit);
        }

        #[test]
        fn what_is_advised_surely_fits(batch in 1u64..64, gpus in 0u32..4, gib in 1u64..200) {
            let mut asked = Training::new(Method::FullBf16, batch, 2048);
            asked.parallel.gpus = 1 << gpus;
            match train(&asked, &room(gib), toy) {
                Advice::Change(proposal) | Advice::Larger(proposal) => prop_assert!(proposal.device.high <= Bytes(gib * GIB)),
                Advice::Nearest(proposal) => prop_assert!(proposal.device.high > Bytes(gib * GIB)),
                Advice::Full | Advice::Nothing => {}
            }
        }
    }
}
