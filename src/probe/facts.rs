//! What the GPU probes conclude from a machine's facts: which sizes fit, which rates are impossible.

use crate::error::{Error, Result};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Waiver};
use crate::units::{Bytes, BytesPerSecond};

/// Share of the free device memory, in percent, that the arrays of a case may take together.
const USABLE_PERCENT: u64 = 60;

/// L2 size to assume where the driver does not tell: more than any chip has, so that what is meant to miss it does.
const LARGE_L2: Bytes = Bytes::mib(128);

/// Owners overclock memory by up to a tenth, which the listed maximum does not show. A rate beyond this factor did not come from the memory;
/// one from a cache is higher by far.
const CEILING_GUARD: f64 = 1.1;

/// The oldest compute capability that there are kernels for.
const LEAST_CAPABILITY: (u32, u32) = (7, 5);

/// Whether there are two GPUs or more that the driver lets programs work with.
pub(super) fn needs_gpus(machine: &Machine) -> Result<(), Waiver> {
    needs_gpu(machine)?;
    match machine.gpus.len() {
        found @ (0 | 1) => Err(Waiver::TooFewDevices { needed: 2, found: found as u32 }),
        _ => Ok(()),
    }
}

/// Whether there is a GPU at all that the driver lets programs work with. NVML may list GPUs for which CUDA cannot be opened.
pub(super) fn needs_gpu(machine: &Machine) -> Result<(), Waiver> {
    if machine.gpus.is_empty() {
        let reason = machine.driver.cuda_version.why().unwrap_or("the driver lists none").to_owned();
        return Err(Waiver::NoDevice { reason });
    }
    let capabilities: Option<Vec<(u32, u32)>> = machine.gpus.iter().map(|gpu| gpu.compute_capability.known().copied()).collect();
    if let Some(newest) = capabilities.and_then(|found| found.into_iter().max())
        && newest < LEAST_CAPABILITY
    {
        let shown = |(major, minor): (u32, u32)| format!("{major}.{minor}");
        return Err(Waiver::ComputeCapability { needed: shown(LEAST_CAPABILITY), found: shown(newest) });
    }
    // Only CUDA knows the number of multiprocessors.
    let mut without = machine.gpus.iter().map_while(|gpu| gpu.sm_count.why());
    match (without.clone().count() == machine.gpus.len(), without.next()) {
        (true, Some(why)) => Err(Waiver::NoDevice { reason: why.to_owned() }),
        _ => Ok(()),
    }
}

/// The GPU that `case` names on its axis `axis`.
///
/// # Errors
/// [`Error::Usage`] when the case names none, or one that is not there.
pub(super) fn gpu_on<'a>(machine: &'a Machine, case: &Case, axis: &str) -> Result<&'a Gpu> {
    case.get_count(axis)
        .and_then(|index| machine.gpus.iter().find(|gpu| u64::from(gpu.index) == index))
        .ok_or_else(|| Error::usage(format!("{case}: no such GPU on this machine; `gpu-assay inspect` lists them")))
}

/// The size on the axis `axis`.
///
/// # Errors
/// [`Error::Usage`] when the case has no size there.
pub(super) fn size(case: &Case, axis: &str) -> Result<Bytes> {
    case.get_bytes(axis).ok_or_else(|| Error::usage(format!("{case}: expected a size on the axis {axis:?}, such as {axis}=1GiB")))
}

/// The count on the axis `axis`.
///
/// # Errors
/// [`Error::Usage`] when the case has no count there.
pub(super) fn count(case: &Case, axis: &str) -> Result<u64> {
    case.get_count(axis).ok_or_else(|| Error::usage(format!("{case}: expected a count on the axis {axis:?}, such as {axis}=8")))
}

/// A case that this probe does not have.
pub(super) fn unknown(case: &Case) -> Error {
    Error::usage(format!("{case}: no such case; `gpu-assay measure --list` lists the probes"))
}

/// Device memory that the arrays of a case may take together.
pub(super) fn usable(gpu: &Gpu) -> Bytes {
    let free = gpu.memory_free.known().or(gpu.memory_total.known()).copied().unwrap_or(Bytes::gib(1));
    free / 100 * USABLE_PERCENT
}

/// The second-level cache, or more than any chip has where the driver does not tell.
pub(super) fn l2(gpu: &Gpu) -> Bytes {
    gpu.l2.known().copied().filter(|l2| l2.0 > 0).unwrap_or(LARGE_L2)
}

/// The rate that device memory cannot exceed: bus width times the highest memory clock, two transfers per cycle, and
/// a tenth for overclocked memory. `None` where either is not known.
pub(super) fn memory_ceiling(gpu: &Gpu) -> Option<BytesPerSecond> {
    let bits = gpu.memory_bus_bits.known().copied().filter(|bits| *bits > 0)?;
    let clock = gpu.memory_clock.maximum.known().copied().filter(|clock| clock.0 > 0.0)?;
    Some(BytesPerSecond(f64::from(bits) / 8.0 * clock.0 * 2.0 * CEILING_GUARD))
}

/// Whether the GPU has at least this compute capability; an unknown one is given the benefit of the doubt.
///
/// # Errors
/// The waiver that says what is needed and what was found.
pub(super) fn needs_capability(gpu: &Gpu, needed: (u32, u32)) -> Result<(), Waiver> {
    match gpu.compute_capability.known() {
        Some(found) if *found < needed => {
            Err(Waiver::ComputeCapability { needed: format!("{}.{}", needed.0, needed.1), found: format!("{}.{}", found.0, found.1) })
        }
        _ => Ok(()),
    }
}

/// The largest power of two that is not above `bytes`; zero stays zero.
pub(super) const fn power_of_two_below(bytes: Bytes) -> Bytes {
    match bytes.0.checked_ilog2() {
        Some(exponent) => Bytes(1 << exponent),
        None => Bytes(0),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::machine::Fact;
    use crate::units::Hertz;

    /// A GPU of which the driver told only the given facts.
    pub(in crate::probe) fn gpu(index: u32, free: Bytes, l2: Bytes) -> Gpu {
        use crate::machine::{Clocks, PowerLimits};
        fn unknown<T>() -> Fact<T> {
            Fact::unknown("not in this test")
        }
        let clocks = || Clocks { current: unknown(), maximum: unknown(), application: unknown() };
        Gpu {
            index,
            name: "Test".into(),
            uuid: format!("GPU-{index}"),
            pci_address: unknown(),
            pci_id: unknown(),
            pci_subsystem_id: unknown(),
            compute_capability: Fact::Known((9, 0)),
            sm_count: Fact::Known(132),
            memory_total: Fact::Known(free),
            memory_free: Fact::Known(free),
            memory_bus_bits: unknown(),
            l2: Fact::Known(l2),
            sm_clock: clocks(),
            memory_clock: clocks(),
            power: PowerLimits { enforced: unknown(), default: unknown(), maximum: unknown() },
            ecc: unknown(),
            remapped_rows: unknown(),
            mig: unknown(),
            virtualization: unknown(),
            pcie: unknown(),
            nvlinks: unknown(),
            other_processes: unknown(),
            numa_node: unknown(),
            vbios: unknown(),
        }
    }

    #[test]
    fn the_ceiling_of_an_h100_is_its_datasheet_bandwidth_and_a_tenth() {
        let mut gpu = gpu(0, Bytes::gib(80), Bytes::mib(50));
        assert_eq!(memory_ceiling(&gpu), None);
        gpu.memory_bus_bits = Fact::Known(5120);
        gpu.memory_clock.maximum = Fact::Known(Hertz(2619e6));
        let ceiling = memory_ceiling(&gpu).unwrap();
        assert!((ceiling.0 / 3.352e12 - 1.1).abs() < 1e-3, "{ceiling}");
    }

    #[test]
    fn capabilities_compare_as_versions() {
        let gpu = gpu(0, Bytes::gib(80), Bytes::mib(50));
        assert_eq!(needs_capability(&gpu, (8, 9)), Ok(()));
        let waiver = needs_capability(&gpu, (10, 0)).unwrap_err();
        assert_eq!(waiver.to_string(), "needs compute capability 10.0, found 9.0");
    }

    #[test]
    fn powers_of_two_are_rounded_down() {
        for (bytes, power) in [(0, 0), (1, 1), (3, 2), (4096, 4096), (u64::MAX, 1 << 63)] {
            assert_eq!(power_of_two_below(Bytes(bytes)), Bytes(power));
        }
    }
}
