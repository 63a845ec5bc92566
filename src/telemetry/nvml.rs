//! The watch over one GPU through NVML.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};

use super::watch::{Counters, PERIOD, Poller, Reading, Readings};
use super::{Span, Watch};
use crate::error::{Error, Result};
use crate::machine::nvml::Nvml;
use crate::units::{Celsius, Hertz, Watts};

/// Every reason NVML can give for reduced clocks, but idleness, by its name in lower case.
const REASONS: &[(ThrottleReasons, &str)] = &[
    (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "applications_clocks_setting"),
    (ThrottleReasons::SW_POWER_CAP, "sw_power_cap"),
    (ThrottleReasons::HW_SLOWDOWN, "hw_slowdown"),
    (ThrottleReasons::SYNC_BOOST, "sync_boost"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw_thermal_slowdown"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw_thermal_slowdown"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw_power_brake_slowdown"),
    (ThrottleReasons::DISPLAY_CLOCK_SETTING, "display_clock_setting"),
];

/// Watches one GPU; for a MIG slice the board that carries it, because a slice has no clocks of its own.
pub struct NvmlWatch(Poller<NvmlReadings>);

impl NvmlWatch {
    /// A watch over the GPU with this UUID, asleep until it is started.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when NVML does not know the GPU, and when the system gives no thread.
    pub fn new(nvml: &Nvml, uuid: &str) -> Result<Self> {
        Poller::new(Self::readings(nvml, uuid)?, PERIOD).map(Self).map_err(|error| unavailable(uuid, error.to_string()))
    }

    /// What NVML says of the GPU with this UUID.
    pub(super) fn readings(nvml: &Nvml, uuid: &str) -> Result<NvmlReadings> {
        nvml.board(uuid).map_err(|error| unavailable(uuid, error.to_string()))?;
        Ok(NvmlReadings { nvml: nvml.clone(), uuid: uuid.to_owned() })
    }
}

fn unavailable(uuid: &str, why: String) -> Error {
    Error::Unavailable { doing: format!("watching {uuid}"), why, remedy: "check that nvidia-smi lists this GPU".to_owned() }
}

impl std::fmt::Debug for NvmlWatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("NvmlWatch").finish_non_exhaustive()
    }
}

impl Watch for NvmlWatch {
    fn start(&mut self) {
        self.0.start();
    }

    fn stop(&mut self) -> Option<Span> {
        self.0.stop()
    }
}

/// Looks the GPU up for every poll: a handle borrows the library, and finding one costs NVML a comparison of strings.
pub(super) struct NvmlReadings {
    nvml: Nvml,
    uuid: String,
}

fn megahertz(clock: u32) -> Hertz {
    Hertz(f64::from(clock) * 1e6)
}

/// Names of the reasons in a mask: several can hold at once, and newer drivers set bits that have no name here.
fn named(mask: ThrottleReasons) -> Vec<&'static str> {
    REASONS.iter().filter(|(bit, _)| mask.contains(*bit)).map(|(_, name)| *name).collect()
}

impl std::fmt::Debug for NvmlReadings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NvmlReadings").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

impl Readings for NvmlReadings {
    fn poll(&mut self) -> Reading {
        let Ok(gpu) = self.nvml.board(&self.uuid) else { return Reading::default() };
        let reasons = gpu.current_throttle_reasons().ok();
        Reading {
            sm_clock: gpu.clock_info(Clock::SM).ok().map(megahertz),
            memory_clock: gpu.clock_info(Clock::Memory).ok().map(megahertz),
            power: gpu.power_usage().ok().map(|milliwatts| Watts(f64::from(milliwatts) / 1e3)),
            temperature: gpu.temperature(TemperatureSensor::Gpu).ok().map(|degrees| Celsius(f64::from(degrees))),
            throttle_reasons: reasons.map(named).unwrap_or_default(),
            idle: reasons.is_some_and(|mask| mask.contains(ThrottleReasons::GPU_IDLE)),
            pcie: gpu.current_pcie_link_gen().ok().zip(gpu.current_pcie_link_width().ok()),
        }
    }

    fn power_limit(&mut self) -> Option<Watts> {
        let gpu = self.nvml.board(&self.uuid).ok()?;
        gpu.enforced_power_limit().ok().map(|milliwatts| Watts(f64::from(milliwatts) / 1e3))
    }

    fn counters(&mut self) -> Counters {
        let Ok(gpu) = self.nvml.board(&self.uuid) else { return Counters::default() };
        let errors = |kind: MemoryError| gpu.total_ecc_errors(kind, EccCounter::Volatile).ok();
        Counters {
            corrected_errors: errors(MemoryError::Corrected),
            uncorrected_errors: errors(MemoryError::Uncorrected),
            pcie_replays: gpu.pcie_replay_counter().ok().map(u64::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_mask_is_named() {
        let mask = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::GPU_IDLE;
        assert_eq!(named(mask), ["sw_power_cap", "hw_thermal_slowdown"]);
        assert_eq!(named(ThrottleReasons::all()).len(), REASONS.len());
        assert!(named(ThrottleReasons::NONE).is_empty());
        assert!(named(ThrottleReasons::GPU_IDLE).is_empty());
    }
}
