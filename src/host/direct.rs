//! Files that bypass the page cache.
//!
//! `O_DIRECT` moves data between the device and our memory; without it a read-back measures the page cache. It demands that buffers,
//! offsets and lengths are multiples of the device's block, so all are of [`ALIGNMENT`] here, which every device accepts.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, fallocate, openat, statvfs, unlink};
use rustix::io::{Errno, pread, pwrite};

use crate::units::Bytes;

/// Buffers, offsets and lengths are multiples of this many bytes.
pub const ALIGNMENT: u64 = 4096;

/// A nameless temporary file without page cache. Its space is returned when it is dropped, however the process ends.
#[derive(Debug)]
pub struct DirectFile {
    file: File,
}

/// Why there is no [`DirectFile`].
#[derive(Debug)]
pub enum NoDirectFile {
    /// The file system keeps its files in memory, so there is no device to measure.
    InMemory,
    /// The file system refuses `O_DIRECT`.
    Refused,
    /// Something else went wrong.
    Failed(io::Error),
}

impl From<Errno> for NoDirectFile {
    fn from(error: Errno) -> Self {
        Self::Failed(error.into())
    }
}

const FLAGS: OFlags = OFlags::RDWR.union(OFlags::DIRECT).union(OFlags::CLOEXEC);

impl DirectFile {
    /// A new, empty file in `folder`.
    ///
    /// # Errors
    /// See [`NoDirectFile`].
    pub fn new(folder: &Path) -> Result<Self, NoDirectFile> {
        const TMPFS: u32 = 0x0102_1994;
        const RAMFS: u32 = 0x8584_58f6;
        // The kernel's magic numbers fit 32 bits on every architecture, whatever the field's width and sign.
        if matches!(rustix::fs::statfs(folder)?.f_type as u32, TMPFS | RAMFS) {
            return Err(NoDirectFile::InMemory);
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = match openat(CWD, folder, FLAGS | OFlags::TMPFILE, mode) {
            Ok(fd) => fd,
            // Not every file system can make a file without a name: there, the name is taken away at once.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                let path = folder.join(format!(".gpu-assay-{}.tmp", std::process::id()));
                let fd = openat(CWD, &path, FLAGS | OFlags::CREATE | OFlags::EXCL, mode);
                // Some file systems refuse O_DIRECT only after creating the name, so it goes in either case, except where it is another's.
                if !matches!(fd, Err(Errno::EXIST)) {
                    let _ = unlink(&path);
                }
                fd.map_err(|error| if error == Errno::INVAL { NoDirectFile::Refused } else { error.into() })?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { file: fd.into() })
    }

    /// Set space aside, so that writing does not measure the search for it. Refusal is harmless.
    pub fn reserve(&self, bytes: Bytes) {
        let _ = fallocate(&self.file, FallocateFlags::empty(), 0, bytes.0);
    }

    /// Fill `buffer` from `offset`, all of it.
    ///
    /// # Errors
    /// When the device fails or the file ends before the buffer does.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let found = pread(&self.file, &mut *buffer, offset)?;
        if found == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Write all of `buffer` at `offset`.
    ///
    /// # Errors
    /// When the device fails or is full.
    pub fn write(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let written = pwrite(&self.file, buffer, offset)?;
        if written == buffer.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Space that this user may still fill on the file system of `folder`.
///
/// # Errors
/// When the folder cannot be looked at.
pub fn free_space(folder: &Path) -> io::Result<Bytes> {
    let system = statvfs(folder)?;
    Ok(Bytes(system.f_bavail.saturating_mul(system.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Region;

    #[test]
    fn what_was_written_is_read_and_nothing_is_left_behind() {
        // Beside the build, not in the temporary folder, which is often in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = match DirectFile::new(folder.path()) {
            Ok(file) => file,
            Err(NoDirectFile::Failed(error)) => panic!("{error}"),
            Err(_) => return,
        };
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        file.reserve(Bytes::mib(1));
        let mut region = Region::new(Bytes::kib(8), None).unwrap();
        let (one, two) = region.as_mut_slice::<u8>().split_at_mut(4096);
        one.iter_mut().zip(0u8..=255).for_each(|(byte, value)| *byte = value);
        file.write(one, 4096).unwrap();
        file.read(two, 4096).unwrap();
        assert_eq!(one, two);
        assert_eq!(file.read(two, 1 << 30).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(free_space(folder.path()).unwrap() > Bytes(0));
    }

    #[test]
    fn memory_is_no_disk() {
        let shm = Path::new("/dev/shm");
        if rustix::fs::statfs(shm).is_ok_and(|system| system.f_type as u32 == 0x0102_1994) {
            assert!(matches!(DirectFile::new(shm), Err(NoDirectFile::InMemory)));
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_failure() {
        assert!(matches!(DirectFile::new(Path::new("/no/such/folder")), Err(NoDirectFile::Failed(_))));
        assert!(free_space(Path::new("/no/such/folder")).is_err());
    }
}
