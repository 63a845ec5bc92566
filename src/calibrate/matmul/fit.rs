//! The constants that explain a set of timings best.
//!
//! A constant that the timings' setting cannot see has no part in the search: its derivative is zero, so it would stay at its usual value all the
//! same, and looking for it costs as much as for any other.

use super::physics::{CONSTANTS, Constants, Device, time};
use super::{GemmTiming, Setting};
use crate::calibrate::estimation::{Method, Outliers, Problem};

/// A library picks a poor kernel for some shapes, and no constant shall bend to explain it: errors are heavy-tailed. The differences are wide
/// enough to see past the corners where one tile gives way to the next, and the usual values are near, so that half a dozen rounds are plenty.
const METHOD: Method = Method { noise: 0.06, outliers: Outliers::Student(4.0), difference: 0.06, furthest: 4.0, rounds: 6, enough: 1e-3 };

pub(super) fn constants(device: &Device, setting: Setting, timings: &[GemmTiming]) -> Constants {
    let (usual, spread) = Constants::usual(device);
    let (usual, sought) = (usual.to_array(), sought(setting));
    let at = |at: &[f64]| {
        let mut values = usual;
        for (&constant, at) in sought.iter().zip(at) {
            values[constant] *= (spread[constant] * at).exp();
        }
        Constants::from_array(values)
    };
    let errors = |coordinates: &[f64]| {
        let constants = at(coordinates);
        timings.iter().map(|timing| (time(device, &constants, setting, timing.shape) / timing.time.0).ln()).collect()
    };
    at(&Problem::new(METHOD, sought.len(), errors).solve().at)
}

/// The constants that timings in `setting` depend on, by their places.
fn sought(setting: Setting) -> Vec<usize> {
    (0..CONSTANTS).filter(|constant| !Constants::unseen(setting)[*constant]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::fixture::CATALOG;
    use crate::calibrate::matmul::{GemmShape, Weights};
    use crate::catalog::Dtype;

    /// A constant is sought exactly where it changes the time of some product.
    #[test]
    fn what_is_not_sought_changes_nothing() {
        let device = Device::of(CATALOG.gpu("H100 SXM").unwrap(), Dtype::Fp8).unwrap();
        let (usual, _) = Constants::usual(&device);
        let shapes = [(1, 4096, 4096), (16, 512, 16384), (512, 4096, 14336), (2048, 3072, 3072), (8192, 8192, 8192)];
        let shapes = shapes.map(|(m, n, k)| GemmShape { m, n, k });
        for weights in [Weights::Cold, Weights::AllCold, Weights::Rotating { most: 4 }] {
            for casts in [false, true] {
                let setting = Setting { weights, casts };
                let times = |constants: &Constants| shapes.map(|shape| time(&device, constants, setting, shape));
                let seen = |constant: &usize| {
                    let mut values = usual.to_array();
                    values[*constant] *= 0.3;
                    times(&Constants::from_array(values)) != times(&usual)
                };
                assert_eq!(sought(setting), (0..CONSTANTS).filter(seen).collect::<Vec<_>>(), "{setting:?}");
            }
        }
    }
}
