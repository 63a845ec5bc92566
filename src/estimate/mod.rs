//! What a workload takes on a machine: memory now, time and cost beside it.
//!
//! An estimate is pure: a [workload](crate::workload), what is known of the machine (measured where it was, documents where not), and nothing
//! else. Its result says of every number where it comes from.

pub mod advice;
pub mod cost;
pub mod fit;
pub mod guide_formula;
pub mod memory;
pub mod plan;
pub mod time;
