//! What CUDA knows of the machine's GPUs, for the list that [`join`](crate::machine::join) makes with NVML's view.
//!
//! Nothing here opens a device: a context takes hundreds of megabytes of its memory and some tenths of a second.

use super::driver::{Attribute, Device, Driver};
use crate::machine::Fact;
use crate::machine::join::CudaGpu;
use crate::units::{Bytes, Hertz};

/// The driver's facts of every device, in its order.
pub fn survey(driver: &Driver) -> Vec<CudaGpu> {
    driver.devices().iter().map(|device| survey_device(driver, device)).collect()
}

fn survey_device(driver: &Driver, device: &Device) -> CudaGpu {
    let attribute = |attribute| Fact::from_result(driver.attribute(device, attribute));
    let clock = |kilohertz| attribute(kilohertz).map(|value| Hertz(f64::from(value) * 1e3));
    let toward_each = |question: &dyn Fn(&Device) -> Fact<bool>| {
        driver.devices().iter().map(|peer| if peer == device { Fact::unknown("the GPU itself") } else { question(peer) }).collect()
    };
    // Where memory is the host's, the driver gives a clock that has nothing to do with its rate.
    let integrated = driver.attribute(device, Attribute::Integrated).is_ok_and(|value| value != 0);
    let memory_clock = if integrated { Fact::unknown("the GPU shares the host's memory") } else { clock(Attribute::MemoryClockKilohertz) };
    CudaGpu {
        uuid: device.uuid.clone(),
        name: device.name.clone(),
        pci_address: Fact::Known(device.pci_address.clone()),
        compute_capability: Fact::Known(device.compute_capability),
        sm_count: Fact::Known(device.sm_count),
        memory_total: Fact::Known(device.memory),
        memory_free: Fact::unknown("CUDA tells only with an open context"),
        memory_bus_bits: attribute(Attribute::MemoryBusBits),
        l2: attribute(Attribute::L2Bytes).map(|bytes| Bytes(u64::from(bytes))),
        sm_clock_maximum: clock(Attribute::SmClockKilohertz),
        memory_clock_maximum: memory_clock,
        ecc_enabled: attribute(Attribute::Ecc).map(|value| value != 0),
        peer_access: toward_each(&|peer| Fact::from_result(driver.can_access_peer(device, peer))),
        native_atomics: toward_each(&|peer| Fact::from_result(driver.native_peer_atomics(device, peer))),
    }
}
