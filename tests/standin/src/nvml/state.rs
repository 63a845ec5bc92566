//! What changes while the GPU works: clocks, power, temperature, throttling, errors.

use nvml_wrapper_sys::bindings::{nvmlFieldValue_t, nvmlUtilization_t, nvmlViolationTime_t};

use super::nvml;
use crate::code::Nv;
use crate::driver::{Driver, put};
use crate::scenario::{Gpu, Rows};

/// `NVML_CLOCK_MEM`; 0 and 1 are graphics and multiprocessors, 3 is video.
const MEMORY_CLOCK: u32 = 2;

fn clock(kind: u32, sm: u32, memory: u32) -> Result<u32, Nv> {
    match kind {
        0 | 1 | 3 => Ok(sm),
        MEMORY_CLOCK => Ok(memory),
        _ => Err(Nv::INVALID_ARGUMENT),
    }
}

fn application(gpu: &Gpu, kind: u32) -> Result<u32, Nv> {
    let clocks = gpu.clocks;
    let (sm, memory) = clocks.application_sm_mhz.zip(clocks.application_memory_mhz).ok_or(Nv::NOT_SUPPORTED)?;
    clock(kind, sm, memory)
}

fn milliwatts(watts: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few kilowatts at most")]
    let value = (watts.max(0.0) * 1e3).round() as u32;
    value
}

nvml!(nvmlDeviceGetClockInfo |d| (handle: usize, kind: u32, mhz: *mut u32) {
    let clocks = d.nvml_board(handle)?.clocks;
    put(mhz, clock(kind, d.sm_mhz(handle)?, clocks.memory_mhz)?)
});

nvml!(nvmlDeviceGetMaxClockInfo |d| (handle: usize, kind: u32, mhz: *mut u32) {
    let clocks = d.nvml_board(handle)?.clocks;
    put(mhz, clock(kind, clocks.sm_max_mhz, clocks.memory_max_mhz)?)
});

nvml!(nvmlDeviceGetClock |d| (handle: usize, kind: u32, id: u32, mhz: *mut u32) {
    let gpu = d.nvml_board(handle)?;
    put(mhz, match id {
        0 => clock(kind, d.sm_mhz(handle)?, gpu.clocks.memory_mhz)?,
        1 | 2 => application(gpu, kind)?,
        3 => clock(kind, gpu.clocks.sm_max_mhz, gpu.clocks.memory_max_mhz)?,
        _ => return Err(Nv::INVALID_ARGUMENT),
    })
});

nvml!(nvmlDeviceGetApplicationsClock |d| (handle: usize, kind: u32, mhz: *mut u32) {
    put(mhz, application(d.nvml_board(handle)?, kind)?)
});

nvml!(nvmlDeviceGetDefaultApplicationsClock |d| (handle: usize, kind: u32, mhz: *mut u32) {
    put(mhz, application(d.nvml_board(handle)?, kind)?)
});

nvml!(nvmlDeviceGetMaxCustomerBoostClock |d| (handle: usize, kind: u32, mhz: *mut u32) {
    let clocks = d.nvml_board(handle)?.clocks;
    put(mhz, clock(kind, clocks.sm_max_mhz, clocks.memory_max_mhz)?)
});

nvml!(nvmlDeviceGetCurrentClocksThrottleReasons |d| (handle: usize, mask: *mut u64) {
    put(mask, d.throttle_bits(handle)?)
});

nvml!(nvmlDeviceGetCurrentClocksEventReasons |d| (handle: usize, mask: *mut u64) {
    put(mask, d.throttle_bits(handle)?)
});

nvml!(nvmlDeviceGetSupportedClocksThrottleReasons |d| (handle: usize, mask: *mut u64) {
    d.nvml_board(handle)?;
    put(mask, 0x1ff)
});

nvml!(nvmlDeviceGetSupportedClocksEventReasons |d| (handle: usize, mask: *mut u64) {
    d.nvml_board(handle)?;
    put(mask, 0x1ff)
});

nvml!(nvmlDeviceGetViolationStatus |d| (handle: usize, policy: u32, status: *mut nvmlViolationTime_t) {
    let bits = d.throttle_bits(handle)?;
    // Policies 0 and 1 are power and heat; the others never bite here.
    let active = match policy {
        0 => bits & 0x84 != 0,
        1 => bits & 0x68 != 0,
        _ => false,
    };
    let nanoseconds = u64::try_from(d.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let violated = if active { nanoseconds } else { 0 };
    put(status, nvmlViolationTime_t { referenceTime: nanoseconds / 1000, violationTime: violated })
});

nvml!(nvmlDeviceGetPowerUsage |d| (handle: usize, mw: *mut u32) {
    put(mw, milliwatts(d.watts(handle)?))
});

nvml!(nvmlDeviceGetEnforcedPowerLimit |d| (handle: usize, mw: *mut u32) {
    put(mw, milliwatts(d.nvml_board(handle)?.power.enforced_w))
});

nvml!(nvmlDeviceGetPowerManagementMode |d| (handle: usize, mode: *mut u32) {
    d.nvml_board(handle)?;
    put(mode, 1)
});

nvml!(nvmlDeviceGetPowerManagementLimit |d| (handle: usize, mw: *mut u32) {
    put(mw, milliwatts(d.nvml_board(handle)?.power.enforced_w))
});

nvml!(nvmlDeviceGetPowerManagementDefaultLimit |d| (handle: usize, mw: *mut u32) {
    put(mw, milliwatts(d.nvml_board(handle)?.power.default_w))
});

nvml!(nvmlDeviceGetPowerManagementLimitConstraints |d| (handle: usize, least: *mut u32, most: *mut u32) {
    let power = d.nvml_board(handle)?.power;
    put(least, milliwatts(power.min_w))?;
    put(most, milliwatts(power.max_w))
});

nvml!(nvmlDeviceGetTotalEnergyConsumption |d| (handle: usize, mj: *mut u64) {
    let watts = d.watts(handle)?;
    // Real time, not virtual time: the program divides by its own clock.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and years away from the limit")]
    let energy = (watts * d.born.elapsed().as_secs_f64() * 1e3) as u64;
    put(mj, energy)
});

nvml!(nvmlDeviceGetTemperature |d| (handle: usize, sensor: u32, celsius: *mut u32) {
    if sensor != 0 {
        return Err(Nv::INVALID_ARGUMENT);
    }
    d.nvml_board(handle)?;
    put(celsius, d.machine.heat.celsius(d.nvml_device(handle)?.device))
});

nvml!(nvmlDeviceGetTemperatureThreshold |d| (handle: usize, kind: u32, celsius: *mut u32) {
    d.nvml_board(handle)?;
    put(celsius, match kind {
        0 => 92,
        1 => 89,
        2 => 95,
        3 => 87,
        _ => return Err(Nv::NOT_SUPPORTED),
    })
});

nvml!(nvmlDeviceGetPerformanceState |d| (handle: usize, state: *mut u32) {
    d.nvml_board(handle)?;
    put(state, 0)
});

nvml!(nvmlDeviceGetUtilizationRates |d| (handle: usize, rates: *mut nvmlUtilization_t) {
    d.nvml_board(handle)?;
    let busy = if d.working() { 100 } else { 0 };
    put(rates, nvmlUtilization_t { gpu: busy, memory: busy / 2 })
});

nvml!(nvmlDeviceGetPersistenceMode |d| (handle: usize, mode: *mut u32) {
    d.nvml_board(handle)?;
    put(mode, 1)
});

nvml!(nvmlDeviceGetComputeMode |d| (handle: usize, mode: *mut u32) {
    d.nvml_board(handle)?;
    put(mode, 0)
});

nvml!(nvmlDeviceGetEccMode |d| (handle: usize, current: *mut u32, pending: *mut u32) {
    let ecc = d.nvml_board(handle)?.ecc.ok_or(Nv::NOT_SUPPORTED)?;
    put(current, u32::from(ecc.enabled))?;
    put(pending, u32::from(ecc.pending.unwrap_or(ecc.enabled)))
});

nvml!(nvmlDeviceGetTotalEccErrors |d| (handle: usize, kind: u32, counter: u32, count: *mut u64) {
    put(count, ecc_errors(d.nvml_board(handle)?, kind)?)
});

nvml!(nvmlDeviceGetMemoryErrorCounter |d| (handle: usize, kind: u32, counter: u32, place: u32, count: *mut u64) {
    let errors = ecc_errors(d.nvml_board(handle)?, kind)?;
    // All errors of a scenario are in device memory (place 2).
    put(count, if place == 2 { errors } else { 0 })
});

nvml!(nvmlDeviceGetRemappedRows |d| (handle: usize, corrected: *mut u32, uncorrected: *mut u32, pending: *mut u32, failure: *mut u32) {
    let rows = d.nvml_board(handle)?.rows.ok_or(Nv::NOT_SUPPORTED)?;
    put(corrected, rows.corrected)?;
    put(uncorrected, rows.uncorrected)?;
    put(pending, u32::from(rows.pending))?;
    put(failure, u32::from(rows.failure))
});

nvml!(nvmlDeviceGetRetiredPages |d| (handle: usize, cause: u32, count: *mut u32, addresses: *mut u64) {
    // Chips with a row remapper do not retire pages.
    if d.nvml_board(handle)?.rows.is_some() {
        return Err(Nv::NOT_SUPPORTED);
    }
    super::put_list(count, addresses, &[])
});

nvml!(nvmlDeviceGetRetiredPagesPendingStatus |d| (handle: usize, pending: *mut u32) {
    if d.nvml_board(handle)?.rows.is_some() {
        return Err(Nv::NOT_SUPPORTED);
    }
    put(pending, 0)
});

nvml!(nvmlDeviceGetFieldValues |d| (handle: usize, count: i32, values: *mut nvmlFieldValue_t) {
    d.nvml_device(handle)?;
    let rows = d.nvml_board(handle)?.rows;
    let count = usize::try_from(count).map_err(|_| Nv::INVALID_ARGUMENT)?;
    for index in 0..count {
        if values.is_null() {
            return Err(Nv::INVALID_ARGUMENT);
        }
        // SAFETY: not null; the caller vouches for `count` elements.
        let value = unsafe { &mut *values.add(index) };
        match rows.as_ref().and_then(|rows| remapped_rows(rows, value.fieldId)) {
            Some(number) => {
                value.valueType = UNSIGNED_INT;
                value.value.uiVal = number;
                value.nvmlReturn = 0;
            }
            None => value.nvmlReturn = i32::from(Nv::NOT_SUPPORTED).cast_unsigned(),
        }
    }
    Ok(())
});

/// NVML's tag of a field whose value is a 32-bit count.
const UNSIGNED_INT: u32 = 1;

/// The fields about remapped rows: by corrected errors, by uncorrected errors, pending, failed.
fn remapped_rows(rows: &Rows, field: u32) -> Option<u32> {
    match field {
        142 => Some(rows.corrected),
        143 => Some(rows.uncorrected),
        144 => Some(u32::from(rows.pending)),
        145 => Some(u32::from(rows.failure)),
        _ => None,
    }
}

fn ecc_errors(gpu: &Gpu, kind: u32) -> Result<u64, Nv> {
    let ecc = gpu.ecc.filter(|ecc| ecc.enabled).ok_or(Nv::NOT_SUPPORTED)?;
    match kind {
        0 => Ok(ecc.corrected),
        1 => Ok(ecc.uncorrected),
        _ => Err(Nv::INVALID_ARGUMENT),
    }
}

impl Driver {
    /// The clock of the multiprocessors now.
    fn sm_mhz(&self, handle: usize) -> Result<u32, Nv> {
        let (clocks, device) = (self.nvml_board(handle)?.clocks, self.nvml_device(handle)?.device);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a clock in MHz")]
        let mhz = (f64::from(clocks.sm_mhz) * self.machine.clock(device)).round() as u32;
        Ok(mhz.min(clocks.sm_max_mhz.max(clocks.sm_mhz)))
    }

    /// Why the clock is held down now.
    fn throttle_bits(&self, handle: usize) -> Result<u64, Nv> {
        let scenario = &self.machine.scenario;
        Ok(self.nvml_board(handle)?.throttle_bits() | self.machine.heat.throttle_bits(scenario, self.nvml_device(handle)?.device))
    }

    /// What the GPU draws now.
    fn watts(&self, handle: usize) -> Result<f64, Nv> {
        self.nvml_board(handle)?;
        Ok(self.machine.heat.watts(&self.machine.scenario, self.nvml_device(handle)?.device))
    }

    /// Whether the machine counts as working: something is enqueued, or bytes moved within the last half second of real time.
    pub(crate) fn working(&self) -> bool {
        self.timeline.busy() || self.last_work.is_some_and(|at| at.elapsed().as_millis() < 500)
    }
}
