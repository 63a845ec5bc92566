//! The search for a generation.
//!
//! A **replica** is a whole model on one GPU or shared by several. Where a throughput is asked for there are as many replicas as reach it, and
//! tokens are paid for as they are asked for; else there are as many as the rented GPUs hold, and all that they write counts.
//!
//! **Speed.** Prompts are read in pieces of one size however many there are, so batches share most of their products' times. What the numbers come
//! from is text, and worked out for winners alone.

use std::rc::Rc;

use super::front::Front;
use super::losses::Losses;
use super::{Offer, Plan, Winner};
use crate::error::{Error, Result};
use crate::estimate::fit::Verdict;
use crate::estimate::memory::{self, Overheads};
use crate::estimate::time::{self, Answer, Products, Software, infer_unsourced};
use crate::figure::Figure;
use crate::units::{Seconds, Usd};
use crate::workload::{Inference, Model, Precision};

/// What is to be served, and within what.
#[derive(Debug, Clone, PartialEq)]
pub struct ServingGoal {
    /// The setting; what a search chooses in it is ignored.
    pub setting: Inference,
    /// Forms of the weights that would do.
    pub precisions: Vec<Precision>,
    /// Sequences at once.
    pub batches: Vec<u64>,
    /// GPUs that may share every product.
    pub tensor: Vec<u64>,
    /// Stages.
    pub pipeline: Vec<u64>,
    /// The most GPUs.
    pub most: u64,
    /// The fewest tokens per second, all replicas together.
    pub throughput: Option<f64>,
    /// The longest time of a request.
    pub request: Option<Seconds>,
    /// The longest time until its first token.
    pub first: Option<Seconds>,
    /// The longest time of each further one.
    pub each: Option<Seconds>,
    /// The most money per hour.
    pub per_hour: Option<Usd>,
}

/// A replica's setting, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Serving {
    /// Of one replica.
    pub inference: Inference,
    /// Replicas.
    pub replicas: u64,
    /// Until the first token.
    pub first: Seconds,
}

struct Kept {
    offer: usize,
    gpus: u64,
    serving: Serving,
    tokens_per_second: f64,
}

/// A search as far as it has come.
struct Search<'a> {
    model: &'a Model,
    goal: &'a ServingGoal,
    offers: &'a [Offer],
    /// Fixed costs of memory on each offer, without sources.
    overheads: Vec<Overheads>,
    front: Front<Kept>,
    losses: Vec<Losses<Serving>>,
    /// Products that were timed on each offer.
    products: Vec<Products>,
}

/// The configurations of serving `model` on `offers` that nothing beats in time per request and cost per token, and why the others lost.
///
/// # Errors
/// [`Error::Usage`] where no configuration could be made of the choices.
pub fn infer(model: &Model, goal: &ServingGoal, offers: &[Offer]) -> Result<Plan<Serving>> {
    let mut search = Search {
        model,
        goal,
        offers,
        overheads: offers.iter().map(|offer| offer.overheads.without_sources()).collect(),
        front: Front::default(),
        losses: vec![Losses::default(); offers.len()],
        products: vec![Products::default(); offers.len()],
    };
    let mut refused = None;
    for &precision in &goal.precisions {
        for &tensor in &goal.tensor {
            // Products divided among more or fewer GPUs have other shapes.
            search.products.iter_mut().for_each(Products::clear);
            for &pipeline in &goal.pipeline {
                for &batch in &goal.batches {
                    let inference = Inference { precision, tensor, pipeline, batch, ..goal.setting };
                    if let Err(error) = memory::check_inference(model, &inference) {
                        refused.get_or_insert(error);
                        continue;
                    }
                    search.setting(&inference)?;
                }
            }
        }
    }
    let Search { front, mut losses, .. } = search;
    if losses.iter().all(|losses| losses.configurations == 0) {
        return Err(refused.unwrap_or_else(|| Error::usage("none of the offers has so many GPUs in one machine; allow more GPUs")));
    }
    for losses in &mut losses {
        let nearest = losses.beaten.nearest.as_ref();
        losses.beaten_by = nearest.and_then(|(usd, ..)| front.beats(losses.beaten_time.0, usd.0));
    }
    let mut winners = Vec::new();
    for (.., kept) in front.into_members() {
        losses[kept.offer].won += 1;
        winners.push(winner(model, goal, offers, kept)?);
    }
    Ok(Plan { winners, losses })
}

/// What is kept of a winner, with intervals and sources.
fn winner(model: &Model, goal: &ServingGoal, offers: &[Offer], kept: Kept) -> Result<Winner<Serving>> {
    let Kept { offer: at, gpus, serving, tokens_per_second } = kept;
    let Offer { room, overheads, power, speeds, price, .. } = &offers[at];
    let answer = time::infer(model, &serving.inference, &Software::inference(&serving.inference), speeds)?;
    let memory = memory::infer(model, &serving.inference, overheads)?;
    let per_hour = price.per_gpu_hour.map(|usd| usd * gpus as f64);
    // With a throughput given, the hours are what they are; else they are as uncertain as the time is.
    let hours = answer.time.map(|time| if goal.throughput.is_some() { 1.0 } else { time / answer.time.value });
    let paid = goal.throughput.unwrap_or(tokens_per_second);
    let power = power.as_ref();
    Ok(Winner {
        offer: at,
        gpus,
        setting: serving,
        headroom: room.headroom(&memory),
        device: memory.device,
        verdict: goal.sure(&answer),
        usd: per_hour.with(&hours, |per_hour, longer| per_million(per_hour * longer, paid)),
        time: answer.time,
        energy: power.map(|power| power.map(|power| power * gpus as f64 * Seconds(1e6 / tokens_per_second))),
        step: answer.decode,
        tokens_per_second,
        bound_by: answer.bound_by,
    })
}

/// What a million tokens cost, so many of them a second.
fn per_million(per_hour: Usd, tokens_per_second: f64) -> Usd {
    per_hour / (tokens_per_second * 3600.0 / 1e6)
}

impl ServingGoal {
    /// Whether the upper ends of the times meet the limits too. Throughput is met by the best estimate.
    fn sure(&self, answer: &Answer) -> Verdict {
        let within = |limit: Option<Seconds>, time: Seconds| limit.is_none_or(|most| time <= most);
        let all =
            within(self.request, answer.time.high) && within(self.first, answer.prefill.high) && within(self.each, answer.decode.high);
        if all { Verdict::Yes } else { Verdict::Unknown }
    }

    /// By how much the slowest of its times, as `end` of a figure, is beyond its limit, as a factor of the limit.
    fn beyond(&self, answer: &Answer, end: fn(&Figure<Seconds>) -> Seconds) -> f64 {
        let limits = [(self.request, &answer.time), (self.first, &answer.prefill), (self.each, &answer.decode)];
        limits.into_iter().filter_map(|(limit, time)| Some(end(time) / limit?)).fold(0.0, f64::max)
    }
}

impl Search<'_> {
    /// One setting of a replica on all offers.
    fn setting(&mut self, inference: &Inference) -> Result<()> {
        let Self { model, goal, offers, overheads, front, losses, products } = self;
        let shards = inference.tensor * inference.pipeline;
        let software = Software::inference(inference);
        let mut answers: Vec<(&str, Rc<Answer>)> = Vec::new();
        for (at, offer) in offers.iter().enumerate() {
            let least = shards.next_multiple_of(offer.unit);
            if !offer.sells(least, shards) || least > goal.most {
                continue;
            }
            let losses_of = &mut losses[at];
            losses_of.configurations += 1;
            let serving = |replicas, first| Serving { inference: *inference, replicas, first };
            let memory = memory::infer(model, inference, &overheads[at])?;
            let verdict = offer.room.verdict(&memory);
            if verdict == Verdict::No {
                losses_of.too_large.add(memory.device.value - offer.room.capacity.value, shards, &serving(1, Seconds(0.0)));
                continue;
            }
            // A replica stays inside a machine, so the network between machines plays no part, and GPUs of one model are as fast everywhere.
            let known = answers.iter().find(|(gpu, _)| *gpu == offer.gpu);
            let answer = match known {
                Some((_, answer)) => Rc::clone(answer),
                None => {
                    let answer = Rc::new(infer_unsourced(model, inference, &software, &offer.speeds, &mut products[at])?);
                    answers.push((&offer.gpu, Rc::clone(&answer)));
                    answer
                }
            };
            let one = answer.tokens_per_second;
            let needed = goal.throughput.map_or(least / shards, |tokens| (tokens / one).ceil() as u64);
            let gpus = needed.saturating_mul(shards).next_multiple_of(offer.unit);
            // Replicas never speak to each other, so any number of machines will do.
            let tokens_per_second = one * needed as f64;
            let serving = serving(needed, answer.prefill.value);
            if verdict == Verdict::Unknown {
                losses_of.perhaps |= gpus <= goal.most && goal.beyond(&answer, |time| time.low) <= 1.0;
                losses_of.may_not_fit.add(memory.device.high - offer.room.capacity.low, gpus, &serving);
                continue;
            }
            let per_hour = offer.price.per_gpu_hour.value * gpus as f64;
            if gpus > goal.most {
                losses_of.many.add(gpus, gpus, &serving);
                continue;
            }
            if goal.beyond(&answer, |time| time.value) > 1.0 {
                losses_of.perhaps |= goal.beyond(&answer, |time| time.low) <= 1.0;
                losses_of.late.add(answer.time.value, gpus, &serving);
                continue;
            }
            if goal.per_hour.is_some_and(|most| per_hour > most) {
                losses_of.dear.add(per_hour, gpus, &serving);
                continue;
            }
            let (time, usd) = (answer.time.value, per_million(per_hour, goal.throughput.unwrap_or(tokens_per_second)));
            if front.beats(time.0, usd.0).is_some() {
                losses_of.beaten(time, usd, gpus, &serving);
                continue;
            }
            let kept = Kept { offer: at, gpus, serving, tokens_per_second };
            front.add(time.0, usd.0, kept, |time, usd, lost| losses[lost.offer].beaten(Seconds(time), Usd(usd), lost.gpus, &lost.serving));
        }
        Ok(())
    }
}
