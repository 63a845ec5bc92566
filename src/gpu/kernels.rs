//! The kernels, as their host side sees them: one struct each, its fields the arguments in the order of the CUDA source.
//!
//! `= n` after an array says how many of its elements a launch touches; a launch with a shorter one is refused. What each kernel computes,
//! and what should limit it, is told in its source under `kernels/`.

use super::kernel::{Argument, Arguments, Kernel, Parameter};
use super::tensor_map::TensorMap;
use super::view::{Flag, Float4, In, Out};

macro_rules! kernels {
    ($(
        $(#[$documentation:meta])*
        $file:literal $name:ident = $kernel:ident $(<$lifetime:lifetime>)? { $($argument:ident: $kind:ty $(= $elements:expr)?),* $(,)? }
    )*) => {
        $(
            $(#[$documentation])*
            #[derive(Debug, Clone, Copy)]
            pub struct $kernel $(<$lifetime>)? {
                $(
                    #[doc = concat!("Parameter `", stringify!($argument), "` of the kernel.")]
                    pub $argument: $kind,
                )*
            }

            impl $(<$lifetime>)? Kernel for $kernel $(<$lifetime>)? {
                const FILE: &'static str = $file;
                const NAME: &'static str = stringify!($name);

                fn parameters() -> Vec<Parameter> {
                    vec![$(Parameter { name: stringify!($argument), c_type: <$kind as Argument>::c_type() }),*]
                }

                #[allow(unused_variables, unused_mut)]
                fn arguments(&self) -> Arguments<'_> {
                    let Self { $($argument),* } = *self;
                    let mut arguments = Arguments::default();
                    $(arguments.push(stringify!($argument), &self.$argument, kernels!(@elements $($elements)?));)*
                    arguments
                }
            }
        )*

        /// File, name and parameters of every kernel, for the test that compares them with the sources.
        pub fn declared_kernels() -> Vec<(&'static str, &'static str, Vec<Parameter>)> {
            vec![$(($file, stringify!($name), <$kernel as Kernel>::parameters())),*]
        }
    };
    (@elements $elements:expr) => { $elements };
    (@elements) => { 0 };
}

/// Elements of a matrix of 32-bit extents.
const fn area(rows: u32, columns: u32) -> u64 {
    rows as u64 * columns as u64
}

/// Bytes of so many elements of the format with this number in [`MatvecAny`]; more than there can be for a number that is none.
const fn any_bytes(format: u32, elements: u64) -> u64 {
    match format {
        0 | 3 => elements.saturating_mul(2),
        1 | 2 | 5 => elements,
        4 | 6 => elements.saturating_mul(4),
        7 => elements.saturating_mul(8),
        8 => elements.div_ceil(2),
        _ => u64::MAX,
    }
}

kernels! {
    /// Does nothing: what is left of a launch is its cost.
    "empty" empty = Empty {}

    /// One thread waits until `open` is not 0, or writes 1 to `timed_out` after `timeout_ns`.
    "gate" gate = GateKernel<'a> { open: Flag<'a, u32> = 1, timeout_ns: u64, timed_out: Out<'a, u32> = 1 }

    /// Fills with words that depend on their position and on a seed.
    "fill" fill_pattern = FillPattern<'a> { out: Out<'a, u64> = words, words: u64, seed: u64 }

    /// Counts the words that differ from [`FillPattern`]'s and notes the first; both results must be set up before.
    "fill" verify_pattern = VerifyPattern<'a> {
        r#in: In<'a, u64> = words, words: u64, seed: u64, errors: Out<'a, u64> = 1, first_bad: Out<'a, u64> = 1,
    }

    /// Counts the words in which two arrays differ and notes the first; both results must be set up before.
    "fill" verify_equal = VerifyEqual<'a> {
        a: In<'a, u64> = words, b: In<'a, u64> = words, words: u64, errors: Out<'a, u64> = 1, first_bad: Out<'a, u64> = 1,
    }

    /// Uniform numbers in [-scale, scale).
    "fill" fill_uniform_f32 = FillUniformF32<'a> { out: Out<'a, f32> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillUniformF32`], rounded to BF16.
    "fill" fill_uniform_bf16 = FillUniformBf16<'a> { out: Out<'a, u16> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillUniformF32`], rounded to FP8 E4M3, saturating.
    "fill" fill_uniform_e4m3 = FillUniformE4m3<'a> { out: Out<'a, u8> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillUniformF32`], rounded to FP8 E5M2, saturating.
    "fill" fill_uniform_e5m2 = FillUniformE5m2<'a> { out: Out<'a, u8> = n, n: u64, seed: u64, scale: f32 }
    /// Normal numbers of deviation `scale`.
    "fill" fill_normal_f32 = FillNormalF32<'a> { out: Out<'a, f32> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillNormalF32`], rounded to BF16.
    "fill" fill_normal_bf16 = FillNormalBf16<'a> { out: Out<'a, u16> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillNormalF32`], rounded to FP8 E4M3, saturating.
    "fill" fill_normal_e4m3 = FillNormalE4m3<'a> { out: Out<'a, u8> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillNormalF32`], rounded to FP8 E5M2, saturating.
    "fill" fill_normal_e5m2 = FillNormalE5m2<'a> { out: Out<'a, u8> = n, n: u64, seed: u64, scale: f32 }

    /// As [`FillUniformF32`], rounded to FP16.
    "fill" fill_uniform_f16 = FillUniformF16<'a> { out: Out<'a, u16> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillUniformF32`], rounded to whole numbers of 8 bits, saturating.
    "fill" fill_uniform_i8 = FillUniformI8<'a> { out: Out<'a, u8> = n, n: u64, seed: u64, scale: f32 }
    /// As [`FillUniformF32`], rounded to FP4 E2M1, saturating: two elements in a byte.
    "fill" fill_uniform_e2m1 = FillUniformE2m1<'a> { out: Out<'a, u8> = n.div_ceil(2), n: u64, seed: u64, scale: f32 }
    /// Uniform FP64 numbers in [-scale, scale), all bits random.
    "fill" fill_uniform_f64 = FillUniformF64<'a> { out: Out<'a, f64> = n, n: u64, seed: u64, scale: f32 }

    /// Reads all of `a` and folds it into the checksum at `sink`.
    "stream" stream_read = StreamRead<'a> { a: In<'a, Float4> = vectors, vectors: u64, sink: Out<'a, u32> = 4 }
    /// a = value.
    "stream" stream_write = StreamWrite<'a> { a: Out<'a, Float4> = vectors, vectors: u64, value: f32 }
    /// c = a.
    "stream" stream_copy = StreamCopy<'a> { a: In<'a, Float4> = vectors, c: Out<'a, Float4> = vectors, vectors: u64 }
    /// b = s·c.
    "stream" stream_scale = StreamScale<'a> { c: In<'a, Float4> = vectors, b: Out<'a, Float4> = vectors, vectors: u64, s: f32 }
    /// c = a + b.
    "stream" stream_add = StreamAdd<'a> {
        a: In<'a, Float4> = vectors, b: In<'a, Float4> = vectors, c: Out<'a, Float4> = vectors, vectors: u64,
    }
    /// a = b + s·c.
    "stream" stream_triad = StreamTriad<'a> {
        b: In<'a, Float4> = vectors, c: In<'a, Float4> = vectors, a: Out<'a, Float4> = vectors, vectors: u64, s: f32,
    }

    /// As [`StreamRead`], by bulk copies into shared memory.
    "bulk" bulk_read = BulkRead<'a> { a: In<'a, Float4> = vectors, vectors: u64, sink: Out<'a, u32> = 4 }
    /// As [`StreamWrite`], by bulk copies from shared memory.
    "bulk" bulk_write = BulkWrite<'a> { a: Out<'a, Float4> = vectors, vectors: u64, value: f32 }
    /// As [`StreamCopy`], by bulk copies through shared memory.
    "bulk" bulk_copy = BulkCopy<'a> { a: In<'a, Float4> = vectors, c: Out<'a, Float4> = vectors, vectors: u64 }

    /// Every block reads all of `a` `repeats` times.
    "cache" cache_read = CacheRead<'a> { a: In<'a, Float4> = vectors, vectors: u64, repeats: u32, sink: Out<'a, u32> = 4 }

    /// One thread follows `next` from `start` for `steps` loads, each waiting for the one before. The indices must lead back into `next`.
    "chase" chase = Chase<'a> {
        next: In<'a, u32> = u64::from(start) + 1, start: u32, steps: u64, end: Out<'a, u32> = 1, cycles: Out<'a, u64> = 1,
    }
    /// As [`Chase`], past the first-level cache.
    "chase" chase_l2 = ChaseL2<'a> {
        next: In<'a, u32> = u64::from(start) + 1, start: u32, steps: u64, end: Out<'a, u32> = 1, cycles: Out<'a, u64> = 1,
    }

    /// y += A·x with A in BF16, row-major.
    "check" matvec_bf16 = MatvecBf16<'a> {
        a: In<'a, u16> = rows.saturating_mul(cols), x: In<'a, f64> = cols, y: Out<'a, f64> = rows, rows: u64, cols: u64,
    }
    /// As [`MatvecBf16`], in FP8 E4M3.
    "check" matvec_e4m3 = MatvecE4m3<'a> {
        a: In<'a, u8> = rows.saturating_mul(cols), x: In<'a, f64> = cols, y: Out<'a, f64> = rows, rows: u64, cols: u64,
    }
    /// As [`MatvecBf16`], in FP8 E5M2.
    "check" matvec_e5m2 = MatvecE5m2<'a> {
        a: In<'a, u8> = rows.saturating_mul(cols), x: In<'a, f64> = cols, y: Out<'a, f64> = rows, rows: u64, cols: u64,
    }
    /// y += Aᵀ·x with A in BF16, row-major.
    "check" matvec_t_bf16 = MatvecTransposedBf16<'a> {
        a: In<'a, u16> = rows.saturating_mul(cols), x: In<'a, f64> = rows, y: Out<'a, f64> = cols, rows: u64, cols: u64,
    }
    /// As [`MatvecTransposedBf16`], in FP8 E4M3.
    "check" matvec_t_e4m3 = MatvecTransposedE4m3<'a> {
        a: In<'a, u8> = rows.saturating_mul(cols), x: In<'a, f64> = rows, y: Out<'a, f64> = cols, rows: u64, cols: u64,
    }
    /// As [`MatvecTransposedBf16`], in FP8 E5M2.
    "check" matvec_t_e5m2 = MatvecTransposedE5m2<'a> {
        a: In<'a, u8> = rows.saturating_mul(cols), x: In<'a, f64> = rows, y: Out<'a, f64> = cols, rows: u64, cols: u64,
    }

    /// y += A·x with A in the format of this number: BF16 0, E4M3 1, E5M2 2, FP16 3, FP32 4, INT8 5, INT32 6, FP64 7, E2M1 8.
    "check" matvec_any = MatvecAny<'a> {
        format: u32, a: In<'a, u8> = any_bytes(format, rows.saturating_mul(cols)), x: In<'a, f64> = cols, y: Out<'a, f64> = rows,
        rows: u64, cols: u64,
    }
    /// y += Aᵀ·x, as [`MatvecAny`].
    "check" matvec_t_any = MatvecTransposedAny<'a> {
        format: u32, a: In<'a, u8> = any_bytes(format, rows.saturating_mul(cols)), x: In<'a, f64> = rows, y: Out<'a, f64> = cols,
        rows: u64, cols: u64,
    }

    /// Eight chains of FP32 multiply-adds per thread, 16 steps a round.
    "fma" fma_f32 = FmaF32<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`FmaF32`] in FP64.
    "fma" fma_f64 = FmaF64<'a> { rounds: u32, threads: u32, out: Out<'a, u64> = u64::from(threads) }
    /// As [`FmaF32`] in FP16, two numbers at once.
    "fma" fma_f16 = FmaF16<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }

    /// Eight chains of matrix multiply-adds per warp on the tensor cores, operands in registers: BF16, four steps a round.
    "tensor" tensor_bf16 = TensorBf16<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorBf16`] in FP16.
    "tensor" tensor_f16 = TensorF16<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorBf16`] in TF32.
    "tensor" tensor_tf32 = TensorTf32<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorBf16`] in INT8.
    "tensor" tensor_int8 = TensorInt8<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorBf16`] in FP64, one step a round.
    "tensor" tensor_f64 = TensorF64<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorBf16`] in FP8 (E4M3), 32 steps a round.
    "tensor_fp8" tensor_e4m3 = TensorE4m3<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }

    /// Hopper's `wgmma` of 64×256, operands in shared memory, two groups of four warps in a block: BF16, 16 steps a round. See
    /// [`WgmmaFormat`](super::WgmmaFormat), which launches it.
    "tensor_hopper" tensor_hopper_bf16 = TensorHopperBf16<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorHopperBf16`] in FP16.
    "tensor_hopper" tensor_hopper_f16 = TensorHopperF16<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorHopperBf16`] in TF32.
    "tensor_hopper" tensor_hopper_tf32 = TensorHopperTf32<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorHopperBf16`] in FP8 (E4M3).
    "tensor_hopper" tensor_hopper_e4m3 = TensorHopperE4m3<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorHopperBf16`] in FP8 (E5M2).
    "tensor_hopper" tensor_hopper_e5m2 = TensorHopperE5m2<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }
    /// As [`TensorHopperBf16`] in INT8.
    "tensor_hopper" tensor_hopper_int8 = TensorHopperInt8<'a> { rounds: u32, threads: u32, out: Out<'a, u32> = u64::from(threads) }

    /// The m×n matrix C = A·Bᵀ of the m×k matrix A and the n×k matrix B on the tensor cores, BF16 in and out, FP32 sums.
    "gemm_bf16" gemm_bf16 = GemmBf16<'a> {
        a: In<'a, u16> = area(m, k), b: In<'a, u16> = area(n, k), c: Out<'a, u16> = area(m, n), m: u32, n: u32, k: u32,
    }
    /// As [`GemmBf16`] with FP8 E4M3 in.
    "gemm_fp8" gemm_e4m3 = GemmE4m3<'a> {
        a: In<'a, u8> = area(m, k), b: In<'a, u8> = area(n, k), c: Out<'a, u16> = area(m, n), m: u32, n: u32, k: u32,
    }
    /// As [`GemmBf16`] with FP8 E5M2 in.
    "gemm_fp8" gemm_e5m2 = GemmE5m2<'a> {
        a: In<'a, u8> = area(m, k), b: In<'a, u8> = area(n, k), c: Out<'a, u16> = area(m, n), m: u32, n: u32, k: u32,
    }

    /// C = A·Bᵀ with Hopper's own instructions, in tiles of 128x256 and clusters of two. The matrices and their boxes are in the maps, see
    /// [`HopperKernel`](super::HopperKernel), which launches it. `given_up` must be 0, and is not 0 afterwards if the kernel gave up.
    "gemm_hopper_bf16" gemm_hopper_bf16_128x256_c2 = GemmHopperBf16Wide<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
    /// As [`GemmHopperBf16Wide`], in tiles of 256x128 and clusters of two.
    "gemm_hopper_bf16" gemm_hopper_bf16_256x128_c2 = GemmHopperBf16Tall<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
    /// As [`GemmHopperBf16Wide`], in tiles of 128x128.
    "gemm_hopper_bf16" gemm_hopper_bf16_128x128 = GemmHopperBf16Square<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
    /// As [`GemmHopperBf16Wide`], in tiles of 64x128.
    "gemm_hopper_bf16" gemm_hopper_bf16_64x128 = GemmHopperBf16Low<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
    /// As [`GemmHopperBf16Wide`] with FP8 E4M3 in, in tiles of 128x256 and clusters of two.
    "gemm_hopper_fp8" gemm_hopper_e4m3_128x256_c2 = GemmHopperE4m3Wide<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
    /// As [`GemmHopperBf16Wide`] with FP8 E4M3 in, in tiles of 128x128.
    "gemm_hopper_fp8" gemm_hopper_e4m3_128x128 = GemmHopperE4m3Square<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
    /// As [`GemmHopperBf16Wide`] with FP8 E4M3 in, in tiles of 64x128.
    "gemm_hopper_fp8" gemm_hopper_e4m3_64x128 = GemmHopperE4m3Low<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
    /// As [`GemmHopperBf16Wide`] with FP8 E5M2 in, in tiles of 128x256 and clusters of two.
    "gemm_hopper_fp8" gemm_hopper_e5m2_128x256_c2 = GemmHopperE5m2Wide<'a> {
        a: TensorMap<'a>, b: TensorMap<'a>, c: TensorMap<'a>, m: u32, n: u32, k: u32, given_up: Out<'a, u32> = 1,
    }
}
