//! The one error type.
//!
//! A variant says what was being done, its source why that failed, and the text ends with what to do about it: one line, lower case. What
//! is *not* an error: a probe that cannot run here (a [`Waiver`](crate::measure::Waiver)), a sample that is not to be trusted (a
//! rejection) and a verdict that cannot be given (unknown). Those are values, because a run goes on after them.

use std::path::PathBuf;

/// `Result` with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, while doing what, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call itself was wrong: an option's value, an unknown name, a file that is not what it was given as.
    #[error("{0}")]
    Usage(String),

    /// Nothing on this machine can do what was asked: no GPU, no driver, no library.
    #[error("{doing}: {why}; {remedy}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// What is missing.
        why: String,
        /// What would provide it.
        remedy: String,
    },

    /// A CUDA, NVML or cublasLt call failed.
    #[error("{doing}: {call} returned {code} ({why}); {remedy}")]
    Gpu {
        /// What was being done, with the GPU's number where there is one.
        doing: String,
        /// The function's name, as in the vendor's documentation.
        call: &'static str,
        /// Its status name or number.
        code: String,
        /// The library's own explanation.
        why: String,
        /// What to do.
        remedy: String,
    },

    /// A measurement ran, and its answer was wrong.
    #[error("{case}: wrong answer: {what}; do not trust this device's results until `gpu-assay selftest` passes")]
    WrongAnswer {
        /// The case's id.
        case: String,
        /// Expected and found.
        what: String,
    },

    /// A measurement could not be completed.
    #[error("{doing}: {why}")]
    Measurement {
        /// What was being measured.
        doing: String,
        /// What prevented it.
        why: String,
    },

    /// Reading or writing a file failed.
    #[error("{doing} {}: {source}; {remedy}", path.display())]
    File {
        /// `reading`, `writing`, …
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },

    /// A file's content is not what it has to be.
    #[error("reading {}: {why}; {remedy}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// Expected and found.
        why: String,
        /// What to do.
        remedy: String,
    },

    /// Standard output or another stream could not be written.
    #[error("writing the output: {0}; check that its reader and its disk are well")]
    Output(#[source] std::io::Error),

    /// The user asked to stop.
    #[error("stopped on request; the finished probes are kept")]
    Interrupted,
}

impl Error {
    /// The process exit code this error ends in: 2 the call was wrong, 3 nothing here can do it, 4 a measurement failed or was wrong.
    /// A pipe whose reader went away is no failure of ours.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::File { .. } | Self::Content { .. } => 2,
            Self::Unavailable { .. } => 3,
            Self::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Gpu { .. } | Self::WrongAnswer { .. } | Self::Measurement { .. } | Self::Interrupted | Self::Output(_) => 4,
        }
    }

    /// A [`Self::Usage`] from any text.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// A [`Self::Measurement`] from any texts.
    pub fn measurement(doing: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Measurement { doing: doing.into(), why: why.to_string() }
    }

    /// Whether the user asked to stop.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_ends_in_the_documented_exit_code() {
        let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Error::usage("x").exit_code(), 2);
        assert_eq!(Error::Output(closed).exit_code(), 0);
        assert_eq!(Error::Output(full).exit_code(), 4);
        assert_eq!(Error::Interrupted.exit_code(), 4);
        let none = Error::Unavailable { doing: "measuring".into(), why: "no GPU".into(), remedy: "run `gpu-assay inspect`".into() };
        assert_eq!(none.exit_code(), 3);
        assert_eq!(none.to_string(), "measuring: no GPU; run `gpu-assay inspect`");
    }
}
