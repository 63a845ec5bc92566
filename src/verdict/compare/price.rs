//! What an hour's money buys on each machine.
//!
//! Per GPU, and of the machine's slowest one: whoever rents several pays for all of them and runs at the pace of that one. A price is given, or
//! the middle one of the catalog's dated prices for the GPU model.

use serde::Serialize;

use super::metrics::Summary;
use super::spread::Known;
use crate::catalog::Catalog;
use crate::estimate::cost::Price;
use crate::figure::{Basis, Quantity};
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Usd};
use crate::verdict::Reading;

/// What a USD per hour buys on one machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offer {
    /// The record, by its place among those compared.
    pub record: usize,
    /// One more than how many machines are better by more than the threshold: in BF16 products, else in device memory. None without a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// USD for one GPU and hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_gpu_hour: Option<f64>,
    /// What the price is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Where the price was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// BF16 products by the better engine, FLOP/s for a USD per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bf16: Option<Reading>,
    /// FP8 products likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp8: Option<Reading>,
    /// Device memory by its best mechanism, B/s for a USD per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dram: Option<Reading>,
    /// Capacity of the smallest GPU, bytes for a USD per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Reading>,
}

/// The price of one GPU and hour: what was given, else the middle of the catalog's entries for the model.
pub(super) fn price(known: &Known<'_>, given: Option<Usd>, catalog: &Catalog) -> Option<Price> {
    if let Some(usd) = given {
        return Some(Price::given(usd, false));
    }
    let name = known.model.as_ref()?;
    Price::of_gpu(catalog, catalog.gpus.iter().find(|gpu| &gpu.short_name == name)?, false)
}

/// All machines, the best offer first, those without a price last.
pub(super) fn ranking(records: &[Known<'_>], prices: &[Option<Price>], threshold: f64) -> Vec<Offer> {
    let mut offers: Vec<Offer> =
        records.iter().zip(prices).enumerate().map(|(record, (known, price))| offer(record, known, price.as_ref())).collect();
    let worth: Vec<Option<(bool, f64)>> = offers.iter().map(worth).collect();
    for (offer, own) in offers.iter_mut().zip(&worth) {
        let better =
            |other: &&(bool, f64), own: &(bool, f64)| (other.0 && !own.0) || (other.0 == own.0 && other.1 > own.1 * (1.0 + threshold));
        offer.rank = own.as_ref().map(|own| 1 + worth.iter().flatten().filter(|other| better(other, own)).count());
    }
    offers.sort_by(|a, b| {
        let (a, b) = (worth[a.record], worth[b.record]);
        b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
    });
    offers
}

/// By what offers are ranked: those that compute come first.
fn worth(offer: &Offer) -> Option<(bool, f64)> {
    let computes = offer.bf16.as_ref().map(|reading| (true, reading.value));
    computes.or_else(|| offer.dram.as_ref().map(|reading| (false, reading.value)))
}

fn offer(record: usize, known: &Known<'_>, price: Option<&Price>) -> Offer {
    let usd = price.map(|price| price.per_gpu_hour.value.0).filter(|usd| *usd > 0.0);
    let per_usd = |reading: Option<Reading>| Some(divided(&reading?, usd?));
    Offer {
        record,
        rank: None,
        usd_per_gpu_hour: usd,
        basis: price.map(|price| price.per_gpu_hour.basis),
        from: price.map(|price| price.of.clone()),
        bf16: per_usd(best(known, "matmul.bf16.")),
        fp8: per_usd(best(known, "matmul.e4m3.")),
        dram: per_usd(best(known, "dram.")),
        memory: per_usd(memory(known)),
    }
}

/// The slowest GPU's, by the metric of this family in which that is best.
fn best(known: &Known<'_>, family: &str) -> Option<Reading> {
    let names = known.metrics.names().filter(|name| name.id.starts_with(family));
    let slowest = names.filter_map(|name| known.metrics.get(name)?.summary(Summary::Slowest, None));
    let readings = slowest.filter_map(|found| super::change::reading(found.measurement));
    readings.reduce(|best, reading| if reading.value > best.value { reading } else { best })
}

fn memory(known: &Known<'_>) -> Option<Reading> {
    let sizes = known.run.machine.gpus.iter().filter_map(|gpu| gpu.memory_total.known().copied());
    sizes.min().map(Reading::exact)
}

fn divided(reading: &Reading, usd: f64) -> Reading {
    let value = reading.value / usd;
    let shown = match reading.unit {
        FlopsPerSecond::UNIT => FlopsPerSecond(value).show(),
        BytesPerSecond::UNIT => BytesPerSecond(value).show(),
        _ => Bytes::from_base(value).show(),
    };
    Reading { value, low: reading.low / usd, high: reading.high / usd, unit: reading.unit, shown }
}
