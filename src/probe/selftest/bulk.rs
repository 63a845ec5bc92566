//! Checks of the kernels that move data by bulk copies.

use super::super::rig::Bench;
use super::movement::{cleared_sink, compare_sums, over_sizes, pattern};
use super::{Exam, Finding, first_wrong};
use crate::gpu::reference::read_checksum;
use crate::gpu::{BulkCopy, BulkRead, BulkWrite, Float4};

pub(super) const EXAMS: &[Exam] = &[
    Exam { name: "bulk_read", possible, run: read },
    Exam { name: "bulk_write", possible, run: write },
    Exam { name: "bulk_copy", possible, run: copy },
];

fn possible(bench: &Bench) -> bool {
    bench.gpu.has_kernel::<BulkCopy<'_>>()
}

fn read(bench: &Bench, seed: u64) -> Finding {
    over_sizes(|vectors| {
        let (array, words) = pattern(bench, vectors, seed)?;
        let sink = cleared_sink(bench)?;
        bench.launch(&BulkRead { a: array.input(), vectors, sink: sink.output() })?;
        compare_sums(bench, &sink, read_checksum(words))
    })
}

fn write(bench: &Bench, _: u64) -> Finding {
    over_sizes(|vectors| {
        let array = bench.gpu.allocate_elements::<Float4>(vectors)?;
        bench.stream.set(array.view::<u8>(), 0xff)?;
        bench.launch(&BulkWrite { a: array.output(), vectors, value: -1.1 })?;
        let found = array.read::<f32>(&bench.stream, vectors * 4)?;
        Ok(first_wrong(&found, |_| -1.1, |found, expected| found.to_bits() != expected.to_bits()))
    })
}

fn copy(bench: &Bench, seed: u64) -> Finding {
    over_sizes(|vectors| {
        let (array, words) = pattern(bench, vectors, seed)?;
        let result = bench.gpu.allocate_elements::<Float4>(vectors)?;
        bench.stream.set(result.view::<u8>(), 0xff)?;
        bench.launch(&BulkCopy { a: array.input(), c: result.output(), vectors })?;
        let found = result.read::<u32>(&bench.stream, vectors * 4)?;
        Ok(first_wrong(&found, |index| words[index as usize], |found, expected| found != expected))
    })
}
