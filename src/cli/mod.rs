//! The command line: the arguments, and one file per subcommand. The only code that prints.
//!
//! A subcommand turns its arguments into a call of the library, hands what comes back to a renderer, and returns the exit status. Results
//! go to standard output, progress and errors to standard error; an error is one line.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::catalog::{Catalog, Shelf};
use crate::error::{Error, Result};
use crate::lang::Lang;
use crate::probe::Effort;
use crate::table::Table;
use crate::units::Seconds;

mod accuracy;
mod compare;
mod estimate;
mod export;
mod guide;
mod inspect;
mod measure;
mod model;
mod plan;
mod progress;
mod records;
mod report;
mod results;
mod run;
mod selftest;
mod stop;
mod try_kernels;
mod validate;
mod verify;

/// Measures what a GPU machine really does, and plans with those numbers.
///
/// Without a command: inspect this machine, measure it, save the result, and print the hardware guide with its numbers.
#[derive(Debug, Parser)]
#[command(name = "gpu-assay", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    measuring: Measuring,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Inspect, measure, save and print the guide with its summary (what happens without a command)
    Run(Measuring),
    /// Show what this machine is: GPUs, links, driver, libraries, CPU, NUMA, memory, disks, limits
    Inspect {},
    /// Run probes and write a result file
    Measure(measure::Arguments),
    /// Check every kernel's answer against a host reference, and the memory against a pattern
    Selftest(selftest::Arguments),
    /// Show what a model consists of: parameters by module, shapes, cache per token
    Model(model::Arguments),
    /// Estimate what training or running a model takes, and whether it fits
    Estimate(estimate::Arguments),
    /// Search machines, how many of them and how to share a job among them: the fastest and the cheapest
    Plan(plan::Arguments),
    /// Print the hardware guide's tables with this machine's numbers in them
    Guide(guide::Arguments),
    /// Say whether this is the machine that was paid for
    Validate(validate::Arguments),
    /// Write one self-contained page with plots about one or more recorded machines
    Report(report::Arguments),
    /// Set machines side by side: SAME, FASTER, SLOWER or UNCLEAR per metric
    Compare(compare::Arguments),
    /// Say whether result files are what was written, and who signed them
    Verify(verify::Arguments),
    /// Show the recorded machines side by side, or write the page about them
    Records(records::Arguments),
    /// Write a result file's numbers in the format of another program
    Export(export::Arguments),
    /// Say how wrong the calibrated models are on somebody's measurements
    Accuracy(accuracy::Arguments),
    /// Try kernels that no hardware has proven; this program calls itself so
    #[command(hide = true)]
    TryKernels(try_kernels::Arguments),
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,

    /// Result file to take measurements from, instead of the newest of this machine
    #[arg(long, value_name = "FILE", global = true)]
    calibration: Option<PathBuf>,

    /// Catalog file to lay over the built-in one [default: gpu-assay/catalog.toml in the user's configuration directory, where there is one]
    #[arg(long, value_name = "FILE", global = true)]
    catalog: Option<PathBuf>,

    /// Folder of result files [default: results/ here if it exists, else the user's data directory]
    #[arg(long, value_name = "DIR", global = true)]
    results: Option<PathBuf>,

    /// Language of the guide, of `inspect` and of reports
    #[arg(long, value_enum, default_value_t = Language::En, global = true)]
    lang: Language,

    /// Show no progress
    #[arg(long, global = true)]
    no_progress: bool,
}

/// Options of the commands that measure.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Measuring {
    /// How thorough: quick (20 s for one GPU), standard (90 s), thorough (minutes) [default: standard for measure, else quick]
    #[arg(long, value_enum)]
    effort: Option<EffortArgument>,

    /// Sampled time that the GPU's cases, and the host's, may take together, such as "30 s" or "5 min" [default: what --effort says]
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<Seconds>,

    /// GPUs to use, by number or UUID, separated by commas [default: all]
    #[arg(long, value_name = "0,1|UUID", value_delimiter = ',')]
    gpu: Vec<String>,

    /// Result file to write [default: MACHINE.json in the results folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Seed of all generated data [default: 1]
    #[arg(long)]
    seed: Option<u64>,

    /// Folder the storage probe writes its temporary file in [default: the result file's folder]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// Keep GPU UUIDs and mount points in the result file instead of digests
    #[arg(long)]
    identify: bool,

    /// Sign the finished result file with this Ed25519 key: PKCS#8 PEM of `openssl genpkey -algorithm ed25519`, or a seed in hexadecimal
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
}

/// A time for people who mean minutes.
fn time(text: &str) -> std::result::Result<Seconds, String> {
    let trimmed = text.trim();
    for (unit, seconds) in [("min", 60.0), ("h", 3600.0)] {
        if let Some(number) = trimmed.strip_suffix(unit).and_then(|number| number.trim().parse::<f64>().ok()) {
            return Ok(Seconds(number * seconds));
        }
    }
    trimmed.parse::<Seconds>().map_err(|error| error.to_string())
}

impl Measuring {
    /// These options, and those given before the command's name where these say nothing.
    fn or(&self, before: &Self) -> Self {
        Self {
            effort: self.effort.or(before.effort),
            time: self.time.or(before.time),
            gpu: if self.gpu.is_empty() { before.gpu.clone() } else { self.gpu.clone() },
            output: self.output.clone().or_else(|| before.output.clone()),
            seed: self.seed.or(before.seed),
            scratch: self.scratch.clone().or_else(|| before.scratch.clone()),
            identify: self.identify || before.identify,
            sign: self.sign.clone().or_else(|| before.sign.clone()),
        }
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EffortArgument {
    Quick,
    Standard,
    Thorough,
}

impl From<EffortArgument> for Effort {
    fn from(argument: EffortArgument) -> Self {
        match argument {
            EffortArgument::Quick => Self::Quick,
            EffortArgument::Standard => Self::Standard,
            EffortArgument::Thorough => Self::Thorough,
        }
    }
}

/// Languages of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    /// English
    En,
    /// Korean
    Ko,
}

impl From<Language> for Lang {
    fn from(language: Language) -> Self {
        match language {
            Language::En => Self::En,
            Language::Ko => Self::Ko,
        }
    }
}

/// Forms of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, at a terminal
    Text,
    /// For documents
    Markdown,
    /// For spreadsheets
    Csv,
    /// For programs
    Json,
    /// For a browser; `report` only
    Html,
}

/// How a command that ran to its end is judged by a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Done.
    Done,
    /// The verdict asked for is no.
    Fail,
    /// Some measurement failed or was wrong; the rest stands.
    SomeFailed,
    /// The verdict asked for cannot be given.
    Unknown,
}

impl Status {
    fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Fail => 1,
            Self::SomeFailed => 4,
            Self::Unknown => 5,
        }
    }
}

/// The program's arguments, for manual pages and shell completions.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parse the process's arguments, do what they say, and return the exit code. Errors are printed as one line.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report_usage(&error),
    };
    match dispatch(&cli) {
        Ok(status) => status.exit_code(),
        Err(error) => {
            let code = error.exit_code();
            if code != 0 {
                complain(&error.to_string());
            }
            code
        }
    }
}

fn dispatch(cli: &Cli) -> Result<Status> {
    let before = &cli.measuring;
    let measures = matches!(&cli.command, None | Some(Command::Run(_) | Command::Selftest(_) | Command::Measure(_) | Command::Validate(_)));
    if !measures && *before != Measuring::default() {
        return Err(Error::usage("options of measuring stand before a command that measures nothing; leave them out"));
    }
    if cli.common.format == Format::Html && !matches!(&cli.command, Some(Command::Report(_))) {
        return Err(Error::usage("--format html is for `gpu-assay report`; choose text, markdown, csv or json here"));
    }
    match &cli.command {
        None => run::run(&cli.common, before),
        Some(Command::Run(own)) => run::run(&cli.common, &own.or(before)),
        Some(Command::Inspect {}) => inspect::inspect(&cli.common),
        Some(Command::Model(arguments)) => model::model(&cli.common, arguments),
        Some(Command::Estimate(arguments)) => estimate::estimate(&cli.common, arguments),
        Some(Command::Plan(arguments)) => plan::plan(&cli.common, arguments),
        Some(Command::Report(arguments)) => report::report(&cli.common, arguments),
        Some(Command::TryKernels(arguments)) => try_kernels::try_kernels(arguments),
        Some(Command::Accuracy(arguments)) => accuracy::accuracy(&cli.common, arguments),
        Some(Command::Compare(arguments)) => compare::compare(&cli.common, arguments),
        Some(Command::Records(arguments)) => records::records(&cli.common, arguments),
        Some(Command::Export(arguments)) => export::export(&cli.common, arguments),
        Some(Command::Verify(arguments)) => verify::verify(&cli.common, arguments),
        Some(Command::Guide(arguments)) => guide::guide(&cli.common, arguments),
        Some(Command::Selftest(arguments)) => selftest::selftest(&cli.common, &arguments.measuring.or(before), arguments),
        Some(Command::Validate(arguments)) => validate::validate(&cli.common, &arguments.measuring.or(before), arguments),
        Some(Command::Measure(arguments)) => measure::measure(&cli.common, &arguments.measuring.or(before), arguments),
    }
}

/// Help and version go to standard output and are no error; everything else is one line that says what to do.
fn report_usage(error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        return match print(&error.render().to_string()) {
            Ok(()) => 0,
            Err(error) => error.exit_code(),
        };
    }
    let rendered = error.render().to_string();
    let lines: Vec<&str> = rendered.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said: Vec<&str> =
        lines.iter().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information")).copied().collect();
    let text = said.join(" ");
    complain(&format!("{}; see `gpu-assay --help`", text.strip_prefix("error: ").unwrap_or(&text)));
    2
}

/// One line on standard error. A closed standard error is nobody's to complain to.
fn complain(text: &str) {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "gpu-assay: {line}");
}

/// Text on standard output, all of it or an error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
}

/// Tables on standard output in the form asked for.
fn print_tables(tables: &[Table], common: &Common) -> Result<()> {
    use crate::report::Format as Form;
    let form = match common.format {
        // Refused before any command but `report` runs, and that one prints no tables.
        Format::Text | Format::Html => Form::Text { width: Some(width()) },
        Format::Markdown => Form::Markdown,
        Format::Csv => Form::Csv,
        Format::Json => Form::Json,
    };
    print(&crate::report::render(tables, form))
}

/// Columns of the terminal; 100 where standard output is not one, so that files do not depend on a window.
fn width() -> usize {
    const DEFAULT: usize = 100;
    if !io::stdout().is_terminal() {
        return DEFAULT;
    }
    rustix::termios::tcgetwinsize(io::stdout()).map_or(DEFAULT, |size| usize::from(size.ws_col).clamp(60, 400))
}

/// The catalog: the built-in one, with the file asked for, or the user's own, laid over it.
fn catalog(common: &Common) -> Result<Catalog> {
    catalog_of(common, &Shelf::ALL)
}

/// The same where only these lists are needed; with a file of the user's all are read, since its entries refer to each other.
fn catalog_of(common: &Common, shelves: &[Shelf]) -> Result<Catalog> {
    if let Some(path) = &common.catalog {
        return Catalog::with_file(path);
    }
    let own = user_folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("gpu-assay/catalog.toml"));
    own.filter(|path| path.exists()).map_or_else(|| Catalog::embedded_only(shelves), |path| Catalog::with_file(&path))
}

/// A folder of the user's: what `variable` names, else `usual` in the home. A relative path is nobody's folder.
fn user_folder(variable: &str, usual: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(usual)))
}

/// The folder of result files: asked for, or `results` here, or the user's data directory.
fn results_folder(common: &Common) -> Result<PathBuf> {
    if let Some(folder) = &common.results {
        return Ok(folder.clone());
    }
    let here = Path::new("results");
    if here.is_dir() {
        return Ok(here.to_owned());
    }
    user_folder("XDG_DATA_HOME", ".local/share")
        .map(|data| data.join("gpu-assay/results"))
        .ok_or_else(|| Error::usage("finding the results folder: neither HOME nor XDG_DATA_HOME is set; name one with --results DIR"))
}
