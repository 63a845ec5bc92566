//! NCCL, where it is found: opened once, and the GPUs that it connects kept for the next case.
//!
//! Connecting eight GPUs takes seconds, so a **clique** stays until another set of GPUs is asked for. Whatever is done with it for the first
//! time is waited for with a limit: on machines whose direct access is broken the library hangs, and after that nothing more is tried with it.

use std::path::Path;
use std::rc::Rc;

use super::Lab;
use super::facts::count;
use super::memory::observed;
use super::rig::{Bench, waived};
use crate::error::{Error, Result};
use crate::gpu::{Clique, DeviceBuffer, Nccl, NcclKind, NcclOperation, RankMemory, Stream};
use crate::machine::Machine;
use crate::measure::{Case, Outcome, Waiver};
use crate::units::{Bytes, Seconds};

/// What the library's file is called.
const NAME: &str = "libnccl.so.2";

/// How long connecting may take: seconds for eight GPUs, more where the file system is slow.
const TO_CONNECT: Seconds = Seconds(60.0);

/// How long an operation may take that is done for the first time: it loads code and opens connections.
pub(super) const FIRST_TIME: Seconds = Seconds(20.0);

/// The first message of a clique, which makes the library take most of the memory that it will take.
const FIRST: Bytes = Bytes::mib(1);

/// What a run keeps of it.
#[derive(Default)]
pub(super) struct Kept {
    library: Option<std::result::Result<Nccl, Waiver>>,
    clique: Option<Connected>,
    /// What hung, after which the GPUs may still be at it.
    hung: Option<String>,
    /// GPUs that the library could not connect, and why: trying again for every case would take seconds each.
    refused: Option<(Vec<u32>, String)>,
}

/// GPUs that are connected.
#[derive(Clone)]
pub(super) struct Connected {
    /// Their indices, rank by rank.
    pub(super) gpus: Vec<u32>,
    /// The library's communicators.
    pub(super) clique: Rc<Clique>,
    /// What rank 0's communicator has taken of its GPU's memory after the first operation.
    pub(super) memory: Bytes,
    /// The library's version.
    pub(super) version: String,
}

impl Kept {
    /// Give back what the GPUs hold.
    pub(super) fn tidy(&mut self) {
        self.clique = None;
    }

    /// Take note of an error: a clique that was given up is made anew, and after something that hung nothing more is tried.
    pub(super) fn note(&mut self, error: &Error, given_up: bool) {
        if given_up {
            self.clique = None;
            if matches!(error, Error::Measurement { .. }) {
                self.hung = Some(error.to_string());
            }
        }
    }
}

/// The library that was found.
///
/// # Errors
/// The waiver that says where it was sought, or what was wrong with what was found.
fn open(machine: &Machine) -> std::result::Result<Nccl, Waiver> {
    let found = || machine.libraries.iter().filter(|library| library.name == NAME);
    let mut refused = Vec::new();
    for path in found().filter_map(|library| library.path.as_ref()) {
        match Nccl::open(Path::new(path)) {
            Ok(library) => return Ok(library),
            Err(Error::Unavailable { why, .. }) => refused.push(format!("{path} ({why})")),
            Err(error) => refused.push(format!("{path} ({error})")),
        }
    }
    let sought = found().flat_map(|library| library.sought.clone()).chain(refused).collect();
    let remedy = "install NCCL: it comes with PyTorch, or `pip install nvidia-nccl-cu12`".to_owned();
    Err(Waiver::LibraryMissing { library: NAME.to_owned(), sought, remedy })
}

/// The first `count` of the run's GPUs, connected; kept for the next case.
///
/// # Errors
/// [`Error::Gpu`] when the library cannot connect them, [`Error::Measurement`] when it hangs; the inner error is a waiver.
pub(super) fn connected(lab: &mut Lab<'_>, count: usize) -> Result<std::result::Result<Connected, Waiver>> {
    if lab.gpus.len() < count || count < 2 {
        return Ok(Err(Waiver::TooFewDevices { needed: count.max(2) as u32, found: lab.gpus.len() as u32 }));
    }
    let gpus = lab.gpus[..count].to_vec();
    if let Some(what) = &lab.rig.collectives.hung {
        return Ok(Err(Waiver::Unsupported { what: format!("another collective after one that hung ({what})") }));
    }
    if let Some(connected) = lab.rig.collectives.clique.as_ref().filter(|connected| connected.gpus == gpus) {
        return Ok(Ok(connected.clone()));
    }
    if let Some((_, why)) = lab.rig.collectives.refused.as_ref().filter(|(refused, _)| *refused == gpus) {
        return Ok(Err(Waiver::Unsupported { what: format!("collectives of GPUs that could not be connected ({why})") }));
    }
    let machine = lab.machine;
    let library = match lab.rig.collectives.library.get_or_insert_with(|| open(machine)) {
        Ok(library) => library.clone(),
        Err(waiver) => return Ok(Err(waiver.clone())),
    };
    lab.rig.collectives.clique = None;
    let benches = gpus.iter().map(|index| lab.bench(*index)).collect::<Result<Vec<Bench>>>()?;
    let connected = connect(&library, gpus.clone(), &benches).inspect_err(|error| {
        lab.rig.collectives.note(error, true);
        lab.rig.collectives.refused = Some((gpus, error.to_string()));
    })?;
    lab.rig.collectives.clique = Some(connected.clone());
    Ok(Ok(connected))
}

fn connect(library: &Nccl, gpus: Vec<u32>, benches: &[Bench]) -> Result<Connected> {
    let first = &benches[0].gpu;
    let (before, _) = first.memory()?;
    let opened: Vec<_> = benches.iter().map(|bench| bench.gpu.clone()).collect();
    let clique = library.connect(&opened, TO_CONNECT)?;
    {
        let buffers = benches.iter().map(|bench| {
            let pair = [bench.gpu.allocate(FIRST)?, bench.gpu.allocate(FIRST)?];
            pair.iter().try_for_each(|buffer| bench.stream.set(buffer.view::<u8>(), 0))?;
            Ok(pair)
        });
        let buffers = buffers.collect::<Result<Vec<[DeviceBuffer; 2]>>>()?;
        let ranks: Vec<RankMemory<'_>> = benches
            .iter()
            .zip(&buffers)
            .map(|(bench, [send, receive])| RankMemory { stream: &bench.stream, send: send.view(), receive: receive.view() })
            .collect();
        clique.enqueue(NcclOperation::AllReduce, NcclKind::Float, &ranks)?;
        clique.settle(&streams(benches), FIRST_TIME)?;
    }
    let (after, _) = first.memory()?;
    let version = library.version().map_or_else(|| "unknown".to_owned(), |(major, minor, patch)| format!("{major}.{minor}.{patch}"));
    Ok(Connected { gpus, clique: Rc::new(clique), memory: before - after, version })
}

/// What connecting takes of the first GPU's memory: the case `memory.nccl`.
pub(super) fn memory(case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
    let count = usize::try_from(count(case, "gpus")?).unwrap_or(usize::MAX);
    let connected = match connected(lab, count)? {
        Ok(connected) => connected,
        Err(waiver) => return Ok(waived(case, waiver)),
    };
    let method = "free memory before connecting, less free memory after the first all-reduce of 1 MiB".to_owned();
    Ok(observed(case, connected.memory, [("method", method), ("version", connected.version)]))
}

/// The streams of these GPUs.
pub(super) fn streams(benches: &[Bench]) -> Vec<Stream> {
    benches.iter().map(|bench| bench.stream.clone()).collect()
}
