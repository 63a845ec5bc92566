//! Bandwidth of device memory, by the operations of STREAM (McCalpin) and by pure reading and writing.
//!
//! | case | operation | bytes counted, for arrays of `bytes` | reads : writes |
//! |---|---|---|---|
//! | `read` | checksum of a | 1 × | 1 : 0 |
//! | `write` | a = value | 1 × | 0 : 1 |
//! | `copy` | c = a | 2 × | 1 : 1 |
//! | `scale` | b = s·c | 2 × | 1 : 1 |
//! | `add` | c = a + b | 3 × | 2 : 1 |
//! | `triad` | a = b + s·c | 3 × | 2 : 1 |
//!
//! The mix matters because memory pays for each turn from reading to writing.
//!
//! The kernels access 16 bytes at a time; what they move is payload, without the memory's own overhead. Arrays are at least four times the
//! second-level cache, so that an iteration finds nothing of the one before. A rate above the bus's ceiling is rejected.
//!
//! **Every element is checked.** A copied array holds an address-dependent pattern and is compared with it. The floating-point operations are
//! fed numbers for which their result can be generated anew, bit for bit: with u uniform in [−1, 1), u + u/2 and u + 2·(u/4) both round
//! 1.5·u once, and so does filling an array with uniform numbers of scale 1.5. What was read cannot be compared, so it is folded into
//! a checksum that the host knows: an xor, so that each bit of each word counts.

use super::facts::{gpu_on, l2, memory_ceiling, needs_gpu, power_of_two_below, size, unknown, usable};
use super::rig::{Bench, VECTOR, operation, too_large};
use super::{Effort, Lab, Probe};
use crate::error::Result;
use crate::gpu::{
    BulkCopy, BulkRead, BulkWrite, DeviceBuffer, FillUniformF32, StreamAdd, StreamCopy, StreamRead, StreamScale, StreamTriad, StreamWrite,
};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Trial, Waiver, Work};
use crate::units::Bytes;

/// Arrays must be this many times the second-level cache.
const CACHES: u64 = 4;

/// Most arrays an operation uses; the checks of those that use fewer need the rest.
const ARRAYS: u64 = 3;

/// The byte that `write` writes: any but zero, and the same four times makes an ordinary float, 0.747.
const WRITTEN: u8 = 0x3f;

/// The `dram` probe.
pub(super) struct Dram;

/// How a kernel reaches memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Loads and stores of 16 bytes by each thread.
    Vectors,
    /// Bulk copies through shared memory, of which there are fewer operations.
    Bulk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Copy,
    Scale,
    Add,
    Triad,
}

impl Operation {
    const ALL: [Self; 6] = [Self::Read, Self::Write, Self::Copy, Self::Scale, Self::Add, Self::Triad];

    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Copy => "copy",
            Self::Scale => "scale",
            Self::Add => "add",
            Self::Triad => "triad",
        }
    }

    /// Arrays that one iteration reads or writes.
    const fn arrays(self) -> u64 {
        match self {
            Self::Read | Self::Write => 1,
            Self::Copy | Self::Scale => 2,
            Self::Add | Self::Triad => 3,
        }
    }

    const fn data(self) -> &'static str {
        match self {
            Self::Read | Self::Copy => "random bits",
            Self::Write => "constant",
            Self::Scale | Self::Add | Self::Triad => "uniform in [-1, 1)",
        }
    }
}

/// An array of this many times the second-level cache leaves what survives in it from one iteration to the next below the noise; smaller
/// arrays are for devices that have no room for that.
const AMPLE_CACHES: u64 = 16;

/// Sizes of one array: 1 GiB where that is ample and 4 GiB, a third of what may be used where there is time, or what fits, rounded down to an eighth of a power of two: a small device with a large cache may not
/// have room for the next power.
pub(super) fn sizes(gpu: &Gpu, effort: Effort) -> Vec<Bytes> {
    let room = usable(gpu) / ARRAYS;
    let fitting = [Bytes::gib(1), Bytes::gib(4)].into_iter().filter(|bytes| *bytes <= room && *bytes >= l2(gpu) * AMPLE_CACHES);
    let mut fitting: Vec<Bytes> = fitting.take(if effort == Effort::Quick { 1 } else { 2 }).collect();
    if !fitting.is_empty() {
        let most = room.round_down_to(power_of_two_below(room) / 8);
        // Memory at its far end may be slower, or not there.
        fitting.extend((effort == Effort::Thorough && fitting.iter().all(|size| most > *size)).then_some(most));
        return fitting;
    }
    let room = room.min(Bytes::gib(4));
    vec![room.round_down_to((power_of_two_below(room) / 8).max(Bytes::KIB)).max(Bytes::mib(1))]
}

impl Probe for Dram {
    fn name(&self) -> &'static str {
        "dram"
    }

    fn about(&self) -> &'static str {
        "bandwidth of device memory: read, write, copy, scale, add, triad"
    }

    fn needs(&self, machine: &Machine) -> Result<(), Waiver> {
        needs_gpu(machine)
    }

    fn cases(&self, machine: &Machine, effort: Effort) -> Vec<Case> {
        let mut cases = Vec::new();
        for gpu in &machine.gpus {
            for bytes in sizes(gpu, effort) {
                cases.extend(Operation::ALL.map(|operation| {
                    Case::new(&format!("dram.{}", operation.name())).bytes("bytes", bytes).count("gpu", u64::from(gpu.index))
                }));
            }
        }
        cases
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let gpu = gpu_on(lab.machine, case, "gpu")?;
        let bytes = size(case, "bytes")?;
        let name = operation(case)?;
        let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name).ok_or_else(|| unknown(case))?;
        let needed = needed(gpu, bytes);
        if needed > usable(gpu) || bytes < l2(gpu) * CACHES {
            return Ok(too_large(case, needed, usable(gpu)));
        }
        let bench = lab.bench(gpu.index)?;
        let mut trial = Streaming::new(&bench, operation, Access::Vectors, bytes, lab)?;
        let plan = lab.plan(1.0).with_bandwidth_ceiling(memory_ceiling(gpu));
        let conditions = trial.conditions();
        lab.time_gated(case, gpu.index, &bench, &mut trial, &plan, conditions)
    }
}

/// Memory that a case with arrays of `bytes` takes: arrays that a cache could hold make no case.
pub(super) fn needed(gpu: &Gpu, bytes: Bytes) -> Bytes {
    bytes.max(l2(gpu) * CACHES) * ARRAYS
}

/// One operation over its arrays.
pub(super) struct Streaming {
    bench: Bench,
    operation: Operation,
    access: Access,
    arrays: [DeviceBuffer; ARRAYS as usize],
    sink: DeviceBuffer,
    vectors: u64,
    seed: u64,
    iterations: u64,
    checksum: [u32; 4],
}

impl Streaming {
    pub(super) fn new(bench: &Bench, operation: Operation, access: Access, bytes: Bytes, lab: &mut Lab<'_>) -> Result<Self> {
        let array = || bench.gpu.allocate(bytes);
        let checksum = if operation == Operation::Read { lab.rig.checksum(bytes.0 / 8, lab.seed) } else { [0; 4] };
        let trial = Self {
            bench: bench.clone(),
            operation,
            access,
            arrays: [array()?, array()?, array()?],
            sink: bench.gpu.allocate_elements::<u32>(4)?,
            vectors: bytes.0 / VECTOR.0,
            seed: lab.seed,
            iterations: 0,
            checksum,
        };
        trial.prepare()?;
        Ok(trial)
    }

    /// How it is done, for the record.
    pub(super) fn conditions(&self) -> [(&'static str, String); 5] {
        let access = if self.access == Access::Bulk { "bulk" } else { "16 bytes" };
        [
            ("engine", "sm".into()),
            ("access", access.into()),
            ("data", self.operation.data().into()),
            ("seed", self.seed.to_string()),
            ("rotation", "none: arrays exceed the cache".into()),
        ]
    }

    /// Fill what is read, and clear what is written so that an earlier right answer cannot pass for this one.
    fn prepare(&self) -> Result<()> {
        let Self { bench, arrays: [a, b, c], .. } = self;
        for array in [a, b, c, &self.sink] {
            bench.stream.set(array.view::<u8>(), 0)?;
        }
        match self.operation {
            Operation::Read | Operation::Copy => bench.fill(a.view(), self.seed),
            Operation::Write => Ok(()),
            Operation::Scale => self.uniform(c, 1.0),
            Operation::Add => self.uniform(a, 1.0).and_then(|()| self.uniform(b, 0.5)),
            Operation::Triad => self.uniform(b, 1.0).and_then(|()| self.uniform(c, 0.25)),
        }
    }

    fn uniform(&self, array: &DeviceBuffer, scale: f32) -> Result<()> {
        let out = array.view::<f32>();
        self.bench.launch(&FillUniformF32 { out: out.into(), n: out.len(), seed: self.seed, scale })
    }

    fn once(&self) -> Result<()> {
        let Self { bench, arrays: [a, b, c], vectors, .. } = self;
        let vectors = *vectors;
        let value = f32::from_ne_bytes([WRITTEN; 4]);
        match self.operation {
            Operation::Read if self.access == Access::Bulk => bench.launch(&BulkRead { a: a.input(), vectors, sink: self.sink.output() }),
            Operation::Write if self.access == Access::Bulk => bench.launch(&BulkWrite { a: a.output(), vectors, value }),
            Operation::Copy if self.access == Access::Bulk => bench.launch(&BulkCopy { a: a.input(), c: c.output(), vectors }),
            Operation::Read => bench.launch(&StreamRead { a: a.input(), vectors, sink: self.sink.output() }),
            Operation::Write => bench.launch(&StreamWrite { a: a.output(), vectors, value }),
            Operation::Copy => bench.launch(&StreamCopy { a: a.input(), c: c.output(), vectors }),
            Operation::Scale => bench.launch(&StreamScale { c: c.input(), b: b.output(), vectors, s: 1.5 }),
            Operation::Add => bench.launch(&StreamAdd { a: a.input(), b: b.input(), c: c.output(), vectors }),
            Operation::Triad => bench.launch(&StreamTriad { b: b.input(), c: c.input(), a: a.output(), vectors, s: 2.0 }),
        }
    }

    /// The checksums cancel in pairs: an odd count leaves the array's own, an even one zero, after which one more run is checked by itself.
    fn check_read(&self) -> Result<Option<String>> {
        let odd = self.iterations % 2 == 1;
        let timed = self.sink.read::<u32>(&self.bench.stream, 4)?;
        let expected = if odd { self.checksum } else { [0; 4] };
        self.bench.stream.set(self.sink.view::<u8>(), 0)?;
        self.once()?;
        let again = self.sink.read::<u32>(&self.bench.stream, 4)?;
        let wrong = |found: &[u32], expected: [u32; 4]| {
            (*found != expected).then(|| format!("expected the checksum {expected:08x?} but found {found:08x?}"))
        };
        Ok(wrong(&timed, expected).or_else(|| wrong(&again, self.checksum)))
    }
}

impl Trial for Streaming {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for _ in 0..iterations {
            self.once()?;
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(VECTOR * self.vectors * self.operation.arrays())
    }

    fn check(&mut self) -> Result<Option<String>> {
        let [a, b, c] = &self.arrays;
        match self.operation {
            Operation::Read => self.check_read(),
            Operation::Copy => self.bench.verify(c.view(), self.seed),
            Operation::Write => {
                self.bench.stream.set(c.view::<u8>(), WRITTEN)?;
                self.bench.verify_equal(a, c)
            }
            Operation::Scale => self.uniform(a, 1.5).and_then(|()| self.bench.verify_equal(b, a)),
            Operation::Add => self.uniform(a, 1.5).and_then(|()| self.bench.verify_equal(c, a)),
            Operation::Triad => self.uniform(b, 1.5).and_then(|()| self.bench.verify_equal(a, b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::gpu;
    use super::*;

    #[test]
    fn arrays_fit_and_exceed_the_cache() {
        let large = gpu(0, Bytes::gib(80), Bytes::mib(50));
        assert_eq!(sizes(&large, Effort::Quick), [Bytes::gib(1)]);
        assert_eq!(sizes(&large, Effort::Standard), [Bytes::gib(1), Bytes::gib(4)]);
        assert_eq!(
            sizes(&large, Effort::Thorough),
            [Bytes::gib(1), Bytes::gib(4), Bytes::gib(15)],
            "a third of 48 GiB, less what percents round off"
        );
        let cached = gpu(0, Bytes::gib(180), Bytes::mib(126));
        assert_eq!(sizes(&cached, Effort::Quick), [Bytes::gib(4)], "1 GiB is only eight times this cache");
        assert_eq!(sizes(&cached, Effort::Standard), [Bytes::gib(4)]);
        let small = gpu(0, Bytes::mib(1024), Bytes::mib(4));
        assert_eq!(sizes(&small, Effort::Standard), [Bytes::mib(192)], "60 % of 1 GiB is 614 MiB, a third of that 204");
        let full = gpu(0, Bytes(0), Bytes::mib(50));
        assert_eq!(sizes(&full, Effort::Standard).len(), 1, "the case exists, and is waived");
    }

    #[test]
    fn the_sums_round_once_to_the_numbers_of_scale_one_and_a_half() {
        for i in (-(1i32 << 23)..1 << 23).step_by(4099) {
            let u = i as f32 / (1 << 23) as f32;
            let expected = u * 1.5;
            assert_eq!((u + 0.5 * u).to_bits(), expected.to_bits(), "add of {u}");
            assert_eq!((0.25 * u).mul_add(2.0, u).to_bits(), expected.to_bits(), "triad of {u}");
        }
    }

    #[test]
    fn what_is_written_is_one_byte_repeated() {
        let value = f32::from_ne_bytes([WRITTEN; 4]);
        assert!(value > 0.7 && value < 0.8);
    }
}
