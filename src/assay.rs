//! The run: every case of every probe, one after another, each outcome kept as soon as it is there.
//!
//! A run cannot be failed by a probe. A case that errs is recorded as failed, or as waived when the
//! machine lacks what it needs, and the next one begins; only the user's wish to stop and a
//! record that cannot be written end it early. The run shares its time among the cases by their weights, host and GPU cases from separate
//! purses, because a machine without a GPU must be done sooner.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::gpu::{self, Driver};
use crate::machine::nvml::Nvml;
use crate::machine::{self, CudaView, Environment, Fact, Machine, NvmlView, host};
use crate::measure::{Case, Outcome, Waiver};
use crate::probe::{Effort, Lab, Moment, Probe, Rig};
use crate::record::{Program, Run, SCHEMA_VERSION, Settings, Xid};
use crate::telemetry::XidWatch;
use crate::units::Seconds;

/// What is to be measured, and how.
pub struct Request<'a> {
    /// The probes, in the order to run them.
    pub probes: &'a [&'a dyn Probe],
    /// Their names if the user chose them; empty when all run.
    pub chosen: Vec<String>,
    /// Indices of the GPUs to measure.
    pub gpus: Vec<u32>,
    /// How thorough.
    pub effort: Effort,
    /// Sampled time that the GPU cases and the host cases may each take together, instead of the effort's.
    pub time: Option<Seconds>,
    /// Seed of generated data.
    pub seed: u64,
    /// Folder in which the storage probe may write.
    pub scratch: &'a Path,
    /// Whether GPU identifiers stay in the record.
    pub identify: bool,
    /// The time, RFC 3339, UTC.
    pub started: String,
    /// Digest over the kernels' sources.
    pub kernels: String,
    /// This program, which tries kernels that no hardware has proven in a process of their own; without it they are not used.
    pub program: Option<PathBuf>,
}

/// Where a run stands, for whoever shows it.
pub trait Listener {
    /// `case` begins; `done` of `total` are behind it, and about `left` of sampled time is still to come.
    fn begins(&mut self, case: &Case, done: usize, total: usize, left: Seconds);

    /// A case that takes long stands so.
    fn proceeds(&mut self, _case: &Case, _now: Moment) {}

    /// A case is done.
    fn ends(&mut self, outcome: &Outcome);
}

/// A listener that does not listen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Listener for Silent {
    fn begins(&mut self, _: &Case, _: usize, _: usize, _: Seconds) {}
    fn ends(&mut self, _: &Outcome) {}
}

/// A case with the probe that does it and the time it may sample.
struct Errand<'a> {
    probe: &'a dyn Probe,
    case: Case,
    /// A time of its own.
    length: Option<Seconds>,
    budget: Seconds,
}

/// Listens for the XIDs of a run, and remembers during which case each was heard.
struct Ear<'nvml> {
    watch: XidWatch<'nvml>,
    xids: Vec<Xid>,
}

impl Ear<'_> {
    /// All that was heard until `case` was done. What a driver reports late is counted to the next case.
    fn after(&mut self, case: &Case) -> Fact<Vec<Xid>> {
        self.xids.extend(self.watch.ask().into_iter().map(|(gpu, code)| Xid { gpu, code, case: case.clone() }));
        self.watch.known(self.xids.clone())
    }
}

/// Writing a long record after every short case would cost more than the case; a kill loses at most this much besides the running case.
const LEAST_BETWEEN_WRITES: Duration = Duration::from_millis(200);

/// Run `request` on `machine`. `keep` is given the record before the first case, during the run and after every probe, and writes it.
/// Returns the record; it is `complete` unless `stopped` ended the run, in which case the finished cases are in it.
///
/// # Errors
/// What `keep` returns, as a record that cannot be written would lose data silently; and facts from which identifiers cannot be removed.
pub fn run(
    machine: &Machine,
    request: Request<'_>,
    keep: &mut dyn FnMut(&Run) -> Result<()>,
    listener: &mut dyn Listener,
    stopped: &dyn Fn() -> bool,
) -> Result<Run> {
    let settings = Settings { effort: request.effort, probes: request.chosen.clone(), gpus: request.gpus.clone(), seed: request.seed };
    let mut record = empty(machine, settings);
    record.started.clone_from(&request.started);
    record.program.kernels.clone_from(&request.kernels);
    if !request.identify {
        record.machine = machine.anonymous()?;
    }
    // Before anything is measured: a folder that cannot be written is better found now.
    keep(&record)?;

    let errands = errands(machine, &request, &mut record);
    let nvml = Nvml::open(None);
    let mut ear = Ear { watch: XidWatch::new(nvml.as_ref(), machine, &request.gpus), xids: Vec::new() };
    record.xids = ear.watch.known(Vec::new());
    let listener = RefCell::new(listener);
    let mut lab = Lab {
        machine,
        gpus: &request.gpus,
        effort: request.effort,
        seed: request.seed,
        scratch: request.scratch,
        budget: Seconds(0.0),
        stopped,
        tell: &|case, now| listener.borrow_mut().proceeds(case, now),
        besides: Vec::new(),
        rig: Rig::with_program(request.program.clone()),
    };
    let mut left: Seconds = errands.iter().map(|errand| errand.budget).sum();
    let mut written = Instant::now();
    let mut beside: HashSet<Case> = HashSet::new();
    for (index, errand) in errands.iter().enumerate() {
        if stopped() {
            break;
        }
        // Unless it came out of a case before it.
        if !beside.contains(&errand.case) {
            listener.borrow_mut().begins(&errand.case, index, errands.len(), left);
            lab.budget = errand.budget;
            let result = errand.probe.run(&errand.case, &mut lab);
            record.xids = ear.after(&errand.case);
            let outcome = match result {
                Ok(outcome) => outcome,
                Err(Error::Interrupted) => break,
                // Nothing was tried and failed: this machine has not what the case needs.
                Err(error @ Error::Unavailable { .. }) => {
                    Outcome::Waived { case: errand.case.clone(), waiver: Waiver::Unsupported { what: error.to_string() } }
                }
                Err(error) => Outcome::failed(errand.case.clone(), &error),
            };
            beside.extend(lab.besides.iter().map(|outcome| outcome.case().clone()));
            for outcome in std::iter::once(outcome).chain(lab.besides.drain(..)) {
                listener.borrow_mut().ends(&outcome);
                record.keep(outcome);
            }
        }
        left = left - errand.budget;
        let probe_ends = errands.get(index + 1).is_none_or(|next| next.probe.name() != errand.probe.name());
        if probe_ends || written.elapsed() >= LEAST_BETWEEN_WRITES {
            keep(&record)?;
            written = Instant::now();
        }
        if probe_ends {
            lab.rig.tidy();
        }
    }
    record.complete = !stopped();
    keep(&record)?;
    Ok(record)
}

/// A record of a machine on which nothing was measured: its facts alone.
pub fn unmeasured(machine: &Machine) -> Run {
    empty(machine, Settings { effort: Effort::Quick, probes: Vec::new(), gpus: Vec::new(), seed: 0 })
}

fn empty(machine: &Machine, settings: Settings) -> Run {
    Run {
        schema_version: SCHEMA_VERSION,
        simulated: machine.driver.simulated,
        name: name(machine),
        program: Program { version: env!("CARGO_PKG_VERSION").to_owned(), kernels: String::new() },
        started: String::new(),
        settings,
        earlier: Vec::new(),
        machine: machine.clone(),
        complete: false,
        xids: Fact::unknown("nothing was measured"),
        outcomes: Vec::new(),
        digest: None,
        signature: None,
    }
}

/// The machine's name; a simulated one says so in its file's name.
pub fn name(machine: &Machine) -> String {
    let name = machine.neutral_name();
    if machine.driver.simulated { format!("simulated-{name}") } else { name }
}

/// Every case to run with its share of the time. Probes that this machine cannot run at all are waived in the record here.
fn errands<'a>(machine: &Machine, request: &Request<'a>, record: &mut Run) -> Vec<Errand<'a>> {
    let (gpus, effort) = (&request.gpus, request.effort);
    // What is worth measuring of one GPU depends on what is measured beside it.
    let mut asked = machine.clone();
    asked.gpus.retain(|gpu| gpus.contains(&gpu.index));
    let mut errands = Vec::new();
    for &probe in request.probes.iter().filter(|probe| !request.chosen.is_empty() || probe.is_usual(effort)) {
        match probe.needs(machine) {
            Err(waiver) => record.keep(Outcome::Waived { case: Case::new(probe.name()), waiver }),
            Ok(()) => errands.extend(probe.cases(&asked, effort).into_iter().filter(|case| concerns(case, gpus)).map(|case| Errand {
                probe,
                length: request.time.map_or_else(|| probe.length(&case, effort), |_| None),
                budget: Seconds(probe.weight(&case)),
                case,
            })),
        }
    }
    for on_gpu in [false, true] {
        let usual = if on_gpu { effort.gpu_budget(gpus.len()) } else { effort.host_budget() };
        let purse = request.time.unwrap_or(usual);
        let mut shares: Vec<&mut Seconds> = errands
            .iter_mut()
            .filter(|errand| is_on_gpu(&errand.case) == on_gpu && errand.length.is_none())
            .map(|errand| &mut errand.budget)
            .collect();
        let total: Seconds = shares.iter().map(|share| **share).sum();
        for share in &mut shares {
            **share = purse * (**share / total);
        }
    }
    for errand in &mut errands {
        errand.budget = errand.length.unwrap_or(errand.budget);
    }
    errands
}

fn is_on_gpu(case: &Case) -> bool {
    ["gpu", "from", "to", "gpus"].iter().any(|axis| case.get(axis).is_some())
}

/// Whether every GPU the case names is among those asked for.
fn concerns(case: &Case, gpus: &[u32]) -> bool {
    ["gpu", "from", "to"]
        .iter()
        .filter_map(|axis| case.get_count(axis))
        .all(|index| u32::try_from(index).is_ok_and(|index| gpus.contains(&index)))
}

/// This machine, from everything that knows about it. Never fails: what cannot be read says why.
pub fn inspect() -> Machine {
    let environment = Environment::live();
    let driver = Driver::open();
    let cuda = CudaView {
        gpus: Fact::from_result(driver.as_ref().map(|driver| gpu::survey(driver))),
        version: Fact::from_result(driver.as_ref().map(|driver| {
            let (major, minor) = driver.version();
            format!("{major}.{minor}")
        })),
        simulated: driver.as_ref().map_or_else(|_| Driver::is_standin(), |driver| driver.simulated()),
    };
    let nvml = NvmlView::read(&Nvml::find(&environment));
    machine::assemble(Path::new("/"), std::env::consts::ARCH, &environment, &host::live_space, cuda, nvml)
}
