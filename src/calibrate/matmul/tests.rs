use super::*;
use crate::calibrate::fixture::CATALOG;
use crate::stats::SplitMix64;
use proptest::prelude::*;
use std::sync::LazyLock;

fn gpu(name: &str) -> GpuModel {
    CATALOG.gpu(name).unwrap().clone()
}

fn shape(m: u64, n: u64, k: u64) -> GemmShape {
    GemmShape { m, n, k }
}

/// What a machine with constants of its own, unlike the usual ones, would have measured of the design.
fn measured(gpu: &GpuModel, dtype: Dtype, setting: Setting, noise: f64, seed: u64) -> (Device, Constants, Vec<GemmTiming>) {
    let device = Device::of(gpu, dtype).unwrap();
    let (usual, spread) = Constants::usual(&device);
    let mut random = SplitMix64(seed);
    let values = usual.to_array();
    let own = Constants::from_array(std::array::from_fn(|i| values[i] * (0.7 * spread[i] * random.normal()).exp()));
    let timing = |shape: &GemmShape| {
        let time = physics::time(&device, &own, setting, *shape) * (noise * random.normal()).exp();
        GemmTiming { shape: *shape, time: Seconds(time) }
    };
    let timings = DESIGN.iter().map(timing).collect();
    (device, own, timings)
}

#[test]
fn a_machine_of_this_kind_is_recognised_from_its_design() {
    for (name, dtype, seed) in
        [("H100 SXM", Dtype::Bf16, 1), ("A100 SXM 80GB", Dtype::Bf16, 2), ("L40S", Dtype::Fp8, 3), ("RTX 4090", Dtype::Bf16, 4)]
    {
        let gpu = gpu(name);
        let (device, own, timings) = measured(&gpu, dtype, Setting::IN_A_MODEL, 0.01, seed);
        let model = MatmulModel::fit(&gpu, dtype, Setting::IN_A_MODEL, &timings).unwrap();
        let mut random = SplitMix64(seed);
        let mut errors: Vec<f64> = (0..400)
            .map(|_| {
                let axis = |u: f64, most: f64| (32.0 * (most / 32.0).powf(u)) as u64;
                let shape = shape(axis(random.uniform(), 8192.0), axis(random.uniform(), 32768.0), axis(random.uniform(), 32768.0));
                (model.time(shape).time.0 / physics::time(&device, &own, Setting::IN_A_MODEL, shape) - 1.0).abs()
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        assert!(errors[200] < 0.02 && errors[360] < 0.06, "{name}: median {}, p90 {}", errors[200], errors[360]);
    }
}

#[test]
fn without_timings_the_model_is_the_assumed_one_and_says_so() {
    let gpu = gpu("H100 SXM");
    let assumed = MatmulModel::assumed(&gpu, Dtype::Bf16).unwrap();
    assert_eq!(MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &[]), Some(assumed.clone()));
    let time = assumed.time(shape(4096, 4096, 4096));
    assert!(time.extrapolated && time.high.0 / time.low.0 > 2.0);
    // 137 GFLOP at half to all of the datasheet's 989 TFLOP/s.
    assert!((139e-6..280e-6).contains(&time.time.0), "{time:?}");
}

#[test]
fn a_fit_waits_for_the_first_question_and_is_shared_by_copies() {
    let gpu = gpu("H100 SXM");
    let (_, _, timings) = measured(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, 0.01, 1);
    let model = MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &timings).unwrap();
    let copy = model.clone();
    assert!(model.fit.found.get().is_none());
    model.time(shape(16, 4096, 4096));
    assert!(copy.fit.found.get().is_some_and(|found| found.residual.is_some()));
    assert_eq!(Some(copy), MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &timings));
}

#[test]
fn timings_that_are_none_are_left_out() {
    let gpu = gpu("H100 SXM");
    let (_, _, timings) = measured(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, 0.01, 1);
    let model = MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &timings);
    let bad = [
        (shape(0, 1, 1), 1e-6),
        (shape(1, 1, 1), 0.0),
        (shape(1, 1, 1), f64::NAN),
        (shape(1, 1, 1), f64::INFINITY),
        (shape(1, 1, 1), -1.0),
    ];
    let with_bad: Vec<GemmTiming> =
        bad.iter().map(|&(shape, time)| GemmTiming { shape, time: Seconds(time) }).chain(timings.iter().copied()).collect();
    assert_eq!(MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &with_bad), model);
}

#[test]
fn one_wild_timing_does_not_bend_the_model() {
    let gpu = gpu("A100 SXM 80GB");
    let (_, _, timings) = measured(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, 0.01, 5);
    let clean = MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &timings).unwrap();
    let mut spoilt = timings.clone();
    spoilt[40].time.0 *= 8.0;
    let spoilt = MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &spoilt).unwrap();
    for far in [shape(4096, 4096, 4096), shape(16, 8192, 8192), shape(1024, 16384, 512)] {
        let ratio = spoilt.time(far).time.0 / clean.time(far).time.0;
        assert!((0.96..1.04).contains(&ratio), "{far:?}: {ratio}");
    }
}

#[test]
fn weights_in_the_cache_and_casts_change_the_time() {
    let model = MatmulModel::assumed(&gpu("H100 SXM"), Dtype::Fp8).unwrap();
    let shape = shape(16, 4096, 4096);
    let setting = |weights, casts| Setting { weights, casts };
    let cold = model.time(shape).time;
    assert!(model.time_in(setting(Weights::Rotating { most: 1 }, false), shape).time < cold);
    assert!(model.time_in(setting(Weights::Cold, true), shape).time > cold);
}

#[test]
fn a_zero_takes_no_time() {
    let model = MatmulModel::assumed(&gpu("L4"), Dtype::Bf16).unwrap();
    assert_eq!(model.time(shape(0, 5, 5)).time, Seconds(0.0));
}

/// Assumed ones, and ones fitted to timings of a quiet and of a very noisy machine.
static MODELS: LazyLock<Vec<MatmulModel>> = LazyLock::new(|| {
    let assumed = ["H100 SXM", "L40S"].map(|name| MatmulModel::assumed(&gpu(name), Dtype::Bf16).unwrap());
    let fitted = [("H100 SXM", 0.02), ("A100 SXM 80GB", 0.2), ("RTX 5090", 0.1)].map(|(name, noise)| {
        let gpu = gpu(name);
        let (_, _, timings) = measured(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, noise, 7);
        MatmulModel::fit(&gpu, Dtype::Bf16, Setting::IN_A_MODEL, &timings).unwrap()
    });
    assumed.into_iter().chain(fitted).collect()
});

fn dimension() -> impl Strategy<Value = u64> {
    prop_oneof![1u64..64, (0.0..17.0f64).prop_map(|log| 2f64.powf(log) as u64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn more_tokens_never_take_less_time(m in dimension(), more in dimension(), n in dimension(), k in dimension()) {
        for model in &*MODELS {
            let (less, more) = (model.time(shape(m, n, k)), model.time(shape(m + more, n, k)));
            prop_assert!(less.time.0 <= more.time.0 * (1.0 + 1e-7), "{less:?} {more:?}");
        }
    }

    #[test]
    fn any_shape_has_a_time_within_its_interval(m: u64, n: u64, k: u64, most: u32) {
        let model = MatmulModel::assumed(&gpu("B200"), Dtype::Fp8).unwrap();
        let setting = Setting { weights: Weights::Rotating { most }, casts: true };
        for time in [model.time(shape(m, n, k)), model.time_in(setting, shape(m, n, k))] {
            prop_assert!(time.time.0.is_finite() && time.time.0 >= 0.0 && time.low <= time.time && time.time <= time.high, "{time:?}");
        }
    }

    #[test]
    fn absurd_timings_make_no_absurd_numbers(
        timings in proptest::collection::vec((dimension(), dimension(), dimension(), -15.0..9.0f64), 0..8),
        (m, n, k) in (dimension(), dimension(), dimension()),
    ) {
        let timings: Vec<GemmTiming> = timings
            .into_iter()
            .map(|(m, n, k, log)| GemmTiming { shape: shape(m, n, k), time: Seconds(10f64.powf(log)) })
            .collect();
        // The same shape twice is no other equation.
        let timings = [timings.clone(), timings].concat();
        let gpu = CATALOG.gpu("A100 SXM 80GB").unwrap();
        let model = MatmulModel::fit(gpu, Dtype::Bf16, Setting::IN_A_MODEL, &timings).unwrap();
        let found = model.time(shape(m, n, k));
        prop_assert!(found.time.0.is_finite() && found.time.0 > 0.0 && found.low <= found.time && found.time <= found.high, "{found:?}");
    }
}
