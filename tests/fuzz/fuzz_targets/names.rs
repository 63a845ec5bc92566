//! Case ids and quantities: parsing never panics, and what parses shows as something that parses to the same.
#![no_main]

use gpu_assay::measure::Case;
use gpu_assay::units::{Bytes, BytesPerSecond, Hertz, Seconds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(case) = text.parse::<Case>() {
        assert_eq!(case.to_string().parse(), Ok(case));
    }
    if let Ok(bytes) = text.parse::<Bytes>() {
        assert_eq!(bytes.to_string().parse(), Ok(bytes));
    }
    let _ = text.parse::<BytesPerSecond>();
    let _ = text.parse::<Seconds>();
    let _ = text.parse::<Hertz>();
});
