//! What a job costs: a price, times the hours that it takes.
//!
//! **Prices** are what the catalog's dated entries say, or what the user says; there are no others. All are per GPU and hour, since that is how
//! they compare: an instance's is its price over its GPUs, and where only a GPU is named, the middle of today's entries for it stands for all of
//! them, from the cheapest to the dearest.
//!
//! **Spot** machines are taken back when somebody else wants them. Each time, half a checkpoint interval of work is lost on average, and the job
//! starts again: with `r` interruptions an hour over all machines, a checkpoint every `c` hours and a restart of `s` hours, `1 − r·(c/2 + s)` of
//! the time is progress (Young, CACM 17(9), 1974, for the half interval). A job that loses more than it gains never ends and has no cost.
//!
//! **Energy** is that of the GPUs alone: the highest mean power of a measurement where there is one, else a share of the board's limit. Hosts,
//! switches and cooling come on top.

use crate::calibrate::GpuCalibration;
use crate::catalog::{Catalog, GpuModel, Instance, Pricing};
use crate::figure::{Basis, Figure};
use crate::units::{Joules, Seconds, Usd, Watts};

/// Seconds of an hour.
const HOUR: f64 = 3600.0;

/// What an hour of a GPU costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// USD per GPU and hour.
    pub per_gpu_hour: Figure<Usd>,
    /// Whether the machine may be taken back.
    pub spot: bool,
    /// Whose price it is, and of when, in a few words.
    pub of: String,
}

impl Price {
    /// What the user pays per GPU and hour.
    pub fn given(usd: Usd, spot: bool) -> Self {
        Self { per_gpu_hour: Figure::assumed(usd, "--price"), spot, of: "the price given".to_owned() }
    }

    /// An instance's price, divided among its GPUs.
    pub fn of_instance(instance: &Instance) -> Self {
        let gpus = f64::from(instance.gpus);
        Self {
            per_gpu_hour: instance.price_per_hour().map(|usd| usd / gpus),
            spot: instance.pricing == Pricing::Spot,
            of: format!("{} {} ({})", instance.provider, instance.name, instance.as_of),
        }
    }

    /// What the catalog's entries ask for `gpu` today: their middle one, from the cheapest to the dearest. `None` where nobody offers it so.
    pub fn of_gpu(catalog: &Catalog, gpu: &GpuModel, spot: bool) -> Option<Self> {
        let mut found: Vec<Self> = offered(catalog, gpu, spot).map(Self::of_instance).collect();
        found.sort_by(|a, b| a.per_gpu_hour.value.0.total_cmp(&b.per_gpu_hour.value.0));
        let (low, high) = (found.first()?.per_gpu_hour.value, found.last()?.per_gpu_hour.value);
        let (count, middle) = (found.len(), found.swap_remove((found.len() - 1) / 2));
        let mut price = middle.per_gpu_hour;
        (price.low, price.high) = (low, high);
        price.from.push(format!("the middle of {count} entries for {}", gpu.short_name));
        Some(Self { per_gpu_hour: price, of: format!("the middle of {count} entries for {}: {}", gpu.short_name, middle.of), spot })
    }
}

/// Entries of `gpu` that anybody can rent by the hour today; with `spot` those that may be taken back. The written guide's prices and asks among
/// many are none of them.
pub fn offered<'a>(catalog: &'a Catalog, gpu: &GpuModel, spot: bool) -> impl Iterator<Item = &'a Instance> {
    let name = gpu.short_name.clone();
    let wanted = move |instance: &&Instance| {
        let pricing = match instance.pricing {
            Pricing::OnDemand | Pricing::SecureCloud => !spot,
            Pricing::Spot => spot,
            Pricing::CapacityBlock | Pricing::Calendar | Pricing::CommunityCloud | Pricing::Serverless | Pricing::Marketplace => false,
        };
        // GCP's N1 machines have GPUs added to them, which the price is for alone.
        let whole = !instance.name.starts_with("n1+");
        instance.gpu == name && pricing && whole && !instance.is_guide() && instance.price_per_hour().basis == Basis::Datasheet
    };
    catalog.instances.iter().filter(wanted)
}

/// How often a spot machine is taken back, and what that costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Interruptions {
    /// Interruptions of one machine in a day.
    pub per_day: Figure<f64>,
    /// Time between checkpoints.
    pub checkpoint_every: Figure<Seconds>,
    /// From the interruption until work goes on: another machine, the container, the weights.
    pub restart: Figure<Seconds>,
}

impl Interruptions {
    /// What is assumed where nothing is said.
    pub fn usual() -> Self {
        let mut per_day = Figure::assumed(1.0, "a machine is taken back once a day, from once in four days to four times");
        (per_day.low, per_day.high) = (0.25, 4.0);
        let mut restart = Figure::assumed(Seconds(600.0), "10 minutes until work goes on, from 5 to 20");
        (restart.low, restart.high) = (Seconds(300.0), Seconds(1200.0));
        Self {
            per_day,
            checkpoint_every: Figure::assumed(Seconds(1800.0), "a checkpoint every half hour, written beside the work"),
            restart,
        }
    }

    /// By how much a job on so many machines takes longer, by the best estimates. `None` where it makes no progress.
    pub(crate) fn longer(&self, machines: u64) -> Option<f64> {
        let each = self.checkpoint_every.value.0 / 2.0 + self.restart.value.0;
        let lost = machines as f64 * self.per_day.value * each / (24.0 * HOUR);
        (lost < 1.0).then(|| 1.0 / (1.0 - lost))
    }

    /// By how much a job on so many machines takes longer. `None` where it makes no progress.
    pub fn stretch(&self, machines: u64) -> Option<Figure<f64>> {
        let each = self.checkpoint_every.with(&self.restart, |every, restart| Seconds(every.0 / 2.0 + restart.0));
        let lost = self.per_day.with(&each, |per_day, each| machines as f64 * per_day * each.0 / (24.0 * HOUR));
        let stretch = |lost: f64| if lost < 1.0 { 1.0 / (1.0 - lost) } else { f64::INFINITY };
        (lost.value < 1.0).then(|| lost.map(stretch))
    }
}

/// What a GPU draws while it works.
pub fn power(gpu: &GpuModel, measured: Option<&GpuCalibration>) -> Figure<Watts> {
    /// Training holds boards near their limit, decoding well below it.
    const SHARE: f64 = 0.8;
    if let Some(power) = measured.and_then(|gpu| gpu.power.clone()) {
        return power;
    }
    let mut power = gpu.tdp().map(|limit| limit * SHARE);
    (power.low, power.high) = (gpu.tdp().value * 0.5, gpu.tdp().value);
    power.basis = Basis::Assumed;
    power.from.push("80 % of the board's limit, from half of it to all".to_owned());
    power
}

/// What a job costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// GPUs that are paid for.
    pub gpus: u64,
    /// How long, lost work and restarts included.
    pub time: Figure<Seconds>,
    /// All of it.
    pub usd: Figure<Usd>,
    /// For a million tokens.
    pub per_million_tokens: Figure<Usd>,
    /// Of the GPUs; `None` where the GPU is not in the catalog.
    pub energy: Option<Figure<Joules>>,
    /// What an hour costs.
    pub price: Price,
}

impl Cost {
    /// The cost of `time` on `gpus` GPUs at `price`, for so many tokens.
    pub fn of(price: Price, gpus: u64, time: Figure<Seconds>, tokens: f64, power: Option<&Figure<Watts>>) -> Self {
        let usd = price.per_gpu_hour.with(&time, |per_hour, time| usd(per_hour, gpus, time));
        let per_million_tokens = usd.map(|usd| usd / (tokens / 1e6));
        let energy = power.map(|power| power.with(&time, |power, time| (power * gpus as f64) * time));
        Self { gpus, time, usd, per_million_tokens, energy, price }
    }
}

/// Price times time.
pub(crate) fn usd(per_gpu_hour: Usd, gpus: u64, time: Seconds) -> Usd {
    per_gpu_hour * gpus as f64 * (time.0 / HOUR)
}

/// `time` longer by what `interruptions` of so many machines cost; as it is without any. `None` where the job never ends.
pub fn with_interruptions(time: Figure<Seconds>, interruptions: Option<&Interruptions>, machines: u64) -> Option<Figure<Seconds>> {
    match interruptions {
        None => Some(time),
        Some(interruptions) => interruptions.stretch(machines).map(|stretch| time.with(&stretch, |time, stretch| time * stretch)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Quantity;
    use proptest::prelude::*;

    fn figure<Q: Quantity>(value: f64, below: f64, above: f64) -> Figure<Q> {
        let of = Q::from_base;
        Figure { value: of(value), low: of(value * below), high: of(value * above), basis: Basis::Assumed, from: Vec::new() }
    }

    #[test]
    fn a_gpu_costs_what_the_middle_entry_asks() {
        let catalog = Catalog::embedded().unwrap();
        let gpu = catalog.gpu("H100 SXM").unwrap();
        let price = Price::of_gpu(&catalog, gpu, false).unwrap().per_gpu_hour;
        assert!(price.low < price.value && price.value < price.high, "{price:?}");
        assert_eq!(price.basis, Basis::Datasheet);
        let mut asked: Vec<f64> = offered(&catalog, gpu, false).map(|row| row.price_per_hour().value.0 / f64::from(row.gpus)).collect();
        asked.sort_by(f64::total_cmp);
        assert_eq!(price.value.0, asked[(asked.len() - 1) / 2]);
        assert!(Price::of_gpu(&catalog, gpu, true).is_none());
    }

    #[test]
    fn spot_prices_are_asked_for_by_that_word() {
        let catalog = Catalog::embedded().unwrap();
        let listed = catalog.instance("gcp:a4-highgpu-8g").unwrap();
        assert_eq!(listed.pricing, Pricing::Calendar);
        let spot = Price::of_instance(catalog.spot_of(listed).unwrap());
        assert!(spot.spot && (spot.per_gpu_hour.value.0 - 39.63 / 8.0).abs() < 1e-12);
        assert!(catalog.spot_of(catalog.instance("aws:p5.48xlarge").unwrap()).is_none());
    }

    #[test]
    fn lost_work_is_half_an_interval_and_a_restart() {
        let interruptions =
            Interruptions { per_day: figure(2.0, 1.0, 1.0), checkpoint_every: figure(3600.0, 1.0, 1.0), restart: figure(1800.0, 1.0, 1.0) };
        // Two hours of a day are lost: 22 hours of work take 24.
        assert!((interruptions.stretch(1).unwrap().value - 24.0 / 22.0).abs() < 1e-12);
        assert!((interruptions.stretch(3).unwrap().value - 24.0 / 18.0).abs() < 1e-12);
        assert!(interruptions.stretch(12).is_none());
    }

    proptest! {
        #[test]
        fn cost_is_price_times_time(price in 0.0..100.0f64, hours in 0.0..1e4f64, gpus in 1u64..1024, spread in 1.0..3.0f64) {
            let price = Price { per_gpu_hour: figure(price, 1.0 / spread, spread), spot: false, of: String::new() };
            let time: Figure<Seconds> = figure(hours * HOUR, 1.0 / spread, spread);
            let cost = Cost::of(price.clone(), gpus, time.clone(), 1e6, Some(&figure(700.0, 0.5, 1.0)));
            prop_assert_eq!(cost.usd.value.0, price.per_gpu_hour.value.0 * gpus as f64 * (time.value.0 / HOUR));
            prop_assert_eq!(cost.usd.low.0, price.per_gpu_hour.low.0 * gpus as f64 * (time.low.0 / HOUR));
            prop_assert_eq!(cost.usd.high.0, price.per_gpu_hour.high.0 * gpus as f64 * (time.high.0 / HOUR));
            prop_assert_eq!(cost.per_million_tokens.value, cost.usd.value);
            prop_assert_eq!(cost.energy.unwrap().value.0, 700.0 * gpus as f64 * time.value.0);
        }

        #[test]
        fn more_machines_are_never_interrupted_less(machines in 1u64..50, per_day in 0.0..5.0f64) {
            let interruptions = Interruptions { per_day: figure(per_day, 1.0, 1.0), ..Interruptions::usual() };
            let of = |machines| interruptions.stretch(machines).map_or(f64::INFINITY, |stretch| stretch.value);
            prop_assert!(1.0 <= of(machines) && of(machines) <= of(machines + 1));
        }
    }
}
