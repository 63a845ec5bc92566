//! Kernels: how they are named, typed, loaded and launched.
//!
//! A kernel is a Rust struct whose fields are its arguments (see [`kernels`](super::kernels)). Its number, order and types of arguments are
//! thus checked by the compiler here, and against the CUDA source by a test. The code is taken from the prebuilt images in the program,
//! loaded on first use and kept until the GPU is closed.

use std::collections::hash_map::Entry;
use std::ffi::{CString, c_int, c_void};

use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUmodule};

use super::device::{Code, Function, Gpu};
use super::driver::Attribute;
use super::failure::Doing;
use super::prebuilt;
use super::stream::Stream;
use super::view::{Element, Flag, In, Out, Region};
use crate::error::{Error, Result};

/// Dynamic shared memory that a kernel gets without opting in, in bytes.
const SHARED_WITHOUT_OPTING_IN: u32 = 48 << 10;

/// Most arguments a kernel of this program has.
pub const MOST_ARGUMENTS: usize = 8;

/// A kernel with its arguments.
pub trait Kernel {
    /// Source file below `kernels/` without its ending, such as `stream`.
    const FILE: &'static str;
    /// Name in that file.
    const NAME: &'static str;

    /// Names and C types of the parameters, in order.
    fn parameters() -> Vec<Parameter>;

    /// The arguments of this launch.
    fn arguments(&self) -> Arguments<'_>;
}

/// A kernel's parameter as its source declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name.
    pub name: &'static str,
    /// C type, such as `const float4*`.
    pub c_type: String,
}

/// How a kernel is spread over the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared: u32,
}

impl Shape {
    /// A line of `grid` blocks of `block` threads without dynamic shared memory.
    pub const fn line(grid: u32, block: u32) -> Self {
        Self { grid: [grid, 1, 1], block: [block, 1, 1], shared: 0 }
    }
}

/// A value that can be an argument of a kernel.
pub trait Argument {
    /// Its C type in the kernels' sources.
    fn c_type() -> String;
    /// Its bits, in the low end.
    fn bits(&self) -> u64;
    /// The memory behind it and the size of one element, for arrays.
    #[doc(hidden)]
    fn array(&self) -> Option<Array<'_>>;
    /// Where its bytes are, for an argument that is wider than its bits.
    #[doc(hidden)]
    fn block(&self) -> Option<*const c_void> {
        None
    }
}

/// The memory behind an argument.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Array<'a> {
    region: Region<'a>,
    element: u64,
}

impl<'a> Array<'a> {
    pub(super) const fn new(region: Region<'a>, element: u64) -> Self {
        Self { region, element }
    }
}

macro_rules! arrays {
    ($($kind:ident => $format:literal),*) => {$(
        impl<T: Element> Argument for $kind<'_, T> {
            fn c_type() -> String {
                format!($format, T::C_NAME)
            }
            fn bits(&self) -> u64 {
                self.0.region().address
            }
            fn array(&self) -> Option<Array<'_>> {
                Some(Array { region: self.0.region(), element: size_of::<T>() as u64 })
            }
        }
    )*};
}

arrays!(In => "const {}*", Out => "{}*", Flag => "const volatile {}*");

macro_rules! scalars {
    ($($kind:ty => $bits:expr),*) => {$(
        impl Argument for $kind {
            fn c_type() -> String {
                <$kind as Element>::C_NAME.into()
            }
            fn bits(&self) -> u64 {
                let bits: fn($kind) -> u64 = $bits;
                bits(*self)
            }
            fn array(&self) -> Option<Array<'_>> {
                None
            }
        }
    )*};
}

scalars!(u32 => u64::from, u64 => |value| value, f32 => |value| u64::from(value.to_bits()), f64 => f64::to_bits);

// An argument is handed over as the address of its bits, of which the driver reads as many bytes as the parameter has. They are the low
// ones, and come first, on every system that CUDA exists for.
const _: () = assert!(cfg!(target_endian = "little"), "arguments are handed over in little-endian order");

/// The arguments of one launch.
#[derive(Default)]
pub struct Arguments<'a> {
    bits: [u64; MOST_ARGUMENTS],
    /// Where the wide ones are; they live as long as the kernel that they were pushed from.
    blocks: [Option<*const c_void>; MOST_ARGUMENTS],
    needs: [Option<Need<'a>>; MOST_ARGUMENTS],
    count: usize,
}

/// An array and how many bytes of it the kernel touches.
#[derive(Clone, Copy)]
struct Need<'a> {
    name: &'static str,
    region: Region<'a>,
    bytes: Option<u64>,
}

impl<'a> Arguments<'a> {
    /// Whether any of them is an array.
    pub(super) fn has_arrays(&self) -> bool {
        self.needs.iter().any(Option::is_some)
    }

    /// Adds an argument; `elements` is how many elements of it the kernel touches, for an array.
    pub(super) fn push<A: Argument>(&mut self, name: &'static str, argument: &'a A, elements: u64) {
        // The bound is checked for all kernels at once by a test.
        if let Some(slot) = self.bits.get_mut(self.count) {
            *slot = argument.bits();
            self.blocks[self.count] = argument.block();
            self.needs[self.count] =
                argument.array().map(|array| Need { name, region: array.region, bytes: elements.checked_mul(array.element) });
        }
        self.count += 1;
    }
}

impl Stream {
    /// Enqueues a kernel.
    ///
    /// # Errors
    /// [`Error::Usage`] when an array is shorter than the kernel needs or lies where this GPU does not reach, [`Error::Unavailable`] when
    /// there is no code for this GPU, [`Error::Gpu`] when a call fails. A failure *of the kernel* shows when the stream is waited for.
    pub fn launch<K: Kernel>(&self, kernel: &K, shape: Shape) -> Result<()> {
        let function = self.gpu().function::<K>(shape.shared)?;
        let mut arguments = kernel.arguments();
        if arguments.count > MOST_ARGUMENTS {
            return Err(Error::usage(format!("launching {}: at most {MOST_ARGUMENTS} arguments are supported", K::NAME)));
        }
        for need in arguments.needs.iter().flatten() {
            self.admit(need, K::NAME)?;
        }
        for need in arguments.needs.iter().flatten() {
            need.region.uses.mark(self);
        }
        let mut pointers = arguments.bits.each_mut().map(|bits| std::ptr::from_mut(bits).cast::<c_void>());
        for (pointer, block) in pointers.iter_mut().zip(arguments.blocks) {
            *pointer = block.map_or(*pointer, <*const c_void>::cast_mut);
        }
        let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (shape.grid, shape.block);
        self.enter()
            // SAFETY: the function is loaded in this stream's context; `pointers` has at least as many entries as it has parameters, each
            // to a live 8-byte value with the argument in its low end, or to a live wider argument, which is only read. What the kernel touches is long enough by its declaration, alive
            // until this stream is waited for, and not looked at by the host before.
            .and_then(|()| unsafe {
                self.gpu().api().cuLaunchKernel(
                    function.raw,
                    grid_x,
                    grid_y,
                    grid_z,
                    block_x,
                    block_y,
                    block_z,
                    shape.shared,
                    self.raw(),
                    pointers.as_mut_ptr(),
                    std::ptr::null_mut(),
                )
            })
            .doing(|| format!("launching {} on GPU {}", K::NAME, self.gpu().ordinal()))
    }

    /// Refuses memory that is too short or out of reach.
    fn admit(&self, need: &Need<'_>, kernel: &str) -> Result<()> {
        let Need { name, region, bytes } = need;
        if bytes.is_none_or(|bytes| bytes > region.bytes) {
            let expected = bytes.map_or_else(|| "more than can be addressed".into(), |bytes| format!("{bytes} bytes"));
            return Err(Error::usage(format!("launching {kernel}: expected {expected} in `{name}` but found {}", region.bytes)));
        }
        match region.home {
            Some(home) if !self.gpu().reaches(home) => Err(Error::usage(format!(
                "launching {kernel}: `{name}` lies on GPU {}, which GPU {} may not access; enable peer access first",
                home.ordinal(),
                self.gpu().ordinal()
            ))),
            _ => Ok(()),
        }
    }
}

impl Gpu {
    /// Whether the program has code of this kernel for this GPU.
    pub fn has_kernel<K: Kernel>(&self) -> bool {
        prebuilt::image(K::FILE, self.device().compute_capability).is_some()
    }

    /// Blocks of `shape` that run on the whole GPU at once: the grid that fills it exactly.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub fn resident_blocks<K: Kernel>(&self, block: u32, shared: u32) -> Result<u32> {
        let function = self.function::<K>(shared)?;
        let mut blocks: c_int = 0;
        self.enter()
            // SAFETY: the pointer is valid for one int, and the function is loaded in this context.
            .and_then(|()| unsafe {
                let block = c_int::try_from(block).unwrap_or(c_int::MAX);
                self.api().cuOccupancyMaxActiveBlocksPerMultiprocessor(&raw mut blocks, function.raw, block, shared as usize)
            })
            .doing(|| format!("computing the occupancy of {} on GPU {}", K::NAME, self.ordinal()))?;
        match u32::try_from(blocks) {
            Ok(blocks) if blocks > 0 => Ok(blocks * self.device().sm_count.max(1)),
            _ => Err(Error::usage(format!("{} does not fit on GPU {} with {block} threads and {shared} bytes", K::NAME, self.ordinal()))),
        }
    }

    /// The grid that fills the GPU with blocks of `block` threads of this kernel, each thread striding over the data.
    ///
    /// # Errors
    /// As [`Gpu::resident_blocks`].
    pub fn filling<K: Kernel>(&self, block: u32) -> Result<Shape> {
        Ok(Shape::line(self.resident_blocks::<K>(block, 0)?, block))
    }

    /// The kernel's code, loaded, and allowed `shared` bytes of dynamic shared memory.
    fn function<K: Kernel>(&self, shared: u32) -> Result<Function> {
        let doing = || format!("loading the kernel {} on GPU {}", K::NAME, self.ordinal());
        let mut code = self.code();
        let known = match code.functions.get(K::NAME) {
            Some(known) => *known,
            None => {
                self.enter().doing(doing)?;
                let module = self.module::<K>(&mut code)?;
                let name = CString::new(K::NAME).map_err(|_| Error::usage(format!("{}: a name has no NUL", K::NAME)))?;
                let mut raw: CUfunction = std::ptr::null_mut();
                // SAFETY: the pointer is valid for one handle, the module is loaded, the name ends with NUL.
                unsafe { self.api().cuModuleGetFunction(&raw mut raw, module, name.as_ptr()) }.doing(doing)?;
                *code.functions.entry(K::NAME).insert_entry(Function { raw, shared: SHARED_WITHOUT_OPTING_IN }).get()
            }
        };
        if shared <= known.shared {
            return Ok(known);
        }
        let most = self.attribute(Attribute::SharedPerBlock)?;
        let wanted = c_int::try_from(shared).ok().filter(|_| shared <= most);
        let Some(wanted) = wanted else {
            return Err(Error::usage(format!("{}: expected at most {most} bytes of shared memory but found {shared}", doing())));
        };
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.enter()
            // SAFETY: the function is loaded in this context, and the value within the device's limit.
            .and_then(|()| unsafe { self.api().cuFuncSetAttribute(known.raw, attribute, wanted) })
            .doing(doing)?;
        let function = Function { shared, ..known };
        code.functions.insert(K::NAME, function);
        Ok(function)
    }

    /// The module with the kernel's file, loaded.
    fn module<K: Kernel>(&self, code: &mut Code) -> Result<CUmodule> {
        let entry = match code.modules.entry(K::FILE) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(entry) => entry,
        };
        let doing = || format!("loading {} on GPU {}", K::FILE, self.ordinal());
        let (major, minor) = self.device().compute_capability;
        let Some(image) = prebuilt::image(K::FILE, (major, minor)) else {
            return Err(Error::Unavailable {
                doing: doing(),
                why: format!("no code for compute capability {major}.{minor}"),
                remedy: "this kernel needs a newer GPU".into(),
            });
        };
        let image = image.loadable()?;
        let mut module: CUmodule = std::ptr::null_mut();
        // SAFETY: the pointer is valid for one handle; the image is a whole one from our compiler, with the NUL that ends PTX, and lives through
        // the call, after which the driver has its own.
        unsafe { self.api().cuModuleLoadData(&raw mut module, image.as_ptr().cast()) }.doing(doing)?;
        Ok(*entry.insert(module))
    }
}
