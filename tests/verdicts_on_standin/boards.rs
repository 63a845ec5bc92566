//! Machines as they come: a model of the catalog, at rates between which good machines of it lie.

use std::fmt::Write as _;

use gpu_assay::catalog::{Catalog, Dtype, GpuModel, Metric};
use gpu_assay::machine::{Disk, Fact};
use gpu_assay::record::Run;
use gpu_assay::stats::SplitMix64;
use gpu_assay::units::Bytes;

/// Memory that the stand-in really has for each GPU; the record is put back to the board's.
const REAL_MIB: u64 = 48;

/// One GPU of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) uuid: Option<String>,
    pub(crate) device: u32,
    pub(crate) capability: (u32, u32),
    pub(crate) sms: u32,
    pub(crate) memory_mib: u64,
    pub(crate) l2_kib: u64,
    pub(crate) bus_bits: u32,
    pub(crate) sm_mhz: f64,
    pub(crate) sm_max_mhz: f64,
    pub(crate) memory_mhz: f64,
    pub(crate) application_mhz: Option<f64>,
    pub(crate) enforced_w: f64,
    pub(crate) default_w: f64,
    pub(crate) throttle: Vec<&'static str>,
    /// Enabled, uncorrected errors.
    pub(crate) ecc: Option<(bool, u64)>,
    /// Uncorrected, pending, failed.
    pub(crate) rows: (u32, bool, bool),
    /// Generation and width under load, and at most.
    pub(crate) pcie: [u32; 4],
    /// Links there and active, and the version.
    pub(crate) nvlink: Option<(u32, u32, u32)>,
    pub(crate) mig: bool,
    /// MiB of another program.
    pub(crate) process: Option<u64>,
    pub(crate) dram_gbs: f64,
    pub(crate) bf16: f64,
    pub(crate) fp8: f64,
    pub(crate) own_bf16: f64,
    pub(crate) h2d: f64,
    pub(crate) d2h: f64,
    /// More keys of the scenario.
    pub(crate) more: String,
}

/// A machine as the stand-in plays it.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) library: bool,
    /// The share of the links that NCCL reaches, where it is there.
    pub(crate) nccl: Option<f64>,
    pub(crate) p2p: bool,
    /// Between two GPUs, in GB/s, and pairs that differ.
    pub(crate) peer_gbs: f64,
    pub(crate) slow_pair: Option<(usize, usize, f64)>,
    pub(crate) nvlinked: bool,
    /// For how long all GPUs are loaded as well, at their full size: alone and together.
    pub(crate) lasting: Option<&'static str>,
    /// `[[fault]]` entries.
    pub(crate) faults: String,
    pub(crate) sigma: f64,
    /// Processors, and bytes of host memory and of shared memory, that the record gets.
    pub(crate) cpus: u32,
    pub(crate) host_memory: Bytes,
    pub(crate) shared_memory: Bytes,
}

/// A rate somewhere between the least and the most that good machines show.
fn between(random: &mut SplitMix64, low: f64, high: f64) -> f64 {
    low + (high - low) * random.uniform()
}

impl Setup {
    /// A good machine with `count` of `model`.
    pub(crate) fn good(catalog: &Catalog, model: &str, count: usize, seed: u64) -> Self {
        let mut random = SplitMix64(seed.wrapping_mul(0x9E37_79B9) ^ model.len() as u64);
        let model = catalog.gpu(model).unwrap();
        // The machine has its own place among good machines, and its GPUs lie close together.
        let machine = Gpu::good(catalog, model, &mut random);
        let gpus = (0..count).map(|_| machine.sibling(&mut random)).collect();
        let nvlinked = model.nvlink.is_some() && model.short_name.contains("SXM") && count > 1;
        let peer_gbs = match model.nvlink_one_way() {
            Some(rate) if nvlinked => rate.value.0 / 1e9 * between(&mut random, 0.80, 0.87),
            _ => machine.h2d * between(&mut random, 0.85, 0.95),
        };
        let memory: u64 = model.capacity().value.0 * count as u64;
        Self {
            gpus,
            library: true,
            nccl: (count == 2).then_some(1.0),
            p2p: !model.name.contains("GeForce"),
            peer_gbs,
            slow_pair: None,
            nvlinked,
            lasting: None,
            faults: String::new(),
            sigma: 0.005,
            cpus: 16 * count as u32,
            host_memory: Bytes(2 * memory),
            shared_memory: Bytes::gib(64),
        }
    }

    /// A load that lasts, under which good boards get warm without throttling, and begin a little faster than their power limit lets them go on.
    pub(crate) fn last(&mut self, time: &'static str) {
        self.lasting = Some(time);
        for (index, gpu) in self.gpus.iter_mut().enumerate() {
            let boost = (gpu.sm_max_mhz / gpu.sm_mhz).clamp(1.0, 1.06);
            let load = 68 + 2 * index;
            gpu.more += &format!(
                "heat = {{ idle_c = 38.0, load_c = {load}.0, neighbour_c = 2.0, tau_s = 12.0, throttle_c = 86.0, burst = {boost:.3}, settle_s = 2.0 }}\n"
            );
        }
    }

    /// The law of one GPU's heat.
    pub(crate) fn heat(&mut self, gpu: usize, law: &str) {
        self.gpus[gpu].more = format!("heat = {{ idle_c = 38.0, {law} }}\n");
    }

    /// The scenario's file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("description = \"made by the test of verdicts\"\n[driver]\nversion = \"570.124.06\"\ncuda = 12080\n");
        text += "products = false\n";
        if self.library {
            text += "cublaslt = 120803\n";
        }
        if let Some(share) = self.nccl {
            let _ = writeln!(text, "nccl = 22703\nnccl_share = {share:?}");
        }
        let _ = writeln!(text, "[noise]\nsigma = {:?}\nseed = 1", self.sigma);
        for gpu in &self.gpus {
            gpu.write(&mut text, self.nvlinked);
        }
        let topology = if self.nvlinked { "node" } else { "bridge" };
        let link = |rate: f64| {
            format!(
                "p2p = {}, ce_gbs = {rate:.3}, ce_both_gbs = {:.3}, sm_gbs = {:.3}, sm_both_gbs = {:.3}, staged_gbs = {:.3}, staged_both_gbs = {:.3}, latency_us = 2.0, topology = \"{topology}\"",
                self.p2p,
                rate * 0.97,
                rate * 0.96,
                rate * 0.93,
                self.gpus[0].h2d * 0.6,
                self.gpus[0].h2d * 0.4
            )
        };
        if self.gpus.len() > 1 {
            let _ = writeln!(text, "[link_default]\n{}", link(self.peer_gbs).replace(", ", "\n"));
        }
        if let Some((from, to, rate)) = self.slow_pair {
            let _ = writeln!(text, "[[link]]\nfrom = {from}\nto = {to}\nboth = true\nlink = {{ {} }}", link(rate));
        }
        text + &self.faults
    }

    /// The scenario with GPUs of full size, which is for loads that touch no memory.
    pub(crate) fn full_size(&self) -> String {
        let scaled = |line: &&str| !line.starts_with("scale = ") && !line.starts_with("l2_scale = ");
        let text = self.text();
        let text: Vec<&str> = text.lines().filter(scaled).collect();
        text.join("\n").replacen("products = false", "products = false\npatterns = false", 1)
    }

    /// The record as the board's driver would have given it: memory and cache of full size, and a host that suits the GPUs.
    pub(crate) fn restore(&self, run: &mut Run) {
        for (gpu, of) in run.machine.gpus.iter_mut().zip(&self.gpus) {
            let share = |fact: &Fact<Bytes>, whole: u64| fact.known().map_or(0.0, |bytes| bytes.as_f64() / whole as f64);
            let (total, free) = (share(&gpu.memory_total, 1), share(&gpu.memory_free, 1));
            gpu.memory_total = Fact::Known(Bytes::mib(of.memory_mib));
            gpu.memory_free = Fact::Known(Bytes((of.memory_mib as f64 * 1_048_576.0 * free / total) as u64));
            gpu.l2 = Fact::Known(Bytes::kib(of.l2_kib));
        }
        let host = &mut run.machine.host;
        host.cpu.threads = Fact::Known(self.cpus);
        host.cpu.allowed_threads = Fact::Known(self.cpus);
        host.cpu.cgroup_cpus = Fact::Known(None);
        host.memory.total = Fact::Known(self.host_memory);
        host.memory.cgroup_limit = Fact::Known(None);
        host.memory.shm = Fact::Known(self.shared_memory);
        host.memory.memlock = Fact::Known(None);
        host.disks = Fact::Known(vec![Disk {
            mount: "/".to_owned(),
            device: "nvme0n1".to_owned(),
            kind: "nvme".to_owned(),
            file_system: "ext4".to_owned(),
            size: Fact::Known(Bytes::gib(8192)),
            free: Fact::Known(Bytes::gib(6000)),
        }]);
    }
}

impl Gpu {
    fn good(catalog: &Catalog, model: &GpuModel, random: &mut SplitMix64) -> Self {
        let device = model.pci_device_ids.first().and_then(|id| u32::from_str_radix(id, 16).ok()).unwrap_or(0x2000);
        let clocks = model.clocks.map_or((1500.0, 1800.0), |clocks| (clocks.boost().0 / 1e6, clocks.max().0 / 1e6));
        let bandwidth = model.bandwidth().value.0;
        let bus_bits = if model.memory.kind.starts_with("HBM") { 5120 } else { 384 };
        let copy = catalog.achieved_bandwidth(model, Metric::DramCopy).map_or(0.87 * bandwidth, |rate| rate.value.0);
        let peak = |dtype| model.matmul_peak(dtype).map_or(0.0, |rate| rate.value.0 / 1e12);
        let reached = |dtype: Dtype| catalog.achieved_matmul(model, dtype).map_or(0.78 * peak(dtype), |rate| rate.value.0 / 1e12);
        let link = catalog.pcie(model.pcie.generation, model.pcie.lanes).and_then(|link| link.measured).unwrap();
        let sustained = between(random, 0.87, 0.98);
        let h2d = between(random, link.low().0 / 1e9, link.high().0 / 1e9);
        Self {
            name: model.name.clone(),
            uuid: None,
            device,
            capability: model.compute_capability(),
            sms: model.sm_count.unwrap_or(100),
            memory_mib: model.capacity().value.0 >> 20,
            l2_kib: model.l2().map_or(40 << 10, |l2| l2.value.0 >> 10),
            bus_bits,
            sm_mhz: clocks.0 * between(random, 0.85, 1.0),
            sm_max_mhz: clocks.1,
            memory_mhz: bandwidth * 8.0 / f64::from(bus_bits) / 2.0 / 1e6,
            application_mhz: None,
            enforced_w: model.tdp().value.0,
            default_w: model.tdp().value.0,
            throttle: vec!["sw-power-cap"],
            ecc: model.memory.kind.starts_with("HBM").then_some((true, 0)),
            rows: (0, false, false),
            pcie: [model.pcie.generation, model.pcie.lanes, model.pcie.generation, model.pcie.lanes],
            nvlink: model.nvlink.map(|nvlink| (nvlink.links, nvlink.links, nvlink.generation)),
            mig: false,
            process: None,
            dram_gbs: copy / 1e9 * between(random, 0.96, 1.0),
            bf16: reached(Dtype::Bf16) * sustained,
            fp8: if peak(Dtype::Fp8) > 0.0 { reached(Dtype::Fp8) * sustained } else { 0.0 },
            own_bf16: peak(Dtype::Bf16) * between(random, 0.5, 0.7),
            h2d,
            d2h: h2d * between(random, 0.99, 1.03),
            more: String::new(),
        }
    }

    /// Another GPU of the same machine.
    fn sibling(&self, random: &mut SplitMix64) -> Self {
        let chip = between(random, 0.98, 1.02);
        Self {
            bf16: self.bf16 * chip,
            fp8: self.fp8 * chip,
            own_bf16: self.own_bf16 * chip,
            dram_gbs: self.dram_gbs * between(random, 0.997, 1.003),
            h2d: self.h2d * between(random, 0.99, 1.01),
            ..self.clone()
        }
    }

    /// All that computes or moves inside it, times `factor`.
    pub(crate) fn slow_down(&mut self, factor: f64) {
        self.bf16 *= factor;
        self.fp8 *= factor;
        self.own_bf16 *= factor;
    }

    fn write(&self, text: &mut String, nvlinked: bool) {
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key} = {value}");
        };
        line("[[gpu]]\nname", format!("{:?}", self.name));
        if let Some(uuid) = &self.uuid {
            line("uuid", format!("{uuid:?}"));
        }
        line("pci", format!("{{ device_id = {}, subsystem_id = {} }}", (self.device << 16) | 0x10de, 0x16c1_10de_u32));
        line("cc", format!("[{}, {}]", self.capability.0, self.capability.1));
        line("sms", self.sms.to_string());
        line("memory_mib", self.memory_mib.to_string());
        line("scale", (self.memory_mib / REAL_MIB).max(1).to_string());
        line("l2_kib", self.l2_kib.to_string());
        line("l2_scale", (self.l2_kib / 2048).max(1).to_string());
        line("l1_kib", "192".to_owned());
        line("shared_kib", if self.capability.0 == 8 && self.capability.1 > 0 { "100" } else { "164" }.to_owned());
        line("bus_bits", self.bus_bits.to_string());
        line("numa_node", "0".to_owned());
        line("temperature_c", "55".to_owned());
        let application = self
            .application_mhz
            .map_or_else(String::new, |mhz| format!(", application_sm_mhz = {:.0}, application_memory_mhz = {:.0}", mhz, self.memory_mhz));
        line(
            "clocks",
            format!(
                "{{ sm_mhz = {:.0}, sm_max_mhz = {:.0}, memory_mhz = {:.0}, memory_max_mhz = {:.0}{application} }}",
                self.sm_mhz, self.sm_max_mhz, self.memory_mhz, self.memory_mhz
            ),
        );
        line(
            "power",
            format!(
                "{{ draw_w = {:.1}, enforced_w = {:.1}, default_w = {:.1}, min_w = 50.0, max_w = {:.1} }}",
                self.enforced_w * 0.95,
                self.enforced_w,
                self.default_w,
                self.default_w
            ),
        );
        if !self.throttle.is_empty() {
            line("throttle", format!("{:?}", self.throttle));
        }
        if let Some((enabled, uncorrected)) = self.ecc {
            line("ecc", format!("{{ enabled = {enabled}, uncorrected = {uncorrected} }}"));
            line("rows", format!("{{ uncorrected = {}, pending = {}, failure = {} }}", self.rows.0, self.rows.1, self.rows.2));
        }
        let [generation, width, generation_max, width_max] = self.pcie;
        line(
            "pcie",
            format!("{{ generation = {generation}, width = {width}, generation_max = {generation_max}, width_max = {width_max} }}"),
        );
        if let (Some((links, active, version)), true) = (self.nvlink, nvlinked) {
            line("nvlink", format!("{{ links = {links}, active = {active}, version = {version} }}"));
        }
        if self.mig {
            let board = "board_uuid = \"GPU-7b1d2c90-4a3e-4e57-9c0f-1f2a5d6b8c33\", board_name = \"NVIDIA H100 80GB HBM3\", board_memory_mib = 81559";
            line("mig", format!("{{ {board}, gpu_instance = 7, compute_instance = 0 }}"));
        }
        if let Some(mib) = self.process {
            line("processes", format!("[{{ pid = 4242, memory_mib = {mib} }}]"));
        }
        let dram = self.dram_gbs;
        line(
            "dram",
            format!(
                "{{ read_gbs = {:.2}, write_gbs = {:.2}, copy_gbs = {dram:.2}, scale_gbs = {dram:.2}, add_gbs = {:.2}, triad_gbs = {:.2}, ce_copy_gbs = {:.2} }}",
                dram * 1.03,
                dram * 1.02,
                dram * 1.01,
                dram * 1.01,
                dram * 0.86
            ),
        );
        line("cache", format!("{{ l2_read_gbs = {:.1}, l1_ns = 18.0, l2_ns = 120.0, dram_ns = 340.0 }}", dram * 2.2));
        // A scaled memory holds no product of more than two microseconds, so that what surrounds a product is scaled as well.
        let rates = |bf16: f64, fp8: f64| {
            let eight = if fp8 > 0.0 { format!("e4m3_tflops = {fp8:.2}, e5m2_tflops = {fp8:.2}, ") } else { String::new() };
            format!("{{ bf16_tflops = {bf16:.2}, {eight}overhead_us = 0.02 }}")
        };
        let own_fp8 = if self.fp8 > 0.0 { self.own_bf16 * 1.2 } else { 0.0 };
        line("matmul", rates(self.own_bf16, own_fp8));
        line("cublaslt", rates(self.bf16, self.fp8));
        line(
            "host_link",
            format!(
                "{{ h2d_gbs = {:.2}, d2h_gbs = {:.2}, h2d_both_gbs = {:.2}, d2h_both_gbs = {:.2}, pageable_h2d_gbs = 9.0, pageable_d2h_gbs = 8.0, latency_us = 1.2 }}",
                self.h2d,
                self.d2h,
                self.h2d * 0.8,
                self.d2h * 0.8
            ),
        );
        line("launch", "{ host_us = 2.2, graph_host_us = 5.4, kernel_us = 1.3, graph_kernel_us = 0.95 }".to_owned());
        line("cost", "{ context_mib = 6, cublaslt_mib = 4 }".to_owned());
        if !self.more.is_empty() {
            let _ = writeln!(text, "{}", self.more);
        }
    }
}
