//! The default command: inspect, measure, save, calibrate, print the guide and its summary.

use super::{Common, Format, Measuring, Status, guide, inspect, measure, print, print_tables, stop};
use crate::error::Result;
use crate::probe::{Effort, PROBES};

pub(super) fn run(common: &Common, measuring: &Measuring) -> Result<Status> {
    stop::listen();
    let machine = inspect::machine();
    let (path, record) = measure::record(common, measuring, &machine, PROBES, Vec::new(), Effort::Quick)?;
    print_tables(&guide::of_run(common, &path, &record)?, common)?;
    if common.format == Format::Text {
        print(&format!("\nsaved {}; `gpu-assay guide` prints the guide again\n", path.display()))?;
    }
    measure::status(&record)
}
