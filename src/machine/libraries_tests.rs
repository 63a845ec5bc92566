use proptest::prelude::*;

use super::*;

fn machine_with(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    folder
}

fn path_of(name: &str, files: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let folder = machine_with(files);
    find(name, folder.path(), &Environment::of(variables.iter().copied())).path
}

/// A cache as glibc writes it, with an older table before it.
fn cache_of(entries: &[(u32, &str, &str)]) -> Vec<u8> {
    let mut table = b"glibc-ld.so.cache1.1".to_vec();
    table.extend(u32::try_from(entries.len()).unwrap().to_ne_bytes());
    table.resize(48, 0);
    let mut strings = Vec::new();
    for (flags, name, path) in entries {
        let at_name = u32::try_from(48 + entries.len() * 24 + strings.len()).unwrap();
        strings.extend(name.bytes().chain([0]));
        let at_path = u32::try_from(48 + entries.len() * 24 + strings.len()).unwrap();
        strings.extend(path.bytes().chain([0]));
        for number in [*flags, at_name, at_path, 0, 0, 0] {
            table.extend(number.to_ne_bytes());
        }
    }
    table.extend(strings);
    [b"ld.so-1.7.0\0".to_vec(), table].concat()
}

const OURS: u32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };

#[test]
fn the_loaders_cache_is_read_for_this_instruction_set() {
    let cache = cache_of(&[
        (0x0003, "libcuda.so.1", "/usr/lib32/libcuda.so.1"),
        (OURS, "libc.so.6", "/lib/libc.so.6"),
        (OURS, "libcuda.so.1", "/opt/driver/libcuda.so.1"),
    ]);
    assert_eq!(cached(&cache, "libcuda.so.1"), Some(PathBuf::from("/opt/driver/libcuda.so.1")));
    assert_eq!(cached(&cache, "libcuda.so"), None);
    let folder = machine_with(&["/etc/x", "/opt/driver/libcuda.so.1"]);
    std::fs::write(folder.path().join("etc/ld.so.cache"), &cache).unwrap();
    assert_eq!(find("libcuda.so.1", folder.path(), &Environment::default()).path.as_deref(), Some("/opt/driver/libcuda.so.1"));
}

#[test]
fn a_stale_cache_entry_is_passed_over() {
    let folder = machine_with(&["/etc/x", "/usr/lib64/libcuda.so.1"]);
    std::fs::write(folder.path().join("etc/ld.so.cache"), cache_of(&[(OURS, "libcuda.so.1", "/gone/libcuda.so.1")])).unwrap();
    assert_eq!(find("libcuda.so.1", folder.path(), &Environment::default()).path.as_deref(), Some("/usr/lib64/libcuda.so.1"));
}

#[test]
fn the_library_path_comes_before_everything() {
    let files = ["/a/libnccl.so.2", "/b/libnccl.so.2", "/usr/lib/libnccl.so.2"];
    assert_eq!(path_of("libnccl.so.2", &files, &[("LD_LIBRARY_PATH", "/none:relative::/b:/a")]).as_deref(), Some("/b/libnccl.so.2"));
    assert_eq!(path_of("libnccl.so.2", &files, &[]).as_deref(), Some("/usr/lib/libnccl.so.2"));
}

#[test]
fn the_newest_toolkit_is_taken() {
    let files = [
        "/usr/local/cuda-12.4/lib64/libcublasLt.so.12",
        "/usr/local/cuda-12.10/targets/x86_64-linux/lib/libcublasLt.so.12",
        "/usr/local/cuda-9.2/lib64/libcublasLt.so.12",
    ];
    let found = path_of("libcublasLt.so.12", &files, &[]);
    assert_eq!(found.as_deref(), Some("/usr/local/cuda-12.10/targets/x86_64-linux/lib/libcublasLt.so.12"));
    let found = path_of("libcublasLt.so.12", &files, &[("CUDA_HOME", "/usr/local/cuda-12.4")]);
    assert_eq!(found.as_deref(), Some("/usr/local/cuda-12.4/lib64/libcublasLt.so.12"));
}

#[test]
fn python_environments_are_searched_where_they_are_usual() {
    let sites = [
        ("/v/lib/python3.12/site-packages", &[("VIRTUAL_ENV", "/v")][..]),
        ("/c/lib/python3.11/site-packages", &[("CONDA_PREFIX", "/c")]),
        ("/here/.venv/lib/python3.13/site-packages", &[("PWD", "/here")]),
        ("/home/ada/.local/lib/python3.10/site-packages", &[("HOME", "/home/ada")]),
        ("/usr/lib/python3/dist-packages", &[]),
        ("/usr/local/lib/python3.12/dist-packages", &[]),
        ("/opt/venv/lib/python3.12/site-packages", &[]),
        ("/opt/ai/venv/lib/python3.12/site-packages", &[]),
        ("/opt/conda/envs/train/lib/python3.12/site-packages", &[]),
    ];
    for (site, variables) in sites {
        for package in ["nvidia/cublas/lib", "nvidia/cu13/lib", "torch/lib"] {
            let file = format!("{site}/{package}/libcublasLt.so.13");
            assert_eq!(path_of("libcublasLt.so.13", &[&file], variables).as_deref(), Some(file.as_str()));
        }
    }
}

#[test]
fn the_interpreter_on_the_path_leads_to_its_packages() {
    let library = "lib/python3.12/site-packages/nvidia/nccl/lib/libnccl.so.2";
    // A prefix of its own.
    let found = path_of("libnccl.so.2", &["/p/bin/python3", &format!("/p/{library}")], &[("PATH", "/x:/p/bin")]);
    assert_eq!(found, Some(format!("/p/{library}")));
    // A virtual environment whose packages are those of the Python it was made from.
    let folder = machine_with(&["/e/bin/python3", &format!("/base/{library}")]);
    std::fs::write(folder.path().join("e/pyvenv.cfg"), "home = /base/bin\ninclude-system-site-packages = true\n").unwrap();
    let found = find("libnccl.so.2", folder.path(), &Environment::of([("PATH", "/e/bin")]));
    assert_eq!(found.path, Some(format!("/base/{library}")));
    // A version manager's shim.
    let found = path_of("libnccl.so.2", &["/m/shims/python3", &format!("/m/versions/3.12.1/{library}")], &[("PATH", "/m/shims")]);
    assert_eq!(found, Some(format!("/m/versions/3.12.1/{library}")));
    // Links, relative and absolute, and one that leads to itself.
    let folder = machine_with(&["/real/bin/python3.12", &format!("/real/{library}"), "/links/x", "/loop/x"]);
    std::os::unix::fs::symlink("../links/python", folder.path().join("links/python3")).unwrap();
    std::os::unix::fs::symlink("/real/bin/python3.12", folder.path().join("links/python")).unwrap();
    std::os::unix::fs::symlink("python3", folder.path().join("loop/python3")).unwrap();
    assert_eq!(followed(Tree::new(folder.path()), Path::new("/links/python3")), Path::new("/real/bin/python3.12"));
    assert_eq!(followed(Tree::new(folder.path()), Path::new("/loop/python3")), Path::new("/loop/python3"));
}

#[test]
fn the_drivers_libraries_are_never_taken_from_a_package() {
    let files = ["/usr/local/cuda/lib64/libcuda.so.1", "/v/lib/python3.12/site-packages/nvidia/x/lib/libnvidia-ml.so.1"];
    assert_eq!(path_of("libcuda.so.1", &files, &[("VIRTUAL_ENV", "/v")]), None);
    assert_eq!(path_of("libnvidia-ml.so.1", &files, &[("VIRTUAL_ENV", "/v")]), None);
}

#[test]
fn a_miss_says_where_it_looked() {
    let folder = machine_with(&["/usr/lib64/x", "/usr/local/cuda/lib64/x"]);
    let all = find_all(folder.path(), &Environment::of([("LD_LIBRARY_PATH", "/told")]));
    assert_eq!(all.iter().map(|library| library.name.as_str()).collect::<Vec<_>>(), WANTED);
    assert!(all.iter().all(|library| library.path.is_none()));
    assert_eq!(all[0].sought, ["/told", "/etc/ld.so.cache", "/usr/lib64"]);
    assert_eq!(all[4].sought, ["/told", "/etc/ld.so.cache", "/usr/lib64", "/usr/local/cuda/lib64"]);
}

proptest! {
    #[test]
    fn no_cache_upsets_the_reader(before in proptest::collection::vec(any::<u8>(), 0..64), after in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = cached(&[before, b"glibc-ld.so.cache1.1".to_vec(), after].concat(), "libcuda.so.1");
    }

    #[test]
    fn a_damaged_cache_gives_nothing_or_a_path(at in 0_usize..200, byte in any::<u8>()) {
        let mut cache = cache_of(&[(OURS, "libcuda.so.1", "/a/libcuda.so.1"), (OURS, "liby", "/b/liby")]);
        if let Some(place) = cache.get_mut(at) {
            *place = byte;
        }
        prop_assert!(cached(&cache, "libcuda.so.1").is_none_or(|path| path.is_absolute()));
    }
}
