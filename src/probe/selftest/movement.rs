//! Checks of the kernels that move data: fills, comparisons, streams, caches.

use super::super::rig::{BLOCK, Bench};
use super::super::ring::Ring;
use super::{Exam, Finding, always, first_wrong};
use crate::error::Result;
use crate::gpu::reference::{Distribution, chase_end, pattern_word, random_f32, read_checksum, sweep_checksum};
use crate::gpu::{
    CacheRead, Chase, ChaseL2, DeviceBuffer, Empty, FillPattern, FillUniformF32, Float4, Shape, StreamAdd, StreamCopy, StreamRead,
    StreamScale, StreamTriad, StreamWrite,
};
use crate::units::Bytes;

/// Elements or vectors of an array: one, less than a block's tile, a multiple of every tile, and none of any.
const SIZES: [u64; 4] = [1, 255, 1 << 16, 100_003];

pub(super) const EXAMS: &[Exam] = &[
    Exam { name: "empty", possible: always, run: empty },
    Exam { name: "fill_pattern", possible: always, run: fill_pattern },
    Exam { name: "verify_pattern", possible: always, run: |bench, seed| verify(bench, seed, false) },
    Exam { name: "verify_equal", possible: always, run: |bench, seed| verify(bench, seed, true) },
    Exam { name: "stream_read", possible: always, run: stream_read },
    Exam { name: "stream_write", possible: always, run: |bench, seed| stream(bench, seed, Operation::Write) },
    Exam { name: "stream_copy", possible: always, run: |bench, seed| stream(bench, seed, Operation::Copy) },
    Exam { name: "stream_scale", possible: always, run: |bench, seed| stream(bench, seed, Operation::Scale) },
    Exam { name: "stream_add", possible: always, run: |bench, seed| stream(bench, seed, Operation::Add) },
    Exam { name: "stream_triad", possible: always, run: |bench, seed| stream(bench, seed, Operation::Triad) },
    Exam { name: "cache_read", possible: always, run: cache_read },
    Exam { name: "chase", possible: always, run: |bench, seed| chase(bench, seed, false) },
    Exam { name: "chase_l2", possible: always, run: |bench, seed| chase(bench, seed, true) },
];

fn empty(bench: &Bench, _: u64) -> Finding {
    bench.stream.launch(&Empty {}, Shape::line(1, 32))?;
    bench.stream.synchronize()?;
    Ok((0, None))
}

fn fill_pattern(bench: &Bench, seed: u64) -> Finding {
    over_sizes(|words| {
        let out = bench.gpu.allocate_elements::<u64>(words)?;
        bench.launch(&FillPattern { out: out.output(), words, seed })?;
        let found = out.read::<u64>(&bench.stream, words)?;
        Ok(first_wrong(&found, |index| pattern_word(index, seed), |a, b| a != b))
    })
}

/// The comparing kernels must find nothing in right memory, and exactly the one word that is planted wrong.
fn verify(bench: &Bench, seed: u64, against_copy: bool) -> Finding {
    over_sizes(|words| {
        let mut host: Vec<u64> = (0..words).map(|index| pattern_word(index, seed)).collect();
        let right = bench.gpu.allocate_elements::<u64>(words)?;
        right.write(&bench.stream, &host)?;
        let memory = bench.gpu.allocate_elements::<u64>(words)?;
        let look = || if against_copy { bench.verify_equal(&memory, &right) } else { bench.verify(memory.view(), seed) };
        memory.write(&bench.stream, &host)?;
        if let Some(found) = look()? {
            return Ok(Some(format!("right memory was called wrong: {found}")));
        }
        let planted = words / 2;
        if let Some(word) = host.get_mut(planted as usize) {
            *word ^= 1 << (seed % 64);
        }
        memory.write(&bench.stream, &host)?;
        let expected = format!("1 of {words} words of 8 bytes differ from what was written, the first at byte {}", planted * 8);
        let found = look()?;
        Ok((found.as_ref() != Some(&expected)).then(|| format!("expected to find one planted error ({expected}) but found {found:?}")))
    })
}

fn stream_read(bench: &Bench, seed: u64) -> Finding {
    over_sizes(|vectors| {
        let (array, words) = pattern(bench, vectors, seed)?;
        let sink = cleared_sink(bench)?;
        bench.launch(&StreamRead { a: array.input(), vectors, sink: sink.output() })?;
        compare_sums(bench, &sink, read_checksum(words))
    })
}

fn cache_read(bench: &Bench, seed: u64) -> Finding {
    over_sizes(|vectors| {
        let (array, words) = pattern(bench, vectors, seed)?;
        let sink = cleared_sink(bench)?;
        let (blocks, repeats) = (3, 2);
        bench.stream.launch(&CacheRead { a: array.input(), vectors, repeats, sink: sink.output() }, Shape::line(blocks, BLOCK))?;
        compare_sums(bench, &sink, sweep_checksum(words, u64::from(blocks * repeats)))
    })
}

fn chase(bench: &Bench, seed: u64, past_l1: bool) -> Finding {
    over_sizes(|steps| {
        let ring = Ring::new(Bytes::kib(96), seed);
        let next = bench.gpu.allocate_elements::<u32>(ring.next().len() as u64)?;
        next.write(&bench.stream, ring.next())?;
        let (end, cycles) = (bench.gpu.allocate_elements::<u32>(1)?, bench.gpu.allocate_elements::<u64>(1)?);
        let (next, start) = (next.input(), ring.after(0));
        if past_l1 {
            bench.stream.launch(&ChaseL2 { next, start, steps, end: end.output(), cycles: cycles.output() }, Shape::line(1, 1))?;
        } else {
            bench.stream.launch(&Chase { next, start, steps, end: end.output(), cycles: cycles.output() }, Shape::line(1, 1))?;
        }
        let found = end.read::<u32>(&bench.stream, 1)?;
        let expected = chase_end(ring.next(), start, steps);
        Ok((found.first().copied() != expected).then(|| format!("expected {steps} steps to end at {expected:?} but found {found:?}")))
    })
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Write,
    Copy,
    Scale,
    Add,
    Triad,
}

/// A factor that no product with a short fraction rounds exactly.
const FACTOR: f32 = 1.1;

fn stream(bench: &Bench, seed: u64, operation: Operation) -> Finding {
    over_sizes(|vectors| {
        let n = vectors * 4;
        let array = |seed: u64| -> Result<DeviceBuffer> {
            let array = bench.gpu.allocate_elements::<Float4>(vectors)?;
            bench.launch(&FillUniformF32 { out: array.output(), n, seed, scale: 1.0 })?;
            Ok(array)
        };
        let (first, second, result) = (array(seed)?, array(seed + 1)?, bench.gpu.allocate_elements::<Float4>(vectors)?);
        bench.stream.set(result.view::<u8>(), 0xff)?;
        let (a, b, c) = (first.input(), second.input(), result.output());
        match operation {
            Operation::Write => bench.launch(&StreamWrite { a: c, vectors, value: FACTOR }),
            Operation::Copy => bench.launch(&StreamCopy { a, c, vectors }),
            Operation::Scale => bench.launch(&StreamScale { c: a, b: c, vectors, s: FACTOR }),
            Operation::Add => bench.launch(&StreamAdd { a, b, c, vectors }),
            Operation::Triad => bench.launch(&StreamTriad { b: a, c: b, a: c, vectors, s: FACTOR }),
        }?;
        let found = result.read::<f32>(&bench.stream, n)?;
        let expected = |index: u64| {
            let [x, y] = [seed, seed + 1].map(|seed| random_f32(Distribution::Uniform, index, seed, 1.0));
            match operation {
                Operation::Write => FACTOR,
                Operation::Copy => x,
                Operation::Scale => FACTOR * x,
                Operation::Add => x + y,
                Operation::Triad => FACTOR.mul_add(y, x),
            }
        };
        Ok(first_wrong(&found, expected, |found, expected| found.to_bits() != expected.to_bits()))
    })
}

/// Run a check at each of [`SIZES`], to the first that finds something.
pub(super) fn over_sizes(mut check: impl FnMut(u64) -> Result<Option<String>>) -> Finding {
    let mut compared = 0;
    for size in SIZES {
        compared += size;
        if let Some(wrong) = check(size)? {
            return Ok((compared, Some(format!("at size {size}: {wrong}"))));
        }
    }
    Ok((compared, None))
}

/// An array of `vectors` vectors with a pattern in it, and its 32-bit words.
pub(super) fn pattern(bench: &Bench, vectors: u64, seed: u64) -> Result<(DeviceBuffer, Vec<u32>)> {
    let array = bench.gpu.allocate_elements::<Float4>(vectors)?;
    let words: Vec<u32> =
        (0..2 * vectors).map(|index| pattern_word(index, seed)).flat_map(|word| [word as u32, (word >> 32) as u32]).collect();
    array.write(&bench.stream, &words)?;
    Ok((array, words))
}

pub(super) fn cleared_sink(bench: &Bench) -> Result<DeviceBuffer> {
    let sink = bench.gpu.allocate_elements::<u32>(4)?;
    sink.write(&bench.stream, &[0u32; 4])?;
    Ok(sink)
}

pub(super) fn compare_sums(bench: &Bench, sink: &DeviceBuffer, expected: [u32; 4]) -> Result<Option<String>> {
    let found = sink.read::<u32>(&bench.stream, 4)?;
    Ok((found != expected).then(|| format!("expected the sums {expected:08x?} but found {found:08x?}")))
}
