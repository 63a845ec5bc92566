//! A plan as tables or as JSON.

use serde::Serialize;

use super::super::estimate::cost::{between, money};
use super::super::estimate::words::duration_of;
use super::super::{Common, Format, print, print_tables};
use super::{Market, Sort};
use crate::error::{Error, Result};
use crate::estimate::advice::{checkpointing_word, data_word, method_word};
use crate::estimate::fit::Verdict;
use crate::estimate::plan::{Losses, Offer, Plan, Serving, ServingGoal, Tally, TrainingGoal, Winner};
use crate::figure::Quantity;
use crate::report;
use crate::table::{Cell, Column, Table};
use crate::units::{Seconds, Usd, significant};
use crate::workload::{Checkpointing, Data, KvPrecision, Model, Offload, Training};

/// What differs between the two searches when they are shown.
struct Shown<S> {
    title: String,
    /// Headings of time and money.
    time: &'static str,
    usd: &'static str,
    /// A setting in few words, and as options of `estimate`.
    words: fn(&S) -> String,
    options: fn(&S) -> String,
    notes: Vec<String>,
}

pub(super) fn train(
    common: &Common,
    market: &Market,
    model: &Model,
    goal: &TrainingGoal,
    offers: &[Offer],
    plan: &Plan<Training>,
) -> Result<()> {
    let setting = &goal.setting;
    let methods: Vec<&str> = goal.methods.iter().map(method_word).collect();
    let tokens = goal.sequences as f64 * setting.seq as f64 * goal.steps;
    let title = format!(
        "{}, {}: {} steps of {} × {} tokens, {} million tokens in all",
        model.name,
        methods.join(" or "),
        goal.steps,
        goal.sequences,
        setting.seq,
        significant(tokens / 1e6, 4),
    );
    let mut notes = Vec::new();
    if offers.iter().any(|offer| offer.price.spot) {
        let all = &goal.interruptions;
        let from = [&all.per_day.from, &all.checkpoint_every.from, &all.restart.from].map(|from| from.join("; "));
        notes.push(format!("Spot machines: times include lost work and restarts ({}).", from.join("; ")));
    }
    let shown = Shown { title, time: "time", usd: "cost", words: training_words, options: training_options, notes };
    show(common, market, model, offers, plan, &shown)
}

pub(super) fn infer(
    common: &Common,
    market: &Market,
    model: &Model,
    goal: &ServingGoal,
    offers: &[Offer],
    plan: &Plan<Serving>,
) -> Result<()> {
    let precisions: Vec<String> = goal.precisions.iter().map(ToString::to_string).collect();
    let setting = &goal.setting;
    let mut title =
        format!("{}, {}: prompts of {} tokens, answers of {}", model.name, precisions.join(" or "), setting.seq, setting.output);
    if let Some(tokens) = goal.throughput {
        title.push_str(&format!(", {} tokens per second", significant(tokens, 4)));
    }
    let shown = Shown {
        title,
        time: "request",
        usd: "1M tokens",
        words: serving_words,
        options: serving_options,
        notes: vec!["A request is one of a batch that starts together; its time is that of the whole batch.".to_owned()],
    };
    show(common, market, model, offers, plan, &shown)
}

fn show<S: Clone>(common: &Common, market: &Market, model: &Model, offers: &[Offer], plan: &Plan<S>, shown: &Shown<S>) -> Result<()> {
    if common.format == Format::Json {
        return print(&json(market, model, offers, plan, shown)?);
    }
    print_tables(&[winners(market, offers, plan, shown), reasons(offers, plan, shown)], common)
}

/// Winners in the order asked for, each with its place in the plan.
fn sorted<'a, S>(market: &Market, plan: &'a Plan<S>) -> Vec<(usize, &'a Winner<S>)> {
    let mut all: Vec<_> = plan.winners.iter().enumerate().collect();
    if market.sort == Sort::Cost {
        all.reverse();
    }
    all
}

fn winners<S>(market: &Market, offers: &[Offer], plan: &Plan<S>, shown: &Shown<S>) -> Table {
    let columns = [
        Column::number("number", "#"),
        Column::text("gpus", "GPUs"),
        Column::text("setting", "setting"),
        Column::number("time", shown.time),
        Column::text("time_interval", "interval"),
        Column::number("usd", shown.usd),
        Column::text("usd_interval", "interval"),
        Column::text("bound_by", "bound by"),
        Column::text("meets", "meets"),
    ];
    let mut table = Table::new(shown.title.clone(), columns);
    let all = sorted(market, plan);
    for (at, winner) in all.iter().take(market.top) {
        table.row([
            Cell::text((at + 1).to_string()),
            Cell::text(format!("{} × {}", winner.gpus, offers[winner.offer].gpu)),
            Cell::text((shown.words)(&winner.setting)),
            Cell::figure_as(&winner.time, duration_of(winner.time.value)),
            between(&winner.time, duration_of),
            Cell::figure_as(&winner.usd, money(winner.usd.value)),
            between(&winner.usd, money),
            Cell::text(winner.bound_by.word()),
            Cell::text(meets(winner.verdict)),
        ]);
    }
    let mut said: Vec<usize> = Vec::new();
    for (_, winner) in all.iter().take(market.top) {
        if !said.contains(&winner.offer) {
            said.push(winner.offer);
            let Offer { gpu, price, .. } = &offers[winner.offer];
            table.note(format!("{gpu} at {:.2} USD per GPU and hour: {}.", price.per_gpu_hour.value.0, price.of));
        }
    }
    let (configurations, gpus) = (plan.configurations(), offers.len());
    let tried = format!("{configurations} configurations of {gpus} {}", if gpus == 1 { "offer" } else { "offers" });
    table.note(match all.len() {
        0 => format!("{tried} were tried."),
        count => format!("{count} of {tried}: nothing else is at once as fast and as cheap."),
    });
    if all.len() > market.top {
        table.note(format!("{} more are left out; --top {} shows them.", all.len() - market.top, all.len()));
    }
    match (all.first(), plan.verdict()) {
        (None, Verdict::Unknown) => table.note("Whether anything meets the goal is unknown: intervals straddle a limit or the memory."),
        (None, _) => table.note("Nothing meets the goal; the reasons stand below."),
        (Some(_), Verdict::Unknown) => table.note("By best estimates the goal is met, but no interval lies within it."),
        (Some((_, first)), _) => {
            table.note(format!("The first again, part by part: `gpu-assay estimate {}`.", (shown.options)(&first.setting)));
        }
    }
    table.notes.extend(shown.notes.iter().cloned());
    table
}

const fn meets(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Yes => "surely",
        Verdict::No => "no",
        Verdict::Unknown => "likely",
    }
}

/// Each offer with its price, and why what it has lost.
fn reasons<S: Clone>(offers: &[Offer], plan: &Plan<S>, shown: &Shown<S>) -> Table {
    let columns = [
        Column::text("gpu", "GPU"),
        Column::number("usd_per_gpu_hour", "from USD/h"),
        Column::number("configurations", "tried"),
        Column::number("won", "won"),
        Column::text("lost", "why the others lost"),
    ];
    let mut table = Table::new("What was compared", columns);
    let mut done: Vec<&str> = Vec::new();
    for offer in offers {
        if done.contains(&offer.gpu.as_str()) {
            continue;
        }
        done.push(&offer.gpu);
        let mut all = Losses::default();
        let mut price = &offer.price.per_gpu_hour;
        for (other, losses) in offers.iter().zip(&plan.losses).filter(|(other, _)| other.gpu == offer.gpu) {
            all.join(losses);
            if other.price.per_gpu_hour.value < price.value {
                price = &other.price.per_gpu_hour;
            }
        }
        table.row([
            Cell::text(&offer.gpu),
            Cell::figure_as(price, format!("{:.2}", price.value.0)),
            Cell::count(all.configurations),
            Cell::count(all.won),
            Cell::text(lost(&all, shown).into_iter().map(|reason| reason.words).collect::<Vec<_>>().join("; ")),
        ]);
    }
    table.note("The cheapest price of each GPU in USD per GPU and hour. Storage and traffic out of the cloud come on top.");
    table
}

/// One reason, for people and for programs.
struct Reason {
    reason: &'static str,
    count: u64,
    words: String,
    setting: Option<(u64, String)>,
}

fn lost<S>(losses: &Losses<S>, shown: &Shown<S>) -> Vec<Reason> {
    let mut all = Vec::new();
    if losses.configurations == 0 {
        all.push(Reason {
            reason: "not_rented",
            count: 0,
            words: "too few GPUs, or no known network between machines".to_owned(),
            setting: None,
        });
    }
    fn add<Q: Copy, S>(all: &mut Vec<Reason>, shown: &Shown<S>, reason: &'static str, tally: &Tally<Q, S>, say: impl Fn(Q) -> String) {
        if let Some((amount, gpus, setting)) = tally.nearest.as_ref() {
            let words = format!("{} {}", tally.count, say(*amount));
            all.push(Reason { reason, count: tally.count, words, setting: Some((*gpus, (shown.words)(setting))) });
        }
    }
    add(&mut all, shown, "does_not_fit", &losses.too_large, |lack| format!("do not fit (the nearest by {})", lack.approximate()));
    add(&mut all, shown, "may_not_fit", &losses.may_not_fit, |lack| format!("may not fit (the nearest by {})", lack.approximate()));
    add(&mut all, shown, "host_memory", &losses.host, |lack| format!("lack host memory (the nearest {})", lack.approximate()));
    add(&mut all, shown, "too_many_gpus", &losses.many, |gpus| format!("need too many GPUs (the fewest {gpus})"));
    add(&mut all, shown, "never_ends", &losses.endless, |_| "are interrupted faster than they work".to_owned());
    add(&mut all, shown, "too_long", &losses.late, |time| format!("take too long (the fastest {})", duration_of(time)));
    add(&mut all, shown, "too_dear", &losses.dear, |usd| format!("cost too much (the cheapest {})", money(usd)));
    let by = losses.beaten_by.map_or_else(String::new, |by| format!(", #{} beats it", by + 1));
    let time = losses.beaten_time;
    add(&mut all, shown, "beaten", &losses.beaten, |usd| {
        format!("are beaten (the cheapest takes {} and {}{by})", duration_of(time), money(usd))
    });
    all
}

/// A training in few words.
fn training_words(training: &Training) -> String {
    let mut words = vec![format!("{}, batch {} × {}", method_word(&training.method), training.batch, training.grad_accum)];
    if training.parallel.workers() > 1 {
        words.push(data_word(training.parallel.data).to_owned());
    }
    for (name, degree) in [("tp", training.parallel.tensor), ("pp", training.parallel.pipeline)] {
        if degree > 1 {
            words.push(format!("{name} {degree}"));
        }
    }
    if training.checkpointing != Checkpointing::None {
        words.push(format!("checkpointing {}", checkpointing_word(training.checkpointing)));
    }
    if training.offload != Offload::None {
        words.push(format!("offload {}", offload_word(training.offload)));
    }
    words.join(", ")
}

const fn offload_word(offload: Offload) -> &'static str {
    match offload {
        Offload::None => "none",
        Offload::Optimizer => "optimizer",
        Offload::All => "all",
    }
}

/// What `estimate train` needs to say the same.
fn training_options(training: &Training) -> String {
    let parallel = &training.parallel;
    let mut options = format!(
        "train … --method {} --batch {} --grad-accum {} --seq {} --gpus {}",
        method_word(&training.method),
        training.batch,
        training.grad_accum,
        training.seq,
        parallel.gpus,
    );
    if parallel.workers() > 1 && parallel.data != Data::Ddp {
        options.push_str(&format!(" --parallel {}", data_word(parallel.data)));
    }
    for (name, degree) in [("tp", parallel.tensor), ("pp", parallel.pipeline)] {
        if degree > 1 {
            options.push_str(&format!(" --{name} {degree}"));
        }
    }
    if training.checkpointing != Checkpointing::None {
        options.push_str(&format!(" --checkpointing {}", checkpointing_word(training.checkpointing)));
    }
    if training.offload != Offload::None {
        options.push_str(&format!(" --offload {}", offload_word(training.offload)));
    }
    options
}

/// Serving in few words.
fn serving_words(serving: &Serving) -> String {
    let Serving { inference, replicas, first } = serving;
    let mut words = format!("{}, batch {}", inference.precision, inference.batch);
    for (name, degree) in [("tp", inference.tensor), ("pp", inference.pipeline)] {
        if degree > 1 {
            words.push_str(&format!(", {name} {degree}"));
        }
    }
    if *replicas > 1 {
        words.push_str(&format!(", {replicas} replicas"));
    }
    if first.0 > 0.0 {
        words.push_str(&format!(", first token {}", duration_of(*first)));
    }
    words
}

/// What `estimate infer` needs to say the same.
fn serving_options(serving: &Serving) -> String {
    let inference = &serving.inference;
    let mut options = format!(
        "infer … --precision {} --batch {} --seq {} --output {}",
        inference.precision, inference.batch, inference.seq, inference.output
    );
    for (name, degree) in [("tp", inference.tensor), ("pp", inference.pipeline)] {
        if degree > 1 {
            options.push_str(&format!(" --{name} {degree}"));
        }
    }
    if inference.kv_precision != KvPrecision::Computed {
        options.push_str(&format!(" --kv-precision {}", inference.kv_precision));
    }
    options
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    title: &'a str,
    verdict: Verdict,
    configurations: u64,
    plans: Vec<PlanKeys<'a>>,
    offers: Vec<OfferKeys<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct PlanKeys<'a> {
    gpu: &'a str,
    gpus: u64,
    offer: usize,
    setting: String,
    options: String,
    device_bytes: u64,
    headroom_bytes: i64,
    /// All of a training, one request of serving.
    seconds: f64,
    low_seconds: f64,
    high_seconds: Option<f64>,
    /// One step, or one further token.
    step_seconds: f64,
    tokens_per_second: f64,
    /// All of a training, a million tokens of serving.
    usd: f64,
    low_usd: f64,
    high_usd: Option<f64>,
    /// Of the GPUs, in the time or for the tokens that `usd` is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_kwh: Option<f64>,
    bound_by: &'static str,
    meets: Verdict,
    time_basis: &'static str,
    cost_basis: &'static str,
}

#[derive(Serialize)]
struct OfferKeys<'a> {
    gpu: &'a str,
    price_of: &'a str,
    usd_per_gpu_hour: f64,
    spot: bool,
    basis: &'static str,
    from: String,
    gpus_per_machine: u64,
    configurations: u64,
    won: u64,
    lost: Vec<LostKeys>,
}

#[derive(Serialize)]
struct LostKeys {
    reason: &'static str,
    count: u64,
    words: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setting: Option<String>,
    /// The plan that beats it, counted from 0 by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    beaten_by: Option<usize>,
}

fn json<S>(market: &Market, model: &Model, offers: &[Offer], plan: &Plan<S>, shown: &Shown<S>) -> Result<String> {
    fn finite<Q: Quantity>(value: Q) -> Option<f64> {
        Some(value.base()).filter(|value| value.is_finite())
    }
    let plans = sorted(market, plan).into_iter().map(|(_, winner)| PlanKeys {
        gpu: &offers[winner.offer].gpu,
        gpus: winner.gpus,
        offer: winner.offer,
        setting: (shown.words)(&winner.setting),
        options: (shown.options)(&winner.setting),
        device_bytes: winner.device.value.0,
        headroom_bytes: winner.headroom,
        seconds: winner.time.value.0,
        low_seconds: winner.time.low.0,
        high_seconds: finite::<Seconds>(winner.time.high),
        step_seconds: winner.step.value.0,
        tokens_per_second: winner.tokens_per_second,
        usd: winner.usd.value.0,
        low_usd: winner.usd.low.0,
        high_usd: finite::<Usd>(winner.usd.high),
        energy_kwh: winner.energy.as_ref().map(|energy| energy.value.0 / 3.6e6),
        bound_by: winner.bound_by.word(),
        meets: winner.verdict,
        time_basis: winner.time.basis.words(),
        cost_basis: winner.usd.basis.words(),
    });
    let of = |offer: &'_ Offer| offer.price.per_gpu_hour.clone();
    let offers_shown = offers.iter().zip(&plan.losses).map(|(offer, losses)| OfferKeys {
        gpu: &offer.gpu,
        price_of: &offer.price.of,
        usd_per_gpu_hour: of(offer).value.0,
        spot: offer.price.spot,
        basis: of(offer).basis.words(),
        from: of(offer).from.join("; "),
        gpus_per_machine: offer.machine,
        configurations: losses.configurations,
        won: losses.won,
        lost: lost(losses, shown)
            .into_iter()
            .map(|Reason { reason, count, words, setting }| LostKeys {
                reason,
                count,
                words,
                gpus: setting.as_ref().map(|(gpus, _)| *gpus),
                setting: setting.map(|(_, words)| words),
                beaten_by: losses.beaten_by.filter(|_| reason == "beaten"),
            })
            .collect(),
    });
    let document = Document {
        model: &model.name,
        title: &shown.title,
        verdict: plan.verdict(),
        configurations: plan.configurations(),
        plans: plans.collect(),
        offers: offers_shown.collect(),
        notes: &shown.notes,
    };
    let text = serde_json::to_string_pretty(&document).map_err(|error| Error::measurement("writing the plan", error))?;
    Ok(format!("{}\n", report::escaped(&text)))
}
