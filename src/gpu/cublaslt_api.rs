//! cublasLt's functions, looked up in the file that was found.
//!
//! The types here are our own, and the library's constants come from cudarc. cudarc's loader is not used: it knows no `libcublasLt.so.13`,
//! does not look where Python packages put the library, and panics when it finds none.

#![allow(non_snake_case, clippy::too_many_arguments)] // Names and arguments are those that the library documents.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use super::failure::{Failure, Returned};
use super::table::{Status, function_table, load};
use crate::error::Result;

/// `cublasLtHandle_t`, `cublasLtMatmulDesc_t`, `cublasLtMatrixLayout_t` and `cublasLtMatmulPreference_t` alike.
pub(super) type Opaque = *mut c_void;

/// A function that describes a status.
type Describe = unsafe extern "C" fn(Status) -> *const c_char;

/// `cublasLtMatmulAlgo_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Algorithm {
    data: [u64; 8],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Suggestion {
    pub(super) algorithm: Algorithm,
    /// Bytes of workspace it needs.
    pub(super) workspace: usize,
    /// 0 when it can be used.
    pub(super) status: Status,
    pub(super) waves: f32,
    reserved: [c_int; 4],
}

function_table! {
    /// Every cublasLt function the program calls.
    const CUBLASLT_SYMBOLS;
    /// cublasLt's functions, looked up.
    struct LtApi;
    required {
        cublasLtCreate(handle: *mut Opaque);
        cublasLtDestroy(handle: Opaque);
        cublasLtMatmulDescCreate(description: *mut Opaque, compute: c_int, scale: c_int);
        cublasLtMatmulDescSetAttribute(description: Opaque, attribute: c_int, value: *const c_void, bytes: usize);
        cublasLtMatmulDescDestroy(description: Opaque);
        cublasLtMatrixLayoutCreate(layout: *mut Opaque, kind: c_int, rows: u64, columns: u64, leading: i64);
        cublasLtMatrixLayoutDestroy(layout: Opaque);
        cublasLtMatmulPreferenceCreate(preference: *mut Opaque);
        cublasLtMatmulPreferenceSetAttribute(preference: Opaque, attribute: c_int, value: *const c_void, bytes: usize);
        cublasLtMatmulPreferenceDestroy(preference: Opaque);
        cublasLtMatmulAlgoGetHeuristic(
            handle: Opaque, description: Opaque, a: Opaque, b: Opaque, c: Opaque, d: Opaque, preference: Opaque, wanted: c_int,
            suggestions: *mut Suggestion, found: *mut c_int
        );
        cublasLtMatmul(
            handle: Opaque, description: Opaque, alpha: *const c_void, a: *const c_void, a_layout: Opaque, b: *const c_void,
            b_layout: Opaque, beta: *const c_void, c: *const c_void, c_layout: Opaque, d: *mut c_void, d_layout: Opaque,
            algorithm: *const Algorithm, workspace: *mut c_void, workspace_bytes: usize, stream: *mut c_void
        );
    }
    optional {
        cublasLtMatmulAlgoConfigGetAttribute(
            algorithm: *const Algorithm, attribute: c_int, value: *mut c_void, bytes: usize, written: *mut usize
        );
    }
    describing {
        cublasLtGetVersion: unsafe extern "C" fn() -> usize;
        cublasLtGetStatusName: Describe;
        cublasLtGetStatusString: Describe;
    }
}

impl LtApi {
    /// Loads the library from this file.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let remedy = "install cuBLAS again (it comes with the CUDA toolkit and with PyTorch), or measure without it";
        load(path, Self::look_up, "", remedy)
    }

    /// Major, minor and patch.
    pub(super) fn version(&self) -> Option<(usize, usize, usize)> {
        // SAFETY: takes nothing and touches nothing.
        let version = unsafe { self.cublasLtGetVersion?() };
        Some((version / 10_000, version % 10_000 / 100, version % 100))
    }

    /// The status as a result, with the library's own words when it is not success.
    fn checked(&self, call: &'static str, status: Status) -> Returned {
        if status == 0 {
            return Ok(());
        }
        let (name, why) = (text(self.cublasLtGetStatusName, status), text(self.cublasLtGetStatusString, status));
        Err(Failure::of_library(call, status, name, why, remedy(status)))
    }
}

/// What one of the two functions that describe a status says about it.
fn text(function: Option<Describe>, status: Status) -> Option<String> {
    // SAFETY: any number is allowed; the answer is null or a static string of the library.
    unsafe {
        let text = function?(status);
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    }
}

/// What a person can do about a status (numbers of `cublas_api.h`).
const fn remedy(status: Status) -> &'static str {
    match status {
        1 | 3 => "free the GPU's memory (`nvidia-smi` lists who holds it), or measure with smaller sizes",
        8 | 15 => "this cublasLt does not do that on this GPU: the program's own kernels still measure it",
        13 => "the GPU must be left to recover: run again, and if it recurs run `gpu-assay selftest`",
        _ => "check that cublasLt fits the driver (`gpu-assay inspect` shows both), or measure without it",
    }
}
