//! The driver's functions, each looked up once by name.
//!
//! One list declares every function that this program calls: its name, its arguments, and whether the program can do without it. From the
//! list come the lookup, the checked call and [`SYMBOLS`], so the three cannot drift apart.
//!
//! The types are cudarc's, the table is not, for three reasons. cudarc looks a function up on its first call and panics when the driver
//! lacks it. It returns the status as an enum of the CUDA version it was generated from, and a newer driver may return a code that the
//! enum does not have, which Rust must never hold; here a status is a plain number. And it loads `libcuda.so` before `libcuda.so.1`: the
//! first is the toolkit's link-time stub on some machines.

#![allow(non_snake_case, clippy::too_many_arguments)] // Names and arguments are those that the driver documents.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_P2PAttribute, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUfunction_attribute, CUgraph,
    CUgraphExec, CUmodule, CUstream, CUstreamCaptureMode, CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave,
    CUtensorMapL2promotion, CUtensorMapSwizzle, CUuuid,
};

use super::failure::{Failure, Returned};
use super::table::{Status, function_table};
use crate::error::{Error, Result};

/// A function that describes a status. Its own status is not worth an error.
type Describe = unsafe extern "C" fn(Status, *mut *const c_char) -> Status;

/// Names under which the driver's library is tried.
const LIBRARY_NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// Exported by the test suite's stand-in driver and by no hardware driver.
const STANDIN_MARKER: &[u8] = b"gpu_assay_standin_marker\0";

function_table! {
    /// Every driver function the program calls.
    const SYMBOLS;
    /// The driver's functions, looked up.
    struct Api;
    required {
        cuInit(flags: c_uint);
        cuDriverGetVersion(version: *mut c_int);
        cuDeviceGetCount(count: *mut c_int);
        cuDeviceGet(device: *mut CUdevice, ordinal: c_int);
        cuDeviceGetName(name: *mut c_char, length: c_int, device: CUdevice);
        cuDeviceGetUuid_v2(uuid: *mut CUuuid, device: CUdevice);
        cuDeviceGetPCIBusId(address: *mut c_char, length: c_int, device: CUdevice);
        cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice);
        cuDeviceGetAttribute(value: *mut c_int, attribute: CUdevice_attribute, device: CUdevice);
        cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice);
        cuDevicePrimaryCtxRelease_v2(device: CUdevice);
        cuCtxSetCurrent(context: CUcontext);
        cuCtxSynchronize();
        cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
        cuMemAlloc_v2(pointer: *mut CUdeviceptr, bytes: usize);
        cuMemFree_v2(pointer: CUdeviceptr);
        cuMemHostAlloc(pointer: *mut *mut c_void, bytes: usize, flags: c_uint);
        cuMemFreeHost(pointer: *mut c_void);
        cuMemHostRegister_v2(pointer: *mut c_void, bytes: usize, flags: c_uint);
        cuMemHostUnregister(pointer: *mut c_void);
        cuMemHostGetDevicePointer_v2(device_pointer: *mut CUdeviceptr, pointer: *mut c_void, flags: c_uint);
        cuMemcpyHtoDAsync_v2(to: CUdeviceptr, from: *const c_void, bytes: usize, stream: CUstream);
        cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream);
        cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream);
        cuMemsetD8Async(to: CUdeviceptr, value: u8, count: usize, stream: CUstream);
        cuStreamCreate(stream: *mut CUstream, flags: c_uint);
        cuStreamDestroy_v2(stream: CUstream);
        cuStreamSynchronize(stream: CUstream);
        cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint);
        cuEventCreate(event: *mut CUevent, flags: c_uint);
        cuEventRecord(event: CUevent, stream: CUstream);
        cuEventQuery(event: CUevent);
        cuEventSynchronize(event: CUevent);
        cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent);
        cuEventDestroy_v2(event: CUevent);
        cuModuleLoadData(module: *mut CUmodule, image: *const c_void);
        cuModuleUnload(module: CUmodule);
        cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char);
        cuFuncSetAttribute(function: CUfunction, attribute: CUfunction_attribute, value: c_int);
        cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: *mut c_int, function: CUfunction, block: c_int, shared: usize);
        cuLaunchKernel(
            function: CUfunction, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint, block_z: c_uint,
            shared: c_uint, stream: CUstream, arguments: *mut *mut c_void, extra: *mut *mut c_void
        );
    }
    optional {
        cuDeviceCanAccessPeer(answer: *mut c_int, device: CUdevice, peer: CUdevice);
        cuDeviceGetP2PAttribute(value: *mut c_int, attribute: CUdevice_P2PAttribute, from: CUdevice, to: CUdevice);
        cuCtxEnablePeerAccess(peer: CUcontext, flags: c_uint);
        cuCtxDisablePeerAccess(peer: CUcontext);
        cuMemcpyPeerAsync(to: CUdeviceptr, to_context: CUcontext, from: CUdeviceptr, from_context: CUcontext, bytes: usize, stream: CUstream);
        cuStreamBeginCapture_v2(stream: CUstream, mode: CUstreamCaptureMode);
        cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph);
        cuGraphInstantiateWithFlags(executable: *mut CUgraphExec, graph: CUgraph, flags: c_ulonglong);
        cuGraphLaunch(executable: CUgraphExec, stream: CUstream);
        cuGraphExecDestroy(executable: CUgraphExec);
        cuGraphDestroy(graph: CUgraph);
        cuTensorMapEncodeTiled(
            map: *mut CUtensorMap, kind: CUtensorMapDataType, rank: c_uint, address: *mut c_void, sizes: *const u64, strides: *const u64,
            box_sizes: *const u32, steps: *const u32, interleave: CUtensorMapInterleave, swizzle: CUtensorMapSwizzle,
            promotion: CUtensorMapL2promotion, beyond: CUtensorMapFloatOOBfill
        );
    }
    describing {
        cuGetErrorName: Describe;
        cuGetErrorString: Describe;
    }
}

impl Api {
    /// Loads the driver's library and looks every function up; also says whether it is the test suite's stand-in.
    pub(super) fn load() -> Result<(Self, bool)> {
        let library = open_library()?;
        let simulated = has_marker(&library);
        Ok((Self::look_up(library).map_err(lacks)?, simulated))
    }

    /// The status as a result, with the driver's own words when it is not success.
    fn checked(&self, call: &'static str, status: Status) -> Returned {
        if status == 0 {
            Ok(())
        } else {
            Err(Failure::new(call, status, self.text(self.cuGetErrorName, status), self.text(self.cuGetErrorString, status)))
        }
    }

    /// What one of the two functions that describe a status says about it.
    fn text(&self, function: Option<Describe>, status: Status) -> Option<String> {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: `text` is valid for one pointer; on success it points to a static string of the driver.
        unsafe {
            if function?(status, &raw mut text) != 0 || text.is_null() {
                return None;
            }
            Some(CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }
}

/// Whether the driver's library is the test suite's stand-in, also when it refuses to work.
pub(super) fn is_standin() -> bool {
    let Ok(library) = open_library() else { return false };
    let found = has_marker(&library);
    // A driver's library is not made to be unloaded.
    std::mem::forget(library);
    found
}

fn has_marker(library: &libloading::Library) -> bool {
    // SAFETY: only the name's presence is asked for; the address is not used.
    unsafe { library.get::<*const c_void>(STANDIN_MARKER).is_ok() }
}

/// Opens the driver's library.
fn open_library() -> Result<libloading::Library> {
    let mut why = String::new();
    for name in LIBRARY_NAMES {
        // SAFETY: the NVIDIA driver's library has no load-time code with preconditions; the system's loader decides which file it is.
        match unsafe { libloading::Library::new(name) } {
            Ok(library) => return Ok(library),
            Err(error) if why.is_empty() => why = format!("{name} cannot be loaded ({})", root_cause(&error)),
            Err(_) => {}
        }
    }
    Err(Error::Unavailable {
        doing: "opening the NVIDIA driver".into(),
        why,
        remedy: "install the NVIDIA driver, or give the container access to it (for Docker: `--gpus all`)".into(),
    })
}

/// The loader's own message, on one line.
pub(super) fn root_cause(error: &libloading::Error) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    text.replace('\n', " ")
}

/// A driver too old to have a function we need.
fn lacks(name: &str) -> Error {
    Error::Unavailable {
        doing: "opening the NVIDIA driver".into(),
        why: format!("it lacks the function {name}"),
        remedy: "update the NVIDIA driver to 525 (CUDA 12.0) or later".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_function_is_listed_twice_and_all_are_driver_functions() {
        let names: BTreeSet<_> = SYMBOLS.iter().map(|symbol| symbol.name).collect();
        assert_eq!(names.len(), SYMBOLS.len());
        assert!(names.iter().all(|name| name.starts_with("cu")));
    }

    #[test]
    fn every_listed_function_is_called_somewhere_in_this_room() {
        let room = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gpu");
        let mut sources = String::new();
        // What lies in folders below, references to compare with, calls no driver.
        for path in std::fs::read_dir(room).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            sources.push_str(&std::fs::read_to_string(path).unwrap());
        }
        for symbol in SYMBOLS.iter().chain(crate::gpu::CUBLASLT_SYMBOLS) {
            let called = [".", "LtApi::"].iter().any(|before| {
                let call = [before, symbol.name].concat();
                sources.match_indices(&call).any(|(at, _)| {
                    let next = sources[at + call.len()..].chars().next();
                    next.is_some_and(|next| !next.is_alphanumeric() && next != '_')
                })
            });
            assert!(called, "{} is looked up, and nothing calls it", symbol.name);
        }
    }

    #[test]
    fn a_missing_function_names_itself_and_the_remedy() {
        let text = lacks("cuInit").to_string();
        assert_eq!(text, "opening the NVIDIA driver: it lacks the function cuInit; update the NVIDIA driver to 525 (CUDA 12.0) or later");
    }
}
