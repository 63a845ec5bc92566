//! What can be wrong with a machine, as scenarios: a good machine with one thing changed, and the check that must find it.

use gpu_assay::units::Bytes;

use super::boards::Setup;

/// A fault.
pub(crate) struct Fault {
    /// For the table.
    pub(crate) name: &'static str,
    /// Of which machine.
    pub(crate) model: &'static str,
    pub(crate) count: usize,
    /// What was paid for, where that is not just the machine.
    pub(crate) spec: Option<&'static str>,
    /// What is done to the good machine.
    pub(crate) plant: fn(&mut Setup),
    /// The check that must find it.
    pub(crate) found_by: &'static str,
    /// Whether the machine must be failed for it; else a warning, or unknown.
    pub(crate) fails: bool,
}

const fn fault(name: &'static str, model: &'static str, count: usize, found_by: &'static str, plant: fn(&mut Setup)) -> Fault {
    Fault { name, model, count, spec: None, plant, found_by, fails: true }
}

impl Fault {
    const fn warns(self) -> Self {
        Self { fails: false, ..self }
    }

    const fn sold_as(self, spec: &'static str) -> Self {
        Self { spec: Some(spec), ..self }
    }
}

/// From this call of a function or launch of a kernel on, one bit of each result is flipped.
fn wrong_from(function: &str, call: u32) -> String {
    format!("[[fault]]\nfunction = \"{function}\"\ncall = {call}\nrepeat = true\naction = \"corrupt\"\n")
}

/// Every fault of the table in the documentation that a scenario can express.
pub(crate) const FAULTS: &[Fault] = &[
    // Who it is.
    fault("a GPU is missing", "H100 SXM", 3, "gpu.count", |_| {}).sold_as("4x H100 SXM"),
    fault("another model", "H100 PCIe", 1, "gpu.name", |_| {}).sold_as("H100 SXM"),
    fault("relabelled: an A100's chip under an H100's name", "A100 SXM 80GB", 1, "gpu.pci-id", |setup| {
        setup.gpus[0].name = "NVIDIA H100 80GB HBM3".to_owned();
    })
    .sold_as("H100 SXM"),
    fault("another chip generation under its name and id", "H100 SXM", 1, "gpu.compute-capability", |setup| {
        setup.gpus[0].capability = (8, 0)
    }),
    fault("cut-down chip: 114 of 132 multiprocessors", "H100 SXM", 1, "gpu.sms", |setup| setup.gpus[0].sms = 114),
    fault("40 of 80 GB", "A100 SXM 80GB", 1, "gpu.memory", |setup| setup.gpus[0].memory_mib = 40_960),
    fault("a 4090 with 48 GB soldered on", "RTX 4090", 1, "gpu.memory", |setup| setup.gpus[0].memory_mib = 49_140),
    fault("half the memory bus", "L40S", 1, "gpu.memory-bus", |setup| setup.gpus[0].bus_bits = 192),
    fault("half the second-level cache", "L40S", 1, "gpu.l2", |setup| setup.gpus[0].l2_kib /= 2).warns(),
    fault("a MIG slice", "H100 SXM", 1, "gpu.partition", |setup| {
        let gpu = &mut setup.gpus[0];
        gpu.name = "NVIDIA H100 80GB HBM3 MIG 3g.40gb".to_owned();
        gpu.uuid = Some("MIG-6e4f0b52-58f1-5c1b-a3d4-0c7a2f7a9e11".to_owned());
        (gpu.mig, gpu.sms, gpu.memory_mib) = (true, 60, 40_192);
        gpu.slow_down(0.45);
        gpu.dram_gbs *= 0.5;
    }),
    fault("a vGPU", "A100 PCIe 40GB", 1, "gpu.partition", |setup| setup.gpus[0].name = "GRID A100-40C".to_owned()),
    fault("one GPU of another size", "A100 SXM 80GB", 3, "gpu.alike", |setup| setup.gpus[1].memory_mib = 40_960),
    fault("somebody else's job on it", "A100 SXM 80GB", 1, "gpu.idle", |setup| setup.gpus[0].process = Some(40)),
    // State.
    fault("clock locked at 510 MHz", "H100 SXM", 1, "clock.load", |setup| {
        let gpu = &mut setup.gpus[0];
        let factor = 510.0 / gpu.sm_mhz;
        gpu.sm_mhz = 510.0;
        gpu.throttle.clear();
        gpu.slow_down(factor);
    }),
    fault("application clock set low", "A100 SXM 80GB", 1, "clock.application", |setup| {
        let gpu = &mut setup.gpus[0];
        gpu.application_mhz = Some(600.0);
        gpu.sm_mhz = 600.0;
        gpu.throttle = vec!["application-clocks"];
        gpu.slow_down(0.45);
    }),
    fault("power limit of 400 W instead of 700", "H100 SXM", 1, "power.limit", |setup| {
        let gpu = &mut setup.gpus[0];
        gpu.enforced_w = 400.0;
        gpu.slow_down(0.78);
    }),
    fault("throttled by heat", "H100 SXM", 2, "throttle.thermal", |setup| {
        let gpu = &mut setup.gpus[1];
        gpu.throttle = vec!["sw-thermal"];
        gpu.slow_down(0.80);
    }),
    fault("braked by the power supply", "RTX 4090", 2, "throttle.hardware", |setup| {
        let gpu = &mut setup.gpus[0];
        gpu.throttle = vec!["hw-slowdown", "hw-power-brake"];
        gpu.slow_down(0.6);
    }),
    fault("error correction off", "A100 SXM 80GB", 1, "ecc.enabled", |setup| setup.gpus[0].ecc = Some((false, 0))).warns(),
    fault("uncorrected memory errors", "A100 SXM 80GB", 1, "ecc.uncorrected", |setup| setup.gpus[0].ecc = Some((true, 3))),
    fault("row remapping pending", "H100 SXM", 1, "rows.pending", |setup| setup.gpus[0].rows.1 = true),
    fault("row remapping failed", "H100 SXM", 1, "rows.failed", |setup| setup.gpus[0].rows.2 = true),
    fault("rows remapped after uncorrected errors", "H100 SXM", 1, "rows.uncorrected", |setup| setup.gpus[0].rows.0 = 2).warns(),
    fault("XID 79 while measuring", "H100 SXM", 1, "xid", |setup| setup.gpus[0].more = "xids = [{ code = 79, at = 40 }]".to_owned()),
    fault("memory that is not there: 80 GB on the label, 40 in the chip", "A100 PCIe 80GB", 1, "memory.pattern", |setup| {
        setup.gpus[0].more = "real_memory_mib = 40960".to_owned();
    }),
    fault("cooling that lasts half a minute", "H100 SXM", 1, "sustained.heat", |setup| {
        setup.last("90 s");
        setup.heat(0, "load_c = 108.0, tau_s = 25.0, throttle_c = 87.0");
    }),
    fault("a heat sink that came loose: half its clock after some seconds", "L40S", 2, "sustained.loss", |setup| {
        setup.last("3 min");
        setup.heat(1, "load_c = 150.0, tau_s = 8.0, throttle_c = 85.0, per_c = 0.05");
    }),
    fault("one of three GPUs in the others' warm air", "H100 SXM", 3, "even.sustained", |setup| {
        setup.last("4 min");
        setup.heat(2, "load_c = 80.0, neighbour_c = 14.0, tau_s = 8.0, throttle_c = 84.0, per_c = 0.03");
    }),
    fault("two GPUs on a power supply for one and a half", "RTX 4090", 2, "sustained.together", |setup| {
        setup.last("3 min");
        let watts = setup.gpus[0].enforced_w * 1.25;
        setup.faults = format!("[[power_shelf]]\ngpus = [0, 1]\nwatts = {watts:.1}\n");
    }),
    // Links.
    fault("PCIe generation 3 instead of 4", "L40S", 1, "pcie.generation", |setup| {
        let gpu = &mut setup.gpus[0];
        gpu.pcie[0] = 3;
        (gpu.h2d, gpu.d2h) = (12.4, 12.7);
    }),
    fault("8 lanes instead of 16", "H100 PCIe", 2, "pcie.width", |setup| {
        let gpu = &mut setup.gpus[1];
        gpu.pcie[1] = 8;
        (gpu.h2d, gpu.d2h) = (27.9, 28.0);
    }),
    fault("a slot that has only 8 lanes", "L40S", 1, "pcie.width", |setup| {
        let gpu = &mut setup.gpus[0];
        (gpu.pcie[1], gpu.pcie[3]) = (8, 8);
        (gpu.h2d, gpu.d2h) = (13.0, 13.1);
    }),
    fault("14 of 57 GB/s from the host, at full width", "H100 SXM", 1, "copy.h2d", |setup| setup.gpus[0].h2d = 14.0),
    fault("slow to the host at full width", "A100 PCIe 80GB", 1, "copy.d2h", |setup| setup.gpus[0].d2h = 9.0),
    fault("one of four GPUs far from its host memory", "H100 SXM", 4, "even.copy", |setup| {
        let gpu = &mut setup.gpus[2];
        (gpu.h2d, gpu.d2h) = (gpu.h2d * 0.6, gpu.d2h * 0.6);
    }),
    fault("four GPUs behind one link to the host", "L40S", 4, "copy.together", |setup| {
        setup.faults = "[[host_switch]]\ngpus = [0, 1, 2, 3]\nh2d_gbs = 26.0\nd2h_gbs = 26.0\n".to_owned();
    })
    .warns(),
    fault("an NVLink is down", "H100 SXM", 2, "nvlink.links", |setup| setup.gpus[0].nvlink = Some((18, 17, 4))),
    fault("no access between GPUs of an NVLink board", "A100 SXM 80GB", 2, "peer.access", |setup| setup.p2p = false),
    fault("copies between GPUs arrive damaged", "A100 PCIe 80GB", 2, "peer.contents", |setup| {
        setup.faults = wrong_from("cuMemcpyPeerAsync", 2);
    }),
    fault("direct copies slower than through the host", "L40S", 2, "peer.staged", |setup| setup.peer_gbs = 5.0),
    fault("one pair of four GPUs at a fifth of its rate", "H100 SXM", 4, "even.peer", |setup| setup.slow_pair = Some((1, 3, 75.0))),
    fault("all NVLinks at a third", "H100 SXM", 2, "peer.rate", |setup| setup.peer_gbs = 130.0),
    fault("NCCL that does not use the links", "L40S", 2, "collective.rate", |setup| setup.nccl = Some(0.15)),
    fault("sums of all GPUs arrive damaged", "A100 SXM 80GB", 2, "collective.contents", |setup| {
        setup.faults = "[[fault]]\nfunction = \"ncclAllReduce\"\ncall = 1\nrepeat = true\naction = \"corrupt\"\n".to_owned();
    }),
    // Speed.
    fault("memory at 80 %", "A100 SXM 80GB", 1, "dram", |setup| setup.gpus[0].dram_gbs *= 0.80),
    // Of this model nobody has published a copy's rate: the band is the family's, and wide.
    fault("memory at 80 %, where the family's band is all there is", "H200 SXM", 1, "dram", |setup| setup.gpus[0].dram_gbs *= 0.80).warns(),
    fault("memory at 65 %, likewise", "H200 SXM", 1, "dram", |setup| setup.gpus[0].dram_gbs *= 0.65),
    fault("one GPU's memory at 88 %", "A100 SXM 80GB", 3, "even.dram", |setup| setup.gpus[2].dram_gbs *= 0.88),
    fault("matrix products at 65 %, all GPUs alike", "H100 SXM", 2, "matmul.bf16", |setup| {
        setup.gpus.iter_mut().for_each(|gpu| gpu.slow_down(0.65))
    }),
    fault("FP8 products at 65 %", "H100 SXM", 1, "matmul.fp8", |setup| setup.gpus[0].fp8 *= 0.65),
    fault("one GPU's products at 82 %", "A100 SXM 80GB", 3, "even.matmul", |setup| setup.gpus[1].slow_down(0.82)),
    // Answers.
    fault("products of cublasLt come out wrong", "A100 SXM 80GB", 1, "answers", |setup| {
        setup.faults = wrong_from("cublasLtMatmul", 200);
    }),
    fault("every product of the own kernel comes out wrong", "L40S", 1, "answers", |setup| {
        setup.faults = wrong_from("gemm_bf16", 1);
    }),
    fault("the GPU falls off the bus", "H100 SXM", 1, "measured", |setup| {
        setup.faults = "[[fault]]\nfunction = \"cuLaunchKernel\"\ncall = 60\naction = \"gone\"\n".to_owned();
    })
    .warns(),
    // Around it.
    fault("2 of 4 processors", "A10G", 1, "host.cpus", |setup| setup.cpus = 2).sold_as("aws:g5.xlarge"),
    fault("half the memory of the instance", "A10G", 1, "host.memory", |setup| setup.host_memory = Bytes::gib(8)).sold_as("aws:g5.xlarge"),
    fault("a container's 64 MiB of shared memory", "L4", 1, "host.shm", |setup| setup.shared_memory = Bytes::mib(64)).warns(),
];
