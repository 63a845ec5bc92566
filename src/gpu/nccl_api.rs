//! NCCL's functions, looked up in the file that was found.
//!
//! The types and numbers are those of the library's documentation (its C interface, `nccl.h`), written down here: of the wide interface the
//! program needs a dozen functions, all of which exist since version 2.7.

#![allow(non_snake_case, clippy::too_many_arguments)] // Names and arguments are those that the library documents.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use super::failure::{Failure, Returned};
use super::table::{Status, function_table, load};
use crate::error::Result;

/// `ncclComm_t`.
pub(super) type Opaque = *mut c_void;

/// A function that describes a status.
type Describe = unsafe extern "C" fn(Status) -> *const c_char;

/// A function that tells more about a communicator's last error.
type DescribeLast = unsafe extern "C" fn(Opaque) -> *const c_char;

/// `ncclInProgress`: a communicator that does not block is not done yet.
const IN_PROGRESS: Status = 7;

function_table! {
    /// Every NCCL function the program calls.
    const NCCL_SYMBOLS;
    /// NCCL's functions, looked up.
    struct NcclApi;
    required {
        ncclGetVersion(version: *mut c_int);
        ncclCommInitAll(communicators: *mut Opaque, devices: c_int, list: *const c_int);
        ncclCommDestroy(communicator: Opaque);
        ncclCommAbort(communicator: Opaque);
        ncclCommGetAsyncError(communicator: Opaque, status: *mut Status);
        ncclGroupStart();
        ncclGroupEnd();
        ncclAllReduce(
            send: *const c_void, receive: *mut c_void, count: usize, kind: c_int, operation: c_int, communicator: Opaque, stream: *mut c_void
        );
        ncclReduceScatter(
            send: *const c_void, receive: *mut c_void, count: usize, kind: c_int, operation: c_int, communicator: Opaque, stream: *mut c_void
        );
        ncclAllGather(send: *const c_void, receive: *mut c_void, count: usize, kind: c_int, communicator: Opaque, stream: *mut c_void);
        ncclBroadcast(
            send: *const c_void, receive: *mut c_void, count: usize, kind: c_int, root: c_int, communicator: Opaque, stream: *mut c_void
        );
        ncclSend(send: *const c_void, count: usize, kind: c_int, peer: c_int, communicator: Opaque, stream: *mut c_void);
        ncclRecv(receive: *mut c_void, count: usize, kind: c_int, peer: c_int, communicator: Opaque, stream: *mut c_void);
    }
    optional {
    }
    describing {
        ncclGetErrorString: Describe;
        ncclGetLastError: DescribeLast;
    }
}

impl NcclApi {
    /// Loads the library from this file.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let remedy = "install NCCL again (it comes with PyTorch: `pip install nvidia-nccl-cu12`), or measure without it";
        load(path, Self::look_up, ", which NCCL has since version 2.7", remedy)
    }

    /// Major, minor and patch.
    pub(super) fn version(&self) -> Option<(u32, u32, u32)> {
        let mut code: c_int = 0;
        // SAFETY: the pointer is valid for one number.
        unsafe { self.ncclGetVersion(&raw mut code) }.ok()?;
        Some(parts(u32::try_from(code).ok()?))
    }

    /// What a communicator met that no call could report, because its work was under way.
    pub(super) fn trouble(&self, communicator: Opaque) -> Returned {
        let mut status: Status = 0;
        // SAFETY: the communicator lives, and the pointer is valid for one number.
        unsafe { self.ncclCommGetAsyncError(communicator, &raw mut status)? };
        if status == IN_PROGRESS { Ok(()) } else { self.checked("ncclCommGetAsyncError", status) }
    }

    /// The status as a result, with the library's own words when it is not success.
    fn checked(&self, call: &'static str, status: Status) -> Returned {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: any number is allowed; the answer is null or a static string of the library.
        let words = self.ncclGetErrorString.and_then(|describe| unsafe { text(describe(status)) });
        // SAFETY: no communicator is allowed too; the answer is null or a string that lives until this thread's next call.
        let more = self.ncclGetLastError.and_then(|last| unsafe { text(last(std::ptr::null_mut())) });
        let why = match (words, more.filter(|more| !more.is_empty())) {
            (Some(words), Some(more)) => Some(format!("{words}: {}", more.trim())),
            (words, more) => words.or(more),
        };
        Err(Failure::of_library(call, status, Some(name(status)), why, remedy(status)))
    }
}

/// A string of the library.
///
/// # Safety
/// `text` is null or points to a string that ends in NUL.
unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: by the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Major, minor and patch of a version number: 2 digits each from 2.9 on, 1, 1 and 2 before.
pub(super) const fn parts(code: u32) -> (u32, u32, u32) {
    if code < 10_000 { (code / 1000, code / 100 % 10, code % 100) } else { (code / 10_000, code / 100 % 100, code % 100) }
}

/// `ncclResult_t`.
fn name(status: Status) -> String {
    match status {
        1 => "ncclUnhandledCudaError".to_owned(),
        2 => "ncclSystemError".to_owned(),
        3 => "ncclInternalError".to_owned(),
        4 => "ncclInvalidArgument".to_owned(),
        5 => "ncclInvalidUsage".to_owned(),
        6 => "ncclRemoteError".to_owned(),
        IN_PROGRESS => "ncclInProgress".to_owned(),
        other => format!("ncclResult {other}"),
    }
}

/// What a person can do about a status.
const fn remedy(status: Status) -> &'static str {
    match status {
        2 => "check that /dev/shm is large (`--shm-size=16g` for containers) and that locked memory is allowed (`--ulimit memlock=-1`)",
        _ => {
            "run again with NCCL_DEBUG=WARN, which makes the library say what it met; NCCL_P2P_DISABLE=1 shows whether direct access is it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_both_of_their_forms() {
        assert_eq!([2708, 2804, 20_903, 21_805, 22_703].map(parts), [(2, 7, 8), (2, 8, 4), (2, 9, 3), (2, 18, 5), (2, 27, 3)]);
    }
}
