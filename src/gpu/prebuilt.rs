//! The compiled kernels inside this program, and which of them a given GPU can run.
//!
//! A **cubin** is machine code for one chip, named by its compute capability: `sm_89`. It also runs on later chips of the same generation
//! (the same major number), unless its name ends in `a`: such code uses instructions that only that very chip promises. **PTX** is the
//! assembly language the driver translates for any chip that is not older than its `compute_` number; it is what chips get that were unknown
//! when the kernels were compiled. Cubins come first because they start at once and are exactly the code whose quality was checked.
//!
//! The files are made by `kernels/compile.py`, which needs neither a GPU nor a CUDA toolkit, and a test compares them with the sources. They are
//! packed by zlib, to a fifth: a GPU needs a dozen of them, unpacked as they are loaded.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use crate::error::{Error, Result};

/// Largest image that is unpacked.
const MOST_BYTES: usize = 1 << 24;

/// What [`image`] found for a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Source without its ending, such as `stream`.
    pub file: &'static str,
    /// What it was compiled for, such as `sm_90a` or `compute_75`.
    pub target: &'static str,
    packed: &'static [u8],
}

impl Image {
    /// Whether the driver has to translate the image before it can run.
    pub fn is_ptx(&self) -> bool {
        self.target.starts_with("compute_")
    }

    /// What the compiler made: a cubin, or the text of PTX.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the program's file is damaged.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        decompress_to_vec_zlib_with_limit(self.packed, MOST_BYTES).map_err(|error| Error::Unavailable {
            doing: format!("unpacking the kernels of {}", self.path()),
            why: error.to_string(),
            remedy: "this program's file is damaged; install it anew".into(),
        })
    }

    /// What the driver loads: the image and at least one zero byte, as PTX needs, at an address that is a multiple of 16, as numbers in machine
    /// code may need.
    pub(super) fn loadable(&self) -> Result<Vec<u128>> {
        let mut bytes = self.bytes()?;
        bytes.push(0);
        let word = |chunk: &[u8]| {
            let mut word = [0; size_of::<u128>()];
            word[..chunk.len()].copy_from_slice(chunk);
            u128::from_ne_bytes(word)
        };
        Ok(bytes.chunks(size_of::<u128>()).map(word).collect())
    }

    /// The file below `kernels/prebuilt/` that the image was read from, unpacked.
    pub fn path(&self) -> String {
        format!("{}/{}.{}", self.target, self.file, if self.is_ptx() { "ptx" } else { "cubin" })
    }
}

/// The launch shape that both matrix products are written for; every product runs `ceil(m / tile_m) * ceil(n / tile_n)` blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmLaunch {
    /// Threads of a block.
    pub block: u32,
    /// Rows of C that one block computes.
    pub tile_m: u32,
    /// Columns of C that one block computes.
    pub tile_n: u32,
    /// Slices of the operands that are held in shared memory at a time.
    pub stages: u32,
    /// Dynamic shared memory of a block in bytes. More than 48 KiB: it has to be asked for before the launch.
    pub shared_bytes: u32,
}

/// Launch shape of `gemm_bf16`, `gemm_e4m3` and `gemm_e5m2`; stated in the sources too, and compared by a test.
pub const GEMM_LAUNCH: GemmLaunch = GemmLaunch { block: 256, tile_m: 128, tile_n: 256, stages: 4, shared_bytes: 98304 };

/// The description that was written when the kernels were compiled (JSON): compiler, options, hashes, and each kernel's registers. Its own
/// hash names the set of kernels that a result was measured with.
pub const MANIFEST: &str = include_str!("../../kernels/manifest.json");

macro_rules! images {
    ($ending:literal: $($target:literal: $($file:literal)+;)+) => {
        &[$($(Image {
            file: $file,
            target: $target,
            packed: include_bytes!(concat!("../../kernels/prebuilt/", $target, "/", $file, $ending)),
        }),+),+]
    };
}

/// Machine code, older chips first.
const CUBINS: &[Image] = images! { ".cubin.z":
    "sm_75": "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream";
    "sm_80": "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream" "gemm_bf16" "tensor";
    "sm_86": "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream" "gemm_bf16" "tensor";
    "sm_89": "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream" "gemm_bf16" "tensor" "gemm_fp8" "tensor_fp8";
    "sm_90a": "bulk" "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream" "gemm_bf16" "tensor" "gemm_fp8" "gemm_hopper_bf16" "gemm_hopper_fp8" "tensor_hopper";
    "sm_100a": "bulk" "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream" "gemm_bf16" "tensor" "gemm_fp8";
    "sm_103a": "bulk" "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream" "gemm_bf16" "tensor" "gemm_fp8";
    "sm_120a": "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream" "gemm_bf16" "tensor" "gemm_fp8" "tensor_fp8";
};

/// Each file once, for the oldest chip that can have it.
const PTX: &[Image] = images! { ".ptx.z":
    "compute_75": "cache" "chase" "check" "empty" "fill" "fma" "gate" "stream";
    "compute_80": "gemm_bf16" "tensor";
    "compute_89": "gemm_fp8";
};

/// Digest over the manifest, which holds the digests of all sources and images: two programs with the same one run the same kernels.
pub fn digest() -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(MANIFEST).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// All images of the program.
pub fn images() -> impl Iterator<Item = Image> {
    CUBINS.iter().chain(PTX).copied()
}

/// The best image of a file for a GPU of compute capability `cc` (major, minor): its own cubin, else one of an earlier chip of its
/// generation, else PTX. `None` when the chip is too old for the file, or the file does not exist.
///
/// ```
/// use gpu_assay::gpu::prebuilt::image;
/// assert_eq!(image("stream", (9, 0)).map(|i| i.target), Some("sm_90a"));
/// assert_eq!(image("gemm_fp8", (8, 0)), None);
/// ```
pub fn image(file: &str, cc: (u32, u32)) -> Option<Image> {
    let cubin = CUBINS.iter().rev().find(|i| i.file == file && runs_cubin(i.target, cc));
    let ptx = || PTX.iter().find(|i| i.file == file && capability(i.target).is_some_and(|(from, _)| from <= cc));
    cubin.or_else(ptx).copied()
}

fn runs_cubin(target: &str, cc: (u32, u32)) -> bool {
    capability(target).is_some_and(|(of, exact)| of == cc || (!exact && of.0 == cc.0 && of.1 <= cc.1))
}

/// The compute capability in a target's name, and whether it is for that chip only.
fn capability(target: &str) -> Option<((u32, u32), bool)> {
    let number = target.split_once('_')?.1;
    let digits = number.trim_end_matches('a');
    let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
    Some(((major.parse().ok()?, minor.parse().ok()?), digits != number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(file: &str, cc: (u32, u32)) -> Option<&'static str> {
        image(file, cc).map(|i| i.target)
    }

    #[test]
    fn targets_are_understood() {
        assert_eq!(capability("sm_75"), Some(((7, 5), false)));
        assert_eq!(capability("sm_103a"), Some(((10, 3), true)));
        assert_eq!(capability("compute_89"), Some(((8, 9), false)));
        assert_eq!(capability("sm_"), None);
        assert_eq!(capability("x"), None);
    }

    #[test]
    fn a_chip_gets_its_own_code_first() {
        for (cc, expected) in [
            ((7, 5), "sm_75"),
            ((8, 0), "sm_80"),
            ((8, 6), "sm_86"),
            ((8, 9), "sm_89"),
            ((9, 0), "sm_90a"),
            ((10, 0), "sm_100a"),
            ((10, 3), "sm_103a"),
            ((12, 0), "sm_120a"),
        ] {
            assert_eq!(target("stream", cc), Some(expected));
        }
    }

    #[test]
    fn other_chips_get_code_of_their_generation_or_ptx() {
        assert_eq!(target("stream", (8, 7)), Some("sm_86"));
        assert_eq!(target("gemm_bf16", (8, 7)), Some("sm_86"));
        assert_eq!(target("stream", (12, 1)), Some("compute_75"));
        assert_eq!(target("gemm_bf16", (12, 1)), Some("compute_80"));
        assert_eq!(target("gemm_fp8", (11, 0)), Some("compute_89"));
        assert_eq!(target("gate", (13, 0)), Some("compute_75"));
    }

    #[test]
    fn chips_that_are_too_old_get_nothing() {
        assert_eq!(target("stream", (7, 0)), None);
        assert_eq!(target("stream", (6, 1)), None);
        assert_eq!(target("gemm_bf16", (7, 5)), None);
        assert_eq!(target("gemm_fp8", (8, 6)), None);
        assert_eq!(target("no such file", (9, 0)), None);
    }

    #[test]
    fn code_for_one_chip_is_for_no_other() {
        assert_eq!(target("gemm_hopper_bf16", (9, 0)), Some("sm_90a"));
        for other in [(8, 9), (10, 0), (10, 3), (12, 0), (13, 0)] {
            assert_eq!(target("gemm_hopper_fp8", other), None, "{other:?}");
        }
    }

    #[test]
    fn images_look_like_what_they_are() {
        for image in images() {
            let bytes = image.bytes().unwrap();
            assert!(bytes.starts_with(if image.is_ptx() { b"//" } else { b"\x7fELF" }), "{}", image.path());
            assert!(!image.is_ptx() || !bytes.contains(&0), "{}", image.path());
            let loaded: Vec<u8> = image.loadable().unwrap().into_iter().flat_map(u128::to_ne_bytes).collect();
            assert!(loaded.starts_with(&bytes) && loaded[bytes.len()..].iter().all(|&byte| byte == 0), "{}", image.path());
            assert!((1..=16).contains(&(loaded.len() - bytes.len())), "{}", image.path());
        }
    }

    #[test]
    fn a_damaged_image_is_an_error() {
        let image = images().next().unwrap();
        for packed in [&image.packed[..image.packed.len() / 2], &[], b"no zlib"] {
            assert!(matches!(Image { packed, ..image }.bytes(), Err(Error::Unavailable { .. })));
        }
    }
}
