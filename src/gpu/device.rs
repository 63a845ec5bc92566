//! An opened device: its primary context, its loaded kernels and the peers it may reach.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{CUcontext, CUfunction, CUmodule};

use super::api::Api;
use super::driver::{Attribute, Device, Driver};
use super::failure::{Doing, Failure};
use super::peer::Granted;
use super::select::bare;
use crate::error::{Error, Result};
use crate::units::Bytes;

/// One opened device. Clones are the same device; the last one to go gives the context back.
///
/// The context is the device's primary one, which all libraries in a process share. Every call here makes it current on the calling thread
/// first, so a `Gpu` works from any thread and several can be used in turn.
#[derive(Clone)]
pub struct Gpu(Arc<Context>);

struct Context {
    driver: Arc<Driver>,
    device: Device,
    raw: CUcontext,
    code: Mutex<Code>,
    /// Ordinals of the devices whose memory this context may access, and for how many holders.
    peers: Mutex<HashMap<u32, Granted>>,
}

/// Loaded device code, by source file and by kernel name.
#[derive(Default)]
pub(super) struct Code {
    pub(super) modules: HashMap<&'static str, CUmodule>,
    pub(super) functions: HashMap<&'static str, Function>,
}

/// A kernel, loaded.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) raw: CUfunction,
    /// Dynamic shared memory that it may be launched with, in bytes.
    pub(super) shared: u32,
}

// SAFETY: the driver documents contexts and functions as usable from every thread once the context is current there, which each call of
// this room sees to; the handles are plain addresses and all mutable state is behind a mutex.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Gpu {
    /// Opens a device: retains its primary context.
    ///
    /// # Errors
    /// [`Error::Usage`] when the driver has no device of that ordinal, [`Error::Gpu`] or [`Error::Unavailable`] when it cannot be opened.
    pub fn open(driver: &Arc<Driver>, ordinal: u32) -> Result<Self> {
        let Some(device) = driver.devices().iter().find(|device| device.ordinal == ordinal) else {
            let last = driver.devices().len().saturating_sub(1);
            return Err(Error::usage(format!("no GPU {ordinal}: expected a number from 0 to {last}; `gpu-assay inspect` lists them")));
        };
        let mut raw: CUcontext = std::ptr::null_mut();
        // SAFETY: the pointer is valid for one handle, and the device is from this driver's list.
        unsafe { driver.api().cuDevicePrimaryCtxRetain(&raw mut raw, device.raw) }.doing(|| format!("opening GPU {ordinal}"))?;
        let context = Context { driver: Arc::clone(driver), device: device.clone(), raw, code: Mutex::default(), peers: Mutex::default() };
        let gpu = Self(Arc::new(context));
        gpu.enter().doing(|| format!("opening GPU {ordinal}"))?;
        Ok(gpu)
    }

    /// Opens the device with this UUID, wherever it stands in the driver's list.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the driver does not list it, otherwise as [`Gpu::open`].
    pub fn open_by_uuid(driver: &Arc<Driver>, uuid: &str) -> Result<Self> {
        match driver.devices().iter().find(|device| bare(&device.uuid) == bare(uuid)) {
            Some(device) => Self::open(driver, device.ordinal),
            None => Err(Error::Unavailable {
                doing: format!("opening the GPU {uuid}"),
                why: "CUDA does not list it".into(),
                remedy: "check CUDA_VISIBLE_DEVICES, or choose a GPU that `gpu-assay inspect` lists".into(),
            }),
        }
    }

    /// The driver it belongs to.
    pub fn driver(&self) -> &Arc<Driver> {
        &self.0.driver
    }

    /// The device's facts.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Position in the driver's list.
    pub fn ordinal(&self) -> u32 {
        self.0.device.ordinal
    }

    /// A number the driver gives for this device.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the call fails.
    pub fn attribute(&self, attribute: Attribute) -> Result<u32> {
        self.0.driver.attribute(&self.0.device, attribute)
    }

    /// Free and total device memory, this program's own use counted as used.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the call fails.
    pub fn memory(&self) -> Result<(Bytes, Bytes)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both pointers are valid for one size, and the context is current.
        let read = self.enter().and_then(|()| unsafe { self.api().cuMemGetInfo_v2(&raw mut free, &raw mut total) });
        read.doing(|| format!("asking for the free memory of GPU {}", self.ordinal()))?;
        Ok((Bytes(free as u64), Bytes(total as u64)))
    }

    /// Waits for all work of this process on the device.
    ///
    /// # Errors
    /// [`Error::Gpu`] when some of it failed.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: no arguments; the context is made current first.
        self.enter().and_then(|()| unsafe { self.api().cuCtxSynchronize() }).doing(|| format!("waiting for GPU {}", self.ordinal()))
    }

    /// Makes the context current on this thread: the first half of every call.
    pub(super) fn enter(&self) -> std::result::Result<(), Failure> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { self.api().cuCtxSetCurrent(self.0.raw) }
    }

    /// Makes the context current before something is given back. Should that fail, giving back is tried all the same: the context is most
    /// likely the current one already, and what is not given back is lost until the process ends.
    pub(super) fn enter_to_give_back(&self) {
        let _ = self.enter();
    }

    pub(super) fn api(&self) -> &Api {
        self.0.driver.api()
    }

    pub(super) fn raw_context(&self) -> CUcontext {
        self.0.raw
    }

    pub(super) fn code(&self) -> MutexGuard<'_, Code> {
        self.0.code.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, HashMap<u32, Granted>> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether both are the same opened device.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.raw == other.0.raw
    }

    /// Whether kernels of this device may touch memory that lives on `home`.
    pub(super) fn reaches(&self, home: &Self) -> bool {
        self.is(home) || self.peers().contains_key(&home.ordinal())
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gpu").field(&self.0.device).finish()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let api = self.driver.api();
        // Failures here have nobody to hear them: the process is giving everything back anyway, and a lost device refuses even this.
        // SAFETY: the context is still retained; nothing else holds it, since everything made in it holds the `Gpu`; no kernel of the
        // modules runs, since every stream was waited for by what it touched.
        unsafe {
            let _ = api.cuCtxSetCurrent(self.raw);
            let code = self.code.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (_, module) in code.modules.drain() {
                let _ = api.cuModuleUnload(module);
            }
            let _ = api.cuCtxSetCurrent(std::ptr::null_mut());
            let _ = api.cuDevicePrimaryCtxRelease_v2(self.device.raw);
        }
    }
}
