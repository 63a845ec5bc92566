//! The kernels: their arguments, what they touch, how long they truly take, and their execution on the host.
//!
//! The simple ones are the same source that is compiled for GPUs, run by the C compiler's code. Their results do not depend on the shape of
//! the launch (each file says so), so they are played in the shape that suits the host: in index order, split over the cores. Kernels that
//! add to an accumulator are run on a fresh one, and the difference is then added to the real one; so an unchanged input is read only once.

use crate::code::Cu;
use crate::gemm::{Format, Operand, Product};
use crate::hopper::Hopper;
use crate::machine::Span;
use crate::rates::Pipe;
use crate::scenario::{ProductShape, Tile};

/// How an argument is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pointer,
    U32,
    U64,
    F32,
    /// A tensor map by value: 128 bytes.
    Map,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pointer => "pointer",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::Map => "tensor map",
        }
    }
}

use Kind::{F32, Map as M, Pointer as P, U32, U64};

/// Kernel names and arguments; a test compares this with the sources.
pub(crate) const KERNELS: [(&str, &[Kind]); 63] = [
    ("empty", &[]),
    ("gate", &[P, U64, P]),
    ("fill_pattern", &[P, U64, U64]),
    ("verify_pattern", &[P, U64, U64, P, P]),
    ("verify_equal", &[P, P, U64, P, P]),
    ("fill_uniform_f32", &[P, U64, U64, F32]),
    ("fill_uniform_bf16", &[P, U64, U64, F32]),
    ("fill_uniform_e4m3", &[P, U64, U64, F32]),
    ("fill_uniform_e5m2", &[P, U64, U64, F32]),
    ("fill_normal_f32", &[P, U64, U64, F32]),
    ("fill_normal_bf16", &[P, U64, U64, F32]),
    ("fill_normal_e4m3", &[P, U64, U64, F32]),
    ("fill_normal_e5m2", &[P, U64, U64, F32]),
    ("fill_uniform_f16", &[P, U64, U64, F32]),
    ("fill_uniform_i8", &[P, U64, U64, F32]),
    ("fill_uniform_e2m1", &[P, U64, U64, F32]),
    ("fill_uniform_f64", &[P, U64, U64, F32]),
    ("stream_read", &[P, U64, P]),
    ("stream_write", &[P, U64, F32]),
    ("stream_copy", &[P, P, U64]),
    ("stream_scale", &[P, P, U64, F32]),
    ("stream_add", &[P, P, P, U64]),
    ("stream_triad", &[P, P, P, U64, F32]),
    ("bulk_read", &[P, U64, P]),
    ("bulk_write", &[P, U64, F32]),
    ("bulk_copy", &[P, P, U64]),
    ("cache_read", &[P, U64, U32, P]),
    ("chase", &[P, U32, U64, P, P]),
    ("chase_l2", &[P, U32, U64, P, P]),
    ("matvec_bf16", &[P, P, P, U64, U64]),
    ("matvec_e4m3", &[P, P, P, U64, U64]),
    ("matvec_e5m2", &[P, P, P, U64, U64]),
    ("matvec_t_bf16", &[P, P, P, U64, U64]),
    ("matvec_t_e4m3", &[P, P, P, U64, U64]),
    ("matvec_t_e5m2", &[P, P, P, U64, U64]),
    ("matvec_any", &[U32, P, P, P, U64, U64]),
    ("matvec_t_any", &[U32, P, P, P, U64, U64]),
    ("fma_f32", &[U32, U32, P]),
    ("fma_f64", &[U32, U32, P]),
    ("fma_f16", &[U32, U32, P]),
    ("tensor_bf16", &[U32, U32, P]),
    ("tensor_f16", &[U32, U32, P]),
    ("tensor_tf32", &[U32, U32, P]),
    ("tensor_int8", &[U32, U32, P]),
    ("tensor_f64", &[U32, U32, P]),
    ("tensor_e4m3", &[U32, U32, P]),
    ("tensor_hopper_bf16", &[U32, U32, P]),
    ("tensor_hopper_f16", &[U32, U32, P]),
    ("tensor_hopper_tf32", &[U32, U32, P]),
    ("tensor_hopper_e4m3", &[U32, U32, P]),
    ("tensor_hopper_e5m2", &[U32, U32, P]),
    ("tensor_hopper_int8", &[U32, U32, P]),
    ("gemm_bf16", &[P, P, P, U32, U32, U32]),
    ("gemm_e4m3", &[P, P, P, U32, U32, U32]),
    ("gemm_e5m2", &[P, P, P, U32, U32, U32]),
    ("gemm_hopper_bf16_128x256_c2", &[M, M, M, U32, U32, U32, P]),
    ("gemm_hopper_bf16_256x128_c2", &[M, M, M, U32, U32, U32, P]),
    ("gemm_hopper_bf16_128x128", &[M, M, M, U32, U32, U32, P]),
    ("gemm_hopper_bf16_64x128", &[M, M, M, U32, U32, U32, P]),
    ("gemm_hopper_e4m3_128x256_c2", &[M, M, M, U32, U32, U32, P]),
    ("gemm_hopper_e4m3_128x128", &[M, M, M, U32, U32, U32, P]),
    ("gemm_hopper_e4m3_64x128", &[M, M, M, U32, U32, U32, P]),
    ("gemm_hopper_e5m2_128x256_c2", &[M, M, M, U32, U32, U32, P]),
];

/// A launch: kernel, arguments as 64-bit words (floats by their bits, a tensor map as its sixteen), blocks and threads per block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<u64>,
    pub(crate) blocks: u64,
    pub(crate) threads: u32,
}

/// What a launch touches and what sort of work it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Effect {
    pub(crate) reads: Vec<Span>,
    pub(crate) writes: Vec<Span>,
    pub(crate) work: Work,
}

/// The sort of work decides the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Work {
    /// Only the launch.
    Nothing,
    /// Moves this many bytes at the rate of a stream.
    Moves { bytes: f64, stream: Stream },
    /// Sweeps a working set this many times in all.
    Sweeps { sweeps: f64 },
    /// Follows a ring.
    Chases { steps: u64, past_l1: bool },
    /// So many operations of one kind of instruction.
    Computes { operations: f64, pipe: Pipe },
    /// Multiplies matrices.
    Multiplies { shape: ProductShape, format: Format, tile: Option<Tile> },
}

/// Which of the memory rates applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Read,
    Write,
    Copy,
    Scale,
    Add,
    Triad,
}

impl Launch {
    fn at(&self, index: usize) -> usize {
        usize::try_from(self.arguments[index]).unwrap_or(usize::MAX)
    }

    fn float(&self, index: usize) -> f32 {
        f32::from_bits(u32::try_from(self.arguments[index]).unwrap_or(0))
    }

    fn word(&self, index: usize) -> u32 {
        u32::try_from(self.arguments[index]).unwrap_or(u32::MAX)
    }

    /// `count` elements of `size` bytes at a pointer argument.
    fn span(&self, pointer: usize, count: u64, size: u64) -> Result<Span, Cu> {
        let bytes = count.checked_mul(size).and_then(|bytes| usize::try_from(bytes).ok()).ok_or(Cu::ILLEGAL_ADDRESS)?;
        Ok(Span { at: self.at(pointer), bytes })
    }

    /// Element size of the format in a kernel's name.
    fn element(&self) -> u64 {
        if self.name.ends_with("f64") {
            8
        } else if self.name.ends_with("f32") {
            4
        } else if self.name.ends_with("f16") {
            2
        } else {
            1
        }
    }

    /// The kernel for Hopper that this launch runs, if it does.
    pub(crate) fn hopper(&self) -> Option<Hopper> {
        Hopper::named(self.name)
    }

    /// The product that a matrix kernel computes.
    pub(crate) fn product(&self) -> Option<Product> {
        if let Some(hopper) = self.hopper() {
            return hopper.product(&self.arguments);
        }
        let format = match self.name {
            "gemm_bf16" => Format::Bf16,
            "gemm_e4m3" => Format::E4m3,
            "gemm_e5m2" => Format::E5m2,
            _ => return None,
        };
        let [rows, cols, depth] = [3, 4, 5].map(|index| self.at(index));
        Some(Product {
            a: Operand::rows(self.at(0), format, depth),
            b: Operand::rows(self.at(1), format, depth),
            c: Operand::rows(self.at(2), Format::Bf16, cols),
            rows,
            cols,
            depth,
            factor: 1.0,
        })
    }

    /// What the launch touches; an error if its arguments cannot be. `rest` tells the bytes from an address to the end of its block.
    pub(crate) fn effect(&self, rest: impl Fn(usize) -> usize) -> Result<Effect, Cu> {
        let arguments = &self.arguments;
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let moves = |bytes: u64, stream| Work::Moves { bytes: bytes as f64, stream };
        let streams = |loads: &[usize], stores: &[usize], vectors: u64, stream| -> Result<Effect, Cu> {
            let spans = |list: &[usize]| list.iter().map(|pointer| self.span(*pointer, vectors, 16)).collect::<Result<Vec<_>, _>>();
            let arrays = (loads.len() + stores.len()) as u64;
            Ok(Effect { reads: spans(loads)?, writes: spans(stores)?, work: moves(arrays * vectors * 16, stream) })
        };
        Ok(match self.name {
            "empty" => Effect { reads: vec![], writes: vec![], work: Work::Nothing },
            "fill_pattern" => {
                let out = self.span(0, arguments[1], 8)?;
                Effect { reads: vec![], writes: vec![out], work: moves(out.bytes as u64, Stream::Write) }
            }
            "verify_pattern" => {
                let input = self.span(0, arguments[1], 8)?;
                Effect {
                    reads: vec![input],
                    writes: vec![self.span(3, 1, 8)?, self.span(4, 1, 8)?],
                    work: moves(input.bytes as u64, Stream::Read),
                }
            }
            "verify_equal" => {
                let (a, b) = (self.span(0, arguments[2], 8)?, self.span(1, arguments[2], 8)?);
                Effect {
                    reads: vec![a, b],
                    writes: vec![self.span(3, 1, 8)?, self.span(4, 1, 8)?],
                    work: moves(2 * a.bytes as u64, Stream::Read),
                }
            }
            name if name.starts_with("fill_") => {
                let elements = if name.ends_with("e2m1") { arguments[1].div_ceil(2) } else { arguments[1] };
                let out = self.span(0, elements, self.element())?;
                Effect { reads: vec![], writes: vec![out], work: moves(out.bytes as u64, Stream::Write) }
            }
            "stream_read" | "bulk_read" => {
                let mut effect = streams(&[0], &[], arguments[1], Stream::Read)?;
                effect.writes.push(self.span(2, 4, 4)?);
                effect
            }
            "stream_write" | "bulk_write" => streams(&[], &[0], arguments[1], Stream::Write)?,
            "stream_copy" | "bulk_copy" => streams(&[0], &[1], arguments[2], Stream::Copy)?,
            "stream_scale" => streams(&[0], &[1], arguments[2], Stream::Scale)?,
            "stream_add" => streams(&[0, 1], &[2], arguments[3], Stream::Add)?,
            "stream_triad" => streams(&[0, 1], &[2], arguments[3], Stream::Triad)?,
            "cache_read" => {
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                let sweeps = self.blocks as f64 * f64::from(self.word(2));
                Effect { reads: vec![self.span(0, arguments[1], 16)?], writes: vec![self.span(3, 4, 4)?], work: Work::Sweeps { sweeps } }
            }
            "chase" | "chase_l2" => Effect {
                reads: vec![Span { at: self.at(0), bytes: rest(self.at(0)).max(4) }],
                writes: vec![self.span(3, 1, 4)?, self.span(4, 1, 8)?],
                work: Work::Chases { steps: arguments[2], past_l1: self.name == "chase_l2" },
            },
            "matvec_any" | "matvec_t_any" => {
                let (rows, cols) = (arguments[4], arguments[5]);
                let (input, output) = if self.name == "matvec_t_any" { (rows, cols) } else { (cols, rows) };
                let cells = rows.checked_mul(cols).ok_or(Cu::ILLEGAL_ADDRESS)?;
                let matrix = match arguments[0] {
                    0 | 3 => self.span(1, cells, 2)?,
                    1 | 2 | 5 => self.span(1, cells, 1)?,
                    4 | 6 => self.span(1, cells, 4)?,
                    7 => self.span(1, cells, 8)?,
                    8 => self.span(1, cells.div_ceil(2), 1)?,
                    _ => return Err(Cu::INVALID_VALUE),
                };
                Effect {
                    reads: vec![matrix, self.span(2, input, 8)?],
                    writes: vec![self.span(3, output, 8)?],
                    work: moves(matrix.bytes as u64, Stream::Read),
                }
            }
            name if Pipe::named(name).is_some() => {
                let pipe = Pipe::named(name).ok_or(Cu::INVALID_VALUE)?;
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                let threads = (self.blocks * u64::from(self.threads)) as f64;
                let operations = threads * f64::from(self.word(0)) * pipe.operations;
                Effect { reads: vec![], writes: vec![self.span(2, arguments[1], pipe.width)?], work: Work::Computes { operations, pipe } }
            }
            name if name.starts_with("matvec") => {
                let (rows, cols) = (arguments[3], arguments[4]);
                let (input, output) = if name.starts_with("matvec_t") { (rows, cols) } else { (cols, rows) };
                let cells = rows.checked_mul(cols).ok_or(Cu::ILLEGAL_ADDRESS)?;
                let matrix = self.span(0, cells, self.element())?;
                Effect {
                    reads: vec![matrix, self.span(1, input, 8)?],
                    writes: vec![self.span(2, output, 8)?],
                    work: moves(matrix.bytes as u64, Stream::Read),
                }
            }
            _ => {
                let product = self.product().ok_or(Cu::INVALID_VALUE)?;
                let [a, b, c] = product.spans().map(|(at, bytes)| Span { at, bytes });
                let hopper = self.hopper();
                let mut writes = vec![c];
                if hopper.is_some() {
                    writes.push(self.span(crate::hopper::NOTE, 1, 4)?);
                }
                let tile = hopper.map(|hopper| hopper.tile);
                Effect { reads: vec![a, b], writes, work: Work::Multiplies { shape: product.shape(), format: product.a.format, tile } }
            }
        })
    }

    /// Whether the launch adds to what it writes, in a way whose difference can be kept.
    pub(crate) fn accumulates(&self) -> bool {
        matches!(self.name, "stream_read" | "bulk_read" | "cache_read" | "verify_pattern" | "verify_equal")
    }

    /// Runs an accumulating kernel on fresh accumulators and gives the difference as 64-bit words.
    ///
    /// # Safety
    /// The spans of the effect must be readable and nobody else may touch them meanwhile.
    pub(crate) unsafe fn difference(&self) -> [u64; 4] {
        let mut sink = [0u32; 4];
        // SAFETY: the arrays are readable by the caller's promise; accumulators are local.
        unsafe {
            match self.name {
                "stream_read" => play(1, 1, |_| ffi::stream_read(self.at(0), self.arguments[1], sink.as_mut_ptr())),
                "bulk_read" => play(1, 1, |_| ffi::bulk_read(self.at(0), self.arguments[1], sink.as_mut_ptr())),
                "cache_read" => {
                    play(1, 1, |_| ffi::cache_read(self.at(0), self.arguments[1], 1, sink.as_mut_ptr()));
                    let times = u32::try_from(self.blocks.wrapping_mul(self.arguments[2]) & u64::from(u32::MAX)).unwrap_or(0);
                    sink = sink.map(|word| word.wrapping_mul(times));
                }
                _ => {
                    let (mut errors, mut first) = (0u64, u64::MAX);
                    play(1, 1, |_| match self.name {
                        "verify_equal" => ffi::verify_equal(self.at(0), self.at(1), self.arguments[2], &raw mut errors, &raw mut first),
                        _ => ffi::verify_pattern(self.at(0), self.arguments[1], self.arguments[2], &raw mut errors, &raw mut first),
                    });
                    return [errors, first, 0, 0];
                }
            }
        }
        sink.map(u64::from)
    }

    /// Adds a difference to the real accumulators.
    ///
    /// # Safety
    /// The accumulators must be writable and nobody else may touch them meanwhile.
    pub(crate) unsafe fn accumulate(&self, difference: [u64; 4]) {
        // SAFETY: as the caller's.
        unsafe {
            if self.name.starts_with("verify_") {
                let (errors, first) = (self.at(3) as *mut u64, self.at(4) as *mut u64);
                errors.write(errors.read().wrapping_add(difference[0]));
                first.write(first.read().min(difference[1]));
                return;
            }
            let reads = matches!(self.name, "stream_read" | "bulk_read");
            let sink = self.at(if reads { 2 } else { 3 }) as *mut u32;
            for (index, word) in difference.iter().enumerate() {
                let (slot, word) = (sink.add(index), u32::try_from(*word).unwrap_or(0));
                slot.write(if reads { slot.read() ^ word } else { slot.read().wrapping_add(word) });
            }
        }
    }

    /// Runs any other kernel.
    ///
    /// # Safety
    /// The spans of the effect must be readable or writable and nobody else may touch them meanwhile.
    pub(crate) unsafe fn run(&self) {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let a = &self.arguments;
        if let Some(pipe) = Pipe::named(self.name) {
            // SAFETY: as the caller's.
            unsafe { self.rate(pipe) };
            return;
        }
        if let Some(product) = self.product() {
            // SAFETY: as the caller's.
            unsafe { product.run(workers) };
            return;
        }
        // SAFETY: as the caller's; the workers of one launch write different elements, or add atomically.
        unsafe {
            match self.name {
                "fill_pattern" => spread(a[1].div_ceil(2), 256, |_| ffi::fill_pattern(self.at(0), a[1], a[2])),
                "chase" => play(1, 1, |_| ffi::chase(self.at(0), self.word(1), a[2], self.at(3), self.at(4))),
                "chase_l2" => play(1, 1, |_| ffi::chase_l2(self.at(0), self.word(1), a[2], self.at(3), self.at(4))),
                "stream_write" => pieces(a[1], |first, count| ffi::stream_write(self.at(0) + first, count, self.float(2))),
                "stream_copy" => pieces(a[2], |first, count| ffi::stream_copy(self.at(0) + first, self.at(1) + first, count)),
                "bulk_write" => pieces(a[1], |first, count| ffi::bulk_write(self.at(0) + first, count, self.float(2))),
                "bulk_copy" => pieces(a[2], |first, count| ffi::bulk_copy(self.at(0) + first, self.at(1) + first, count)),
                "stream_scale" => {
                    pieces(a[2], |first, count| ffi::stream_scale(self.at(0) + first, self.at(1) + first, count, self.float(3)));
                }
                "stream_add" => {
                    pieces(a[3], |first, count| ffi::stream_add(self.at(0) + first, self.at(1) + first, self.at(2) + first, count));
                }
                "stream_triad" => pieces(a[3], |first, count| {
                    ffi::stream_triad(self.at(0) + first, self.at(1) + first, self.at(2) + first, count, self.float(4));
                }),
                name => {
                    if let Some(matvec) = ffi::matvec_of_any(name) {
                        // One warp plays one row, or 32 columns of one slab of 256 rows.
                        let items = if name == "matvec_t_any" { a[5] * a[4].div_ceil(256) } else { a[4] * 32 };
                        spread(items, 32, |_| matvec(self.word(0), self.at(1), self.at(2), self.at(3), a[4], a[5]));
                    } else if let Some(fill) = ffi::fill(name) {
                        spread((a[1] * self.element()).div_ceil(16), 256, |_| fill(self.at(0), a[1], a[2], self.float(3)));
                    } else if let Some(matvec) = ffi::matvec(name) {
                        // One warp plays one row, or 32 groups of columns of one slab of 256 rows.
                        let width = 16 / self.element();
                        let transposed = name.starts_with("matvec_t");
                        let groups = if a[4].is_multiple_of(width) { a[4] / width } else { a[4] };
                        let items = if transposed { groups * a[3].div_ceil(256) } else { a[3] * 32 };
                        spread(items, 32, |_| matvec(self.at(0), self.at(1), self.at(2), a[3], a[4]));
                    }
                }
            }
        }
    }
}

impl Launch {
    /// Writes what every thread of a kernel that measures a rate would: those of one warp or four, for all.
    ///
    /// # Safety
    /// The array must be writable and nobody else may touch it meanwhile.
    unsafe fn rate(&self, pipe: Pipe) {
        let (rounds, out) = (self.word(0), self.at(2));
        let count = self.at(1).min(usize::try_from(self.blocks * u64::from(self.threads)).unwrap_or(usize::MAX));
        if let Some(lanes) = pipe.lanes(rounds) {
            for thread in 0..count {
                // SAFETY: as the caller's.
                unsafe { (out as *mut u32).add(thread).write(lanes[thread % lanes.len()]) };
            }
            return;
        }
        let mut lanes = [0u64; 32];
        let mut halves = [0u32; 32];
        // SAFETY: the arrays have room for a warp, and the copies stay within the caller's.
        unsafe {
            match self.name {
                "fma_f64" => play(1, 32, |_| ffi::fma_f64(rounds, 32, lanes.as_mut_ptr())),
                "fma_f16" => play(1, 32, |_| ffi::fma_f16(rounds, 32, halves.as_mut_ptr())),
                _ => play(1, 32, |_| ffi::fma_f32(rounds, 32, halves.as_mut_ptr())),
            }
            for thread in 0..count {
                match pipe.width {
                    8 => (out as *mut u64).add(thread).write(lanes[thread % 32]),
                    _ => (out as *mut u32).add(thread).write(halves[thread % 32]),
                }
            }
        }
    }
}

/// Plays a whole launch on this thread.
unsafe fn play(blocks: u32, threads: u32, body: impl FnMut(u32)) {
    // SAFETY: as the caller's.
    unsafe { play_part(blocks, threads, 0..blocks, body) };
}

unsafe fn play_part(blocks: u32, threads: u32, part: std::ops::Range<u32>, mut body: impl FnMut(u32)) {
    // SAFETY: sets this host thread's position only.
    unsafe { ffi::standin_shape(blocks, threads) };
    for block in part {
        for thread in 0..threads {
            // SAFETY: sets this host thread's position only.
            unsafe { ffi::standin_position(block, thread) };
            body(block);
        }
    }
}

/// Plays a launch with one thread per item, blocks split over two host threads.
unsafe fn spread(items: u64, threads: u32, body: impl Fn(u32) + Sync) {
    let blocks = u32::try_from(items.div_ceil(u64::from(threads)).max(1)).unwrap_or(u32::MAX);
    let body = &body;
    let half = blocks / 2;
    std::thread::scope(|scope| {
        if half > 0 {
            // SAFETY: as the caller's.
            scope.spawn(move || unsafe { play_part(blocks, threads, 0..half, body) });
        }
        // SAFETY: as the caller's.
        unsafe { play_part(blocks, threads, half..blocks, body) };
    });
}

/// Plays a launch over 16-byte vectors that only depends on the vectors themselves, as two launches over halves.
unsafe fn pieces(vectors: u64, body: impl Fn(usize, u64) + Sync) {
    let half = vectors / 2;
    let body = &body;
    let offset = usize::try_from(half * 16).unwrap_or(0);
    std::thread::scope(|scope| {
        // SAFETY: as the caller's.
        scope.spawn(move || unsafe { play(1, 1, |_| body(0, half)) });
        // SAFETY: as the caller's.
        unsafe { play(1, 1, |_| body(offset, vectors - half)) };
    });
}

/// The kernels as the C compiler made them.
mod ffi {
    unsafe extern "C" {
        pub(super) fn standin_shape(blocks: u32, threads: u32);
        pub(super) fn standin_position(block: u32, thread: u32);
        pub(super) fn fill_pattern(out: usize, words: u64, seed: u64);
        pub(super) fn verify_pattern(input: usize, words: u64, seed: u64, errors: *mut u64, first_bad: *mut u64);
        pub(super) fn verify_equal(a: usize, b: usize, words: u64, errors: *mut u64, first_bad: *mut u64);
        pub(super) fn stream_read(a: usize, vectors: u64, sink: *mut u32);
        pub(super) fn stream_write(a: usize, vectors: u64, value: f32);
        pub(super) fn stream_copy(a: usize, c: usize, vectors: u64);
        pub(super) fn stream_scale(c: usize, b: usize, vectors: u64, s: f32);
        pub(super) fn stream_add(a: usize, b: usize, c: usize, vectors: u64);
        pub(super) fn stream_triad(b: usize, c: usize, a: usize, vectors: u64, s: f32);
        pub(super) fn bulk_read(a: usize, vectors: u64, sink: *mut u32);
        pub(super) fn bulk_write(a: usize, vectors: u64, value: f32);
        pub(super) fn bulk_copy(a: usize, c: usize, vectors: u64);
        pub(super) fn cache_read(a: usize, vectors: u64, repeats: u32, sink: *mut u32);
        pub(super) fn chase(next: usize, start: u32, steps: u64, end: usize, cycles: usize);
        pub(super) fn chase_l2(next: usize, start: u32, steps: u64, end: usize, cycles: usize);
        fn fill_uniform_f32(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_uniform_bf16(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_uniform_e4m3(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_uniform_e5m2(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_normal_f32(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_normal_bf16(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_normal_e4m3(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_normal_e5m2(out: usize, n: u64, seed: u64, scale: f32);
        fn matvec_bf16(a: usize, x: usize, y: usize, rows: u64, cols: u64);
        fn matvec_e4m3(a: usize, x: usize, y: usize, rows: u64, cols: u64);
        fn matvec_e5m2(a: usize, x: usize, y: usize, rows: u64, cols: u64);
        fn matvec_t_bf16(a: usize, x: usize, y: usize, rows: u64, cols: u64);
        fn matvec_t_e4m3(a: usize, x: usize, y: usize, rows: u64, cols: u64);
        fn matvec_t_e5m2(a: usize, x: usize, y: usize, rows: u64, cols: u64);
    }

    unsafe extern "C" {
        fn fill_uniform_f16(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_uniform_i8(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_uniform_e2m1(out: usize, n: u64, seed: u64, scale: f32);
        fn fill_uniform_f64(out: usize, n: u64, seed: u64, scale: f32);
        fn matvec_any(format: u32, a: usize, x: usize, y: usize, rows: u64, cols: u64);
        fn matvec_t_any(format: u32, a: usize, x: usize, y: usize, rows: u64, cols: u64);
        pub(super) fn fma_f32(rounds: u32, threads: u32, out: *mut u32);
        pub(super) fn fma_f64(rounds: u32, threads: u32, out: *mut u64);
        pub(super) fn fma_f16(rounds: u32, threads: u32, out: *mut u32);
    }

    type MatvecOfAny = unsafe extern "C" fn(u32, usize, usize, usize, u64, u64);

    pub(super) fn matvec_of_any(name: &str) -> Option<MatvecOfAny> {
        match name {
            "matvec_any" => Some(matvec_any),
            "matvec_t_any" => Some(matvec_t_any),
            _ => None,
        }
    }

    type Fill = unsafe extern "C" fn(usize, u64, u64, f32);
    type Matvec = unsafe extern "C" fn(usize, usize, usize, u64, u64);

    pub(super) fn fill(name: &str) -> Option<Fill> {
        Some(match name {
            "fill_uniform_f32" => fill_uniform_f32,
            "fill_uniform_bf16" => fill_uniform_bf16,
            "fill_uniform_e4m3" => fill_uniform_e4m3,
            "fill_uniform_e5m2" => fill_uniform_e5m2,
            "fill_uniform_f16" => fill_uniform_f16,
            "fill_uniform_i8" => fill_uniform_i8,
            "fill_uniform_e2m1" => fill_uniform_e2m1,
            "fill_uniform_f64" => fill_uniform_f64,
            "fill_normal_f32" => fill_normal_f32,
            "fill_normal_bf16" => fill_normal_bf16,
            "fill_normal_e4m3" => fill_normal_e4m3,
            "fill_normal_e5m2" => fill_normal_e5m2,
            _ => return None,
        })
    }

    pub(super) fn matvec(name: &str) -> Option<Matvec> {
        Some(match name {
            "matvec_bf16" => matvec_bf16,
            "matvec_e4m3" => matvec_e4m3,
            "matvec_e5m2" => matvec_e5m2,
            "matvec_t_bf16" => matvec_t_bf16,
            "matvec_t_e4m3" => matvec_t_e4m3,
            "matvec_t_e5m2" => matvec_t_e5m2,
            _ => return None,
        })
    }
}
