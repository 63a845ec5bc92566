//! The mount table of this process, `/proc/self/mountinfo`.

use super::Fact;
use super::tree::Tree;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `major:minor` of the device; major 0 is no block device.
    pub(super) device: String,
    /// The folder of the file system that is mounted; not `/` for a bind mount or a subvolume.
    pub(super) root: String,
    /// Where it is mounted.
    pub(super) point: String,
    /// Whether nothing can be written through this mount.
    pub(super) read_only: bool,
    /// File system type.
    pub(super) kind: String,
    /// What was mounted: a device file, an export, or any word.
    pub(super) source: String,
    /// Options of the file system, comma-separated.
    pub(super) options: String,
}

/// Every readable line, in the kernel's order (later ones cover earlier ones at the same place).
pub(super) fn read(tree: Tree<'_>) -> Fact<Vec<Mount>> {
    tree.text("/proc/self/mountinfo").map(|text| text.lines().filter_map(line).collect())
}

/// `id parent major:minor root point options [optional…] - type source options`, as proc_pid_mountinfo(5) has it.
fn line(text: &str) -> Option<Mount> {
    let (front, back) = text.split_once(" - ")?;
    let mut front = front.split(' ').skip(2);
    let (device, root, point, flags) = (front.next()?, front.next()?, front.next()?, front.next()?);
    let mut back = back.split(' ');
    Some(Mount {
        device: device.to_owned(),
        root: unescape(root),
        point: unescape(point),
        read_only: flags.split(',').any(|flag| flag == "ro"),
        kind: back.next()?.to_owned(),
        source: unescape(back.next()?),
        options: back.next().unwrap_or_default().to_owned(),
    })
}

/// The kernel writes blank, tab, line feed and backslash as three octal digits after a backslash.
fn unescape(text: &str) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut position = 0;
    while let Some(byte) = bytes.get(position) {
        let code = text.get(position + 1..position + 4).filter(|_| *byte == b'\\').and_then(|code| u8::from_str_radix(code, 8).ok());
        out.push(code.unwrap_or(*byte));
        position += if code.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_read_with_and_without_optional_fields() {
        let plain = line("27 1 254:0 / /data\\040set rw - ext4 /dev/vda rw,discard").unwrap();
        assert_eq!((plain.point.as_str(), plain.read_only), ("/data set", false));
        assert!(line("27 1 254:0 / /data ro,nosuid - ext4 /dev/vda rw").is_some_and(|mount| mount.read_only));
        assert_eq!((plain.kind.as_str(), plain.source.as_str(), plain.options.as_str()), ("ext4", "/dev/vda", "rw,discard"));
        let shared = line("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - xfs /dev/root rw").unwrap();
        assert_eq!((shared.device.as_str(), shared.root.as_str(), shared.point.as_str()), ("98:0", "/mnt1", "/mnt2"));
        assert_eq!(line("27 1 254:0 / /data rw"), None);
        assert_eq!(line("- -"), None);
    }

    proptest! {
        #[test]
        fn no_text_upsets_the_reader(text in ".*") {
            let _ = line(&text);
            let _ = unescape(&text);
        }

        #[test]
        fn a_path_comes_back_from_its_escape(path in "[ a-z\\\\\t/é]*") {
            let escaped: String = path.chars().map(|c| match c {
                ' ' | '\t' | '\\' => format!("\\{:03o}", c as u32),
                c => c.to_string(),
            }).collect();
            prop_assert_eq!(unescape(&escaped), path);
        }
    }
}
