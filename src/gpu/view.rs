//! Typed pieces of memory that a device can reach, as kernels and copies take them.

use std::marker::PhantomData;

use cudarc::driver::sys::CUdeviceptr;

use super::device::Gpu;
use super::stream::Uses;
use crate::error::{Error, Result};
use crate::units::Bytes;

/// Four floats, loaded and stored as one 16-byte access.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[repr(C, align(16))]
pub struct Float4(pub [f32; 4]);

/// A type that device memory can hold: plain bits, every pattern of which is a value.
///
/// `u16` stands for BF16 and `u8` for the 8-bit floats where a kernel says so. The trait is closed.
pub trait Element: Copy + Default + Send + Sync + sealed::Sealed + 'static {
    /// Its spelling in the kernels' sources.
    const C_NAME: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($kind:ty => $name:literal),* $(,)?) => {$(
        impl sealed::Sealed for $kind {}
        impl Element for $kind {
            const C_NAME: &'static str = $name;
        }
    )*};
}

elements! {
    u8 => "unsigned char",
    u16 => "unsigned short",
    u32 => "unsigned int",
    u64 => "unsigned long long",
    f32 => "float",
    f64 => "double",
    Float4 => "float4",
}

/// A run of elements that a device can reach: in its own memory, in a peer's, or in pinned host memory.
#[derive(Clone, Copy)]
pub struct View<'a, T: Element> {
    region: Region<'a>,
    elements: PhantomData<&'a [T]>,
}

/// A run of bytes, where it lives, and who works on it.
#[derive(Clone, Copy)]
pub(super) struct Region<'a> {
    pub(super) address: CUdeviceptr,
    pub(super) bytes: u64,
    pub(super) uses: &'a Uses,
    /// The device whose memory it is; none for host memory, which every device reaches.
    pub(super) home: Option<&'a Gpu>,
}

impl<'a, T: Element> View<'a, T> {
    /// A view of as many whole elements as the region holds.
    pub(super) fn new(region: Region<'a>) -> Self {
        let bytes = region.bytes - region.bytes % size_of::<T>() as u64;
        Self { region: Region { bytes, ..region }, elements: PhantomData }
    }

    pub(super) const fn region(&self) -> Region<'a> {
        self.region
    }

    /// Number of elements.
    pub const fn len(&self) -> u64 {
        self.region.bytes / size_of::<T>() as u64
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size.
    pub const fn bytes(&self) -> Bytes {
        Bytes(self.region.bytes)
    }

    /// The `count` elements from element `first` on.
    ///
    /// # Errors
    /// [`Error::Usage`] when they are not all within the view.
    pub fn slice(&self, first: u64, count: u64) -> Result<Self> {
        if first.checked_add(count).is_none_or(|end| end > self.len()) {
            return Err(Error::usage(format!("expected a part of {} elements but found {count} from element {first} on", self.len())));
        }
        let size = size_of::<T>() as u64;
        Ok(Self::new(Region { address: self.region.address + first * size, bytes: count * size, ..self.region }))
    }

    /// The same bytes as elements of another type; bytes that make no whole element are left out.
    ///
    /// # Errors
    /// [`Error::Usage`] when the view does not begin where such an element may.
    pub fn cast<U: Element>(&self) -> Result<View<'a, U>> {
        if !self.region.address.is_multiple_of(align_of::<U>() as u64) {
            return Err(Error::usage(format!("expected an address that a {} can have but found an odd one", U::C_NAME)));
        }
        Ok(View::new(self.region))
    }
}

impl<T: Element> std::fmt::Debug for View<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View of {} {}", self.len(), T::C_NAME)
    }
}

/// An array a kernel reads: `const T*`.
#[derive(Debug, Clone, Copy)]
pub struct In<'a, T: Element>(pub View<'a, T>);

/// An array a kernel writes, or reads and writes: `T*`.
#[derive(Debug, Clone, Copy)]
pub struct Out<'a, T: Element>(pub View<'a, T>);

/// A place the host changes while the kernel watches it: `const volatile T*`.
#[derive(Debug, Clone, Copy)]
pub struct Flag<'a, T: Element>(pub View<'a, T>);

impl<'a, T: Element> From<View<'a, T>> for In<'a, T> {
    fn from(view: View<'a, T>) -> Self {
        Self(view)
    }
}

impl<'a, T: Element> From<View<'a, T>> for Out<'a, T> {
    fn from(view: View<'a, T>) -> Self {
        Self(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(uses: &Uses, bytes: u64) -> View<'_, u8> {
        View::new(Region { address: 4096, bytes, uses, home: None })
    }

    #[test]
    fn parts_stay_within_the_whole() {
        let uses = Uses::default();
        let words = view(&uses, 100).cast::<u64>().unwrap();
        assert_eq!(words.len(), 12);
        assert_eq!(words.bytes(), Bytes(96));
        let part = words.slice(2, 10).unwrap();
        assert_eq!((part.region().address, part.len()), (4096 + 16, 10));
        assert!(words.slice(2, 11).is_err());
        assert!(words.slice(u64::MAX, 2).is_err());
        assert!(words.slice(12, 0).unwrap().is_empty());
    }

    #[test]
    fn a_type_needs_its_alignment() {
        let uses = Uses::default();
        let bytes = view(&uses, 64);
        assert_eq!(bytes.slice(16, 32).unwrap().cast::<Float4>().unwrap().len(), 2);
        assert!(bytes.slice(8, 32).unwrap().cast::<Float4>().is_err());
        assert!(bytes.slice(8, 32).unwrap().cast::<u64>().is_ok());
    }
}
