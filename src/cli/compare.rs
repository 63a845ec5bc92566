//! `compare`: several records side by side.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Common, Format, Status, catalog, print, print_tables, results};
use crate::error::{Error, Result};
use crate::record::Run;
use crate::report::{self, ComparisonView};
use crate::units::Usd;
use crate::verdict::{self, Answer, Comparison, Entrant, MOST_RECORDS, THRESHOLD, Terms, Verdict};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Result files, two or more; the first is the baseline
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Hold the others against this file
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Smallest change that matters, in percent [default: 2]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    threshold: Option<f64>,

    /// USD per GPU and hour: of one record as FILE=USD, or of all in their order, separated by commas [default: the catalog's of the GPU]
    #[arg(long, value_name = "FILE=USD|USD,USD,…")]
    price: Vec<String>,

    /// End with exit code 1 where any metric of the machine is so, with 5 where nothing can be told
    #[arg(long, value_name = "ANSWER", value_enum)]
    fail_on: Vec<FailOn>,

    /// Look only at metrics and cases that begin so; a * stands for anything
    #[arg(long, value_name = "PATTERN")]
    metric: Vec<String>,

    /// Show every GPU and every case, not only those that changed
    #[arg(long)]
    all: bool,

    /// Compare simulated with real records, too
    #[arg(long)]
    mix_simulated: bool,
}

/// Answers that a script can be warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Slower by more than the margin
    Slower,
    /// It cannot be told
    Unclear,
    /// Only one record has it
    Missing,
}

impl From<FailOn> for Answer {
    fn from(argument: FailOn) -> Self {
        match argument {
            FailOn::Slower => Self::Slower,
            FailOn::Unclear => Self::Unclear,
            FailOn::Missing => Self::Missing,
        }
    }
}

pub(super) fn compare(common: &Common, arguments: &Arguments) -> Result<Status> {
    let (files, baseline) = files(arguments)?;
    let prices = prices(&arguments.price, &files)?;
    let runs: Vec<Run> = files.iter().map(|file| Run::read(file)).collect::<Result<_>>()?;
    if !arguments.mix_simulated {
        refuse_to_mix(&files, &runs)?;
    }
    let catalog = catalog(common)?;
    let (others, unreadable) = others(common, &runs);
    let entrants: Vec<Entrant<'_>> =
        files.iter().zip(&runs).zip(prices).map(|((file, run), price)| Entrant { file: file.display().to_string(), run, price }).collect();
    let terms = Terms {
        baseline,
        threshold: arguments.threshold.unwrap_or(THRESHOLD),
        others: &others,
        catalog: &catalog,
        wanted: &arguments.metric,
        lang: common.lang.into(),
    };
    let mut comparison = verdict::compare(&entrants, &terms);
    comparison.notes.extend(unreadable);
    refuse_nothing(&comparison, &entrants, &terms)?;
    show(&comparison, common, arguments.all)?;
    Ok(status(&comparison, &arguments.fail_on))
}

/// The files in their order, with the baseline's place: the first, or one that was named, before the others if it is none of them.
fn files(arguments: &Arguments) -> Result<(Vec<PathBuf>, usize)> {
    let mut files = arguments.files.clone();
    let baseline = match &arguments.baseline {
        None => 0,
        Some(wanted) => files.iter().position(|file| file == wanted).unwrap_or_else(|| {
            files.insert(0, wanted.clone());
            0
        }),
    };
    if !(2..=MOST_RECORDS).contains(&files.len()) {
        return Err(Error::usage(format!("comparing records: expected 2 to {MOST_RECORDS} result files but found {}", files.len())));
    }
    Ok((files, baseline))
}

/// A share from a number of percent: `2`, `2%` or `2 %`.
fn percent(text: &str) -> std::result::Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end().parse::<f64>();
    match number {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("expected a percentage above 0 and up to 100".to_owned()),
    }
}

/// A price for each file, where one is given.
fn prices(given: &[String], files: &[PathBuf]) -> Result<Vec<Option<Usd>>> {
    let mut prices = vec![None; files.len()];
    for text in given {
        if let Some((file, usd)) = text.rsplit_once('=') {
            let place = files.iter().position(|other| other == Path::new(file));
            let place =
                place.ok_or_else(|| Error::usage(format!("--price {text}: expected one of the files compared but found {file:?}")))?;
            prices[place] = Some(price(usd)?);
            continue;
        }
        let all: Vec<&str> = text.split(',').collect();
        if all.len() != files.len() {
            let (expected, found) = (files.len(), all.len());
            return Err(Error::usage(format!("--price {text}: expected {expected} prices, one for each file in order, but found {found}")));
        }
        for (place, usd) in prices.iter_mut().zip(all) {
            *place = Some(price(usd)?);
        }
    }
    Ok(prices)
}

fn price(text: &str) -> Result<Usd> {
    match text.trim().parse::<f64>() {
        Ok(usd) if usd > 0.0 && usd <= 1e6 => Ok(Usd(usd)),
        _ => Err(Error::usage(format!("--price: expected USD per GPU and hour, above 0 and up to 1000000, but found {text:?}"))),
    }
}

/// A scenario's numbers are no machine's.
fn refuse_to_mix(files: &[PathBuf], runs: &[Run]) -> Result<()> {
    let find = |simulated: bool| runs.iter().position(|run| run.simulated == simulated).map(|place| files[place].display());
    match (find(true), find(false)) {
        (Some(simulated), Some(real)) => Err(Error::usage(format!(
            "comparing records: {simulated} is simulated and {real} is not, so their numbers are not of one kind; ask for it with --mix-simulated"
        ))),
        _ => Ok(()),
    }
}

/// Every other record in the results folder, and a word about files there that are none. A folder that is not there holds none.
fn others(common: &Common, compared: &[Run]) -> (Vec<Run>, Vec<String>) {
    let is_compared = |run: &Run| compared.iter().any(|own| (&own.name, &own.started) == (&run.name, &run.started));
    let mut notes = Vec::new();
    let mut runs = Vec::new();
    for (path, read) in results::all(common) {
        match read {
            Ok(run) if !is_compared(&run) => runs.push(run),
            Ok(_) => {}
            Err(error) => notes.push(format!("{}: {error}", path.display())),
        }
    }
    (runs, notes)
}

/// A comparison of nothing would read like one that found nothing.
fn refuse_nothing(comparison: &Comparison, entrants: &[Entrant<'_>], terms: &Terms<'_>) -> Result<()> {
    if !comparison.is_empty() {
        return Ok(());
    }
    let all = verdict::compare(entrants, &Terms { wanted: &[], ..*terms });
    let ids: Vec<&str> = all.metrics.iter().map(|row| row.id.as_str()).collect();
    Err(Error::usage(if ids.is_empty() {
        "comparing records: none of them has measured anything; measure with `gpu-assay measure`".to_owned()
    } else {
        format!(
            "--metric {:?}: no metric and no case that two records share begins so; the metrics are {}",
            terms.wanted.join(", "),
            ids.join(", ")
        )
    }))
}

fn show(comparison: &Comparison, common: &Common, all: bool) -> Result<()> {
    if common.format == Format::Json {
        let text = serde_json::to_string_pretty(comparison).map_err(|error| Error::measurement("writing the comparison", error))?;
        return print(&format!("{}\n", report::escaped(&text)));
    }
    let is_for_programs = common.format == Format::Csv;
    let view = ComparisonView { all: all || is_for_programs, long: is_for_programs, lang: common.lang.into() };
    print_tables(&report::comparison(comparison, view), common)
}

fn status(comparison: &Comparison, fail_on: &[FailOn]) -> Status {
    if fail_on.is_empty() {
        return Status::Done;
    }
    let answers: Vec<Answer> = fail_on.iter().copied().map(Answer::from).collect();
    match comparison.gate(&answers) {
        Verdict::Pass => Status::Done,
        Verdict::Fail => Status::Fail,
        Verdict::Unknown => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_positive_numbers_with_or_without_a_sign() {
        assert_eq!(["2", "2%", " 2 % "].map(|text| percent(text).ok()), [Some(0.02); 3]);
        assert!(["0", "-1", "101", "NaN", "inf", "", "x"].iter().all(|text| percent(text).is_err()));
    }

    #[test]
    fn prices_go_to_their_files() {
        let files = [PathBuf::from("a.json"), PathBuf::from("b=1.json")];
        let read = |given: &[&str]| prices(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &files);
        assert_eq!(read(&["1.5,2"]).unwrap(), [Some(Usd(1.5)), Some(Usd(2.0))]);
        assert_eq!(read(&["b=1.json=3"]).unwrap(), [None, Some(Usd(3.0))]);
        for wrong in ["1", "1,2,3", "c.json=1", "a.json=free", "0,1", "a.json=NaN"] {
            assert_eq!(read(&[wrong]).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
