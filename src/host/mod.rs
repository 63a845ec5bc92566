//! The host's hardware, close up: which CPUs to use, memory where it is wanted, streaming stores, unbuffered files.
//!
//! This is one of the two rooms in which `unsafe` is allowed (the other talks to the GPU driver). It wraps what the operating system and
//! the processor offer in functions that are safe to call; nothing here decides what to measure.
//!
//! * A **topology** says which logical processors share a core, a NUMA node and a last-level cache.
//! * A **region** is page-aligned memory from the kernel, on huge pages and on a chosen NUMA node where the kernel grants it.
//! * A **placement** is what the kernel tells about where a region came to lie: on huge pages or not, on which nodes.
//! * A **crew** is a set of threads, each pinned to one processor and owning its own data, that carries out one command at a time. Its
//!   threads live on between commands, so starting them is in no measured time; each allocates and first touches its own data, so the
//!   data lies on the thread's own NUMA node.
//! * **Stream kernels** write with non-temporal stores: the written line is not read first (no *write-allocate*), so the bytes counted are
//!   the bytes moved.
//! * A **direct file** bypasses the page cache (`O_DIRECT`) and has no name, so it cannot outlive the process.

#![allow(unsafe_code)]

pub mod crew;
pub mod direct;
pub mod pages;
pub mod product;
pub mod region;
pub mod stream;
pub mod topology;

pub use crew::{Crew, Hand};
pub use direct::DirectFile;
pub use pages::{Pages, Placement};
pub use region::Region;
pub use topology::{Processor, Topology};
