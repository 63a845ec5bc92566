//! Matrix products beside what NVIDIA measured with TensorRT-LLM, from a folder outside the repository.
//!
//! The 64 rows nearest to the calibration's design stand in for a measurement of the machine; the model is judged on all the others.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod published;

use gpu_assay::accuracy::{Score, gemm};
use gpu_assay::catalog::Catalog;

/// Scores of a file, printed; none where there is no such file.
fn scores(name: &str, points: usize) -> Vec<Score> {
    let Some(path) = published::path(name) else { return Vec::new() };
    let scores = gemm::evaluate(&path, &Catalog::embedded().unwrap(), None, points).unwrap();
    for score in &scores {
        println!(
            "{} {} from {points}: {} rows, median {:.2} %, p90 {:.2} %, worst {:.0} %, bias {:+.2} %, inside {:.1} %",
            score.device,
            score.part.as_deref().unwrap_or(""),
            score.rows,
            score.median_error * 100.0,
            score.p90_error * 100.0,
            score.worst_error * 100.0,
            score.median_bias * 100.0,
            score.inside_interval * 100.0,
        );
        assert_eq!(score.points_used, points);
    }
    scores
}

/// What is reached, with a small margin. Required are 5 and 15 % on H100 and A100, 8 and 25 % on L40S, whose second-level cache holds most
/// operands between repetitions.
#[test]
fn sixty_four_shapes_predict_all_others() {
    let reached = [
        ("gemm_h100_sxm.csv", "bf16", 0.041, 0.125),
        ("gemm_h100_sxm.csv", "fp8", 0.026, 0.092),
        ("gemm_a100_sxm.csv", "bf16", 0.049, 0.147),
        ("gemm_l40s.csv", "bf16", 0.079, 0.24),
        ("gemm_l40s.csv", "fp8", 0.046, 0.165),
    ];
    for file in ["gemm_h100_sxm.csv", "gemm_a100_sxm.csv", "gemm_l40s.csv"] {
        for score in scores(file, 64) {
            let part = score.part.as_deref();
            let (.., median, p90) = reached.iter().find(|(name, dtype, ..)| *name == file && Some(*dtype) == part).unwrap();
            assert!(score.median_error <= *median && score.p90_error <= *p90, "{score:?}");
            assert!((0.85..=0.97).contains(&score.inside_interval), "{score:?}");
            assert!(score.extrapolated < 0.05, "{score:?}");
        }
    }
}

/// A machine that had time for half of the design loses little.
#[test]
fn half_the_shapes_are_little_worse() {
    for score in scores("gemm_h100_sxm.csv", 32) {
        assert!(score.median_error < 0.06 && score.p90_error < 0.20, "{score:?}");
    }
}
