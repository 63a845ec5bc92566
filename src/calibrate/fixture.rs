//! Small synthetic records for tests of everything after the record.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::record::Run;

/// The built-in catalog, parsed once: it takes longer than what most tests do with it.
pub(crate) static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

/// A record under construction.
pub(crate) struct Fixture {
    outcomes: Vec<Value>,
    gpus: Vec<Value>,
    pairs: Vec<Value>,
    host: Value,
    simulated: bool,
}

fn unknown() -> Value {
    json!({ "unknown": "not part of this test" })
}

impl Fixture {
    /// A machine without a GPU: 16 threads, 8 of which this process may use, and 64 GiB of memory.
    pub(crate) fn host_only() -> Self {
        Self {
            outcomes: Vec::new(),
            gpus: Vec::new(),
            pairs: Vec::new(),
            host: json!({
                "cpu": {
                    "model": "Example CPU 9000", "architecture": "x86_64", "sockets": 1, "cores": 8, "threads": 16, "smt": true,
                    "allowed_threads": 8, "cgroup_cpus": null, "isa": ["avx2"]
                },
                "numa": unknown(),
                "memory": {
                    "total": 64u64 << 30, "available": 60u64 << 30, "cgroup_limit": null, "shm": 32u64 << 30, "memlock": null
                },
                "disks": [{ "mount": "/", "device": "nvme0n1", "kind": "nvme", "file_system": "ext4", "size": 1u64 << 40, "free": 1u64 << 39 }],
                "kernel": "6.1.0", "os": "Example Linux 1", "container": "none", "hypervisor": "none"
            }),
            simulated: false,
        }
    }

    /// The same with a control group that grants so many processors and so much memory.
    pub(crate) fn limited(mut self, cpus: f64, memory: u64) -> Self {
        self.host["cpu"]["cgroup_cpus"] = json!(cpus);
        self.host["memory"]["cgroup_limit"] = json!(memory);
        self
    }

    pub(crate) fn simulated(mut self) -> Self {
        self.simulated = true;
        self
    }

    /// The same with one more GPU: an H100 SXM with all its NVLinks up.
    pub(crate) fn h100(self) -> Self {
        let links: Vec<Value> = (0..18).map(|port| json!({ "port": port, "active": true, "version": 4, "peer": "NVSwitch" })).collect();
        self.gpu("NVIDIA H100 80GB HBM3", "10de:2330", json!(links), json!(81559u64 << 20))
    }

    /// The same with one more GPU of any kind.
    pub(crate) fn gpu(mut self, name: &str, pci_id: &str, nvlinks: Value, memory: Value) -> Self {
        let clocks = json!({ "current": unknown(), "maximum": 1.98e9, "application": unknown() });
        let index = self.gpus.len();
        self.gpus.push(json!({
            "index": index, "name": name, "uuid": format!("digest-{index}"), "pci_address": unknown(), "pci_id": pci_id,
            "pci_subsystem_id": unknown(), "compute_capability": [9, 0], "sm_count": 132, "memory_total": memory,
            "memory_free": unknown(), "memory_bus_bits": 5120, "l2": 50u64 << 20, "sm_clock": clocks, "memory_clock": clocks,
            "power": { "enforced": 700.0, "default": 700.0, "maximum": 700.0 }, "ecc": unknown(), "remapped_rows": unknown(),
            "mig": false, "virtualization": "none",
            "pcie": { "generation": 5, "width": 16, "generation_max": 5, "width_max": 16 },
            "nvlinks": nvlinks, "other_processes": [], "numa_node": 0, "vbios": unknown()
        }));
        self
    }

    /// The same with the topology from one GPU to another and back.
    pub(crate) fn pair(mut self, a: u32, b: u32, topology: &str, peer_access: bool) -> Self {
        for (from, to) in [(a, b), (b, a)] {
            self.pairs.push(json!({ "from": from, "to": to, "topology": topology, "peer_access": peer_access, "native_atomics": false }));
        }
        self
    }

    /// The same with a case that moved `bytes` in each of three samples around `seconds`.
    pub(crate) fn moved(self, case: &str, bytes: u64, seconds: f64) -> Self {
        self.measured(case, &json!({ "moved": bytes, "compute": 0.0, "steps": 1 }), seconds, None)
    }

    /// The same with a case that computed `flops` per sample, drawing `watts`.
    pub(crate) fn computed(self, case: &str, flops: f64, seconds: f64, watts: f64) -> Self {
        let telemetry = json!({ "polls": 9, "mean_power": watts, "throttle_reasons": ["sw_power_cap"] });
        self.measured(case, &json!({ "moved": 0, "compute": flops, "steps": 1 }), seconds, Some(telemetry))
    }

    /// The same with a case of `steps` dependent steps.
    pub(crate) fn stepped(self, case: &str, steps: u64, seconds: f64) -> Self {
        self.measured(case, &json!({ "moved": 0, "compute": 0.0, "steps": steps }), seconds, None)
    }

    pub(crate) fn measured(mut self, case: &str, work: &Value, seconds: f64, telemetry: Option<Value>) -> Self {
        let mut outcome = json!({
            "outcome": "measured", "case": case, "work": work, "iterations": 10,
            "samples": [seconds, seconds * 1.01, seconds * 0.99], "stop": "precise", "warmup": 0.1
        });
        if let Some(telemetry) = telemetry {
            outcome["telemetry"] = telemetry;
        }
        self.outcomes.push(outcome);
        self
    }

    /// The same with a size that was read.
    pub(crate) fn observed(mut self, case: &str, bytes: u64) -> Self {
        self.outcomes.push(json!({ "outcome": "observed", "case": case, "bytes": bytes }));
        self
    }

    /// The same with an allocation that was found to succeed under a limit, and what was free.
    pub(crate) fn allocated(mut self, case: &str, bytes: u64, limit: &str, free: u64) -> Self {
        let conditions = json!({ "limit": limit, "free": format!("{free}B") });
        self.outcomes.push(json!({ "outcome": "observed", "case": case, "bytes": bytes, "conditions": conditions }));
        self
    }

    pub(crate) fn run(self) -> Run {
        let driver = json!({ "version": "570.1", "cuda_version": "12.8", "nvml_version": unknown(), "simulated": self.simulated });
        serde_json::from_value(json!({
            "schema_version": 1, "simulated": self.simulated, "name": "example", "program": { "version": "0.0.0", "kernels": "0" },
            "started": "2026-01-01T00:00:00Z", "settings": { "effort": "quick", "seed": 1 },
            "machine": { "gpus": self.gpus, "pairs": self.pairs, "driver": driver, "libraries": [], "host": self.host },
            "complete": true, "outcomes": self.outcomes
        }))
        .expect("the fixture follows the record's types")
    }
}

/// A host with measured memory, matrix products and disk.
pub(crate) fn host() -> Fixture {
    Fixture::host_only()
        .moved("host.copy/cores=8", 1_000_000_000, 0.025)
        .moved("host.triad/cores=1", 1_000_000_000, 0.1)
        .moved("host.triad/cores=8", 1_000_000_000, 0.02)
        .moved("host.triad/cores=4,node=0", 1_000_000_000, 0.04)
        .computed("host.gemm/dtype=f32,n=2048", 1e12, 1.0, 0.0)
        .moved("storage.read/bytes=1MiB,depth=8", 1 << 20, 4e-4)
        .moved("storage.write/bytes=1MiB,depth=8", 1 << 20, 8e-4)
        .moved("storage.random_read/bytes=4KiB,depth=32", 4096, 1e-5)
        .moved("storage.random_read/bytes=4KiB,depth=1", 4096, 9e-5)
}

/// Two H100 over NVLink, with everything measured that the guide shows.
pub(crate) fn two_h100() -> Fixture {
    let mut fixture = host().h100().h100().pair(0, 1, "NV18", true);
    for gpu in 0..2 {
        fixture = fixture
            .moved(&format!("dram.read/bytes=4GiB,gpu={gpu}"), 3_000_000_000, 1e-3)
            .moved(&format!("dram.read/bytes=64MiB,gpu={gpu}"), 9_000_000_000, 1e-3)
            .moved(&format!("dram.triad/bytes=4GiB,gpu={gpu}"), 2_900_000_000, 1e-3)
            .moved(&format!("cache.read/bytes=16MiB,gpu={gpu}"), 9_000_000_000, 1e-3)
            .stepped(&format!("cache.latency/bytes=16KiB,gpu={gpu}"), 1000, 30e-6)
            .stepped(&format!("cache.latency/bytes=1GiB,gpu={gpu}"), 1000, 600e-6)
            .computed(&format!("matmul.bf16/engine=own,m=8192,n=8192,k=8192,gpu={gpu}"), 700e9, 1e-3, 690.0)
            .computed(&format!("matmul.bf16/engine=cublaslt,m=8192,n=8192,k=8192,gpu={gpu}"), 750e9, 1e-3, 695.0)
            .computed(&format!("matmul.e4m3/engine=own,m=8192,n=8192,k=8192,gpu={gpu}"), 1400e9, 1e-3, 680.0)
            .moved(&format!("copy.h2d/bytes=64KiB,memory=pinned,gpu={gpu}"), 65536, 8e-6)
            .moved(&format!("copy.d2h/bytes=1GiB,memory=pinned,gpu={gpu}"), 55_000_000_000, 1.0)
            .moved(&format!("copy.both/bytes=1GiB,memory=pinned,gpu={gpu}"), 90_000_000_000, 1.0)
            .moved(&format!("copy.h2d/bytes=1GiB,memory=pageable,gpu={gpu}"), 12_000_000_000, 1.0)
            .stepped(&format!("launch.kernel/gpu={gpu}"), 1, 2.5e-6)
            .observed(&format!("memory.context/gpu={gpu}"), 480 << 20)
            .allocated(&format!("memory.allocatable/gpu={gpu}"), 72_000 << 20, "90 % of free memory", 80_000 << 20);
        let telemetry = json!({ "polls": 9, "mean_power": 180.0, "pcie_generation": 5, "pcie_width": 16 });
        let work = json!({ "moved": 1u64 << 30, "compute": 0.0, "steps": 1 });
        let seconds = (1u64 << 30) as f64 / 56e9;
        fixture = fixture.measured(&format!("copy.h2d/bytes=1GiB,memory=pinned,gpu={gpu}"), &work, seconds, Some(telemetry));
    }
    for (from, to) in [(0, 1), (1, 0)] {
        fixture = fixture
            .moved(&format!("peer.write/engine=ce,bytes=1GiB,from={from},to={to}"), 380_000_000_000, 1.0)
            .moved(&format!("peer.write/engine=sm,bytes=1GiB,from={from},to={to}"), 350_000_000_000, 1.0)
            .moved(&format!("peer.both/engine=ce,bytes=1GiB,from={from},to={to}"), 750_000_000_000, 1.0)
            .stepped(&format!("peer.latency/engine=sm,bytes=4KiB,from={from},to={to}"), 100, 200e-6);
    }
    fixture
}
