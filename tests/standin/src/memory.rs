//! Memory that really exists: device allocations and page-locked host memory, as anonymous mappings of this process.
//!
//! A device address is the address of the mapping, so that kernels compiled for the host run on it unchanged, and addresses are unique over
//! all devices as under unified addressing. Mappings reserve nothing: only touched pages cost anything. Every part of a block carries a
//! *generation*, raised by every write to it that this driver performs; equal generations therefore mean equal contents.

use std::collections::BTreeMap;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::code::Cu;

/// Drivers hand out large allocations in pages of this size.
pub(crate) const PAGE: u64 = 2 << 20;

/// Where a block lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a GPU.
    Device(usize),
    /// In host memory allocated through the driver.
    Pinned,
    /// In the program's own host memory, registered with the driver.
    Registered,
}

#[derive(Debug)]
struct Block {
    bytes: usize,
    place: Place,
    /// Of parts that were not written since.
    generation: u64,
    /// Parts written since, by their start: end and generation. No two overlap.
    written: BTreeMap<usize, (usize, u64)>,
}

impl Block {
    /// Starts of the parts that overlap with a range.
    fn parts(&self, at: usize, end: usize) -> impl Iterator<Item = (usize, (usize, u64))> + '_ {
        self.written.range(..end).rev().take_while(move |(_, (part_end, _))| *part_end > at).map(|(start, part)| (*start, *part))
    }

    fn write(&mut self, at: usize, end: usize, generation: u64) {
        let old: Vec<_> = self.parts(at, end).collect();
        for (start, (old_end, old_generation)) in old {
            self.written.remove(&start);
            if start < at {
                self.written.insert(start, (at, old_generation));
            }
            if old_end > end {
                self.written.insert(end, (old_end, old_generation));
            }
        }
        self.written.insert(at, (end, generation));
    }
}

/// All blocks, by address.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    blocks: BTreeMap<usize, Block>,
    generations: u64,
}

impl Memory {
    /// Maps `bytes` zeroed bytes.
    pub(crate) fn allocate(&mut self, bytes: usize, place: Place) -> Result<usize, Cu> {
        if bytes == 0 {
            return Err(Cu::INVALID_VALUE);
        }
        // SAFETY: a null hint and no FIXED flag, so no existing mapping is touched.
        let mapping = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE)
        };
        let address = mapping.map_err(|_| Cu::OUT_OF_MEMORY)? as usize;
        self.insert(address, bytes, place);
        Ok(address)
    }

    /// Notes host memory that the program registered.
    pub(crate) fn register(&mut self, address: usize, bytes: usize) -> Result<(), Cu> {
        if bytes == 0 || address == 0 {
            return Err(Cu::INVALID_VALUE);
        }
        let overlaps = self.blocks.range(..address + bytes).next_back().is_some_and(|(start, block)| start + block.bytes > address);
        if overlaps {
            return Err(Cu::HOST_MEMORY_ALREADY_REGISTERED);
        }
        self.insert(address, bytes, Place::Registered);
        Ok(())
    }

    fn insert(&mut self, address: usize, bytes: usize, place: Place) {
        self.generations += 1;
        self.blocks.insert(address, Block { bytes, place, generation: self.generations, written: BTreeMap::new() });
    }

    /// Gives back the block that starts at `address` if it is of the wanted kind.
    pub(crate) fn release(&mut self, address: usize, wanted: impl Fn(Place) -> bool) -> Option<Place> {
        let block = self.blocks.get(&address).filter(|block| wanted(block.place))?;
        let (bytes, place) = (block.bytes, block.place);
        self.blocks.remove(&address);
        if place != Place::Registered {
            // SAFETY: the mapping was made by `allocate` with this address and length and has just left the table.
            let unmapped = unsafe { munmap(address as *mut _, bytes) };
            debug_assert!(unmapped.is_ok());
        }
        Some(place)
    }

    /// Where the range lies, if it lies inside one block.
    pub(crate) fn place(&self, address: usize, bytes: usize) -> Option<Place> {
        self.block(address, bytes).map(|(_, block)| block.place)
    }

    /// Bytes from `address` to the end of its block.
    pub(crate) fn rest(&self, address: usize) -> usize {
        self.block(address, 1).map_or(0, |(start, block)| start + block.bytes - address)
    }

    /// The number of the last write to a range by this driver, and whether only this driver can write it; `None` outside all blocks.
    pub(crate) fn generation(&self, address: usize, bytes: usize) -> Option<(u64, bool)> {
        let (_, block) = self.block(address, 1)?;
        let last = block.parts(address, address.saturating_add(bytes.max(1))).map(|(_, (_, generation))| generation).max();
        Some((last.unwrap_or(block.generation), matches!(block.place, Place::Device(_))))
    }

    /// Notes that a range was written.
    pub(crate) fn written(&mut self, address: usize, bytes: usize) {
        self.generations += 1;
        let generation = self.generations;
        if let Some((start, block)) = self.blocks.range_mut(..=address).next_back()
            && start + block.bytes > address
        {
            block.write(address, address.saturating_add(bytes.max(1)), generation);
        }
    }

    /// Bytes in use on a device, as the driver counts them.
    pub(crate) fn used(&self, device: usize) -> u64 {
        self.blocks.values().filter(|block| block.place == Place::Device(device)).map(|block| footprint(block.bytes)).sum()
    }

    /// Count of blocks per kind, for the leak report: device, pinned, registered.
    pub(crate) fn alive(&self) -> [(&'static str, usize); 3] {
        let count = |wanted: fn(Place) -> bool| self.blocks.values().filter(|block| wanted(block.place)).count();
        [
            ("device memory", count(|place| matches!(place, Place::Device(_)))),
            ("pinned memory", count(|place| place == Place::Pinned)),
            ("registered memory", count(|place| place == Place::Registered)),
        ]
    }

    fn block(&self, address: usize, bytes: usize) -> Option<(usize, &Block)> {
        let (&start, block) = self.blocks.range(..=address).next_back()?;
        let end = address.checked_add(bytes)?;
        (end <= start + block.bytes && address < start + block.bytes).then_some((start, block))
    }
}

/// What an allocation takes from a device: small ones share pages, large ones are rounded up to pages.
pub(crate) fn footprint(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    if bytes < PAGE / 2 { bytes.next_multiple_of(512) } else { bytes.next_multiple_of(PAGE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_as_new_as_the_last_write_that_touched_it() {
        let mut memory = Memory::default();
        let at = memory.allocate(1000, Place::Device(0)).unwrap();
        let of = |memory: &Memory, from: usize, bytes: usize| memory.generation(at + from, bytes).unwrap().0;
        let untouched = of(&memory, 0, 1000);
        memory.written(at + 100, 100);
        let first = of(&memory, 100, 100);
        memory.written(at + 300, 100);
        assert!(untouched < first && first < of(&memory, 300, 100));
        assert_eq!([of(&memory, 0, 100), of(&memory, 200, 100), of(&memory, 100, 100)], [untouched, untouched, first]);
        assert_eq!(of(&memory, 0, 1000), of(&memory, 399, 1));
        // A write in the middle leaves both ends as they were; one across everything leaves nothing.
        memory.written(at + 140, 20);
        assert_eq!([of(&memory, 100, 40), of(&memory, 160, 40)], [first, first]);
        assert!(of(&memory, 159, 1) > of(&memory, 300, 100));
        memory.written(at + 50, 500);
        assert_eq!(of(&memory, 100, 1), of(&memory, 549, 1));
        assert_eq!(of(&memory, 550, 450), untouched);
        memory.release(at, |_| true).unwrap();
    }
}
