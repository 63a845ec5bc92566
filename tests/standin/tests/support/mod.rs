//! Loads a private copy of the stand-in library, so that every test has a driver of its own within one process.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test file uses its own part of this private helper")]

use std::ffi::{CString, c_void};

use gpu_assay_standin::{Standin, Trace};
use libloading::Library;

pub struct Rig {
    library: Library,
    folder: tempfile::TempDir,
}

/// Calls an exported function and gives its result code.
macro_rules! call {
    ($rig:expr, $name:ident ( $($value:expr => $type:ty),* $(,)? )) => {{
        // SAFETY: the types given here are those of the C declaration.
        unsafe {
            let function = $rig.symbol::<unsafe extern "C" fn($($type),*) -> i32>(stringify!($name));
            function($($value),*)
        }
    }};
}

impl Rig {
    pub fn new(scenario: &str, faults: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("library.so");
        std::fs::copy(Standin::library().unwrap(), &copy).unwrap();
        // SAFETY: the library has no initialiser.
        let library = unsafe { Library::new(&copy) }.unwrap();
        let rig = Self { library, folder };
        let text = |text: &str| CString::new(text).unwrap();
        let (scenario, faults) = (text(scenario), text(faults));
        let code = call!(rig, gpu_assay_standin_configure(scenario.as_ptr() => *const i8, faults.as_ptr() => *const i8));
        assert_eq!(code, 0, "the scenario is wrong");
        rig
    }

    /// With a context of device 0 current on this thread.
    pub fn ready(scenario: &str, faults: &str) -> Self {
        let rig = Self::new(scenario, faults);
        assert_eq!(call!(rig, cuInit(0 => u32)), 0);
        rig.enter(0);
        rig
    }

    pub unsafe fn symbol<T: Copy>(&self, name: &str) -> T {
        // SAFETY: as this function's.
        unsafe { *self.library.get::<T>(name.as_bytes()).unwrap() }
    }

    /// What the driver reports at this point.
    pub fn trace(&self) -> Trace {
        let file = self.folder.path().join("trace.toml");
        let path = CString::new(file.to_str().unwrap()).unwrap();
        assert_eq!(call!(self, gpu_assay_standin_report(path.as_ptr() => *const i8)), 0);
        toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    pub fn enter(&self, device: i32) -> usize {
        let mut context = 0usize;
        assert_eq!(call!(self, cuDevicePrimaryCtxRetain(&raw mut context => *mut usize, device => i32)), 0);
        assert_eq!(call!(self, cuCtxSetCurrent(context => usize)), 0);
        context
    }

    pub fn stream(&self) -> u64 {
        let mut stream = 0u64;
        assert_eq!(call!(self, cuStreamCreate(&raw mut stream => *mut u64, 1 => u32)), 0);
        stream
    }

    pub fn event(&self) -> u64 {
        let mut event = 0u64;
        assert_eq!(call!(self, cuEventCreate(&raw mut event => *mut u64, 0 => u32)), 0);
        event
    }

    pub fn record(&self, event: u64, stream: u64) {
        assert_eq!(call!(self, cuEventRecord(event => u64, stream => u64)), 0);
    }

    pub fn alloc(&self, bytes: usize) -> u64 {
        let mut address = 0u64;
        assert_eq!(call!(self, cuMemAlloc_v2(&raw mut address => *mut u64, bytes => usize)), 0);
        address
    }

    pub fn pinned(&self, bytes: usize) -> &'static mut [u8] {
        let mut pointer = std::ptr::null_mut::<c_void>();
        assert_eq!(call!(self, cuMemHostAlloc(&raw mut pointer => *mut *mut c_void, bytes => usize, 0 => u32)), 0);
        // SAFETY: the driver has just allocated this many bytes, which live until the test frees them.
        unsafe { std::slice::from_raw_parts_mut(pointer.cast(), bytes) }
    }

    pub fn upload(&self, to: u64, bytes: &[u8]) {
        assert_eq!(call!(self, cuMemcpyHtoD_v2(to => u64, bytes.as_ptr() => *const u8, bytes.len() => usize)), 0);
    }

    pub fn download(&self, from: u64, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0u8; bytes];
        assert_eq!(call!(self, cuMemcpyDtoH_v2(buffer.as_mut_ptr() => *mut u8, from => u64, bytes => usize)), 0);
        buffer
    }

    pub fn wait(&self, stream: u64) -> i32 {
        call!(self, cuStreamSynchronize(stream => u64))
    }

    /// Nanoseconds between two events.
    pub fn elapsed(&self, start: u64, end: u64) -> f64 {
        let mut milliseconds = 0f32;
        assert_eq!(call!(self, cuEventElapsedTime(&raw mut milliseconds => *mut f32, start => u64, end => u64)), 0);
        f64::from(milliseconds) * 1e6
    }

    pub fn give_back(&self, addresses: &[u64], streams: &[u64], events: &[u64], device: i32) {
        for address in addresses {
            assert_eq!(call!(self, cuMemFree_v2(*address => u64)), 0);
        }
        for event in events {
            assert_eq!(call!(self, cuEventDestroy_v2(*event => u64)), 0);
        }
        for stream in streams {
            assert_eq!(call!(self, cuStreamDestroy_v2(*stream => u64)), 0);
        }
        assert_eq!(call!(self, cuDevicePrimaryCtxRelease_v2(device => i32)), 0);
    }
}

/// Asserts that two numbers agree to single precision.
#[track_caller]
pub fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= expected.abs() * 1e-6, "expected {expected} but found {found}");
}

/// Two GPUs with round rates: one nanosecond per byte counts.
pub const PAIR: &str = r#"
description = "two GPUs with round numbers"
[driver]
version = "550.54.15"
cuda = 12040
cublaslt = 120402
nvml_order = [1, 0]
[model.round]
name = "Round GPU"
cc = [8, 0]
sms = 100
memory_mib = 65536
scale = 64
l2_kib = 4096
l2_scale = 1
l1_kib = 128
shared_kib = 164
bus_bits = 5120
clocks = { sm_mhz = 1000, sm_max_mhz = 1400, memory_mhz = 1500, memory_max_mhz = 1500 }
power = { draw_w = 300.0, enforced_w = 400.0, default_w = 400.0, min_w = 100.0, max_w = 400.0 }
ecc = { enabled = true, corrected = 3 }
throttle = ["sw-power-cap", "sw-thermal"]
pcie = { generation = 4, width = 8, generation_max = 4, width_max = 16 }
dram = { read_gbs = 1800.0, write_gbs = 1900.0, copy_gbs = 1600.0, scale_gbs = 1500.0, add_gbs = 1700.0, triad_gbs = 1650.0, ce_copy_gbs = 1400.0 }
cache = { l2_read_gbs = 4000.0, l1_ns = 20.0, l2_ns = 150.0, dram_ns = 400.0 }
matmul = { bf16_tflops = 200.0 }
cublaslt = { bf16_tflops = 250.0 }
host_link = { h2d_gbs = 25.0, d2h_gbs = 26.0, h2d_both_gbs = 19.0, d2h_both_gbs = 20.0, pageable_h2d_gbs = 8.0, pageable_d2h_gbs = 6.0, latency_us = 1.5 }
launch = { host_us = 2.0, graph_host_us = 5.0, kernel_us = 1.0, graph_kernel_us = 0.5 }
cost = { context_mib = 100, cublaslt_mib = 32 }
[[gpu]]
model = "round"
processes = [{ pid = 77, memory_mib = 50 }]
[[gpu]]
model = "round"
name = "Round GPU the second"
[link_default]
p2p = true
ce_gbs = 20.0
ce_both_gbs = 16.0
sm_gbs = 18.0
sm_both_gbs = 15.0
staged_gbs = 10.0
staged_both_gbs = 7.0
latency_us = 2.0
spread = 0.1
topology = "node"
"#;
