//! Reading and checking a scenario, and what follows from its numbers.

use std::path::Path;

use toml::{Table, Value};

use super::{Gpu, Link, Scenario, ScenarioError};

/// Bytes in one MiB.
const MIB: u64 = 1 << 20;

impl Scenario {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown or missing key, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::new(format!("cannot read scenario {}: {source}", path.display())))?;
        Self::parse(&text).map_err(|error| ScenarioError::new(format!("scenario {}: {error}", path.display())))
    }

    /// Parses and checks the text of a scenario.
    ///
    /// # Errors
    /// As [`Scenario::load`], without the file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut table: Table = text.parse().map_err(|error| ScenarioError::new(format!("{error}")))?;
        expand_models(&mut table)?;
        let mut scenario: Self = Value::Table(table).try_into().map_err(|error| ScenarioError::new(format!("{error}")))?;
        scenario.name_gpus();
        scenario.check()?;
        Ok(scenario)
    }

    /// Gives every GPU without an identity one that follows from its index.
    fn name_gpus(&mut self) {
        for (index, gpu) in self.gpus.iter_mut().enumerate() {
            if gpu.uuid.is_empty() {
                gpu.uuid = format!("GPU-5a5a0000-0000-4000-8000-{index:012x}");
            }
            if gpu.serial.is_empty() {
                gpu.serial = format!("16500{index:08}");
            }
            if gpu.pci.bus == 0 {
                gpu.pci.bus = 0x18 + 0x11 * u32::try_from(index).unwrap_or(0);
            }
        }
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let fail = |text: String| Err(ScenarioError::new(text));
        if !(0.0..0.25).contains(&self.noise.sigma) {
            return fail(format!("noise.sigma: expected a value from 0 to below 0.25 but found {}", self.noise.sigma));
        }
        if !(self.driver.nccl_share.is_finite() && self.driver.nccl_share > 0.0) {
            return fail(format!("driver.nccl_share: expected a positive share but found {}", self.driver.nccl_share));
        }
        for (index, gpu) in self.gpus.iter().enumerate() {
            let rates = [
                ("dram.read_gbs", gpu.dram.read_gbs),
                ("dram.write_gbs", gpu.dram.write_gbs),
                ("dram.copy_gbs", gpu.dram.copy_gbs),
                ("dram.scale_gbs", gpu.dram.scale_gbs),
                ("dram.add_gbs", gpu.dram.add_gbs),
                ("dram.triad_gbs", gpu.dram.triad_gbs),
                ("dram.ce_copy_gbs", gpu.dram.ce_copy_gbs),
                ("cache.l2_read_gbs", gpu.cache.l2_read_gbs),
                ("matmul.bf16_tflops", gpu.matmul.bf16_tflops),
                ("pipes.bf16_tflops", gpu.pipes.bf16_tflops),
                ("pipes.fp16_tflops", gpu.pipes.fp16_tflops),
                ("pipes.tf32_tflops", gpu.pipes.tf32_tflops),
                ("pipes.int8_tflops", gpu.pipes.int8_tflops),
                ("pipes.e4m3_tflops", gpu.pipes.e4m3_tflops),
                ("pipes.fp64_tflops", gpu.pipes.fp64_tflops),
                ("pipes.fma_fp32_tflops", gpu.pipes.fma_fp32_tflops),
                ("pipes.fma_fp64_tflops", gpu.pipes.fma_fp64_tflops),
                ("pipes.fma_fp16_tflops", gpu.pipes.fma_fp16_tflops),
                ("matmul.zeros", gpu.matmul.zeros),
                ("host_link.h2d_gbs", gpu.host_link.h2d_gbs),
                ("host_link.d2h_gbs", gpu.host_link.d2h_gbs),
                ("host_link.h2d_both_gbs", gpu.host_link.h2d_both_gbs),
                ("host_link.d2h_both_gbs", gpu.host_link.d2h_both_gbs),
                ("host_link.pageable_h2d_gbs", gpu.host_link.pageable_h2d_gbs),
                ("host_link.pageable_d2h_gbs", gpu.host_link.pageable_d2h_gbs),
                ("host_link.remote_share", gpu.host_link.remote_share),
            ];
            for (key, rate) in rates {
                if !(rate.is_finite() && rate > 0.0) {
                    return fail(format!("gpu {index}, {key}: expected a positive rate but found {rate}"));
                }
            }
            if gpu.scale == 0 || gpu.l2_scale == Some(0) || gpu.memory_bytes() == 0 || gpu.sms == 0 {
                return fail(format!("gpu {index}: expected memory, scale and sms above zero"));
            }
            if gpu.real_memory_mib.is_some_and(|real| !(1..=gpu.memory_mib).contains(&real)) {
                return fail(format!("gpu {index}, real_memory_mib: expected more than nothing and at most memory_mib"));
            }
            if let Some(heat) = gpu.heat {
                let positive = [heat.tau_s, heat.settle_s, heat.burst].iter().all(|value| value.is_finite() && *value > 0.0);
                let finite = [heat.idle_c, heat.load_c, heat.throttle_c, heat.idle_w].iter().all(|value| value.is_finite());
                if !positive || !finite || !(0.0..=1.0).contains(&heat.per_c) || !(0.0..=50.0).contains(&heat.neighbour_c) {
                    return fail(format!("gpu {index}, heat: expected temperatures, positive times and burst, and per_c from 0 to 1"));
                }
            }
            if uuid_bytes(&gpu.uuid).is_none() {
                return fail(format!("gpu {index}, uuid: expected GPU- or MIG- and a UUID but found {}", gpu.uuid));
            }
            for reason in &gpu.throttle {
                if throttle_bit(reason).is_none() {
                    return fail(format!("gpu {index}, throttle: unknown reason {reason}; README.md lists them"));
                }
            }
        }
        let count = self.gpus.len();
        let mut order = self.driver.nvml_order.clone();
        order.sort_unstable();
        if !order.is_empty() && !order.iter().copied().eq(0..count) {
            return fail(format!("driver.nvml_order: expected every GPU below {count} once"));
        }
        for switch in &self.host_switches {
            if ![switch.h2d_gbs, switch.d2h_gbs].iter().all(|rate| rate.is_finite() && *rate > 0.0) {
                return fail("host_switch: expected positive rates".to_owned());
            }
        }
        if self.peer_switches.iter().any(|switch| !(switch.gbs.is_finite() && switch.gbs > 0.0)) {
            return fail("peer_switch: expected positive rates".to_owned());
        }
        let mut switched: Vec<usize> = self.host_switches.iter().flat_map(|switch| switch.gpus.iter().copied()).collect();
        switched.sort_unstable();
        if switched.iter().any(|gpu| *gpu >= count) || switched.windows(2).any(|pair| pair[0] == pair[1]) {
            return fail(format!("host_switch: expected GPUs below {count}, each in one switch at most"));
        }
        for shelf in &self.power_shelves {
            if shelf.gpus.iter().any(|gpu| *gpu >= count) || !(shelf.watts.is_finite() && shelf.watts > 0.0) {
                return fail(format!("power_shelf: expected GPUs below {count} and positive watts"));
            }
        }
        for pair in &self.links {
            if pair.from >= count || pair.to >= count || pair.from == pair.to {
                return fail(format!("link: expected two different GPUs below {count} but found {} and {}", pair.from, pair.to));
            }
        }
        if count > 1 && self.link_default.is_none() {
            return fail("link_default: expected this table because there is more than one GPU".to_owned());
        }
        Ok(())
    }

    /// What joins `from` to `to`, with the spread applied; `None` for one GPU or an index out of range.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Option<Link> {
        if from == to || from.max(to) >= self.gpus.len() {
            return None;
        }
        let listed =
            self.links.iter().rev().find(|pair| (pair.from, pair.to) == (from, to) || pair.both && (pair.to, pair.from) == (from, to));
        let mut link = match listed {
            Some(pair) => pair.link.clone(),
            None => self.link_default.clone()?,
        };
        #[expect(clippy::cast_precision_loss, reason = "below 64")]
        let factor = |first: usize, second: usize| 1.0 - link.spread * ((8 * first + second) % 64) as f64 / 64.0;
        let (alone, both) = (factor(from, to), factor(from.min(to), from.max(to)));
        for rate in [&mut link.ce_gbs, &mut link.sm_gbs, &mut link.staged_gbs] {
            *rate *= alone;
        }
        for rate in [&mut link.ce_both_gbs, &mut link.sm_both_gbs, &mut link.staged_both_gbs] {
            *rate *= both;
        }
        Some(link)
    }
}

impl Gpu {
    /// Reported memory in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_mib * MIB / self.scale
    }

    /// Memory in bytes that is really there, when it is less than what is reported.
    #[must_use]
    pub fn real_memory_bytes(&self) -> Option<u64> {
        self.real_memory_mib.map(|mib| mib * MIB / self.scale)
    }

    /// Reported second-level cache in bytes.
    #[must_use]
    pub fn l2_bytes(&self) -> u64 {
        self.l2_kib * 1024 / self.l2_scale.unwrap_or(self.scale)
    }

    /// First-level cache in bytes.
    #[must_use]
    pub fn l1_bytes(&self) -> u64 {
        self.l1_kib * 1024
    }

    /// Memory in bytes that other programs hold.
    #[must_use]
    pub fn foreign_bytes(&self) -> u64 {
        self.processes.iter().map(|process| process.memory_mib * MIB).sum()
    }

    /// PCI address as NVML and CUDA write it.
    #[must_use]
    pub fn bus_id(&self) -> String {
        format!("{:08X}:{:02X}:{:02X}.0", self.pci.domain, self.pci.bus, self.pci.device)
    }

    /// Throttle reasons as NVML's bit mask.
    #[must_use]
    pub fn throttle_bits(&self) -> u64 {
        self.throttle.iter().filter_map(|reason| throttle_bit(reason)).fold(0, |mask, bit| mask | bit)
    }
}

/// NVML's bit of a throttle reason.
fn throttle_bit(reason: &str) -> Option<u64> {
    Some(match reason {
        "gpu-idle" => 0x1,
        "application-clocks" => 0x2,
        "sw-power-cap" => 0x4,
        "hw-slowdown" => 0x8,
        "sync-boost" => 0x10,
        "sw-thermal" => 0x20,
        "hw-thermal" => 0x40,
        "hw-power-brake" => 0x80,
        "display-clocks" => 0x100,
        _ => return None,
    })
}

/// The sixteen bytes of `GPU-…` or `MIG-…`.
pub(crate) fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.strip_prefix("GPU-").or_else(|| text.strip_prefix("MIG-"))?.replace('-', "");
    let value = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(value.to_be_bytes())
}

/// Puts each `[[gpu]]` on top of the `[model.NAME]` it names, and repeats it `count` times.
fn expand_models(table: &mut Table) -> Result<(), ScenarioError> {
    let models = match table.remove("model") {
        None => Table::new(),
        Some(Value::Table(models)) => models,
        Some(_) => return Err(ScenarioError::new("model: expected tables such as [model.h100]")),
    };
    let Some(gpus) = table.remove("gpu") else { return Ok(()) };
    let Value::Array(gpus) = gpus else {
        return Err(ScenarioError::new("gpu: expected [[gpu]], an array of tables"));
    };
    let mut expanded = Vec::new();
    for gpu in gpus {
        let Value::Table(mut own) = gpu else {
            return Err(ScenarioError::new("gpu: expected [[gpu]], an array of tables"));
        };
        let count = match own.remove("count") {
            None => 1,
            Some(Value::Integer(count @ 1..=64)) => count,
            Some(other) => return Err(ScenarioError::new(format!("gpu.count: expected 1 to 64 but found {other}"))),
        };
        let mut merged = match own.remove("model") {
            None => Table::new(),
            Some(Value::String(name)) => match models.get(&name) {
                Some(Value::Table(model)) => model.clone(),
                _ => return Err(ScenarioError::new(format!("gpu.model: there is no [model.{name}]"))),
            },
            Some(other) => return Err(ScenarioError::new(format!("gpu.model: expected a name but found {other}"))),
        };
        merge(&mut merged, own);
        for _ in 0..count {
            expanded.push(Value::Table(merged.clone()));
        }
    }
    table.insert("gpu".to_owned(), Value::Array(expanded));
    Ok(())
}

/// Lays `over` on top of `base`, table by table.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
