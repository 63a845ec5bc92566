//! Launches of the prebuilt images: contents, true time, the gate and its watchdog, graphs, and what goes wrong.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[macro_use]
mod support;

use std::ffi::{CString, c_void};
use std::path::Path;

use half::bf16;
use support::{PAIR, Rig, close};

/// A kernel argument by value.
#[derive(Clone, Copy)]
enum Value {
    U64(u64),
    U32(u32),
    F32(f32),
}
use Value::{F32, U32, U64};

/// A prebuilt image, unpacked, by its path below `kernels/prebuilt/` without the `.z` of the packing.
fn image(path: &str) -> Vec<u8> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/prebuilt").join(format!("{path}.z"));
    miniz_oxide::inflate::decompress_to_vec_zlib(&std::fs::read(packed).unwrap()).unwrap()
}

fn function(rig: &Rig, file: &str, name: &str) -> u64 {
    let image = image(&format!("sm_80/{file}.cubin"));
    let (mut module, mut function) = (0u64, 0u64);
    assert_eq!(call!(rig, cuModuleLoadData(&raw mut module => *mut u64, image.as_ptr() => *const u8)), 0);
    let name = CString::new(name).unwrap();
    assert_eq!(call!(rig, cuModuleGetFunction(&raw mut function => *mut u64, module => u64, name.as_ptr() => *const i8)), 0);
    function
}

fn launch(rig: &Rig, function: u64, stream: u64, blocks: u32, threads: u32, values: &[Value]) -> i32 {
    let words: Vec<u64> = values
        .iter()
        .map(|value| match *value {
            U64(value) => value,
            U32(value) => value.into(),
            F32(value) => value.to_bits().into(),
        })
        .collect();
    let mut pointers: Vec<*const u64> = words.iter().map(std::ptr::from_ref).collect();
    call!(rig, cuLaunchKernel(
        function => u64, blocks => u32, 1u32 => u32, 1u32 => u32, threads => u32, 1u32 => u32, 1u32 => u32, 0u32 => u32, stream => u64,
        pointers.as_mut_ptr() => *mut *const u64, std::ptr::null_mut() => *mut *mut c_void))
}

/// Nanoseconds of what `work` enqueues on the stream.
fn timed(rig: &Rig, stream: u64, work: impl FnOnce()) -> f64 {
    let (start, end) = (rig.event(), rig.event());
    rig.record(start, stream);
    work();
    rig.record(end, stream);
    assert_eq!(rig.wait(stream), 0);
    rig.elapsed(start, end)
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap())).collect()
}

#[test]
fn patterns_are_written_and_wrong_words_are_found_and_counted() {
    let rig = Rig::ready(PAIR, "");
    let (fill, verify) = (function(&rig, "fill", "fill_pattern"), function(&rig, "fill", "verify_pattern"));
    let (stream, count) = (rig.stream(), 100_001u64);
    let (data, found) = (rig.alloc(800_008), rig.alloc(16));
    assert_eq!(launch(&rig, fill, stream, 4, 256, &[U64(data), U64(count), U64(7)]), 0);
    let check = || {
        rig.upload(found, &[0u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat());
        assert_eq!(launch(&rig, verify, stream, 9, 64, &[U64(data), U64(count), U64(7), U64(found), U64(found + 8)]), 0);
        assert_eq!(rig.wait(stream), 0);
        words(&rig.download(found, 16))
    };
    assert_eq!(check(), [0, u64::MAX]);
    rig.upload(data + 8 * 777, &[1; 16]);
    assert_eq!(check(), [2, 777]);
    // An unchanged input is not read again, and the answer is the same.
    assert_eq!(check(), [2, 777]);
}

#[test]
fn streams_take_their_bytes_over_the_true_rate_and_do_the_arithmetic() {
    let rig = Rig::ready(PAIR, "");
    let (stream, vectors) = (rig.stream(), 2u64 << 20);
    let bytes = usize::try_from(vectors * 16).unwrap();
    let [a, b, c] = [rig.alloc(bytes), rig.alloc(bytes), rig.alloc(bytes)];
    let sink = rig.alloc(16);
    let run = |name: &str, values: &[Value]| {
        let function = function(&rig, "stream", name);
        timed(&rig, stream, || assert_eq!(launch(&rig, function, stream, 100, 256, values), 0))
    };
    let ns = |arrays: f64, rate: f64| 2000.0 + arrays * f64::from(32 << 20) / rate;
    // The host enqueues the launch 2 µs after the first event; behind a gate that is not seen.
    close(run("stream_write", &[U64(a), U64(vectors), F32(1.5)]), ns(1.0, 1900.0));
    close(run("stream_write", &[U64(b), U64(vectors), F32(2.0)]), ns(1.0, 1900.0));
    close(run("stream_copy", &[U64(a), U64(c), U64(vectors)]), ns(2.0, 1600.0));
    close(run("stream_scale", &[U64(b), U64(c), U64(vectors), F32(3.0)]), ns(2.0, 1500.0));
    close(run("stream_add", &[U64(a), U64(b), U64(c), U64(vectors)]), ns(3.0, 1700.0));
    close(run("stream_triad", &[U64(a), U64(b), U64(c), U64(vectors), F32(10.0)]), ns(3.0, 1650.0));
    let last = rig.download(c + vectors * 16 - 4, 4);
    assert_eq!(last, 21.5f32.to_le_bytes());
    rig.upload(sink, &[0; 16]);
    rig.upload(a + 16, &7.0f32.to_le_bytes());
    close(run("stream_read", &[U64(a), U64(vectors), U64(sink)]), ns(1.0, 1800.0));
    let expected = 7.0f32.to_bits() ^ 1.5f32.to_bits();
    assert_eq!(rig.download(sink, 4), expected.to_le_bytes());
}

#[test]
fn repeated_work_costs_time_but_is_done_once() {
    let rig = Rig::ready(PAIR, "");
    let (stream, bytes) = (rig.stream(), 16 << 20);
    let (a, c) = (rig.alloc(bytes), rig.alloc(bytes));
    let copy = function(&rig, "stream", "stream_copy");
    let vectors = 1u64 << 20;
    let many = || {
        for _ in 0..50 {
            assert_eq!(launch(&rig, copy, stream, 100, 256, &[U64(a), U64(c), U64(vectors)]), 0);
        }
    };
    rig.upload(a, &vec![1; bytes]);
    let first = timed(&rig, stream, many);
    assert!(first > 50.0 * 2.0 * f64::from(16 << 20) / 1600.0);
    rig.upload(a, &vec![2; 1000]);
    timed(&rig, stream, many);
    assert_eq!(rig.download(c, 1001)[999..], [2, 1]);
    let trace = rig.trace();
    // Two uploads, two copies, one download.
    assert_eq!(trace.work.executed, 5);
}

#[test]
fn small_arrays_that_were_just_used_come_from_the_cache() {
    let rig = Rig::ready(&PAIR.replace("kernel_us = 1.0", "kernel_us = 0.1"), "");
    let stream = rig.stream();
    let write = function(&rig, "stream", "stream_write");
    let a = rig.alloc(32 << 20);
    let vectors = 1u64 << 17;
    let once = |at: u64| timed(&rig, stream, || assert_eq!(launch(&rig, write, stream, 100, 256, &[U64(at), U64(vectors), F32(0.0)]), 0));
    let cold = 2000.0 + f64::from(2 << 20) / 1900.0;
    close(once(a), cold);
    close(once(a), 2000.0 + f64::from(2 << 20) / 4000.0);
    // Rotating over more than the cache holds is cold every time.
    for _ in 0..3 {
        for part in 0..4 {
            close(once(a + (8 << 20) + (part << 21)), cold);
        }
    }
}

#[test]
fn a_gate_hides_the_launches_and_its_watchdog_ends_a_mistake() {
    let rig = Rig::ready(PAIR, "");
    let (gate, empty) = (function(&rig, "gate", "gate"), function(&rig, "empty", "empty"));
    let (stream, start, end) = (rig.stream(), rig.event(), rig.event());
    // The first launch of a kernel loads it, which would wait for the gate.
    assert_eq!(launch(&rig, empty, stream, 1, 32, &[]), 0);
    let flags = rig.pinned(8);
    let (open, timed_out) = (flags.as_ptr() as u64, flags.as_ptr() as u64 + 4);
    let enqueue = || {
        assert_eq!(launch(&rig, gate, stream, 1, 1, &[U64(open), U64(1_000_000_000), U64(timed_out)]), 0);
        rig.record(start, stream);
        for _ in 0..20 {
            assert_eq!(launch(&rig, empty, stream, 1, 32, &[]), 0);
        }
        rig.record(end, stream);
    };
    enqueue();
    assert_eq!(call!(rig, cuStreamQuery(stream => u64)), 600);
    flags[0] = 1;
    assert_eq!(rig.wait(stream), 0);
    close(rig.elapsed(start, end), 20_000.0);
    assert_eq!(flags[4], 0);
    // Forgotten: the stream goes on after the watchdog, and says so.
    flags[0] = 0;
    enqueue();
    assert_eq!(rig.wait(stream), 0);
    close(rig.elapsed(start, end), 20_000.0);
    assert_eq!(flags[4], 1);
    // Polled: time goes by, and the watchdog comes as well.
    flags[4] = 0;
    enqueue();
    let polls = (0..).take_while(|_| call!(rig, cuEventQuery(end => u64)) == 600).count();
    assert!((900..1100).contains(&polls), "{polls}");
    assert_eq!(flags[4], 1);
}

#[test]
fn without_a_gate_launches_cost_what_the_host_takes_and_graphs_less() {
    let rig = Rig::ready(PAIR, "");
    let empty = function(&rig, "empty", "empty");
    let stream = rig.stream();
    let ten = || (0..10).for_each(|_| assert_eq!(launch(&rig, empty, stream, 1, 32, &[]), 0));
    // The last begins 20 µs after the first event and lasts 1 µs.
    close(timed(&rig, stream, ten), 21_000.0);
    let (mut graph, mut executable) = (0u64, 0u64);
    assert_eq!(call!(rig, cuStreamBeginCapture_v2(stream => u64, 0 => i32)), 0);
    ten();
    assert_eq!(call!(rig, cuStreamEndCapture(stream => u64, &raw mut graph => *mut u64)), 0);
    assert_eq!(call!(rig, cuGraphInstantiateWithFlags(&raw mut executable => *mut u64, graph => u64, 0u64 => u64)), 0);
    let once = timed(&rig, stream, || assert_eq!(call!(rig, cuGraphLaunch(executable => u64, stream => u64)), 0));
    close(once, 5000.0 + 10.0 * 500.0);
    assert_eq!(call!(rig, cuGraphExecDestroy(executable => u64)), 0);
    assert_eq!(call!(rig, cuGraphDestroy(graph => u64)), 0);
}

#[test]
fn a_chase_takes_the_latency_of_the_level_that_holds_its_ring() {
    let rig = Rig::ready(PAIR, "");
    let (chase, past_l1) = (function(&rig, "chase", "chase"), function(&rig, "chase", "chase_l2"));
    let stream = rig.stream();
    let result = rig.alloc(16);
    for (kib, function, latency) in [(64, chase, 20), (64, past_l1, 150), (1024, chase, 150), (8192, chase, 400)] {
        let lines = kib * 8u32;
        let ring: Vec<u8> =
            (0..lines * 32).flat_map(|index| if index % 32 == 0 { (index + 32) % (lines * 32) } else { 0 }.to_le_bytes()).collect();
        let next = rig.alloc(ring.len());
        rig.upload(next, &ring);
        let arguments = [U64(next), U32(0), U64(1000), U64(result), U64(result + 8)];
        let taken = timed(&rig, stream, || assert_eq!(launch(&rig, function, stream, 1, 1, &arguments), 0));
        close(taken, 2000.0 + 1000.0 * f64::from(latency));
        // 1 GHz, so that cycles are nanoseconds.
        let found = words(&rig.download(result, 16));
        assert_eq!((found[0] & 0xffff_ffff, found[1]), (u64::from(1000 * 32 % (lines * 32)), 1000 * u64::try_from(latency).unwrap()));
    }
}

#[test]
fn a_sweep_counts_every_block_and_repeat() {
    let rig = Rig::ready(PAIR, "");
    let sweep = function(&rig, "cache", "cache_read");
    let stream = rig.stream();
    let (a, sink) = (rig.alloc(1 << 20), rig.alloc(16));
    rig.upload(a, &vec![0; 1 << 20]);
    rig.upload(a + 16, &[3, 0, 0, 0]);
    rig.upload(sink, &[0; 16]);
    let taken = timed(&rig, stream, || assert_eq!(launch(&rig, sweep, stream, 50, 256, &[U64(a), U64(1 << 16), U32(4), U64(sink)]), 0));
    close(taken, 2000.0 + 200.0 * f64::from(1 << 20) / 4000.0);
    assert_eq!(rig.download(sink, 4), 600u32.to_le_bytes());
}

/// Small whole numbers, so that every format and every sum is exact.
fn matrix(rows: usize, cols: usize, salt: usize) -> Vec<f32> {
    (0..rows * cols).map(|index| f32::from(i8::try_from((index * 7 + salt) % 5).unwrap() - 2)).collect()
}

fn exact(a: &[f32], b: &[f32], rows: usize, cols: usize, depth: usize) -> Vec<u8> {
    let cell = |row: usize, col: usize| (0..depth).map(|l| a[row * depth + l] * b[col * depth + l]).sum::<f32>();
    (0..rows).flat_map(|row| (0..cols).flat_map(move |col| bf16::from_f32(cell(row, col)).to_le_bytes()).collect::<Vec<_>>()).collect()
}

fn encode(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
}

#[test]
fn matrix_kernels_multiply_and_take_operations_over_the_true_rate() {
    let rig = Rig::ready(PAIR, "");
    let gemm = function(&rig, "gemm_bf16", "gemm_bf16");
    let stream = rig.stream();
    let (rows, cols, depth) = (72usize, 40usize, 128usize);
    let (a, b) = (matrix(rows, depth, 1), matrix(cols, depth, 3));
    let [da, db, dc] = [rig.alloc(rows * depth * 2), rig.alloc(cols * depth * 2), rig.alloc(rows * cols * 2)];
    rig.upload(da, &encode(&a));
    rig.upload(db, &encode(&b));
    let arguments = [U64(da), U64(db), U64(dc), U32(72), U32(40), U32(128)];
    let taken = timed(&rig, stream, || assert_eq!(launch(&rig, gemm, stream, 1, 256, &arguments), 0));
    // So small that only the least time of a kernel is left.
    close(taken, 3000.0);
    assert_eq!(rig.download(dc, rows * cols * 2), exact(&a, &b, rows, cols, depth));
    let size = 1024u32;
    let [la, lb, lc] = [rig.alloc(2 << 20), rig.alloc(2 << 20), rig.alloc(2 << 20)];
    let arguments = [U64(la), U64(lb), U64(lc), U32(size), U32(size), U32(size)];
    let taken = timed(&rig, stream, || assert_eq!(launch(&rig, gemm, stream, 32, 256, &arguments), 0));
    close(taken, 2000.0 + 2.0 * f64::from(size).powi(3) / 200e3);
}

#[test]
fn the_library_multiplies_in_column_major_order() {
    let rig = Rig::ready(PAIR, "");
    let stream = rig.stream();
    let (m, n, k) = (48usize, 32usize, 64usize);
    // op(A) = Aᵀ with A stored k × m, so that row i of op(A) is contiguous; D is n × m in row-major terms.
    let (a, b) = (matrix(m, k, 2), matrix(n, k, 4));
    let [da, db, dd] = [rig.alloc(m * k * 2), rig.alloc(n * k * 2), rig.alloc(m * n * 2)];
    rig.upload(da, &encode(&a));
    rig.upload(db, &encode(&b));
    let (mut handle, mut descriptor) = (0usize, 0usize);
    assert_eq!(call!(rig, cublasLtCreate(&raw mut handle => *mut usize)), 0);
    assert_eq!(call!(rig, cublasLtMatmulDescCreate(&raw mut descriptor => *mut usize, 68 => i32, 0 => i32)), 0);
    let transpose = 1i32;
    let code = call!(rig, cublasLtMatmulDescSetAttribute(descriptor => usize, 3 => i32, &raw const transpose => *const i32, 4 => usize));
    assert_eq!(code, 0);
    let layout = |rows: usize, cols: usize| {
        let mut layout = 0usize;
        let code = call!(rig, cublasLtMatrixLayoutCreate(
            &raw mut layout => *mut usize, 14 => i32, rows as u64 => u64, cols as u64 => u64, rows.cast_signed() as i64 => i64));
        assert_eq!(code, 0);
        layout
    };
    let (la, lb, ld) = (layout(k, m), layout(k, n), layout(m, n));
    let (alpha, beta) = (1f32, 0f32);
    let taken = timed(&rig, stream, || {
        let code = call!(rig, cublasLtMatmul(
            handle => usize, descriptor => usize, &raw const alpha => *const f32, da => u64, la => usize, db => u64, lb => usize,
            &raw const beta => *const f32, dd => u64, ld => usize, dd => u64, ld => usize, std::ptr::null() => *const u64,
            0 => u64, 0 => usize, stream => u64));
        assert_eq!(code, 0);
    });
    close(taken, 3000.0);
    assert_eq!(rig.download(dd, m * n * 2), exact(&b, &a, n, m, k));
}

#[test]
fn checks_by_random_vectors_agree_with_the_product() {
    let rig = Rig::ready(PAIR, "");
    let (plain, turned) = (function(&rig, "check", "matvec_bf16"), function(&rig, "check", "matvec_t_bf16"));
    let stream = rig.stream();
    let (rows, cols) = (300usize, 72usize);
    let a = matrix(rows, cols, 1);
    let (x, z): (Vec<f64>, Vec<f64>) = ((0..cols).map(|i| i as f64 - 20.0).collect(), (0..rows).map(|i| 5.0 - i as f64).collect());
    let [da, dx, dy, dz] = [rig.alloc(rows * cols * 2), rig.alloc(cols * 8), rig.alloc(rows * 8), rig.alloc(rows * 8)];
    let bytes = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    rig.upload(da, &encode(&a));
    rig.upload(dx, &bytes(&x));
    rig.upload(dz, &bytes(&z));
    let result = rig.alloc(cols * 8);
    rig.upload(dy, &vec![0; rows * 8]);
    rig.upload(result, &vec![0; cols * 8]);
    let shape = [U64(rows as u64), U64(cols as u64)];
    assert_eq!(launch(&rig, plain, stream, 3, 64, &[&[U64(da), U64(dx), U64(dy)], &shape[..]].concat()), 0);
    assert_eq!(launch(&rig, turned, stream, 3, 64, &[&[U64(da), U64(dz), U64(result)], &shape[..]].concat()), 0);
    assert_eq!(rig.wait(stream), 0);
    let cell = |row: usize, col: usize| f64::from(a[row * cols + col]);
    let ax: Vec<f64> = (0..rows).map(|row| (0..cols).map(|col| cell(row, col) * x[col]).sum()).collect();
    let atz: Vec<f64> = (0..cols).map(|col| (0..rows).map(|row| cell(row, col) * z[row]).sum()).collect();
    assert_eq!(rig.download(dy, rows * 8), bytes(&ax));
    assert_eq!(rig.download(result, cols * 8), bytes(&atz));
}

#[test]
fn a_launch_outside_its_memory_poisons_the_context() {
    let rig = Rig::ready(PAIR, "");
    let fill = function(&rig, "fill", "fill_pattern");
    let (stream, data) = (rig.stream(), rig.alloc(800));
    assert_eq!(launch(&rig, fill, stream, 1, 32, &[U64(data), U64(101), U64(0)]), 0);
    assert_eq!(rig.wait(stream), 700);
    let mut address = 0u64;
    assert_eq!(call!(rig, cuMemAlloc_v2(&raw mut address => *mut u64, 8 => usize)), 700);
}

#[test]
fn memory_of_another_gpu_needs_peer_access_and_moves_at_the_link_rate() {
    let rig = Rig::new(PAIR, "");
    assert_eq!(call!(rig, cuInit(0 => u32)), 0);
    let second = rig.enter(1);
    let there = rig.alloc(1 << 24);
    rig.enter(0);
    assert_eq!(call!(rig, cuCtxEnablePeerAccess(second => usize, 0 => u32)), 0);
    let (here, stream) = (rig.alloc(1 << 24), rig.stream());
    let copy = function(&rig, "stream", "stream_copy");
    let taken = timed(&rig, stream, || assert_eq!(launch(&rig, copy, stream, 100, 256, &[U64(here), U64(there), U64(1 << 20)]), 0));
    // The pair (0, 1) keeps 1 − 0.1 / 64 of 18.
    close(taken, 2000.0 + f64::from(1 << 24) / (18.0 * (1.0 - 0.1 / 64.0)));
    assert_eq!(call!(rig, cuCtxDisablePeerAccess(second => usize)), 0);
    assert_eq!(launch(&rig, copy, stream, 100, 256, &[U64(here), U64(there), U64(1 << 20)]), 0);
    assert_eq!(rig.wait(stream), 700);
}

#[test]
fn a_corrupted_launch_leaves_one_wrong_bit_and_its_repetition_repairs_it() {
    let rig = Rig::ready(PAIR, "cuLaunchKernel:2:corrupt");
    let write = function(&rig, "stream", "stream_write");
    let (stream, data) = (rig.stream(), rig.alloc(1600));
    let wrong = || {
        assert_eq!(launch(&rig, write, stream, 1, 32, &[U64(data), U64(100), F32(0.0)]), 0);
        assert_eq!(rig.wait(stream), 0);
        rig.download(data, 1600).iter().map(|byte| byte.count_ones()).sum::<u32>()
    };
    assert_eq!([wrong(), wrong(), wrong()], [0, 1, 0]);
}

#[test]
fn images_for_other_chips_do_not_load() {
    let rig = Rig::ready(PAIR, "");
    let load = |path: &str| {
        let mut image = image(path);
        image.push(0);
        let mut module = 0u64;
        call!(rig, cuModuleLoadData(&raw mut module => *mut u64, image.as_ptr() => *const u8))
    };
    assert_eq!(["sm_75/empty.cubin", "sm_80/empty.cubin", "sm_86/empty.cubin", "sm_90a/empty.cubin"].map(load), [209, 0, 209, 209]);
    assert_eq!(["compute_75/empty.ptx", "sm_100a/empty.cubin"].map(load), [0, 209]);
}

#[test]
fn noise_is_seeded_and_centred() {
    let noisy = |seed: u64| {
        let rig = Rig::ready(&PAIR.replace("[driver]", &format!("noise = {{ sigma = 0.01, seed = {seed} }}\n[driver]")), "");
        let write = function(&rig, "stream", "stream_write");
        let (stream, data) = (rig.stream(), rig.alloc(32 << 20));
        let rate = |_| {
            let taken = timed(&rig, stream, || assert_eq!(launch(&rig, write, stream, 1, 32, &[U64(data), U64(2 << 20), F32(0.0)]), 0));
            (taken - 2000.0) / (f64::from(32 << 20) / 1900.0)
        };
        (0..400).map(rate).collect::<Vec<f64>>()
    };
    let (first, again, other) = (noisy(1), noisy(1), noisy(2));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let mean = first.iter().sum::<f64>() / 400.0;
    let sigma = (first.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
    assert!((mean - 1.0).abs() < 0.002 && (0.0088..0.0112).contains(&sigma), "mean {mean}, sigma {sigma}");
}

/// A tensor map of 4 rows of 64 BF16 elements, with one thing changed.
fn encoded(rig: &Rig, change: impl FnOnce(&mut Wanted)) -> i32 {
    let mut wanted =
        Wanted { address: rig.alloc(4096), kind: 9, sizes: [64, 4], stride: 128, extents: [64, 64], steps: [1, 1], swizzle: 3 };
    change(&mut wanted);
    let mut map = Map([0; 16]);
    call!(rig, cuTensorMapEncodeTiled(
        &raw mut map => *mut Map, wanted.kind => i32, 2u32 => u32, wanted.address as *mut c_void => *mut c_void,
        wanted.sizes.as_ptr() => *const u64, &raw const wanted.stride => *const u64, wanted.extents.as_ptr() => *const u32,
        wanted.steps.as_ptr() => *const u32, 0i32 => i32, wanted.swizzle => i32, 3i32 => i32, 0i32 => i32))
}

struct Wanted {
    address: u64,
    kind: i32,
    sizes: [u64; 2],
    stride: u64,
    extents: [u32; 2],
    steps: [u32; 2],
    swizzle: i32,
}

#[repr(C, align(64))]
struct Map([u64; 16]);

#[test]
fn a_tensor_map_is_refused_as_the_driver_documents_it() {
    let rig = Rig::ready(PAIR, "");
    assert_eq!(encoded(&rig, |_| {}), 0);
    assert_eq!(encoded(&rig, |map| map.kind = 13), 1, "no such type");
    assert_eq!(encoded(&rig, |map| map.address += 8), 1, "an address that is no multiple of 16");
    assert_eq!(encoded(&rig, |map| map.address = 0), 1, "no address");
    assert_eq!(encoded(&rig, |map| map.sizes = [0, 4]), 1, "an empty matrix");
    assert_eq!(encoded(&rig, |map| map.stride = 136), 1, "rows of a length that is no multiple of 16");
    assert_eq!(encoded(&rig, |map| map.stride = 1 << 40), 1, "rows too long");
    assert_eq!(encoded(&rig, |map| map.extents = [64, 257]), 1, "a box too high");
    assert_eq!(encoded(&rig, |map| map.extents = [72, 64]), 1, "a box wider than the swizzle");
    assert_eq!(encoded(&rig, |map| map.extents = [60, 64]), 1, "a box whose rows are no multiple of 16 bytes");
    assert_eq!(encoded(&rig, |map| map.swizzle = 4), 1, "no such swizzle");
    assert_eq!(encoded(&rig, |map| map.steps = [0, 1]), 1, "no step");
}
