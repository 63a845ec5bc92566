//! Matrix products by NVIDIA's library, prepared once and timed many times.
//!
//! The library is used where it is found and missing where not; nothing else depends on it. A [`Plan`](LtPlan) holds everything that does
//! not belong into a timed loop: descriptors, the library's suggestions of algorithms, workspace and scales. What is left is one call.
//!
//! The product is that of the program's own kernels: C\[m,n\] = A\[m,k\]·B\[n,k\]ᵀ with all three row-major and sums in FP32. The library counts
//! column-major, where the same bytes are C\[n,m\] = (B\[k,n\])ᵀ·A\[k,m\]: its first operand is our B, transposed, and its second our A, as it is.
//! This order ("TN") is the only one the 8-bit formats have. Sums and results of other formats are in [`LtFormat`].

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::sync::Arc;

use cudarc::cublaslt::sys::{cublasLtMatmulAlgoConfigAttributes_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t};

use super::cublaslt_api::{LtApi, Opaque, Suggestion};
pub use super::cublaslt_format::LtFormat;
use super::cublaslt_format::{A_SCALE_MODE, B_SCALE_MODE, SCALES_OF_16, Scales};
use super::device::Gpu;
use super::failure::{Doing, Failure, Returned};
use super::memory::DeviceBuffer;
use super::stream::Stream;
use super::view::{Element, View};
use crate::error::{Error, Result};
use crate::units::Bytes;

/// Suggestions asked of the library.
const MOST_SUGGESTIONS: usize = 8;

/// `CUBLAS_OP_N` of `cublas_api.h`.
static AS_IT_IS: c_int = 0;
/// `CUBLAS_OP_T` of `cublas_api.h`.
static AS_TRANSPOSE: c_int = 1;

/// cublasLt, opened on one GPU.
#[derive(Clone)]
pub struct CublasLt(Arc<Handle>);

struct Handle {
    api: LtApi,
    gpu: Gpu,
    raw: Opaque,
}

// SAFETY: the library documents its handle as usable from several threads at once.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl CublasLt {
    /// Loads the library from the file that was found and opens it on a GPU.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file is not a usable cublasLt, [`Error::Gpu`] when it cannot work on this GPU.
    pub fn open(gpu: &Gpu, path: &Path) -> Result<Self> {
        let api = LtApi::load(path)?;
        let doing = || format!("opening cublasLt on GPU {}", gpu.ordinal());
        gpu.enter().doing(doing)?;
        let mut raw: Opaque = std::ptr::null_mut();
        // SAFETY: the pointer is valid for one handle, and the GPU's context is current.
        unsafe { api.cublasLtCreate(&raw mut raw) }.doing(doing)?;
        Ok(Self(Arc::new(Handle { api, gpu: gpu.clone(), raw })))
    }

    /// Major, minor and patch of the library.
    pub fn version(&self) -> Option<(usize, usize, usize)> {
        self.0.api.version()
    }

    /// Prepares C\[m,n\] = A\[m,k\]·B\[n,k\]ᵀ with at most so much workspace, and takes the library's first suggestion.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the library has no algorithm for it, [`Error::Gpu`] when a call fails or memory is short.
    pub fn plan(&self, format: LtFormat, m: u32, n: u32, k: u32, workspace: Bytes) -> Result<LtPlan> {
        let handle = &self.0;
        let doing = || format!("planning a {m}x{n}x{k} {format:?} product by cublasLt on GPU {}", handle.gpu.ordinal());
        handle.gpu.enter().doing(doing)?;
        let scales = Scales::of(format, &handle.gpu, m, n, k)?;
        let (m64, n64, k64) = (u64::from(m), u64::from(n), u64::from(k));
        let prepared: Result<_, Failure> = (|| {
            let description = handle.describe(format, scales.as_ref())?;
            let layouts = Layouts {
                first: handle.layout(format.second(), k64, n64)?,
                second: handle.layout(format.first(), k64, m64)?,
                result: handle.layout(format.result(), n64, m64)?,
            };
            let suggestions = handle.suggest(&description, &layouts, workspace)?;
            Ok((description, layouts, suggestions))
        })();
        let (description, layouts, suggestions) = match prepared {
            // A library from before the format does not know what it is asked for.
            Err(failure) if !format.is_everywhere() && REFUSALS.contains(&failure.status) => {
                return Err(Error::Unavailable {
                    doing: doing(),
                    why: format!("the library refuses it ({} of {})", failure.status, failure.call),
                    remedy: "try a newer version of the library".into(),
                });
            }
            prepared => prepared.doing(doing)?,
        };
        if suggestions.is_empty() {
            return Err(Error::Unavailable {
                doing: doing(),
                why: "the library has no algorithm for it".into(),
                remedy: "try sizes that are multiples of 16, or measure with the program's own kernel".into(),
            });
        }
        let needed = suggestions.iter().map(|suggestion| suggestion.workspace).max().unwrap_or(0);
        let workspace = handle.gpu.allocate(Bytes(needed.max(1) as u64))?;
        Ok(LtPlan { handle: Arc::clone(handle), format, shape: (m, n, k), description, layouts, suggestions, chosen: 0, workspace, scales })
    }
}

impl std::fmt::Debug for CublasLt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CublasLt {:?} on GPU {}", self.version(), self.0.gpu.ordinal())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.gpu.enter_to_give_back();
        // SAFETY: created once, destroyed once, and every plan that used it is gone. A failure has nobody to hear it.
        let _ = unsafe { self.api.cublasLtDestroy(self.raw) };
    }
}

/// A descriptor of the library and how to destroy it.
struct Descriptor {
    handle: Arc<Handle>,
    raw: Opaque,
    destroy: unsafe fn(&LtApi, Opaque) -> Returned,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: created once by the matching function, destroyed once; descriptors are host memory that no work refers to.
        let _ = unsafe { (self.destroy)(&self.handle.api, self.raw) };
    }
}

/// How the three matrices lie, as the library counts them.
struct Layouts {
    first: Descriptor,
    second: Descriptor,
    result: Descriptor,
}

impl Handle {
    fn descriptor(self: &Arc<Self>, raw: Opaque, destroy: unsafe fn(&LtApi, Opaque) -> Returned) -> Descriptor {
        Descriptor { handle: Arc::clone(self), raw, destroy }
    }

    fn describe(self: &Arc<Self>, format: LtFormat, scales: Option<&Scales>) -> Result<Descriptor, Failure> {
        use cublasLtMatmulDescAttributes_t as A;
        let mut raw: Opaque = std::ptr::null_mut();
        // SAFETY: the pointer is valid for one descriptor.
        unsafe { self.api.cublasLtMatmulDescCreate(&raw mut raw, format.compute(), format.factor())? };
        let description = self.descriptor(raw, LtApi::cublasLtMatmulDescDestroy);
        let set = |attribute: c_int, value: *const c_void, bytes: usize| {
            // SAFETY: `value` points to `bytes` bytes of the type that the attribute has; the library copies them.
            unsafe { self.api.cublasLtMatmulDescSetAttribute(raw, attribute, value, bytes) }
        };
        set(A::CUBLASLT_MATMUL_DESC_TRANSA as c_int, (&raw const AS_TRANSPOSE).cast(), size_of::<c_int>())?;
        set(A::CUBLASLT_MATMUL_DESC_TRANSB as c_int, (&raw const AS_IT_IS).cast(), size_of::<c_int>())?;
        if let Some(scales) = scales {
            if format == LtFormat::Fp4 {
                for attribute in [A_SCALE_MODE, B_SCALE_MODE] {
                    set(attribute, (&raw const SCALES_OF_16).cast(), size_of::<c_int>())?;
                }
            } else {
                let fast: i8 = 1;
                set(A::CUBLASLT_MATMUL_DESC_FAST_ACCUM as c_int, (&raw const fast).cast(), size_of::<i8>())?;
            }
            let (second, first) = scales.addresses();
            set(A::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER as c_int, (&raw const second).cast(), size_of::<u64>())?;
            set(A::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER as c_int, (&raw const first).cast(), size_of::<u64>())?;
        }
        Ok(description)
    }

    /// A column-major matrix without gaps.
    fn layout(self: &Arc<Self>, kind: c_int, rows: u64, columns: u64) -> Result<Descriptor, Failure> {
        let mut raw: Opaque = std::ptr::null_mut();
        let leading = i64::try_from(rows).unwrap_or(i64::MAX);
        // SAFETY: the pointer is valid for one descriptor.
        unsafe { self.api.cublasLtMatrixLayoutCreate(&raw mut raw, kind, rows, columns, leading)? };
        Ok(self.descriptor(raw, LtApi::cublasLtMatrixLayoutDestroy))
    }

    fn suggest(self: &Arc<Self>, description: &Descriptor, layouts: &Layouts, workspace: Bytes) -> Result<Vec<Suggestion>, Failure> {
        let mut raw: Opaque = std::ptr::null_mut();
        // SAFETY: the pointer is valid for one descriptor.
        unsafe { self.api.cublasLtMatmulPreferenceCreate(&raw mut raw)? };
        let preference = self.descriptor(raw, LtApi::cublasLtMatmulPreferenceDestroy);
        let limit = workspace.0;
        let attribute = cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES as c_int;
        let mut suggestions = [Suggestion::default(); MOST_SUGGESTIONS];
        let mut found: c_int = 0;
        // SAFETY: the limit is a `size_t`, copied; the array has room for as many suggestions as are asked for; all descriptors live.
        let asked = unsafe {
            self.api.cublasLtMatmulPreferenceSetAttribute(preference.raw, attribute, (&raw const limit).cast(), size_of::<u64>())?;
            self.api.cublasLtMatmulAlgoGetHeuristic(
                self.raw,
                description.raw,
                layouts.first.raw,
                layouts.second.raw,
                layouts.result.raw,
                layouts.result.raw,
                preference.raw,
                MOST_SUGGESTIONS as c_int,
                suggestions.as_mut_ptr(),
                &raw mut found,
            )
        };
        match asked {
            Err(failure) if failure.status == NOT_SUPPORTED => return Ok(Vec::new()),
            other => other?,
        }
        let found = usize::try_from(found).unwrap_or(0).min(MOST_SUGGESTIONS);
        let usable = |suggestion: &Suggestion| suggestion.status == 0 && suggestion.workspace as u64 <= limit;
        Ok(suggestions.into_iter().take(found).filter(usable).collect())
    }
}

/// `CUBLAS_STATUS_NOT_SUPPORTED`: no algorithm fits.
const NOT_SUPPORTED: c_int = 15;

/// Statuses by which a library says that it does not do something: an invalid value, a mismatch of the chip, not supported.
const REFUSALS: [c_int; 3] = [7, 8, NOT_SUPPORTED];

/// A product, ready to be enqueued.
pub struct LtPlan {
    handle: Arc<Handle>,
    format: LtFormat,
    shape: (u32, u32, u32),
    description: Descriptor,
    layouts: Layouts,
    suggestions: Vec<Suggestion>,
    chosen: usize,
    workspace: DeviceBuffer,
    scales: Option<Scales>,
}

// SAFETY: descriptors are plain host memory without thread affinity, and changing the plan takes `&mut`.
unsafe impl Send for LtPlan {}

impl LtPlan {
    /// How many algorithms the library suggested, best first in its own opinion.
    pub fn algorithms(&self) -> usize {
        self.suggestions.len()
    }

    /// Takes another suggestion; one beyond the last changes nothing.
    pub fn choose(&mut self, algorithm: usize) {
        if algorithm < self.suggestions.len() {
            self.chosen = algorithm;
        }
    }

    /// The chosen algorithm, as the record names it: the library's number for it and its place among the suggestions.
    pub fn algorithm(&self) -> String {
        let place = format!("suggestion {} of {}", self.chosen + 1, self.suggestions.len());
        let Some(suggestion) = self.suggestions.get(self.chosen) else { return place };
        let attribute = cublasLtMatmulAlgoConfigAttributes_t::CUBLASLT_ALGO_CONFIG_ID as c_int;
        let (mut id, mut written) = (0_i32, 0_usize);
        // SAFETY: the attribute is an `int32_t`, and both pointers are valid for what they receive.
        let asked = unsafe {
            let value: *mut c_void = (&raw mut id).cast();
            let algorithm = &raw const suggestion.algorithm;
            self.handle.api.cublasLtMatmulAlgoConfigGetAttribute(algorithm, attribute, value, size_of::<i32>(), &raw mut written)
        };
        if asked.is_ok() { format!("algorithm {id}, {place}") } else { place }
    }

    /// Workspace the suggestions may use.
    pub const fn workspace(&self) -> Bytes {
        self.workspace.bytes()
    }

    /// Enqueues the product.
    ///
    /// # Errors
    /// [`Error::Usage`] for a stream of another GPU or a matrix that is too small, [`Error::Gpu`] when the call fails.
    pub fn enqueue<T: Element>(&self, stream: &Stream, a: View<'_, u8>, b: View<'_, u8>, c: View<'_, T>) -> Result<()> {
        let (m, n, k) = self.shape;
        let doing = || format!("multiplying {m}x{n}x{k} by cublasLt on GPU {}", self.handle.gpu.ordinal());
        if !self.handle.gpu.is(stream.gpu()) {
            return Err(Error::usage(format!("{}: expected a stream of that GPU", doing())));
        }
        let area = |rows: u32, columns: u32| u128::from(rows) * u128::from(columns);
        let factor = |rows| (area(rows, k) * u128::from(self.format.bits())).div_ceil(8);
        let result = area(m, n) * u128::from(self.format.result_bytes());
        let expected = [("A", a.bytes(), factor(m)), ("B", b.bytes(), factor(n)), ("C", c.bytes(), result)];
        for (name, found, expected) in expected {
            if u128::from(found.0) < expected {
                return Err(Error::usage(format!("{}: expected {expected} bytes of {name} but found {}", doing(), found.0)));
            }
        }
        let Some(suggestion) = self.suggestions.get(self.chosen) else { return Err(Error::usage(format!("{}: no algorithm", doing()))) };
        let (a, b, c, workspace) = (a.region(), b.region(), c.region(), self.workspace.view::<u8>().region());
        for region in [a, b, c, workspace] {
            if region.home.is_some_and(|home| !stream.gpu().reaches(home)) {
                return Err(Error::usage(format!("{}: expected matrices that it can reach", doing())));
            }
        }
        for region in [a, b, c, workspace] {
            region.uses.mark(stream);
        }
        for scale in self.scales.iter().flat_map(Scales::buffers) {
            scale.view::<u8>().region().uses.mark(stream);
        }
        let (one, zero) = (self.format.one(), 0_u64);
        stream
            .enter()
            // SAFETY: all descriptors live and describe what the checks above found; the memory remembers this stream; the factors are read
            // by the call itself; the workspace is as large as the largest suggestion needs. With a factor of 0 the old C is not read.
            .and_then(|()| unsafe {
                self.handle.api.cublasLtMatmul(
                    self.handle.raw,
                    self.description.raw,
                    (&raw const one).cast(),
                    b.address as *const c_void,
                    self.layouts.first.raw,
                    a.address as *const c_void,
                    self.layouts.second.raw,
                    (&raw const zero).cast(),
                    c.address as *const c_void,
                    self.layouts.result.raw,
                    c.address as *mut c_void,
                    self.layouts.result.raw,
                    &raw const suggestion.algorithm,
                    workspace.address as *mut c_void,
                    suggestion.workspace,
                    stream.raw().cast(),
                )
            })
            .doing(doing)
    }
}

impl std::fmt::Debug for LtPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LtPlan of {:?} {:?}, {}", self.shape, self.format, self.algorithm())
    }
}
