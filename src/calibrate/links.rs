//! How long copies to the host, to another GPU and to the disk take, as a function of their size.
//!
//! A transfer costs a **latency** and then its bytes at the link's **rate**. Where several sizes were measured, a [`TransferCurve`] goes through
//! them. Where only the ends are known, a rate and perhaps a latency, time is their sum, t = α + S/β. Where nothing was measured, the rate is
//! what the link carries after its line code times the share that good copies reach:
//!
//! | link | share | where |
//! |---|---|---|
//! | PCIe, pinned memory, copy engine | 0.78–0.90 | nvbandwidth on V100, A100, H200, RTX 5090 |
//! | PCIe, pageable memory | 0.2–0.5 | the processor copies every byte once more; a rule of thumb |
//! | NVLink, one direction | 0.83–0.92 | nvbandwidth and p2pBandwidthLatencyTest on A100, H100, H200, GB200 |
//! | PCIe between GPUs with peer access | 0.78–0.90 | simpleP2P on RTX 4090, nvbandwidth on A6000 |
//!
//! Virtual machines reach less (0.4 to 0.7 of PCIe in several clouds), which the intervals allow for.

use super::collective::{Interconnect, Wire};
use super::{CopyRates, PeerLink, Prediction, StorageCalibration, TransferCurve};
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// What it takes to get a copy engine going, beside the link's own latency.
const START: Seconds = Seconds(6e-6);

/// A file's first byte where nobody measured it: between flash in the machine and a volume in the network.
const FIRST_BYTE: Seconds = Seconds(150e-6);

/// Time over size of one link in one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkModel {
    shape: Shape,
    basis: Basis,
    from: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Curve(TransferCurve),
    Line(Line),
}

/// α + S/β, each with the factor that holds the truth in nine cases of ten.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    latency: f64,
    latency_factor: f64,
    rate: f64,
    rate_factor: f64,
    extrapolated: bool,
}

/// Reading or writing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

impl LinkModel {
    /// A latency and a rate. `factor` is how far the rate may be off beyond its own interval. `None` unless the rate is a positive number.
    pub fn new(latency: Seconds, rate: &Figure<BytesPerSecond>, factor: f64) -> Option<Self> {
        let spread = (rate.high.0 / rate.value.0).max(rate.value.0 / rate.low.0);
        let usable = rate.value.0 > 0.0 && rate.value.0.is_finite() && latency.0 >= 0.0 && latency.0.is_finite();
        let rate_factor = factor.max(1.0) * if spread.is_finite() { spread.max(1.0) } else { 1.0 };
        let extrapolated = rate.basis > Basis::MeasuredSameModel;
        let line = Line { latency: latency.0, latency_factor: 2.0, rate: rate.value.0, rate_factor, extrapolated };
        usable.then(|| Self { shape: Shape::Line(line), basis: rate.basis, from: rate.from.clone() })
    }

    /// Copies between host and device that were measured.
    pub fn measured(rates: &CopyRates) -> Option<Self> {
        let points = rates.time.points();
        let Some(curve) = TransferCurve::new(points.iter().map(|point| (point.x, point.y.value))) else {
            return Self::new(START, &rates.ceiling, 1.1);
        };
        let from = points.iter().flat_map(|point| point.y.from.iter().cloned()).collect();
        Some(Self { shape: Shape::Curve(curve), basis: rates.ceiling.basis, from })
    }

    /// Copies from one GPU to another that were measured.
    pub fn peer(link: &PeerLink) -> Option<Self> {
        let access = link.latency.as_ref().map_or(0.0, |latency| latency.value.0);
        let mut model = Self::new(Seconds(START.0 + access), &link.one_way()?, 1.1)?;
        model.from.extend(link.latency.iter().flat_map(|latency| latency.from.iter().cloned()));
        Some(model)
    }

    /// Sequential reads or writes of the disk that was measured.
    pub fn storage(disk: &StorageCalibration, access: Access) -> Option<Self> {
        let rate = match access {
            Access::Read => disk.read.as_ref()?,
            Access::Write => disk.write.as_ref()?,
        };
        let Some(latency) = &disk.random_latency else { return Self::new(FIRST_BYTE, rate, 1.2) };
        let mut model = Self::new(latency.value, rate, 1.2)?;
        model.from.extend(latency.from.iter().cloned());
        Some(model)
    }

    /// Copies between host and device over a link that carries `ceiling` in one direction after its line code.
    pub fn host_assumed(ceiling: &Figure<BytesPerSecond>, pinned: bool) -> Option<Self> {
        let (share, factor) = if pinned { (0.84, 1.4) } else { (0.33, 2.0) };
        Self::share_of(ceiling, share, factor)
    }

    /// Copies from one GPU to another, connected like that, of which `gpus` take part.
    pub fn peer_assumed(interconnect: &Interconnect, gpus: u32) -> Option<Self> {
        let nvlink = match interconnect.wire {
            Wire::NvSwitch { .. } => true,
            Wire::Bridge { boards } => gpus <= boards,
            Wire::Pcie => false,
        };
        if nvlink {
            Self::share_of(interconnect.nvlink.as_ref()?, 0.86, 1.25)
        } else {
            Self::share_of(interconnect.pcie.as_ref()?, 0.8, 2.0)
        }
    }

    fn share_of(ceiling: &Figure<BytesPerSecond>, share: f64, factor: f64) -> Option<Self> {
        let mut model = Self::new(START, &ceiling.map(|rate| BytesPerSecond(rate.0 * share)), factor)?;
        model.basis = model.basis.weaker(Basis::Assumed);
        model.from.push(format!("published copies reach {share} of the link"));
        Some(model)
    }

    /// What kind of source it has.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The sources themselves.
    pub fn from(&self) -> &[String] {
        &self.from
    }

    /// Time of one transfer. Nothing takes no time.
    pub fn time(&self, bytes: Bytes) -> Prediction {
        if bytes.0 == 0 {
            return Prediction::within(Seconds(0.0), 1.0, false);
        }
        match &self.shape {
            Shape::Curve(curve) => curve.time(bytes),
            Shape::Line(line) => {
                let stream = bytes.as_f64() / line.rate;
                Prediction {
                    time: Seconds(line.latency + stream),
                    low: Seconds(line.latency / line.latency_factor + stream / line.rate_factor),
                    high: Seconds(line.latency * line.latency_factor + stream * line.rate_factor),
                    extrapolated: line.extrapolated,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Calibration;
    use crate::calibrate::fixture::CATALOG;
    use crate::calibrate::fixture::{host, two_h100};

    #[test]
    fn a_measured_copy_goes_through_its_sizes() {
        let calibration = Calibration::from_run(&two_h100().run());
        let rates = &calibration.gpu(0).unwrap().copy[&("h2d".to_owned(), "pinned".to_owned())];
        let model = LinkModel::measured(rates).unwrap();
        assert_eq!(model.basis(), Basis::MeasuredHere);
        assert!(model.from().iter().all(|case| case.starts_with("copy.h2d")), "{:?}", model.from());
        for point in rates.time.points() {
            let found = model.time(point.x);
            assert!((found.time.0 / point.y.value.0 - 1.0).abs() < 1e-9 && !found.extrapolated);
        }
        let far = model.time(Bytes::gib(10));
        assert!(far.extrapolated && (Bytes::gib(10) / far.time / BytesPerSecond(56e9) - 1.0).abs() < 0.02, "{far:?}");
    }

    #[test]
    fn peers_and_disks_are_a_latency_and_a_rate() {
        let calibration = Calibration::from_run(&two_h100().run());
        let link = &calibration.peers[0];
        let model = LinkModel::peer(link).unwrap();
        let large = model.time(Bytes::gib(4));
        assert!((Bytes::gib(4) / large.time / link.one_way().unwrap().value - 1.0).abs() < 0.01, "{large:?}");
        assert!(model.time(Bytes(8)).time >= START);
        let disk = Calibration::from_run(&host().run()).storage;
        let read = LinkModel::storage(&disk, Access::Read).unwrap();
        assert!(read.time(Bytes(1)).time >= disk.random_latency.unwrap().value);
        assert!(LinkModel::storage(&StorageCalibration::default(), Access::Write).is_none());
    }

    #[test]
    fn what_nobody_measured_is_a_share_of_the_link_and_says_so() {
        let catalog = &*CATALOG;
        let ceiling = catalog.pcie_ceiling(5, 16).unwrap();
        let [pinned, pageable] = [true, false].map(|pinned| LinkModel::host_assumed(&ceiling, pinned).unwrap());
        assert_eq!(pinned.basis(), Basis::Assumed);
        let rate = Bytes::gib(1) / pinned.time(Bytes::gib(1)).time;
        assert!((48e9..57e9).contains(&rate.0), "{rate:?}");
        assert!(pageable.time(Bytes::gib(1)).time > pinned.time(Bytes::gib(1)).time);
        assert!(pinned.time(Bytes::gib(1)).extrapolated);
        // nvbandwidth measured 55.43 GB/s on H200, a health check asks for 48.
        assert!(pinned.time(Bytes::gib(1)).contains(Bytes::gib(1) / BytesPerSecond(48e9)));
        for (name, gpus, at_least, at_most) in [("A100 SXM 80GB", 8, 238e9, 280e9), ("H100 SXM", 8, 335e9, 400e9), ("L40S", 2, 20e9, 29e9)]
        {
            let model = LinkModel::peer_assumed(&Interconnect::of(catalog.gpu(name).unwrap(), catalog), gpus).unwrap();
            let rate = Bytes::gib(1) / model.time(Bytes::gib(1)).time;
            assert!((at_least..at_most).contains(&rate.0), "{name}: {rate:?}");
        }
        assert_eq!(LinkModel::new(START, &Figure::assumed(BytesPerSecond(0.0), "none"), 1.0), None);
        assert_eq!(LinkModel::new(START, &Figure::assumed(BytesPerSecond(f64::NAN), "none"), 1.0), None);
    }

    #[test]
    fn times_are_numbers_for_any_size_and_never_fall() {
        let catalog = &*CATALOG;
        let model = LinkModel::host_assumed(&catalog.pcie_ceiling(4, 16).unwrap(), true).unwrap();
        let times: Vec<Prediction> = (0..64).map(|power| model.time(Bytes(1 << power))).chain([model.time(Bytes(u64::MAX))]).collect();
        assert_eq!(model.time(Bytes(0)).time, Seconds(0.0));
        assert!(times.iter().all(|found| found.low <= found.time && found.time <= found.high && found.high.0.is_finite()));
        assert!(times.windows(2).all(|pair| pair[0].time < pair[1].time));
    }
}
