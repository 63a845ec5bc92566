//! The constants that explain a set of timings best.

use super::physics::{CONSTANTS, Constants, Device, time};
use super::{GemmTiming, Setting};
use crate::calibrate::estimation::{Method, Outliers, Problem};

/// A library picks a poor kernel for some shapes, and no constant shall bend to explain it: errors are heavy-tailed. The differences are wide
/// enough to see past the corners where one tile gives way to the next, and the usual values are near, so that half a dozen rounds are plenty.
const METHOD: Method = Method { noise: 0.06, outliers: Outliers::Student(4.0), difference: 0.06, furthest: 4.0, rounds: 6, enough: 1e-3 };

pub(super) fn constants(device: &Device, setting: Setting, timings: &[GemmTiming]) -> Constants {
    let (usual, spread) = Constants::usual(device);
    let values = usual.to_array();
    let at = |at: &[f64]| Constants::from_array(std::array::from_fn::<_, CONSTANTS, _>(|i| values[i] * (spread[i] * at[i]).exp()));
    let errors = |coordinates: &[f64]| {
        let constants = at(coordinates);
        timings.iter().map(|timing| (time(device, &constants, setting, timing.shape) / timing.time.0).ln()).collect()
    };
    at(&Problem::new(METHOD, CONSTANTS, errors).solve().at)
}
