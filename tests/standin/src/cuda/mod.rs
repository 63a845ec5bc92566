//! The exported functions of the CUDA driver library, by family.
//!
//! Signatures follow `cuda.h`; handles are numbers as wide as pointers and enumerations are `i32`, which is the same on the wire and spares us
//! enumeration values that Rust would not allow.

mod context;
mod device;
mod events;
mod graph;
mod launch;
mod memory;

pub(crate) use launch::{Function, Module};

/// Declares one exported driver function whose body runs under the lock.
macro_rules! cuda {
    ($name:ident |$driver:ident| ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        #[unsafe(no_mangle)]
        #[allow(unused_variables, reason = "not every function needs the state or all its arguments")]
        extern "C" fn $name($($argument: $type),*) -> i32 {
            $crate::driver::enter(stringify!($name), |$driver| -> Result<(), $crate::code::Cu> { $body })
        }
    };
}
pub(crate) use cuda;

/// Tells that this is no hardware: the program looks this name up in the driver library it loaded.
#[unsafe(no_mangle)]
extern "C" fn gpu_assay_standin_marker() -> i32 {
    1
}
