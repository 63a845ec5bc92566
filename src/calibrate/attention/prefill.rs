//! Prefill: many queries of a sequence at once, causal.
//!
//! A fused kernel (FlashAttention-2, Dao 2023; TensorRT-LLM's context FMHA) gives each **block** a **tile** of rows of queries of one
//! head and walks over the keys they see, some columns at a time. Per score that is 4·head_dim operations on the tensor cores and one
//! exponential, of which an SM does 16 per cycle (CUDA C++ Programming Guide, arithmetic throughput), several times slower than the
//! tensor cores do their part when heads are small. FlashAttention-3 (Shah et al. 2024, section 3.1) makes the same count, and hides part
//! of the exponentials behind the products.
//!
//! Causal tiles are of unequal length: the last rows see the whole context, the first almost nothing. Blocks are dealt to the SMs as
//! they become free, so by Graham's bound (1969) the last SM is done at most one longest tile after the mean: the time is total / SMs + κ ·
//! longest, and never below the longest tile alone.
//!
//! Before it, a kernel of its own rotates queries and keys and writes keys and values to the cache: memory traffic of the new tokens.

use super::device::Device;
use super::fit::Term;
use super::work::Work;

/// Columns of keys taken at a time.
const COLUMNS: f64 = 32.0;
/// Exponentials that an SM does per cycle.
const EXPONENTIALS: f64 = 16.0;

/// How tall the tiles may be; which it is depends on the generation, and the fit finds out.
pub(super) const ROWS: [f64; 3] = [64.0, 128.0, 256.0];

/// What only a machine can tell.
pub(super) const TERMS: [Term; 7] = [
    // Launching both kernels, µs.
    Term::new(12.0, 0.5, 0.15),
    // Passes over the bytes of the queries while preparing them.
    Term::new(2.2, 0.5, 0.1),
    // Passes over those of the new keys and values.
    Term::new(0.9, 0.5, 0.1),
    // Cycles to start and end a tile.
    Term::new(4600.0, 0.5, 0.25),
    // Tensor time over that at the peak.
    Term::new(1.4, 0.4, 0.15),
    // Share of the exponentials that is not hidden.
    Term::new(0.6, 0.5, 0.2),
    // κ.
    Term::new(0.5, 0.4, 0.0),
];

/// Time in µs, with tiles of `rows` rows.
pub(super) fn time(device: &Device, rows: f64, terms: &[f64; 7], work: &Work) -> f64 {
    let [floor, query_passes, key_passes, tile_cycles, tensor, exposed, tail] = *terms;
    let passes = query_passes * work.heads + 2.0 * key_passes * work.kv_heads;
    let prepare = 4.0 * work.head_dim * work.batch * work.queries * passes / device.bandwidth;
    let score = tensor * 4.0 * work.head_dim / device.sm_flops + exposed / (EXPONENTIALS * device.clock);
    let column = rows * COLUMNS * score;
    let tile = tile_cycles / device.clock;
    let tiles = (work.queries / rows).ceil();
    let (columns, longest) = columns(rows, tiles, work);
    let total = work.batch * work.heads * (tiles * tile + columns * column) / device.sms;
    let longest = tile + longest * column;
    floor + prepare + (total + tail * longest).max(longest)
}

/// Groups of columns that the tiles of one head walk over, all together and the longest. The last tile ends at the last key, the one
/// before it `rows` earlier, and so on; a window caps each.
fn columns(rows: f64, tiles: f64, work: &Work) -> (f64, f64) {
    let falling = |tiles: f64, first: f64, per_tile: f64| tiles * (first - per_tile * (tiles - 1.0) / 2.0);
    let per_tile = rows / COLUMNS;
    let whole = (work.context / COLUMNS).ceil();
    let cap = ((work.window + rows) / COLUMNS).ceil().min(whole);
    let capped = ((whole - cap) / per_tile).ceil().clamp(0.0, tiles);
    let rest = falling(tiles - capped, whole - capped * per_tile, per_tile);
    ((capped * cap + rest).max(tiles), cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(queries: f64, context: f64, window: f64) -> Work {
        Work { batch: 1.0, queries, context, heads: 1.0, kv_heads: 1.0, head_dim: 128.0, window }
    }

    #[test]
    fn causal_tiles_walk_over_about_half() {
        assert_eq!(columns(128.0, 4.0, &work(512.0, 512.0, f64::MAX)), (4.0 + 8.0 + 12.0 + 16.0, 16.0));
        assert_eq!(columns(128.0, 1.0, &work(1.0, 1.0, f64::MAX)), (1.0, 1.0));
    }

    #[test]
    fn a_later_chunk_sees_what_came_before() {
        assert_eq!(columns(128.0, 2.0, &work(256.0, 512.0, f64::MAX)), (12.0 + 16.0, 16.0));
    }

    #[test]
    fn a_window_caps_every_tile() {
        assert_eq!(columns(128.0, 4.0, &work(512.0, 512.0, 128.0)), (4.0 + 8.0 + 8.0 + 8.0, 8.0));
        assert_eq!(columns(64.0, 8.0, &work(512.0, 512.0, 1e6)), columns(64.0, 8.0, &work(512.0, 512.0, f64::MAX)));
    }
}
