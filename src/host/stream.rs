//! The four STREAM kernels, written with non-temporal stores.
//!
//! An ordinary store to a line that is not in the cache first reads the line (*write-allocate*): triad then moves 32 bytes per element
//! where STREAM's rule counts 24. A **non-temporal** store hands whole lines to memory unread, so what is counted is what moves. On x86-64
//! the widest such store the processor has is used; other architectures detect streaming by themselves and take the plain loop.
//!
//! All slices of a call have the same length; elements beyond the shortest are left alone. Counted per element, as STREAM counts:
//! copy and scale 16 bytes, add and triad 24.

/// One of STREAM's kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// `a = b`
    Copy,
    /// `a = 3 b`
    Scale,
    /// `a = b + c`
    Add,
    /// `a = b + 3 c`
    Triad,
}

/// STREAM's scalar.
pub const SCALAR: f64 = 3.0;

impl Kernel {
    /// All four, in STREAM's order.
    pub const ALL: [Self; 4] = [Self::Copy, Self::Scale, Self::Add, Self::Triad];

    /// STREAM's name for it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Scale => "scale",
            Self::Add => "add",
            Self::Triad => "triad",
        }
    }

    /// Bytes read and written per element.
    pub const fn bytes_per_element(self) -> u64 {
        match self {
            Self::Copy | Self::Scale => 16,
            Self::Add | Self::Triad => 24,
        }
    }

    /// What becomes of one element: the definition that the fast forms must agree with.
    pub const fn element(self, b: f64, c: f64) -> f64 {
        match self {
            Self::Copy => b,
            Self::Scale => SCALAR * b,
            Self::Add => b + c,
            Self::Triad => b + SCALAR * c,
        }
    }

    /// Do it: `a` is written, `b` and (for add and triad) `c` are read. All stores are visible to other threads on return.
    pub fn run(self, a: &mut [f64], b: &[f64], c: &[f64]) {
        let n = a.len().min(b.len()).min(c.len());
        let (a, b, c) = (&mut a[..n], &b[..n], &c[..n]);
        #[cfg(target_arch = "x86_64")]
        {
            // Non-temporal stores need an aligned target: the elements before the first whole line are done plainly.
            let head = a.as_ptr().align_offset(LINE).min(n);
            let body = head + (n - head) / PER_LINE * PER_LINE;
            self.plain(&mut a[..head], &b[..head], &c[..head]);
            self.plain(&mut a[body..], &b[body..], &c[body..]);
            x86::run(self, &mut a[head..body], &b[head..body], &c[head..body]);
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.plain(a, b, c);
    }

    fn plain(self, a: &mut [f64], b: &[f64], c: &[f64]) {
        // One loop per kernel, so that each vectorises and copy and scale do not read `c`.
        match self {
            Self::Copy => a.copy_from_slice(b),
            Self::Scale => a.iter_mut().zip(b).for_each(|(a, b)| *a = SCALAR * b),
            Self::Add => a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + c),
            Self::Triad => a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = b + SCALAR * c),
        }
    }
}

/// How [`Kernel::run`] stores on this processor.
pub fn stores() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        match x86::level() {
            x86::Level::Avx512 => "non-temporal, AVX-512",
            x86::Level::Avx => "non-temporal, AVX",
            x86::Level::Sse2 => "non-temporal, SSE2",
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    "plain"
}

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;
/// Elements in a cache line.
#[cfg(target_arch = "x86_64")]
const PER_LINE: usize = LINE / size_of::<f64>();

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, LINE, PER_LINE, SCALAR};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Level {
        Sse2,
        Avx,
        Avx512,
    }

    /// The widest this processor has; the answer is cached by the standard library.
    pub(super) fn level() -> Level {
        if is_x86_feature_detected!("avx512f") {
            Level::Avx512
        } else if is_x86_feature_detected!("avx") {
            Level::Avx
        } else {
            Level::Sse2
        }
    }

    pub(super) fn run(kernel: Kernel, a: &mut [f64], b: &[f64], c: &[f64]) {
        run_at(level(), kernel, a, b, c);
    }

    pub(super) fn run_at(level: Level, kernel: Kernel, a: &mut [f64], b: &[f64], c: &[f64]) {
        assert!(a.len() == b.len() && a.len() == c.len() && a.len().is_multiple_of(PER_LINE));
        assert!(a.is_empty() || (a.as_ptr() as usize).is_multiple_of(LINE));
        match level {
            // SAFETY: the lengths and the alignment were just checked, and `level` names what the processor was found to have.
            Level::Avx512 => unsafe { avx512::run(kernel, a, b, c) },
            // SAFETY: as above.
            Level::Avx => unsafe { avx::run(kernel, a, b, c) },
            // SAFETY: as above; SSE2 is part of x86-64.
            Level::Sse2 => unsafe { sse2::run(kernel, a, b, c) },
        }
    }

    /// The kernels at one vector width. The loops are written out per line and not over slices of lanes, because bounds checks and the
    /// compiler's own choice of stores are exactly what must not be here.
    macro_rules! kernels {
        ($name:ident, $feature:literal, $load:ident, $stream:ident, $splat:ident, $mul:ident, $add:ident, $lanes:literal) => {
            mod $name {
                use super::*;

                /// # Safety
                /// The three slices have one length, a multiple of a line; `a` starts on a line; the processor has the feature.
                #[target_feature(enable = $feature)]
                pub(super) unsafe fn run(kernel: Kernel, a: &mut [f64], b: &[f64], c: &[f64]) {
                    let (end, scalar) = (a.len(), $splat(SCALAR));
                    let (a, b, c) = (a.as_mut_ptr(), b.as_ptr(), c.as_ptr());
                    macro_rules! each_line {
                        (|$i:ident| $value:expr) => {
                            for line in (0..end).step_by(PER_LINE) {
                                for lane in (0..PER_LINE).step_by($lanes) {
                                    let $i = line + lane;
                                    // SAFETY: `$i` + lanes is at most `end`, the length of all three; `a` + `$i` is aligned to the vector
                                    // because `a` is aligned to a line and `$i` is a multiple of the lanes.
                                    unsafe { $stream(a.add($i), $value) };
                                }
                            }
                        };
                    }
                    match kernel {
                        Kernel::Copy => each_line!(|i| $load(b.add(i))),
                        Kernel::Scale => each_line!(|i| $mul(scalar, $load(b.add(i)))),
                        Kernel::Add => each_line!(|i| $add($load(b.add(i)), $load(c.add(i)))),
                        Kernel::Triad => each_line!(|i| $add($load(b.add(i)), $mul(scalar, $load(c.add(i))))),
                    }
                    // Non-temporal stores are weakly ordered: without the fence another thread could see "finished" before the data.
                    _mm_sfence();
                }
            }
        };
    }

    kernels!(avx512, "avx512f", _mm512_loadu_pd, _mm512_stream_pd, _mm512_set1_pd, _mm512_mul_pd, _mm512_add_pd, 8);
    kernels!(avx, "avx", _mm256_loadu_pd, _mm256_stream_pd, _mm256_set1_pd, _mm256_mul_pd, _mm256_add_pd, 4);
    kernels!(sse2, "sse2", _mm_loadu_pd, _mm_stream_pd, _mm_set1_pd, _mm_mul_pd, _mm_add_pd, 2);

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::host::Region;
        use crate::units::Bytes;

        #[test]
        fn every_width_this_processor_has_gives_the_defined_values() {
            let mut region = Region::new(Bytes::kib(4), None).unwrap();
            let a = &mut region.as_mut_slice::<f64>()[..64];
            let b: Vec<f64> = (0..64).map(f64::from).collect();
            let c: Vec<f64> = (0..64).map(|i| f64::from(1000 - 7 * i)).collect();
            let widths = [(Level::Sse2, true), (Level::Avx, level() != Level::Sse2), (Level::Avx512, level() == Level::Avx512)];
            for (level, _) in widths.into_iter().filter(|(_, present)| *present) {
                for kernel in Kernel::ALL {
                    a.fill(f64::NAN);
                    run_at(level, kernel, a, &b, &c);
                    for i in 0..64 {
                        assert_eq!(a[i], kernel.element(b[i], c[i]), "{level:?} {kernel:?} {i}");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_lengths_and_alignments_give_the_defined_values(length in 0usize..100, offset in 0usize..16, which in 0usize..4, seed: u32) {
            let kernel = Kernel::ALL[which];
            let mut a = vec![-1.0; offset + length + 3];
            let b: Vec<f64> = (0..length + 5).map(|i| f64::from(seed >> 8) + i as f64).collect();
            let c: Vec<f64> = (0..length + 9).map(|i| i as f64 - 4.0).collect();
            kernel.run(&mut a[offset..offset + length], &b, &c);
            for (i, a) in a.iter().enumerate() {
                let expected = if (offset..offset + length).contains(&i) { kernel.element(b[i - offset], c[i - offset]) } else { -1.0 };
                prop_assert_eq!(*a, expected, "{:?} at {}", kernel, i);
            }
        }
    }

    #[test]
    fn bytes_are_counted_as_stream_counts_them() {
        assert_eq!(Kernel::ALL.map(Kernel::bytes_per_element), [16, 16, 24, 24]);
        assert!(!stores().is_empty());
    }
}
