//! Attention beside what NVIDIA measured with TensorRT-LLM, from a folder outside the repository.
//!
//! Two dozen rows nearest to the calibration's shapes stand in for a measurement of the machine; the model is judged on all the others.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod published;

use gpu_assay::accuracy::{Score, attention};
use gpu_assay::catalog::Catalog;

/// The score of one file, printed, or `None` where there is no such file.
fn score(name: &str, points: usize) -> Option<Score> {
    let path = published::path(name)?;
    let mut scores = attention::evaluate(&path, &Catalog::embedded().unwrap(), points).unwrap();
    assert_eq!(scores.len(), 1, "one device, one kind of step");
    let score = scores.remove(0);
    println!(
        "{name} from {points} points: {} rows, median {:.2} %, p90 {:.2} %, worst {:.0} %, bias {:+.2} %, inside {:.1} %, beyond {:.1} %",
        score.rows,
        score.median_error * 100.0,
        score.p90_error * 100.0,
        score.worst_error * 100.0,
        score.median_bias * 100.0,
        score.inside_interval * 100.0,
        score.extrapolated * 100.0,
    );
    assert_eq!(score.points_used, points);
    Some(score)
}

/// What was reached, with a small margin, and far below what is required: 5 % and 15 %.
fn assert_within(score: &Score, median: f64, p90: f64) {
    assert!(score.median_error <= median && score.p90_error <= p90, "{score:?}");
    assert!((0.85..=0.97).contains(&score.inside_interval), "{score:?}");
}

#[test]
fn prefill_of_an_h100() {
    let Some(score) = score("attention_context_h100_sxm.csv", 24) else { return };
    assert_within(&score, 0.040, 0.10);
}

#[test]
fn decoding_on_an_h100() {
    let Some(score) = score("attention_generation_h100_sxm.csv", 24) else { return };
    assert_within(&score, 0.042, 0.13);
}

#[test]
fn half_the_points_are_little_worse() {
    let Some(score) = score("attention_context_h100_sxm.csv", 12) else { return };
    assert!(score.median_error < 0.06 && score.p90_error < 0.15, "{score:?}");
    let Some(score) = self::score("attention_generation_h100_sxm.csv", 12) else { return };
    assert!(score.median_error < 0.06 && score.p90_error < 0.18, "{score:?}");
}
