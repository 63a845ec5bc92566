//! What stays open between cases: the driver, the devices, pinned host memory.
//!
//! Opening a GPU takes a few hundred milliseconds and pinning a gibibyte of host memory about as long, which is more than most cases may
//! sample. So the [`Rig`] opens what a case asks for on its first use and keeps it for the next. Device memory is not kept beyond a probe:
//! allocating and freeing it takes a millisecond, and what is held could not be measured by the `memory` probe. Within the `matmul` probe, whose
//! cases are shorter than that, it is.
//!
//! A [`Bench`] is one opened GPU with a stream to measure on. Cases are timed by a [`GpuClock`], except where the host takes part in the work.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::Lab;
use super::facts::unknown;
use super::operands::Operands;
use super::pinned::Pinned;
use super::proof::Proofs;
use crate::error::{Error, Result};
use crate::gpu::reference::pattern_word;
use crate::gpu::{
    CublasLt, DeviceBuffer, Driver, Event, FillPattern, Float4, Gpu, Kernel, Out, PeerAccess, Shape, Stream, VerifyEqual, VerifyPattern,
    View, WgmmaFormat,
};
use crate::machine::Machine;
use crate::machine::nvml::Nvml;
use crate::measure::{Case, Clock, GpuClock, Outcome, Partner, Plan, Trial, Waiver};
use crate::telemetry::{Blind, Gauge, NvmlGauge, NvmlWatch, Span, Unwatched, Watch};
use crate::units::{Bytes, Seconds};

/// Threads in a block of the kernels that stride over their data.
pub(super) const BLOCK: u32 = 256;

/// What the probes of a run share. Empty until a GPU probe uses it.
#[derive(Default)]
pub struct Rig {
    driver: Option<Arc<Driver>>,
    benches: BTreeMap<u32, Bench>,
    pub(super) pinned: Vec<Pinned>,
    peers: HashMap<(u32, u32), PeerAccess>,
    /// Absent where there is no NVML; the run's facts say why.
    nvml: OnceCell<Option<Nvml>>,
    checksums: HashMap<(u64, u64), [u32; 4]>,
    /// Matrices of the `matmul` probe, on one GPU at a time.
    pub(super) operands: Vec<Rc<Operands>>,
    /// This program, which tries kernels that no hardware has proven in a process of their own; without it they are not used.
    pub(super) program: Option<PathBuf>,
    /// What came of that, by the name of the GPU's model.
    pub(super) proofs: BTreeMap<String, Proofs>,
    /// The same of those that issue one instruction alone.
    pub(super) rates: BTreeMap<String, Proofs<WgmmaFormat>>,
    /// cublasLt, opened for the `matmul` probe on one GPU at a time, or why it does not open: loading it anew for every case would take longer
    /// than the case.
    pub(super) library: Option<(u32, std::result::Result<CublasLt, Waiver>)>,
    /// NCCL, and the GPUs that it connects.
    pub(super) collectives: super::nccl::Kept,
}

/// One opened GPU and a stream on it. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    /// The GPU.
    pub(super) gpu: Gpu,
    /// Where its work is enqueued.
    pub(super) stream: Stream,
    /// Grids that fill it, by kernel: asking the driver before each launch would make launches slower.
    shapes: Rc<RefCell<HashMap<&'static str, Shape>>>,
}

impl Rig {
    /// An empty one that can start this program again.
    pub fn with_program(program: Option<PathBuf>) -> Self {
        Self { program, ..Self::default() }
    }

    /// The driver, opened on first use.
    ///
    /// # Errors
    /// As [`Driver::open`].
    pub(super) fn driver(&mut self) -> Result<Arc<Driver>> {
        if let Some(driver) = &self.driver {
            return Ok(Arc::clone(driver));
        }
        let driver = Driver::open()?;
        self.driver = Some(Arc::clone(&driver));
        Ok(driver)
    }

    /// The GPU with this index in the machine's list, opened on first use.
    ///
    /// # Errors
    /// [`Error::Usage`] when the machine has no such GPU, otherwise as [`Gpu::open_by_uuid`].
    pub(super) fn bench(&mut self, machine: &Machine, index: u32) -> Result<Bench> {
        if let Some(bench) = self.benches.get(&index) {
            return Ok(bench.clone());
        }
        let driver = self.driver()?;
        let listed = machine.gpus.iter().find(|gpu| gpu.index == index);
        let listed = listed.ok_or_else(|| Error::usage(format!("no GPU {index} on this machine; `gpu-assay inspect` lists them")))?;
        let bench = Bench::open(&driver, &listed.uuid)?;
        self.benches.insert(index, bench.clone());
        Ok(bench)
    }

    /// Close the GPU with this index and give back what was held on it, so that the next case finds it untouched by this program.
    pub(super) fn close(&mut self, index: u32) {
        self.tidy();
        self.peers.retain(|(from, to), _| ![*from, *to].contains(&index));
        // Pinned memory keeps the GPU open that it was asked of, and which one that was is not worth remembering.
        self.pinned.clear();
        self.benches.remove(&index);
    }

    /// Give back what a probe kept for its next case, once it has none.
    pub fn tidy(&mut self) {
        self.operands.clear();
        self.library = None;
        self.collectives.tidy();
    }

    /// Let the GPU with index `from` access the memory of `to`, until the GPUs are closed or another pair needs the room.
    ///
    /// # Errors
    /// As [`Gpu::access`]; [`Error::Unavailable`] when there are too many peers even without those of earlier pairs.
    pub(super) fn connect(&mut self, machine: &Machine, from: u32, to: u32) -> Result<()> {
        if !self.peers.contains_key(&(from, to)) {
            let [accessing, accessed] = [self.bench(machine, from)?, self.bench(machine, to)?];
            let access = match accessing.gpu.access(&accessed.gpu) {
                // A GPU has so many peers at most. Those of earlier pairs are not needed any more, only the way back of this one.
                Err(Error::Unavailable { .. }) => {
                    self.peers.retain(|pair, _| *pair == (to, from));
                    accessing.gpu.access(&accessed.gpu)?
                }
                access => access?,
            };
            self.peers.insert((from, to), access);
        }
        Ok(())
    }

    /// End every access but that of these pairs: a GPU has few peers at a time.
    pub(super) fn disconnect_others(&mut self, pairs: &[(u32, u32)]) {
        self.peers.retain(|pair, _| pairs.contains(pair));
    }

    /// Whether the GPU with index `from` has the access to the memory of `to` that [`Self::connect`] gave it.
    pub(super) fn is_connected(&self, from: u32, to: u32) -> bool {
        self.peers.contains_key(&(from, to))
    }

    /// The xor of the words of a pattern, as [`checksum`]; remembered, because every GPU of a machine reads the same pattern.
    pub(super) fn checksum(&mut self, words: u64, seed: u64) -> [u32; 4] {
        *self.checksums.entry((words, seed)).or_insert_with(|| checksum(words, seed))
    }
}

impl Lab<'_> {
    /// The GPU with this index, opened.
    ///
    /// # Errors
    /// As [`Rig::bench`].
    pub(super) fn bench(&mut self, index: u32) -> Result<Bench> {
        self.rig.bench(self.machine, index)
    }

    /// What watches the GPU with this index while it is measured: nothing where NVML does not know it.
    pub(super) fn watch(&self, index: u32) -> Box<dyn Watch> {
        let nvml = self.rig.nvml.get_or_init(|| Nvml::open(None).ok());
        let gpu = self.machine.gpus.iter().find(|gpu| gpu.index == index);
        match nvml.as_ref().zip(gpu).and_then(|(nvml, gpu)| NvmlWatch::new(nvml, &gpu.uuid).ok()) {
            Some(watch) => Box::new(watch),
            None => Box::new(Unwatched),
        }
    }

    /// What looks at the GPU with this index when it is asked to: nothing where NVML does not know it.
    pub(super) fn gauge(&self, index: u32) -> Box<dyn Gauge> {
        let nvml = self.rig.nvml.get_or_init(|| Nvml::open(None).ok());
        let gpu = self.machine.gpus.iter().find(|gpu| gpu.index == index);
        match nvml.as_ref().zip(gpu).and_then(|(nvml, gpu)| NvmlGauge::new(nvml, &gpu.uuid).ok()) {
            Some(gauge) => Box::new(gauge),
            None => Box::new(Blind),
        }
    }

    /// Sample `trial` on the stream of `bench` behind a gate, and record it with its conditions.
    ///
    /// # Errors
    /// As [`Lab::sample`].
    pub(super) fn time_gated<'c>(
        &self,
        case: &Case,
        index: u32,
        bench: &Bench,
        trial: &mut dyn Trial,
        plan: &Plan,
        conditions: impl IntoIterator<Item = (&'c str, String)>,
    ) -> Result<Outcome> {
        let mut clock = GpuClock::with_stream(bench.stream.clone())?;
        self.time(case, index, &mut clock, trial, plan, conditions)
    }

    /// Sample `trial` on `clock`, watched, and record it with its conditions.
    ///
    /// # Errors
    /// As [`Lab::sample`].
    pub(super) fn time<'c>(
        &self,
        case: &Case,
        index: u32,
        clock: &mut dyn Clock,
        trial: &mut dyn Trial,
        plan: &Plan,
        conditions: impl IntoIterator<Item = (&'c str, String)>,
    ) -> Result<Outcome> {
        let partners = ["from", "to"].into_iter().filter_map(|axis| u32::try_from(case.get_count(axis)?).ok());
        let partners = partners.filter(|partner| *partner != index).map(|partner| (partner, self.watch(partner), None)).collect();
        let mut watches = Watches { own: self.watch(index), partners };
        let mut measurement = self.sample(case, trial, clock, &mut watches, plan)?;
        measurement.partners = watches.partners.into_iter().filter_map(|(gpu, _, span)| Some(Partner { gpu, telemetry: span? })).collect();
        measurement.conditions.extend(conditions.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Ok(Outcome::Measured(Box::new(measurement)))
    }
}

/// Watches every GPU of a case: the one that does the work, whose span is the measurement's, and those it works with.
struct Watches {
    own: Box<dyn Watch>,
    partners: Vec<(u32, Box<dyn Watch>, Option<Span>)>,
}

impl Watch for Watches {
    fn start(&mut self) {
        self.partners.iter_mut().for_each(|(_, watch, _)| watch.start());
        self.own.start();
    }

    fn stop(&mut self) -> Option<Span> {
        let own = self.own.stop();
        self.partners.iter_mut().for_each(|(_, watch, span)| *span = watch.stop());
        own
    }
}

impl Bench {
    /// The GPU with this UUID, and a stream on it.
    ///
    /// # Errors
    /// As [`Gpu::open_by_uuid`].
    pub(super) fn open(driver: &Arc<Driver>, uuid: &str) -> Result<Self> {
        let gpu = Gpu::open_by_uuid(driver, uuid)?;
        Ok(Self { stream: gpu.stream()?, gpu, shapes: Rc::default() })
    }

    /// The same GPU with another stream, for work beside this one's.
    ///
    /// # Errors
    /// As [`Gpu::stream`].
    pub(super) fn beside(&self) -> Result<Self> {
        Ok(Self { stream: self.gpu.stream()?, ..self.clone() })
    }

    /// Launch a kernel whose threads stride over their data, on as many blocks as run at once.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub(super) fn launch<K: Kernel>(&self, kernel: &K) -> Result<()> {
        self.stream.launch(kernel, self.shape::<K>()?)
    }

    /// The blocks that fill the GPU with kernel `K`.
    ///
    /// # Errors
    /// As [`Gpu::filling`].
    pub(super) fn shape<K: Kernel>(&self) -> Result<Shape> {
        if let Some(shape) = self.shapes.borrow().get(K::NAME) {
            return Ok(*shape);
        }
        let shape = self.gpu.filling::<K>(BLOCK)?;
        self.shapes.borrow_mut().insert(K::NAME, shape);
        Ok(shape)
    }

    /// Fill memory with the address-dependent pattern of `seed`.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub(super) fn fill(&self, memory: View<'_, u8>, seed: u64) -> Result<()> {
        let words = memory.cast::<u64>()?;
        self.launch(&FillPattern { out: words.into(), words: words.len(), seed })
    }

    /// Compare every word of memory with the pattern of `seed`. `None` when right, or how many words are wrong and where the first is.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub(super) fn verify(&self, memory: View<'_, u8>, seed: u64) -> Result<Option<String>> {
        let view = memory.cast::<u64>()?;
        let words = view.len();
        self.count_wrong(words, |errors, first_bad| self.launch(&VerifyPattern { r#in: view.into(), words, seed, errors, first_bad }))
    }

    /// Compare every word of two arrays of the same size. `None` when equal, or how many words differ and where the first is.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub(super) fn verify_equal(&self, a: &DeviceBuffer, b: &DeviceBuffer) -> Result<Option<String>> {
        self.verify_same(a.view(), b.view())
    }

    /// The same for two pieces of memory.
    ///
    /// # Errors
    /// As [`Stream::launch`].
    pub(super) fn verify_same(&self, a: View<'_, u8>, b: View<'_, u8>) -> Result<Option<String>> {
        let (a, b) = (a.cast::<u64>()?, b.cast::<u64>()?);
        let words = a.len();
        self.count_wrong(words, |errors, first_bad| self.launch(&VerifyEqual { a: a.into(), b: b.into(), words, errors, first_bad }))
    }

    /// Run a kernel that counts wrong words, and read what it found.
    fn count_wrong(&self, words: u64, launch: impl FnOnce(Out<'_, u64>, Out<'_, u64>) -> Result<()>) -> Result<Option<String>> {
        let findings = self.gpu.allocate_elements::<u64>(2)?;
        findings.write(&self.stream, &[0, u64::MAX])?;
        launch(findings.view().slice(0, 1)?.into(), findings.view().slice(1, 1)?.into())?;
        Ok(wrong_words(&findings.read(&self.stream, 2)?, words))
    }
}

/// Times work in which the host takes part (pageable copies, launches as they come, waiting) by two events without a gate. The device takes
/// the time, so what the host does before the first event and after the last is not in it.
///
/// With a **lead**, one iteration is enqueued before the first event. Where the host is the slower side, the device otherwise waits for the
/// first piece of work, and the last piece's own time comes on top of what the host took; with a lead the time is that from the end of
/// one piece of work to the end of another, which is what a stream of them costs.
pub(super) struct EventClock {
    lead: bool,
    stream: Stream,
    start: Event,
    end: Event,
}

impl EventClock {
    /// A clock of this stream.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device has no event left.
    pub(super) fn new(stream: &Stream) -> Result<Self> {
        Ok(Self { lead: false, stream: stream.clone(), start: stream.gpu().event()?, end: stream.gpu().event()? })
    }

    /// The same clock with a lead.
    pub(super) fn with_lead(self) -> Self {
        Self { lead: true, ..self }
    }
}

impl Clock for EventClock {
    fn time(&mut self, trial: &mut dyn Trial, iterations: u64) -> Result<Seconds> {
        if self.lead {
            trial.enqueue(1)?;
        }
        self.stream.record(&self.start)?;
        trial.enqueue(iterations)?;
        self.stream.record(&self.end)?;
        self.stream.synchronize()?;
        self.end.since(&self.start)
    }

    fn resolution(&self) -> Seconds {
        // The driver's documentation of cuEventElapsedTime: "a resolution of around 0.5 microseconds".
        Seconds(0.5e-6)
    }
}

/// What a verifying kernel found: the count of wrong words and the least index of one.
fn wrong_words(found: &[u64], words: u64) -> Option<String> {
    match found {
        [0, _] => None,
        [errors, first, ..] => Some(format!(
            "{errors} of {words} words of 8 bytes differ from what was written, the first at byte {}",
            first.saturating_mul(8)
        )),
        _ => Some("the check gave no answer".into()),
    }
}

/// A waived case.
pub(super) fn waived(case: &Case, waiver: Waiver) -> Outcome {
    Outcome::Waived { case: case.clone(), waiver }
}

/// The waiver of a case whose arrays do not fit.
pub(super) fn too_large(case: &Case, needed: Bytes, available: Bytes) -> Outcome {
    waived(case, Waiver::Memory { needed, available })
}

/// The part of the id after the family: `triad` of `dram.triad`.
///
/// # Errors
/// [`Error::Usage`] when there is none.
pub(super) fn operation(case: &Case) -> Result<&str> {
    case.mechanism().split_once('.').map(|(_, operation)| operation).ok_or_else(|| unknown(case))
}

/// The xor of all vectors of a pattern of `words` words: of their first, second, third and fourth 32 bits. A vector is two words; a last
/// single word is left out. Computed on all processors, since the largest pattern takes one of them some seconds.
pub(super) fn checksum(words: u64, seed: u64) -> [u32; 4] {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let vectors = words / 2;
    let [even, odd] = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..workers)
            .map(|worker| (vectors * worker / workers, vectors * (worker + 1) / workers))
            .map(|(first, last)| scope.spawn(move || xor_of_vectors(first, last, seed)))
            .collect();
        // A worker cannot panic; were one lost, its part would be missing and the check would fail, which is safe.
        parts.into_iter().filter_map(|part| part.join().ok()).fold([0; 2], |[a, b], [c, d]| [a ^ c, b ^ d])
    });
    [even as u32, (even >> 32) as u32, odd as u32, (odd >> 32) as u32]
}

fn xor_of_vectors(first: u64, last: u64, seed: u64) -> [u64; 2] {
    (first..last).fold([0; 2], |[even, odd], vector| [even ^ pattern_word(2 * vector, seed), odd ^ pattern_word(2 * vector + 1, seed)])
}

/// What one thread reads or writes at once.
pub(super) const VECTOR: Bytes = Bytes(size_of::<Float4>() as u64);
