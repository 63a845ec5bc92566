//! How long kernels take whose time is the memory's: elementwise operations, norms, optimizer steps, copies.
//!
//! Such a kernel moves its bytes, read and written both counted, at the rate of device memory for its **traffic**: reading, writing and mixtures
//! of both differ, because the memory turns its bus around between them. Before the first byte and after the last it waits: for the device
//! to start it and for one round trip to memory, the **ramp**. Launched one by one from the host it cannot take less than a launch takes there.
//!
//! Rates come from the `dram` probe, launch and ramp from `launch` and `cache.latency`. Kernels of frameworks reach 0.9 to 1.0 of the probe's
//! ceiling; the model takes 0.95. What was not measured comes from the datasheet times the share that good kernels reach (RRZE gpu-benches and
//! BabelStream on V100 to H200, CCCL on H200 and B200, clpeak and OpenCL-Benchmark on Ada and Blackwell):
//!
//! | memory | read | write | copy | several streams | copy engine |
//! |---|---|---|---|---|---|
//! | HBM | 0.87–0.96 | 0.92–0.99 | 0.84–0.90 | 0.84–0.92 | 0.75–0.80 |
//! | GDDR | 0.91–0.98 | 0.98 | 0.88–0.94 | 0.84–0.94 | 0.85–0.92 |

use super::{GpuCalibration, Prediction};
use crate::catalog::GpuModel;
use crate::figure::{Basis, Figure};
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// What a kernel does to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Mostly reads: norms, reductions, losses.
    Read,
    /// Only writes: fills.
    Write,
    /// As much read as written: elementwise operations, transposes, casts.
    Copy,
    /// Several streams in and out: optimizer steps, residual additions, gated activations.
    Streams,
    /// The copy engine instead of a kernel: `cudaMemcpy` within the device.
    Engine,
}

impl Traffic {
    /// Every one, in the order of tables.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Copy, Self::Streams, Self::Engine];

    /// The `dram` mechanisms that measure it, the most alike first.
    fn mechanisms(self) -> [&'static str; 6] {
        match self {
            Self::Read => ["read", "triad", "add", "copy", "scale", "write"],
            Self::Write => ["write", "copy", "scale", "add", "triad", "read"],
            Self::Copy | Self::Engine => ["copy", "scale", "add", "triad", "read", "write"],
            Self::Streams => ["triad", "add", "copy", "scale", "read", "write"],
        }
    }

    /// Share of the datasheet that good kernels reach: the table above.
    fn known_share(self, memory: &str) -> f64 {
        let [hbm, gddr] = match self {
            Self::Read => [0.91, 0.94],
            Self::Write => [0.95, 0.97],
            Self::Copy => [0.87, 0.91],
            Self::Streams => [0.88, 0.90],
            Self::Engine => [0.78, 0.89],
        };
        if memory.starts_with("HBM") { hbm } else { gddr }
    }
}

/// What kernels of frameworks reach of a ceiling that was measured with nothing but that in mind.
const OF_CEILING: f64 = 0.95;

/// What the copy engine reaches of a copying kernel's rate: 0.78 of the datasheet against 0.87.
const ENGINE_OF_COPY: f64 = 0.9;

/// A launch from the host, the device's pause between two kernels of a graph, and a load from memory, where nobody measured them.
const LAUNCH: f64 = 3e-6;
const GAP: f64 = 1.3e-6;
const LOAD: f64 = 0.7e-6;

/// Time of kernels bound by the memory of one GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryBoundModel {
    /// By traffic, in the order of [`Traffic::ALL`].
    rates: [Rate; 5],
    launch: f64,
    ramp: f64,
    basis: Basis,
    from: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    rate: f64,
    /// The truth lies within this factor in nine cases of ten.
    factor: f64,
    measured: bool,
}

impl MemoryBoundModel {
    /// From what was measured, and from the datasheet of `gpu` where nothing was. `None` where neither says anything.
    pub fn new(measured: Option<&GpuCalibration>, gpu: Option<&GpuModel>) -> Option<Self> {
        let mut basis = Basis::MeasuredHere;
        let mut from: Vec<String> = Vec::new();
        let mut uses = |figure_basis: Basis, sources: &[String]| {
            basis = basis.weaker(figure_basis);
            let new: Vec<String> = sources.iter().filter(|source| !from.contains(source)).cloned().collect();
            from.extend(new);
        };
        let mut rates = [Rate { rate: 0.0, factor: 1.0, measured: false }; 5];
        for (rate, traffic) in rates.iter_mut().zip(Traffic::ALL) {
            *rate = match measured.and_then(|gpu| ceiling(gpu, traffic)) {
                Some((ceiling, close)) => {
                    uses(ceiling.basis, &ceiling.from);
                    let engine = if traffic == Traffic::Engine { ENGINE_OF_COPY } else { OF_CEILING };
                    Rate { rate: engine * ceiling.value.0, factor: if close { 1.1 } else { 1.2 }, measured: true }
                }
                None => {
                    let gpu = gpu?;
                    let printed = gpu.bandwidth();
                    uses(printed.basis, &printed.from);
                    Rate { rate: OF_CEILING * traffic.known_share(&gpu.memory.kind) * printed.value.0, factor: 1.2, measured: false }
                }
            };
            if !(rate.rate > 0.0 && rate.rate.is_finite()) {
                return None;
            }
        }
        let mut cost = |figure: Option<Figure<Seconds>>, otherwise: f64| match figure {
            Some(figure) => {
                uses(figure.basis, &figure.from);
                figure.value.0
            }
            None => otherwise,
        };
        let launch = cost(measured.and_then(|gpu| gpu.launch.kernel.clone()), LAUNCH);
        let gap = cost(measured.and_then(|gpu| gpu.launch.graph.clone()), GAP);
        let load = measured.and_then(|gpu| gpu.cache_latency.as_ref()).and_then(|curve| curve.points().last()).map(|point| point.y.clone());
        let ramp = gap + cost(load, LOAD);
        Some(Self { rates, launch, ramp, basis, from })
    }

    /// The weakest of its sources: what most of its numbers come from is in [`Self::from`].
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The sources themselves.
    pub fn from(&self) -> &[String] {
        &self.from
    }

    /// The rate that large kernels reach.
    pub fn rate(&self, traffic: Traffic) -> BytesPerSecond {
        BytesPerSecond(self.rates[traffic as usize].rate)
    }

    /// Time of `launches` kernels of equal size that together move `bytes`, launched one by one from the host.
    pub fn time(&self, traffic: Traffic, bytes: Bytes, launches: u64) -> Prediction {
        self.kernels(traffic, bytes, launches, self.launch)
    }

    /// The same as part of a graph, which costs the host nothing.
    pub fn time_in_graph(&self, traffic: Traffic, bytes: Bytes, launches: u64) -> Prediction {
        self.kernels(traffic, bytes, launches, 0.0)
    }

    fn kernels(&self, traffic: Traffic, bytes: Bytes, launches: u64, launch: f64) -> Prediction {
        if launches == 0 {
            return Prediction::within(Seconds(0.0), 1.0, false);
        }
        let Rate { rate, factor, measured } = self.rates[traffic as usize];
        let (launches, stream) = (launches as f64, bytes.as_f64() / rate);
        let all = |ramp: f64, stream: f64, launch: f64| Seconds((launches * ramp + stream).max(launches * launch));
        // Small operands may still be in the cache, and a ramp overlaps with its neighbours in part.
        Prediction {
            time: all(self.ramp, stream, launch),
            low: all(self.ramp / 2.0, stream / factor, launch / 1.5),
            high: all(self.ramp * 2.0, stream * factor, launch * 1.5),
            extrapolated: !measured,
        }
    }
}

/// The measured ceiling for this traffic, and whether it is of this very traffic.
fn ceiling(gpu: &GpuCalibration, traffic: Traffic) -> Option<(&Figure<BytesPerSecond>, bool)> {
    let mechanisms = traffic.mechanisms();
    let index = mechanisms.iter().position(|name| gpu.dram.contains_key(*name))?;
    Some((gpu.dram.get(mechanisms[index])?, index == 0 && traffic != Traffic::Engine))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Calibration;
    use crate::calibrate::fixture::CATALOG;
    use crate::calibrate::fixture::two_h100;
    use proptest::prelude::*;

    fn datasheet(name: &str) -> MemoryBoundModel {
        let catalog = &*CATALOG;
        MemoryBoundModel::new(None, Some(catalog.gpu(name).unwrap())).unwrap()
    }

    #[test]
    fn a_measured_gpu_streams_near_its_ceiling_and_names_its_cases() {
        let calibration = Calibration::from_run(&two_h100().run());
        let gpu = calibration.gpu(0).unwrap();
        let model = MemoryBoundModel::new(Some(gpu), None).unwrap();
        assert_eq!(model.basis(), Basis::MeasuredHere);
        assert!(model.from().iter().any(|case| case.starts_with("dram.")) && model.from().iter().any(|case| case.starts_with("launch.")));
        assert!(Traffic::ALL.iter().all(|&traffic| model.rate(traffic).0 > 0.0), "what was not measured borrows what is most alike");
        let found = model.time(Traffic::Read, Bytes::gib(8), 1);
        let rate = Bytes::gib(8) / found.time;
        assert!((rate / gpu.dram["read"].value - OF_CEILING).abs() < 0.01, "{rate:?}");
        assert!(found.contains(Bytes::gib(8) / gpu.dram["read"].value), "the ceiling itself can be reached");
        // Launched by the host, small kernels take a launch; in a graph, the ramp.
        assert!(
            (model.time(Traffic::Copy, Bytes(4096), 100).time.0 / (100.0 * gpu.launch.kernel.as_ref().unwrap().value.0) - 1.0).abs() < 0.2
        );
    }

    #[test]
    fn the_datasheet_gives_what_others_measured() {
        // BabelStream, gpu-benches, CCCL: GB/s.
        for (name, traffic, measured) in [
            ("A100 SXM 40GB", Traffic::Streams, 1377e9),
            ("A100 SXM 80GB", Traffic::Copy, 1732e9),
            ("H100 PCIe", Traffic::Streams, 1832e9),
            ("H200 SXM", Traffic::Streams, 4430e9),
            ("L40", Traffic::Copy, 770e9),
            ("RTX 4090", Traffic::Read, 915e9),
            ("RTX 5090", Traffic::Engine, 1522e9),
            ("H100 SXM", Traffic::Engine, 2578e9),
        ] {
            let model = datasheet(name);
            assert_eq!(model.basis(), Basis::Datasheet);
            let found = model.time(traffic, Bytes::gib(8), 1);
            assert!(found.contains(Bytes::gib(8) / BytesPerSecond(measured)), "{name}: {:?}", Bytes::gib(8) / found.time);
            assert!(found.extrapolated);
        }
    }

    #[test]
    fn nothing_known_is_none() {
        assert_eq!(MemoryBoundModel::new(None, None), None);
    }

    proptest! {
        #[test]
        fn more_bytes_or_launches_never_take_less_time(
            bytes in any::<u64>(), more in any::<u64>(), launches in 0u64..1 << 40, again in 0u64..1 << 40, traffic in 0usize..5,
        ) {
            let model = datasheet("H100 SXM");
            let traffic = Traffic::ALL[traffic];
            for time in [MemoryBoundModel::time, MemoryBoundModel::time_in_graph] {
                let found = time(&model, traffic, Bytes(bytes), launches);
                prop_assert!(found.low <= found.time && found.time <= found.high && found.high.0.is_finite());
                prop_assert!(found.time <= time(&model, traffic, Bytes(bytes.saturating_add(more)), launches).time);
                prop_assert!(found.time <= time(&model, traffic, Bytes(bytes), launches + again).time);
            }
        }

        #[test]
        fn a_faster_memory_is_never_slower(bytes in any::<u64>(), launches in 1u64..1000, traffic in 0usize..5) {
            let (slow, fast) = (datasheet("H100 PCIe"), datasheet("H200 SXM"));
            let traffic = Traffic::ALL[traffic];
            prop_assert!(fast.time(traffic, Bytes(bytes), launches).time <= slow.time(traffic, Bytes(bytes), launches).time);
        }
    }
}
