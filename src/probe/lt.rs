//! cublasLt, where it is found: opened for the probes that compare with it or weigh it.

use std::path::Path;

use super::Lab;
use super::memory::observed;
use super::rig::{Bench, waived};
use crate::error::{Error, Result};
use crate::gpu::{CublasLt, LtFormat, LtPlan};
use crate::machine::{Gpu, Machine};
use crate::measure::{Case, Outcome, Waiver};
use crate::units::Bytes;

/// What the library's files are called, up to the version.
const NAME: &str = "libcublasLt.so";

/// Workspace that a product may use: what PyTorch grants on Hopper.
pub(super) const WORKSPACE: Bytes = Bytes::mib(32);

/// Side of the product that makes the library load its code.
const SMALL: u32 = 256;

/// The library, opened on a GPU: the newest version found that works with this driver.
///
/// # Errors
/// [`Error::Gpu`] when what was found cannot work on this GPU; the inner error is a waiver, for when there is none.
pub(super) fn open(machine: &Machine, bench: &Bench) -> Result<std::result::Result<CublasLt, Waiver>> {
    let versions = || machine.libraries.iter().filter(|library| library.name.starts_with(NAME));
    let (mut refused, mut failed) = (Vec::new(), None);
    for library in versions() {
        let Some(path) = &library.path else { continue };
        match CublasLt::open(&bench.gpu, Path::new(path)) {
            Ok(opened) => return Ok(Ok(opened)),
            Err(Error::Unavailable { why, .. }) => refused.push(format!("{path} ({why})")),
            // It may be too new for this driver, and an older one beside it may not.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let mut sought: Vec<String> = versions().flat_map(|library| library.sought.clone()).chain(refused).collect();
    sought.sort_unstable();
    sought.dedup();
    let remedy = "install CUDA's libraries, or `pip install nvidia-cublas-cu12`, to compare with it".to_owned();
    Ok(Err(Waiver::LibraryMissing { library: NAME.to_owned(), sought, remedy }))
}

/// The same, kept for the next case on this GPU; that there is none is kept as well, since loading a library takes long.
///
/// # Errors
/// As [`open`].
pub(super) fn kept(lab: &mut Lab<'_>, index: u32, bench: &Bench) -> Result<std::result::Result<CublasLt, Waiver>> {
    if let Some((_, opened)) = lab.rig.library.as_ref().filter(|(gpu, _)| *gpu == index) {
        return Ok(opened.clone());
    }
    lab.rig.library = None;
    let opened = open(lab.machine, bench)?;
    lab.rig.library = Some((index, opened.clone()));
    Ok(opened)
}

/// Whether a library was found that may be the one.
pub(super) fn is_found(machine: &Machine) -> bool {
    machine.libraries.iter().any(|library| library.name.starts_with(NAME) && library.path.is_some())
}

/// The library and its version, as records name them.
pub(super) fn name(library: &CublasLt) -> String {
    match library.version() {
        Some((major, minor, patch)) => format!("cublaslt {major}.{minor}.{patch}"),
        None => "cublaslt of unknown version".to_owned(),
    }
}

/// The library's plan for a product of `[m, n, k]`, or the waiver where it has none for `what` on this chip.
///
/// # Errors
/// [`Error::Gpu`] when the library or the device fails.
pub(super) fn plan(library: &CublasLt, format: LtFormat, [m, n, k]: [u32; 3], what: &str) -> Result<std::result::Result<LtPlan, Waiver>> {
    match library.plan(format, m, n, k, WORKSPACE) {
        Ok(plan) => Ok(Ok(plan)),
        Err(Error::Unavailable { why, .. }) => Ok(Err(Waiver::Unsupported { what: format!("{what} by cublasLt on this chip: {why}") })),
        Err(error) => Err(error),
    }
}

/// What a handle and its first product take of the device's memory.
pub(super) fn memory(case: &Case, gpu: &Gpu, lab: &mut Lab<'_>) -> Result<Outcome> {
    let bench = lab.bench(gpu.index)?;
    let (before, _) = bench.gpu.memory()?;
    let library = match open(lab.machine, &bench)? {
        Ok(library) => library,
        Err(waiver) => return Ok(waived(case, waiver)),
    };
    {
        let plan = library.plan(LtFormat::Bf16, SMALL, SMALL, SMALL, WORKSPACE)?;
        let side = u64::from(SMALL);
        let [a, b, c] = [(); 3].map(|()| bench.gpu.allocate_elements::<u16>(side * side));
        let (a, b, c) = (a?, b?, c?);
        for matrix in [&a, &b] {
            bench.stream.set(matrix.view::<u8>(), 0)?;
        }
        plan.enqueue(&bench.stream, a.view(), b.view(), c.view::<u16>())?;
        bench.stream.synchronize()?;
    }
    // The product's own memory is gone again; what is still missing is what the library keeps.
    let (after, _) = bench.gpu.memory()?;
    Ok(observed(case, before - after, [("library", name(&library)), ("after", format!("a handle and a {SMALL}x{SMALL}x{SMALL} product"))]))
}
