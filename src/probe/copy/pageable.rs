//! Copies between pageable memory and the device.

use super::transfer::{Window, verify_host};
use crate::error::{Error, Result};
use crate::gpu::DeviceBuffer;
use crate::measure::{Trial, Work};
use crate::probe::rig::Bench;

/// Copies between pageable memory and the device, one direction.
pub(super) struct Pageable {
    bench: Bench,
    window: Window,
    host: Vec<u8>,
    device: DeviceBuffer,
    up: bool,
    seed: u64,
    iterations: u64,
}

impl Pageable {
    /// Copies to the device, or `up` false: to the host.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device lacks the memory or a call fails.
    pub(super) fn new(bench: &Bench, window: Window, up: bool, seed: u64) -> Result<Self> {
        let total = window.total();
        let length = usize::try_from(total.0).map_err(|_| Error::usage(format!("copying {total}: more than this machine can address")))?;
        let device = bench.gpu.allocate(total)?;
        let mut host = vec![0u8; length];
        bench.fill(device.view(), seed)?;
        if up {
            bench.stream.download_pageable(&mut host, device.view())?;
            bench.stream.set(device.view::<u8>(), 0)?;
        } else {
            // Touched, so that no page is made during the copy.
            host.fill(1);
        }
        Ok(Self { bench: bench.clone(), window, host, device, up, seed, iterations: 0 })
    }
}

impl Trial for Pageable {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        for iteration in self.iterations..self.iterations + iterations {
            let (offset, length) = (self.window.offset(iteration), self.window.bytes.0);
            let device = self.device.view().slice(offset, length)?;
            // The window was allocated with this length, so both conversions fit.
            let host = self.host.get_mut(offset as usize..(offset + length) as usize);
            let host = host.ok_or_else(|| Error::measurement("copying pageable memory", "the slot lies outside of the buffer"))?;
            if self.up { self.bench.stream.upload_pageable(device, host)? } else { self.bench.stream.download_pageable(host, device)? }
        }
        self.iterations += iterations;
        Ok(())
    }

    fn work(&self) -> Work {
        Work::moving(self.window.bytes)
    }

    fn check(&mut self) -> Result<Option<String>> {
        let touched = self.window.touched(self.iterations);
        match self.up {
            true => self.bench.verify(self.device.view().slice(0, touched.0)?, self.seed),
            false => Ok(verify_host(&self.host, touched, self.seed)),
        }
    }
}
