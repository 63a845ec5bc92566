//! The real program on a stand-in machine.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod truth;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gpu_assay::record::Run;
use gpu_assay_standin::Standin;

/// Probes that need the GPU; host and storage are not the driver's business.
pub const GPU_PROBES: [&str; 7] = ["dram", "cache", "matmul", "copy", "peer", "launch", "memory"];

/// A stand-in machine with a folder for results and locks that nobody else uses.
pub struct Bench {
    pub standin: Standin,
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn named(scenario: &str) -> Self {
        Self { standin: Standin::named(scenario).unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    pub fn file(path: &Path) -> Self {
        Self { standin: Standin::with_file(path).unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    pub fn text(scenario: &str) -> Self {
        Self { standin: Standin::with_text(scenario).unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    /// The program with these arguments, ready to start.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.standin.command(env!("CARGO_BIN_EXE_gpu-assay"));
        command
            .current_dir(self.folder.path())
            .env("TMPDIR", self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null())
            .arg("--no-progress")
            .args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn result(&self) -> PathBuf {
        self.folder.path().join("r.json")
    }

    /// Measure with the GPU's probes into [`Self::result`].
    pub fn measure(&self) -> (Output, Run) {
        let output = self.run(&[&["measure", "--effort", "quick", "--time", "100 ms", "-o", "r.json"], &GPU_PROBES[..]].concat());
        let run = Run::read(&self.result()).unwrap_or_else(|error| panic!("{error}\n{}", stderr(&output)));
        (output, run)
    }
}

/// The text of one of the stand-in's scenarios.
pub fn scenario(name: &str) -> String {
    std::fs::read_to_string(Standin::scenarios().join(format!("{name}.toml"))).unwrap()
}

/// The machine of a scenario at its full size, whose products nobody computes and whose memory nobody fills.
pub fn full_size(scenario: &str) -> String {
    let sized = |line: &&str| !line.starts_with("scale = ") && !line.starts_with("l2_scale = ");
    let text: Vec<&str> = scenario.lines().filter(sized).collect();
    text.join("\n").replacen("[driver]", "[driver]\nproducts = false\npatterns = false", 1)
}

/// What `gpu-assay measure` with these arguments records on the machine of `scenario`.
pub fn measured(scenario: &str, arguments: &[&str]) -> (Bench, Run) {
    let bench = Bench::text(scenario);
    let output = bench.run(&[&["measure", "-o", "r.json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = Run::read(&bench.result()).unwrap();
    (bench, run)
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A line in the test's output that the harness does not capture: what a sweep has covered is worth seeing when it passes, too.
pub fn tell(line: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Waits for `child`; `None` when it took longer than `limit` and was killed.
pub fn wait(mut child: Child, limit: Duration) -> Option<Output> {
    let begun = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return Some(child.wait_with_output().unwrap());
        }
        if begun.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does `job` for every item, on as many threads as there are processors.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], job: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(items.len().max(1));
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else { return done };
                        done.push((index, job(item)));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
