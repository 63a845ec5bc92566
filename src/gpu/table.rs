//! A table of a C library's functions, made from one list.
//!
//! From the list come the lookup, a checked call per function and the list of names, so they cannot drift apart. Each call's status goes
//! through the `checked` method that the table's module writes; statuses are plain numbers, because a library that is newer than this
//! program may return one that no enum of ours has.

use std::path::Path;

use libloading::Library;

use crate::error::{Error, Result};

/// Status of a call, as a library returns it; 0 is success.
pub(super) type Status = std::ffi::c_int;

/// A library function this program calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Name as exported.
    pub name: &'static str,
    /// Whether the program refuses a library without it; without an optional one only the calls that need it fail.
    pub required: bool,
}

/// The table of the library in this file, by the table's `look_up`; `since` follows the name of a function that it lacks.
///
/// # Errors
/// [`Error::Unavailable`] with `remedy` when the file cannot be loaded or lacks a required function.
pub(super) fn load<T>(
    path: &Path,
    look_up: impl FnOnce(Library) -> std::result::Result<T, &'static str>,
    since: &str,
    remedy: &str,
) -> Result<T> {
    let unavailable = |why| Error::Unavailable { doing: format!("loading {}", path.display()), why, remedy: remedy.to_owned() };
    // SAFETY: loading runs the library's own start-up code, which has no preconditions.
    let library = unsafe { Library::new(path) }.map_err(|error| unavailable(super::api::root_cause(&error)))?;
    look_up(library).map_err(|name| unavailable(format!("it lacks the function {name}{since}")))
}

/// Declares `struct $table` with one function pointer per listed function. `describing` lists functions that have a type of their own and
/// are called directly.
macro_rules! function_table {
    (
        $(#[$symbols_documentation:meta])* const $symbols:ident;
        $(#[$documentation:meta])* struct $table:ident;
        required { $($name:ident($($argument:ident: $kind:ty),*);)* }
        optional { $($extra:ident($($extra_argument:ident: $extra_kind:ty),*);)* }
        describing { $($text:ident: $text_kind:ty;)* }
    ) => {
        $(#[$symbols_documentation])*
        pub const $symbols: &[$crate::gpu::table::Symbol] = &[
            $($crate::gpu::table::Symbol { name: stringify!($name), required: true },)*
            $($crate::gpu::table::Symbol { name: stringify!($extra), required: false },)*
            $($crate::gpu::table::Symbol { name: stringify!($text), required: false },)*
        ];

        $(#[$documentation])*
        pub(super) struct $table {
            $($name: unsafe extern "C" fn($($kind),*) -> $crate::gpu::table::Status,)*
            $($extra: Option<unsafe extern "C" fn($($extra_kind),*) -> $crate::gpu::table::Status>,)*
            $($text: Option<$text_kind>,)*
        }

        impl $table {
            /// Looks every function up, or names the first that is required and missing.
            ///
            /// The library stays loaded until the process ends: it has threads and device code of its own and is not made to be unloaded.
            fn look_up(library: libloading::Library) -> std::result::Result<Self, &'static str> {
                // SAFETY: each type is the function's documented C signature, and the library is never unloaded.
                let table = unsafe {
                    Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes()).map_err(|_| stringify!($name))?,)*
                        $($extra: library.get(concat!(stringify!($extra), "\0").as_bytes()).ok().map(|symbol| *symbol),)*
                        $($text: library.get(concat!(stringify!($text), "\0").as_bytes()).ok().map(|symbol| *symbol),)*
                    }
                };
                std::mem::forget(library);
                Ok(table)
            }

            $(
                /// # Safety
                /// As the documentation of the function of this name asks.
                pub(super) unsafe fn $name(&self, $($argument: $kind),*) -> $crate::gpu::failure::Returned {
                    // SAFETY: passed on to the caller.
                    let status = unsafe { (self.$name)($($argument),*) };
                    self.checked(stringify!($name), status)
                }
            )*

            $(
                /// # Safety
                /// As the documentation of the function of this name asks.
                pub(super) unsafe fn $extra(&self, $($extra_argument: $extra_kind),*) -> $crate::gpu::failure::Returned {
                    let Some(function) = self.$extra else { return Err($crate::gpu::failure::Failure::missing(stringify!($extra))) };
                    // SAFETY: passed on to the caller.
                    let status = unsafe { function($($extra_argument),*) };
                    self.checked(stringify!($extra), status)
                }
            )*
        }
    };
}

pub(super) use function_table;
