//! What joins the GPU to the host and to its peers.

use nvml_wrapper_sys::bindings::nvmlPciInfo_t;

use super::{nvml, pci_info};
use crate::code::Nv;
use crate::driver::{Driver, put};
use crate::scenario::{Link, NvLink};

nvml!(nvmlDeviceGetMaxPcieLinkGeneration |d| (handle: usize, generation: *mut u32) {
    put(generation, d.nvml_board(handle)?.pcie.generation_max)
});

nvml!(nvmlDeviceGetMaxPcieLinkWidth |d| (handle: usize, width: *mut u32) {
    put(width, d.nvml_board(handle)?.pcie.width_max)
});

nvml!(nvmlDeviceGetGpuMaxPcieLinkGeneration |d| (handle: usize, generation: *mut u32) {
    put(generation, d.nvml_board(handle)?.pcie.generation_max)
});

nvml!(nvmlDeviceGetCurrPcieLinkGeneration |d| (handle: usize, generation: *mut u32) {
    let pcie = d.nvml_board(handle)?.pcie;
    // An idle link sleeps in a lower generation; the width stays.
    put(generation, if d.working() { pcie.generation } else { pcie.generation_idle })
});

nvml!(nvmlDeviceGetCurrPcieLinkWidth |d| (handle: usize, width: *mut u32) {
    put(width, d.nvml_board(handle)?.pcie.width)
});

nvml!(nvmlDeviceGetPcieReplayCounter |d| (handle: usize, replays: *mut u32) {
    put(replays, d.nvml_board(handle)?.pcie.replays)
});

nvml!(nvmlDeviceGetPcieThroughput |d| (handle: usize, counter: u32, kib_per_s: *mut u32) {
    d.nvml_board(handle)?;
    put(kib_per_s, 0)
});

nvml!(nvmlDeviceGetPcieLinkMaxSpeed |d| (handle: usize, speed: *mut u32) {
    put(speed, megatransfers(d.nvml_board(handle)?.pcie.generation_max))
});

nvml!(nvmlDeviceGetPcieSpeed |d| (handle: usize, speed: *mut u32) {
    put(speed, megatransfers(d.nvml_board(handle)?.pcie.generation))
});

nvml!(nvmlDeviceGetTopologyCommonAncestor |d| (first: usize, second: usize, level: *mut u32) {
    let link = d.nvml_link(first, second)?;
    put(level, match link.topology.as_str() {
        "board" => 0,
        "switch" => 10,
        "switches" => 20,
        "bridge" => 30,
        "node" => 40,
        _ => 50,
    })
});

nvml!(nvmlDeviceGetP2PStatus |d| (first: usize, second: usize, kind: u32, status: *mut u32) {
    let from = d.nvml_device(first)?.device;
    let link = d.nvml_link(first, second)?;
    let nvlink = d.gpu(from).nvlink.is_some();
    // 0 is "ok", 5 "not supported"; kind 2 asks for NVLink, 4 for PCI Express.
    let ok = match kind {
        2 => link.p2p && nvlink,
        4 => link.p2p && !nvlink,
        0 | 1 | 3 => link.p2p,
        _ => return Err(Nv::INVALID_ARGUMENT),
    };
    put(status, if ok { 0 } else { 5 })
});

nvml!(nvmlDeviceGetNvLinkState |d| (handle: usize, port: u32, active: *mut u32) {
    let nvlink = d.nvml_port(handle, port)?;
    put(active, u32::from(port < nvlink.active.unwrap_or(nvlink.links)))
});

nvml!(nvmlDeviceGetNvLinkVersion |d| (handle: usize, port: u32, version: *mut u32) {
    put(version, d.nvml_port(handle, port)?.version)
});

nvml!(nvmlDeviceGetNvLinkCapability |d| (handle: usize, port: u32, capability: u32, has: *mut u32) {
    d.nvml_port(handle, port)?;
    put(has, u32::from(capability <= 3 || capability == 5))
});

nvml!(nvmlDeviceGetNvLinkErrorCounter |d| (handle: usize, port: u32, counter: u32, errors: *mut u64) {
    d.nvml_port(handle, port)?;
    put(errors, 0)
});

nvml!(nvmlDeviceGetNvLinkRemotePciInfo_v2 |d| (handle: usize, port: u32, info: *mut nvmlPciInfo_t) {
    let peer = d.nvml_port(handle, port)?.peer;
    let mut remote = pci_info(d.gpu(peer.unwrap_or(0)));
    if peer.is_none() {
        // A port of an NVSwitch: an address that no GPU has, and the switch's identity.
        remote = nvmlPciInfo_t { busId: [0; 32], busIdLegacy: [0; 16], bus: 0xc1, pciDeviceId: 0x22a3_10de, pciSubSystemId: 0, ..remote };
        for (slot, byte) in remote.busId.iter_mut().zip(b"00000000:C1:00.0") {
            *slot = byte.cast_signed();
        }
        for (slot, byte) in remote.busIdLegacy.iter_mut().zip(b"0000:C1:00.0") {
            *slot = byte.cast_signed();
        }
    }
    put(info, remote)
});

nvml!(nvmlDeviceGetNvLinkRemoteDeviceType |d| (handle: usize, port: u32, kind: *mut u32) {
    // 0 is a GPU, 2 a switch.
    put(kind, if d.nvml_port(handle, port)?.peer.is_some() { 0 } else { 2 })
});

fn megatransfers(generation: u32) -> u32 {
    [2500, 2500, 5000, 8000, 16_000, 32_000, 64_000].get(generation as usize).copied().unwrap_or(64_000)
}

impl Driver {
    fn nvml_link(&self, first: usize, second: usize) -> Result<Link, Nv> {
        let (from, to) = (self.nvml_device(first)?.device, self.nvml_device(second)?.device);
        self.machine.scenario.link(from, to).ok_or(Nv::INVALID_ARGUMENT)
    }

    fn nvml_port(&self, handle: usize, port: u32) -> Result<&NvLink, Nv> {
        let gpu = self.nvml_board(handle)?;
        let nvlink = gpu.nvlink.as_ref().ok_or(Nv::NOT_SUPPORTED)?;
        if port < nvlink.links { Ok(nvlink) } else { Err(Nv::INVALID_ARGUMENT) }
    }
}
