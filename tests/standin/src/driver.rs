//! The one driver of the process: state shared by all four libraries, the way every exported function enters it, planned mishaps, and the
//! report at the end.
//!
//! Every exported function passes through [`enter`]: it takes the lock, counts the call, lets a planned mishap happen, and otherwise runs the
//! function's body. Handles given to the program (streams, events, modules …) are plain numbers; zero is never one.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::code::{Cu, Lt, Nc, Nv};
use crate::cublaslt::Library;
use crate::cuda::{Function, Module};
use crate::kernels::KERNELS;
use crate::machine::{Damage, Machine, Task, What};
use crate::nccl::Communicators;
use crate::nvml::EventSet;
use crate::scenario::{Action, Fault, Gpu, Scenario, ScenarioError};
use crate::timeline::{Mark, Step, Timeline, Waited};

/// Path of the scenario file.
pub const SCENARIO: &str = "GPU_ASSAY_STANDIN";
/// Overrides the noise seed.
pub const SEED: &str = "GPU_ASSAY_STANDIN_SEED";
/// Adds a fault, e.g. `cuMemAlloc_v2:2:error=2`.
pub const FAULT: &str = "GPU_ASSAY_STANDIN_FAULT";
/// File that receives call counts and what was left alive.
pub const TRACE: &str = "GPU_ASSAY_STANDIN_TRACE";

/// Contexts are handed out as this number plus the device.
const CONTEXT: usize = 0x00c0_0000;

/// The driver, made by the first call; a scenario that cannot be used stays an error for good.
static DRIVER: Mutex<Option<Result<Box<Driver>, ScenarioError>>> = Mutex::new(None);

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// A result code of one of the libraries.
pub(crate) trait Code: Into<i32> {
    /// A pointer or number that cannot be.
    const INVALID: Self;
    /// The library is there but the machine behind it is not.
    const BROKEN: Self;
}

impl Code for Cu {
    const INVALID: Self = Self::INVALID_VALUE;
    const BROKEN: Self = Self::UNKNOWN;
}

impl Code for Nv {
    const INVALID: Self = Self::INVALID_ARGUMENT;
    const BROKEN: Self = Self::DRIVER_NOT_LOADED;
}

impl Code for Lt {
    const INVALID: Self = Self::INVALID_VALUE;
    const BROKEN: Self = Self::NOT_INITIALIZED;
}

impl Code for Nc {
    const INVALID: Self = Self::INVALID_ARGUMENT;
    const BROKEN: Self = Self::INTERNAL;
}

/// A stream: its device, whether the default stream waits for it, and the graph being recorded on it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) device: usize,
    pub(crate) blocking: bool,
    pub(crate) capture: Option<Vec<Step<Task>>>,
}

/// All state of the stand-in driver.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) machine: Machine,
    pub(crate) timeline: Timeline<Task>,
    pub(crate) cuda_ready: bool,
    pub(crate) nvml_users: u32,
    /// Sets of NVML's events.
    pub(crate) event_sets: HashMap<usize, EventSet>,
    /// Launches and copies of each device so far.
    pub(crate) works: Vec<u64>,
    /// Devices that CUDA shows, in its order, after `CUDA_VISIBLE_DEVICES`.
    pub(crate) visible: Vec<usize>,
    /// Users of each device's primary context.
    pub(crate) contexts: Vec<u32>,
    pub(crate) streams: HashMap<u64, Stream>,
    pub(crate) default_streams: Vec<Option<u64>>,
    /// Events and whether they keep time.
    pub(crate) events: HashMap<u64, bool>,
    pub(crate) modules: HashMap<u64, Module>,
    pub(crate) functions: HashMap<u64, Function>,
    pub(crate) graphs: HashMap<u64, Vec<Step<Task>>>,
    pub(crate) executables: HashMap<u64, Vec<Step<Task>>>,
    /// Objects of cublasLt, and how many handles of it each device pays memory for.
    pub(crate) library: Library,
    /// Communicators of NCCL.
    pub(crate) communicators: Communicators,
    pub(crate) born: Instant,
    pub(crate) last_work: Option<Instant>,
    faults: Vec<Fault>,
    calls: BTreeMap<&'static str, u64>,
    launches: BTreeMap<&'static str, u64>,
    trace: Option<PathBuf>,
    damage_next: Option<Damage>,
}

/// Runs the body of an exported function, after counting it and letting its planned mishaps happen.
pub(crate) fn enter<E: Code>(name: &'static str, body: impl FnOnce(&mut Driver) -> Result<(), E>) -> i32 {
    let mut guard = lock();
    let action = match made(&mut guard) {
        Ok(driver) => driver.count(name),
        Err(error) => {
            report(&error.to_string());
            return E::BROKEN.into();
        }
    };
    match action {
        Some(Action::Error(code)) => return code,
        Some(Action::Hang(seconds)) => {
            drop(guard);
            std::thread::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)));
            guard = lock();
        }
        _ => {}
    }
    let Ok(driver) = made(&mut guard) else { return E::BROKEN.into() };
    match action {
        Some(Action::Corrupt | Action::Wrong(_) | Action::Unfinished) => driver.damage_next = action.and_then(Damage::of),
        Some(Action::Gone) => {
            if let Some(gone) = driver.machine.gone.get_mut(current_device().unwrap_or(0)) {
                *gone = true;
            }
        }
        _ => {}
    }
    match body(driver) {
        Ok(()) => 0,
        Err(code) => code.into(),
    }
}

type Slot = Option<Result<Box<Driver>, ScenarioError>>;

fn lock() -> MutexGuard<'static, Slot> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn made(slot: &mut Slot) -> Result<&mut Box<Driver>, &ScenarioError> {
    slot.get_or_insert_with(|| Driver::from_environment().map(Box::new)).as_mut().map_err(|error| &*error)
}

/// Sets scenario (TOML text) and faults (as in [`FAULT`], or empty) before the first call, for tests that load a copy of the library of their
/// own. Returns 0, or 1 when the scenario is wrong.
#[unsafe(no_mangle)]
extern "C" fn gpu_assay_standin_configure(scenario: *const std::ffi::c_char, faults: *const std::ffi::c_char) -> i32 {
    let configure = || -> Result<Driver, ScenarioError> {
        let read = |from| text::<Cu>(from).map_err(|_| ScenarioError::new("a null pointer"));
        Driver::new(Scenario::parse(&read(scenario)?)?, &read(faults)?, None, None)
    };
    let made = configure();
    if let Err(error) = &made {
        report(&error.to_string());
    }
    let failed = made.is_err();
    *lock() = Some(made.map(Box::new));
    i32::from(failed)
}

/// The only place that speaks: a scenario that cannot be used would otherwise look like a broken driver.
fn report(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "gpu-assay-standin: {text}");
}

/// The device whose context is current on this thread.
pub(crate) fn current_device() -> Option<usize> {
    CURRENT.with(Cell::get)
}

/// Makes a device's context current on this thread.
pub(crate) fn set_current_device(device: Option<usize>) {
    CURRENT.with(|current| current.set(device));
}

/// Writes through a pointer that the program gave for a result.
pub(crate) fn put<T, E: Code>(to: *mut T, value: T) -> Result<(), E> {
    if to.is_null() {
        return Err(E::INVALID);
    }
    // SAFETY: not null, and the C interface obliges the caller to pass a pointer to writable memory of this type.
    unsafe { to.write(value) };
    Ok(())
}

/// Writes a C string into a buffer of `length` bytes, as much as fits; an error if it does not fit.
pub(crate) fn put_text<E: Code>(to: *mut std::ffi::c_char, length: usize, text: &str) -> Result<(), E> {
    if to.is_null() || length <= text.len() {
        return Err(E::INVALID);
    }
    // SAFETY: not null; the C interface obliges the caller to pass `length` writable bytes, and text plus NUL fit in them.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        to.add(text.len()).write(0);
    }
    Ok(())
}

/// Reads a C string that the program passed.
pub(crate) fn text<E: Code>(from: *const std::ffi::c_char) -> Result<String, E> {
    if from.is_null() {
        return Err(E::INVALID);
    }
    // SAFETY: not null, and the C interface obliges the caller to pass a NUL-terminated string.
    let text = unsafe { std::ffi::CStr::from_ptr(from) };
    Ok(text.to_string_lossy().into_owned())
}

impl Driver {
    fn from_environment() -> Result<Self, ScenarioError> {
        let path =
            std::env::var_os(SCENARIO).ok_or_else(|| ScenarioError::new(format!("set {SCENARIO} to the path of a scenario file")))?;
        let mut scenario = Scenario::load(path.as_ref())?;
        if let Ok(seed) = std::env::var(SEED) {
            scenario.noise.seed =
                seed.parse().map_err(|_| ScenarioError::new(format!("{SEED}: expected a whole number but found {seed}")))?;
        }
        let faults = std::env::var(FAULT).unwrap_or_default();
        let shown = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        Self::new(scenario, &faults, std::env::var_os(TRACE).map(PathBuf::from), shown.as_deref())
    }

    fn new(scenario: Scenario, more: &str, trace: Option<PathBuf>, shown: Option<&str>) -> Result<Self, ScenarioError> {
        let mut faults = scenario.faults.clone();
        for fault in more.split(',').filter(|fault| !fault.is_empty()) {
            faults.push(parse_fault(fault)?);
        }
        let on_kernel = |fault: &&Fault| KERNELS.iter().any(|(name, _)| concerns(fault, name));
        if let Some(fault) = faults.iter().filter(on_kernel).find(|fault| Damage::of(fault.action).is_none()) {
            return Err(ScenarioError::new(format!("fault: a kernel such as {} can only be corrupt, wrong or unfinished", fault.function)));
        }
        let count = scenario.gpus.len();
        let visible = visible_devices(&scenario, shown);
        Ok(Self {
            visible,
            machine: Machine::new(scenario),
            timeline: Timeline::default(),
            cuda_ready: false,
            nvml_users: 0,
            event_sets: HashMap::new(),
            works: vec![0; count],
            contexts: vec![0; count],
            streams: HashMap::new(),
            default_streams: vec![None; count],
            events: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            library: Library::default(),
            communicators: Communicators::default(),
            born: Instant::now(),
            last_work: None,
            faults,
            calls: BTreeMap::new(),
            launches: BTreeMap::new(),
            trace,
            damage_next: None,
        })
    }

    fn count(&mut self, name: &'static str) -> Option<Action> {
        self.machine.epoch += 1;
        let call = self.calls.entry(name).or_insert(0);
        *call += 1;
        let call = *call;
        self.due(name, call)
    }

    /// Counts a launch of a kernel, whose result a planned mishap may spoil.
    pub(crate) fn count_launch(&mut self, kernel: &'static str) {
        let launch = self.launches.entry(kernel).or_insert(0);
        *launch += 1;
        let launch = *launch;
        if let Some(action) = self.due(kernel, launch) {
            self.damage_next = Damage::of(action);
        }
    }

    /// The mishap planned for this call of a function or launch of a kernel.
    fn due(&self, name: &str, call: u64) -> Option<Action> {
        let due = |fault: &&Fault| concerns(fault, name) && (fault.call == call || fault.repeat && call > fault.call);
        self.faults.iter().find(due).map(|fault| fault.action)
    }

    pub(crate) fn gpu(&self, device: usize) -> &Gpu {
        &self.machine.scenario.gpus[device]
    }

    /// A handle that was never given out.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.timeline.fresh()
    }

    /// Checks a device number of the program.
    pub(crate) fn device(&self, ordinal: i32) -> Result<usize, Cu> {
        if !self.cuda_ready {
            return Err(Cu::NOT_INITIALIZED);
        }
        usize::try_from(ordinal).ok().and_then(|ordinal| self.visible.get(ordinal).copied()).ok_or(Cu::INVALID_DEVICE)
    }

    /// The device of the calling thread's context, if it is in working order.
    pub(crate) fn current(&self) -> Result<usize, Cu> {
        if !self.cuda_ready {
            return Err(Cu::NOT_INITIALIZED);
        }
        let device = current_device().filter(|device| self.contexts[*device] > 0).ok_or(Cu::INVALID_CONTEXT)?;
        self.healthy(device)?;
        Ok(device)
    }

    /// Refuses a device that fell off the bus or whose context is poisoned.
    pub(crate) fn healthy(&self, device: usize) -> Result<(), Cu> {
        if self.machine.gone[device] {
            return Err(Cu::UNKNOWN);
        }
        self.machine.sticky[device].map_or(Ok(()), Err)
    }

    /// The number the program knows a device's context by.
    pub(crate) fn context_of(device: usize) -> usize {
        CONTEXT + device
    }

    /// The device of a context.
    pub(crate) fn device_of_context(&self, context: usize) -> Result<usize, Cu> {
        let device = context.checked_sub(CONTEXT).filter(|device| *device < self.contexts.len());
        device.filter(|device| self.contexts[*device] > 0).ok_or(Cu::INVALID_CONTEXT)
    }

    /// Free and total memory of a device in bytes.
    pub(crate) fn memory_info(&self, device: usize) -> (u64, u64) {
        let gpu = self.gpu(device);
        let context = if self.contexts[device] > 0 { gpu.cost.context_mib << 20 } else { 0 };
        let library = self.library.handles_on(device) as u64 * (gpu.cost.cublaslt_mib << 20);
        let communicators = self.communicators.on(device) as u64 * (gpu.cost.nccl_mib << 20);
        let used = gpu.foreign_bytes() + context + library + communicators + self.machine.memory.used(device);
        (gpu.memory_bytes().saturating_sub(used), gpu.memory_bytes())
    }

    /// The stream behind a handle, where 0, 1 and 2 are the device's default stream.
    pub(crate) fn stream(&mut self, handle: u64) -> Result<u64, Cu> {
        if handle > 2 {
            let device = self.streams.get(&handle).ok_or(Cu::INVALID_HANDLE)?.device;
            self.healthy(device)?;
            return Ok(handle);
        }
        let device = self.current()?;
        if let Some(stream) = self.default_streams[device] {
            return Ok(stream);
        }
        let stream = self.timeline.add_stream();
        self.streams.insert(stream, Stream { device, blocking: true, capture: None });
        self.default_streams[device] = Some(stream);
        Ok(stream)
    }

    /// The device a stream belongs to.
    pub(crate) fn stream_device(&self, stream: u64) -> usize {
        self.streams.get(&stream).map_or(0, |stream| stream.device)
    }

    /// Puts a step on a stream, or into the graph being recorded there. Steps on a default stream also wait for the device's other blocking
    /// streams and those for it, as the legacy default stream does.
    pub(crate) fn enqueue(&mut self, stream: u64, step: Step<Task>) -> Result<Option<Mark>, Cu> {
        let Some(info) = self.streams.get_mut(&stream) else { return Err(Cu::INVALID_HANDLE) };
        if let Some(capture) = &mut info.capture {
            capture.push(step);
            return Ok(None);
        }
        let (device, blocking) = (info.device, info.blocking);
        let default = self.default_streams[device];
        if blocking && default.is_some() {
            let is_default = default == Some(stream);
            let others: Vec<Mark> = self
                .streams
                .iter()
                .filter(|(id, other)| {
                    let wanted = if is_default { other.blocking } else { default == Some(**id) };
                    wanted && other.device == device && **id != stream
                })
                .filter_map(|(id, _)| self.timeline.tail(*id))
                .filter(|mark| !self.timeline.passed(*mark))
                .collect();
            for mark in others {
                self.timeline.enqueue(stream, Step::Wait(mark));
            }
        }
        Ok(self.timeline.enqueue(stream, step))
    }

    /// Lets the host spend time on a call, as noisy as any other.
    pub(crate) fn spend_us(&mut self, microseconds: f64) {
        let factor = self.machine.noise();
        self.timeline.pass(microseconds * 1e3 * factor);
    }

    /// Enqueues work, which a planned corruption may spoil.
    pub(crate) fn submit(&mut self, stream: u64, what: What) -> Result<(), Cu> {
        let device = self.stream_device(stream);
        self.healthy(device)?;
        let damage = self.damage_next.take();
        if matches!(what, What::Copy { .. } | What::Launch(_) | What::Library(_) | What::Collective(_)) {
            self.last_work = Some(Instant::now());
            self.raise_xids(device);
        }
        self.enqueue(stream, Step::Work(Task { device, in_graph: false, damage, what }))?;
        Ok(())
    }

    /// Waits for marks on a device's streams; errors met on the way belong to the device.
    pub(crate) fn wait(&mut self, device: usize, marks: &[Mark], patient: bool) -> Result<(), Cu> {
        let waited = self.timeline.wait(&mut self.machine, marks, patient);
        self.healthy(device)?;
        match waited {
            Waited::Done => Ok(()),
            Waited::Blocked => {
                // Let time go by, so that a program which polls a closed gate meets its watchdog.
                self.timeline.pass(1e6);
                Err(Cu::NOT_READY)
            }
        }
    }

    /// Waits for everything on a stream.
    pub(crate) fn wait_stream(&mut self, stream: u64, patient: bool) -> Result<(), Cu> {
        if self.streams.get(&stream).is_some_and(|stream| stream.capture.is_some()) {
            return Err(Cu::STREAM_CAPTURE_UNSUPPORTED);
        }
        let device = self.stream_device(stream);
        let marks: Vec<Mark> = self.timeline.tail(stream).into_iter().collect();
        self.wait(device, &marks, patient)
    }

    /// Waits for everything on a device.
    pub(crate) fn wait_device(&mut self, device: usize) -> Result<(), Cu> {
        let marks: Vec<Mark> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.device == device && stream.capture.is_none())
            .filter_map(|(id, _)| self.timeline.tail(*id))
            .collect();
        self.wait(device, &marks, true)
    }

    /// Call counts and what is still alive, as TOML.
    fn summary(&self) -> String {
        let mut text = String::from("[calls]\n");
        for (name, count) in &self.calls {
            let _ = writeln!(text, "{name} = {count}");
        }
        text.push_str("\n[launches]\n");
        for (kernel, count) in &self.launches {
            let _ = writeln!(text, "{kernel} = {count}");
        }
        text.push_str("\n[alive]\n");
        let streams = self.streams.len() - self.default_streams.iter().flatten().count();
        let contexts: u32 = self.contexts.iter().sum();
        let mut alive: Vec<(&str, usize)> = self.machine.memory.alive().to_vec();
        alive.extend([
            ("contexts", contexts as usize),
            ("streams", streams),
            ("events", self.events.len()),
            ("modules", self.modules.len()),
            ("graphs", self.graphs.len() + self.executables.len()),
            ("cublaslt objects", self.library.alive()),
            ("NCCL communicators", self.communicators.alive()),
            ("NVML event sets", self.event_sets.len()),
        ]);
        for (what, count) in alive {
            let _ = writeln!(text, "\"{what}\" = {count}");
        }
        let _ = writeln!(text, "\n[work]\nexecuted = {}\nvirtual_ns = {:.1}", self.machine.executed, self.timeline.host_ns());
        text
    }
}

/// Whether a fault concerns the function or kernel of this name: it may name several by their common beginning and a star.
fn concerns(fault: &Fault, name: &str) -> bool {
    fault.function.strip_suffix('*').map_or(fault.function == name, |start| name.starts_with(start))
}

/// The devices that CUDA shows: a list of indices or of beginnings of UUIDs; the first entry that names none ends it.
fn visible_devices(scenario: &Scenario, list: Option<&str>) -> Vec<usize> {
    let all = 0..scenario.gpus.len();
    let Some(list) = list else { return all.collect() };
    let mut visible = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let by_uuid = || scenario.gpus.iter().position(|gpu| !entry.is_empty() && gpu.uuid.starts_with(entry));
        match entry.parse::<usize>().ok().filter(|index| all.contains(index)).or_else(by_uuid) {
            Some(device) if !visible.contains(&device) => visible.push(device),
            _ => break,
        }
    }
    visible
}

/// Reads `function:call:action`, e.g. `cuMemAlloc_v2:2:error=2`, `cuStreamSynchronize:1:hang=5`, `cuLaunchKernel:3+:corrupt`, where `+` means
/// this and every later call. A kernel's name stands for its launches, e.g. `gemm_bf16:2:wrong=64`.
fn parse_fault(text: &str) -> Result<Fault, ScenarioError> {
    let complain = || {
        ScenarioError::new(format!(
            "{FAULT}: expected function:call:error=CODE, hang=SECONDS, wrong=NUMBER, corrupt, unfinished or gone but found {text}"
        ))
    };
    let mut parts = text.splitn(3, ':');
    let (Some(function), Some(call), Some(action)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(complain());
    };
    let (call, repeat) = call.strip_suffix('+').map_or((call, false), |call| (call, true));
    let action = match action.split_once('=') {
        Some(("error", code)) => Action::Error(code.parse().map_err(|_| complain())?),
        Some(("hang", seconds)) => Action::Hang(seconds.parse().map_err(|_| complain())?),
        Some(("wrong", number)) => Action::Wrong(number.parse().map_err(|_| complain())?),
        None if action == "corrupt" => Action::Corrupt,
        None if action == "unfinished" => Action::Unfinished,
        None if action == "gone" => Action::Gone,
        _ => return Err(complain()),
    };
    let call = call.parse().ok().filter(|call| *call > 0).ok_or_else(complain)?;
    Ok(Fault { function: function.to_owned(), call, repeat, action })
}

/// Writes the trace now, for tests. Returns 0, or 1 when that fails.
#[unsafe(no_mangle)]
extern "C" fn gpu_assay_standin_report(path: *const std::ffi::c_char) -> i32 {
    let Ok(path) = text::<Cu>(path) else { return 1 };
    match made(&mut lock()) {
        Ok(driver) if std::fs::write(path, driver.summary()).is_ok() => 0,
        _ => 1,
    }
}

/// Writes the trace when the library is unloaded or the process exits.
extern "C" fn at_exit() {
    // A library that was never called has nothing to report.
    if let Ok(guard) = DRIVER.try_lock()
        && let Some(Ok(driver)) = guard.as_ref()
        && let Some(path) = &driver.trace
        && let Err(error) = std::fs::write(path, driver.summary())
    {
        report(&format!("cannot write {}: {error}", path.display()));
    }
}

// Run by the loader; `#[used]` keeps it although nothing refers to it.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;
