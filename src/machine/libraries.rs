//! Finding the vendor's libraries, wherever they were installed.
//!
//! The driver's libraries (`libcuda`, NVML) are on the **loader path**: `LD_LIBRARY_PATH`, the loader's cache, the standard folders. The
//! math libraries (cublasLt, NCCL) are often not: a toolkit keeps them below `/usr/local/cuda*`, and a Python environment below
//! `site-packages/nvidia/*/lib`, where only the Python that owns them looks. A machine with PyTorch has everything needed; the program
//! only has to look where PyTorch put it. The first hit in that order counts, and a miss says which folders were searched.

use std::path::{Component, Path, PathBuf};

use super::Library;
use super::tree::{Environment, Tree};

/// Libraries the program knows how to use, in the order they are shown.
pub const WANTED: &[&str] = &["libcuda.so.1", "libnvidia-ml.so.1", "libcublasLt.so.13", "libcublasLt.so.12", "libnccl.so.2"];

/// Folders the loader searches without being told, and those where container run times and special kernels put the driver's files.
const STANDARD: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/lib",
    "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];

const CACHE: &str = "/etc/ld.so.cache";

/// Looks for every library of [`WANTED`] below `root`. Paths in the answer are as the machine names them, without `root`.
pub fn find_all(root: &Path, environment: &Environment) -> Vec<Library> {
    let search = Search::new(root, environment);
    WANTED.iter().map(|name| search.find(name)).collect()
}

/// Looks for one library by its file name, such as `libcublasLt.so.12`.
pub fn find(name: &str, root: &Path, environment: &Environment) -> Library {
    Search::new(root, environment).find(name)
}

/// Whether a library comes with the driver, and is never to be taken from a toolkit or a Python environment.
fn is_drivers(name: &str) -> bool {
    name.starts_with("libcuda.") || name.starts_with("libnvidia-")
}

struct Search<'a> {
    tree: Tree<'a>,
    told: Vec<PathBuf>,
    cache: Vec<u8>,
    elsewhere: Vec<PathBuf>,
}

impl<'a> Search<'a> {
    fn new(root: &'a Path, environment: &Environment) -> Self {
        let tree = Tree::new(root);
        let told = environment.get("LD_LIBRARY_PATH").map(std::env::split_paths).into_iter().flatten().filter(|path| path.is_absolute());
        let mut elsewhere = toolkits(tree, environment);
        elsewhere.extend(sites(tree, environment).iter().flat_map(|site| packages(tree, site)));
        Self { tree, told: told.collect(), cache: tree.bytes(CACHE).unwrap_or_default(), elsewhere }
    }

    fn find(&self, name: &str) -> Library {
        let found = |path: PathBuf| Library { name: name.to_owned(), path: Some(path.display().to_string()), sought: Vec::new() };
        let in_folder = |folder: &Path| Some(folder.join(name)).filter(|path| self.tree.locate(path).is_file());
        if let Some(path) = self.told.iter().find_map(|folder| in_folder(folder)) {
            return found(path);
        }
        if let Some(path) = cached(&self.cache, name).filter(|path| self.tree.locate(path).is_file()) {
            return found(path);
        }
        let elsewhere = if is_drivers(name) { &[] } else { self.elsewhere.as_slice() };
        let folders = STANDARD.iter().map(Path::new).chain(elsewhere.iter().map(PathBuf::as_path));
        if let Some(path) = folders.clone().find_map(in_folder) {
            return found(path);
        }
        let mut sought: Vec<String> = self.told.iter().map(|folder| folder.display().to_string()).collect();
        sought.push(CACHE.to_owned());
        sought.extend(folders.filter(|folder| self.tree.has(folder)).map(|folder| folder.display().to_string()));
        Library { name: name.to_owned(), path: None, sought }
    }
}

/// Names in `folder` that start with `start`, as paths, the highest version first.
fn newest_first(tree: Tree<'_>, folder: &Path, start: &str) -> Vec<PathBuf> {
    let mut names: Vec<String> = tree.names(folder).into_iter().filter(|name| name.starts_with(start)).collect();
    let version = |name: &str| -> Vec<u32> { name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect() };
    names.sort_by_key(|name| std::cmp::Reverse(version(name)));
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Library folders of CUDA toolkits: the one the environment names, then those in the usual place.
fn toolkits(tree: Tree<'_>, environment: &Environment) -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(|name| environment.get(name)).map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute()).collect::<Vec<_>>().into_iter();
    named
        .chain(newest_first(tree, Path::new("/usr/local"), "cuda"))
        .flat_map(|toolkit| {
            let targets = toolkit.join("targets");
            let targets: Vec<PathBuf> = tree.names(&targets).into_iter().map(|name| targets.join(name).join("lib")).collect();
            std::iter::once(toolkit.join("lib64")).chain(targets)
        })
        .collect()
}

/// Library folders that wheels bring, in one `site-packages`.
fn packages(tree: Tree<'_>, site: &Path) -> Vec<PathBuf> {
    let vendor = site.join("nvidia");
    let mut folders: Vec<PathBuf> = newest_first(tree, &vendor, "").into_iter().map(|package| package.join("lib")).collect();
    folders.push(site.join("torch/lib"));
    folders.retain(|folder| tree.has(folder));
    folders
}

/// Every `site-packages` or `dist-packages` worth a look, the active environment's first.
fn sites(tree: Tree<'_>, environment: &Environment) -> Vec<PathBuf> {
    let variable = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).collect();
    prefixes.extend(variable("PWD").map(|folder| folder.join(".venv")));
    let path = environment.get("PATH").map(std::env::split_paths).into_iter().flatten();
    for folder in path.filter(|folder| folder.is_absolute() && tree.has(folder.join("python3"))) {
        prefixes.extend(interpreter_prefixes(tree, &folder));
    }
    prefixes.extend(
        variable("HOME").into_iter().flat_map(|home| {
            [".local", "miniconda3", "anaconda3", "miniforge3"].map(|name| home.join(name)).into_iter().collect::<Vec<_>>()
        }),
    );
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    for outer in newest_first(tree, Path::new("/opt"), "") {
        prefixes.push(outer.clone());
        prefixes.extend(newest_first(tree, &outer, ""));
        prefixes.extend(newest_first(tree, &outer.join("envs"), ""));
    }
    let mut sites = Vec::new();
    for prefix in prefixes {
        for library in ["lib", "lib64"].map(|name| prefix.join(name)) {
            for python in newest_first(tree, &library, "python3") {
                for site in ["site-packages", "dist-packages"].map(|name| python.join(name)) {
                    if !sites.contains(&site) && tree.has(&site) {
                        sites.push(site);
                    }
                }
            }
        }
    }
    sites
}

/// The prefixes a `python3` in `folder` may stand for: the folder's own (a virtual environment), the one it was made from, the one its links
/// end in, and every version behind a version manager's shim.
fn interpreter_prefixes(tree: Tree<'_>, folder: &Path) -> Vec<PathBuf> {
    let mut prefixes = Vec::new();
    let Some(prefix) = folder.parent() else { return prefixes };
    prefixes.push(prefix.to_path_buf());
    let settings = tree.text(prefix.join("pyvenv.cfg"));
    let home = settings.known().and_then(|text| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| key.trim() == "home")
            .map(|(_, value)| PathBuf::from(value.trim()))
    });
    prefixes.extend(home.filter(|home| home.is_absolute()).and_then(|home| home.parent().map(Path::to_path_buf)));
    prefixes.extend(followed(tree, &folder.join("python3")).parent().and_then(Path::parent).map(Path::to_path_buf));
    if folder.ends_with("shims") {
        prefixes.extend(newest_first(tree, &prefix.join("versions"), ""));
    }
    prefixes
}

/// Where a chain of links ends; links are followed within the tree.
fn followed(tree: Tree<'_>, path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    // The kernel gives up after 40 links too.
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(tree.locate(&path)) else { break };
        path = plain(&path.parent().unwrap_or(Path::new("/")).join(target));
    }
    path
}

/// Without `.` and `..`, by name only.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// The path of `name` in the loader's cache, for this program's instruction set.
///
/// The format is glibc's `cache.h`: a header of 48 bytes that starts with the magic, then one entry of 24 bytes per library (flags, offset of
/// the name, offset of the path, two fields about the kernel and processor), offsets counted from the header. Older systems put another
/// table before it.
fn cached(cache: &[u8], name: &str) -> Option<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    // Which instruction set a library is for: the second byte of its flags.
    const INSTRUCTION_SET: u32 = if cfg!(target_arch = "aarch64") { 0x0a00 } else { 0x0300 };
    let start = cache.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let table = cache.get(start..)?;
    let number = |at: usize| Some(u32::from_ne_bytes(table.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let text = |at: u32| table.get(usize::try_from(at).ok()?..)?.split(|byte| *byte == 0).next();
    let count = usize::try_from(number(MAGIC.len())?).ok()?.min(table.len() / ENTRY);
    (0..count).find_map(|entry| {
        let at = HEADER + entry * ENTRY;
        let matches = number(at)? & 0xff00 == INSTRUCTION_SET && text(number(at + 4)?)? == name.as_bytes();
        let path = PathBuf::from(std::str::from_utf8(text(number(at + 8)?)?).ok()?);
        (matches && path.is_absolute()).then_some(path)
    })
}

#[cfg(test)]
#[path = "libraries_tests.rs"]
mod tests;
