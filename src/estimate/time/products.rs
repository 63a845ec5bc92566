//! Products that were timed before.
//!
//! A product's time is what an estimate waits for, and layers have many products of one shape: keys and values, gate and way up, all of attention
//! in models whose first layers have no experts. So each shape is timed once.

use super::speeds::Speeds;
use crate::calibrate::Prediction;
use crate::catalog::Dtype;
use crate::workload::operations::Product;

/// Products of one machine with their times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Products(Vec<Known>);

/// A product in a data type: its time, and whether it reads longer than it computes.
#[derive(Debug, Clone, Copy)]
struct Known {
    dtype: Dtype,
    product: Product,
    time: (Prediction, bool),
}

impl Products {
    /// None yet, with room for those of one estimate.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(32))
    }

    /// What [`Speeds::product`] says, asked at most once for each shape. `speeds` are the same every time.
    pub(super) fn time(&mut self, speeds: &Speeds, dtype: Dtype, product: &Product) -> (Prediction, bool) {
        let alike = |known: &&Known| known.dtype == dtype && known.product.same_shape(product);
        if let Some(known) = self.0.iter().find(alike) {
            return known.time;
        }
        let time = speeds.product(dtype, product);
        self.0.push(Known { dtype, product: *product, time });
        time
    }

    /// Forgets them all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
