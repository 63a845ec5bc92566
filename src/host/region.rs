//! Page-aligned memory straight from the kernel.

use std::ptr::NonNull;
use std::{io, slice};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

use super::pages::{Pages, Placement};
use crate::units::Bytes;

/// Zeroed, page-aligned memory of this process. No page exists until it is first touched, and then it comes from the NUMA node of the
/// touching thread, or from the node asked for.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    bytes: usize,
    /// The mapping that it is a part of: first byte and length.
    mapping: (NonNull<u8>, usize),
    bound: bool,
}

/// Numbers of which every bit pattern is a value, so that zeroed or foreign memory holds valid ones.
pub trait Plain: sealed::Sealed + Copy {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u64 {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl<T: sealed::Sealed + Copy> Plain for T {}

// SAFETY: the mapping belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for Region {}
// SAFETY: a shared reference gives only shared slices of plain numbers.
unsafe impl Sync for Region {}

impl Region {
    /// `bytes` of memory on huge pages where the kernel grants them, on NUMA node `node` if one is named. That the node is not to be had is
    /// no error: see [`Self::is_bound`].
    ///
    /// # Errors
    /// When `bytes` is zero or the kernel has no room for it.
    pub fn new(bytes: Bytes, node: Option<u32>) -> io::Result<Self> {
        let length = usize::try_from(bytes.0).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh anonymous private mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE)?
        };
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut region = Self { start, bytes: length, mapping: (start, length), bound: false };
        // SAFETY: the range is the mapping just made; the advice changes no contents. Refusal only costs speed, so it is ignored.
        let _ = unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxHugepage) };
        region.bound = node.is_some_and(|node| region.prefer(node));
        Ok(region)
    }

    /// As [`Self::new`], but begun where a page of the kind asked for begins, and apart from all other memory, so that the kernel tells about it
    /// alone: see [`Self::placement`]. That such pages are not to be had is no error either.
    ///
    /// # Errors
    /// When `bytes` is zero, the kernel has no room for it, or no pages of that kind at all.
    pub fn on_pages(bytes: Bytes, node: Option<u32>, pages: Pages) -> io::Result<Self> {
        let length = usize::try_from(bytes.0).ok().filter(|length| *length > 0).ok_or(io::ErrorKind::InvalidInput)?;
        let unit = pages.size().and_then(|size| usize::try_from(size.0).ok()).ok_or(io::ErrorKind::Unsupported)?;
        // A page at either end stays out of reach: the kernel joins neighbours that are alike into one.
        let whole = unit.checked_mul(2).and_then(|ends| length.checked_add(ends)).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: as in `new`.
        let first = unsafe { mmap_anonymous(std::ptr::null_mut(), whole, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)? };
        let first = NonNull::new(first.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // The first multiple of the unit behind the mapping's first byte: at most a unit in, so that a unit or more is left behind the end.
        let skipped = unit - first.as_ptr().addr() % unit;
        // SAFETY: `skipped` is at most `unit`, and the mapping is longer than that.
        let start = unsafe { first.add(skipped) };
        let mut region = Self { start, bytes: length, mapping: (first, whole), bound: false };
        // SAFETY: the range lies within the mapping just made, which nobody else knows.
        unsafe { mprotect(start.as_ptr().cast(), length, MprotectFlags::READ | MprotectFlags::WRITE)? };
        let advice = if pages == Pages::Huge { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
        // SAFETY: as in `new`.
        let _ = unsafe { madvise(start.as_ptr().cast(), length, advice) };
        region.bound = node.is_some_and(|node| region.prefer(node));
        Ok(region)
    }

    /// What pages it is on, and on which NUMA nodes, once it was touched. Only memory of [`Self::on_pages`] is told apart from what lies
    /// beside it.
    pub fn placement(&self) -> Placement {
        Placement::of(self.start.as_ptr().addr())
    }

    /// Whether the kernel accepted the NUMA node asked for. Containers often refuse; then first touch decides.
    pub const fn is_bound(&self) -> bool {
        self.bound
    }

    /// The memory as numbers; bytes beyond the last whole one are left out.
    pub fn as_slice<T: Plain>(&self) -> &[T] {
        // SAFETY: the mapping is live, page-aligned, at least this long and zeroed by the kernel; every bit pattern is a `T`.
        unsafe { slice::from_raw_parts(self.start.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }

    /// The memory as numbers that can be written.
    pub fn as_mut_slice<T: Plain>(&mut self) -> &mut [T] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }

    /// Ask that pages come from `node` while it has some (`MPOL_PREFERRED`: a full node must not end the process).
    fn prefer(&self, node: u32) -> bool {
        const MPOL_PREFERRED: libc::c_int = 1;
        const WORD: u32 = libc::c_ulong::BITS;
        let mut mask: [libc::c_ulong; 16] = [0; 16];
        let Some(word) = mask.get_mut((node / WORD) as usize) else { return false };
        *word = 1 << (node % WORD);
        // SAFETY: `mbind` reads the mask (the bit count passed is its own size) and sets a policy on our own mapping only.
        let refused = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.start.as_ptr(),
                self.bytes,
                MPOL_PREFERRED,
                mask.as_ptr(),
                libc::c_ulong::from(WORD) * mask.len() as libc::c_ulong,
                0 as libc::c_uint,
            )
        };
        refused == 0
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let (first, length) = self.mapping;
        // SAFETY: the mapping was made with this length, and every slice of it borrowed from `self`.
        // Failure would mean the range is not ours, which the constructors rule out.
        let _ = unsafe { munmap(first.as_ptr().cast(), length) };
    }
}

impl AsMut<[u8]> for Region {
    fn as_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_writable() {
        let mut region = Region::new(Bytes::mib(3), None).unwrap();
        assert!(!region.is_bound());
        assert_eq!(region.as_slice::<f64>().len(), 3 << 17);
        assert!(region.as_slice::<u64>().iter().all(|&word| word == 0));
        assert_eq!(region.as_slice::<u8>().as_ptr() as usize % 4096, 0);
        region.as_mut_slice::<f64>().fill(1.5);
        assert!(region.as_slice::<f64>().iter().all(|&value| value == 1.5));
    }

    #[test]
    fn what_cannot_be_had_is_an_error_or_said() {
        assert!(Region::new(Bytes(0), None).is_err());
        assert!(Region::new(Bytes(u64::MAX), None).is_err());
        assert!(!Region::new(Bytes::mib(1), Some(9999)).unwrap().is_bound(), "no machine has that node");
        for pages in [Pages::Base, Pages::Huge] {
            assert!(Region::on_pages(Bytes(0), None, pages).is_err());
            assert!(Region::on_pages(Bytes(u64::MAX), None, pages).is_err());
        }
    }

    #[test]
    fn memory_on_pages_begins_where_one_begins_and_is_told_of_alone() {
        for (pages, bytes) in [(Pages::Base, Bytes::kib(4) * 3 + Bytes(5)), (Pages::Base, Bytes::mib(8)), (Pages::Huge, Bytes::mib(8))] {
            let Some(size) = pages.size() else { continue };
            let mut region = Region::on_pages(bytes, None, pages).unwrap();
            let memory = region.as_mut_slice::<u8>();
            assert_eq!((memory.as_ptr().addr() as u64 % size.0, memory.len() as u64), (0, bytes.0), "{pages:?}");
            assert!(memory.iter().all(|byte| *byte == 0));
            memory.fill(7);
            let placement = region.placement();
            if pages == Pages::Base {
                // A kernel without huge pages leaves the field out.
                assert!(placement.huge.is_none_or(|huge| huge == Bytes(0)), "{placement:?}");
            }
            assert!(placement.huge.is_none_or(|huge| huge <= bytes), "{placement:?}");
            // In whatever pages it counts them, there is one at least, and none beyond the memory's own.
            let count: Option<u64> = placement.nodes.as_ref().map(|nodes| nodes.values().sum());
            let most = bytes.0.div_ceil(Pages::Base.size().unwrap().0);
            assert!(count.is_none_or(|count| (1..=most).contains(&count)), "{placement:?}");
        }
    }

    #[test]
    fn a_region_can_be_handed_to_another_thread() {
        let mut region = Region::new(Bytes::kib(4), None).unwrap();
        let region = std::thread::spawn(move || {
            region.as_mut_slice::<u8>()[7] = 9;
            region
        });
        assert_eq!(region.join().unwrap().as_slice::<u8>()[7], 9);
    }
}
