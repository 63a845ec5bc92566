//! `inspect`: what this machine is.

use super::{Common, Status, print};
use crate::assay;
use crate::error::{Error, Result};
use crate::machine::Machine;

pub(super) fn inspect(_: &Common) -> Result<Status> {
    let machine = machine();
    let text = serde_json::to_string_pretty(&machine).map_err(|error| Error::measurement("writing the machine", error))?;
    print(&format!("{text}\n"))?;
    Ok(Status::Done)
}

/// This machine. Never fails: what cannot be read says why.
pub(super) fn machine() -> Machine {
    assay::inspect()
}
