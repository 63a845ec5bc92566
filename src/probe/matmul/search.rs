//! Finding the shape of product that is fastest, with few timings.
//!
//! A product is fastest when its tiles fill the multiprocessors in whole **waves**, when it is large enough that the last step and the first
//! do not count, and when its operands lie well for whatever order the library walks in. Which tiles a library uses is not told. So the search
//! begins with shapes that are whole waves of the usual tiles, and with powers of two, and goes on from the best of them by **moves**: one extent
//! at a time, up and down, by less and less, as long as that helps. It ends after so many timings, or when time is up: what it has then is the
//! best that it has seen, which is all it claims.

use crate::error::Result;
use crate::measure::GemmShape;

/// Rows and columns of the tiles that large products are commonly cut into.
const TILES: [[u64; 2]; 4] = [[128, 256], [256, 128], [256, 256], [128, 128]];

/// Waves that the first shapes have.
const WAVES: [u64; 6] = [4, 8, 2, 12, 16, 1];

/// Shapes from which the search goes on.
const PROMISING: usize = 3;

/// Extents are multiples of this: what every format and library wants.
pub(super) const STEP: GemmShape = GemmShape { m: 128, n: 128, k: 512 };

/// Largest extents.
pub(super) const MOST: GemmShape = GemmShape { m: 16_384, n: 16_384, k: 16_384 };

/// Timings at most.
pub(super) const TIMINGS: usize = 96;

/// The best shape seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    pub(super) shape: GemmShape,
    /// Operations per second.
    pub(super) rate: f64,
    /// Timings that were made.
    pub(super) tried: usize,
}

/// A search under way.
struct Search<'a> {
    /// The rate of a shape, 0 where it cannot be had; `None` when time is up.
    rate: &'a mut dyn FnMut(GemmShape) -> Result<Option<f64>>,
    fits: &'a dyn Fn(GemmShape) -> bool,
    seen: Vec<(GemmShape, f64)>,
    over: bool,
}

/// Looks for the fastest of the shapes that `fits` allows on a chip of so many multiprocessors. `None` where no shape could be timed.
///
/// # Errors
/// Those of `rate`.
pub(super) fn search(
    sms: u32,
    fits: &dyn Fn(GemmShape) -> bool,
    rate: &mut dyn FnMut(GemmShape) -> Result<Option<f64>>,
) -> Result<Option<Found>> {
    let mut search = Search { rate, fits, seen: Vec::new(), over: false };
    for shape in coarse(sms) {
        search.try_shape(shape)?;
    }
    let mut promising = search.seen.clone();
    promising.sort_by(|a, b| b.1.total_cmp(&a.1));
    promising.truncate(PROMISING);
    for (shape, rate) in promising {
        search.climb(shape, rate)?;
    }
    let best = search.seen.iter().copied().reduce(|best, one| if one.1 > best.1 { one } else { best });
    let tried = search.seen.len();
    Ok(best.filter(|(_, rate)| *rate > 0.0).map(|(shape, rate)| Found { shape, rate, tried }))
}

/// The shapes to begin with: powers of two, and for every tile and number of waves the one that is most nearly square.
fn coarse(sms: u32) -> Vec<GemmShape> {
    let mut shapes: Vec<GemmShape> = [8192, 4096].map(GemmShape::square).into();
    for waves in WAVES {
        for [rows, columns] in TILES {
            let tiles = u64::from(sms.max(1)) * waves;
            let pairs = (1..=tiles).filter(|across| tiles.is_multiple_of(*across)).map(|across| (across * rows, tiles / across * columns));
            let narrow = |(m, n): &(u64, u64)| (*m as f64 / *n as f64).ln().abs();
            let Some((m, n)) = pairs.min_by(|a, b| narrow(a).total_cmp(&narrow(b))) else { continue };
            shapes.push(GemmShape { m, n, k: 8192 });
        }
    }
    shapes
}

impl Search<'_> {
    /// The rate of a shape, timed unless it was before; `None` where it may not be timed any more, or not at all.
    fn try_shape(&mut self, shape: GemmShape) -> Result<Option<f64>> {
        if let Some((_, rate)) = self.seen.iter().find(|(seen, _)| *seen == shape) {
            return Ok(Some(*rate));
        }
        let within = |extent: u64, most: u64, step: u64| extent >= step && extent <= most && extent.is_multiple_of(step);
        let inside =
            within(shape.m, MOST.m, STEP.m) && within(shape.n, MOST.n, STEP.n) && within(shape.k, MOST.k, STEP.k) && (self.fits)(shape);
        if self.over || !inside || self.seen.len() >= TIMINGS {
            return Ok(None);
        }
        let rate = (self.rate)(shape)?;
        self.over = rate.is_none();
        self.seen.extend(rate.map(|rate| (shape, rate)));
        Ok(rate)
    }

    /// Moves one extent at a time as long as that helps, by eight steps, then four, two and one.
    fn climb(&mut self, mut shape: GemmShape, mut rate: f64) -> Result<()> {
        for steps in [8, 4, 2, 1] {
            let mut moved = true;
            while moved {
                moved = false;
                for next in neighbours(shape, steps) {
                    if let Some(found) = self.try_shape(next)?
                        && found > rate
                    {
                        (shape, rate, moved) = (next, found, true);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The shapes that differ by so many steps in one extent.
fn neighbours(shape: GemmShape, steps: u64) -> Vec<GemmShape> {
    let GemmShape { m, n, k } = shape;
    let mut next = Vec::new();
    for up in [true, false] {
        let moved = |extent: u64, step: u64| if up { extent.checked_add(step * steps) } else { extent.checked_sub(step * steps) };
        next.extend(moved(m, STEP.m).map(|m| GemmShape { m, n, k }));
        next.extend(moved(n, STEP.n).map(|n| GemmShape { m, n, k }));
        next.extend(moved(k, STEP.k).map(|k| GemmShape { m, n, k }));
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chip of waves: tiles of one size over multiprocessors, a fixed cost, and nothing else.
    fn waves(sms: u64, [rows, columns]: [u64; 2], shape: GemmShape) -> f64 {
        let waves = (shape.m.div_ceil(rows) * shape.n.div_ceil(columns)).div_ceil(sms) as f64;
        shape.flops().0 / (waves * (rows * columns * sms * shape.k) as f64 * 2.0 / 8e14 + 5e-6)
    }

    fn best_of_all(rate: impl Fn(GemmShape) -> f64, fits: impl Fn(GemmShape) -> bool) -> (f64, usize) {
        let (mut best, mut count) = (0.0f64, 0);
        for m in (STEP.m..=MOST.m).step_by(STEP.m as usize) {
            for n in (STEP.n..=MOST.n).step_by(STEP.n as usize) {
                for k in [STEP.k, 4096, 8192, MOST.k] {
                    let shape = GemmShape { m, n, k };
                    if fits(shape) {
                        (best, count) = (best.max(rate(shape)), count + 1);
                    }
                }
            }
        }
        (best, count)
    }

    #[test]
    fn few_timings_find_what_all_of_them_would() {
        for (sms, tile) in [(132, [128, 256]), (108, [256, 128]), (148, [256, 256]), (128, [128, 128]), (46, [128, 64]), (7, [192, 128])] {
            let fits = |shape: GemmShape| shape.bytes(2).0 < 1 << 30;
            let rate = |shape| waves(sms, tile, shape);
            let mut timings = 0;
            let found = search(u32::try_from(sms).unwrap(), &fits, &mut |shape| {
                timings += 1;
                Ok(Some(rate(shape)))
            });
            let found = found.unwrap().unwrap();
            let (best, count) = best_of_all(rate, fits);
            assert!(found.rate >= 0.99 * best, "{sms} {tile:?}: {found:?} where {best:e} is best");
            assert!(fits(found.shape) && found.tried == timings && timings <= TIMINGS && timings * 20 <= count, "{timings} of {count}");
        }
    }

    #[test]
    fn it_ends_when_time_is_up_and_keeps_what_it_has() {
        let mut left = 5;
        let found = search(132, &|_| true, &mut |shape| {
            left -= 1;
            Ok((left > 0).then(|| shape.flops().0))
        });
        assert_eq!(found.unwrap().unwrap().tried, 4);
        assert_eq!(search(132, &|_| true, &mut |_| Ok(None)).unwrap(), None);
        assert_eq!(search(132, &|_| false, &mut |_| panic!("nothing fits")).unwrap(), None);
        assert_eq!(search(132, &|_| true, &mut |_| Ok(Some(0.0))).unwrap(), None, "no shape can be multiplied");
    }

    #[test]
    fn every_shape_suits_the_library() {
        for sms in 1..200 {
            for shape in coarse(sms) {
                assert!(shape.m % STEP.m == 0 && shape.n % STEP.n == 0 && shape.k % STEP.k == 0, "{shape:?}");
            }
        }
    }
}
