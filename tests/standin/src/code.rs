//! Result codes of the four libraries, as numbers of their C headers.

/// A result of the CUDA driver other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cu(pub(crate) i32);

/// A result of NVML other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nv(pub(crate) i32);

/// A result of NCCL other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nc(pub(crate) i32);

/// A result of cublasLt other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lt(pub(crate) i32);

impl From<Cu> for i32 {
    fn from(code: Cu) -> Self {
        code.0
    }
}

impl From<Nv> for i32 {
    fn from(code: Nv) -> Self {
        code.0
    }
}

impl From<Lt> for i32 {
    fn from(code: Lt) -> Self {
        code.0
    }
}

impl Cu {
    pub(crate) const INVALID_VALUE: Self = Self(1);
    pub(crate) const OUT_OF_MEMORY: Self = Self(2);
    pub(crate) const NOT_INITIALIZED: Self = Self(3);
    pub(crate) const NO_DEVICE: Self = Self(100);
    pub(crate) const INVALID_DEVICE: Self = Self(101);
    pub(crate) const INVALID_IMAGE: Self = Self(200);
    pub(crate) const INVALID_CONTEXT: Self = Self(201);
    pub(crate) const NO_BINARY_FOR_GPU: Self = Self(209);
    pub(crate) const PEER_ACCESS_UNSUPPORTED: Self = Self(217);
    pub(crate) const INVALID_HANDLE: Self = Self(400);
    pub(crate) const NOT_FOUND: Self = Self(500);
    pub(crate) const NOT_READY: Self = Self(600);
    pub(crate) const ILLEGAL_ADDRESS: Self = Self(700);
    pub(crate) const PEER_ACCESS_ALREADY_ENABLED: Self = Self(704);
    pub(crate) const PEER_ACCESS_NOT_ENABLED: Self = Self(705);
    pub(crate) const TOO_MANY_PEERS: Self = Self(711);
    pub(crate) const HOST_MEMORY_ALREADY_REGISTERED: Self = Self(712);
    pub(crate) const HOST_MEMORY_NOT_REGISTERED: Self = Self(713);
    pub(crate) const STREAM_CAPTURE_UNSUPPORTED: Self = Self(900);
    pub(crate) const STREAM_CAPTURE_INVALIDATED: Self = Self(901);
    pub(crate) const UNKNOWN: Self = Self(999);
}

impl Nv {
    pub(crate) const UNINITIALIZED: Self = Self(1);
    pub(crate) const INVALID_ARGUMENT: Self = Self(2);
    pub(crate) const NOT_SUPPORTED: Self = Self(3);
    pub(crate) const NOT_FOUND: Self = Self(6);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(crate) const TIMEOUT: Self = Self(10);
    pub(crate) const GPU_IS_LOST: Self = Self(15);
    pub(crate) const DRIVER_NOT_LOADED: Self = Self(9);
}

impl Lt {
    pub(crate) const NOT_INITIALIZED: Self = Self(1);
    pub(crate) const ALLOC_FAILED: Self = Self(3);
    pub(crate) const INVALID_VALUE: Self = Self(7);
    pub(crate) const ARCH_MISMATCH: Self = Self(8);
    pub(crate) const EXECUTION_FAILED: Self = Self(13);
    pub(crate) const NOT_SUPPORTED: Self = Self(15);
}

impl From<Nc> for i32 {
    fn from(code: Nc) -> Self {
        code.0
    }
}

impl Nc {
    pub(crate) const CUDA: Self = Self(1);
    pub(crate) const INTERNAL: Self = Self(3);
    pub(crate) const INVALID_ARGUMENT: Self = Self(4);
    pub(crate) const INVALID_USAGE: Self = Self(5);
}

/// Name and text of a CUDA result, each ending in NUL.
pub(crate) fn describe(code: i32) -> Option<(&'static str, &'static str)> {
    Some(match code {
        0 => ("CUDA_SUCCESS\0", "no error\0"),
        1 => ("CUDA_ERROR_INVALID_VALUE\0", "invalid argument\0"),
        2 => ("CUDA_ERROR_OUT_OF_MEMORY\0", "out of memory\0"),
        3 => ("CUDA_ERROR_NOT_INITIALIZED\0", "initialization error\0"),
        46 => ("CUDA_ERROR_DEVICE_UNAVAILABLE\0", "CUDA-capable device(s) is/are busy or unavailable\0"),
        100 => ("CUDA_ERROR_NO_DEVICE\0", "no CUDA-capable device is detected\0"),
        101 => ("CUDA_ERROR_INVALID_DEVICE\0", "invalid device ordinal\0"),
        200 => ("CUDA_ERROR_INVALID_IMAGE\0", "device kernel image is invalid\0"),
        201 => ("CUDA_ERROR_INVALID_CONTEXT\0", "invalid device context\0"),
        209 => ("CUDA_ERROR_NO_BINARY_FOR_GPU\0", "no kernel image is available for execution on the device\0"),
        217 => ("CUDA_ERROR_PEER_ACCESS_UNSUPPORTED\0", "peer access is not supported between these two devices\0"),
        222 => ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION\0", "the provided PTX was compiled with an unsupported toolchain.\0"),
        400 => ("CUDA_ERROR_INVALID_HANDLE\0", "invalid resource handle\0"),
        500 => ("CUDA_ERROR_NOT_FOUND\0", "named symbol not found\0"),
        600 => ("CUDA_ERROR_NOT_READY\0", "device not ready\0"),
        700 => ("CUDA_ERROR_ILLEGAL_ADDRESS\0", "an illegal memory access was encountered\0"),
        704 => ("CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED\0", "peer access is already enabled\0"),
        705 => ("CUDA_ERROR_PEER_ACCESS_NOT_ENABLED\0", "peer access has not been enabled\0"),
        711 => ("CUDA_ERROR_TOO_MANY_PEERS\0", "peer mapping resources exhausted\0"),
        712 => ("CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED\0", "part or all of the requested memory range is already mapped\0"),
        713 => ("CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED\0", "pointer does not correspond to a registered memory region\0"),
        719 => ("CUDA_ERROR_LAUNCH_FAILED\0", "unspecified launch failure\0"),
        802 => ("CUDA_ERROR_SYSTEM_NOT_READY\0", "system not yet initialized\0"),
        900 => ("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED\0", "operation not permitted when stream is capturing\0"),
        901 => ("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED\0", "operation failed due to a previous error during capture\0"),
        999 => ("CUDA_ERROR_UNKNOWN\0", "unknown error\0"),
        _ => return None,
    })
}
