//! Kernels that no GPU has run yet are tried in a process of their own.
//!
//! A kernel that goes astray takes its context with it: what a CUDA program does after an illegal address fails, whatever it is. So before a
//! measurement may use one of Hopper's matrix products, this program starts itself again, and that process runs them on small products with
//! tails and on one that gives every block more than one tile, and says which of them are right. What is wrong, gives up waiting, or ends that
//! process is **refused**: measured is the kernel that every GPU has, and the record says what was refused and why. The kernels that issue `wgmma`
//! alone are tried the same way, with few rounds and with many; a refused one's case is waived.
//!
//! Once a Hopper GPU has run them rightly, [`PROVEN_ON_HARDWARE`] and [`WGMMA_PROVEN_ON_HARDWARE`] say so and nothing is tried any more: then a
//! wrong answer is the GPU's.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::rig::Bench;
use super::selftest::{References, hopper_exam};
use super::{matmul, tensor};
use crate::error::{Error, Result};
use crate::gpu::{Driver, Gpu, HopperFormat, HopperKernel, PROVEN_ON_HARDWARE, WGMMA_PROVEN_ON_HARDWARE, WgmmaFormat};

/// The hidden command that tries kernels: `try-kernels UUID SEED NAME…`.
pub const COMMAND: &str = "try-kernels";

/// What the trying process says first, once it has opened the GPU.
const READY: &str = "ready";

/// How long it may take in all. A kernel that waits in vain gives up after a second.
const PATIENCE: Duration = Duration::from_secs(40);

/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// What a kernel's trial came to: how many elements were compared, or why it is refused.
pub(super) type Proof = std::result::Result<u64, String>;

/// A kernel that may have to be tried first.
pub(super) trait Tried: Copy + Ord {
    /// Whether hardware has proven its kind.
    const PROVEN: bool;

    /// Its name in the sources, where there is such a kernel.
    fn name(self) -> Option<&'static str>;

    /// Whether there is code of it for a GPU.
    fn runs_on(self, gpu: &Gpu) -> bool;
}

impl Tried for HopperKernel {
    const PROVEN: bool = PROVEN_ON_HARDWARE;

    fn name(self) -> Option<&'static str> {
        self.name()
    }

    fn runs_on(self, gpu: &Gpu) -> bool {
        self.runs_on(gpu)
    }
}

impl Tried for WgmmaFormat {
    const PROVEN: bool = WGMMA_PROVEN_ON_HARDWARE;

    fn name(self) -> Option<&'static str> {
        Some(self.name())
    }

    fn runs_on(self, gpu: &Gpu) -> bool {
        self.runs_on(gpu)
    }
}

/// Kernels for Hopper by whether they may be used on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proofs<K = HopperKernel>(BTreeMap<K, Proof>);

impl<K> Default for Proofs<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Tried> Proofs<K> {
    /// Try those of the kernels that there is code of for this GPU, by starting `program` again.
    pub(super) fn of(bench: &Bench, program: Option<&Path>, seed: u64, kernels: impl IntoIterator<Item = K>) -> Self {
        let kernels: Vec<K> = kernels.into_iter().filter(|kernel| kernel.runs_on(&bench.gpu)).collect();
        if kernels.is_empty() || K::PROVEN {
            return Self(kernels.into_iter().map(|kernel| (kernel, Ok(0))).collect());
        }
        match program {
            Some(program) => Self(ask(program, &bench.gpu.device().uuid, seed, &kernels)),
            None => Self(kernels.into_iter().map(|kernel| (kernel, Err("not tried: there is no program to try it in".into()))).collect()),
        }
    }

    /// Use a kernel no more.
    pub(super) fn refuse(&mut self, kernel: K, why: String) {
        self.0.insert(kernel, Err(why));
    }

    /// What came of one of them; none where there is no code of it.
    pub(super) fn get(&self, kernel: K) -> Option<&Proof> {
        self.0.get(&kernel)
    }
}

impl Proofs {
    /// Every kernel, as if it had been tried.
    #[cfg(test)]
    pub(super) fn trusting_all() -> Self {
        Self(HopperKernel::all().map(|kernel| (kernel, Ok(1))).collect())
    }

    /// Those of a format that may be used.
    pub(super) fn trusted(&self, format: HopperFormat) -> Vec<HopperKernel> {
        self.0.iter().filter(|(kernel, proof)| kernel.format == format && proof.is_ok()).map(|(kernel, _)| *kernel).collect()
    }

    /// Those of a format that may not be used, and why.
    pub(super) fn refused(&self, format: HopperFormat) -> Option<String> {
        let of_format = self.0.iter().filter(|(kernel, _)| kernel.format == format);
        let refused: Vec<String> =
            of_format.filter_map(|(kernel, proof)| Some(format!("{}: {}", kernel.name()?, proof.as_ref().err()?))).collect();
        (!refused.is_empty()).then(|| refused.join("; "))
    }
}

/// Start `program` until every kernel is answered for. One that ends the process is refused, and the next process begins behind it.
fn ask<K: Tried>(program: &Path, uuid: &str, seed: u64, kernels: &[K]) -> BTreeMap<K, Proof> {
    let mut answers = BTreeMap::new();
    let mut left = kernels;
    while let [culprit, rest @ ..] = left {
        let told = tell(program, uuid, seed, left);
        let unready = !told.lines.iter().any(|line| line == READY);
        for kernel in left {
            let answer = kernel.name().and_then(|name| told.lines.iter().find_map(|line| parse(line, name)));
            if let Some(answer) = answer {
                answers.insert(*kernel, answer);
            }
        }
        let missing = left.iter().position(|kernel| !answers.contains_key(kernel));
        match missing {
            None => break,
            // It did not come to trying any: neither will another one.
            Some(_) if unready => {
                let why = format!("could not be tried: {}", told.end);
                answers.extend(left.iter().map(|kernel| (*kernel, Err(why.clone()))));
                break;
            }
            Some(at) => {
                let guilty = left.get(at).unwrap_or(culprit);
                answers.insert(*guilty, Err(format!("ended the process that tried it: {}", told.end)));
                left = left.get(at + 1..).unwrap_or(rest);
            }
        }
    }
    answers
}

/// What a trying process said, and how it ended.
struct Told {
    lines: Vec<String>,
    end: String,
}

fn tell<K: Tried>(program: &Path, uuid: &str, seed: u64, kernels: &[K]) -> Told {
    let mut command = Command::new(program);
    command.args([COMMAND, uuid, &seed.to_string()]).args(kernels.iter().filter_map(|kernel| kernel.name()));
    match command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => listen(child),
        Err(error) => Told { lines: Vec::new(), end: format!("{} does not start: {error}", program.display()) },
    }
}

/// Read what a process says until it ends, or end it when its time is over.
fn listen(mut child: Child) -> Told {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut pipe) = pipe {
                // What cannot be read was not said.
                let _ = pipe.read_to_string(&mut text);
            }
            text
        })
    };
    let said = read(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let complained = read(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let since = Instant::now();
    let end = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.to_string(),
            Ok(None) if since.elapsed() < PATIENCE => std::thread::sleep(GLANCE),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                break format!("it took longer than {} s", PATIENCE.as_secs());
            }
            Err(error) => break error.to_string(),
        }
    };
    let lines = said.join().unwrap_or_default().lines().map(str::to_owned).collect();
    let complaint = complained.join().unwrap_or_default();
    let complaint = complaint.lines().last().map(|line| format!(" ({})", line.trim_start_matches("gpu-assay: "))).unwrap_or_default();
    Told { lines, end: end + &complaint }
}

/// A line about the kernel `name`: its name, and a number or what is wrong.
fn parse(line: &str, name: &str) -> Option<Proof> {
    let (found, answer) = line.split_once('\t')?;
    (found == name).then(|| answer.parse().map_err(|_| answer.to_owned()))
}

/// The line that [`parse`] reads.
fn line(name: &str, proof: &Proof) -> String {
    match proof {
        Ok(compared) => format!("{name}\t{compared}"),
        Err(why) => format!("{name}\t{}", why.replace(['\t', '\n'], " ")),
    }
}

/// A kernel by its name, as the trying process is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// A matrix product.
    Product(HopperKernel),
    /// `wgmma` alone.
    Rate(WgmmaFormat),
}

impl Named {
    fn find(name: &str) -> Option<Self> {
        let product = HopperKernel::all().find(|kernel| kernel.name() == Some(name)).map(Self::Product);
        product.or_else(|| WgmmaFormat::ALL.into_iter().find(|format| format.name() == name).map(Self::Rate))
    }
}

/// Try the kernels of these names on the GPU with this UUID: what the trying process does. `heard` is given each answer at once.
///
/// # Errors
/// [`Error::Usage`] for an unknown kernel; when the GPU cannot be opened. What goes wrong while a kernel is tried is an answer.
pub fn try_kernels(uuid: &str, seed: u64, names: &[String], heard: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let unknown = names.iter().find(|name| Named::find(name).is_none());
    if let Some(unknown) = unknown {
        return Err(Error::usage(format!("trying kernels: there is none of the name {unknown}")));
    }
    let bench = Bench::open(&Driver::open()?, uuid)?;
    heard(READY)?;
    let mut references = References::default();
    for name in names {
        let tried = match Named::find(name) {
            Some(Named::Product(kernel)) => hopper_exam(&bench, seed, kernel, &mut references).and_then(|(compared, wrong)| match wrong {
                Some(wrong) => Ok(Err(wrong)),
                None => Ok(matmul::prove(&bench, seed, kernel)?.map_or(Ok(compared), Err)),
            }),
            Some(Named::Rate(format)) => tensor::exam(&bench, format).map(|(compared, wrong)| wrong.map_or(Ok(compared), Err)),
            None => Ok(Err("there is none of the name".into())),
        };
        let proof = tried.unwrap_or_else(|error| Err(error.to_string()));
        heard(&line(name, &proof))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that says `text` and ends with `code`.
    fn told(script: &str) -> Told {
        let mut command = Command::new("sh");
        listen(command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    #[test]
    fn what_a_process_said_before_it_died_is_heard() {
        let told = told("echo ready; printf 'gemm\\t12\\n'; echo 'gpu-assay: oh' >&2; kill -9 $$");
        assert_eq!(told.lines, ["ready", "gemm\t12"]);
        assert!(told.end.contains("signal: 9") && told.end.ends_with("(oh)"), "{}", told.end);
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for proof in [Ok(12), Err("row 3: expected 1 but found 2".to_owned())] {
            assert_eq!(parse(&line("gemm", &proof), "gemm"), Some(proof));
        }
        assert_eq!(parse("gemm\t12", "gem"), None);
        assert_eq!(parse("ready", "ready"), None);
    }

    #[test]
    fn a_program_that_cannot_try_refuses_all() {
        let kernels: Vec<HopperKernel> = HopperKernel::all().collect();
        let answers = ask(Path::new("/nowhere/gpu-assay"), "GPU-1", 1, &kernels);
        assert!(
            answers.len() == kernels.len() && answers.values().all(|proof| proof.as_ref().is_err_and(|why| why.contains("does not start")))
        );
        let answers = ask(Path::new("false"), "GPU-1", 1, &kernels);
        assert!(answers.values().all(|proof| proof.as_ref().is_err_and(|why| why.contains("could not be tried: exit status: 1"))));
    }

    #[test]
    fn every_kernel_is_found_by_its_name_and_nothing_else_is() {
        for kernel in HopperKernel::all() {
            assert_eq!(kernel.name().and_then(Named::find), Some(Named::Product(kernel)));
        }
        for format in WgmmaFormat::ALL {
            assert_eq!(Named::find(format.name()), Some(Named::Rate(format)));
        }
        assert_eq!(Named::find("tensor_bf16"), None);
    }

    #[test]
    fn the_kernel_that_ends_the_process_is_refused_and_the_others_are_tried() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        // It dies of the tall tile.
        let script = "#!/bin/sh\necho ready\nshift 3\nfor name; do\n  case $name in *256x128*) kill -9 $$;; esac\n  printf '%s\\t7\\n' $name\ndone\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let kernels: Vec<HopperKernel> = HopperKernel::all().collect();
        let proofs = Proofs(ask(&program, "GPU-1", 1, &kernels));
        assert_eq!(proofs.trusted(HopperFormat::Bf16).len(), 3);
        let refused = proofs.refused(HopperFormat::Bf16).unwrap();
        assert!(refused.starts_with("gemm_hopper_bf16_256x128_c2: ended the process that tried it: signal: 9"), "{refused}");
        assert_eq!(proofs.refused(HopperFormat::E4m3), None);
    }
}
