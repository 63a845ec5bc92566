//! Laws that hold for every model, setting and machine.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::calibrate::{Calibration, fixture};
use crate::catalog::Catalog;
use crate::figure::Basis;
use crate::units::{BytesPerSecond, Seconds};
use crate::workload::operations::{Kernels, Tokens};
use crate::workload::{
    Adapters, Checkpointing, Data, Inference, Method, Model, Offload, Parallel, Precision, Quantised, Targets, Training, named,
};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

fn model(name: &str) -> Model {
    named(&CATALOG, name).unwrap()
}

fn speeds(gpu: &str) -> Speeds {
    Speeds::assumed(CATALOG.gpu(gpu).unwrap(), &CATALOG, Some(BytesPerSecond(50e9)))
}

const MODELS: [&str; 6] = ["Llama-3.1-8B", "Qwen3-30B-A3B", "Qwen2.5-0.5B", "DeepSeek-V3", "MPT-7B", "Gemma-2-9B"];
const GPUS: [&str; 6] = ["A100 SXM 80GB", "H100 SXM", "H20", "RTX 4090", "T4", "B200"];

fn adapters() -> Adapters {
    Adapters { rank: 16, targets: Targets::AllLinear, dropout: true, fp32: true }
}

fn methods() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::FullBf16),
        Just(Method::FullFp32),
        Just(Method::AmpBf16),
        Just(Method::FullMixed { fp32_gradients: false }),
        Just(Method::Lora(adapters())),
        Just(Method::Qlora(adapters(), Quantised::Nf4)),
    ]
}

fn parallels() -> impl Strategy<Value = Parallel> {
    let data = prop_oneof![Just(Data::Ddp), Just(Data::Zero1), Just(Data::Zero2), Just(Data::Zero3), Just(Data::Fsdp)];
    (0u32..5, data, 0u32..2).prop_map(|(gpus, data, tensor)| Parallel {
        gpus: 1 << gpus.max(tensor),
        data,
        tensor: 1 << tensor,
        ..Parallel::ONE
    })
}

prop_compose! {
    fn trainings()(
        method in methods(),
        batch in 1u64..9,
        seq in 1u64..5000,
        accumulated in 1u64..5,
        full in any::<bool>(),
        parallel in parallels(),
        offload in any::<bool>(),
    ) -> Training {
        Training {
            grad_accum: accumulated,
            checkpointing: if full { Checkpointing::Full } else { Checkpointing::None },
            parallel,
            offload: if offload { Offload::Optimizer } else { Offload::None },
            ..Training::new(method, batch, seq)
        }
    }
}

prop_compose! {
    fn inferences()(
        precision in prop::sample::select(Precision::EXAMPLES.to_vec()),
        batch in 1u64..70,
        seq in 1u64..20_000,
        output in 0u64..2000,
        transformers in any::<bool>(),
        tensor in 0u32..2,
    ) -> Inference {
        let server = Inference { tensor: 1 << tensor, ..Inference::new(precision, batch, seq, output) };
        if transformers { server.transformers() } else { server }
    }
}

fn step(model: &Model, training: &Training, speeds: &Speeds) -> Step {
    train(model, training, &Software::training(training), speeds).unwrap()
}

fn answer(model: &Model, inference: &Inference, speeds: &Speeds) -> Answer {
    infer(model, inference, &Software::inference(inference), speeds).unwrap()
}

/// Not less but for rounding.
fn at_least(a: Seconds, b: Seconds) -> bool {
    a.0 >= b.0 * (1.0 - 1e-9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_of_a_step_sum_to_it(name in prop::sample::select(&MODELS[..]), gpu in prop::sample::select(&GPUS[..]), training in trainings()) {
        let step = step(&model(name), &training, &speeds(gpu));
        let total = step.parts.total();
        let (phases, kinds) = (Phase::ALL.map(|phase| step.parts.phase(phase).0), Kind::ALL.map(|kind| step.parts.kind(kind).0));
        for sum in [phases.iter().sum::<f64>(), kinds.iter().sum(), step.parts.iter().map(|(_, _, time)| time.0).sum()] {
            prop_assert!((sum / total.0 - 1.0).abs() < 1e-9);
        }
        prop_assert_eq!(step.time.value, total);
        prop_assert!(step.time.low <= total && total <= step.time.high);
        prop_assert!(total.0 > 0.0 && total.is_finite());
        prop_assert!(step.mfu.is_none_or(|mfu| mfu.0 > 0.0 && mfu.0 < 1.3), "{:?}", step.mfu);
        prop_assert!(step.hfu >= step.mfu);
    }

    #[test]
    fn more_tokens_never_take_less(
        name in prop::sample::select(&MODELS[..]),
        gpu in prop::sample::select(&GPUS[..]),
        training in trainings(),
        more in 1u64..600,
        longer in any::<bool>(),
    ) {
        let (model, speeds) = (model(name), speeds(gpu));
        let larger = if longer {
            Training { seq: training.seq + more, ..training.clone() }
        } else {
            Training { batch: training.batch + more % 8 + 1, ..training.clone() }
        };
        let (less, more) = (step(&model, &training, &speeds), step(&model, &larger, &speeds));
        prop_assert!(at_least(more.time.value, less.time.value), "{} {}: {:?} then {:?}", name, gpu, less.parts, more.parts);
    }

    #[test]
    fn a_faster_machine_is_never_slower(
        name in prop::sample::select(&MODELS[..]),
        gpu in prop::sample::select(&GPUS[..]),
        training in trainings(),
        inference in inferences(),
        what in prop::sample::select(&What::ALL[..]),
        factor in 1.0..4.0f64,
    ) {
        let (model, slow) = (model(name), speeds(gpu));
        let fast = slow.faster(what, factor);
        let (before, after) = (step(&model, &training, &slow), step(&model, &training, &fast));
        prop_assert!(at_least(before.time.value, after.time.value), "{:?}: {:?} then {:?}", what, before.parts, after.parts);
        let (before, after) = (answer(&model, &inference, &slow), answer(&model, &inference, &fast));
        prop_assert!(at_least(before.time.value, after.time.value), "{:?}: {:?} then {:?}", what, before.parts, after.parts);
    }

    #[test]
    fn parts_of_an_answer_sum_to_it(name in prop::sample::select(&MODELS[..]), gpu in prop::sample::select(&GPUS[..]), inference in inferences()) {
        let answer = answer(&model(name), &inference, &speeds(gpu));
        let steps = inference.output.saturating_sub(1) as f64;
        let sum = answer.prefill.value.0 + steps * answer.decode.value.0;
        prop_assert!((sum / answer.time.value.0 - 1.0).abs() < 1e-9);
        prop_assert!(answer.time.low <= answer.time.value && answer.time.value <= answer.time.high);
        prop_assert!(answer.tokens_per_second > 0.0);
    }

    #[test]
    fn longer_requests_never_take_less(
        name in prop::sample::select(&MODELS[..]),
        gpu in prop::sample::select(&GPUS[..]),
        inference in inferences(),
        more in 1u64..500,
        which in 0..3,
    ) {
        let (model, speeds) = (model(name), speeds(gpu));
        // Pieces of prompts and packed kernels for few rows change what runs; within one piece and one format nothing does.
        let whole = Inference { chunk: None, ..inference };
        let larger = match which {
            0 => Inference { output: whole.output + more, ..whole },
            1 => Inference { seq: whole.seq + more, ..whole },
            _ => Inference { batch: whole.batch + more, ..whole },
        };
        let (less, more) = (answer(&model, &whole, &speeds), answer(&model, &larger, &speeds));
        prop_assert!(at_least(more.time.value, less.time.value), "{:?} then {:?}", less.parts, more.parts);
    }
}

#[test]
fn a_mixed_step_takes_less_than_its_halves() {
    let (model, speeds) = (model("Llama-3.1-8B"), speeds("H100 SXM"));
    let inference = Inference::new(Precision::Bf16, 32, 512, 1);
    let software = Software::inference(&inference);
    let (prompt, next) = (Tokens::whole(1, 512), Tokens::next(32, 2000));
    let time = |groups: &[Tokens]| mixed_step(&model, &inference, &software, &speeds, groups).unwrap().total().0;
    let both = time(&[prompt, next]);
    assert!(both < time(&[prompt]) + time(&[next]) && both > time(&[prompt]));
}

#[test]
fn each_way_to_save_saves_what_it_should() {
    let (model, speeds) = (model("Llama-3.1-8B"), speeds("A100 SXM 80GB"));
    let full = Training::new(Method::FullBf16, 4, 2048);
    let time = |training: &Training| step(&model, training, &speeds);
    let checkpointed = time(&Training { checkpointing: Checkpointing::Full, ..full.clone() });
    let plain = time(&full);
    // A third more of what layers compute, and the same mathematics.
    let ratio = checkpointed.time.value / plain.time.value;
    assert!((1.2..1.36).contains(&ratio), "{ratio}");
    assert_eq!(plain.mfu, plain.hfu);
    assert!(checkpointed.hfu > checkpointed.mfu);
    // Frozen weights have no gradients: two thirds of the products are left.
    let lora = time(&Training { method: Method::Lora(Adapters { dropout: false, fp32: false, ..adapters() }), ..full.clone() });
    assert!((0.6..0.9).contains(&(lora.time.value / plain.time.value)), "{}", lora.time.value / plain.time.value);
    // Fused kernels move less.
    let fused = Software { kernels: Kernels::Fused, ..Software::training(&full) };
    assert!(train(&model, &full, &fused, &speeds).unwrap().time.value < plain.time.value);
    // 4-bit weights are unpacked in every pass.
    let qlora = time(&Training { method: Method::Qlora(adapters(), Quantised::Nf4), ..full.clone() });
    let lora = time(&Training { method: Method::Lora(adapters()), ..full });
    assert!(qlora.time.value > lora.time.value);
    assert!(qlora.parts.kind(Kind::Unpacking).0 > 0.0);
}

/// Narayanan et al.: `(p − 1)/m` of the work of a step is waited for, less by interleaving.
#[test]
fn a_pipeline_waits_as_its_formula_says() {
    let (model, speeds) = (model("Llama-3.1-8B"), speeds("A100 SXM 80GB"));
    let at = |interleave| {
        let parallel = Parallel { gpus: 4, pipeline: 4, interleave, ..Parallel::ONE };
        let training = Training { grad_accum: 16, parallel, ..Training::new(Method::FullBf16, 1, 2048) };
        let step = step(&model, &training, &speeds);
        let work: f64 = [Phase::Forward, Phase::Backward].map(|phase| step.parts.phase(phase).0).iter().sum();
        step.parts.kind(Kind::Bubble).0 / work
    };
    assert!((at(1) / (3.0 / 16.0) - 1.0).abs() < 0.06, "{}", at(1));
    assert!((at(2) / (1.5 / 16.0) - 1.0).abs() < 0.06, "{}", at(2));
}

#[test]
fn data_that_is_late_is_waited_for() {
    let (model, speeds) = (model("Qwen2.5-0.5B"), speeds("A100 SXM 80GB"));
    let training = Training::new(Method::FullBf16, 8, 1024);
    let usual = Software::training(&training);
    let with = |workers| Software { loading: Some(Loading { per_sequence: Seconds(0.5), workers }), ..usual };
    let time = |software: &Software| train(&model, &training, software, &speeds).unwrap();
    let plain = time(&usual).time.value.0;
    // Eight sequences of half a second by two workers take two seconds, whatever the GPU does; by one process they come on top.
    assert!((time(&with(2)).time.value.0 - 2.0).abs() < 1e-9);
    assert_eq!(time(&with(2)).bound_by, Bound::Data);
    assert!((time(&with(0)).time.value.0 - plain - 4.0).abs() < 1e-9);
    assert_eq!(time(&with(1000)).time.value.0, plain);
}

#[test]
fn what_is_offloaded_waits_for_the_host() {
    let (model, speeds) = (model("Llama-3.1-8B"), speeds("A100 SXM 80GB"));
    let training = Training::new(Method::FullMixed { fp32_gradients: false }, 1, 1024);
    let offloaded = step(&model, &Training { offload: Offload::Optimizer, ..training.clone() }, &speeds);
    assert_eq!(offloaded.bound_by, Bound::Host);
    assert!(offloaded.time.value > step(&model, &training, &speeds).time.value);
}

/// A calibration of an H100 whose copies, launches and links are given.
fn calibrated(copy_gbs: f64, peer_gbs: f64, host_gbs: f64) -> Speeds {
    let seconds = |bytes: u64, gbs: f64| bytes as f64 / gbs / 1e9;
    let bytes = 8u64 << 30;
    let mut fixture = fixture::Fixture::host_only().h100().h100();
    for copy in ["dram.copy/bytes=8GiB,gpu=0", "dram.read/bytes=8GiB,gpu=0"] {
        fixture = fixture.moved(copy, bytes, seconds(bytes, copy_gbs));
    }
    for size in [1u64 << 20, 1 << 30] {
        let case = format!("copy.h2d/bytes={},gpu=0,memory=pinned", crate::units::Bytes(size));
        fixture = fixture.moved(&case, size, 1e-5 + seconds(size, host_gbs));
    }
    let peer = format!("peer.write/bytes={},engine=ce,from=0,to=1", crate::units::Bytes(bytes));
    let run = fixture.moved(&peer, bytes, seconds(bytes, peer_gbs)).run();
    let calibration = Calibration::from_run(&run);
    Speeds::calibrated(CATALOG.gpu("H100 SXM").unwrap(), &CATALOG, None, &calibration, 0)
}

/// Halving one speed changes the parts that depend on it, and no other.
#[test]
fn what_is_measured_moves_what_depends_on_it() {
    let model = model("Llama-3.1-8B");
    let one = Training::new(Method::FullMixed { fp32_gradients: false }, 1, 4096);
    let shared = Training { parallel: Parallel { gpus: 2, ..Parallel::ONE }, ..one.clone() };
    let offloaded = Training { offload: Offload::Optimizer, ..one.clone() };
    let (copy, peer, host) = (3000.0, 380.0, 50.0);
    let changed = |training: &Training, speeds: Speeds| -> Vec<Kind> {
        let kinds = |speeds: &Speeds| {
            let step = step(&model, training, speeds);
            Kind::ALL.map(|kind| step.parts.kind(kind).0)
        };
        let (usual, now) = (kinds(&calibrated(copy, peer, host)), kinds(&speeds));
        Kind::ALL.into_iter().filter(|kind| (now[*kind as usize] / usual[*kind as usize] - 1.0).abs() > 1e-12).collect()
    };
    assert_eq!(changed(&shared, calibrated(copy, peer / 2.0, host)), [Kind::Communication]);
    assert_eq!(changed(&one, calibrated(copy, peer / 2.0, host / 2.0)), []);
    assert_eq!(changed(&offloaded, calibrated(copy, peer, host / 2.0)), [Kind::Host]);
    let memory = changed(&one, calibrated(copy / 2.0, peer, host));
    assert!(memory.contains(&Kind::Elementwise) && memory.contains(&Kind::Optimizer), "{memory:?}");
    let from = |speeds: &Speeds| -> Vec<Basis> { step(&model, &shared, speeds).basis.iter().map(|(_, basis, _)| *basis).collect() };
    assert!(from(&calibrated(copy, peer, host)).contains(&Basis::MeasuredHere));
    assert!(!from(&speeds("H100 SXM")).contains(&Basis::MeasuredHere));
}

/// transformers' FP8 products make the host wait for the GPU, so that a step takes the time of both; in BF16 it takes the longer of the two.
#[test]
fn what_waits_for_each_other_takes_the_sum() {
    let (model, speeds) = (model("llama-3.1-8b"), speeds("H100 SXM"));
    let inference = Inference::new(Precision::Fp8, 1, 4096, 100).transformers();
    let waiting = Software::inference(&inference);
    let decode = |software: &Software| infer(&model, &inference, software, &speeds).unwrap().parts;
    let of =
        |parts: &Parts| (parts.phase(Phase::Decode) - parts.part(Phase::Decode, Kind::Launch), parts.part(Phase::Decode, Kind::Launch));
    let ((gpu, host), (same, rest)) = (of(&decode(&waiting)), of(&decode(&Software { waits: false, ..waiting })));
    assert!(waiting.waits && (gpu / same - 1.0).abs() < 1e-9);
    // Not waiting, what the host needs beyond the GPU's time is left.
    assert!(((rest + gpu) / host - 1.0).abs() < 1e-9, "{rest:?} + {gpu:?} and {host:?}");
    let bf16 = Inference { precision: Precision::Bf16, ..inference };
    assert!(!Software::inference(&bf16).waits);
}

/// A prompt that is read but for its last token takes one step of decoding more, and a prompt of one token nothing else.
#[test]
fn the_last_token_may_be_left_to_a_step_of_its_own() {
    let (model, speeds) = (model("llama-3.1-8b"), speeds("H100 SXM"));
    let of = |seq, last_apart| {
        let inference = Inference { chunk: None, ..Inference::new(Precision::Bf16, 4, seq, 100) };
        let software = Software { last_apart, ..Software::inference(&inference) };
        infer(&model, &inference, &software, &speeds).unwrap()
    };
    let (short, usual) = (of(1, true), of(1, false));
    assert_eq!(short.parts.phase(Phase::Prefill), Seconds(0.0));
    // Contexts of 1 and of some 50 tokens differ by little.
    assert!((short.prefill.value / short.decode.value - 1.0).abs() < 0.01);
    assert!((short.time.value / short.decode.value - 100.0).abs() < 0.1 && usual.prefill.value > Seconds(0.0));
    let (apart, usual) = (of(2048, true), of(2048, false));
    let step = apart.prefill.value - usual.prefill.value;
    assert!((step / apart.decode.value - 1.0).abs() < 0.02, "{step}");
    assert!(((apart.time.value - usual.time.value) / step - 1.0).abs() < 1e-6);
}

/// bitsandbytes: what Python does beside a product costs where Python launches it; one row is read packed, more are unpacked first.
#[test]
fn what_surrounds_bitsandbytes_products_counts() {
    let (model, speeds) = (model("llama-3.1-8b"), speeds("A100 SXM 80GB"));
    let answer = |precision, batch| {
        let inference = Inference::new(precision, batch, 64, 32).transformers();
        let software = Software::inference(&inference);
        (infer(&model, &inference, &software, &speeds).unwrap(), software)
    };
    let step = |precision| answer(precision, 1).0.decode.value;
    let (single, double, eight) = (step(Precision::Nf4), step(Precision::Nf4Double), step(Precision::LlmInt8));
    assert!(single < double && double < eight, "{single}, {double}, {eight}");
    assert!(answer(Precision::LlmInt8, 1).1.waits && !answer(Precision::Nf4, 1).1.waits);
    let unpacking = |batch| answer(Precision::Nf4, batch).0.parts.part(Phase::Decode, Kind::Unpacking);
    assert!(unpacking(1) == Seconds(0.0) && unpacking(2) > Seconds(0.0));
    // In a graph nothing runs in Python: the same packed bytes, the same time but for the scales.
    let graph = |precision| {
        let inference = Inference::new(precision, 1, 64, 32);
        let software = Software::inference(&inference);
        assert!(!software.waits);
        infer(&model, &inference, &software, &speeds).unwrap().parts.part(Phase::Decode, Kind::Launch)
    };
    assert_eq!(graph(Precision::Nf4), graph(Precision::LlmInt8));
}

/// A server's host works between steps, as long as that is, even where its kernels are a graph.
#[test]
fn a_server_answers_between_steps() {
    let (model, speeds) = (model("llama-3.1-8b"), speeds("H100 SXM"));
    let launch = |output| answer(&model, &Inference::new(Precision::Bf16, 1, 64, output), &speeds).parts.part(Phase::Decode, Kind::Launch);
    assert!((launch(201) / launch(101) - 2.0).abs() < 1e-9 && launch(101) > Seconds(0.0));
}
