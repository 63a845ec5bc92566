//! Sets of events: who listens to which GPU, and what the GPUs reported.
//!
//! Nothing happens while a program waits here, so a wait is over at once: with an event that is there already, or with "timeout".

use std::collections::VecDeque;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventTypeXidCriticalError};

use super::{BOARD, nvml};
use crate::code::Nv;
use crate::driver::{Driver, put};

/// The only kind of event there is here.
const XID: u64 = nvmlEventTypeXidCriticalError as u64;

/// A set: the devices it listens to, and the events that nobody has asked for yet, each a device and an XID.
#[derive(Debug, Default)]
pub(crate) struct EventSet {
    devices: Vec<usize>,
    pending: VecDeque<(usize, u64)>,
}

impl Driver {
    fn event_set(&mut self, set: usize) -> Result<&mut EventSet, Nv> {
        if self.nvml_users == 0 {
            return Err(Nv::UNINITIALIZED);
        }
        self.event_sets.get_mut(&set).ok_or(Nv::INVALID_ARGUMENT)
    }

    /// Counts a piece of work of a device, and tells whoever listens of the XIDs that the scenario has planned for it.
    pub(crate) fn raise_xids(&mut self, device: usize) {
        self.works[device] += 1;
        let due = self.machine.scenario.gpus[device].xids.iter().filter(|xid| xid.at == self.works[device]);
        for xid in due {
            for set in self.event_sets.values_mut().filter(|set| set.devices.contains(&device)) {
                set.pending.push_back((device, xid.code));
            }
        }
    }
}

nvml!(nvmlEventSetCreate |d| (set: *mut usize) {
    if d.nvml_users == 0 {
        return Err(Nv::UNINITIALIZED);
    }
    let handle = usize::try_from(d.fresh()).map_err(|_| Nv::INVALID_ARGUMENT)?;
    put(set, handle)?;
    d.event_sets.insert(handle, EventSet::default());
    Ok(())
});

nvml!(nvmlDeviceRegisterEvents |d| (handle: usize, types: u64, set: usize) {
    // A slice has no events of its own; its board has.
    d.nvml_board(handle)?;
    let device = d.nvml_device(handle)?.device;
    if types != XID {
        return Err(Nv::NOT_SUPPORTED);
    }
    d.event_set(set)?.devices.push(device);
    Ok(())
});

nvml!(nvmlEventSetWait_v2 |d| (set: usize, data: *mut nvmlEventData_t, milliseconds: u32) {
    let (device, code) = d.event_set(set)?.pending.pop_front().ok_or(Nv::TIMEOUT)?;
    let handle = (BOARD + device) as nvmlDevice_t;
    put(data, nvmlEventData_t { device: handle, eventType: XID, eventData: code, gpuInstanceId: u32::MAX, computeInstanceId: u32::MAX })
});

nvml!(nvmlEventSetFree |d| (set: usize) {
    d.event_sets.remove(&set).map(drop).ok_or(Nv::INVALID_ARGUMENT)
});
