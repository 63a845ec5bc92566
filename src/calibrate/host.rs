//! What the processors, their memory and the disk were found to do.

use std::collections::BTreeMap;

use super::{Source, best, least};
use crate::figure::Figure;
use crate::measure::Measurement;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Seconds};

/// The processors and their memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostCalibration {
    /// Best memory rate by mechanism (`copy`, `scale`, `add`, `triad`), counted as STREAM does.
    pub memory: BTreeMap<String, Figure<BytesPerSecond>>,
    /// Best triad rate of each NUMA node by its own processors, where that was measured.
    pub nodes: BTreeMap<u32, Figure<BytesPerSecond>>,
    /// Best rate of matrix products by data type (`f32`, `bf16`).
    pub matmul: BTreeMap<String, Figure<FlopsPerSecond>>,
}

/// The disk that was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StorageCalibration {
    /// Sequential read, past the page cache.
    pub read: Option<Figure<BytesPerSecond>>,
    /// Sequential write, past the page cache.
    pub write: Option<Figure<BytesPerSecond>>,
    /// Random reads of one small block, as a rate, with as many under way as was fastest.
    pub random_read: Option<Figure<BytesPerSecond>>,
    /// Size of that block.
    pub random_block: Option<Bytes>,
    /// Time of one such read with no other under way.
    pub random_latency: Option<Figure<Seconds>>,
}

impl HostCalibration {
    pub(super) fn new(source: &Source<'_>) -> Self {
        let whole = |m: &Measurement| m.case.get("node").is_none();
        let memory = [("copy", "host.copy"), ("scale", "host.scale"), ("add", "host.add"), ("triad", "host.triad")];
        let mut nodes = BTreeMap::new();
        for measurement in source.run.of("host.triad") {
            let node = measurement.case.get_count("node").and_then(|node| u32::try_from(node).ok());
            if let Some((node, rate)) = node.zip(source.bandwidth(measurement)) {
                let kept = nodes.remove(&node);
                nodes.extend(best([Some(rate), kept].into_iter().flatten()).map(|rate| (node, rate)));
            }
        }
        let mut matmul = BTreeMap::new();
        for dtype in ["f32", "bf16"] {
            let rate = best(source.of("host.gemm", move |m| m.case.get_word("dtype") == Some(dtype)).filter_map(|m| source.throughput(m)));
            matmul.extend(rate.map(|rate| (dtype.to_owned(), rate)));
        }
        Self {
            memory: memory
                .into_iter()
                .filter_map(|(name, mechanism)| {
                    let rate = best(source.of(mechanism, whole).filter_map(|m| source.bandwidth(m)))?;
                    Some((name.to_owned(), rate))
                })
                .collect(),
            nodes,
            matmul,
        }
    }

    /// The triad rate: what is usually called memory bandwidth.
    pub fn triad(&self) -> Option<&Figure<BytesPerSecond>> {
        self.memory.get("triad")
    }
}

impl StorageCalibration {
    pub(super) fn new(source: &Source<'_>) -> Self {
        // With several requests under way, the time per request is not what one of them waits.
        let alone = |m: &Measurement| m.case.get_count("depth").is_none_or(|depth| depth == 1);
        let rate = |mechanism| best(source.run.of(mechanism).filter_map(|m| source.bandwidth(m)));
        Self {
            read: rate("storage.read"),
            write: rate("storage.write"),
            random_read: rate("storage.random_read"),
            random_block: source.run.of("storage.random_read").find_map(|m| m.case.get_bytes("bytes")),
            random_latency: least(source.of("storage.random_read", alone).filter_map(|m| source.latency(m))),
        }
    }

    /// Random reads per second.
    pub fn random_reads_per_second(&self) -> Option<Figure<f64>> {
        let block = self.random_block.filter(|block| block.0 > 0)?;
        Some(self.random_read.as_ref()?.map(|rate| rate.0 / block.as_f64()))
    }
}
