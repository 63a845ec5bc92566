//! Collectives beside what other people measured.
//!
//! The measurements lie outside the repository, in `../shared/truth` or `$GPU_ASSAY_TRUTH`; where they are absent each test prints one line
//! and passes. Eight sizes for each operation and GPU count enter a fit, chosen by size; the others are predicted and compared.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod published;

use std::path::Path;

use gpu_assay::accuracy::{self, Score, collective};
use gpu_assay::calibrate::collective::{Collective, CollectiveModel, CollectiveTiming, Interconnect};
use gpu_assay::catalog::Catalog;
use gpu_assay::units::{Bytes, Seconds};
use serde::Deserialize;

/// File, median and 90th percentile that the model reaches, with a small margin.
const REACHED: [(&str, f64, f64); 2] = [("collective_h100_sxm.csv", 0.026, 0.097), ("collective_a100_sxm.csv", 0.026, 0.097)];

#[derive(Debug, Deserialize)]
struct Row {
    device: String,
    op: String,
    gpus: u32,
    bytes: u64,
    latency_us: f64,
}

fn timings(path: &Path) -> (String, Vec<CollectiveTiming>) {
    let rows: Vec<Row> = accuracy::read(path).unwrap();
    let timing = |row: &Row| CollectiveTiming {
        operation: Collective::named(&row.op).unwrap(),
        gpus: row.gpus,
        bytes: Bytes(row.bytes),
        time: Seconds(row.latency_us * 1e-6),
    };
    (rows[0].device.clone(), rows.iter().map(timing).collect())
}

#[test]
fn eight_sizes_predict_all_others() {
    for (name, median, p90) in REACHED {
        let Some(path) = published::path(name) else { continue };
        let scores = collective::evaluate(&path, 8).unwrap();
        for score in scores.iter().chain(&scores[0].parts) {
            println!(
                "{name} {:15} {:3} rows, median {:.2} %, p90 {:.2} %, worst {:.1} %, bias {:+.2} %, inside {:.1} %",
                score.part.as_deref().unwrap_or("all"),
                score.rows,
                score.median_error * 100.0,
                score.p90_error * 100.0,
                score.worst_error * 100.0,
                score.median_bias * 100.0,
                score.inside_interval * 100.0
            );
        }
        let all = &scores[0];
        assert_eq!((all.part.as_deref(), all.points_used, all.rows, all.extrapolated), (None, 96, 156, 0.0));
        assert!(all.median_error <= median && all.p90_error <= p90, "{all:?}");
        assert!((0.85..=0.97).contains(&all.inside_interval), "{all:?}");
    }
}

/// The model holds with other sizes than those it was designed with: as many, elsewhere.
#[test]
fn other_sizes_do_about_as_well() {
    for (name, ..) in REACHED {
        let Some(path) = published::path(name) else { continue };
        let (device, timings) = timings(&path);
        for powers in [[9, 13, 15, 17, 19, 21, 23, 29], [9, 14, 16, 18, 20, 22, 25, 29], [9, 12, 15, 18, 21, 23, 26, 29]] {
            let (seen, held): (Vec<CollectiveTiming>, Vec<CollectiveTiming>) =
                timings.iter().partition(|timing| powers.contains(&timing.bytes.0.ilog2()));
            let model = CollectiveModel::fit(&seen).unwrap();
            let rows = held.iter().map(|timing| (model.time(timing.operation, timing.gpus, timing.bytes), timing.time));
            let score = Score::of("collective", &device, None, seen.len(), rows).unwrap();
            println!(
                "{name} {powers:?}: median {:.2} %, p90 {:.2} %, inside {:.1} %",
                score.median_error * 100.0,
                score.p90_error * 100.0,
                score.inside_interval * 100.0
            );
            assert!(score.median_error <= 0.03 && score.p90_error <= 0.115 && score.inside_interval >= 0.85, "{score:?}");
        }
    }
}

/// A count that was not measured, from its neighbours.
#[test]
fn counts_that_were_left_out_lie_in_their_interval() {
    for (name, ..) in REACHED {
        let Some(path) = published::path(name) else { continue };
        let (device, timings) = timings(&path);
        for (left_out, most) in [(4, 0.06), (8, 0.12), (2, 0.15)] {
            let seen: Vec<CollectiveTiming> = timings
                .iter()
                .filter(|timing| timing.gpus != left_out && CollectiveModel::SIZES.contains(&timing.bytes))
                .copied()
                .collect();
            let model = CollectiveModel::fit(&seen).unwrap();
            let held = timings.iter().filter(|timing| timing.gpus == left_out);
            let rows = held.map(|timing| (model.time(timing.operation, timing.gpus, timing.bytes), timing.time));
            let score = Score::of("collective", &device, None, seen.len(), rows).unwrap();
            println!(
                "{name} without {left_out}: median {:.2} %, p90 {:.2} %, bias {:+.2} %, inside {:.1} %",
                score.median_error * 100.0,
                score.p90_error * 100.0,
                score.median_bias * 100.0,
                score.inside_interval * 100.0
            );
            assert!(score.median_error <= most && score.inside_interval >= 0.85, "{score:?}");
        }
    }
}

/// What documents alone say of a machine holds within its wide interval.
#[test]
fn assumed_machines_lie_in_their_interval() {
    let catalog = Catalog::embedded().unwrap();
    for (name, gpu) in [("collective_h100_sxm.csv", "H100 SXM"), ("collective_a100_sxm.csv", "A100 SXM 80GB")] {
        let Some(path) = published::path(name) else { continue };
        let (device, timings) = timings(&path);
        let model = CollectiveModel::assumed(&Interconnect::of(catalog.gpu(gpu).unwrap(), &catalog)).unwrap();
        let rows = timings.iter().map(|timing| (model.time(timing.operation, timing.gpus, timing.bytes), timing.time));
        let score = Score::of("collective", &device, None, 0, rows).unwrap();
        println!(
            "{name} assumed: median {:.1} %, p90 {:.1} %, bias {:+.1} %, inside {:.1} %",
            score.median_error * 100.0,
            score.p90_error * 100.0,
            score.median_bias * 100.0,
            score.inside_interval * 100.0
        );
        assert!(score.median_error <= 0.27 && (0.85..=1.0).contains(&score.inside_interval), "{score:?}");
    }
}
