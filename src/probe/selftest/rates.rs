//! Checks of the kernels that measure rates, and of those that fill and check matrices of the formats that only libraries multiply in.

use half::f16;

use super::super::rig::Bench;
use super::super::tensor::{Instruction, Issue};
use super::{Exam, Finding, always, first_wrong};
use crate::gpu::reference::{
    Distribution, E2M1, Fma, Fp8, TensorFormat, encode_e2m1, encode_i8, random_bf16, random_f32, random_f64, random_fp8,
};
use crate::gpu::{
    DeviceBuffer, FillUniformBf16, FillUniformE2m1, FillUniformE4m3, FillUniformE5m2, FillUniformF16, FillUniformF32, FillUniformF64,
    FillUniformI8, MatvecAny, MatvecTransposedAny, TensorBf16, TensorE4m3,
};
use crate::measure::Trial;
use crate::units::Bytes;

pub(super) const EXAMS: &[Exam] = &[
    Exam { name: "fill_uniform_f16", possible: always, run: |bench, seed| fill(bench, seed, 3) },
    Exam { name: "fill_uniform_i8", possible: always, run: |bench, seed| fill(bench, seed, 5) },
    Exam { name: "fill_uniform_f64", possible: always, run: |bench, seed| fill(bench, seed, 7) },
    Exam { name: "fill_uniform_e2m1", possible: always, run: |bench, seed| fill(bench, seed, 8) },
    Exam { name: "matvec_any", possible: always, run: |bench, seed| times_vector(bench, seed, false) },
    Exam { name: "matvec_t_any", possible: always, run: |bench, seed| times_vector(bench, seed, true) },
    Exam { name: "fma_f32", possible: always, run: |bench, _| issue(bench, Instruction::Fma(Fma::F32)) },
    Exam { name: "fma_f64", possible: always, run: |bench, _| issue(bench, Instruction::Fma(Fma::F64)) },
    Exam { name: "fma_f16", possible: always, run: |bench, _| issue(bench, Instruction::Fma(Fma::F16)) },
    Exam { name: "tensor_bf16", possible: has_mma, run: |bench, _| issue(bench, Instruction::Mma(TensorFormat::Bf16)) },
    Exam { name: "tensor_f16", possible: has_mma, run: |bench, _| issue(bench, Instruction::Mma(TensorFormat::F16)) },
    Exam { name: "tensor_tf32", possible: has_mma, run: |bench, _| issue(bench, Instruction::Mma(TensorFormat::Tf32)) },
    Exam { name: "tensor_int8", possible: has_mma, run: |bench, _| issue(bench, Instruction::Mma(TensorFormat::Int8)) },
    Exam { name: "tensor_f64", possible: has_mma, run: |bench, _| issue(bench, Instruction::Mma(TensorFormat::F64)) },
    Exam {
        name: "tensor_e4m3",
        possible: |bench| bench.gpu.has_kernel::<TensorE4m3<'_>>(),
        run: |bench, _| issue(bench, Instruction::Mma(TensorFormat::E4m3)),
    },
];

fn has_mma(bench: &Bench) -> bool {
    bench.gpu.has_kernel::<TensorBf16<'_>>()
}

/// Every thread's answer after a few rounds.
fn issue(bench: &Bench, instruction: Instruction) -> Finding {
    let mut trial = Issue::new(bench, instruction)?;
    trial.enqueue(1)?;
    let wrong = trial.check()?;
    Ok((u64::from(trial.threads()), wrong))
}

/// The formats that the checking kernels know by number, and how their random numbers are scaled.
const FORMATS: [(u32, u64, f32); 8] =
    [(0, 16, 1.0), (1, 8, 1.0), (2, 8, 1.0), (3, 16, 1.0), (4, 32, 1.0), (5, 8, 127.0), (7, 64, 1.0), (8, 4, 6.0)];

/// What element `index` of random data in a format must be.
fn expected(format: u32, index: u64, seed: u64, scale: f32) -> f64 {
    let single = || random_f32(Distribution::Uniform, index, seed, scale);
    match format {
        0 => random_bf16(Distribution::Uniform, index, seed, scale).to_f64(),
        1 => f64::from(Fp8::E4m3.decode(random_fp8(Fp8::E4m3, Distribution::Uniform, index, seed, scale))),
        2 => f64::from(Fp8::E5m2.decode(random_fp8(Fp8::E5m2, Distribution::Uniform, index, seed, scale))),
        3 => f16::from_f32(single()).to_f64(),
        4 => f64::from(single()),
        5 => f64::from(encode_i8(single())),
        7 => random_f64(index, seed, scale),
        _ => quarter(encode_e2m1(single())),
    }
}

/// The number of an E2M1 code.
fn quarter(code: u8) -> f64 {
    let size = f64::from(E2M1[usize::from(code & 7)]);
    if code & 8 == 0 { size } else { -size }
}

/// An array of `n` random elements of a format.
fn filled(bench: &Bench, format: u32, n: u64, seed: u64) -> crate::error::Result<DeviceBuffer> {
    let (bits, scale) = FORMATS.iter().find(|(number, ..)| *number == format).map_or((64, 1.0), |(_, bits, scale)| (*bits, *scale));
    let memory = bench.gpu.allocate(Bytes((n * bits).div_ceil(8)))?;
    match format {
        0 => bench.launch(&FillUniformBf16 { out: memory.output(), n, seed, scale }),
        1 => bench.launch(&FillUniformE4m3 { out: memory.output(), n, seed, scale }),
        2 => bench.launch(&FillUniformE5m2 { out: memory.output(), n, seed, scale }),
        3 => bench.launch(&FillUniformF16 { out: memory.output(), n, seed, scale }),
        4 => bench.launch(&FillUniformF32 { out: memory.output(), n, seed, scale }),
        5 => bench.launch(&FillUniformI8 { out: memory.output(), n, seed, scale }),
        7 => bench.launch(&FillUniformF64 { out: memory.output(), n, seed, scale }),
        _ => bench.launch(&FillUniformE2m1 { out: memory.output(), n, seed, scale }),
    }?;
    Ok(memory)
}

/// Random elements, exactly; whole and odd numbers of vectors.
fn fill(bench: &Bench, seed: u64, format: u32) -> Finding {
    let scale = FORMATS.iter().find(|(number, ..)| *number == format).map_or(1.0, |(.., scale)| *scale);
    let mut compared = 0;
    for n in [2u64, 78, 1 << 14, 30_010] {
        let memory = filled(bench, format, n, seed)?;
        let stream = &bench.stream;
        let found: Vec<f64> = match format {
            3 => memory.read::<u16>(stream, n)?.into_iter().map(|bits| f16::from_bits(bits).to_f64()).collect(),
            5 => memory.read::<u8>(stream, n)?.into_iter().map(|code| f64::from(code as i8)).collect(),
            7 => memory.read::<f64>(stream, n)?,
            _ => memory.read::<u8>(stream, n / 2)?.into_iter().flat_map(|both| [quarter(both & 15), quarter(both >> 4)]).collect(),
        };
        compared += n;
        if let Some(wrong) = first_wrong(&found, |index| expected(format, index, seed, scale), |a, b| a != b) {
            return Ok((compared, Some(wrong)));
        }
    }
    Ok((compared, None))
}

/// A matrix of each format times a vector of ones and twos: sums whose rounding is far smaller than what a wrong element would do.
fn times_vector(bench: &Bench, seed: u64, transposed: bool) -> Finding {
    let (rows, cols) = (300u64, 46u64);
    let mut compared = 0;
    for (format, _, scale) in FORMATS {
        let memory = filled(bench, format, rows * cols, seed)?;
        let a = memory.view::<u8>().into();
        let (terms, lines) = if transposed { (rows, cols) } else { (cols, rows) };
        let weight = |term: u64| 1.0 + (term % 2) as f64;
        let (x, y) = (bench.gpu.allocate_elements::<f64>(terms)?, bench.gpu.allocate_elements::<f64>(lines)?);
        x.write(&bench.stream, &(0..terms).map(weight).collect::<Vec<f64>>())?;
        bench.stream.set(y.view::<u8>(), 0)?;
        let (input, output) = (x.input(), y.output());
        match transposed {
            true => bench.launch(&MatvecTransposedAny { format, a, x: input, y: output, rows, cols }),
            false => bench.launch(&MatvecAny { format, a, x: input, y: output, rows, cols }),
        }?;
        let found = y.read::<f64>(&bench.stream, lines)?;
        let sum = |line: u64| {
            let at = |term| if transposed { term * cols + line } else { line * cols + term };
            (0..terms).map(|term| expected(format, at(term), seed, scale) * weight(term)).sum::<f64>()
        };
        let far = f64::from(scale) * terms as f64 * 1e-13;
        compared += lines;
        // A NaN counts as wrong.
        let differs = |found: &f64, expected: &f64| found.is_nan() || (found - expected).abs() > far;
        if let Some(wrong) = first_wrong(&found, sum, differs) {
            return Ok((compared, Some(format!("format {format}: {wrong}"))));
        }
    }
    Ok((compared, None))
}
