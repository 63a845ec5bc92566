//! The cost of an estimate: options, table and the keys that scripts rely on.

use clap::Args;
use serde::Serialize;

use super::place::{Place, PlaceArguments};
use super::words;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::estimate::cost::{Cost, Interruptions, Price, with_interruptions};
use crate::figure::{Basis, Figure, Quantity};
use crate::lang::{Lang, Text};
use crate::table::{Cell, Column, Table};
use crate::units::{Seconds, Usd, significant};

#[derive(Debug, Clone, PartialEq, Args)]
pub(in crate::cli) struct CostArguments {
    /// USD per GPU and hour [default: the catalog's price of the instance, or the middle of its prices for the GPU]
    #[arg(long, value_name = "USD")]
    price: Option<f64>,

    /// On machines that may be taken back, at the catalog's spot price where it has one
    #[arg(long)]
    spot: bool,

    /// How often a day a spot machine is taken back [default: 1]
    #[arg(long, value_name = "TIMES")]
    interruptions: Option<f64>,

    /// Time between checkpoints, half of which an interruption undoes [default: 30 min]
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    checkpoint_every: Option<Seconds>,

    /// Time from an interruption until work goes on [default: 10 min]
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    restart: Option<Seconds>,
}

impl CostArguments {
    pub(in crate::cli) fn check(&self) -> Result<()> {
        if let Some(price) = self.price.filter(|price| !(0.0..=1e6).contains(price)) {
            return Err(Error::usage(format!("expected a --price of 0 to 1000000 USD per GPU and hour but found {price}")));
        }
        if let Some(times) = self.interruptions.filter(|times| !(0.0..=1e4).contains(times)) {
            return Err(Error::usage(format!("expected --interruptions of 0 to 10000 a day but found {times}")));
        }
        let of_spot = self.interruptions.is_some() || self.checkpoint_every.is_some() || self.restart.is_some();
        if of_spot && !self.spot {
            return Err(Error::usage(
                "--interruptions, --checkpoint-every and --restart are for machines that may be taken back; add --spot",
            ));
        }
        Ok(())
    }

    /// Whether any of them is given.
    pub(in crate::cli) const fn is_given(&self) -> bool {
        self.price.is_some() || self.spot
    }

    /// Whether the price is the user's.
    pub(in crate::cli) const fn has_price(&self) -> bool {
        self.price.is_some()
    }

    pub(in crate::cli) const fn is_spot(&self) -> bool {
        self.spot
    }

    /// The user's price.
    pub(in crate::cli) fn price(&self) -> Option<Price> {
        self.price.map(|usd| Price::given(Usd(usd), self.spot))
    }

    /// What takes spot machines back.
    pub(in crate::cli) fn interruptions(&self) -> Interruptions {
        fn given<Q: Quantity>(figure: &mut Figure<Q>, value: Option<Q>, option: &str) {
            if let Some(value) = value {
                *figure = Figure::assumed(value, option);
            }
        }
        let mut all = Interruptions::usual();
        given(&mut all.per_day, self.interruptions, "--interruptions");
        given(&mut all.checkpoint_every, self.checkpoint_every, "--checkpoint-every");
        given(&mut all.restart, self.restart, "--restart");
        all
    }

    /// What `time` on `gpus` GPUs costs, where a price is known: the user's, the instance's, or the GPU's. Instances are rented whole.
    pub(in crate::cli) fn cost(&self, catalog: &Catalog, named: &PlaceArguments, place: &Place, job: &Job) -> Result<Option<Cost>> {
        let Some(price) = self.price().map_or_else(|| named.price(catalog, self.spot), |price| Ok(Some(price)))? else {
            if self.spot {
                return Err(Error::usage("the catalog has no spot price of that; give one with --price"));
            }
            return Ok(None);
        };
        let gpus = job.gpus.next_multiple_of(place.gpus.unwrap_or(1).max(1));
        let interruptions = self.interruptions();
        let machines = gpus.div_ceil(place.gpus.unwrap_or(job.per_node).max(1));
        let time = with_interruptions(job.time.clone(), price.spot.then_some(&interruptions), machines).ok_or_else(|| {
            Error::usage(format!("{machines} machines are taken back faster than they do any work; checkpoint more often or use fewer"))
        })?;
        Ok(Some(Cost::of(price, gpus, time, job.tokens, place.power.as_ref())))
    }
}

/// What is paid for.
pub(in crate::cli) struct Job {
    pub(in crate::cli) gpus: u64,
    pub(in crate::cli) per_node: u64,
    pub(in crate::cli) time: Figure<Seconds>,
    pub(in crate::cli) tokens: f64,
}

/// The keys of `cost`.
#[derive(Serialize)]
pub(in crate::cli) struct Keys {
    usd: f64,
    low_usd: f64,
    /// Null where interruptions may keep the job from ever ending.
    high_usd: Option<f64>,
    usd_per_million_tokens: f64,
    gpus: u64,
    hours: f64,
    usd_per_gpu_hour: f64,
    spot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_kwh: Option<f64>,
}

pub(in crate::cli) fn keys(cost: &Cost) -> Keys {
    Keys {
        usd: cost.usd.value.0,
        low_usd: cost.usd.low.0,
        high_usd: Some(cost.usd.high.0).filter(|usd| usd.is_finite()),
        usd_per_million_tokens: cost.per_million_tokens.value.0,
        gpus: cost.gpus,
        hours: cost.time.value.0 / 3600.0,
        usd_per_gpu_hour: cost.price.per_gpu_hour.value.0,
        spot: cost.price.spot,
        energy_kwh: cost.energy.as_ref().map(|energy| energy.value.0 / 3.6e6),
    }
}

/// Quantity, basis and sources of what it comes from.
pub(in crate::cli) fn basis(cost: &Cost) -> Vec<(&'static str, Basis, String)> {
    let price = &cost.price.per_gpu_hour;
    let mut all = vec![("price", price.basis, price.from.join("; "))];
    all.extend(cost.energy.as_ref().map(|energy| ("power", energy.basis, energy.from.join("; "))));
    all
}

/// For people.
pub(in crate::cli) fn table(cost: &Cost, lang: Lang) -> Table {
    let columns = [
        Column::text("what", Text::new("what", "항목").get(lang)),
        Column::number("amount", Text::new("amount", "값").get(lang)),
        Column::text("interval", Text::new("interval", "구간").get(lang)),
    ];
    let mut table = Table::new(Text::new("Cost", "비용").get(lang), columns).in_lang(lang);
    let price = &cost.price.per_gpu_hour;
    let per_hour = Text::new("a GPU for an hour", "GPU 1개 1시간");
    table.row([Cell::text(per_hour.get(lang)), Cell::figure_as(price, money(price.value)), between(price, money)]);
    let hours = match cost.gpus {
        1 => Text::new("time of {} GPU", "GPU {}개 사용 시간"),
        _ => Text::new("time of {} GPUs", "GPU {}개 사용 시간"),
    };
    let hours = hours.fill(lang, &[&cost.gpus]);
    table.row([
        Cell::text(hours),
        Cell::figure_as(&cost.time, words::duration_of(cost.time.value)),
        between(&cost.time, words::duration_of),
    ]);
    let all = Text::new("= all of it", "= 전체");
    table.row([Cell::text(all.get(lang)), Cell::figure_as(&cost.usd, money(cost.usd.value)), between(&cost.usd, money)]);
    let tokens = &cost.per_million_tokens;
    let million = Text::new("a million tokens", "토큰 100만 개");
    table.row([Cell::text(million.get(lang)), Cell::figure_as(tokens, money(tokens.value)), between(tokens, money)]);
    if let Some(energy) = &cost.energy {
        let words = Text::new("energy of the GPUs", "GPU 전력량");
        table.row([Cell::text(words.get(lang)), Cell::figure(energy), between(energy, |energy| energy.display(3))]);
    }
    table.note(Text::new("Price: {}.", "가격: {}.").fill(lang, &[&cost.price.of]));
    if cost.price.spot {
        const LOST: Text = Text::new(
            "The machines may be taken back; the time includes lost work and restarts ({}).",
            "회수될 수 있는 장비이다. 잃은 작업과 재시작 시간을 포함한다 ({}).",
        );
        let assumed = cost.time.from.iter().filter(|source| !source.contains(": ")).cloned().collect::<Vec<_>>().join("; ");
        table.note(LOST.fill(lang, &[&assumed]));
    }
    table
}

/// US dollars, to the cent where that says something.
pub(in crate::cli) fn money(usd: Usd) -> String {
    match usd.0 {
        usd if !usd.is_finite() => "∞".to_owned(),
        usd if usd.abs() >= 1000.0 => format!("{usd:.0} USD"),
        usd if usd.abs() >= 0.1 => format!("{usd:.2} USD"),
        usd => format!("{} USD", significant(usd, 2)),
    }
}

/// An interval; empty where both ends are the same.
pub(in crate::cli) fn between<Q: Quantity>(figure: &Figure<Q>, show: impl Fn(Q) -> String) -> Cell {
    if figure.low.base() == figure.high.base() {
        return Cell::Empty;
    }
    Cell::text(format!("{} – {}", show(figure.low), show(figure.high)))
}
