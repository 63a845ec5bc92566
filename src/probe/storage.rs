//! What the disk under the scratch folder does: sequential reads and writes, and random reads, without the page cache.
//!
//! The file is opened with `O_DIRECT` and has no name, so a run that is killed leaves nothing behind. It takes at most a twentieth of the
//! free space, and no more than a bound that grows with the effort; on a slow disk it ends where the time for laying it out ends. Its
//! contents are pseudo-random, so that compression cannot flatter, and every 4 KiB carry their own offset, which every read is checked by.
//!
//! **Queue.** A device is fast only with several requests under way. So many threads (the case's `depth`) each have one blocking request at
//! a time; together they go through the file in order, or pick random offsets. They never pause: a sample is the time in which so many
//! further requests complete *while the queue stays full*, which is what fio's `iodepth` measures, without the draining at the end of every
//! batch that would take a share of the rate.
//!
//! What is measured is the volume as this machine sees it: behind a cloud's volume or a controller there are caches that a file of this
//! size may fit in, and writes are not followed by a flush (as with fio's defaults). A disk whose provider meters its rate gives first the
//! burst, then the metered rate; the raw samples show it.

mod queue;

use super::{Effort, Lab, Probe};
use crate::error::{Error, Result};
use crate::host::DirectFile;
use crate::host::direct::{NoDirectFile, free_space};
use crate::machine::Machine;
use crate::measure::{Case, HostClock, Outcome, Trial, Waiver, Work};
use crate::telemetry::Unwatched;
use crate::units::{Bytes, Seconds};

use queue::{Pattern, Queue, Request};

/// The `storage` probe: cases `storage.{write,read,random_read}/bytes=…,depth=…`, where `bytes` is the size of one request.
#[derive(Debug, Clone, Copy)]
pub struct Storage;

/// Request size of the sequential cases.
const SEQUENTIAL: Bytes = Bytes::MIB;
/// Requests under way in the sequential cases.
const SEQUENTIAL_DEPTH: u64 = 8;
/// Request size of the random cases.
const RANDOM: Bytes = Bytes::kib(4);
/// Less than this says nothing.
const LEAST_FILE: Bytes = Bytes::mib(16);

impl Probe for Storage {
    fn name(&self) -> &'static str {
        "storage"
    }

    fn about(&self) -> &'static str {
        "sequential write and read and random 4 KiB reads of the disk under the scratch folder, past the page cache"
    }

    fn needs(&self, _machine: &Machine) -> Result<(), Waiver> {
        Ok(())
    }

    fn cases(&self, _machine: &Machine, _effort: Effort) -> Vec<Case> {
        let case = |mechanism: &str, bytes, depth| Case::new(mechanism).bytes("bytes", bytes).count("depth", depth);
        vec![
            case("storage.write", SEQUENTIAL, SEQUENTIAL_DEPTH),
            case("storage.read", SEQUENTIAL, SEQUENTIAL_DEPTH),
            case("storage.random_read", RANDOM, 32),
            case("storage.random_read", RANDOM, 1),
        ]
    }

    fn run(&self, case: &Case, lab: &mut Lab<'_>) -> Result<Outcome> {
        let pattern = match case.mechanism() {
            "storage.write" => Pattern::Write,
            "storage.read" => Pattern::Read,
            "storage.random_read" => Pattern::RandomRead { seed: lab.seed },
            _ => return Err(Error::usage(format!("no case {case}; `gpu-assay measure --list` shows those there are"))),
        };
        let failed = |doing: &'static str, source| Error::File { doing, path: lab.scratch.to_owned(), source, remedy: REMEDY };
        let free = free_space(lab.scratch).map_err(|source| failed("looking for space in", source))?;
        let size = file_size(lab.effort, free);
        let waived = |waiver| Ok(Outcome::Waived { case: case.clone(), waiver });
        if size < LEAST_FILE {
            return waived(Waiver::Memory { needed: LEAST_FILE * SHARE_OF_FREE, available: free });
        }
        let file = match DirectFile::new(lab.scratch) {
            Ok(file) => file,
            Err(NoDirectFile::InMemory) => {
                return waived(Waiver::Unsupported { what: "the scratch folder is in memory, so there is no disk to measure".to_owned() });
            }
            Err(NoDirectFile::Refused) => {
                let what = "O_DIRECT: the scratch folder's file system refuses it, and without it the page cache would be measured";
                return waived(Waiver::Unsupported { what: what.to_owned() });
            }
            Err(NoDirectFile::Failed(source)) => return Err(failed("creating a file in", source)),
        };
        measure(case, lab, file, size, pattern)
    }
}

const REMEDY: &str = "check that the folder can be written and its disk is well, or give another with --results";

/// The file takes at most this share of the free space.
const SHARE_OF_FREE: u64 = 20;

fn file_size(effort: Effort, free: Bytes) -> Bytes {
    let most = match effort {
        Effort::Quick => Bytes::mib(512),
        Effort::Standard => Bytes::gib(1),
        Effort::Thorough => Bytes::gib(4),
    };
    most.min(free / SHARE_OF_FREE).round_down_to(SEQUENTIAL)
}

fn measure(case: &Case, lab: &Lab<'_>, file: DirectFile, size: Bytes, pattern: Pattern) -> Result<Outcome> {
    let failed = |what: String| Error::measurement(case.to_string(), what);
    let contents = queue::contents(lab.seed).map_err(|error| failed(error.to_string()))?;
    file.reserve(size);
    // Laying the file out takes as long as measuring it may; what is not written by then is not part of the file.
    let patience = lab.budget.max(Seconds(0.5));
    let size = queue::lay_out(&file, &contents, size, SEQUENTIAL_DEPTH, patience, lab.stopped).map_err(failed)?;
    if (lab.stopped)() {
        return Err(Error::Interrupted);
    }
    let bytes = case.get_bytes("bytes").unwrap_or(SEQUENTIAL);
    let depth = case.get_count("depth").unwrap_or(1);
    let request = Request { pattern, bytes, depth, size };
    let mut trial = Requests { case: case.clone(), request, queue: Queue::start(file, contents, request).map_err(failed)? };
    let mut plan = lab.plan(2.0);
    // Long enough that one request more or less is nothing.
    plan.batch = plan.batch.max(Seconds(0.02));
    let mut measurement = lab.sample(case, &mut trial, &mut HostClock::new(), &mut Unwatched, &plan)?;
    let conditions = [
        ("engine", "O_DIRECT, one blocking request per thread"),
        ("order", if matches!(pattern, Pattern::RandomRead { .. }) { "random" } else { "sequential" }),
        ("data", "pseudo-random, 4 KiB stamped with their offset"),
        ("flush", "none"),
    ];
    measurement.conditions.extend(conditions.map(|(key, value)| (key.to_owned(), value.to_owned())));
    measurement.conditions.insert("file".to_owned(), size.to_string());
    measurement.conditions.insert("seed".to_owned(), lab.seed.to_string());
    Ok(Outcome::Measured(Box::new(measurement)))
}

/// Requests as a trial: an iteration is one request of a queue that is full all the time.
struct Requests {
    case: Case,
    request: Request,
    queue: Queue,
}

impl Trial for Requests {
    fn enqueue(&mut self, iterations: u64) -> Result<()> {
        self.queue.complete(iterations).map_err(|what| Error::measurement(self.case.to_string(), what))
    }

    fn work(&self) -> Work {
        Work::moving(self.request.bytes)
    }

    fn check(&mut self) -> Result<Option<String>> {
        self.queue.check().map_err(|what| Error::measurement(self.case.to_string(), what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Region;

    #[test]
    fn files_stay_within_a_twentieth_of_the_free_space() {
        assert_eq!(file_size(Effort::Quick, Bytes::gib(100)), Bytes::mib(512));
        assert_eq!(file_size(Effort::Quick, Bytes::gib(1)), Bytes::mib(51));
        assert_eq!(file_size(Effort::Thorough, Bytes::gib(40)), Bytes::gib(2));
        assert_eq!(file_size(Effort::Quick, Bytes(0)), Bytes(0));
    }

    fn requests(folder: &std::path::Path, mechanism: &str, pattern: Pattern, bytes: Bytes, depth: u64) -> Option<Requests> {
        let file = match DirectFile::new(folder) {
            Ok(file) => file,
            Err(NoDirectFile::Failed(error)) => panic!("{error}"),
            Err(_) => return None,
        };
        let contents = queue::contents(3).unwrap();
        let size = queue::lay_out(&file, &contents, Bytes::mib(4), 4, Seconds(60.0), &|| false).unwrap();
        assert_eq!(size, Bytes::mib(4));
        let request = Request { pattern, bytes, depth, size };
        Some(Requests { case: Case::new(mechanism), request, queue: Queue::start(file, contents, request).unwrap() })
    }

    #[test]
    fn every_pattern_moves_what_it_says_and_passes_its_check() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for (pattern, bytes, depth) in [
            (Pattern::Write, Bytes::MIB, 3),
            (Pattern::Read, Bytes::MIB, 8),
            (Pattern::RandomRead { seed: 1 }, Bytes::kib(4), 5),
            (Pattern::RandomRead { seed: 1 }, Bytes::kib(4), 1),
        ] {
            let Some(mut trial) = requests(folder.path(), "storage.test", pattern, bytes, depth) else { return };
            trial.enqueue(1).unwrap();
            trial.enqueue(40).unwrap();
            assert_eq!(trial.work(), Work::moving(bytes));
            assert_eq!(trial.check().unwrap(), None, "{pattern:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn contents_that_are_not_what_was_written_are_found() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let Ok(file) = DirectFile::new(folder.path()) else { return };
        let contents = queue::contents(3).unwrap();
        let size = queue::lay_out(&file, &contents, Bytes::mib(2), 2, Seconds(60.0), &|| false).unwrap();
        // One block is written where another belongs.
        let mut region = Region::new(RANDOM, None).unwrap();
        file.read(region.as_mut_slice(), 0).unwrap();
        file.write(region.as_slice(), 8192).unwrap();
        let request = Request { pattern: Pattern::Read, bytes: Bytes::MIB, depth: 2, size };
        let mut queue = Queue::start(file, contents, request).unwrap();
        queue.complete(4).unwrap();
        assert_eq!(queue.check().unwrap(), Some("expected the block of offset 8192 but found that of 0".to_owned()));
    }
}
