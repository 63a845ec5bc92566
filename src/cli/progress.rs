//! Progress of a run, on standard error and only for a terminal.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::assay::Listener;
use crate::measure::{Case, Outcome};
use crate::probe::Moment;
use crate::probe::selftest::Check;
use crate::units::{BytesPerSecond, FlopsPerSecond, Seconds};

/// A line that shows the running case, the time left, and above it what was found.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Visible on a terminal unless `hidden`.
    pub(super) fn new(hidden: bool) -> Self {
        let bar = bar(hidden);
        // The template is a constant; the fallback only spares a panic.
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }
}

/// A line that counts the checks of a self-test.
pub(super) struct Checks {
    bar: ProgressBar,
}

impl Checks {
    /// Visible on a terminal unless `hidden`.
    pub(super) fn new(hidden: bool) -> Self {
        let bar = bar(hidden);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// A check is done.
    pub(super) fn heard(&self, check: &Check) {
        self.bar.inc(1);
        self.bar.set_message(format!("GPU {}: {} checked", check.gpu, check.name));
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(hidden: bool) -> ProgressBar {
    let visible = !hidden && io::stderr().is_terminal();
    ProgressBar::with_draw_target(None, if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() })
}

impl Listener for Progress {
    fn begins(&mut self, case: &Case, done: usize, total: usize, left: Seconds) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.bar.set_prefix(format!("about {:.0} s left", left.0.ceil()));
        self.bar.set_message(case.to_string());
    }

    fn proceeds(&mut self, case: &Case, now: Moment) {
        self.bar.set_prefix(format!("about {:.0} s left", (now.length.0 - now.passed.0).max(0.0).ceil()));
        self.bar.set_message(standing(case, now));
    }

    fn ends(&mut self, outcome: &Outcome) {
        self.bar.println(line(outcome));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How a load stands, in one line.
fn standing(case: &Case, now: Moment) -> String {
    let clock = now.clock.map(|clock| format!(", {}", clock.display(3))).unwrap_or_default();
    let power = now.power.map(|power| format!(", {}", power.display(3))).unwrap_or_default();
    format!("{}: GPU {} {}{clock}{power}", case.mechanism(), now.gpu, now.rate.display(3))
}

/// What became of a case, in one line.
fn line(outcome: &Outcome) -> String {
    let case = outcome.case();
    match outcome {
        Outcome::Measured(measurement) => {
            let found = measurement
                .throughput()
                .map(|rate| FlopsPerSecond(rate.point).to_string())
                .or_else(|| measurement.bandwidth().map(|rate| BytesPerSecond(rate.point).to_string()))
                .or_else(|| measurement.latency().map(|time| Seconds(time.point).to_string()))
                .unwrap_or_default();
            format!("{case}  {found}")
        }
        Outcome::Observed(observation) => format!("{case}  {}", observation.bytes.approximate()),
        Outcome::Waived { waiver, .. } => format!("{case}  waived: {waiver}"),
        Outcome::Failed { error, .. } => format!("{case}  FAILED: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Waiver;

    #[test]
    fn a_load_that_takes_long_says_how_it_stands() {
        let now = Moment {
            gpu: 1,
            rate: FlopsPerSecond(6.12e14),
            clock: Some(crate::units::Hertz(1.62e9)),
            power: Some(crate::units::Watts(698.0)),
            passed: Seconds(10.0),
            length: Seconds(60.0),
        };
        let case = Case::new("sustained.bf16").count("gpu", 1);
        assert_eq!(standing(&case, now), "sustained.bf16: GPU 1 612 TFLOP/s, 1.62 GHz, 698 W");
        assert_eq!(standing(&case, Moment { clock: None, power: None, ..now }), "sustained.bf16: GPU 1 612 TFLOP/s");
    }

    #[test]
    fn a_line_says_what_became_of_the_case() {
        let case = Case::new("peer.write").count("from", 0).count("to", 1);
        let waived = Outcome::Waived { case: case.clone(), waiver: Waiver::TooFewDevices { needed: 2, found: 1 } };
        assert_eq!(line(&waived), "peer.write/from=0,to=1  waived: needs 2 GPUs, found 1");
        let failed = Outcome::Failed { case, error: "copying: gone".to_owned(), wrong_answer: false };
        assert_eq!(line(&failed), "peer.write/from=0,to=1  FAILED: copying: gone");
    }
}
