//! The GPU layer on the stand-in driver: the real calls, on a machine whose truth is known.
//!
//! The driver's library is found by the system's loader when a process starts, so each test starts this very program again with the stand-in
//! on the library path and only that test chosen. The outer half then asks the stand-in what the inner half left behind.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test, also in a test's own helpers.

use std::path::PathBuf;
use std::sync::Arc;

use gpu_assay::error::{Error, Result};
use gpu_assay::gpu::{
    Attribute, Chase, CublasLt, Driver, Empty, FillPattern, FillUniformBf16, GemmBf16, Gpu, Graph, HopperFormat, HopperKernel,
    HopperOperands, HopperTile, LtFormat, Nccl, NcclKind, NcclOperation, RankMemory, SYMBOLS, Shape, Stream, StreamCopy, StreamTriad,
    VerifyPattern, prebuilt, select, survey,
};
use gpu_assay::measure::{Clock, GpuClock, Trial, Work};
use gpu_assay::units::{Bytes, Seconds};
use gpu_assay_standin::{FAULT, Standin};

/// Tells the inner half that it is the inner half.
const INSIDE: &str = "GPU_LAYER_INSIDE";

/// Runs `body` in a process of its own on the scenario's machine, and checks that it gave everything back.
fn on(scenario: &str, test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let standin = Standin::named(scenario).unwrap();
    let mut command = standin.command(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let output = command.output().unwrap();
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    assert!(output.status.success(), "{test} on {scenario}:\n{text}");
    assert!(text.contains("1 passed"), "{test} did not run:\n{text}");
    if let Some(trace) = standin.trace().unwrap() {
        assert_eq!(trace.leaks(), [], "{test} on {scenario} gave not everything back");
    }
}

fn first_gpu() -> Gpu {
    Gpu::open(&Driver::open().unwrap(), 0).unwrap()
}

/// Two buffers and a stream on the first GPU.
fn bench(bytes: Bytes) -> (Gpu, Stream, [gpu_assay::gpu::DeviceBuffer; 2]) {
    let gpu = first_gpu();
    let stream = gpu.stream().unwrap();
    let buffers = [gpu.allocate(bytes).unwrap(), gpu.allocate(bytes).unwrap()];
    (gpu, stream, buffers)
}

/// The stand-in's NCCL, for the machine of this process.
fn nccl() -> Nccl {
    let folders = std::env::var("LD_LIBRARY_PATH").unwrap();
    Nccl::open(&PathBuf::from(folders.split(':').next().unwrap()).join("libnccl.so.2")).unwrap()
}

/// As [`on`], on two small GPUs with NCCL, and with a fault.
fn talking(test: &str, fault: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let scenario = include_str!("scenarios/sweep.toml").replace("[driver]", "[driver]\nnccl = 22703");
    let standin = Standin::with_text(&scenario).unwrap();
    let mut command = standin.command(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, "1").env(FAULT, fault);
    let output = command.output().unwrap();
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    assert!(output.status.success() && text.contains("1 passed"), "{test}:\n{text}");
    // What hangs keeps what it works on.
    if !fault.contains("hang") {
        assert_eq!(standin.trace().unwrap().unwrap().leaks(), [], "{test}");
    }
}

fn both() -> [Gpu; 2] {
    let driver = Driver::open().unwrap();
    [0, 1].map(|ordinal| Gpu::open(&driver, ordinal).unwrap())
}

#[test]
fn what_does_not_fit_the_ranks_is_refused_before_the_library_sees_it() {
    talking("what_does_not_fit_the_ranks_is_refused_before_the_library_sees_it", "", || {
        let (nccl, gpus) = (nccl(), both());
        assert_eq!(nccl.version(), Some((2, 27, 3)));
        for wrong in [&gpus[..1], &[gpus[0].clone(), gpus[0].clone()]] {
            assert!(matches!(nccl.connect(wrong, Seconds(5.0)), Err(Error::Usage(_))));
        }
        let clique = nccl.connect(&gpus, Seconds(5.0)).unwrap();
        let streams = [gpus[0].stream().unwrap(), gpus[1].stream().unwrap()];
        let memory: Vec<_> = gpus.iter().flat_map(|gpu| [Bytes(64), Bytes(32)].map(|bytes| gpu.allocate(bytes).unwrap())).collect();
        let rank = |stream: usize, send: usize, receive: usize| RankMemory {
            stream: &streams[stream],
            send: memory[send].view(),
            receive: memory[receive].view(),
        };
        let refused = |operation, ranks: &[RankMemory<'_>]| match clique.enqueue(operation, NcclKind::Float, ranks) {
            Err(Error::Usage(why)) => why,
            other => panic!("{other:?}"),
        };
        use NcclOperation::{AllGather, AllReduce, ReduceScatter};
        assert!(refused(AllReduce, &[rank(0, 0, 0)]).contains("expected 2 ranks but found 1"));
        assert!(refused(AllReduce, &[rank(0, 0, 1), rank(1, 2, 3)]).contains("expected 64 bytes to send and 64 to receive"));
        assert!(refused(AllGather, &[rank(0, 0, 1), rank(1, 2, 3)]).contains("and 128 to receive"));
        assert!(refused(ReduceScatter, &[rank(1, 0, 1), rank(0, 2, 3)]).contains("stream and memory of GPU 0 for rank 0"));
        assert!(refused(ReduceScatter, &[rank(0, 2, 3), rank(1, 0, 1)]).contains("stream and memory of GPU 0 for rank 0"));
        assert!(!clique.is_aborted());
        for (stream, buffer) in [(0, 0), (1, 2)] {
            memory[buffer].write(&streams[stream], &[1.5f32; 16]).unwrap();
        }
        clique.enqueue(ReduceScatter, NcclKind::Float, &[rank(0, 0, 1), rank(1, 2, 3)]).unwrap();
        clique.settle(&streams, Seconds(5.0)).unwrap();
        assert_eq!(memory[3].read::<f32>(&streams[1], 8).unwrap(), [3.0; 8]);
    });
}

#[test]
fn connecting_that_hangs_is_given_up() {
    talking("connecting_that_hangs_is_given_up", "ncclCommInitAll:1:hang=60", || {
        let error = nccl().connect(&both(), Seconds(0.3)).unwrap_err();
        assert!(error.to_string().starts_with("connecting GPUs 0, 1 by NCCL: it did not end within 0.3 s"), "{error}");
    });
}

#[test]
fn devices_are_listed_as_the_scenario_describes_them() {
    on("h200-1x", "devices_are_listed_as_the_scenario_describes_them", || {
        let driver = Driver::open().unwrap();
        assert!(driver.simulated());
        assert_eq!(driver.version(), (12, 4));
        let [device] = driver.devices() else { panic!("{:?}", driver.devices()) };
        assert_eq!((device.name.as_str(), device.sm_count, device.compute_capability), ("NVIDIA H200", 132, (9, 0)));
        assert!(device.uuid.starts_with("GPU-") && device.uuid.len() == 40, "{}", device.uuid);
        assert_eq!(driver.attribute(device, Attribute::MemoryBusBits).unwrap(), 6144);
        let [surveyed] = &survey(&driver)[..] else { panic!("one GPU") };
        assert_eq!(surveyed.sm_count.known(), Some(&132));
        assert_eq!(surveyed.sm_clock_maximum.known().unwrap().value(), 1980e6);
        assert_eq!(select(&device.uuid, std::slice::from_ref(&device.uuid)).unwrap(), [0]);
        assert_eq!(Gpu::open_by_uuid(&driver, &device.uuid).unwrap().ordinal(), 0);
        let refused = Gpu::open(&driver, 1).unwrap_err();
        assert_eq!(refused.to_string(), "no GPU 1: expected a number from 0 to 0; `gpu-assay inspect` lists them");
    });
}

#[test]
fn a_machine_without_gpus_says_what_to_check() {
    on("no-gpu", "a_machine_without_gpus_says_what_to_check", || {
        let error = Driver::open().unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        let text = error.to_string();
        assert!(text.starts_with("initialising the NVIDIA driver: cuInit returned CUDA_ERROR_NO_DEVICE"), "{text}");
        assert!(
            text.ends_with(
                "check `nvidia-smi -L`, CUDA_VISIBLE_DEVICES, and that the container was given a GPU (for Docker: `--gpus all`)"
            ),
            "{text}"
        );
    });
}

#[test]
fn a_machine_without_a_driver_says_how_to_get_one() {
    if Driver::open().is_ok() {
        return; // The machine that runs the tests has a driver; the sentence is for those that have none.
    }
    let error = Driver::open().unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.to_string().starts_with("opening the NVIDIA driver: ") || error.to_string().contains("cuInit"), "{error}");
}

#[test]
fn copies_arrive_and_are_waited_for() {
    on("h200-1x", "copies_arrive_and_are_waited_for", || {
        let bytes = Bytes::mib(1);
        let (gpu, stream, [a, b]) = bench(bytes);
        let mut pinned = gpu.allocate_pinned(bytes).unwrap();
        assert!(pinned.as_slice().unwrap().iter().all(|&byte| byte == 0));
        let content: Vec<u8> = (0..bytes.0).map(|i| (i * 7 + i / 256) as u8).collect();
        pinned.as_mut_slice().unwrap().copy_from_slice(&content);
        stream.upload(a.view(), pinned.source()).unwrap();
        stream.copy(b.view::<u8>(), a.view()).unwrap();
        // Looking into the buffer waits for the copy that reads it; nothing else synchronises here.
        pinned.as_mut_slice().unwrap().fill(0);
        stream.download(pinned.target(), b.view()).unwrap();
        assert!(pinned.as_slice().unwrap() == content);
        let mut registered = gpu.register(vec![0_u8; 1 << 20]).unwrap();
        stream.download(registered.target(), b.view()).unwrap();
        assert!(registered.as_slice().unwrap() == content);
        stream.set(b.view::<u8>(), 0x5a).unwrap();
        assert_eq!(b.read::<u32>(&stream, 3).unwrap(), [0x5a5a_5a5a; 3]);
    });
}

#[test]
fn what_does_not_fit_is_refused_before_the_driver_sees_it() {
    on("h200-1x", "what_does_not_fit_is_refused_before_the_driver_sees_it", || {
        let (gpu, stream, [a, b]) = bench(Bytes::kib(64));
        let short = a.view::<u8>().slice(0, 16).unwrap();
        let refused = stream.copy(b.view::<u8>(), short).unwrap_err().to_string();
        assert_eq!(refused, "copying 16 bytes: expected a target of that size but found one of 65536");
        let kernel = StreamCopy { a: a.input(), c: b.output(), vectors: 4097 };
        let refused = stream.launch(&kernel, Shape::line(1, 256)).unwrap_err().to_string();
        assert_eq!(refused, "launching stream_copy: expected 65552 bytes in `a` but found 65536");
        assert!(matches!(gpu.allocate(Bytes(0)), Err(Error::Usage(_))));
        let (free, total) = gpu.memory().unwrap();
        assert!(free < total);
        let refused = gpu.allocate(total + total).unwrap_err();
        assert_eq!(refused.exit_code(), 4);
        assert!(refused.to_string().contains("cuMemAlloc_v2 returned CUDA_ERROR_OUT_OF_MEMORY"), "{refused}");
    });
}

#[test]
fn a_pattern_is_filled_and_verified() {
    on("h200-1x", "a_pattern_is_filled_and_verified", || {
        let (gpu, stream, [a, results]) = bench(Bytes::mib(1));
        let words = 1 << 17;
        let shape = gpu.filling::<FillPattern<'_>>(256).unwrap();
        stream.launch(&FillPattern { out: a.output(), words, seed: 7 }, shape).unwrap();
        let verify = || {
            results.write(&stream, &[0_u64, u64::MAX]).unwrap();
            let [errors, first_bad] = [0, 1].map(|at| results.view::<u64>().slice(at, 1).unwrap().into());
            stream.launch(&VerifyPattern { r#in: a.input(), words, seed: 7, errors, first_bad }, shape).unwrap();
            results.read::<u64>(&stream, 2).unwrap()
        };
        assert_eq!(verify(), [0, u64::MAX]);
        let mut word = a.view::<u64>().slice(4711, 1).unwrap();
        stream.upload_pageable(word, &[12345_u64]).unwrap();
        assert_eq!(verify(), [1, 4711]);
        word = a.view::<u64>().slice(99, 1).unwrap();
        stream.set(word, 0).unwrap();
        assert_eq!(verify(), [2, 99]);
    });
}

/// Triads over three arrays.
struct Triads {
    stream: Stream,
    arrays: [gpu_assay::gpu::DeviceBuffer; 3],
    shape: Shape,
    vectors: u64,
}

impl Trial for Triads {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        let [a, b, c] = &self.arrays;
        for _ in 0..iterations {
            let kernel = StreamTriad { b: b.input(), c: c.input(), a: a.output(), vectors: self.vectors, s: 3.0 };
            self.stream.launch(&kernel, self.shape)?;
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(Bytes(3 * 16 * self.vectors))
    }

    fn check(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

#[test]
fn the_clock_reads_the_true_rate_whatever_the_batch() {
    on("h200-1x", "the_clock_reads_the_true_rate_whatever_the_batch", || {
        let gpu = first_gpu();
        let mut clock = GpuClock::new(&gpu).unwrap();
        let bytes = Bytes::mib(16);
        let arrays = [(); 3].map(|()| gpu.allocate(bytes).unwrap());
        let shape = gpu.filling::<StreamTriad<'_>>(256).unwrap();
        let mut trial = Triads { stream: clock.stream().clone(), arrays, shape, vectors: bytes.0 / 16 };
        for array in &trial.arrays {
            clock.stream().set(array.view::<u8>(), 0).unwrap();
        }
        clock.rehearse(&mut trial).unwrap();
        // 1200 launches do not fit behind one gate: the batch is timed in parts.
        for iterations in [20, 1200] {
            let time = clock.time(&mut trial, iterations).unwrap();
            let rate = trial.work().moved.as_f64() * iterations as f64 / time.value();
            let truth = Standin::named("h200-1x").unwrap().scenario().gpus[0].dram.triad_gbs * 1e9;
            // A kernel starts a fixed time after the one before it, which the arrays are large enough to hide to a tenth.
            assert!(rate < truth * 1.01 && rate > truth * 0.80, "{iterations}: {rate:e} of {truth:e}");
        }
    });
}

#[test]
fn a_rehearsed_trial_loads_its_code_before_the_gate_is_shut() {
    on("h200-1x", "a_rehearsed_trial_loads_its_code_before_the_gate_is_shut", || {
        for rehearsed in [false, true] {
            let gpu = first_gpu();
            let mut clock = GpuClock::new(&gpu).unwrap();
            let arrays = [(); 3].map(|()| gpu.allocate(Bytes::mib(1)).unwrap());
            // The driver is not asked for the grid that fills the GPU: that would load the code.
            let mut trial = Triads { stream: clock.stream().clone(), arrays, shape: Shape::line(64, 256), vectors: 1 << 16 };
            if rehearsed {
                clock.rehearse(&mut trial).unwrap();
            }
            match clock.time(&mut trial, 1) {
                Ok(time) => assert!(rehearsed && time < Seconds(1e-3), "{time}"),
                Err(error) => assert!(!rehearsed && error.to_string().contains("the gate was shut for more than 10 s"), "{error}"),
            }
        }
    });
}

#[test]
fn a_gate_that_nobody_opens_is_reported() {
    on("h200-1x", "a_gate_that_nobody_opens_is_reported", || {
        let gpu = first_gpu();
        let stream = gpu.stream().unwrap();
        let mut gate = gpu_assay::gpu::Gate::new(&gpu, Seconds(0.01)).unwrap();
        let hold = gate.hold(&stream).unwrap();
        stream.launch(&Empty {}, Shape::line(1, 32)).unwrap();
        stream.synchronize().unwrap();
        let text = hold.open().unwrap_err().to_string();
        assert!(text.starts_with("timing work on GPU 0: the gate was shut for more than 0.01 s"), "{text}");
        let hold = gate.hold(&stream).unwrap();
        stream.launch(&Empty {}, Shape::line(1, 32)).unwrap();
        hold.open().unwrap();
    });
}

#[test]
fn events_order_streams_and_graphs_run_their_launches() {
    on("h200-1x", "events_order_streams_and_graphs_run_their_launches", || {
        let (gpu, stream, [a, b]) = bench(Bytes::mib(4));
        let other = gpu.stream().unwrap();
        let event = gpu.event().unwrap();
        let words = 1 << 19;
        stream.launch(&FillPattern { out: a.output(), words, seed: 1 }, Shape::line(64, 256)).unwrap();
        stream.record(&event).unwrap();
        other.wait_for(&event).unwrap();
        other.copy(b.view::<u8>(), a.view()).unwrap();
        assert_eq!(b.read::<u64>(&other, 100).unwrap(), a.read::<u64>(&stream, 100).unwrap());
        event.synchronize().unwrap();
        assert!(event.is_reached().unwrap());

        let mut graph = Graph::repeating(&stream, &Empty {}, Shape::line(1, 32), 50).unwrap();
        let (start, end) = (gpu.event().unwrap(), gpu.event().unwrap());
        stream.record(&start).unwrap();
        graph.launch(&stream).unwrap();
        stream.record(&end).unwrap();
        stream.synchronize().unwrap();
        let elapsed = end.since(&start).unwrap();
        assert!(elapsed.value() > 0.0 && graph.launches() == 50);
        let refused = Graph::repeating(&stream, &FillPattern { out: a.output(), words, seed: 1 }, Shape::line(1, 32), 2).unwrap_err();
        assert!(matches!(refused, Error::Usage(_)), "{refused}");
    });
}

#[test]
fn a_ring_is_followed_to_its_end() {
    on("h200-1x", "a_ring_is_followed_to_its_end", || {
        let (_gpu, stream, [ring, results]) = bench(Bytes::kib(64));
        // Element i leads to i + 32, one cache line further, and the last line to the first.
        let next: Vec<u32> = (0..1 << 14).map(|i| (i + 32) % (1 << 14)).collect();
        ring.write(&stream, &next).unwrap();
        let end = results.view::<u32>().slice(0, 1).unwrap().into();
        let cycles = results.view::<u64>().slice(1, 1).unwrap().into();
        stream.launch(&Chase { next: ring.input(), start: 0, steps: 1000, end, cycles }, Shape::line(1, 1)).unwrap();
        assert_eq!(results.read::<u32>(&stream, 1).unwrap(), [32_000 % (1 << 14)]);
        assert!(results.read::<u64>(&stream, 2).unwrap()[1] > 0);
    });
}

#[test]
fn the_own_product_and_cublaslt_agree() {
    on("h200-1x", "the_own_product_and_cublaslt_agree", || {
        let gpu = first_gpu();
        let stream = gpu.stream().unwrap();
        let (m, n, k) = (96_u32, 160_u32, 64_u32);
        let area = |rows: u32, columns: u32| u64::from(rows) * u64::from(columns);
        let [a, b, ours, theirs] =
            [area(m, k), area(n, k), area(m, n), area(m, n)].map(|elements| gpu.allocate_elements::<u16>(elements).unwrap());
        for (buffer, elements, seed) in [(&a, area(m, k), 1), (&b, area(n, k), 2)] {
            let fill = FillUniformBf16 { out: buffer.output(), n: elements, seed, scale: 1.0 };
            stream.launch(&fill, Shape::line(8, 256)).unwrap();
        }
        let gemm = prebuilt::GEMM_LAUNCH;
        let grid = m.div_ceil(gemm.tile_m) * n.div_ceil(gemm.tile_n);
        let shape = Shape { shared: gemm.shared_bytes, ..Shape::line(grid, gemm.block) };
        stream.launch(&GemmBf16 { a: a.input(), b: b.input(), c: ours.output(), m, n, k }, shape).unwrap();

        let folder = std::env::var("LD_LIBRARY_PATH").unwrap();
        let library = CublasLt::open(&gpu, &PathBuf::from(folder).join("libcublasLt.so.12")).unwrap();
        assert_eq!(library.version().unwrap().0, 12);
        let mut plan = library.plan(LtFormat::Bf16, m, n, k, Bytes::mib(4)).unwrap();
        assert!(plan.algorithms() >= 1);
        plan.choose(usize::MAX);
        plan.enqueue(&stream, a.view(), b.view(), theirs.view::<u16>()).unwrap();
        let refused = plan.enqueue(&stream, a.view(), b.view(), theirs.view::<u16>().slice(1, 100).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("of C but found 200"), "{refused}");

        let [ours, theirs] = [ours, theirs].map(|c| c.read::<u16>(&stream, area(m, n)).unwrap());
        let value = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        assert!(ours.iter().any(|&bits| value(bits) != 0.0));
        for (at, (&our, &their)) in ours.iter().zip(&theirs).enumerate() {
            let (our, their) = (value(our), value(their));
            assert!((our - their).abs() <= 0.02 * their.abs().max(1.0), "element {at}: {our} and {their}");
        }
    });
}

#[test]
fn kernels_for_hopper_multiply_what_their_tensor_maps_describe() {
    on("h200-1x", "kernels_for_hopper_multiply_what_their_tensor_maps_describe", || {
        let gpu = first_gpu();
        let stream = gpu.stream().unwrap();
        let (m, n, k) = (200_u32, 264_u32, 80_u32);
        let area = |rows: u32, columns: u32| u64::from(rows) * u64::from(columns);
        let [a, b, expected, found] =
            [area(m, k), area(n, k), area(m, n), area(m, n)].map(|elements| gpu.allocate_elements::<u16>(elements).unwrap());
        for (buffer, elements, seed) in [(&a, area(m, k), 1), (&b, area(n, k), 2)] {
            stream.launch(&FillUniformBf16 { out: buffer.output(), n: elements, seed, scale: 1.0 }, Shape::line(8, 256)).unwrap();
        }
        let gemm = prebuilt::GEMM_LAUNCH;
        let shape = Shape { shared: gemm.shared_bytes, ..Shape::line(m.div_ceil(gemm.tile_m) * n.div_ceil(gemm.tile_n), gemm.block) };
        stream.launch(&GemmBf16 { a: a.input(), b: b.input(), c: expected.output(), m, n, k }, shape).unwrap();
        let expected = expected.read::<u16>(&stream, area(m, n)).unwrap();
        let note = gpu.allocate_elements::<u32>(1).unwrap();
        let operands = HopperOperands { a: a.view(), b: b.view(), c: found.view(), note: note.view(), extents: [m, n, k] };
        assert_eq!(HopperKernel::of(HopperFormat::Bf16).count(), 4);
        for kernel in HopperKernel::of(HopperFormat::Bf16) {
            note.write(&stream, &[0_u32]).unwrap();
            stream.set(found.view::<u8>(), 0xff).unwrap();
            kernel.launch(&stream, &operands).unwrap();
            assert!(found.read::<u16>(&stream, area(m, n)).unwrap() == expected, "{}", kernel.tile);
            assert_eq!(note.read::<u32>(&stream, 1).unwrap(), [0]);
        }
        // A launch behind one that gave up does nothing.
        note.write(&stream, &[1_u32]).unwrap();
        stream.set(found.view::<u8>(), 0xff).unwrap();
        let wide = HopperKernel { format: HopperFormat::Bf16, tile: HopperTile::Wide };
        wide.launch(&stream, &operands).unwrap();
        assert!(found.read::<u16>(&stream, area(m, n)).unwrap().iter().all(|bits| *bits == 0xffff));

        let none = HopperKernel { format: HopperFormat::E5m2, tile: HopperTile::Low };
        assert!(none.name().is_none() && !none.runs_on(&gpu));
        assert!(none.launch(&stream, &operands).unwrap_err().to_string().starts_with("no kernel of E5m2"));
        let short = HopperOperands { c: found.view::<u16>().slice(0, area(m, n) - 1).unwrap(), ..operands };
        assert!(wide.launch(&stream, &short).unwrap_err().to_string().contains("expected 105600 bytes but found 105598"));
    });
}

#[test]
fn a_matrix_that_the_hardware_cannot_copy_is_refused() {
    on("h200-1x", "a_matrix_that_the_hardware_cannot_copy_is_refused", || {
        let gpu = first_gpu();
        let memory = gpu.allocate(Bytes::kib(64)).unwrap();
        let refused = |first, rows, columns, box_rows| {
            let view = memory.view::<u16>().slice(first, (32 << 10) - first).unwrap();
            gpu.tensor_map(view, rows, columns, box_rows).map_err(|error| error.to_string()).err()
        };
        assert_eq!(refused(0, 128, 64, 128), None);
        assert_eq!(refused(8, 100, 72, 256), None, "16 bytes further, rows of 144");
        let sixteen = "expected rows of a multiple of 16 bytes that begin at one";
        assert!(refused(0, 128, 60, 128).unwrap().ends_with(sixteen));
        assert!(refused(1, 128, 64, 128).unwrap().ends_with(sixteen));
        for (rows, columns, box_rows) in [(0, 64, 64), (64, 0, 64), (64, 64, 0), (64, 64, 257)] {
            assert!(refused(0, rows, columns, box_rows).unwrap().contains("boxes of 1 to 256 rows of a matrix that is not empty"));
        }
        assert!(refused(0, 513, 64, 64).unwrap().ends_with("expected 65664 bytes but found 65536"));
    });
}

#[test]
fn fp8_products_have_plans_too() {
    on("h200-1x", "fp8_products_have_plans_too", || {
        let gpu = first_gpu();
        let stream = gpu.stream().unwrap();
        let (m, n, k) = (32_u32, 48_u32, 64_u32);
        let a = gpu.allocate(Bytes(u64::from(m * k))).unwrap();
        let b = gpu.allocate(Bytes(u64::from(n * k))).unwrap();
        let c = gpu.allocate_elements::<u16>(u64::from(m * n)).unwrap();
        // 0x38 is 1 in E4M3, so every element of the product is k.
        stream.set(a.view::<u8>(), 0x38).unwrap();
        stream.set(b.view::<u8>(), 0x38).unwrap();
        let folder = std::env::var("LD_LIBRARY_PATH").unwrap();
        let library = CublasLt::open(&gpu, &PathBuf::from(folder).join("libcublasLt.so.12")).unwrap();
        let plan = library.plan(LtFormat::E4m3, m, n, k, Bytes::mib(4)).unwrap();
        plan.enqueue(&stream, a.view(), b.view(), c.view::<u16>()).unwrap();
        let product = c.read::<u16>(&stream, u64::from(m * n)).unwrap();
        assert!(product.iter().all(|&bits| f32::from_bits(u32::from(bits) << 16) == k as f32));
    });
}

#[test]
fn peers_read_each_other_while_access_lasts() {
    on("h100-8x-nvswitch", "peers_read_each_other_while_access_lasts", || {
        let driver = Driver::open().unwrap();
        let surveyed = survey(&driver);
        assert_eq!(surveyed.len(), 8);
        assert!(
            surveyed.iter().enumerate().all(|(i, gpu)| gpu
                .peer_access
                .iter()
                .enumerate()
                .all(|(j, fact)| fact.known() == (i != j).then_some(&true)))
        );
        let [reader, owner] = [0, 3].map(|ordinal| Gpu::open(&driver, ordinal).unwrap());
        let bytes = Bytes::kib(64);
        let (here, there) = (reader.allocate(bytes).unwrap(), owner.allocate(bytes).unwrap());
        let stream = reader.stream().unwrap();
        let words = bytes.0 / 8;
        let owners = owner.stream().unwrap();
        owners.launch(&FillPattern { out: there.output(), words, seed: 5 }, Shape::line(8, 256)).unwrap();
        let truth = there.read::<u64>(&owners, words).unwrap();
        let copy = || stream.launch(&StreamCopy { a: there.input(), c: here.output(), vectors: bytes.0 / 16 }, Shape::line(8, 256));
        let refused = copy().unwrap_err().to_string();
        assert_eq!(refused, "launching stream_copy: `a` lies on GPU 3, which GPU 0 may not access; enable peer access first");
        {
            let access = reader.access(&owner).unwrap();
            let again = reader.access(&owner).unwrap();
            drop(access);
            copy().unwrap();
            assert_eq!(here.read::<u64>(&stream, words).unwrap(), truth);
            assert_eq!((again.from().ordinal(), again.to().ordinal()), (0, 3));
        }
        assert!(copy().is_err());
        // The copy engine moves data between GPUs with and without access.
        stream.set(here.view::<u8>(), 0).unwrap();
        stream.copy(here.view::<u8>(), there.view()).unwrap();
        assert_eq!(here.read::<u64>(&stream, words).unwrap(), truth);
        assert!(matches!(reader.access(&reader), Err(Error::Usage(_))));
    });
}

#[test]
fn a_system_without_peer_access_says_so() {
    on("rtx4090-4x-no-p2p", "a_system_without_peer_access_says_so", || {
        let driver = Driver::open().unwrap();
        let [zero, one] = [0, 1].map(|ordinal| Gpu::open(&driver, ordinal).unwrap());
        assert!(!driver.can_access_peer(zero.device(), one.device()).unwrap());
        let error = zero.access(&one).unwrap_err().to_string();
        assert!(
            error.starts_with("enabling access from GPU 0 to GPU 1: cuCtxEnablePeerAccess returned CUDA_ERROR_PEER_ACCESS_UNSUPPORTED"),
            "{error}"
        );
    });
}

#[test]
fn a_slice_is_named_as_one() {
    on("mig-slice", "a_slice_is_named_as_one", || {
        let driver = Driver::open().unwrap();
        let [device] = driver.devices() else { panic!("{:?}", driver.devices()) };
        assert!(device.uuid.starts_with("MIG-"), "{} of {}", device.uuid, device.name);
        assert_eq!(Gpu::open_by_uuid(&driver, &device.uuid.replace("MIG-", "GPU-")).unwrap().device(), device);
    });
}

#[test]
fn a_library_that_is_none_is_refused() {
    on("h200-1x", "a_library_that_is_none_is_refused", || {
        let gpu = first_gpu();
        let error = CublasLt::open(&gpu, &PathBuf::from("/nowhere/libcublasLt.so.12")).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().starts_with("loading /nowhere/libcublasLt.so.12: "), "{error}");
    });
}

/// A short session that calls most of the driver's functions.
fn session() -> Result<()> {
    let driver: Arc<Driver> = Driver::open()?;
    let gpu = Gpu::open(&driver, 0)?;
    let mut clock = GpuClock::new(&gpu)?;
    let stream = clock.stream().clone();
    let arrays = [gpu.allocate(Bytes::kib(64))?, gpu.allocate(Bytes::kib(64))?, gpu.allocate(Bytes::kib(64))?];
    stream.set(arrays[1].view::<u8>(), 0)?;
    stream.copy(arrays[2].view::<u8>(), arrays[1].view())?;
    let mut pinned = gpu.allocate_pinned(Bytes::kib(64))?;
    stream.upload(arrays[0].view(), pinned.source())?;
    stream.download(pinned.target(), arrays[0].view())?;
    let _ = pinned.as_slice()?;
    let mut registered = gpu.register(vec![0_u8; 1 << 16])?;
    stream.download(registered.target(), arrays[0].view())?;
    let other = gpu.stream()?;
    let event = gpu.event()?;
    stream.record(&event)?;
    other.wait_for(&event)?;
    event.synchronize()?;
    event.is_reached()?;
    let shape = gpu.filling::<StreamTriad<'_>>(256)?;
    let mut trial = Triads { stream: stream.clone(), arrays, shape, vectors: 4096 };
    clock.rehearse(&mut trial)?;
    clock.time(&mut trial, 3)?;
    let mut graph = Graph::repeating(&stream, &Empty {}, Shape::line(1, 32), 3)?;
    graph.launch(&stream)?;
    gpu.memory()?;
    let [a, b, c] = [gpu.allocate(Bytes::kib(64))?, gpu.allocate(Bytes::kib(64))?, gpu.allocate(Bytes::kib(64))?];
    let note = gpu.allocate_elements::<u32>(1)?;
    stream.set(note.view::<u8>(), 0)?;
    let operands = HopperOperands { a: a.view(), b: b.view(), c: c.view(), note: note.view(), extents: [64, 128, 64] };
    HopperKernel { format: HopperFormat::Bf16, tile: HopperTile::Low }.launch(&stream, &operands)?;
    gpu.synchronize()
}

/// Whether a failure has nobody to hear it: of giving back, or of the later calls that belong to giving back.
fn is_unheard(name: &str, call: u64) -> bool {
    let giving_back = ["Free", "Destroy", "Release", "Unload", "Unregister", "DisablePeerAccess"];
    let also_before_giving_back = ["cuCtxSetCurrent", "cuStreamSynchronize"];
    giving_back.iter().any(|word| name.contains(word)) || (call > 1 && also_before_giving_back.contains(&name))
}

#[test]
fn each_call_that_fails_is_told_and_nothing_leaks() {
    if std::env::var_os(INSIDE).is_some() {
        // The outer half says through the fault's variable which call fails; without one all is well.
        let fault = std::env::var(FAULT).ok();
        let failing =
            fault.as_deref().map(|fault| fault.split(':')).and_then(|mut parts| Some((parts.next()?, parts.next()?.parse().ok()?)));
        return match (session(), failing) {
            (Ok(()), None) => {}
            (Ok(()), Some((name, call))) => assert!(is_unheard(name, call), "the failure of {name} was not told"),
            (Err(error), Some((name, _))) => assert!(error.to_string().contains(name), "{name} failed, and the error is: {error}"),
            (Err(error), None) => panic!("{error}"),
        };
    }
    let test = "each_call_that_fails_is_told_and_nothing_leaks";
    let standin = Standin::named("h200-1x").unwrap();
    let status = standin.command(std::env::current_exe().unwrap()).args(["--exact", test]).env(INSIDE, "1").status().unwrap();
    assert!(status.success());
    let calls = standin.trace().unwrap().unwrap().calls;
    let called: Vec<_> = SYMBOLS.iter().filter(|symbol| calls.get(symbol.name).is_some_and(|&count| count > 0)).collect();
    assert!(called.len() >= 35, "the session calls only {}: {called:?}", called.len());
    for symbol in called {
        for call in std::collections::BTreeSet::from([1, calls[symbol.name]]) {
            let fault = format!("{}:{call}:error=999", symbol.name);
            let standin = Standin::named("h200-1x").unwrap();
            let mut command = standin.command(std::env::current_exe().unwrap());
            let output = command.args(["--exact", test]).env(INSIDE, "1").env(FAULT, &fault).output().unwrap();
            assert!(output.status.success(), "{fault}:\n{}", String::from_utf8_lossy(&output.stdout));
            // What the failing call itself was to give back is the one thing that may remain.
            let left: u64 = standin.trace().unwrap().map_or(0, |trace| trace.leaks().iter().map(|(_, count)| count).sum());
            assert!(left <= u64::from(is_unheard(symbol.name, 1)), "{fault}: {:?}", standin.trace().unwrap().unwrap().leaks());
        }
    }
}
