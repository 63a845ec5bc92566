//! `inspect`: what this machine is.

use super::{Common, Format, Status, print, print_tables};
use crate::assay;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::report;

/// Tables for people; for programs the facts themselves, as they stand in a result file.
pub(super) fn inspect(common: &Common) -> Result<Status> {
    let machine = machine();
    if common.format != Format::Json {
        print_tables(&report::inspect(&machine, common.lang.into()), common)?;
        return Ok(Status::Done);
    }
    let text = serde_json::to_string_pretty(&machine).map_err(|error| Error::measurement("writing the machine", error))?;
    print(&format!("{}\n", report::escaped(&text)))?;
    Ok(Status::Done)
}

/// This machine. Never fails: what cannot be read says why.
pub(super) fn machine() -> Machine {
    assay::inspect()
}
