//! Memory that really exists: device allocations and page-locked host memory, as anonymous mappings of this process.
//!
//! A device address is the address of the mapping, so that kernels compiled for the host run on it unchanged, and addresses are unique over
//! all devices as under unified addressing. Mappings reserve nothing: only touched pages cost anything. Every part of a block carries a
//! *generation*, raised by every write to it that this driver performs; equal generations therefore mean equal contents.
//!
//! A *fake* device claims more memory than it has. Its blocks get places in what it claims, and are mapped onto what there is: places beyond
//! the end onto the beginning again. A write to one block may change another there, so generations prove nothing.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use crate::code::Cu;

/// Drivers hand out large allocations in pages of this size.
pub(crate) const PAGE: u64 = 2 << 20;

/// Mappings begin at multiples of this.
const HOST_PAGE: usize = 4096;

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
    /// NUMA node of host memory: that of the processor which asked for it.
    node: Option<u32>,
    /// Where it begins in the memory that a fake device claims.
    claimed: Option<usize>,
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
    /// Devices that claim more than they have, and how many bytes that is.
    fakes: HashMap<usize, u64>,
    /// What they have, once something was allocated there.
    cells: HashMap<usize, OwnedFd>,
}

impl Memory {
    /// Memory of a machine with these fake devices and the bytes that each really has.
    pub(crate) fn with_fakes(fakes: HashMap<usize, u64>) -> Self {
        Self { fakes, ..Self::default() }
    }

    /// Maps `bytes` zeroed bytes; those of a fake device are as they were left.
    pub(crate) fn allocate(&mut self, bytes: usize, place: Place) -> Result<usize, Cu> {
        if bytes == 0 {
            return Err(Cu::INVALID_VALUE);
        }
        // SAFETY: a null hint and no FIXED flag, so no existing mapping is touched.
        let mapping = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE)
        };
        let address = mapping.map_err(|_| Cu::OUT_OF_MEMORY)? as usize;
        let claimed = match place {
            Place::Device(device) => self.alias(device, address, bytes)?,
            _ => None,
        };
        self.insert(address, bytes, place, claimed);
        Ok(address)
    }

    /// On a fake device, maps the cells that there are over a new mapping of `bytes`, and says where it begins in what the device claims.
    fn alias(&mut self, device: usize, address: usize, bytes: usize) -> Result<Option<usize>, Cu> {
        let Some(&real) = self.fakes.get(&device) else { return Ok(None) };
        let real = usize::try_from(real).map_err(|_| Cu::OUT_OF_MEMORY)?.next_multiple_of(HOST_PAGE);
        let claimed = self.gap(device, bytes);
        let cells = match self.cells.entry(device) {
            std::collections::hash_map::Entry::Occupied(cells) => cells.into_mut(),
            std::collections::hash_map::Entry::Vacant(none) => none.insert(cells_of(real)?),
        };
        let mut done = 0;
        while done < bytes {
            let at = (claimed + done) % real;
            let part = (bytes - done).min(real - at);
            // SAFETY: FIXED replaces pages of the mapping of `bytes` that `allocate` has just made at `address` and given to nobody yet.
            let mapping = unsafe {
                let flags = MapFlags::SHARED | MapFlags::FIXED;
                mmap((address + done) as *mut _, part, ProtFlags::READ | ProtFlags::WRITE, flags, &*cells, at as u64)
            };
            mapping.map_err(|_| Cu::OUT_OF_MEMORY)?;
            done += part;
        }
        Ok(Some(claimed))
    }

    /// The first place in what a fake device claims where `bytes` are free.
    fn gap(&self, device: usize, bytes: usize) -> usize {
        let on_it = self.blocks.values().filter(|block| block.place == Place::Device(device));
        let mut taken: Vec<(usize, usize)> = on_it.filter_map(|block| Some((block.claimed?, block.bytes))).collect();
        taken.sort_unstable();
        let mut place = 0;
        for (start, length) in taken {
            if place + bytes <= start {
                break;
            }
            place = (start + length).next_multiple_of(HOST_PAGE);
        }
        place
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
        self.insert(address, bytes, Place::Registered, None);
        Ok(())
    }

    fn insert(&mut self, address: usize, bytes: usize, place: Place, claimed: Option<usize>) {
        self.generations += 1;
        let node = if matches!(place, Place::Device(_)) { None } else { node_of_this_thread() };
        self.blocks.insert(address, Block { bytes, place, node, claimed, generation: self.generations, written: BTreeMap::new() });
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

    /// The NUMA node of host memory, where the system tells.
    pub(crate) fn node(&self, address: usize) -> Option<u32> {
        self.block(address, 1).and_then(|(_, block)| block.node)
    }

    /// Bytes from `address` to the end of its block.
    pub(crate) fn rest(&self, address: usize) -> usize {
        self.block(address, 1).map_or(0, |(start, block)| start + block.bytes - address)
    }

    /// The number of the last write to a range by this driver, and whether nothing else can write it; `None` outside all blocks.
    pub(crate) fn generation(&self, address: usize, bytes: usize) -> Option<(u64, bool)> {
        let (_, block) = self.block(address, 1)?;
        let last = block.parts(address, address.saturating_add(bytes.max(1))).map(|(_, (_, generation))| generation).max();
        let sole = matches!(block.place, Place::Device(_)) && block.claimed.is_none();
        Some((last.unwrap_or(block.generation), sole))
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

/// The NUMA node of the processor that the calling thread runs on.
fn node_of_this_thread() -> Option<u32> {
    let folder = format!("/sys/devices/system/cpu/cpu{}", rustix::thread::sched_getcpu());
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.strip_prefix("node")?.parse().ok()).next()
}

/// What a fake device really has.
fn cells_of(bytes: usize) -> Result<OwnedFd, Cu> {
    let cells = memfd_create("gpu-assay-standin", MemfdFlags::CLOEXEC).map_err(|_| Cu::OUT_OF_MEMORY)?;
    ftruncate(&cells, bytes as u64).map_err(|_| Cu::OUT_OF_MEMORY)?;
    Ok(cells)
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
    fn a_fake_device_reaches_its_first_cell_again_behind_its_last() {
        let mut memory = Memory::with_fakes(HashMap::from([(0, 3 * HOST_PAGE as u64)]));
        let byte = |at: usize| at as *mut u8;
        let first = memory.allocate(2 * HOST_PAGE, Place::Device(0)).unwrap();
        let second = memory.allocate(2 * HOST_PAGE, Place::Device(0)).unwrap();
        // SAFETY: all within the two mappings just made.
        unsafe {
            byte(first).write(1);
            byte(second).write(2);
            assert_eq!((byte(first).read(), byte(second).read()), (1, 2), "there is room for three pages");
            byte(second + HOST_PAGE).write(3);
            assert_eq!(byte(first).read(), 3, "the fourth is the first");
        }
        assert!(!memory.generation(first, 1).unwrap().1, "a write to one block may change the other");
        memory.release(first, |_| true).unwrap();
        let third = memory.allocate(HOST_PAGE, Place::Device(0)).unwrap();
        // SAFETY: within the mapping just made.
        assert_eq!(unsafe { byte(third).read() }, 3, "what was given back is given out again");
    }

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
