//! The errors that the kernel driver reported about the GPUs while they were measured.
//!
//! An **XID** is the number under which the kernel driver logs an error of a GPU (79 is "fallen off the bus", 48 an uncorrectable memory
//! error). The log itself is seldom readable in a container, but NVML tells a process that asks for it of every XID from then on. So there
//! is one set of events per GPU, opened before the first case and asked after each. One set each, because a GPU that has gone no longer says
//! who it is, and because one GPU's refusal (a vGPU, a container) must not silence the others.
//!
//! NVML remembers the last XID only: of several between two questions it says the last number as often as there were errors.

use nvml_wrapper::EventSet;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;

use crate::machine::nvml::Nvml;
use crate::machine::{Fact, Gpu, Machine};

/// What stands for a number that NVML does not know either (`nvml.h`, `nvmlEventData_t`).
const UNKNOWN_XID: u32 = 999;

/// Events to take in at once: a GPU that reports without end must not hold the run.
const MOST_EVENTS: usize = 64;

/// Listens for XIDs of the GPUs of a run, from when it is made.
pub struct XidWatch<'nvml> {
    sets: Vec<(u32, EventSet<'nvml>)>,
    /// Why a GPU is not or no longer listened to; the first reason.
    deaf: Option<String>,
}

impl std::fmt::Debug for XidWatch<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("XidWatch").field("deaf", &self.deaf).finish_non_exhaustive()
    }
}

impl<'nvml> XidWatch<'nvml> {
    /// Listen to the GPUs of `machine` with these indices, as far as NVML lets this process.
    pub fn new<E: std::fmt::Display>(nvml: Result<&'nvml Nvml, E>, machine: &Machine, gpus: &[u32]) -> Self {
        let mut measured = machine.gpus.iter().filter(|gpu| gpus.contains(&gpu.index)).peekable();
        let deaf = measured.peek().is_none().then(|| "no GPU was measured".to_owned());
        let mut watch = Self { sets: Vec::new(), deaf };
        let mut boards = Vec::new();
        match nvml {
            Ok(nvml) => measured.for_each(|gpu| watch.listen(nvml, gpu, &mut boards)),
            Err(error) => watch.gives_up(error.to_string()),
        }
        watch
    }

    /// Listen to one GPU. A slice of a GPU has no events of its own: its board is listened to, once, for the first slice of it.
    fn listen(&mut self, nvml: &'nvml Nvml, gpu: &Gpu, boards: &mut Vec<String>) {
        let opened = nvml.board(&gpu.uuid).and_then(|board| board.uuid()).and_then(|board| {
            if boards.contains(&board) {
                return Ok(None);
            }
            let set = nvml.xid_events(&board)?;
            boards.push(board);
            Ok(Some((gpu.index, set)))
        });
        match opened {
            Ok(set) => self.sets.extend(set),
            Err(error) => self.gives_up(format!("NVML, events of GPU {}: {error}", gpu.index)),
        }
    }

    /// The GPUs that reported since the last question and the number each gave, every pair once.
    pub fn ask(&mut self) -> Vec<(u32, u32)> {
        let mut heard: Vec<(u32, u32)> = Vec::new();
        let mut lost: Vec<(u32, NvmlError)> = Vec::new();
        for (gpu, set) in &self.sets {
            for _ in 0..MOST_EVENTS {
                match set.wait(0) {
                    Ok(event) => heard.extend(event.event_data.map(|xid| (*gpu, number(&xid)))),
                    Err(NvmlError::Timeout) => break,
                    Err(error) => {
                        lost.push((*gpu, error));
                        break;
                    }
                }
            }
        }
        for (gpu, error) in lost {
            self.sets.retain(|(other, _)| *other != gpu);
            self.gives_up(format!("NVML, events of GPU {gpu}: {error}"));
        }
        heard.sort_unstable();
        heard.dedup();
        heard
    }

    /// What is known when `seen` is all that was heard: a list that holds something is known in any case, an empty one only where every GPU
    /// was listened to.
    pub fn known<T>(&self, seen: Vec<T>) -> Fact<Vec<T>> {
        match &self.deaf {
            Some(why) if seen.is_empty() => Fact::unknown(why.clone()),
            _ => Fact::Known(seen),
        }
    }

    fn gives_up(&mut self, why: String) {
        self.deaf.get_or_insert(why);
    }
}

fn number(xid: &XidError) -> u32 {
    match xid {
        XidError::Value(number) => u32::try_from(*number).unwrap_or(UNKNOWN_XID),
        XidError::Unknown => UNKNOWN_XID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(deaf: Option<&str>) -> XidWatch<'static> {
        XidWatch { sets: Vec::new(), deaf: deaf.map(str::to_owned) }
    }

    #[test]
    fn silence_is_known_only_where_every_gpu_was_listened_to() {
        assert_eq!(watch(None).known(Vec::<u32>::new()), Fact::Known(Vec::new()));
        assert_eq!(watch(Some("forbidden")).known(Vec::<u32>::new()), Fact::unknown("forbidden"));
        assert_eq!(watch(Some("forbidden")).known(vec![79]), Fact::Known(vec![79]));
    }

    #[test]
    fn the_first_reason_is_kept() {
        let mut watch = watch(Some("first"));
        watch.gives_up("second".to_owned());
        assert_eq!(watch.known(Vec::<u32>::new()), Fact::unknown("first"));
    }

    #[test]
    fn what_nvml_does_not_know_has_its_own_number() {
        assert_eq!([number(&XidError::Value(79)), number(&XidError::Unknown), number(&XidError::Value(u64::MAX))], [79, 999, 999]);
    }
}
