//! Modules, functions and launches.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use super::{cuda, device::threads_per_sm};
use crate::code::Cu;
use crate::driver::{Driver, put, text};
use crate::hopper::Hopper;
use crate::kernels::{KERNELS, Kind, Launch};
use crate::machine::What;
use crate::scenario::Gpu;
use crate::tensor_map::WORDS;
use crate::timeline::Step;

/// A loaded image: the device, and which of the known kernels it has.
#[derive(Debug)]
pub(crate) struct Module {
    device: usize,
    kernels: Vec<usize>,
}

/// A kernel of a module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    module: u64,
    device: usize,
    kernel: usize,
    launched: bool,
}

/// The part of `CUlaunchConfig` before the attributes, and those.
#[repr(C)]
struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: u64,
    attributes: *mut c_void,
    attribute_count: u32,
}

cuda!(cuModuleLoadData |d| (module: *mut u64, image: *const c_void) {
    d.load_module(module, image)
});

cuda!(cuModuleLoadDataEx |d| (module: *mut u64, image: *const c_void, count: u32, options: *mut i32, values: *mut *mut c_void) {
    d.load_module(module, image)
});

cuda!(cuModuleUnload |d| (module: u64) {
    d.modules.remove(&module).ok_or(Cu::INVALID_HANDLE)?;
    d.functions.retain(|_, function| function.module != module);
    Ok(())
});

cuda!(cuModuleGetFunction |d| (function: *mut u64, module: u64, name: *const c_char) {
    let name: String = text(name)?;
    let loaded = d.modules.get(&module).ok_or(Cu::INVALID_HANDLE)?;
    let kernel = loaded.kernels.iter().copied().find(|kernel| KERNELS[*kernel].0 == name).ok_or(Cu::NOT_FOUND)?;
    let device = loaded.device;
    let handle = d.fresh();
    put(function, handle)?;
    d.functions.insert(handle, Function { module, device, kernel, launched: false });
    Ok(())
});

cuda!(cuFuncGetAttribute |d| (value: *mut i32, attribute: i32, function: u64) {
    let function = d.functions.get(&function).ok_or(Cu::INVALID_HANDLE)?;
    let gpu = d.gpu(function.device);
    put(value, match attribute {
        // Most threads per block, static shared, constant and local bytes, registers, PTX and binary version, cache mode, most dynamic shared.
        0 => 1024,
        1..=3 | 7 => 0,
        4 => if KERNELS[function.kernel].0.starts_with("gemm") { 255 } else { 40 },
        5 | 6 => gpu.cc[0] * 10 + gpu.cc[1],
        8 => 48 << 10,
        _ => return Err(Cu::INVALID_VALUE),
    })
});

cuda!(cuFuncSetAttribute |d| (function: u64, attribute: i32, value: i32) {
    let function = d.functions.get(&function).ok_or(Cu::INVALID_HANDLE)?;
    let most = i32::try_from((d.gpu(function.device).shared_kib - 1) << 10).unwrap_or(i32::MAX);
    // 8 is the most dynamic shared bytes, 9 the preferred share of shared memory in percent.
    match attribute {
        8 if (0..=most).contains(&value) => Ok(()),
        9 if (-1..=100).contains(&value) => Ok(()),
        _ => Err(Cu::INVALID_VALUE),
    }
});

cuda!(cuOccupancyMaxActiveBlocksPerMultiprocessor |d| (blocks: *mut i32, function: u64, threads: i32, shared: usize) {
    let function = d.functions.get(&function).ok_or(Cu::INVALID_HANDLE)?;
    let gpu = d.gpu(function.device);
    if !(1..=1024).contains(&threads) {
        return Err(Cu::INVALID_VALUE);
    }
    let by_threads = threads_per_sm(gpu) / (threads.cast_unsigned().next_multiple_of(32).cast_signed());
    // The system keeps 1 KiB of shared memory per block.
    let by_shared = (gpu.shared_kib << 10) / (shared as u64 + 1024);
    put(blocks, by_threads.min(i32::try_from(by_shared).unwrap_or(i32::MAX)).min(32))
});

cuda!(cuLaunchKernel |d| (
    function: u64, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32, shared: u32, stream: u64,
    parameters: *mut *mut c_void, extra: *mut *mut c_void,
) {
    if !extra.is_null() {
        return Err(Cu::INVALID_VALUE);
    }
    d.launch(function, [grid_x, grid_y, grid_z], [block_x, block_y, block_z], shared, stream, parameters)
});

cuda!(cuLaunchKernelEx |d| (config: *const LaunchConfig, function: u64, parameters: *mut *mut c_void, extra: *mut *mut c_void) {
    if config.is_null() || !extra.is_null() {
        return Err(Cu::INVALID_VALUE);
    }
    // SAFETY: not null, and the C interface obliges the caller to pass a readable configuration.
    let config = unsafe { config.read() };
    d.launch(function, config.grid, config.block, config.shared, config.stream, parameters)
});

impl Driver {
    fn load_module(&mut self, module: *mut u64, image: *const c_void) -> Result<(), Cu> {
        let device = self.current()?;
        // Code goes into device memory, for which the real driver may wait for the device.
        self.wait_device(device)?;
        let bytes = image_bytes(image)?;
        check_architecture(bytes, self.gpu(device))?;
        let has = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
        let kernels = (0..KERNELS.len()).filter(|kernel| has(KERNELS[*kernel].0)).collect();
        let handle = self.fresh();
        put(module, handle)?;
        self.modules.insert(handle, Module { device, kernels });
        Ok(())
    }

    fn launch(
        &mut self,
        function: u64,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        stream: u64,
        parameters: *mut *mut c_void,
    ) -> Result<(), Cu> {
        let known = self.functions.get_mut(&function).ok_or(Cu::INVALID_HANDLE)?;
        let first = !std::mem::replace(&mut known.launched, true);
        let function = *known;
        if first {
            // Lazy loading: the first launch loads the kernel, for which the real driver may wait for the device.
            self.wait_device(function.device)?;
        }
        let stream = self.stream(stream)?;
        let device = self.stream_device(stream);
        let gpu = self.gpu(device);
        let threads: u64 = block.iter().map(|size| u64::from(*size)).product();
        let blocks: u64 = grid.iter().map(|size| u64::from(*size)).product();
        let most_shared = (gpu.shared_kib - 1) << 10;
        let fits = Hopper::named(KERNELS[function.kernel].0).is_none_or(|hopper| hopper.fits(blocks, threads));
        if !fits || function.device != device || threads == 0 || threads > 1024 || blocks == 0 || u64::from(shared) > most_shared {
            return Err(Cu::INVALID_VALUE);
        }
        let host_us = gpu.launch.host_us;
        let (name, kinds) = KERNELS[function.kernel];
        let arguments = read_arguments(kinds, parameters)?;
        self.spend_us(host_us);
        self.count_launch(name);
        if name == "gate" {
            let [open, timed_out] = [arguments[0], arguments[2]].map(|at| usize::try_from(at).unwrap_or(0));
            for at in [open, timed_out] {
                self.machine.check_reach(device, crate::machine::Span { at, bytes: 4 })?;
            }
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a watchdog")]
            let timeout_ns = arguments[1] as f64;
            return self.enqueue(stream, Step::Gate { open, timeout_ns, timed_out }).map(drop);
        }
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        self.submit(stream, What::Launch(Arc::new(Launch { name, arguments, blocks, threads })))
    }
}

/// The arguments as 64-bit words.
fn read_arguments(kinds: &[Kind], parameters: *mut *mut c_void) -> Result<Vec<u64>, Cu> {
    if !kinds.is_empty() && parameters.is_null() {
        return Err(Cu::INVALID_VALUE);
    }
    let mut arguments = Vec::with_capacity(kinds.len());
    for (index, kind) in kinds.iter().enumerate() {
        // SAFETY: the C interface obliges the caller to pass as many pointers as the kernel has arguments, each to a value of its type.
        let value = unsafe {
            let from = parameters.add(index).read();
            if from.is_null() {
                return Err(Cu::INVALID_VALUE);
            }
            match kind {
                Kind::Map => {
                    arguments.extend(from.cast::<[u64; WORDS]>().read_unaligned());
                    continue;
                }
                Kind::Pointer | Kind::U64 => from.cast::<u64>().read_unaligned(),
                Kind::U32 | Kind::F32 => u64::from(from.cast::<u32>().read_unaligned()),
            }
        };
        arguments.push(value);
    }
    Ok(arguments)
}

/// The whole image: an ELF file tells its own length, PTX ends with NUL.
fn image_bytes<'a>(image: *const c_void) -> Result<&'a [u8], Cu> {
    if image.is_null() {
        return Err(Cu::INVALID_VALUE);
    }
    // SAFETY: the C interface obliges the caller to pass a whole image, and both kinds have at least these bytes. The length of a cubin is
    // that of its parts, which the caller passed as well; PTX is a C string. The slice is not kept beyond the call.
    unsafe {
        let start = image.cast::<u8>();
        if std::slice::from_raw_parts(start, 4) != b"\x7fELF" {
            return Ok(CStr::from_ptr(image.cast()).to_bytes());
        }
        let header = std::slice::from_raw_parts(start, 64);
        let wide = |at: usize| header[at..at + 8].iter().rev().fold(0usize, |value, byte| value << 8 | usize::from(*byte));
        let short = |at: usize| usize::from(header[at]) | usize::from(header[at + 1]) << 8;
        let sections = wide(40) + short(58) * short(60);
        let segments = wide(32) + short(54) * short(56);
        Ok(std::slice::from_raw_parts(start, sections.max(segments).min(64 << 20)))
    }
}

/// A cubin runs on its own generation from its own minor version up (`a` variants on exactly theirs); PTX on everything newer.
fn check_architecture(image: &[u8], gpu: &Gpu) -> Result<(), Cu> {
    let have = gpu.cc[0] * 10 + gpu.cc[1];
    if image.starts_with(b"\x7fELF") {
        if image.len() < 64 || image[18] != 190 {
            return Err(Cu::INVALID_IMAGE);
        }
        // The chip is in the lowest byte of the flags up to ABI version 7, in the second from version 8 on.
        let chip = i32::from(if image[8] >= 8 { image[49] } else { image[48] });
        return if chip / 10 == have / 10 && chip <= have { Ok(()) } else { Err(Cu::NO_BINARY_FOR_GPU) };
    }
    let source = String::from_utf8_lossy(image);
    let target = source.lines().find_map(|line| line.trim().strip_prefix(".target sm_")).ok_or(Cu::INVALID_IMAGE)?;
    let digits: String = target.chars().take_while(char::is_ascii_digit).collect();
    let wanted: i32 = digits.parse().map_err(|_| Cu::INVALID_IMAGE)?;
    if wanted <= have { Ok(()) } else { Err(Cu::NO_BINARY_FOR_GPU) }
}
