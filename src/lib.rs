//! Finds out what a GPU machine really does and plans with those numbers.
//!
//! The crate is one straight road, cut in half at a file. The left half touches hardware and ends in a [`record`]; the right half is pure
//! and works on any machine, for every machine ever recorded:
//!
//! ```text
//! machine ──▶ probe + measure ──▶ record ──▶ calibrate ──▶ estimate ──▶ guide ──▶ report
//!                                      workload ──▲
//! ```

pub mod accuracy;
pub mod assay;
pub mod calibrate;
pub mod catalog;
pub mod cli;
pub mod error;
pub mod estimate;
pub mod figure;
pub mod gpu;
pub mod guide;
pub mod host;
pub mod lang;
pub mod machine;
pub mod measure;
pub mod plot;
pub mod probe;
pub mod record;
pub mod report;
pub mod stats;
pub mod table;
pub mod telemetry;
pub mod units;
pub mod verdict;
pub mod workload;
