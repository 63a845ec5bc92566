//! A call that failed: which one, with what status, why, and what to do about it.

use crate::error::{Error, Result};

/// Status the table itself gives a function that the library does not have. No driver returns a negative status.
const MISSING: i32 = -1;

/// The driver's status codes this program treats specially. The numbers are part of the driver's interface (`cuda.h`).
pub(super) mod status {
    /// Not enough memory.
    pub(in crate::gpu) const OUT_OF_MEMORY: i32 = 2;
    /// The driver is being shut down.
    pub(in crate::gpu) const DEINITIALIZED: i32 = 4;
    /// A toolkit stub instead of a driver.
    pub(in crate::gpu) const STUB_LIBRARY: i32 = 34;
    /// Busy, prohibited, or in exclusive mode.
    pub(in crate::gpu) const DEVICE_UNAVAILABLE: i32 = 46;
    /// No GPU.
    pub(in crate::gpu) const NO_DEVICE: i32 = 100;
    /// Wrong ordinal.
    pub(in crate::gpu) const INVALID_DEVICE: i32 = 101;
    /// No code for this chip.
    pub(in crate::gpu) const NO_BINARY_FOR_GPU: i32 = 209;
    /// Memory is broken.
    pub(in crate::gpu) const ECC_UNCORRECTABLE: i32 = 214;
    /// A link is broken.
    pub(in crate::gpu) const NVLINK_UNCORRECTABLE: i32 = 220;
    /// Two GPUs that cannot reach each other.
    pub(in crate::gpu) const PEER_ACCESS_UNSUPPORTED: i32 = 217;
    /// PTX newer than the driver.
    pub(in crate::gpu) const UNSUPPORTED_PTX_VERSION: i32 = 222;
    /// Work is not finished.
    pub(in crate::gpu) const NOT_READY: i32 = 600;
    /// A kernel touched memory that is not its own.
    pub(in crate::gpu) const ILLEGAL_ADDRESS: i32 = 700;
    /// Killed by the display's watchdog.
    pub(in crate::gpu) const LAUNCH_TIMEOUT: i32 = 702;
    /// Peer access is already on.
    pub(in crate::gpu) const PEER_ACCESS_ALREADY_ENABLED: i32 = 704;
    /// The GPU has as many peers as its hardware can have, or the system's.
    pub(in crate::gpu) const TOO_MANY_PEERS: i32 = 711;
    /// A kernel failed.
    pub(in crate::gpu) const LAUNCH_FAILED: i32 = 719;
    /// Forbidden by the system's settings.
    pub(in crate::gpu) const NOT_PERMITTED: i32 = 800;
    /// The fabric manager is not up.
    pub(in crate::gpu) const SYSTEM_NOT_READY: i32 = 802;
    /// Library and kernel module differ.
    pub(in crate::gpu) const SYSTEM_DRIVER_MISMATCH: i32 = 803;
    /// Forward compatibility on a GPU that does not support it.
    pub(in crate::gpu) const COMPAT_NOT_SUPPORTED: i32 = 804;
    /// Anything else, a lost GPU among it.
    pub(in crate::gpu) const UNKNOWN: i32 = 999;
}

/// A failed call, before it is known what it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The function's name.
    pub(super) call: &'static str,
    /// Its status.
    pub(super) status: i32,
    /// The status's name.
    code: String,
    /// The library's explanation.
    why: String,
    /// What to do.
    remedy: &'static str,
    /// Whether there is nothing to work with, rather than that work failed.
    absent: bool,
}

/// What a call returned: nothing, or why it failed.
pub(super) type Returned = std::result::Result<(), Failure>;

impl Failure {
    /// A failed driver call, with the driver's own words where it had any.
    pub(super) fn new(call: &'static str, status: i32, code: Option<String>, why: Option<String>) -> Self {
        Self { absent: is_absence(status), ..Self::of_library(call, status, code, why, remedy(status)) }
    }

    /// A failed call of another library, whose statuses mean something else.
    pub(super) fn of_library(call: &'static str, status: i32, code: Option<String>, why: Option<String>, remedy: &'static str) -> Self {
        let code = code.unwrap_or_else(|| format!("status {status}"));
        let why = why.unwrap_or_else(|| "the library gives no explanation".into());
        Self { call, status, code, why, remedy, absent: false }
    }

    /// A call of a function that the library lacks.
    pub(super) fn missing(call: &'static str) -> Self {
        let (code, why) = ("no such function".into(), "the installed library does not have it".into());
        Self { absent: true, ..Self::of_library(call, MISSING, Some(code), Some(why), remedy(MISSING)) }
    }

    /// The error, now that it is known what was being done.
    pub(super) fn into_error(self, doing: impl Into<String>) -> Error {
        let (doing, remedy) = (doing.into(), self.remedy.into());
        if self.absent {
            return Error::Unavailable { doing, why: format!("{} returned {} ({})", self.call, self.code, self.why), remedy };
        }
        Error::Gpu { doing, call: self.call, code: self.code, why: self.why, remedy }
    }
}

/// Adds what was being done to a failed call.
pub(super) trait Doing<T> {
    /// The result with this crate's error; `what` runs only on failure.
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, Failure> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|failure| failure.into_error(what()))
    }
}

/// Whether a status means that there is nothing to work with, rather than that work failed.
const fn is_absence(status: i32) -> bool {
    matches!(
        status,
        status::NO_DEVICE
            | status::STUB_LIBRARY
            | status::SYSTEM_NOT_READY
            | status::SYSTEM_DRIVER_MISMATCH
            | status::COMPAT_NOT_SUPPORTED
            | status::DEVICE_UNAVAILABLE
            | status::TOO_MANY_PEERS
    )
}

/// What a person can do about a status.
const fn remedy(status: i32) -> &'static str {
    match status {
        MISSING => "update the NVIDIA driver",
        status::OUT_OF_MEMORY => "free the GPU's memory (`nvidia-smi` lists who holds it), or measure with smaller sizes",
        status::DEINITIALIZED => "the process is ending; run the command again",
        status::STUB_LIBRARY => "the toolkit's stub was loaded in place of the driver: take `lib64/stubs` out of LD_LIBRARY_PATH",
        status::DEVICE_UNAVAILABLE => {
            "another process holds the GPU in exclusive mode, or it is prohibited: wait for it, or see `nvidia-smi -q -d COMPUTE`"
        }
        status::NO_DEVICE => {
            "check `nvidia-smi -L`, CUDA_VISIBLE_DEVICES, and that the container was given a GPU (for Docker: `--gpus all`)"
        }
        status::INVALID_DEVICE => "choose a GPU that `gpu-assay inspect` lists",
        status::NO_BINARY_FOR_GPU => "this GPU is older than any the program has kernels for (compute capability 7.5)",
        status::ECC_UNCORRECTABLE => {
            "the GPU's memory is faulty: stop using it and report it to its owner (`nvidia-smi -q -d ECC,ROW_REMAPPER`)"
        }
        status::PEER_ACCESS_UNSUPPORTED => "this pair works through the host only (`nvidia-smi topo -p2p r` shows which do not)",
        status::TOO_MANY_PEERS => {
            "without an NVSwitch a GPU has at most eight peers, all programs together: end the others, or measure fewer GPUs with --gpu"
        }
        status::NVLINK_UNCORRECTABLE => "an NVLink is faulty: report it to the machine's owner (`nvidia-smi nvlink -e`)",
        status::UNSUPPORTED_PTX_VERSION => "update the NVIDIA driver: it is older than the kernels' PTX",
        status::ILLEGAL_ADDRESS | status::LAUNCH_FAILED => {
            "the GPU must be left to recover: run again, and if it recurs run `gpu-assay selftest`"
        }
        status::LAUNCH_TIMEOUT => "a display watchdog ended the kernel: measure a GPU that drives no display",
        status::NOT_PERMITTED => "the system's settings forbid it: run with the rights a CUDA program has there",
        status::SYSTEM_NOT_READY => "an NVSwitch machine needs its fabric manager: start `nvidia-fabricmanager` and wait until it is up",
        status::SYSTEM_DRIVER_MISMATCH => "libcuda and the kernel module are of different versions: reboot, or reinstall the driver",
        status::COMPAT_NOT_SUPPORTED => "take the CUDA forward-compatibility folder out of LD_LIBRARY_PATH, or update the driver",
        status::UNKNOWN => "see whether `nvidia-smi` still lists the GPU: one that fell off the bus needs a reboot",
        _ => "run `gpu-assay inspect` and check the kernel log for Xid messages",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: i32) -> Error {
        Failure::new("cuInit", status, Some("NAME".into()), Some("words".into())).into_error("opening GPU 0")
    }

    #[test]
    fn an_error_names_the_call_the_status_the_reason_and_the_remedy() {
        assert_eq!(
            error(status::OUT_OF_MEMORY).to_string(),
            "opening GPU 0: cuInit returned NAME (words); free the GPU's memory (`nvidia-smi` lists who holds it), or measure with smaller sizes"
        );
    }

    #[test]
    fn absence_and_failure_end_in_different_exit_codes() {
        for absent in [status::NO_DEVICE, status::SYSTEM_NOT_READY, status::SYSTEM_DRIVER_MISMATCH, status::STUB_LIBRARY] {
            assert_eq!(error(absent).exit_code(), 3, "{absent}");
        }
        for failed in [status::OUT_OF_MEMORY, status::ILLEGAL_ADDRESS, status::UNKNOWN, 12345] {
            assert_eq!(error(failed).exit_code(), 4, "{failed}");
        }
        assert_eq!(Failure::missing("cuGraphLaunch").into_error("launching").exit_code(), 3);
    }

    #[test]
    fn a_status_nobody_can_name_still_makes_a_full_sentence() {
        let text = Failure::new("cuInit", 4711, None, None).into_error("opening").to_string();
        assert!(
            text.starts_with("opening: cuInit returned status 4711 (the library gives no explanation); run `gpu-assay inspect`"),
            "{text}"
        );
    }
}
