//! Attention: columns `device, batch_size, isl, num_heads, num_key_value_heads, head_dim, latency_us`, and `step` where it is decoding,
//! whose context is `isl + step`.

use std::path::Path;

use serde::Deserialize;

use super::{Score, read};
use crate::calibrate::attention::{AttentionModel, AttentionShape, AttentionTiming, design};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::units::Seconds;

#[derive(Debug, Deserialize)]
struct Row {
    device: String,
    batch_size: u64,
    isl: u64,
    step: Option<u64>,
    num_heads: u64,
    num_key_value_heads: u64,
    head_dim: u64,
    latency_us: f64,
}

impl Row {
    fn timing(&self) -> AttentionTiming {
        let (batch, heads, kv_heads) = (self.batch_size, self.num_heads, self.num_key_value_heads);
        let shape = match self.step {
            Some(step) => AttentionShape::decode(batch, self.isl.saturating_add(step), heads, kv_heads, self.head_dim),
            None => AttentionShape::prefill(batch, self.isl, heads, kv_heads, self.head_dim),
        };
        AttentionTiming { shape, time: Seconds(self.latency_us / 1e6) }
    }
}

/// The score of every device in the file at `path`, prefill or decoding, fitted to at most `points` rows each: those nearest to the shapes
/// that a calibration measures. Rows without a positive time are left out.
///
/// # Errors
/// Where the file cannot be read or names a device that the catalog does not know.
pub fn evaluate(path: &Path, catalog: &Catalog, points: usize) -> Result<Vec<Score>> {
    let rows: Vec<Row> = read(path)?;
    let mut devices: Vec<&str> = Vec::new();
    for row in &rows {
        if !devices.contains(&row.device.as_str()) {
            devices.push(&row.device);
        }
    }
    let mut scores = Vec::new();
    for device in devices {
        let of_device = |decoding: bool| rows.iter().filter(move |row| row.device == device && row.step.is_some() == decoding);
        for (part, decoding, design) in [("prefill", false, design::prefill()), ("decode", true, design::decode())] {
            let timed = of_device(decoding).map(Row::timing).filter(|timing| timing.time.0 > 0.0 && timing.time.0.is_finite());
            let timings: Vec<AttentionTiming> = timed.collect();
            if !timings.is_empty() {
                let wanted = &design[..points.min(design.len())];
                scores.extend(score(device, part, &timings, wanted, catalog)?);
            }
        }
    }
    Ok(scores)
}

fn score(device: &str, part: &str, timings: &[AttentionTiming], wanted: &[AttentionShape], catalog: &Catalog) -> Result<Option<Score>> {
    let unknown = |why: &str| Error::Usage(format!("{why} of {device:?}, which the file names; add it with --catalog FILE"));
    let gpu = catalog.device(device, None).ok_or_else(|| unknown("the catalog knows nothing"))?;
    let shapes: Vec<AttentionShape> = timings.iter().map(|timing| timing.shape).collect();
    let used = design::nearest(wanted, &shapes);
    let fitted: Vec<AttentionTiming> = used.iter().map(|&index| timings[index]).collect();
    let model = AttentionModel::fit(gpu, &fitted).ok_or_else(|| unknown("the catalog lacks SMs or a 16-bit peak"))?;
    let others = timings.iter().enumerate().filter(|(index, _)| !used.contains(index));
    let predicted = others.map(|(_, timing)| (model.time(&timing.shape), timing.time));
    Ok(Score::of("attention", device, Some(part.to_owned()), used.len(), predicted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::attention::AttentionModel;

    /// A file of what the model itself says of the H100, `slower` times over.
    fn written(folder: &Path, device: &str, slower: f64) -> std::path::PathBuf {
        let catalog = Catalog::embedded().unwrap();
        let model = AttentionModel::assumed(catalog.gpu("H100 SXM").unwrap()).unwrap();
        let mut text = "device,batch_size,isl,step,num_heads,num_key_value_heads,head_dim,latency_us\n".to_owned();
        for batch in [1, 4, 32, 256, 1024] {
            for step in [1, 15, 255, 4095] {
                for (heads, kv_heads, head_dim) in [(8, 8, 64), (8, 8, 128), (32, 4, 128), (64, 2, 256)] {
                    let time = model.time(&AttentionShape::decode(batch, 1 + step, heads, kv_heads, head_dim)).time.0 * 1e6 * slower;
                    text += &format!("{device},{batch},1,{step},{heads},{kv_heads},{head_dim},{time}\n");
                }
            }
        }
        let path = folder.join("generation.csv");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_slower_machine_is_found_from_a_few_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), "NVIDIA H100 80GB HBM3", 1.5);
        let scores = evaluate(&path, &Catalog::embedded().unwrap(), 24).unwrap();
        let [score] = &scores[..] else { panic!("{scores:?}") };
        assert_eq!((score.kind, score.part.as_deref(), score.points_used, score.rows), ("attention", Some("decode"), 24, 56));
        assert!(score.median_error < 0.05 && score.p90_error < 0.1, "{score:?}");
        // Nothing stands in for a measurement, so the machine is taken for a typical one.
        let unfitted = &evaluate(&path, &Catalog::embedded().unwrap(), 0).unwrap()[0];
        assert!((unfitted.median_error - 1.0 / 3.0).abs() < 1e-3 && unfitted.rows == 80, "{unfitted:?}");
    }

    #[test]
    fn an_unknown_device_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = evaluate(&written(folder.path(), "NVIDIA Z1", 1.0), &Catalog::embedded().unwrap(), 24).unwrap_err();
        assert_eq!(error.to_string(), "the catalog knows nothing of \"NVIDIA Z1\", which the file names; add it with --catalog FILE");
    }
}
