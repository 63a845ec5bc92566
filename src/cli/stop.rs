//! The user's wish to stop: Ctrl-C, SIGTERM, or a closed terminal.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STOPPED: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// From now on the first signal sets a flag, so that the running case ends, memory is returned and the record is written; a second one
/// ends the process at once.
pub(super) fn listen() {
    INSTALLED.get_or_init(|| {
        ctrlc::set_handler(|| {
            if STOPPED.swap(true, Ordering::Relaxed) {
                super::complain("stopped at once on a second request; the finished probes are kept");
                std::process::exit(4);
            }
        })
        .is_ok()
    });
}

/// Whether the user asked to stop.
pub(super) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}
