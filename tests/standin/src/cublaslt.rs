//! The exported functions of cublasLt: descriptors, one heuristic answer, and the multiplication by reference code.
//!
//! Supported is what the program uses: BF16, FP16, FP8, TF32, FP32, INT8, FP64 and FP4 operands, each with the sums and the result that belong
//! to it, any transposition, `beta = 0`, no epilogue. As in the real library 8 bits and 4 need the "TN" layout, and each its own scales, and a chip
//! that has them. Matrices are column-major: element (i, j) is at `i + j × ld`.

use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

use cudarc::cublaslt::sys::{
    cublasLtMatmulDescAttributes_t as DescAttribute, cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute,
};

use crate::code::{Cu, Lt};
use crate::driver::{Driver, put};
use crate::gemm::{Format, Operand, Product};
use crate::machine::{LibraryProduct, Span, What};
use crate::scenario::Matmul;

/// `CUDA_R_16F`, `CUDA_R_64F`, `CUDA_R_8I`, `CUDA_R_32I`, `CUDA_R_4F_E2M1`.
const R_16F: i32 = 2;
const R_64F: i32 = 1;
const R_8I: i32 = 3;
const R_32I: i32 = 10;
const R_E2M1: i32 = 33;
/// `CUBLAS_COMPUTE_64F`, `CUBLAS_COMPUTE_32I`, `CUBLAS_COMPUTE_32F_FAST_TF32`.
const COMPUTE_64F: i32 = 70;
const COMPUTE_32I: i32 = 72;
const COMPUTE_TF32: i32 = 77;
/// `CUBLASLT_MATMUL_DESC_A_SCALE_MODE` and `…_B_SCALE_MODE`, and the first version that has them.
const SCALE_MODES: [i32; 2] = [31, 32];
const BLOCK_SCALES: usize = 120_800;
/// How much longer each algorithm takes that is suggested for formats other than BF16 and FP8: the first is not the best.
const SLOWNESS: [f64; 3] = [1.25, 1.0, 1.1];
/// `CUDA_R_32F`, `CUDA_R_16BF`, `CUDA_R_8F_E4M3`, `CUDA_R_8F_E5M2`.
const R_32F: i32 = 0;
const R_16BF: i32 = 14;
const R_E4M3: i32 = 28;
const R_E5M2: i32 = 29;
/// `CUBLAS_COMPUTE_32F`.
const COMPUTE_32F: i32 = 68;
/// Bytes of a heuristic result: the algorithm, its workspace, state, waves and reserved words.
const HEURISTIC_BYTES: usize = 64 + 8 + 4 + 4 + 16;
/// Workspace that the offered algorithm wants.
const WORKSPACE: usize = 4 << 20;

/// Objects of the library.
#[derive(Debug, Default)]
pub(crate) struct Library {
    handles: HashMap<usize, usize>,
    descriptors: HashMap<usize, Descriptor>,
    layouts: HashMap<usize, Layout>,
    preferences: HashMap<usize, u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Descriptor {
    transpose_a: bool,
    transpose_b: bool,
    scale_a: usize,
    scale_b: usize,
    scale_d: usize,
    on_device: bool,
    other: bool,
    compute: i32,
    /// Whether A and B have scales for every 16 elements.
    blocks: [bool; 2],
}

#[derive(Debug, Clone, Copy)]
struct Layout {
    kind: i32,
    rows: u64,
    cols: u64,
    stride: i64,
}

impl Library {
    pub(crate) fn handles_on(&self, device: usize) -> usize {
        self.handles.values().filter(|other| **other == device).count()
    }

    pub(crate) fn alive(&self) -> usize {
        self.handles.len() + self.descriptors.len() + self.layouts.len() + self.preferences.len()
    }
}

macro_rules! lt {
    ($name:ident |$driver:ident| ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        #[unsafe(no_mangle)]
        #[allow(unused_variables, reason = "not every function needs the state or all its arguments")]
        extern "C" fn $name($($argument: $type),*) -> i32 {
            $crate::driver::enter(stringify!($name), |$driver| -> Result<(), Lt> { $body })
        }
    };
}

/// Version of the library; zero when the scenario is wrong.
#[unsafe(no_mangle)]
extern "C" fn cublasLtGetVersion() -> usize {
    let mut version = 0;
    crate::driver::enter("cublasLtGetVersion", |d| -> Result<(), Lt> {
        version = d.machine.scenario.driver.cublaslt.unwrap_or(0);
        Ok(())
    });
    version
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtGetStatusName(status: i32) -> *const c_char {
    let text = match status {
        0 => c"CUBLAS_STATUS_SUCCESS",
        1 => c"CUBLAS_STATUS_NOT_INITIALIZED",
        3 => c"CUBLAS_STATUS_ALLOC_FAILED",
        7 => c"CUBLAS_STATUS_INVALID_VALUE",
        8 => c"CUBLAS_STATUS_ARCH_MISMATCH",
        13 => c"CUBLAS_STATUS_EXECUTION_FAILED",
        14 => c"CUBLAS_STATUS_INTERNAL_ERROR",
        15 => c"CUBLAS_STATUS_NOT_SUPPORTED",
        _ => c"CUBLAS_STATUS_UNKNOWN",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtGetStatusString(status: i32) -> *const c_char {
    cublasLtGetStatusName(status)
}

lt!(cublasLtCreate |d| (handle: *mut usize) {
    let device = d.current().map_err(|_| Lt::NOT_INITIALIZED)?;
    let rates = d.gpu(device).cublaslt;
    rates.ok_or(Lt::ARCH_MISMATCH)?;
    if d.memory_info(device).0 < d.gpu(device).cost.cublaslt_mib << 20 {
        return Err(Lt::ALLOC_FAILED);
    }
    let id = d.fresh_number();
    put(handle, id)?;
    d.library.handles.insert(id, device);
    Ok(())
});

lt!(cublasLtDestroy |d| (handle: usize) {
    d.library.handles.remove(&handle).map(drop).ok_or(Lt::NOT_INITIALIZED)
});

lt!(cublasLtMatmulDescCreate |d| (descriptor: *mut usize, compute: i32, scale: i32) {
    if ![(COMPUTE_32F, R_32F), (COMPUTE_TF32, R_32F), (COMPUTE_32I, R_32I), (COMPUTE_64F, R_64F)].contains(&(compute, scale)) {
        return Err(Lt::NOT_SUPPORTED);
    }
    let id = d.fresh_number();
    put(descriptor, id)?;
    d.library.descriptors.insert(id, Descriptor { compute, ..Descriptor::default() });
    Ok(())
});

lt!(cublasLtMatmulDescSetAttribute |d| (descriptor: usize, attribute: i32, value: *const c_void, bytes: usize) {
    let word = attribute_value(value, bytes)?;
    let pointer = usize::try_from(word).map_err(|_| Lt::INVALID_VALUE)?;
    let knows_blocks = d.machine.scenario.driver.cublaslt.is_some_and(|version| version >= BLOCK_SCALES);
    let descriptor = d.library.descriptors.get_mut(&descriptor).ok_or(Lt::INVALID_VALUE)?;
    if let Some(operand) = SCALE_MODES.iter().position(|mode| *mode == attribute) {
        if !knows_blocks || word > 1 {
            return Err(Lt::INVALID_VALUE);
        }
        descriptor.blocks[operand] = word == 1;
        return Ok(());
    }
    let is = |wanted: DescAttribute| wanted as i32 == attribute;
    if is(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA) {
        descriptor.transpose_a = word != 0;
    } else if is(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB) {
        descriptor.transpose_b = word != 0;
    } else if is(DescAttribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER) {
        descriptor.scale_a = pointer;
    } else if is(DescAttribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER) {
        descriptor.scale_b = pointer;
    } else if is(DescAttribute::CUBLASLT_MATMUL_DESC_D_SCALE_POINTER) {
        descriptor.scale_d = pointer;
    } else if is(DescAttribute::CUBLASLT_MATMUL_DESC_POINTER_MODE) {
        descriptor.on_device = word != 0;
    } else if is(DescAttribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM) {
        // Fast sums of FP8 round a little more than the reference does; the reference stands for both.
    } else {
        descriptor.other |= word != 0 && !(is(DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE) && word == 1);
    }
    Ok(())
});

lt!(cublasLtMatmulDescDestroy |d| (descriptor: usize) {
    d.library.descriptors.remove(&descriptor).map(drop).ok_or(Lt::INVALID_VALUE)
});

lt!(cublasLtMatrixLayoutCreate |d| (layout: *mut usize, kind: i32, rows: u64, cols: u64, stride: i64) {
    if rows == 0 || cols == 0 || stride < i64::try_from(rows).unwrap_or(i64::MAX) {
        return Err(Lt::INVALID_VALUE);
    }
    let id = d.fresh_number();
    put(layout, id)?;
    d.library.layouts.insert(id, Layout { kind, rows, cols, stride });
    Ok(())
});

lt!(cublasLtMatrixLayoutSetAttribute |d| (layout: usize, attribute: i32, value: *const c_void, bytes: usize) {
    let word = attribute_value(value, bytes)?;
    let layout = d.library.layouts.get_mut(&layout).ok_or(Lt::INVALID_VALUE)?;
    // One matrix, column-major (order 0): all that is supported.
    let batches = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT as i32;
    let order = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_ORDER as i32;
    let offset = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET as i32;
    if attribute == batches && word == 1 || attribute == order && word == 0 || attribute == offset {
        Ok(())
    } else {
        Err(Lt::NOT_SUPPORTED)
    }
});

lt!(cublasLtMatrixLayoutDestroy |d| (layout: usize) {
    d.library.layouts.remove(&layout).map(drop).ok_or(Lt::INVALID_VALUE)
});

lt!(cublasLtMatmulPreferenceCreate |d| (preference: *mut usize) {
    let id = d.fresh_number();
    put(preference, id)?;
    d.library.preferences.insert(id, 0);
    Ok(())
});

lt!(cublasLtMatmulPreferenceSetAttribute |d| (preference: usize, attribute: i32, value: *const c_void, bytes: usize) {
    let word = attribute_value(value, bytes)?;
    let workspace = d.library.preferences.get_mut(&preference).ok_or(Lt::INVALID_VALUE)?;
    if attribute == PreferenceAttribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES as i32 {
        *workspace = word;
    }
    Ok(())
});

lt!(cublasLtMatmulPreferenceDestroy |d| (preference: usize) {
    d.library.preferences.remove(&preference).map(drop).ok_or(Lt::INVALID_VALUE)
});

lt!(cublasLtMatmulAlgoGetHeuristic |d| (
    handle: usize, descriptor: usize, a: usize, b: usize, c: usize, result: usize, preference: usize, wanted: i32,
    results: *mut u8, count: *mut i32,
) {
    let device = *d.library.handles.get(&handle).ok_or(Lt::NOT_INITIALIZED)?;
    let shape = Shape::of(d, descriptor, [a, b, result])?;
    shape.rate(d.gpu(device).cublaslt.as_ref().ok_or(Lt::ARCH_MISMATCH)?)?;
    let room = *d.library.preferences.get(&preference).ok_or(Lt::INVALID_VALUE)?;
    if wanted < 1 || results.is_null() {
        return Err(Lt::INVALID_VALUE);
    }
    let workspace = WORKSPACE.min(usize::try_from(room).unwrap_or(usize::MAX));
    let usual = matches!(shape.b.1, Format::Bf16 | Format::E4m3) && shape.a.1 != Format::E5m2 && shape.b.1 != Format::E5m2;
    let offered = if usual { 1 } else { SLOWNESS.len().min(usize::try_from(wanted).unwrap_or(1)) };
    for place in 0..offered {
        let mut answer = [0u8; HEURISTIC_BYTES];
        // The algorithm's first byte names it, 21 for tensor cores here; the second is its place among the others, which `cublasLtMatmul` asks back.
        (answer[0], answer[1]) = (21, u8::try_from(if usual { 1 } else { place }).unwrap_or(0));
        answer[64..72].copy_from_slice(&workspace.to_ne_bytes());
        answer[76..80].copy_from_slice(&1f32.to_ne_bytes());
        // SAFETY: not null, and the C interface obliges the caller to pass room for as many results as it wants.
        unsafe { std::ptr::copy_nonoverlapping(answer.as_ptr(), results.add(place * HEURISTIC_BYTES), HEURISTIC_BYTES) };
    }
    put(count, i32::try_from(offered).unwrap_or(1))
});

lt!(cublasLtMatmulAlgoConfigGetAttribute |d| (algorithm: *const u64, attribute: i32, value: *mut i32, bytes: usize, written: *mut usize) {
    if algorithm.is_null() || bytes < 4 {
        return Err(Lt::INVALID_VALUE);
    }
    // Attribute 0 is the algorithm's number.
    // SAFETY: not null, and the C interface obliges the caller to pass an algorithm.
    let place = i32::from(unsafe { algorithm.read() }.to_ne_bytes()[1]);
    put(value, if attribute == 0 { 20 + place } else { 0 })?;
    if written.is_null() { Ok(()) } else { put(written, 4) }
});

lt!(cublasLtMatmul |d| (
    handle: usize, descriptor: usize, alpha: *const f32, a: usize, a_layout: usize, b: usize, b_layout: usize, beta: *const f32,
    c: usize, c_layout: usize, result: usize, result_layout: usize, algorithm: *const u64, workspace: usize, workspace_bytes: usize,
    stream: u64,
) {
    let device = *d.library.handles.get(&handle).ok_or(Lt::NOT_INITIALIZED)?;
    let shape = Shape::of(d, descriptor, [a_layout, b_layout, result_layout])?;
    shape.rate(d.gpu(device).cublaslt.as_ref().ok_or(Lt::ARCH_MISMATCH)?)?;
    if alpha.is_null() || beta.is_null() || shape.descriptor.on_device {
        return Err(Lt::NOT_SUPPORTED);
    }
    // SAFETY: not null, and in host pointer mode the C interface obliges the caller to pass readable numbers of the descriptor's type.
    let (alpha, beta) = unsafe { (factor(alpha, shape.descriptor.compute), factor(beta, shape.descriptor.compute)) };
    if beta != 0.0 {
        return Err(Lt::NOT_SUPPORTED);
    }
    if workspace_bytes > 0 {
        let span = crate::machine::Span { at: workspace, bytes: workspace_bytes };
        d.machine.check_reach(device, span).map_err(|_| Lt::INVALID_VALUE)?;
    }
    let stream = d.stream(stream).map_err(|_| Lt::EXECUTION_FAILED)?;
    let product = shape.product([a, b, result], alpha);
    let (scales, blocks) = shape.scales();
    // SAFETY: the C interface obliges the caller to pass an algorithm, or null for any.
    let place = if algorithm.is_null() { 1 } else { unsafe { algorithm.read() }.to_ne_bytes()[1] };
    let slowness = SLOWNESS.get(usize::from(place)).copied().unwrap_or(1.0);
    d.spend_us(d.gpu(device).launch.host_us);
    let work = LibraryProduct { product, scales, blocks, slowness };
    d.submit(stream, What::Library(Arc::new(work))).map_err(|_: Cu| Lt::EXECUTION_FAILED)
});

/// A checked multiplication: what is multiplied, before it is known where.
struct Shape {
    descriptor: Descriptor,
    a: (Layout, Format),
    b: (Layout, Format),
    result: Layout,
    rows: usize,
    cols: usize,
    depth: usize,
}

impl Shape {
    fn of(d: &Driver, descriptor: usize, layouts: [usize; 3]) -> Result<Self, Lt> {
        let descriptor = *d.library.descriptors.get(&descriptor).ok_or(Lt::INVALID_VALUE)?;
        let layout = |id: usize| d.library.layouts.get(&id).copied().ok_or(Lt::INVALID_VALUE);
        let [a, b, result] = [layout(layouts[0])?, layout(layouts[1])?, layout(layouts[2])?];
        let turned = |layout: Layout, turn: bool| if turn { (layout.cols, layout.rows) } else { (layout.rows, layout.cols) };
        let ((rows, depth), (depth_b, cols)) = (turned(a, descriptor.transpose_a), turned(b, descriptor.transpose_b));
        if depth != depth_b || (rows, cols) != (result.rows, result.cols) {
            return Err(Lt::INVALID_VALUE);
        }
        let (format_a, format_b) = (format(a.kind, descriptor.compute)?, format(b.kind, descriptor.compute)?);
        let fp8 = |format| matches!(format, Format::E4m3 | Format::E5m2);
        let short = fp8(format_a) || matches!(format_a, Format::I8 | Format::E2m1);
        let tn = descriptor.transpose_a && !descriptor.transpose_b;
        let alike = format_a == format_b && format_a != Format::E5m2 || fp8(format_a) && fp8(format_b) && format_a != format_b;
        let blocks = if format_a == Format::E2m1 { [true; 2] } else { [false; 2] };
        if result.kind != result_of(format_a) || descriptor.other || !alike || descriptor.blocks != blocks {
            return Err(Lt::NOT_SUPPORTED);
        }
        let unscaled = descriptor.scale_a == 0 || descriptor.scale_b == 0;
        if short && (!tn || depth % 16 != 0 || rows % 16 != 0) || format_a == Format::E2m1 && (unscaled || depth % 32 != 0) {
            return Err(Lt::NOT_SUPPORTED);
        }
        let size = |value: u64| usize::try_from(value).map_err(|_| Lt::INVALID_VALUE);
        Ok(Self { descriptor, a: (a, format_a), b: (b, format_b), result, rows: size(rows)?, cols: size(cols)?, depth: size(depth)? })
    }

    /// Refuses a format that the chip does not have.
    fn rate(&self, rates: &Matmul) -> Result<f64, Lt> {
        let format = if self.b.1 == Format::E5m2 { self.b.1 } else { self.a.1 };
        format.rate(rates).ok_or(Lt::NOT_SUPPORTED)
    }

    /// Where the scales of A and B lie: numbers, or bytes for blocks of 16 along k, in whole tiles of 128 rows and four blocks.
    fn scales(&self) -> (Vec<usize>, Vec<Span>) {
        let Descriptor { scale_a, scale_b, blocks, .. } = self.descriptor;
        if blocks != [true; 2] {
            return ([scale_a, scale_b].into_iter().filter(|at| *at != 0).collect(), vec![]);
        }
        let of = |at, rows: usize| Span { at, bytes: rows.next_multiple_of(128) * self.depth.div_ceil(16).next_multiple_of(4) };
        (vec![], vec![of(scale_a, self.rows), of(scale_b, self.cols)])
    }

    /// Column-major D = A B is row-major Dᵀ = Bᵀ Aᵀ: rows of the reference product are columns of D.
    fn product(&self, at: [usize; 3], factor: f32) -> Product {
        let stride = |layout: Layout| usize::try_from(layout.stride).unwrap_or(0);
        let operand = |at, (layout, format): (Layout, Format), depth_is_contiguous: bool| {
            let (row, step) = if depth_is_contiguous { (stride(layout), 1) } else { (1, stride(layout)) };
            Operand { at, format, row, step }
        };
        Product {
            a: operand(at[1], self.b, !self.descriptor.transpose_b),
            b: operand(at[0], self.a, self.descriptor.transpose_a),
            c: Operand::rows(at[2], format(self.result.kind, COMPUTE_32F).unwrap_or(Format::Bf16), stride(self.result)),
            rows: self.cols,
            cols: self.rows,
            depth: self.depth,
            factor,
        }
    }
}

fn format(kind: i32, compute: i32) -> Result<Format, Lt> {
    match (kind, compute) {
        (R_16BF, COMPUTE_32F) => Ok(Format::Bf16),
        (R_16F, COMPUTE_32F) => Ok(Format::F16),
        (R_E4M3, COMPUTE_32F) => Ok(Format::E4m3),
        (R_E5M2, COMPUTE_32F) => Ok(Format::E5m2),
        (R_E2M1, COMPUTE_32F) => Ok(Format::E2m1),
        (R_32F, COMPUTE_32F) => Ok(Format::F32),
        (R_32F, COMPUTE_TF32) => Ok(Format::Tf32),
        (R_8I, COMPUTE_32I) => Ok(Format::I8),
        (R_32I, _) => Ok(Format::I32),
        (R_64F, _) => Ok(Format::F64),
        _ => Err(Lt::NOT_SUPPORTED),
    }
}

/// The kind of result that belongs to factors of a format.
fn result_of(factors: Format) -> i32 {
    match factors {
        Format::F16 => R_16F,
        Format::F32 | Format::Tf32 => R_32F,
        Format::I8 => R_32I,
        Format::F64 => R_64F,
        _ => R_16BF,
    }
}

/// One of the numbers that a product and the old result are multiplied with, in the type that belongs to the sums.
///
/// # Safety
/// A number of that type must be readable there.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "0 and 1 are exact")]
unsafe fn factor(at: *const f32, compute: i32) -> f32 {
    // SAFETY: as the caller's.
    unsafe {
        match compute {
            COMPUTE_32I => at.cast::<i32>().read() as f32,
            COMPUTE_64F => at.cast::<f64>().read() as f32,
            _ => at.read(),
        }
    }
}

/// An attribute of one, four or eight bytes.
fn attribute_value(value: *const c_void, bytes: usize) -> Result<u64, Lt> {
    if value.is_null() || !matches!(bytes, 1 | 4 | 8) {
        return Err(Lt::INVALID_VALUE);
    }
    let mut word = [0u8; 8];
    // SAFETY: not null, and the C interface obliges the caller to pass this many readable bytes.
    unsafe { std::ptr::copy_nonoverlapping(value.cast::<u8>(), word.as_mut_ptr(), bytes) };
    Ok(u64::from_le_bytes(word))
}

impl Driver {
    fn fresh_number(&mut self) -> usize {
        usize::try_from(self.fresh()).unwrap_or(usize::MAX)
    }
}
