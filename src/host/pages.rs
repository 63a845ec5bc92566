//! On which pages and on which NUMA nodes memory lies, as the kernel tells it.
//!
//! A **page** is what the kernel hands memory out in: 4 KiB on most systems, the *base* page. *Huge* pages (2 MiB on most) make tables of
//! addresses shorter, the processor's and, where the system has one, the IOMMU's that a GPU's accesses go through. A program can ask for them,
//! and for a node, but the kernel may have neither, and says nothing then. So what was got is read back: the count of huge pages
//! from `/proc/self/smaps`, that of pages on each node from `/proc/self/numa_maps`. Neither needs a privilege.

use std::collections::BTreeMap;
use std::fs;

use crate::units::Bytes;

/// The kernel's name for the size of its huge pages, in bytes.
const HUGE_PAGE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

/// When the kernel gives huge pages, the mode that holds in brackets: `always [madvise] never`.
const POLICY: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// What the kernel says about when it gives huge pages.
pub fn policy() -> Option<String> {
    Some(fs::read_to_string(POLICY).ok()?.trim().to_owned())
}

/// What pages memory is wanted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// The kernel's smallest, even where it would give huge ones unasked.
    Base,
    /// Transparent huge pages.
    Huge,
}

impl Pages {
    /// Their name in case ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Huge => "huge",
        }
    }

    /// Their size; of huge ones `None` where the kernel has none.
    pub fn size(self) -> Option<Bytes> {
        match self {
            Self::Base => base_page(),
            Self::Huge => fs::read_to_string(HUGE_PAGE).ok()?.trim().parse().ok().map(Bytes).filter(|size| size.0.is_power_of_two()),
        }
    }
}

/// The size of the kernel's smallest pages.
fn base_page() -> Option<Bytes> {
    // SAFETY: asking for a number of the system touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).ok().filter(|size| size.is_power_of_two()).map(Bytes)
}

/// Where a piece of memory lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// How much of it is on huge pages; `None` where the kernel does not tell.
    pub huge: Option<Bytes>,
    /// Pages by NUMA node; `None` where the kernel does not tell.
    pub nodes: Option<BTreeMap<u32, u64>>,
}

impl Placement {
    /// Of the mapping that begins at `start`.
    pub(super) fn of(start: usize) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        Self { huge: huge(&read("smaps"), start), nodes: nodes(&read("numa_maps"), start) }
    }

    /// The share of its pages that lie on `node`, from 0 to 1; `None` where the kernel does not tell, or it has no page yet.
    pub fn share_on(&self, node: u32) -> Option<f64> {
        let nodes = self.nodes.as_ref()?;
        let all: u64 = nodes.values().sum();
        (all > 0).then(|| nodes.get(&node).copied().unwrap_or(0) as f64 / all as f64)
    }
}

/// `AnonHugePages` of the mapping that begins at `start`, from the text of `smaps`.
fn huge(smaps: &str, start: usize) -> Option<Bytes> {
    let begins = format!("{start:08x}-");
    let of_mapping = smaps.lines().skip_while(|line| !line.starts_with(&begins)).skip(1);
    // The next mapping's first line begins with its addresses, without a colon.
    let mut fields = of_mapping.map_while(|line| line.split_whitespace().next()?.strip_suffix(':').map(|name| (name, line)));
    let (_, line) = fields.find(|(name, _)| *name == "AnonHugePages")?;
    let mut words = line.split_whitespace().skip(1);
    match (words.next()?.parse().ok()?, words.next()?) {
        (count, "kB") => Some(Bytes::kib(count)),
        _ => None,
    }
}

/// Pages by node of the mapping that begins at `start`, from the text of `numa_maps`.
fn nodes(numa_maps: &str, start: usize) -> Option<BTreeMap<u32, u64>> {
    let begins = format!("{start:08x} ");
    let line = numa_maps.lines().find(|line| line.starts_with(&begins))?;
    let counts = line.split_whitespace().filter_map(|word| {
        let (node, count) = word.strip_prefix('N')?.split_once('=')?;
        Some((node.parse().ok()?, count.parse().ok()?))
    });
    Some(counts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMAPS: &str = "7f0000200000-7f0004200000 rw-p 00000000 00:00 0 \n\
                         Size:              65536 kB\n\
                         AnonHugePages:     63488 kB\n\
                         VmFlags: rd wr mr mw me ac nr hg \n\
                         7f0004200000-7f0004201000 ---p 00000000 00:00 0 \n\
                         Size:                  4 kB\n\
                         7f0004201000-7f0004301000 rw-p 00000000 00:00 0                  [anon: x]\n\
                         AnonHugePages:         0 kB\n";

    const NUMA_MAPS: &str = "7f0000200000 prefer:1 anon=16384 dirty=16384 active=0 N0=256 N1=16128 kernelpagesize_kB=4\n\
                             7f0004200000 default\n";

    #[test]
    fn what_the_kernel_tells_is_read_of_the_right_mapping() {
        assert_eq!(huge(SMAPS, 0x7f00_0020_0000), Some(Bytes::mib(62)));
        assert_eq!(huge(SMAPS, 0x7f00_0420_1000), Some(Bytes(0)));
        assert_eq!(huge(SMAPS, 0x7f00_0420_0000), None, "the field of the next mapping is not taken");
        assert_eq!(huge(SMAPS, 0x7f00_0000_0000), None);
        assert_eq!(nodes(NUMA_MAPS, 0x7f00_0020_0000), Some(BTreeMap::from([(0, 256), (1, 16128)])));
        assert_eq!(nodes(NUMA_MAPS, 0x7f00_0420_0000), Some(BTreeMap::new()));
        assert_eq!(nodes(NUMA_MAPS, 0x7f00_0000_0000), None);
    }

    #[test]
    fn shares_are_of_all_pages() {
        let placement = Placement { huge: None, nodes: nodes(NUMA_MAPS, 0x7f00_0020_0000) };
        let shares = [0, 1, 2].map(|node| placement.share_on(node));
        assert_eq!(shares, [Some(1.0 / 64.0), Some(63.0 / 64.0), Some(0.0)]);
        assert_eq!(Placement { huge: None, nodes: Some(BTreeMap::new()) }.share_on(0), None, "no page yet");
        assert_eq!(Placement::default().share_on(0), None);
    }

    proptest! {
        #[test]
        fn odd_texts_are_not_told(text in "[-0-9a-f NkB=:\n]{0,80}", start: u32) {
            let _ = (huge(&text, start as usize), nodes(&text, start as usize));
        }
    }
}
