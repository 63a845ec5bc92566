//! The laws of collectives, on synthetic machines.

use proptest::prelude::*;

use super::*;
use crate::calibrate::fixture::CATALOG;
use crate::figure::Figure;
use crate::units::BytesPerSecond;

/// A machine that follows the formulas: a launch, a hop per step, and a rate.
fn machine(counts: &[u32], operations: &[Collective], hop: f64, rate: f64) -> Vec<CollectiveTiming> {
    let timing = |operation: Collective, gpus: u32, bytes: Bytes| CollectiveTiming {
        operation,
        gpus,
        bytes,
        time: law(operation, gpus, bytes, hop, rate),
    };
    let cells = operations.iter().flat_map(|&operation| counts.iter().map(move |&gpus| (operation, gpus)));
    cells.flat_map(|(operation, gpus)| CollectiveModel::SIZES.map(|bytes| timing(operation, gpus, bytes))).collect()
}

fn law(operation: Collective, gpus: u32, bytes: Bytes, hop: f64, rate: f64) -> Seconds {
    Seconds(6e-6 + hop * operation.steps(gpus) + operation.bus_factor(gpus) * bytes.as_f64() / rate)
}

fn error(found: Prediction, truth: Seconds) -> f64 {
    (found.time.0 / truth.0 - 1.0).abs()
}

#[test]
fn a_fitted_machine_is_predicted_between_its_sizes() {
    let model = CollectiveModel::fit(&machine(&[2, 4, 8], &Collective::ALL, 1e-6, 350e9)).unwrap();
    for operation in Collective::ALL {
        for gpus in [2, 4, 8] {
            for bytes in (9..34).map(|power| Bytes(1 << power)) {
                let (found, truth) = (model.time(operation, gpus, bytes), law(operation, gpus, bytes, 1e-6, 350e9));
                assert!(error(found, truth) < 0.06 && found.contains(truth), "{operation:?} {gpus} {bytes}: {found:?} {truth:?}");
            }
        }
    }
}

#[test]
fn counts_and_operations_that_were_not_measured_come_from_the_formulas() {
    let model = CollectiveModel::fit(&machine(&[2, 8], &[Collective::AllReduce, Collective::AllGather], 1e-6, 350e9)).unwrap();
    for operation in [Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter] {
        for (gpus, most) in [(3, 0.12), (4, 0.12), (6, 0.12), (16, 0.12), (64, 0.2)] {
            for bytes in [Bytes(512), Bytes::kib(64), Bytes::mib(8), Bytes::gib(1)] {
                let (found, truth) = (model.time(operation, gpus, bytes), law(operation, gpus, bytes, 1e-6, 350e9));
                assert!(error(found, truth) < most && found.contains(truth), "{operation:?} {gpus} {bytes}: {found:?} {truth:?}");
            }
        }
    }
    let message = model.time(Collective::SendReceive, 8, Bytes::gib(1));
    assert!(message.extrapolated && error(message, law(Collective::SendReceive, 8, Bytes::gib(1), 1e-6, 350e9)) < 0.05, "{message:?}");
    let four = model.time(Collective::AllReduce, 4, Bytes::mib(1));
    let far = model.time(Collective::AllReduce, 64, Bytes::mib(1));
    assert!(!four.extrapolated && far.extrapolated);
    assert!(far.high.0 / far.low.0 > four.high.0 / four.low.0, "the interval grows with the distance");
}

#[test]
fn one_gpu_and_no_bytes_take_no_time_and_what_says_nothing_is_none() {
    let model = CollectiveModel::fit(&machine(&[2], &[Collective::AllGather], 1e-6, 350e9)).unwrap();
    for found in [model.time(Collective::AllReduce, 1, Bytes::gib(1)), model.time(Collective::AllReduce, 0, Bytes(1))] {
        assert_eq!((found.time, found.high), (Seconds(0.0), Seconds(0.0)));
    }
    assert_eq!(model.time(Collective::AllToAll, 8, Bytes(0)).time, Seconds(0.0));
    assert_eq!(CollectiveModel::fit(&[]), None);
    let bad = CollectiveTiming { operation: Collective::AllReduce, gpus: 1, bytes: Bytes(512), time: Seconds(1e-6) };
    assert_eq!(CollectiveModel::fit(&[bad, CollectiveTiming { bytes: Bytes(1024), ..bad }]), None, "one GPU");
    let nan = CollectiveTiming { gpus: 2, time: Seconds(f64::NAN), ..bad };
    assert_eq!(CollectiveModel::fit(&[nan, CollectiveTiming { bytes: Bytes(1024), ..nan }]), None);
}

#[test]
fn sources_are_kept() {
    let model = CollectiveModel::fit(&machine(&[2], &[Collective::AllGather], 1e-6, 350e9)).unwrap();
    assert_eq!(model.basis(), Basis::MeasuredHere);
    let model = model.on(Basis::MeasuredSameModel, vec!["a record".to_owned()]);
    assert_eq!((model.basis(), model.from()), (Basis::MeasuredSameModel, &["a record".to_owned()][..]));
}

#[test]
fn names_parse_back() {
    for operation in Collective::ALL {
        assert_eq!(Collective::named(operation.name()), Some(operation));
    }
    assert_eq!(Collective::named("alltoall"), Some(Collective::AllToAll));
    assert_eq!(Collective::named("broadcast"), None);
}

fn assumed(name: &str) -> CollectiveModel {
    let catalog = &*CATALOG;
    CollectiveModel::assumed(&Interconnect::of(catalog.gpu(name).unwrap(), catalog)).unwrap()
}

#[test]
fn documents_know_what_connects_a_board() {
    let catalog = &*CATALOG;
    let wire = |name: &str| Interconnect::of(catalog.gpu(name).unwrap(), catalog).wire;
    assert_eq!(wire("H100 SXM"), Wire::NvSwitch { reduces: true });
    assert_eq!(wire("A100 SXM 80GB"), Wire::NvSwitch { reduces: false });
    assert_eq!(wire("B200"), Wire::NvSwitch { reduces: true });
    assert_eq!(wire("GB200"), Wire::NvSwitch { reduces: true });
    assert_eq!(wire("H100 NVL"), Wire::Bridge { boards: 2 });
    assert_eq!(wire("H200 NVL"), Wire::Bridge { boards: 4 });
    assert_eq!(wire("RTX 3090"), Wire::Bridge { boards: 2 });
    assert_eq!(wire("L40S"), Wire::Pcie);
}

#[test]
fn published_bus_bandwidths_lie_in_the_assumed_interval() {
    // GB/s of bus bandwidth at these sizes: stas00/ml-engineering, Azure health checks, tinygrad, NVIDIA/nccl issue 1639.
    for (name, operation, gpus, bytes, busbw) in [
        ("A100 SXM 80GB", Collective::AllReduce, 8, Bytes::gib(16), 234.89e9),
        ("H200 SXM", Collective::AllReduce, 8, Bytes::gib(16), 482.26e9),
        ("H200 SXM", Collective::AllReduce, 4, Bytes::gib(8), 363.3e9),
        ("H200 SXM", Collective::AllGather, 8, Bytes::gib(16), 361.4e9),
        ("H200 SXM", Collective::ReduceScatter, 8, Bytes::gib(16), 362.9e9),
        ("B200", Collective::AllReduce, 8, Bytes::gib(16), 845.67e9),
        ("B200", Collective::AllReduce, 4, Bytes::gib(8), 673.2e9),
        ("H100 NVL", Collective::AllReduce, 2, Bytes::gib(16), 208e9),
        ("A100 PCIe 80GB", Collective::AllReduce, 2, Bytes::gib(16), 193e9),
        ("RTX 4090", Collective::AllReduce, 6, Bytes::mib(32), 24.5e9),
        ("RTX 5090", Collective::AllReduce, 8, Bytes::gib(8), 28e9),
        ("RTX 5090", Collective::AllReduce, 4, Bytes::gib(8), 35e9),
    ] {
        let found = assumed(name).time(operation, gpus, bytes);
        let truth = Seconds(operation.bus_factor(gpus) * bytes.as_f64() / busbw);
        assert!(found.contains(truth) && found.extrapolated, "{name} {operation:?} {gpus}: {found:?} {truth:?}");
    }
}

#[test]
fn a_bridge_carries_two_boards_and_pcie_the_rest() {
    let model = assumed("A100 PCIe 80GB");
    let [two, four] = [2, 4].map(|gpus| model.time(Collective::AllGather, gpus, Bytes::gib(1)).time.0);
    assert!(four > 5.0 * two, "{two} {four}");
}

#[test]
fn four_machines_of_eight_reach_what_was_measured() {
    let fabric = Fabric { nodes: 4, gpus_per_node: 8 };
    // 4 × 8 B200 with 400 Gbit/s per GPU: 381.8 GB/s of bus bandwidth at 16 GiB (stas00/ml-engineering).
    let found = assumed("B200").time_across(Collective::AllReduce, fabric, &Network::of_line_rate(BytesPerSecond(50e9)), Bytes::gib(16));
    let busbw = Collective::AllReduce.bus_factor(32) * Bytes::gib(16).as_f64() / found.time.0;
    assert!((busbw / 381.8e9 - 1.0).abs() < 0.1, "{busbw:e}");
    assert!(found.contains(Seconds(Collective::AllReduce.bus_factor(32) * Bytes::gib(16).as_f64() / 381.8e9)));
}

#[test]
fn one_machine_of_a_fabric_is_that_machine() {
    let model = assumed("H100 SXM");
    let network = Network::of_line_rate(BytesPerSecond(50e9));
    for operation in Collective::ALL {
        let across = model.time_across(operation, Fabric { nodes: 1, gpus_per_node: 8 }, &network, Bytes::mib(64));
        assert_eq!(across, model.time(operation, 8, Bytes::mib(64)));
        assert_eq!(model.time_across(operation, Fabric { nodes: 4, gpus_per_node: 0 }, &network, Bytes(1)).time, Seconds(0.0));
    }
}

fn operation() -> impl Strategy<Value = Collective> {
    (0usize..5).prop_map(|index| Collective::ALL[index])
}

fn timings() -> impl Strategy<Value = Vec<CollectiveTiming>> {
    let timing = (operation(), 0u32..20, any::<u64>(), -9.0..1.0f64).prop_map(|(operation, gpus, bytes, time)| CollectiveTiming {
        operation,
        gpus,
        bytes: Bytes(bytes),
        time: Seconds(10f64.powf(time)),
    });
    proptest::collection::vec(timing, 0..60)
}

proptest! {
    #[test]
    fn any_fit_gives_numbers_that_never_fall_with_size(
        timings in timings(), operation in operation(), gpus in any::<u32>(), few in 0u32..40, mut sizes in proptest::collection::vec(any::<u64>(), 2..20),
    ) {
        if let Some(model) = CollectiveModel::fit(&timings) {
            sizes.extend([0, 1, 511, u64::MAX]);
            sizes.sort_unstable();
            for gpus in [gpus, few] {
                let found: Vec<Prediction> = sizes.iter().map(|&size| model.time(operation, gpus, Bytes(size))).collect();
                for found in &found {
                    prop_assert!(found.low.0 >= 0.0 && found.low <= found.time && found.time <= found.high && found.high.0.is_finite(), "{found:?}");
                }
                for pair in found.windows(2) {
                    prop_assert!(pair[0].time.0 <= pair[1].time.0 * (1.0 + 1e-9), "{pair:?}");
                }
            }
        }
    }

    #[test]
    fn a_faster_link_is_never_slower(operation in operation(), gpus in 0u32..600, bytes in any::<u64>(), rate in 1e9..1e12f64, faster in 1.0..4.0f64) {
        let model = |rate: f64| {
            let figure = Some(Figure::assumed(BytesPerSecond(rate), "test"));
            CollectiveModel::assumed(&Interconnect { wire: Wire::NvSwitch { reduces: true }, nvlink: figure, pcie: None }).unwrap()
        };
        let (slow, fast) = (model(rate), model(rate * faster));
        prop_assert!(fast.time(operation, gpus, Bytes(bytes)).time <= slow.time(operation, gpus, Bytes(bytes)).time);
        let fabric = Fabric { nodes: 4, gpus_per_node: gpus };
        let [slow_net, fast_net] = [rate, rate * faster].map(|rate| Network::of_line_rate(BytesPerSecond(rate / 10.0)));
        let across = |network| slow.time_across(operation, fabric, network, Bytes(bytes)).time;
        prop_assert!(across(&fast_net) <= across(&slow_net));
    }

    #[test]
    fn more_gpus_of_one_ring_are_never_faster(operation in operation(), gpus in 2u32..200, bytes in any::<u64>()) {
        let model = assumed("A100 SXM 80GB");
        let time = |gpus| model.time(operation, gpus, Bytes(bytes)).time.0;
        prop_assert!(time(gpus) <= time(gpus + 1) * (1.0 + 1e-12));
    }

    #[test]
    fn several_machines_give_numbers_that_never_fall_with_size(
        operation in operation(), nodes in any::<u32>(), gpus_per_node in 0u32..100, bytes in any::<u64>(), more in any::<u64>(),
        rate in prop_oneof![Just(0.0), Just(f64::NAN), 1.0..1e12f64], hop in prop_oneof![Just(f64::NAN), -1.0..1.0f64],
    ) {
        let model = assumed("H100 SXM");
        let network = Network { rate: BytesPerSecond(rate), hop: Seconds(hop), factor: 1.5 };
        let time = |bytes| model.time_across(operation, Fabric { nodes, gpus_per_node }, &network, Bytes(bytes));
        let (less, more) = (time(bytes), time(bytes.saturating_add(more)));
        prop_assert!(less.low <= less.time && less.time <= less.high && less.high.0.is_finite(), "{less:?}");
        prop_assert!(less.time.0 <= more.time.0 * (1.0 + 1e-12));
    }
}
