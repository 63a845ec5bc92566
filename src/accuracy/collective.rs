//! Collective operations: columns `device, op, gpus, bytes, latency_us`, `bytes` counted as nccl-tests does.

use std::path::Path;

use serde::Deserialize;

use super::{Score, read};
use crate::calibrate::collective::{Collective, CollectiveModel, CollectiveTiming};
use crate::error::{Error, Result};
use crate::units::{Bytes, Seconds};

#[derive(Debug, Deserialize)]
struct Row {
    device: String,
    op: String,
    gpus: u32,
    bytes: u64,
    latency_us: f64,
}

/// The sizes that a calibration of so many per operation and GPU count would measure: [`CollectiveModel::SIZES`] for eight. The ends are always
/// the same; the others are evenly spaced, in logarithms, where libraries change their protocols. Empty below two.
pub fn sizes(points: usize) -> Vec<Bytes> {
    let [first, second, .., before, last] = CollectiveModel::SIZES;
    let inner = points.saturating_sub(2);
    let step = (before.as_f64() / second.as_f64()).ln() / inner.saturating_sub(1).max(1) as f64;
    let start = if inner == 1 { (second.as_f64() * before.as_f64()).sqrt() } else { second.as_f64() };
    let between = (0..inner).map(|index| Bytes((start * (step * index as f64).exp()).round() as u64));
    if points < 2 { Vec::new() } else { std::iter::once(first).chain(between).chain([last]).collect() }
}

/// The score of each device in the file at `path` over all operations, and of each operation as its parts. Of every operation and GPU count at
/// most `points` rows enter the fit: those nearest in size to [`sizes`].
///
/// # Errors
/// Where the file cannot be read, names an operation that is not known, or holds a time that is none; with fewer than two points.
pub fn evaluate(path: &Path, points: usize) -> Result<Vec<Score>> {
    if points < 2 {
        return Err(Error::usage("expected at least 2 points for a curve over sizes"));
    }
    let rows: Vec<Row> = read(path)?;
    let content = |why: String| Error::Content {
        path: path.to_owned(),
        why,
        remedy: "give times of all_reduce, all_gather, reduce_scatter, alltoall or sendrecv in microseconds".to_owned(),
    };
    let mut devices: Vec<(String, Vec<CollectiveTiming>)> = Vec::new();
    for row in rows {
        let operation = Collective::named(&row.op).ok_or_else(|| content(format!("expected an operation but found {:?}", row.op)))?;
        if !(row.latency_us > 0.0 && row.latency_us.is_finite() && row.bytes > 0 && row.gpus >= 2) {
            return Err(content(format!("expected two GPUs, a size and a time but found {row:?}")));
        }
        let timing = CollectiveTiming { operation, gpus: row.gpus, bytes: Bytes(row.bytes), time: Seconds(row.latency_us * 1e-6) };
        match devices.iter_mut().find(|(device, _)| *device == row.device) {
            Some((_, timings)) => timings.push(timing),
            None => devices.push((row.device, vec![timing])),
        }
    }
    Ok(devices.iter().filter_map(|(device, timings)| score(device, timings, points)).collect())
}

fn score(device: &str, timings: &[CollectiveTiming], points: usize) -> Option<Score> {
    let (seen, held): (Vec<CollectiveTiming>, Vec<CollectiveTiming>) = split(timings, &sizes(points));
    let model = CollectiveModel::fit(&seen)?;
    let of = |part: Option<Collective>| {
        let wanted = |timing: &&CollectiveTiming| part.is_none_or(|operation| timing.operation == operation);
        let used = seen.iter().filter(wanted).count();
        let rows = held.iter().filter(wanted).map(|timing| (model.time(timing.operation, timing.gpus, timing.bytes), timing.time));
        Score::of("collective", device, part.map(|operation| operation.name().to_owned()), used, rows)
    };
    let parts = Collective::ALL.into_iter().filter_map(|operation| of(Some(operation))).collect();
    of(None).map(|all| Score { parts, ..all })
}

/// The timings whose size is, within their operation and count, the nearest there is to one of `sizes`; and the others.
fn split(timings: &[CollectiveTiming], sizes: &[Bytes]) -> (Vec<CollectiveTiming>, Vec<CollectiveTiming>) {
    let distance = |timing: &CollectiveTiming, size: Bytes| (timing.bytes.as_f64() / size.as_f64()).ln().abs();
    let chosen = |timing: &&CollectiveTiming| {
        let peers = || timings.iter().filter(|other| (other.operation, other.gpus) == (timing.operation, timing.gpus));
        sizes.iter().any(|&size| {
            let nearest = peers().min_by(|a, b| distance(a, size).total_cmp(&distance(b, size)));
            nearest.is_some_and(|nearest| nearest.bytes == timing.bytes)
        })
    };
    timings.iter().partition::<Vec<_>, _>(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_points_are_the_sizes_that_a_calibration_measures() {
        assert_eq!(sizes(8), CollectiveModel::SIZES);
        assert_eq!(sizes(2), [Bytes(512), Bytes::mib(512)]);
        assert_eq!(sizes(3), [Bytes(512), Bytes::kib(512), Bytes::mib(512)]);
        assert_eq!(sizes(4).len(), 4);
        assert!(sizes(1).is_empty() && sizes(40).windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn rows_are_chosen_by_size_alone_and_the_others_are_scored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collective.csv");
        let mut text = "device,op,gpus,bytes,latency_us\n".to_owned();
        for (op, gpus, bytes) in ["all_reduce", "alltoall"]
            .into_iter()
            .flat_map(|op| [2u32, 8].map(|gpus| (op, gpus)))
            .flat_map(|(op, gpus)| (9..30).map(move |power| (op, gpus, 1u64 << power)))
        {
            text.push_str(&format!("an accelerator,{op},{gpus},{bytes},{}\n", 5.0 + f64::from(gpus) + bytes as f64 / 2e5));
        }
        std::fs::write(&path, &text).unwrap();
        let scores = evaluate(&path, 8).unwrap();
        assert_eq!(scores.len(), 1);
        let all = scores.iter().chain(&scores[0].parts);
        let found: Vec<_> = all.map(|score| (score.part.as_deref(), score.points_used, score.rows)).collect();
        assert_eq!(found, [(None, 32, 52), (Some("all_reduce"), 16, 26), (Some("all_to_all"), 16, 26)]);
        assert!(scores[0].p90_error < 0.05 && scores[0].extrapolated == 0.0 && scores[0].inside_interval > 0.9, "{scores:?}");
        assert!(evaluate(&path, 1).is_err());
        std::fs::write(&path, text.replace("alltoall", "broadcast")).unwrap();
        assert!(evaluate(&path, 8).unwrap_err().to_string().contains("broadcast"));
        std::fs::write(&path, "device,op,gpus,bytes,latency_us\nx,all_reduce,2,512,NaN\n").unwrap();
        assert!(evaluate(&path, 8).is_err());
    }
}
