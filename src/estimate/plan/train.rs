//! The search for a training.

use super::front::Front;
use super::losses::Losses;
use super::{Limits, Offer, Plan, Winner, sure};
use crate::error::{Error, Result};
use crate::estimate::cost::{self, Cost, Interruptions};
use crate::estimate::fit::Verdict;
use crate::estimate::memory::{self, Held, Memory, Overheads, Piece, Precision, States, check_sharing, of_pieces};
use crate::estimate::time::{Alone, Bound, Products, Software, Whole, basis, whole};
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, Seconds, Usd};
use crate::workload::{Checkpointing, Data, Method, Model, Offload, Parallel, Training};

/// What is to be trained, how much, and within what.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingGoal {
    /// The setting; what a search chooses in it is ignored.
    pub setting: Training,
    /// Ways to train that would do.
    pub methods: Vec<Method>,
    /// Sequences of one step, of all GPUs together.
    pub sequences: u64,
    /// Steps.
    pub steps: f64,
    /// What it may take.
    pub limits: Limits,
    /// What takes spot machines back.
    pub interruptions: Interruptions,
}

/// What a search may choose from.
#[derive(Debug, Clone, PartialEq)]
pub struct Choices {
    /// Numbers of GPUs.
    pub gpus: Vec<u64>,
    /// Sequences of a micro-batch.
    pub batches: Vec<u64>,
    /// What is recomputed.
    pub checkpointing: Vec<Checkpointing>,
    /// What data-parallel workers share.
    pub data: Vec<Data>,
    /// Degrees of tensor parallelism.
    pub tensor: Vec<u64>,
    /// Stages.
    pub pipeline: Vec<u64>,
    /// What lives in host memory, the least first; more is tried only where less does not surely fit.
    pub offload: Vec<Offload>,
}

impl Choices {
    /// Every number of GPUs up to eight that is a power of two, and every further power of two up to `most`; everything else that there is.
    pub fn up_to(most: u64, sequences: u64) -> Self {
        let powers = |most: u64| (0..).map(|power| 1 << power).take_while(move |&count: &u64| count <= most);
        Self {
            gpus: powers(most).collect(),
            batches: powers(sequences.min(64)).collect(),
            checkpointing: vec![Checkpointing::None, Checkpointing::Selective, Checkpointing::Full],
            data: vec![Data::Ddp, Data::Zero1, Data::Zero2, Data::Zero3, Data::Fsdp],
            tensor: powers(8.min(most)).collect(),
            pipeline: powers(8.min(most)).collect(),
            offload: vec![Offload::None, Offload::Optimizer, Offload::All],
        }
    }
}

/// What is kept of a candidate while the search goes on.
#[derive(Debug, Clone)]
struct Kept {
    offer: usize,
    training: Training,
    step: f64,
    low: f64,
    high: f64,
    bound_by: Bound,
}

/// The configurations of `model`'s training on `offers` that nothing beats, and why the others lost.
///
/// # Errors
/// [`Error::Usage`] where no configuration could be made of the choices: the first setting's reason where that is one of the model's.
pub fn train(model: &Model, goal: &TrainingGoal, choices: &Choices, offers: &[Offer]) -> Result<Plan<Training>> {
    let mut search = Search::new(model, goal, choices, offers);
    for method in &goal.methods {
        for &tensor in &choices.tensor {
            for &batch in &choices.batches {
                search.products.iter_mut().for_each(Products::clear);
                for &pipeline in &choices.pipeline {
                    for &checkpointing in &choices.checkpointing {
                        let parallel = Parallel { gpus: tensor * pipeline, tensor, pipeline, ..goal.setting.parallel };
                        search.family(Training { method: method.clone(), batch, checkpointing, parallel, ..goal.setting.clone() });
                    }
                }
            }
        }
    }
    search.plan()
}

struct Search<'a> {
    model: &'a Model,
    goal: &'a TrainingGoal,
    choices: &'a Choices,
    offers: &'a [Offer],
    /// The distinct fixed costs of memory, without sources, and which of them each offer has.
    overheads: Vec<Overheads>,
    overheads_of: Vec<usize>,
    front: Front<Kept>,
    losses: Vec<Losses<Training>>,
    /// Products that were timed on each offer: stages and what is recomputed have the same shapes.
    products: Vec<Products>,
    /// Whether what is being looked at fits on each offer with less in host memory already, so that more there would only slow it down.
    enough: Vec<bool>,
    /// Why a setting could not be made, the first of them.
    refused: Option<Error>,
}

/// A family's layers, timed on one offer for each way of gathering weights.
type Timed = Vec<((Precision, bool), Vec<Alone>)>;

impl<'a> Search<'a> {
    fn new(model: &'a Model, goal: &'a TrainingGoal, choices: &'a Choices, offers: &'a [Offer]) -> Self {
        let mut overheads: Vec<Overheads> = Vec::new();
        let overheads_of = offers.iter().map(|offer| {
            let plain = offer.overheads.without_sources();
            overheads.iter().position(|known| *known == plain).unwrap_or_else(|| {
                overheads.push(plain);
                overheads.len() - 1
            })
        });
        let overheads_of = overheads_of.collect();
        let losses = vec![Losses::default(); offers.len()];
        Self {
            model,
            goal,
            choices,
            offers,
            overheads,
            overheads_of,
            front: Front::default(),
            losses,
            products: vec![Products::default(); offers.len()],
            enough: vec![false; offers.len()],
            refused: None,
        }
    }

    /// Everything that differs from `training` in the number of data-parallel workers, what they share and what is offloaded.
    fn family(&mut self, mut training: Training) {
        training.grad_accum = 1;
        let mut pieces = match memory::pieces(self.model, &training) {
            Ok(pieces) => pieces,
            Err(error) => {
                self.refused.get_or_insert(error);
                return;
            }
        };
        let states: Vec<States> = pieces.iter().map(|piece| States::of(piece, &training)).collect();
        let choices = self.choices;
        let mut timed: Vec<Timed> = vec![Timed::new(); self.offers.len()];
        for &gpus in &choices.gpus {
            let shards = training.parallel.tensor * training.parallel.pipeline;
            let workers = gpus / shards;
            let at_once = workers * training.batch;
            if !gpus.is_multiple_of(shards) || at_once == 0 || !self.goal.sequences.is_multiple_of(at_once) {
                continue;
            }
            training.parallel.gpus = gpus;
            training.grad_accum = self.goal.sequences / at_once;
            if training.parallel.pipeline > 1 {
                // How many micro-batches are alive depends on how many there are.
                training.parallel.data = Data::Ddp;
                training.offload = Offload::None;
                let Ok(again) = memory::pieces(self.model, &training) else { continue };
                pieces = again;
            }
            let shared = if workers == 1 { &[Data::Ddp][..] } else { &choices.data };
            for &data in shared {
                training.parallel.data = data;
                self.enough.fill(false);
                for &offload in &choices.offload {
                    training.offload = offload;
                    if check_sharing(self.model, &training).is_ok() {
                        self.setting(&mut training, &pieces, &states, &mut timed);
                    }
                }
            }
        }
    }

    /// One setting on all offers.
    fn setting(&mut self, training: &mut Training, pieces: &[Piece], states: &[States], timed: &mut [Timed]) {
        let precision = Precision::of(&training.method);
        let of = |(piece, states)| Held::from(states, piece, training, &precision);
        let held: Vec<Held> = pieces.iter().zip(states).map(of).collect();
        let host = held.iter().map(|held| held.host).max().unwrap_or(0);
        let mut memories: Vec<Option<Memory>> = vec![None; self.overheads.len()];
        let Parallel { gpus, tensor, .. } = training.parallel;
        for (at, offer) in self.offers.iter().enumerate() {
            if self.enough[at] || !offer.sells(gpus, tensor) {
                continue;
            }
            self.losses[at].configurations += 1;
            training.parallel.per_node = offer.machine;
            let kind = self.overheads_of[at];
            let memory = memories[kind].get_or_insert_with(|| of_pieces(self.model, pieces, &held, training, &self.overheads[kind]));
            let verdict = self.fits(at, training, memory, host);
            self.enough[at] = verdict == Verdict::Yes;
            if verdict == Verdict::Yes || verdict == Verdict::Unknown && !self.losses[at].perhaps {
                let alone = alone(&mut timed[at], pieces, training, offer, &mut self.products[at]);
                let step = whole(pieces, alone, &held, training, &Software::training(training), &offer.speeds);
                match verdict {
                    Verdict::Yes => self.judge(at, training, &step),
                    _ => self.losses[at].perhaps = self.perhaps(at, training, &step),
                }
            }
        }
    }

    /// Whether it fits; what does not surely is counted. Of hosts whose memory is not known it is taken to be enough.
    fn fits(&mut self, at: usize, training: &Training, memory: &Memory, host: u64) -> Verdict {
        let (offer, losses) = (&self.offers[at], &mut self.losses[at]);
        let gpus = training.parallel.gpus;
        let verdict = offer.room.verdict(memory);
        match verdict {
            Verdict::No => losses.too_large.add(memory.device.value - offer.room.capacity.value, gpus, training),
            Verdict::Unknown => losses.may_not_fit.add(memory.device.high - offer.room.capacity.low, gpus, training),
            Verdict::Yes => {
                let needed = Bytes(host.saturating_mul(gpus.min(offer.machine)));
                if let Some(there) = offer.host.filter(|there| needed > *there) {
                    losses.host.add(needed - there, gpus, training);
                    return Verdict::No;
                }
            }
        }
        verdict
    }

    /// Whether the lower ends of its time and cost meet the limits.
    fn perhaps(&self, at: usize, training: &Training, step: &Whole) -> bool {
        let (offer, goal) = (&self.offers[at], self.goal);
        let low = Seconds(step.interval().0.0 * goal.steps);
        let least = cost::usd(offer.price.per_gpu_hour.low, training.parallel.gpus, low);
        sure(&goal.limits, low, least) == Verdict::Yes
    }

    /// Keeps it where it meets the limits and nothing beats it.
    fn judge(&mut self, at: usize, training: &Training, step: &Whole) {
        let perhaps = self.losses[at].perhaps;
        let (offer, goal) = (&self.offers[at], self.goal);
        let gpus = training.parallel.gpus;
        let seconds = step.parts.total().0;
        let interruptions = offer.interruptions(&goal.interruptions);
        let stretch = match interruptions.map(|interruptions| interruptions.longer(offer.machines(gpus))) {
            Some(None) => return self.losses[at].endless.add(Seconds(seconds * goal.steps), gpus, training),
            Some(Some(stretch)) => stretch,
            None => 1.0,
        };
        let time = Seconds(seconds * goal.steps * stretch);
        let usd = cost::usd(offer.price.per_gpu_hour.value, gpus, time);
        let late = goal.limits.time.is_some_and(|most| time > most);
        let dear = goal.limits.usd.is_some_and(|most| usd > most);
        if late || dear {
            let perhaps = perhaps || self.perhaps(at, training, step);
            let losses = &mut self.losses[at];
            losses.perhaps = perhaps;
            if late {
                losses.late.add(time, gpus, training);
            } else {
                losses.dear.add(usd, gpus, training);
            }
            return;
        }
        if self.front.beats(time.0, usd.0).is_some() {
            return self.losses[at].beaten(time, usd, gpus, training);
        }
        let (low, high) = step.interval();
        let kept = Kept { offer: at, training: training.clone(), step: seconds, low: low.0, high: high.0, bound_by: step.parts.bound_by() };
        let losses = &mut self.losses;
        self.front.add(time.0, usd.0, kept, |time, usd, lost| {
            losses[lost.offer].beaten(Seconds(time), Usd(usd), lost.training.parallel.gpus, &lost.training);
        });
    }

    fn plan(self) -> Result<Plan<Training>> {
        let Self { model, goal, offers, mut losses, refused, front, .. } = self;
        if losses.iter().all(|losses| losses.configurations == 0) {
            let none = || Error::usage("none of these numbers of GPUs can be rented and divide the sequences of a step; allow others");
            return Err(refused.unwrap_or_else(none));
        }
        for losses in &mut losses {
            let nearest = losses.beaten.nearest.as_ref();
            losses.beaten_by = nearest.and_then(|(usd, ..)| front.beats(losses.beaten_time.0, usd.0));
        }
        let mut winners = Vec::new();
        for (_, _, kept) in front.into_members() {
            losses[kept.offer].won += 1;
            winners.push(winner(model, goal, offers, kept)?);
        }
        Ok(Plan { winners, losses })
    }
}

/// The layers of `pieces` on an offer, timed now if not before.
fn alone<'t>(timed: &'t mut Timed, pieces: &[Piece], training: &Training, offer: &Offer, products: &mut Products) -> &'t [Alone] {
    let sort = Alone::sort(training);
    let index = timed.iter().position(|(known, _)| *known == sort).unwrap_or_else(|| {
        let software = Software::training(training);
        timed.push((sort, pieces.iter().map(|piece| Alone::of(piece, training, &software, &offer.speeds, products)).collect()));
        timed.len() - 1
    });
    &timed[index].1
}

/// A winner with its figures.
fn winner(model: &Model, goal: &TrainingGoal, offers: &[Offer], kept: Kept) -> Result<Winner<Training>> {
    let Kept { offer: at, training, step, low, high, bound_by } = kept;
    let offer = &offers[at];
    let memory = memory::train(model, &training, &offer.overheads)?;
    let sources = basis(&training, &Software::training(&training), &offer.speeds);
    let weakest = sources.iter().map(|(_, basis, _)| *basis).max().unwrap_or(Basis::Assumed);
    let from = sources.iter().map(|(name, _, from)| format!("{name}: {from}")).collect();
    let step = Figure { value: Seconds(step), low: Seconds(low), high: Seconds(high), basis: weakest, from };
    let gpus = training.parallel.gpus;
    let all = step.map(|step| step * goal.steps);
    let time = cost::with_interruptions(all.clone(), offer.interruptions(&goal.interruptions), offer.machines(gpus)).unwrap_or(all);
    let tokens = (training.tokens() * training.grad_accum * training.parallel.workers()) as f64;
    let Cost { time, usd, energy, .. } = Cost::of(offer.price.clone(), gpus, time, tokens * goal.steps, offer.power.as_ref());
    let known = memory.host == Bytes(0) || offer.host.is_some();
    Ok(Winner {
        offer: at,
        gpus,
        headroom: offer.room.headroom(&memory),
        device: memory.device,
        verdict: if known { sure(&goal.limits, time.high, usd.high) } else { Verdict::Unknown },
        time,
        usd,
        energy,
        tokens_per_second: tokens / step.value.0,
        step,
        bound_by,
        setting: training,
    })
}
