//! Tiles and splits: how long a product's kernel takes when its library picks the fastest.
//!
//! The output is cut into tiles of `rows × columns`, and `k` into a number of parts; each pair is a **block** of threads. Blocks are dealt to the
//! multiprocessors in **waves**: the one with most blocks ends last. A block walks over its part of `k` in **steps** of 128 bytes (64 before
//! Hopper). A step takes as long as its arithmetic or the transfer of its operands from the second-level cache, whichever is longer, and never
//! less than its latency, which several blocks of one multiprocessor hide from each other. Beside all that device memory delivers the
//! operands, twice or more where they do not stay in the cache between waves. A split ends with a second kernel that adds up the parts.
//!
//! Two times that overlap are joined by ⁴√(a⁴ + b⁴): close to the longer one, and a fifth above it where they are equal, as neither hides the
//! other perfectly. Over all tiles and splits the time is ³²√ of the sum of t⁻³², inverted: close to the shortest, smooth in every constant, and
//! monotone wherever its members are. That is what a library's choice comes to.
//!
//! **Speed.** A product has some sixty pairs of tile and split, an estimate dozens of products, and a fit thousands. A processor divides and
//! takes roots one at a time, so each of them stands where it is done least often: per product, per tile, per pair, in this order.

use super::GemmShape;
use super::physics::{Constants, Device, Operands, fourth_power};

/// Rows and columns of the tiles that libraries are built from.
const TILES: [(f64, f64); 14] = [
    (16.0, 64.0),
    (16.0, 128.0),
    (32.0, 64.0),
    (32.0, 128.0),
    (64.0, 32.0),
    (64.0, 64.0),
    (64.0, 128.0),
    (64.0, 256.0),
    (128.0, 32.0),
    (128.0, 64.0),
    (128.0, 128.0),
    (128.0, 256.0),
    (256.0, 64.0),
    (256.0, 128.0),
];

/// Further ones where a group of warps multiplies a strip of any width.
const STRIPS: [(f64, f64); 5] = [(128.0, 96.0), (128.0, 160.0), (128.0, 192.0), (128.0, 224.0), (192.0, 128.0)];

/// Elements of the largest tile.
const LARGEST: f64 = 32768.0;

/// Parts that `k` is split into.
const SPLITS: [f64; 11] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0];

/// A part of a split is never shorter.
const SHORTEST_PART: f64 = 128.0;

/// A split makes no more blocks per multiprocessor: there is nothing left to fill.
const MOST_SPLIT_BLOCKS: f64 = 4.0;

/// A tile whose fourth power is so much longer than the shortest adds nothing that could be seen.
const HOPELESS: f64 = 8.0;

/// Of the wait for the last wave, the share that blocks of unequal speed save.
const UNEVEN: f64 = 0.05;

/// Time of the kernel that a library picks, s.
pub(super) fn fastest(device: &Device, constants: &Constants, shape: GemmShape, operands: &Operands) -> f64 {
    let product = Product::new(device, constants, shape, operands);
    let (splits, count) = product.splits();
    let (mut sum, mut shortest) = (0.0, f64::INFINITY);
    let strips: &[(f64, f64)] = if device.asynchronous { &STRIPS } else { &[] };
    for &(rows, columns) in TILES.iter().chain(strips) {
        let tile = product.tile(rows, columns);
        let mut before = Reading { at_once: 0.0, time: 0.0 };
        for split in &splits[..count] {
            let (blocks, whole) = (tile.count * split.parts, split.parts == 1.0);
            if !whole && blocks > product.most_split {
                break;
            }
            let computing = fourth_power(product.computing(&tile, split, blocks) / operands.unit);
            if computing > HOPELESS * shortest {
                continue;
            }
            let time = computing + product.reading(&tile, split, &mut before);
            let time = if whole { time } else { fourth_power(time.sqrt().sqrt() + split.joining) };
            shortest = smaller(shortest, time);
            let inverse = 1.0 / time;
            sum += fourth_power(inverse) * fourth_power(inverse);
        }
    }
    operands.unit / thirty_second_root(sum)
}

/// A product, with what neither tile nor split changes.
struct Product<'a> {
    device: &'a Device,
    constants: &'a Constants,
    operands: &'a Operands,
    m: f64,
    n: f64,
    k: f64,
    /// Bytes of an operand's row or column that a step covers, and how many elements that is.
    step_bytes: f64,
    step_length: f64,
    /// Device memory's time when each operand is moved once: the fourth power, in the operands' unit.
    once: f64,
    /// Least time per byte from the second-level cache to one multiprocessor, and the time when all of them share it, s.
    port: f64,
    shared_by_all: f64,
    /// Most blocks of a split.
    most_split: f64,
}

/// `k` in parts.
#[derive(Clone, Copy)]
struct Split {
    parts: f64,
    /// Steps of one part.
    steps: f64,
    /// Adding up the parts, in the operands' unit.
    joining: f64,
}

/// A tile on a product's output.
struct Tile {
    rows: f64,
    columns: f64,
    area: f64,
    /// Tiles along `m` and along `n`, parts of one included but never less than one, and whole ones in all.
    across: f64,
    along: f64,
    count: f64,
    /// Arithmetic of a step, s.
    arithmetic: f64,
    /// Bytes of a step's operands.
    operands: f64,
    /// Blocks that a multiprocessor runs at once, a power of two, and its inverse, which divides as exactly and faster.
    at_once: f64,
    share: f64,
}

/// Device memory's time when so many blocks run at once: the fourth power, in the operands' unit.
struct Reading {
    at_once: f64,
    time: f64,
}

impl<'a> Product<'a> {
    fn new(device: &'a Device, constants: &'a Constants, shape: GemmShape, operands: &'a Operands) -> Self {
        let step_bytes = if device.asynchronous { 128.0 } else { 64.0 };
        Self {
            device,
            constants,
            operands,
            m: shape.m as f64,
            n: shape.n as f64,
            k: shape.k as f64,
            step_bytes,
            step_length: step_bytes / device.element,
            once: fourth_power(operands.once / operands.unit),
            port: 1.0 / constants.port,
            shared_by_all: device.sms / constants.cache,
            most_split: MOST_SPLIT_BLOCKS * device.sms,
        }
    }

    /// The splits that any tile allows, no split first, and how many there are.
    fn splits(&self) -> ([Split; SPLITS.len()], usize) {
        let Self { m, n, k, step_length, constants, .. } = *self;
        let whole = Split { parts: 1.0, steps: ceil(k / step_length), joining: 0.0 };
        let (mut splits, mut count) = ([whole; SPLITS.len()], 1);
        for (split, parts) in splits.iter_mut().zip(SPLITS).skip(1) {
            if k < SHORTEST_PART * parts || m * n / LARGEST * parts > self.most_split {
                break;
            }
            let joining = (constants.split + 8.0 * m * n * parts / constants.cache) / self.operands.unit;
            *split = Split { parts, steps: ceil(k / parts / step_length), joining };
            count += 1;
        }
        (splits, count)
    }

    fn tile(&self, rows: f64, columns: f64) -> Tile {
        let (across, along) = (self.m / rows, self.n / columns);
        let area = rows * columns;
        let (efficiency, at_once, share): (f64, f64, f64) = match area {
            ..=4096.0 => (self.constants.small, 4.0, 0.25),
            ..=8192.0 => (self.constants.medium, 2.0, 0.5),
            ..=16384.0 => (self.constants.large, 2.0, 0.5),
            _ => (1.0, 1.0, 1.0),
        };
        Tile {
            rows,
            columns,
            area,
            across: larger(across, 1.0),
            along: larger(along, 1.0),
            count: ceil(across) * ceil(along),
            arithmetic: 2.0 * area * self.step_length / (self.constants.arithmetic * efficiency),
            operands: (rows + columns) * self.step_bytes,
            at_once,
            share,
        }
    }

    /// Time of the multiprocessor with most of `blocks` blocks, were memory infinitely fast, s.
    fn computing(&self, tile: &Tile, split: &Split, blocks: f64) -> f64 {
        let Self { device, constants, .. } = *self;
        let (waves, shared) = match blocks > device.sms {
            true => (blocks / device.sms, self.shared_by_all),
            false => (1.0, blocks / constants.cache),
        };
        let busiest = (1.0 - UNEVEN) * ceil(waves) + UNEVEN * waves;
        let latency = if busiest < tile.at_once { constants.step / busiest } else { constants.step * tile.share };
        let transfer = tile.operands * larger(shared, self.port);
        let loops = busiest * split.steps * larger(larger(tile.arithmetic, transfer), latency);
        let ends = ceil(busiest * tile.share) * constants.fill + busiest * tile.area * constants.store;
        loops + ends
    }

    /// Device memory's time, to the fourth power and in the operands' unit. `before`: that of the split before, which is the same where as many
    /// blocks run at once.
    fn reading(&self, tile: &Tile, split: &Split, before: &mut Reading) -> f64 {
        let blocks = tile.across * tile.along * split.parts;
        // A single strip of tiles reads nothing again, nor do blocks that run all at once. (Unsplit ones do by a rounding error, which stays.)
        if tile.across == 1.0 || tile.along == 1.0 || (split.parts > 1.0 && blocks <= self.device.sms) {
            return self.once;
        }
        let at_once = smaller(blocks, self.device.sms);
        if at_once != before.at_once {
            *before = Reading { at_once, time: self.read_again(tile, at_once) };
        }
        before.time
    }

    /// The blocks of a wave, `at_once` of them, cover a rectangle of the output; each operand is read once per rectangle's side.
    fn read_again(&self, tile: &Tile, at_once: f64) -> f64 {
        let Operands { first, second, once, again, unit, .. } = *self.operands;
        let Tile { rows, columns, across, along, .. } = *tile;
        let high = larger(smaller((at_once * columns / rows).sqrt(), across), 1.0);
        let wide = larger(smaller(at_once / high, along), 1.0);
        let repeated = smaller(second * (across / high - 1.0), first * (along / wide - 1.0));
        fourth_power((once + repeated * again) / unit)
    }
}

/// The least whole number that is not below `x`, which is not negative. What [`f64::ceil`] says; that is a call on the processors this is compiled for.
fn ceil(x: f64) -> f64 {
    /// From here on every number is whole: adding it rounds to the nearest one.
    const WHOLE: f64 = (1u64 << 52) as f64;
    if x >= WHOLE {
        return x;
    }
    let nearest = (x + WHOLE) - WHOLE;
    if nearest < x { nearest + 1.0 } else { nearest }
}

/// [`f64::max`] of two numbers: that one thinks of what is none, in three instructions more.
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

fn smaller(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

fn thirty_second_root(x: f64) -> f64 {
    x.sqrt().sqrt().sqrt().sqrt().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::fixture::CATALOG;
    use crate::calibrate::matmul::{Setting, Weights};
    use crate::catalog::Dtype;
    use proptest::prelude::*;

    /// [`fastest`] as the formulas stand in the module's head, one pair after another.
    fn plain(device: &Device, constants: &Constants, shape: GemmShape, operands: &Operands) -> f64 {
        let (m, n, k) = (shape.m as f64, shape.n as f64, shape.k as f64);
        let Operands { first, second, once, again, unit, .. } = *operands;
        let step_bytes = if device.asynchronous { 128.0 } else { 64.0 };
        let step_length = step_bytes / device.element;
        let strips: &[(f64, f64)] = if device.asynchronous { &STRIPS } else { &[] };
        let (mut sum, mut shortest) = (0.0, f64::INFINITY);
        for &(rows, columns) in TILES.iter().chain(strips) {
            let (across, along, area) = ((m / rows).max(1.0), (n / columns).max(1.0), rows * columns);
            let (efficiency, at_once): (f64, f64) = match area {
                ..=4096.0 => (constants.small, 4.0),
                ..=8192.0 => (constants.medium, 2.0),
                ..=16384.0 => (constants.large, 2.0),
                _ => (1.0, 1.0),
            };
            for split in SPLITS {
                let blocks = (m / rows).ceil() * (n / columns).ceil() * split;
                if split > 1.0 && (k < SHORTEST_PART * split || blocks > MOST_SPLIT_BLOCKS * device.sms) {
                    break;
                }
                let waves = blocks / device.sms;
                let busiest = (1.0 - UNEVEN) * waves.ceil() + UNEVEN * waves.max(1.0);
                let arithmetic = 2.0 * area * step_length / (constants.arithmetic * efficiency);
                let transfer = (rows + columns) * step_bytes * (blocks.min(device.sms) / constants.cache).max(1.0 / constants.port);
                let step = arithmetic.max(transfer).max(constants.step / at_once.min(busiest));
                let loops = busiest * (k / split / step_length).ceil() * step;
                let ends = (busiest / at_once).ceil() * constants.fill + busiest * area * constants.store;
                let computing = fourth_power((loops + ends) / unit);
                if computing > HOPELESS * shortest {
                    continue;
                }
                let wave = (across * along * split).min(device.sms);
                let high = (wave * columns / rows).sqrt().clamp(1.0, across);
                let wide = (wave / high).clamp(1.0, along);
                let repeated = (second * (across / high - 1.0)).min(first * (along / wide - 1.0));
                let mut time = computing + fourth_power((once + repeated * again) / unit);
                if split > 1.0 {
                    let joining = (constants.split + 8.0 * m * n * split / constants.cache) / unit;
                    time = fourth_power(time.sqrt().sqrt() + joining);
                }
                shortest = shortest.min(time);
                sum += fourth_power(1.0 / time) * fourth_power(1.0 / time);
            }
        }
        unit / thirty_second_root(sum)
    }

    #[test]
    fn no_tile_is_larger_than_the_largest() {
        assert!(TILES.iter().chain(&STRIPS).all(|(rows, columns)| rows * columns <= LARGEST));
    }

    fn extent() -> impl Strategy<Value = u64> {
        prop_oneof![1u64..300, (0.0..63.0f64).prop_map(|log| 2f64.powf(log) as u64), (1u64..600).prop_map(|tiles| 64 * tiles)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// To the last bit.
        #[test]
        fn what_is_skipped_changes_nothing(
            (gpu, dtype) in prop::sample::select(&[("H100 SXM", Dtype::Bf16), ("B200", Dtype::Fp8), ("RTX 4090", Dtype::Bf16), ("A100 SXM 80GB", Dtype::Fp16)][..]),
            (m, n, k) in (extent(), extent(), extent()),
            away in prop::array::uniform19(-2.0..2.0f64),
        ) {
            let device = Device::of(CATALOG.gpu(gpu).unwrap(), dtype).unwrap();
            let (usual, spread) = Constants::usual(&device);
            let usual = usual.to_array();
            let constants = Constants::from_array(std::array::from_fn(|i| usual[i] * (spread[i] * away[i]).exp()));
            let (shape, setting) = (GemmShape { m, n, k }, Setting { weights: Weights::Cold, casts: false });
            let operands = Operands::of(&device, &constants, setting, shape);
            let (found, expected) = (fastest(&device, &constants, shape, &operands), plain(&device, &constants, shape, &operands));
            prop_assert_eq!(found.to_bits(), expected.to_bits(), "{} {}", found, expected);
        }

        #[test]
        fn whole_numbers_are_found_as_the_standard_library_does(x in prop_oneof![0.0..1e3f64, 0.0..1e17f64, (0u64..1 << 60).prop_map(|x| x as f64)]) {
            prop_assert_eq!(ceil(x), x.ceil());
        }
    }
}
