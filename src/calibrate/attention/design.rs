//! The shapes whose timings calibrate the model.
//!
//! They are the same for every GPU and were chosen from the formulas alone: each term shows almost by itself somewhere (a launch with
//! nothing to do, many blocks of little work, the longest tile alone, all SMs busy, a context split or not), at the smallest, usual and
//! largest head size where kernels differ by it. Together they take well under a second to measure.

use super::AttentionShape;

/// Twenty-four prefill shapes: batch, tokens, heads, key-value heads, features of a head. The first ones matter most.
const PREFILL: [[u64; 5]; 24] = [
    [8, 8192, 32, 4, 128],
    [1, 16, 1, 1, 128],
    [256, 16, 48, 8, 128],
    [8, 2048, 32, 8, 128],
    [64, 128, 64, 64, 128],
    [1, 8192, 2, 1, 128],
    [8, 16384, 32, 4, 64],
    [1, 16, 1, 1, 64],
    [4, 8192, 32, 4, 256],
    [1, 16, 1, 1, 256],
    [256, 16, 48, 8, 64],
    [256, 128, 96, 1, 128],
    [256, 16, 48, 8, 256],
    [16, 1024, 32, 8, 64],
    [16, 1024, 32, 8, 256],
    [2, 2048, 16, 4, 128],
    [1, 8192, 1, 1, 64],
    [1, 8192, 1, 1, 256],
    [128, 128, 32, 32, 256],
    [256, 128, 96, 1, 64],
    [4, 4096, 8, 2, 128],
    [2, 512, 32, 8, 64],
    [8, 512, 8, 8, 256],
    [16, 2048, 4, 2, 192],
];

/// Twenty-four steps of decoding: batch, context, heads, key-value heads, features of a head. The first ones matter most.
const DECODE: [[u64; 5]; 24] = [
    [64, 8192, 32, 8, 128],
    [64, 1024, 32, 32, 128],
    [1, 128, 8, 8, 128],
    [64, 8, 8, 2, 128],
    [1024, 16, 32, 4, 128],
    [1024, 8, 16, 16, 128],
    [4, 1024, 32, 4, 128],
    [8, 32768, 1, 1, 128],
    [8, 2048, 1, 1, 128],
    [128, 256, 128, 2, 128],
    [1, 32768, 32, 4, 128],
    [1, 8, 1, 1, 64],
    [64, 8, 8, 2, 64],
    [1, 8, 1, 1, 256],
    [64, 8, 8, 2, 256],
    [32, 8192, 64, 2, 256],
    [1024, 16, 32, 4, 64],
    [1024, 16, 32, 4, 256],
    [16, 4096, 16, 16, 64],
    [256, 64, 64, 2, 128],
    [1024, 8, 8, 8, 64],
    [4, 4096, 32, 4, 256],
    [1, 16384, 32, 4, 64],
    [4, 512, 32, 8, 256],
];

/// The shapes for prefill, most telling first.
pub fn prefill() -> [AttentionShape; 24] {
    PREFILL.map(|[batch, tokens, heads, kv_heads, head_dim]| AttentionShape::prefill(batch, tokens, heads, kv_heads, head_dim))
}

/// The shapes for decoding, most telling first.
pub fn decode() -> [AttentionShape; 24] {
    DECODE.map(|[batch, context, heads, kv_heads, head_dim]| AttentionShape::decode(batch, context, heads, kv_heads, head_dim))
}

/// For each of `wanted` the place of the nearest of `available` that is not taken yet, by the ratios of their dimensions; fewer where
/// there are not enough. A ratio between head sizes counts twice, since kernels are compiled for each.
pub fn nearest(wanted: &[AttentionShape], available: &[AttentionShape]) -> Vec<usize> {
    let logs = |shape: &AttentionShape| -> [f64; 5] {
        let log = |value: u64| (value.max(1) as f64).log2();
        [log(shape.batch), log(shape.context), log(shape.heads), log(shape.kv_heads), 2.0 * log(shape.head_dim)]
    };
    let places: Vec<[f64; 5]> = available.iter().map(logs).collect();
    let mut taken = Vec::new();
    for shape in wanted {
        let here = logs(shape);
        let distance = |place: &[f64; 5]| place.iter().zip(&here).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let free = places.iter().enumerate().filter(|(index, _)| !taken.contains(index));
        let closest = free.min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)));
        taken.extend(closest.map(|(index, _)| index));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn designs_are_distinct_and_possible() {
        for design in [prefill(), decode()] {
            for (index, shape) in design.iter().enumerate() {
                assert!(!design[..index].contains(shape), "{shape:?}");
                assert_eq!(shape.heads % shape.kv_heads, 0, "{shape:?}");
            }
        }
        assert!(decode().iter().all(|shape| shape.queries == 1 && shape.context > 1));
        assert!(prefill().iter().all(|shape| shape.queries == shape.context));
    }

    #[test]
    fn the_nearest_is_taken_once() {
        let available = [AttentionShape::decode(1, 100, 8, 8, 128), AttentionShape::decode(1, 1000, 8, 8, 128)];
        let wanted = [AttentionShape::decode(1, 128, 8, 8, 128); 3];
        assert_eq!(nearest(&wanted, &available), [0, 1]);
        assert_eq!(nearest(&decode(), &decode()), (0..24).collect::<Vec<_>>());
    }
}
