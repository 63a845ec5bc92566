//! Devices, memory, copies, events and NVML as a C program sees them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[macro_use]
mod support;

use std::ffi::{CStr, c_char};

use support::{PAIR, Rig, close};

fn name(rig: &Rig, device: i32) -> String {
    let mut text = [0 as c_char; 64];
    assert_eq!(call!(rig, cuDeviceGetName(text.as_mut_ptr() => *mut c_char, 64 => i32, device => i32)), 0);
    // SAFETY: the driver ended it with NUL.
    unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().unwrap().to_owned()
}

#[test]
fn devices_are_those_of_the_scenario() {
    let rig = Rig::new(PAIR, "");
    let mut count = 0;
    assert_eq!(call!(rig, cuDeviceGetCount(&raw mut count => *mut i32)), 3, "not initialised yet");
    assert_eq!(call!(rig, cuInit(0 => u32)), 0);
    assert_eq!(call!(rig, cuDeviceGetCount(&raw mut count => *mut i32)), 0);
    assert_eq!(count, 2);
    assert_eq!(name(&rig, 1), "Round GPU the second");
    let mut bytes = 0usize;
    assert_eq!(call!(rig, cuDeviceTotalMem_v2(&raw mut bytes => *mut usize, 0 => i32)), 0);
    assert_eq!(bytes, 1 << 30);
    for (attribute, expected) in [(16, 100), (75, 8), (76, 0), (38, 4 << 20), (37, 5120), (13, 1_400_000), (39, 2048)] {
        let mut value = 0;
        assert_eq!(call!(rig, cuDeviceGetAttribute(&raw mut value => *mut i32, attribute => i32, 0 => i32)), 0);
        assert_eq!(value, expected, "attribute {attribute}");
    }
    let mut handle = 0;
    assert_eq!(call!(rig, cuDeviceGet(&raw mut handle => *mut i32, 2 => i32)), 101);
}

#[test]
fn without_a_gpu_the_driver_says_so() {
    let text = "description = \"none\"\n[driver]\nversion = \"550\"\ncuda = 12040\n";
    let rig = Rig::new(text, "");
    assert_eq!(call!(rig, cuInit(0 => u32)), 100);
}

#[test]
fn copies_move_real_bytes_at_the_true_rate() {
    let rig = Rig::ready(PAIR, "");
    let (stream, start, end) = (rig.stream(), rig.event(), rig.event());
    let host = rig.pinned(1 << 20);
    for (index, byte) in host.iter_mut().enumerate() {
        *byte = u8::try_from(index * 7 % 251).unwrap();
    }
    let device = rig.alloc(1 << 20);
    rig.record(start, stream);
    for _ in 0..3 {
        let code = call!(rig, cuMemcpyHtoDAsync_v2(device => u64, host.as_ptr() => *const u8, 1 << 20 => usize, stream => u64));
        assert_eq!(code, 0);
    }
    rig.record(end, stream);
    assert_eq!(rig.wait(stream), 0);
    close(rig.elapsed(start, end), 3.0 * f64::from(1 << 20) / 25.0);
    assert_eq!(rig.download(device, 1 << 20), host);
    // Within the run of one call the repetitions are done once.
    assert_eq!(call!(rig, cuMemFreeHost(host.as_mut_ptr() => *mut u8)), 0);
    rig.give_back(&[device], &[stream], &[start, end], 0);
    let trace = rig.trace();
    assert_eq!(trace.leaks(), []);
    assert_eq!(trace.calls["cuMemcpyHtoDAsync_v2"], 3);
    assert_eq!(trace.work.executed, 2);
}

#[test]
fn both_directions_at_once_share_the_link_exactly_while_they_overlap() {
    let rig = Rig::ready(PAIR, "");
    let (up, down) = (rig.stream(), rig.stream());
    let (start, end) = (rig.event(), rig.event());
    let (a, b) = (rig.pinned(1_900_000), rig.pinned(4_600_000));
    let (da, db) = (rig.alloc(1_900_000), rig.alloc(4_600_000));
    rig.record(start, down);
    assert_eq!(call!(rig, cuMemcpyHtoDAsync_v2(da => u64, a.as_ptr() => *const u8, a.len() => usize, up => u64)), 0);
    assert_eq!(call!(rig, cuMemcpyDtoHAsync_v2(b.as_mut_ptr() => *mut u8, db => u64, b.len() => usize, down => u64)), 0);
    rig.record(end, down);
    assert_eq!(call!(rig, cuCtxSynchronize()), 0);
    // 100 µs together (1.9 MB up at 19, 2.0 MB down at 20), then 2.6 MB alone at 26.
    close(rig.elapsed(start, end), 200_000.0);
}

#[test]
fn peer_copies_need_permission_to_go_directly() {
    let rig = Rig::new(PAIR, "");
    assert_eq!(call!(rig, cuInit(0 => u32)), 0);
    let second = rig.enter(1);
    let there = rig.alloc(1_000_000);
    rig.upload(there, &[9; 1000]);
    let first = rig.enter(0);
    let here = rig.alloc(1_000_000);
    let stream = rig.stream();
    let timed = || {
        let (start, end) = (rig.event(), rig.event());
        rig.record(start, stream);
        let code =
            call!(rig, cuMemcpyPeerAsync(here => u64, first => usize, there => u64, second => usize, 1_000_000 => usize, stream => u64));
        assert_eq!(code, 0);
        rig.record(end, stream);
        assert_eq!(rig.wait(stream), 0);
        rig.elapsed(start, end)
    };
    // The pair (1, 0) keeps 1 − 0.1 × 8 / 64 of the rate.
    close(timed(), 1_000_000.0 / (10.0 * 0.9875));
    assert_eq!(call!(rig, cuCtxEnablePeerAccess(second => usize, 0 => u32)), 0);
    assert_eq!(call!(rig, cuCtxEnablePeerAccess(second => usize, 0 => u32)), 704);
    close(timed(), 1_000_000.0 / (20.0 * 0.9875));
    assert_eq!(rig.download(here, 1000), [9; 1000]);
}

#[test]
fn memory_runs_out_at_the_scaled_size_and_counts_what_others_hold() {
    let rig = Rig::ready(PAIR, "");
    let (mut free, mut total) = (0usize, 0usize);
    assert_eq!(call!(rig, cuMemGetInfo_v2(&raw mut free => *mut usize, &raw mut total => *mut usize)), 0);
    assert_eq!((free, total), ((1024 - 150) << 20, 1 << 30));
    let mut address = 0u64;
    assert_eq!(call!(rig, cuMemAlloc_v2(&raw mut address => *mut u64, free + 1 => usize)), 2);
    assert_eq!(call!(rig, cuMemAlloc_v2(&raw mut address => *mut u64, free => usize)), 0);
    let trace = rig.trace();
    assert_eq!(trace.leaks(), [("contexts", 1), ("device memory", 1)]);
}

#[test]
fn a_copy_beyond_an_allocation_is_refused() {
    let rig = Rig::ready(PAIR, "");
    let device = rig.alloc(4096);
    let bytes = [0u8; 8192];
    assert_eq!(call!(rig, cuMemcpyHtoD_v2(device => u64, bytes.as_ptr() => *const u8, 8192 => usize)), 1);
}

#[test]
fn planned_mishaps_strike_the_named_call() {
    let rig = Rig::ready(PAIR, "cuMemAlloc_v2:2:error=2,cuMemcpyDtoH_v2:1:corrupt,cuStreamCreate:1:gone");
    let first = rig.alloc(100);
    let mut address = 0u64;
    assert_eq!(call!(rig, cuMemAlloc_v2(&raw mut address => *mut u64, 100 => usize)), 2);
    assert_eq!(call!(rig, cuMemAlloc_v2(&raw mut address => *mut u64, 100 => usize)), 0);
    rig.upload(first, &[5; 100]);
    let wrong = rig.download(first, 100).iter().filter(|byte| **byte != 5).count();
    assert_eq!(wrong, 1);
    assert_eq!(rig.download(first, 100), [5; 100]);
    let mut stream = 0u64;
    assert_eq!(call!(rig, cuStreamCreate(&raw mut stream => *mut u64, 0 => u32)), 999);
    assert_eq!(call!(rig, cuMemAlloc_v2(&raw mut address => *mut u64, 100 => usize)), 999);
    assert_eq!(call!(rig, cuCtxSynchronize()), 999);
}

#[test]
fn nvml_counts_boards_its_own_way_and_agrees_by_uuid() {
    let rig = Rig::new(PAIR, "");
    assert_eq!(call!(rig, nvmlInit_v2()), 0);
    let mut handle = 0usize;
    assert_eq!(call!(rig, nvmlDeviceGetHandleByIndex_v2(0 => u32, &raw mut handle => *mut usize)), 0);
    let mut text = [0 as c_char; 96];
    assert_eq!(call!(rig, nvmlDeviceGetUUID(handle => usize, text.as_mut_ptr() => *mut c_char, 96 => u32)), 0);
    // SAFETY: the library ended it with NUL.
    let uuid = unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().unwrap();
    assert!(uuid.ends_with("000000000001"), "{uuid}");
    let mut again = 0usize;
    assert_eq!(call!(rig, nvmlDeviceGetHandleByUUID(text.as_ptr() => *const c_char, &raw mut again => *mut usize)), 0);
    assert_eq!(handle, again);
    let (mut bits, mut width, mut errors) = (0u64, 0u32, 0u64);
    assert_eq!(call!(rig, nvmlDeviceGetCurrentClocksThrottleReasons(handle => usize, &raw mut bits => *mut u64)), 0);
    assert_eq!(call!(rig, nvmlDeviceGetCurrPcieLinkWidth(handle => usize, &raw mut width => *mut u32)), 0);
    let code = call!(rig, nvmlDeviceGetTotalEccErrors(handle => usize, 0 => u32, 0 => u32, &raw mut errors => *mut u64));
    assert_eq!((code, bits, width, errors), (0, 0x24, 8, 3));
    assert_eq!(call!(rig, nvmlShutdown()), 0);
    assert_eq!(call!(rig, nvmlShutdown()), 1);
}

#[test]
fn the_marker_is_there() {
    let rig = Rig::new(PAIR, "");
    assert_eq!(call!(rig, gpu_assay_standin_marker()), 1);
}
