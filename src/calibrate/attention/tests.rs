//! Laws that every machine's attention obeys, and fits to machines that are made up.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::calibrate::fixture::CATALOG;

fn gpu(name: &str) -> &'static GpuModel {
    CATALOG.gpu(name).unwrap()
}

fn h100() -> AttentionModel {
    AttentionModel::assumed(gpu("H100 SXM")).unwrap()
}

/// A machine whose terms are not the typical ones, timed at the design's shapes with an error of a few percent.
fn made_up(scale: f64, noise: f64) -> (AttentionModel, Vec<AttentionTiming>) {
    let mut truth = h100();
    let stray = |term: Term, index: usize| term.typical * (scale * term.spread * if index.is_multiple_of(2) { 1.0 } else { -1.0 }).exp();
    truth.prefill.terms = Terms::typical(&std::array::from_fn::<_, 7, _>(|i| Term::new(stray(prefill::TERMS[i], i), 1.0, 0.0)));
    truth.decode.terms = Terms::typical(&std::array::from_fn::<_, 18, _>(|i| Term::new(stray(decode::TERMS[i], i), 1.0, 0.0)));
    let timings = design::prefill().into_iter().chain(design::decode()).enumerate().map(|(index, shape)| {
        let error = 1.0 + noise * [0.3, -1.0, 0.6, 1.0, -0.4][index % 5];
        AttentionTiming { shape, time: Seconds(truth.time(&shape).time.0 * error) }
    });
    let timings = timings.collect();
    (truth, timings)
}

fn shapes() -> Vec<AttentionShape> {
    let mut shapes = Vec::new();
    for batch in [1, 7, 64] {
        for tokens in [33, 300, 5000] {
            for (heads, kv_heads, head_dim) in [(8, 8, 64), (32, 8, 128), (16, 2, 256)] {
                shapes.push(AttentionShape::prefill(batch, tokens, heads, kv_heads, head_dim));
                shapes.push(AttentionShape::decode(batch, tokens, heads, kv_heads, head_dim));
            }
        }
    }
    shapes
}

/// Median of |ln predicted / true|.
fn error(model: &AttentionModel, truth: &AttentionModel) -> f64 {
    let mut errors: Vec<f64> = shapes().iter().map(|shape| (model.time(shape).time.0 / truth.time(shape).time.0).ln().abs()).collect();
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

#[test]
fn a_fit_finds_a_machine_that_is_not_typical() {
    for scale in [-1.0, -0.5, 0.5, 1.0] {
        let (truth, timings) = made_up(scale, 0.03);
        let model = AttentionModel::fit(gpu("H100 SXM"), &timings).unwrap();
        assert_eq!((model.kernels, model.rows), (Kernels::Both, 128.0));
        let (before, after) = (error(&h100(), &truth), error(&model, &truth));
        assert!(after < 0.04 && after < before / 2.0, "{scale}: {before} → {after}");
        let inside = shapes().iter().filter(|shape| model.time(shape).contains(truth.time(shape).time)).count();
        assert!(inside * 10 >= shapes().len() * 8, "{inside} of {}", shapes().len());
    }
}

#[test]
fn a_fit_survives_what_is_missing_or_disturbed() {
    let (truth, mut timings) = made_up(0.5, 0.03);
    for index in [3, 30] {
        timings[index].time = Seconds(timings[index].time.0 * 4.0);
    }
    timings[7].time = Seconds(f64::NAN);
    timings[8].time = Seconds(-1.0);
    timings[9].time = Seconds(0.0);
    let model = AttentionModel::fit(gpu("H100 SXM"), &timings).unwrap();
    assert!(error(&model, &truth) < 0.08, "{}", error(&model, &truth));
    for count in [0, 1, 2, 5] {
        let model = AttentionModel::fit(gpu("H100 SXM"), &timings[..count]).unwrap();
        assert!(error(&model, &truth) < 1.0);
        assert_eq!(model.decode, h100().decode, "decoding was not timed");
        assert!(model.time(&AttentionShape::decode(1, 100, 8, 8, 128)).extrapolated);
    }
    assert_eq!(AttentionModel::fit(gpu("H100 SXM"), &[]).unwrap(), h100());
}

#[test]
fn it_knows_what_lies_beyond() {
    let (_, timings) = made_up(0.5, 0.0);
    let model = AttentionModel::fit(gpu("H100 SXM"), &timings).unwrap();
    let (near, far) = (AttentionShape::decode(4, 3000, 32, 8, 128), AttentionShape::decode(4, 3_000_000, 32, 8, 128));
    let (near, far) = (model.time(&near), model.time(&far));
    assert!(!near.extrapolated && far.extrapolated);
    assert!(far.high.0 / far.time.0 > near.high.0 / near.time.0);
    assert!(h100().time(&AttentionShape::prefill(1, 512, 32, 8, 128)).extrapolated);
    let size = |head_dim| model.time(&AttentionShape::decode(4, 3000, 32, 8, head_dim)).extrapolated;
    assert_eq!([64, 80, 128, 256, 512].map(size), [false, true, false, false, true], "kernels are compiled for each head size");
}

#[test]
fn nothing_takes_no_time() {
    let shape = AttentionShape::prefill(2, 512, 32, 8, 128);
    for nothing in [
        AttentionShape { batch: 0, ..shape },
        AttentionShape { queries: 0, ..shape },
        AttentionShape { heads: 0, ..shape },
        AttentionShape { head_dim: 0, ..shape },
        AttentionShape { window: Some(0), ..shape },
    ] {
        for prediction in [h100().time(&nothing), h100().backward(&nothing), h100().eager(&nothing, 2)] {
            assert_eq!((prediction.low, prediction.time, prediction.high), (Seconds(0.0), Seconds(0.0), Seconds(0.0)));
        }
    }
}

#[test]
fn every_gpu_with_tensor_cores_has_a_model_and_light_speed_holds() {
    for gpu in &CATALOG.gpus {
        let Some(model) = AttentionModel::assumed(gpu) else { continue };
        for shape in shapes() {
            let time = model.time(&shape).time.0;
            let pairs = if shape.queries == 1 { shape.context as f64 } else { (shape.queries * shape.queries) as f64 / 2.0 };
            let operations = 4.0 * (shape.batch * shape.heads * shape.head_dim) as f64 * pairs;
            let peak = model.device.sms * model.device.sm_flops * 1e6;
            assert!(time > operations / peak, "{} {shape:?}: {time}", gpu.name);
            assert!(time < 10.0, "{} {shape:?}: {time}", gpu.name);
        }
    }
}

#[test]
fn an_h100_is_about_as_fast_as_flash_attention_3_says() {
    // Section 4.1: 550 to 650 TFLOP/s, causal, 16,384 tokens in all and 2,048 features; a serving library's kernels are somewhat slower.
    let shape = AttentionShape::prefill(1, 16384, 16, 16, 128);
    let rate = 2.0 * 16384f64.powi(2) * 2048.0 / h100().time(&shape).time.0 / 1e12;
    assert!((400.0..650.0).contains(&rate), "{rate}");
    let backward = h100().backward(&shape).time.0 / h100().time(&shape).time.0;
    assert!((2.5..3.5).contains(&backward));
}

#[test]
fn unfused_attention_is_slower_and_a_window_is_faster() {
    let shape = AttentionShape::prefill(4, 8192, 32, 8, 128);
    let model = h100();
    assert!(model.eager(&shape, 2).time.0 > 3.0 * model.time(&shape).time.0);
    assert!(model.eager(&shape, 4).time.0 > model.eager(&shape, 2).time.0);
    let windowed = AttentionShape { window: Some(1024), ..shape };
    assert!(model.time(&windowed).time.0 < 0.5 * model.time(&shape).time.0);
    let step = AttentionShape::decode(64, 32768, 32, 8, 128);
    let windowed = AttentionShape { window: Some(4096), ..step };
    assert_eq!(model.time(&windowed).time, model.time(&AttentionShape { context: 4096, ..step }).time);
}

#[test]
fn chunks_cost_about_what_the_whole_does() {
    let model = h100();
    let whole = model.time(&AttentionShape::prefill(1, 16384, 32, 8, 128)).time.0;
    let chunk = |index: u64| AttentionShape { queries: 2048, context: 2048 * (index + 1), ..AttentionShape::prefill(1, 1, 32, 8, 128) };
    let chunks: f64 = (0..8).map(|index| model.time(&chunk(index)).time.0).sum();
    assert!(chunks > whole && chunks < 1.6 * whole, "{chunks} {whole}");
    // Four queries after many tokens are more like four steps than like a prefill.
    let few = AttentionShape { queries: 4, context: 100_000, ..chunk(0) };
    let step = model.time(&AttentionShape { queries: 1, ..few }).time.0;
    assert!(model.time(&few).time.0 <= 4.0 * step * (1.0 + 1e-12));
}

#[test]
fn rising_times_are_close_to_the_true_ones() {
    let model = h100();
    let mut errors = Vec::new();
    for (heads, kv_heads, head_dim) in [(8, 8, 64), (32, 8, 128), (64, 2, 256)] {
        let shape = AttentionShape::decode(1, 1, heads, kv_heads, head_dim);
        let rising = model.rising(&shape);
        for batch in [1, 3, 16, 100, 512] {
            for context in [2, 100, 1024, 5000, 65536] {
                let time = model.time(&AttentionShape { batch, context, ..shape }).time.0;
                errors.push((rising.time(batch, context).time.0 / time).ln().abs());
                assert!(!(batch.is_power_of_two() && context == 1024) || rising.time(batch, context).time.0 <= time * (1.0 + 1e-9));
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors[errors.len() / 2] < 0.05 && errors[errors.len() * 9 / 10] < 0.3, "{errors:?}");
}

fn dimension() -> impl Strategy<Value = u64> {
    prop_oneof![1u64..200, 1u64..1 << 20, any::<u64>(), (0u32..64).prop_map(|power| 1 << power)]
}

prop_compose! {
    fn any_shape()(
        batch in dimension(), queries in dimension(), context in dimension(), heads in dimension(), kv_heads in dimension(),
        head_dim in dimension(), window in proptest::option::of(dimension()),
    ) -> AttentionShape {
        AttentionShape { batch, queries, context, heads, kv_heads, head_dim, window }
    }
}

prop_compose! {
    fn usual_prefill()(
        batch in 1u64..300, queries in 1u64..20_000, before in 0u64..20_000, kv_heads in 1u64..16, group in 1u64..16, size in 0usize..4,
        window in proptest::option::of(1u64..10_000),
    ) -> AttentionShape {
        let head_dim = [64, 80, 128, 256][size];
        AttentionShape { batch, queries, context: queries + before, heads: kv_heads * group, kv_heads, head_dim, window }
    }
}

proptest! {
    #[test]
    fn every_time_is_a_number(shape in any_shape()) {
        static FITTED: LazyLock<AttentionModel> =
            LazyLock::new(|| AttentionModel::fit(gpu("A100 SXM 80GB"), &made_up(0.7, 0.05).1).unwrap());
        for model in [&h100(), &FITTED] {
            for prediction in [model.time(&shape), model.backward(&shape), model.eager(&shape, 2)] {
                let Prediction { low, time, high, .. } = prediction;
                prop_assert!(low.0 > 0.0 && low <= time && time <= high && high.0.is_finite(), "{:?}: {:?}", shape, prediction);
            }
        }
    }

    #[test]
    fn more_prefill_never_takes_less(shape in usual_prefill(), more in 1u64..3000) {
        prop_assume!(shape.queries > 1);
        let model = h100();
        let here = model.time(&shape).time.0;
        let chunked = shape.context > shape.queries;
        let mut larger = vec![
            AttentionShape { batch: shape.batch + more, ..shape },
            AttentionShape { queries: shape.queries + more, context: shape.context + more, ..shape },
            AttentionShape { heads: shape.heads + more * shape.kv_heads, ..shape },
        ];
        if chunked || shape.queries > 64 {
            larger.push(AttentionShape { queries: shape.queries + more.min(shape.context - shape.queries), ..shape });
            larger.push(AttentionShape { context: shape.context + more, ..shape });
        }
        for larger in larger {
            // A few queries are weighed against decoding, whose launches follow rules of their own.
            prop_assume!(shape.queries > 64 || !chunked);
            prop_assert!(model.time(&larger).time.0 >= here * (1.0 - 1e-9), "{:?} {:?}", shape, larger);
        }
    }

    #[test]
    fn rising_times_never_fall(
        batch in dimension(), context in dimension(), kv_heads in 1u64..64, group in 1u64..64, more in dimension(),
        window in proptest::option::of(1u64..9999),
    ) {
        let shape = AttentionShape { window, ..AttentionShape::decode(1, 1, kv_heads * group, kv_heads, 128) };
        let model = h100();
        let rising = model.rising(&shape);
        let here = rising.time(batch, context).time.0;
        prop_assert!(here > 0.0 && here.is_finite());
        for larger in [rising.time(batch.saturating_add(more), context), rising.time(batch, context.saturating_add(more))] {
            prop_assert!(larger.time.0 >= here * (1.0 - 1e-9), "{} {}", here, larger.time);
        }
    }

    #[test]
    fn more_decoding_never_takes_less_with_the_same_launch(
        batch in 1u64..3000, context in 2u64..200_000, kv_heads in 1u64..64, group in 1u64..64, size in 0usize..4, more in 1u64..5000,
    ) {
        let shape = AttentionShape::decode(batch, context, kv_heads * group, kv_heads, [64, 96, 128, 256][size]);
        let model = h100();
        let launch = |shape: &AttentionShape| {
            let work = Work::of(shape).unwrap();
            let grouped = decode::uses_grouped(&model.device, model.kernels, &work);
            let launch = if grouped { decode::grouped(&model.device, &work) } else { decode::single(&model.device, &work) };
            (grouped, launch.splits, launch.per_sm, launch.threads)
        };
        for larger in [
            AttentionShape { batch: batch + more, ..shape },
            AttentionShape { context: context + more, ..shape },
            AttentionShape { heads: shape.heads + kv_heads * more, ..shape },
        ] {
            if launch(&shape) == launch(&larger) {
                prop_assert!(model.time(&larger).time.0 >= model.time(&shape).time.0 * (1.0 - 1e-9), "{:?} {:?}", shape, larger);
            }
        }
    }
}
