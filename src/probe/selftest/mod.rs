//! The self-test: does this GPU compute what it should?
//!
//! Every kernel runs on random input and its output is compared with the host's own computation of the definition (see
//! [`reference`](crate::gpu::reference)), at sizes that are and that are not multiples of what a block works on. Then a share of the
//! device's memory is filled with an address-dependent pattern and every word of it is read back, twice with different patterns: see
//! the pattern test, which the `memory` probe has too.
//!
//! Kernels that no hardware has proven run in a process of their own, see [`proof`](super::proof).
//!
//! What is exact is compared bit for bit; where rounding differs between chips, the tolerance is that of the reference. A result is
//! structured, and nothing is printed: [`Report::is_right`] is the verdict.

mod arithmetic;
mod bulk;
mod movement;
mod rates;

use std::path::Path;
use std::time::Duration;

pub(super) use arithmetic::{References, hopper as hopper_exam};

use super::pattern::PatternTest;
use super::proof::{Proof, Proofs};
use super::rig::{Bench, Rig};
use super::tensor;
use crate::error::{Error, Result};
use crate::gpu::{HopperKernel, PROVEN_ON_HARDWARE, WGMMA_PROVEN_ON_HARDWARE, WgmmaFormat};
use crate::machine::Machine;
use crate::units::Bytes;

/// What the self-test is asked to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Seed of the random input.
    pub seed: u64,
    /// Share of each GPU's free memory to test, from 0 to 0.9.
    pub share: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, share: 0.5 }
    }
}

/// What came out of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The answer was right.
    Right,
    /// It was not: what was expected, and what was found.
    Wrong(String),
    /// This GPU does not have what the check needs.
    Waived(String),
}

/// One check on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The GPU's number in the machine's list.
    pub gpu: u32,
    /// The kernel, or `memory`.
    pub name: &'static str,
    /// How many elements or bytes were compared.
    pub compared: u64,
    /// What came out.
    pub verdict: Verdict,
}

/// Every check of a self-test, in the order run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether no check found anything wrong, and at least one found something right.
    pub fn is_right(&self) -> bool {
        let wrong = self.checks.iter().any(|check| matches!(check.verdict, Verdict::Wrong(_)));
        !wrong && self.checks.iter().any(|check| check.verdict == Verdict::Right)
    }
}

/// What a check found on a bench: elements compared, and what is wrong.
type Finding = Result<(u64, Option<String>)>;

/// A check: its name, whether this GPU can do it, and how.
struct Exam {
    name: &'static str,
    possible: fn(&Bench) -> bool,
    run: fn(&Bench, u64) -> Finding,
}

/// Test the GPUs with these indices. Kernels that no hardware has proven are tried by `program`, which is this one. `heard` is given each check as soon as it is done; `stopped` is asked between them.
///
/// # Errors
/// [`Error::Unavailable`] without a usable GPU; [`Error::Usage`] for a share that cannot be; [`Error::Gpu`] when a call fails, which is not the
/// same as a wrong answer: those are in the report. [`Error::Interrupted`] when `stopped` says so.
pub fn run(
    machine: &Machine,
    gpus: &[u32],
    options: Options,
    program: Option<&Path>,
    heard: &mut dyn FnMut(&Check),
    stopped: &dyn Fn() -> bool,
) -> Result<Report> {
    if !(0.0..=0.9).contains(&options.share) {
        return Err(Error::usage(format!("expected a share of memory from 0 to 0.9 but found {}", options.share)));
    }
    let mut rig = Rig::default();
    let mut report = Report::default();
    for &gpu in gpus {
        let bench = rig.bench(machine, gpu)?;
        let mut note = |name, compared, verdict| {
            let check = Check { gpu, name, compared, verdict };
            heard(&check);
            report.checks.push(check);
        };
        for exam in movement::EXAMS.iter().chain(arithmetic::EXAMS).chain(rates::EXAMS).chain(bulk::EXAMS) {
            if stopped() {
                return Err(Error::Interrupted);
            }
            if (exam.possible)(&bench) {
                let (compared, wrong) = (exam.run)(&bench, options.seed)?;
                note(exam.name, compared, wrong.map_or(Verdict::Right, Verdict::Wrong));
            } else {
                note(exam.name, 0, Verdict::Waived("this chip lacks the instruction".into()));
            }
        }
        let proofs = Proofs::of(&bench, program, options.seed, HopperKernel::all());
        for kernel in HopperKernel::all() {
            if stopped() {
                return Err(Error::Interrupted);
            }
            let Some(name) = kernel.name() else { continue };
            let exam = || arithmetic::hopper(&bench, options.seed, kernel, &mut References::default());
            let (compared, verdict) = hopper_verdict(proofs.get(kernel), PROVEN_ON_HARDWARE, exam)?;
            note(name, compared, verdict);
        }
        let proofs = Proofs::of(&bench, program, options.seed, WgmmaFormat::ALL);
        for format in WgmmaFormat::ALL {
            if stopped() {
                return Err(Error::Interrupted);
            }
            let (compared, verdict) = hopper_verdict(proofs.get(format), WGMMA_PROVEN_ON_HARDWARE, || tensor::exam(&bench, format))?;
            note(format.name(), compared, verdict);
        }
        let (compared, wrong) = memory(&bench, options, stopped)?;
        note("memory", compared, wrong.map_or(Verdict::Right, Verdict::Wrong));
        // The next GPU's test should not find this one's context in its way.
        drop(bench);
        rig.close(gpu);
    }
    Ok(report)
}

/// What a kernel for Hopper came to. One that no hardware has proven is not held against the GPU when it is wrong.
fn hopper_verdict(proof: Option<&Proof>, proven: bool, exam: impl FnOnce() -> Finding) -> Result<(u64, Verdict)> {
    Ok(match proof {
        None => (0, Verdict::Waived("this chip lacks the instruction".into())),
        Some(Err(why)) => (0, Verdict::Waived(format!("refused, and no hardware has proven this kernel yet: {why}"))),
        Some(Ok(_)) if proven => {
            let (compared, wrong) = exam()?;
            (compared, wrong.map_or(Verdict::Right, Verdict::Wrong))
        }
        Some(Ok(compared)) => (*compared, Verdict::Right),
    })
}

/// Fill a share of the free memory with a pattern and compare every word, twice.
fn memory(bench: &Bench, options: Options, stopped: &dyn Fn() -> bool) -> Finding {
    let (free, _) = bench.gpu.memory()?;
    let bytes = Bytes((free.as_f64() * options.share) as u64);
    let tested = PatternTest { bytes, passes: 2, seed: options.seed, most: Duration::MAX, stopped }.run(bench)?;
    Ok((tested.bytes.0, tested.wrong))
}

/// A check that every GPU can do.
const fn always(_: &Bench) -> bool {
    true
}

/// The first place where `found` is not what `expected` says, as `differs` judges. `None` when there is none.
fn first_wrong<T: std::fmt::Debug>(found: &[T], expected: impl Fn(u64) -> T, differs: impl Fn(&T, &T) -> bool) -> Option<String> {
    let mut wrong =
        found.iter().zip(0..).map(|(found, index)| (index, found, expected(index))).filter(|(_, found, expected)| differs(found, expected));
    let (index, found_first, expected_first) = wrong.next()?;
    Some(format!(
        "{} of {} elements, the first at {index}: expected {expected_first:?} but found {found_first:?}",
        1 + wrong.count(),
        found.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict) -> Check {
        Check { gpu: 0, name: "empty", compared: 1, verdict }
    }

    #[test]
    fn a_report_is_right_when_something_was_checked_and_nothing_is_wrong() {
        let waived = || check(Verdict::Waived("none".into()));
        assert!(!Report::default().is_right());
        assert!(!Report { checks: vec![waived()] }.is_right());
        assert!(Report { checks: vec![waived(), check(Verdict::Right)] }.is_right());
        assert!(!Report { checks: vec![check(Verdict::Right), check(Verdict::Wrong("bit".into()))] }.is_right());
    }

    #[test]
    fn the_first_wrong_element_is_named_and_all_are_counted() {
        let found = [0u64, 1, 7, 3, 9];
        let wrong = first_wrong(&found, |index| index, |a, b| a != b);
        assert_eq!(wrong.as_deref(), Some("2 of 5 elements, the first at 2: expected 2 but found 7"));
        assert_eq!(first_wrong(&found[..2], |index| index, |a, b| a != b), None);
    }
}
