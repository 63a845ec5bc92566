//! Primary contexts and peer access.

use super::cuda;
use crate::code::Cu;
use crate::driver::{Driver, current_device, put, set_current_device};

cuda!(cuDevicePrimaryCtxRetain |d| (context: *mut usize, device: i32) {
    let device = d.device(device)?;
    if d.machine.gone[device] {
        return Err(Cu::UNKNOWN);
    }
    if d.contexts[device] == 0 {
        let (free, _) = d.memory_info(device);
        if free < d.gpu(device).cost.context_mib << 20 {
            return Err(Cu::OUT_OF_MEMORY);
        }
    }
    put(context, Driver::context_of(device))?;
    d.contexts[device] += 1;
    Ok(())
});

cuda!(cuDevicePrimaryCtxRelease_v2 |d| (device: i32) {
    let device = d.device(device)?;
    d.contexts[device] = d.contexts[device].checked_sub(1).ok_or(Cu::INVALID_CONTEXT)?;
    if d.contexts[device] == 0 {
        d.end_context(device);
    }
    Ok(())
});

cuda!(cuDevicePrimaryCtxReset_v2 |d| (device: i32) {
    let device = d.device(device)?;
    d.end_context(device);
    Ok(())
});

cuda!(cuDevicePrimaryCtxGetState |d| (device: i32, flags: *mut u32, active: *mut i32) {
    let device = d.device(device)?;
    put(flags, 0)?;
    put(active, i32::from(d.contexts[device] > 0))
});

cuda!(cuDevicePrimaryCtxSetFlags_v2 |d| (device: i32, flags: u32) {
    d.device(device).map(drop)
});

cuda!(cuCtxGetCurrent |d| (context: *mut usize) {
    if !d.cuda_ready {
        return Err(Cu::NOT_INITIALIZED);
    }
    put(context, current_device().map_or(0, Driver::context_of))
});

cuda!(cuCtxSetCurrent |d| (context: usize) {
    if !d.cuda_ready {
        return Err(Cu::NOT_INITIALIZED);
    }
    let device = if context == 0 { None } else { Some(d.device_of_context(context)?) };
    set_current_device(device);
    Ok(())
});

cuda!(cuCtxGetDevice |d| (device: *mut i32) {
    let current = current_device().ok_or(Cu::INVALID_CONTEXT)?;
    let ordinal = d.visible.iter().position(|device| *device == current).ok_or(Cu::INVALID_CONTEXT)?;
    put(device, i32::try_from(ordinal).unwrap_or(i32::MAX))
});

cuda!(cuCtxSynchronize |d| () {
    let device = d.current()?;
    d.wait_device(device)
});

cuda!(cuCtxEnablePeerAccess |d| (peer: usize, flags: u32) {
    let (device, peer) = (d.current()?, d.device_of_context(peer)?);
    if flags != 0 {
        return Err(Cu::INVALID_VALUE);
    }
    if !d.machine.scenario.link(device, peer).is_some_and(|link| link.p2p) {
        return Err(Cu::PEER_ACCESS_UNSUPPORTED);
    }
    if d.machine.peers[device].contains(&peer) {
        return Err(Cu::PEER_ACCESS_ALREADY_ENABLED);
    }
    if d.machine.scenario.driver.most_peers.is_some_and(|most| d.machine.peers[device].len() >= most) {
        return Err(Cu::TOO_MANY_PEERS);
    }
    d.machine.peers[device].push(peer);
    Ok(())
});

cuda!(cuCtxDisablePeerAccess |d| (peer: usize) {
    let (device, peer) = (d.current()?, d.device_of_context(peer)?);
    let before = d.machine.peers[device].len();
    d.machine.peers[device].retain(|other| *other != peer);
    if d.machine.peers[device].len() == before { Err(Cu::PEER_ACCESS_NOT_ENABLED) } else { Ok(()) }
});

impl Driver {
    /// Forgets what hangs on a context that ends: its poison and its peers. Memory, streams and events that the program left behind stay in
    /// the tables, so that the report names them.
    fn end_context(&mut self, device: usize) {
        self.machine.sticky[device] = None;
        self.machine.peers[device].clear();
    }
}
