//! Constants come out where the samples say, and name their cases.

use super::fixture::{Fixture, host, two_h100};
use super::*;
use crate::units::{Bytes, Watts};

#[test]
fn a_host_without_gpu_is_calibrated_all_the_same() {
    let calibration = Calibration::from_run(&host().run());
    assert!(calibration.gpus.is_empty() && calibration.peers.is_empty());
    let triad = calibration.host.triad().unwrap();
    assert_eq!(triad.to_string(), "50.00 GB/s");
    assert_eq!(triad.from, ["host.triad/cores=8"]);
    assert_eq!(triad.basis, Basis::MeasuredHere);
    assert!(triad.low < triad.value && triad.value < triad.high);
    assert_eq!(calibration.host.nodes[&0].from, ["host.triad/cores=4,node=0"]);
    assert_eq!(calibration.host.matmul["f32"].to_string(), "1.000 TFLOP/s");
    assert_eq!(calibration.storage.read.as_ref().unwrap().to_string(), "2.621 GB/s");
    assert_eq!(calibration.storage.random_latency.as_ref().unwrap().to_string(), "90.00 µs");
    assert!((calibration.storage.random_reads_per_second().unwrap().value - 1e5).abs() < 1e-6);
}

#[test]
fn ceilings_are_the_best_honest_rate_and_name_their_case() {
    let calibration = Calibration::from_run(&two_h100().run());
    let gpu = calibration.gpu(1).unwrap();
    // The 64 MiB case is faster, but fits the cache.
    assert_eq!(gpu.dram["read"].from, ["dram.read/bytes=4GiB,gpu=1"]);
    assert_eq!(gpu.dram_best().unwrap().to_string(), "3.000 TB/s");
    let matmul = gpu.matmul_best("bf16").unwrap();
    assert_eq!((matmul.engine.as_str(), matmul.m), ("cublaslt", 8192));
    assert_eq!(matmul.rate.from, ["matmul.bf16/engine=cublaslt,m=8192,n=8192,k=8192,gpu=1"]);
    assert!(gpu.matmul_best("fp4").is_none());
    assert_eq!(gpu.power.as_ref().unwrap().value, Watts(695.0));
    assert_eq!(gpu.pcie, Some((5, 16)));
    assert_eq!(gpu.throttled, ["sw_power_cap"]);
    assert_eq!(gpu.memory.context.as_ref().unwrap().value, Bytes::mib(480));
    assert!(gpu.memory.cublaslt.is_none());
    let allocatable = gpu.memory.allocatable.as_ref().unwrap();
    assert_eq!((allocatable.value, allocatable.high), (Bytes::mib(72_000), Bytes::mib(80_000)), "the probe stopped short of what was free");
    assert_eq!(gpu.launch.kernel.as_ref().unwrap().to_string(), "2.500 µs");
}

#[test]
fn curves_know_what_they_were_measured_over() {
    let calibration = Calibration::from_run(&two_h100().run());
    let gpu = calibration.gpu(0).unwrap();
    let time = &gpu.copy[&("h2d".to_owned(), "pinned".to_owned())].time;
    assert_eq!(time.range(), (Bytes::kib(64), Bytes::gib(1)));
    assert_eq!(time.at(Bytes(1)).figure.to_string(), "8.000 µs");
    let large = time.at(Bytes::gib(10));
    assert!(large.extrapolated);
    assert!((Bytes::gib(10) / large.figure.value / BytesPerSecond(56e9) - 1.0).abs() < 1e-9);
    let latency = gpu.cache_latency.as_ref().unwrap();
    assert_eq!(latency.at(Bytes::kib(16)).figure.to_string(), "30.00 ns");
    assert_eq!(gpu.copy_ceiling("h2d", "pageable").unwrap().to_string(), "12.00 GB/s");
}

#[test]
fn links_are_kept_pair_by_pair_and_engine_by_engine() {
    let calibration = Calibration::from_run(&two_h100().run());
    assert_eq!(calibration.peers.len(), 2);
    let link = calibration.peer(1, 0).unwrap();
    assert_eq!(link.one_way().unwrap().to_string(), "380.0 GB/s");
    assert_eq!(link.kernel.write.as_ref().unwrap().to_string(), "350.0 GB/s");
    assert_eq!(link.both_ways().unwrap().to_string(), "750.0 GB/s");
    assert_eq!(link.latency.as_ref().unwrap().to_string(), "2.000 µs");
    assert!(calibration.peer(0, 2).is_none());
}

#[test]
fn what_a_gpu_reads_goes_from_the_other() {
    let case = |name: &str, from: u32, to: u32| format!("peer.{name}/engine=ce,bytes=1GiB,from={from},to={to}");
    let run = Fixture::host_only()
        .moved(&case("write", 0, 1), 20_000_000_000, 1.0)
        .moved(&case("read", 1, 0), 21_000_000_000, 1.0)
        .moved(&case("write", 1, 0), 10_000_000_000, 1.0)
        .moved(&case("read", 0, 1), 9_000_000_000, 1.0)
        .run();
    let calibration = Calibration::from_run(&run);
    let best = |from, to| calibration.peer(from, to).unwrap().one_way().unwrap().to_string();
    assert_eq!((best(0, 1), best(1, 0)), ("21.00 GB/s".into(), "10.00 GB/s".into()));
}

#[test]
fn a_machine_recorded_elsewhere_claims_less() {
    let calibration = Calibration::from_recorded(&two_h100().run());
    assert_eq!(calibration.gpus[0].basis(), Some(Basis::MeasuredSameModel));
    assert_eq!(calibration.gpus[0].memory.context.as_ref().unwrap().basis, Basis::MeasuredSameModel);
    assert_eq!(calibration.peers[0].one_way().unwrap().basis, Basis::MeasuredSameModel);
}

#[test]
fn absurd_samples_make_no_constant() {
    let run = Fixture::host_only().moved("host.triad/cores=8", u64::MAX, 1e-320).moved("peer.write/bytes=1GiB", 1, 1.0).run();
    let calibration = Calibration::from_run(&run);
    assert!(calibration.host.triad().is_none());
    assert!(calibration.peers.is_empty());
}
