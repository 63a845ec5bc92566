//! Reading the small text files that the kernel offers, below any root folder.
//!
//! With the root `/` this reads the machine; with a folder that holds a recorded `proc` and `sys` it reads the machine they were recorded
//! on, which is how the readers are tested for machines nobody here owns. What the kernel writes is still input: a reader of it meets
//! containers that mount odd things over `/proc`, kernels that lack a file, and values out of all proportion. So no reader trusts a length, an
//! order or a number, and every failure becomes a [`Fact::Unknown`] that names the file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Fact;

/// Files above this are not the kernel's; `/proc/cpuinfo` of 1024 processors has about 2 MiB.
const MOST_BYTES: u64 = 16 << 20;

/// Processors and NUMA nodes are numbered below this; the kernel's own limit is 8192 processors.
const MOST_NUMBERS: u32 = 65_536;

/// A file system as seen from a root folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree<'a> {
    root: &'a Path,
}

impl<'a> Tree<'a> {
    /// The tree below `root`.
    pub(super) const fn new(root: &'a Path) -> Self {
        Self { root }
    }

    /// Where `path` (absolute, as the machine names it) lies.
    pub(super) fn locate(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// The system's, when it cannot be opened or read.
    pub(super) fn bytes(&self, path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.locate(path))?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The text of a file; bytes that are no UTF-8 are replaced.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Fact<String> {
        let path = path.as_ref();
        match self.bytes(path) {
            Ok(bytes) => Fact::Known(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => Fact::unknown(format!("{} could not be read: {error}", path.display())),
        }
    }

    /// The text of a file without the white space around it; an empty file is unknown.
    pub(super) fn word(&self, path: impl AsRef<Path>) -> Fact<String> {
        let path = path.as_ref();
        match self.text(path).map(|text| text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()) {
            Fact::Known(word) if word.is_empty() => Fact::unknown(format!("{} is empty", path.display())),
            word => word,
        }
    }

    /// A file that holds a list such as `0-3,8`.
    pub(super) fn list(&self, path: impl AsRef<Path>) -> Fact<Vec<u32>> {
        let path = path.as_ref();
        and_then(self.text(path), |text| number_list(&text).map_err(|why| format!("{}: {why}", path.display())))
    }

    /// Whether a file or folder is there.
    pub(super) fn has(&self, path: impl AsRef<Path>) -> bool {
        self.locate(path).exists()
    }

    /// Names in a folder, sorted; none when it cannot be read.
    pub(super) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.locate(path)) else { return Vec::new() };
        let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// A fact from a fact, where making it may fail.
pub(super) fn and_then<T, U>(fact: Fact<T>, form: impl FnOnce(T) -> Result<U, String>) -> Fact<U> {
    match fact {
        Fact::Known(value) => Fact::from_result(form(value)),
        Fact::Unknown { unknown } => Fact::Unknown { unknown },
    }
}

/// At most 40 characters of `text`, for messages.
pub(super) fn shorten(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    if start.len() < text.len() { format!("{start}…") } else { start }
}

/// Reads the kernel's list form, such as `0-3,8,10-11`; empty text is the empty list. Sorted, each number once.
///
/// # Errors
/// Says what was found where a number, a rising range or a plausible size was expected.
pub(super) fn number_list(text: &str) -> Result<Vec<u32>, String> {
    let wrong = |part: &str| format!("expected a list of numbers such as 0-3,8 but found '{}'", shorten(part));
    let mut numbers = Vec::new();
    for part in text.trim().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.parse().map_err(|_| wrong(part))?;
        let last: u32 = last.parse().map_err(|_| wrong(part))?;
        if first > last || last >= MOST_NUMBERS || numbers.len() > MOST_NUMBERS as usize {
            return Err(wrong(part));
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// The environment variables a reader may look at.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// This process's own.
    pub fn live() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Those given.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(number_list("0-3,8,10-11\n"), Ok(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(number_list("\n"), Ok(vec![]));
        assert_eq!(number_list("5,0-1,1"), Ok(vec![0, 1, 5]));
        for wrong in ["3-1", "a", "0-", "-1", "0-4294967295", "1 2"] {
            let message = number_list(wrong).unwrap_err();
            assert_eq!(message, format!("expected a list of numbers such as 0-3,8 but found '{wrong}'"));
        }
    }

    #[test]
    fn what_cannot_be_read_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::new(folder.path());
        std::fs::write(folder.path().join("empty"), " \n").unwrap();
        std::fs::write(folder.path().join("text"), "many\n").unwrap();
        assert_eq!(tree.word("/empty").why(), Some("/empty is empty"));
        assert_eq!(tree.list("/text").why(), Some("/text: expected a list of numbers such as 0-3,8 but found 'many'"));
        assert!(tree.text("/absent").why().is_some_and(|why| why.starts_with("/absent could not be read: ")));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::of([("A", "x"), ("B", "")]);
        assert_eq!(environment.get("A"), Some(OsStr::new("x")));
        assert_eq!(environment.get("B"), None);
    }

    proptest! {
        #[test]
        fn any_list_comes_back(mut numbers in proptest::collection::btree_set(0_u32..9000, 0..50)) {
            let text: Vec<String> = numbers.iter().map(u32::to_string).collect();
            prop_assert_eq!(number_list(&text.join(",")).unwrap(), numbers.iter().copied().collect::<Vec<_>>());
            numbers.clear();
        }

        #[test]
        fn no_text_upsets_the_list_reader(text in ".*") {
            let _ = number_list(&text);
        }
    }
}
