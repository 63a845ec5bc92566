//! The laws of plans, and that a plan says what estimates say.

use proptest::prelude::*;

use super::*;
use crate::catalog::Catalog;
use crate::estimate::cost::Cost;
use crate::estimate::{memory, time};
use crate::workload::{Adapters, Checkpointing, Inference, Method, Model, Offload, Precision, Targets, Training, named};

fn catalog() -> Catalog {
    Catalog::embedded().unwrap()
}

fn adapters() -> Adapters {
    Adapters { rank: 16, targets: Targets::AllLinear, dropout: false, fp32: true }
}

fn offers(catalog: &Catalog, names: &[&str]) -> Vec<Offer> {
    let of = |name: &&str| Offer::usual(catalog, catalog.gpu(name).unwrap(), false, None).unwrap();
    names.iter().flat_map(of).collect()
}

fn goal(method: Method, limits: Limits) -> TrainingGoal {
    let setting = Training::new(method.clone(), 1, 2048);
    TrainingGoal { setting, methods: vec![method], sequences: 64, steps: 1000.0, limits, interruptions: Interruptions::usual() }
}

fn choices() -> Choices {
    Choices { batches: vec![1, 4, 16], tensor: vec![1, 2], pipeline: vec![1, 2], ..Choices::up_to(16, 64) }
}

fn model(catalog: &Catalog) -> Model {
    named(catalog, "Llama-3.1-8B").unwrap()
}

/// What is shown of a winner, to compare plans by.
fn key(plan: &Plan<Training>, offers: &[Offer]) -> Vec<(String, Training, f64)> {
    plan.winners.iter().map(|winner| (offers[winner.offer].price.of.clone(), winner.setting.clone(), winner.time.value.0)).collect()
}

/// Every one of a training's numbers is what the plain estimates say of the same setting.
fn agrees(model: &Model, winner: &Winner<Training>, offer: &Offer, goal: &TrainingGoal) {
    let software = time::Software::training(&winner.setting);
    let step = time::train(model, &winner.setting, &software, &offer.speeds).unwrap();
    assert_eq!(step.time, winner.step);
    assert_eq!(step.bound_by, winner.bound_by);
    assert!((step.tokens_per_second / winner.tokens_per_second - 1.0).abs() < 1e-12);
    let memory = memory::train(model, &winner.setting, &offer.overheads).unwrap();
    assert_eq!(memory.device, winner.device);
    assert_eq!(offer.room.verdict(&memory), Verdict::Yes);
    let time = step.time.map(|step| step * goal.steps);
    let cost = Cost::of(offer.price.clone(), winner.gpus, time.clone(), 1.0, None);
    assert_eq!((time, cost.usd), (winner.time.clone(), winner.usd.clone()));
}

#[test]
fn a_plan_says_what_estimates_say() {
    let catalog = catalog();
    let model = model(&catalog);
    let offers = offers(&catalog, &["H100 SXM", "A100 SXM 80GB", "L40S", "RTX 4090"]);
    let full = Method::FullMixed { fp32_gradients: true };
    for method in [full, Method::AmpBf16, Method::Lora(adapters()), Method::Qlora(adapters(), crate::workload::Quantised::Nf4)] {
        let goal = goal(method, Limits::default());
        let plan = train(&model, &goal, &choices(), &offers).unwrap();
        assert!(!plan.winners.is_empty() && plan.verdict() == Verdict::Yes);
        for winner in &plan.winners {
            agrees(&model, winner, &offers[winner.offer], &goal);
        }
        let won: u64 = plan.losses.iter().map(|losses| losses.won).sum();
        assert_eq!(won, plan.winners.len() as u64);
        for losses in &plan.losses {
            let lost = [losses.too_large.count, losses.may_not_fit.count, losses.host.count, losses.endless.count, losses.late.count]
                .into_iter()
                .chain([losses.dear.count, losses.beaten.count]);
            assert_eq!(losses.configurations, losses.won + lost.sum::<u64>());
            if let (Some((usd, ..)), Some(by)) = (&losses.beaten.nearest, losses.beaten_by) {
                assert!(plan.winners[by].usd.value <= *usd && plan.winners[by].time.value <= losses.beaten_time);
            }
        }
    }
}

/// A choice of one of everything, so that the search decides exactly one configuration.
fn single() -> impl Strategy<Value = (usize, usize, u64, u64, u64, u64, usize, usize, usize)> {
    (0..4usize, 0..3usize, 0..4u32, 0..3u32, 0..3u32, 0..3u32, 0..3usize, 0..5usize, 0..3usize).prop_map(
        |(method, offer, workers, tensor, pipeline, batch, checkpointing, data, offload)| {
            (method, offer, 1 << workers, 1 << tensor, 1 << pipeline, 1 << batch, checkpointing, data, offload)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Any configuration, not only winners: the search and the plain estimates give the same numbers, or both refuse.
    #[test]
    fn any_configuration_is_what_estimates_say((method, offer, workers, tensor, pipeline, batch, checkpointing, data, offload) in single()) {
        let catalog = catalog();
        let model = named(&catalog, "Llama-3.2-1B").unwrap();
        let methods = [Method::FullMixed { fp32_gradients: false }, Method::AmpBf16, Method::FullBf16, Method::Lora(adapters())];
        let gpu = catalog.gpu(["H100 SXM", "A100 SXM 80GB", "B200"][offer]).unwrap();
        let price = Price::given(Usd(2.0), false);
        let mut offer = Offer::given(&catalog, gpu, price, 8, None);
        offer.host = Some(Bytes::gib(100_000));
        let all = Choices::up_to(1, 1);
        let gpus = workers * tensor * pipeline;
        let choices = Choices {
            gpus: vec![gpus],
            batches: vec![batch],
            checkpointing: vec![all.checkpointing[checkpointing]],
            data: vec![all.data[data]],
            tensor: vec![tensor],
            pipeline: vec![pipeline],
            offload: vec![all.offload[offload]],
        };
        let goal = goal(methods[method].clone(), Limits::default());
        match train(&model, &goal, &choices, &[offer.clone()]) {
            Err(_) => {}
            Ok(plan) => {
                prop_assert_eq!(plan.configurations(), 1);
                for winner in &plan.winners {
                    agrees(&model, winner, &offer, &goal);
                    prop_assert_eq!(winner.setting.offload, choices.offload[0]);
                    prop_assert_eq!(winner.setting.grad_accum * batch * workers, 64);
                }
                if let Some((_, _, training)) = &plan.losses[0].too_large.nearest {
                    let memory = memory::train(&model, training, &offer.overheads).unwrap();
                    prop_assert_eq!(offer.room.verdict(&memory), Verdict::No);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn more_time_or_money_removes_no_winner(hours in 1.0..200.0f64, usd in 10.0..3000.0f64, more in 1.0..5.0f64) {
        let catalog = catalog();
        let (model, offers) = (model(&catalog), offers(&catalog, &["H100 SXM", "A100 SXM 80GB", "L40S"]));
        let with = |hours: f64, usd: f64| {
            let limits = Limits { time: Some(Seconds(hours * 3600.0)), usd: Some(Usd(usd)) };
            let plan = train(&model, &goal(Method::Lora(adapters()), limits), &choices(), &offers).unwrap();
            key(&plan, &offers)
        };
        let before = with(hours, usd);
        for after in [with(hours * more, usd), with(hours, usd * more)] {
            prop_assert!(before.iter().all(|winner| after.contains(winner)));
        }
    }

    #[test]
    fn a_cheaper_price_makes_no_winner_lose(which in 0..6usize, share in 0.1..1.0f64) {
        let catalog = catalog();
        let (model, mut offers) = (model(&catalog), offers(&catalog, &["H100 SXM", "A100 SXM 80GB", "L40S"]));
        let goal = goal(Method::Lora(adapters()), Limits { usd: Some(Usd(400.0)), time: None });
        let which = which % offers.len();
        let of_it = |plan: &Plan<Training>| -> Vec<Training> {
            plan.winners.iter().filter(|winner| winner.offer == which).map(|winner| winner.setting.clone()).collect()
        };
        let before = train(&model, &goal, &choices(), &offers).unwrap();
        offers[which].price.per_gpu_hour = offers[which].price.per_gpu_hour.map(|usd| usd * share);
        let after = train(&model, &goal, &choices(), &offers).unwrap();
        let kept = of_it(&after);
        prop_assert!(of_it(&before).iter().all(|setting| kept.contains(setting)));
        for plan in [before, after] {
            for (one, other) in plan.winners.iter().zip(plan.winners.iter().skip(1)) {
                prop_assert!(one.time.value < other.time.value && one.usd.value > other.usd.value);
            }
        }
    }
}

#[test]
fn what_cannot_be_done_says_why() {
    let catalog = catalog();
    let model = named(&catalog, "Llama-3.1-70B").unwrap();
    let offers = offers(&catalog, &["L4"]);
    let full = Method::FullMixed { fp32_gradients: true };
    let choices = Choices { offload: vec![Offload::None], checkpointing: vec![Checkpointing::Full], ..Choices::up_to(1, 64) };
    let plan = train(&model, &goal(full.clone(), Limits::default()), &choices, &offers).unwrap();
    assert!(plan.winners.is_empty() && plan.verdict() == Verdict::No);
    assert!(plan.losses.iter().any(|losses| losses.too_large.nearest.as_ref().is_some_and(|(lack, ..)| *lack > Bytes::gib(100))));
    // Nothing can be done in a second, and that is sure.
    let limits = Limits { time: Some(Seconds(1.0)), usd: None };
    let small = named(&catalog, "Llama-3.2-1B").unwrap();
    let plan = train(&small, &goal(Method::FullBf16, limits), &Choices::up_to(1, 64), &offers).unwrap();
    assert_eq!(plan.verdict(), Verdict::No);
    assert!(plan.losses.iter().any(|losses| losses.late.count > 0));
    // A degree of sharing that the model does not have is refused with its reason.
    let odd = Choices { gpus: vec![3], tensor: vec![3], ..Choices::up_to(1, 63) };
    let error = train(&model, &TrainingGoal { sequences: 63, ..goal(full, Limits::default()) }, &odd, &offers).unwrap_err();
    assert!(error.to_string().contains("tensor-parallel"), "{error}");
}

#[test]
fn spot_machines_lose_work() {
    let catalog = catalog();
    let model = model(&catalog);
    let offers = Offer::usual(&catalog, catalog.gpu("B200").unwrap(), true, None).unwrap();
    assert_eq!(offers.len(), 1);
    let goal = goal(Method::Lora(adapters()), Limits::default());
    let plan = train(&model, &goal, &choices(), &offers).unwrap();
    for winner in &plan.winners {
        let machines = offers[0].machines(winner.gpus);
        let stretch = goal.interruptions.stretch(machines).unwrap().value;
        assert!(stretch > 1.0 && (winner.time.value.0 / (winner.step.value.0 * 1000.0) / stretch - 1.0).abs() < 1e-12);
    }
}

fn serving() -> ServingGoal {
    ServingGoal {
        setting: Inference::new(Precision::Bf16, 1, 2048, 256),
        precisions: vec![Precision::Bf16, Precision::Fp8, Precision::INT4],
        batches: vec![1, 8, 64],
        tensor: vec![1, 2],
        pipeline: vec![1],
        most: 8,
        throughput: None,
        request: None,
        first: None,
        each: None,
        per_hour: None,
    }
}

#[test]
fn serving_says_what_estimates_say() {
    let catalog = catalog();
    let model = model(&catalog);
    let offers = offers(&catalog, &["H100 SXM", "L40S", "RTX 4090"]);
    let plan = infer(&model, &serving(), &offers).unwrap();
    assert!(!plan.winners.is_empty() && plan.verdict() == Verdict::Yes);
    for winner in &plan.winners {
        let Serving { inference, replicas, first } = winner.setting;
        let offer = &offers[winner.offer];
        let answer = time::infer(&model, &inference, &time::Software::inference(&inference), &offer.speeds).unwrap();
        assert_eq!((&answer.time, &answer.decode, answer.prefill.value), (&winner.time, &winner.step, first));
        let per_second = offer.price.per_gpu_hour.value.0 * winner.gpus as f64 / 3600.0;
        let rate = answer.tokens_per_second * replicas as f64;
        assert!((winner.usd.value.0 / (per_second / rate * 1e6) - 1.0).abs() < 1e-12);
    }
    for (one, other) in plan.winners.iter().zip(plan.winners.iter().skip(1)) {
        assert!(one.time.value < other.time.value && one.usd.value > other.usd.value);
    }
}

#[test]
fn a_throughput_takes_replicas_and_limits_exclude() {
    let catalog = catalog();
    let (model, offers) = (model(&catalog), offers(&catalog, &["H100 SXM", "L40S"]));
    let plan = infer(&model, &ServingGoal { throughput: Some(5000.0), most: 64, ..serving() }, &offers).unwrap();
    assert!(!plan.winners.is_empty());
    assert!(plan.winners.iter().all(|winner| winner.tokens_per_second >= 5000.0));
    let plan = infer(&model, &ServingGoal { throughput: Some(1e6), ..serving() }, &offers).unwrap();
    assert!(plan.winners.is_empty() && plan.verdict() == Verdict::No);
    assert!(plan.losses.iter().any(|losses| losses.many.nearest.as_ref().is_some_and(|(gpus, ..)| *gpus > 8)));
    let plan = infer(&model, &ServingGoal { first: Some(Seconds(1e-6)), ..serving() }, &offers).unwrap();
    assert!(plan.winners.is_empty() && plan.verdict() == Verdict::No);
    let plan = infer(&model, &ServingGoal { per_hour: Some(Usd(1e-3)), ..serving() }, &offers).unwrap();
    assert!(plan.winners.is_empty() && plan.losses.iter().any(|losses| losses.dear.count > 0));
}
