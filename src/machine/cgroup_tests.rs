use proptest::prelude::*;

use super::*;

/// A tree with the given files.
fn tree_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn limits(files: &[(&str, &str)]) -> (Fact<Option<f64>>, Fact<Option<Bytes>>) {
    let folder = tree_of(files);
    let tree = Tree::new(folder.path());
    (cpus(tree), memory(tree))
}

const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

#[test]
fn the_tightest_group_around_the_process_counts() {
    let (cpus, memory) = limits(&[
        ("/proc/self/cgroup", "0::/outer/inner\n"),
        ("/proc/self/mountinfo", V2),
        ("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n"),
        ("/sys/fs/cgroup/outer/inner/memory.max", "34359738368\n"),
        ("/sys/fs/cgroup/outer/cpu.max", "250000 100000\n"),
        ("/sys/fs/cgroup/outer/memory.max", "68719476736\n"),
    ]);
    assert_eq!(cpus, Fact::Known(Some(2.5)));
    assert_eq!(memory, Fact::Known(Some(Bytes::gib(32))));
}

#[test]
fn the_root_group_sets_no_limit() {
    let (cpus, memory) = limits(&[("/proc/self/cgroup", "0::/\n"), ("/proc/self/mountinfo", V2)]);
    assert_eq!((cpus, memory), (Fact::Known(None), Fact::Known(None)));
}

#[test]
fn version_one_counts_minus_one_and_the_largest_page_as_no_limit() {
    let table = "31 23 0:29 /box /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                 32 23 0:30 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    let (cpus, memory) = limits(&[
        ("/proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/box\n"),
        ("/proc/self/mountinfo", table),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ]);
    assert_eq!((cpus, memory), (Fact::Known(None), Fact::Known(None)));
}

#[test]
fn version_one_sees_limits_of_groups_that_are_not_mounted() {
    let (cpus, memory) = limits(&[
        ("/proc/self/cgroup", "4:memory:/\n2:cpu,cpuacct:/\n"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("/sys/fs/cgroup/memory/memory.stat", "cache 1\nhierarchical_memory_limit 1073741824\n"),
    ]);
    assert_eq!(cpus, Fact::Known(Some(3.0)));
    assert_eq!(memory, Fact::Known(Some(Bytes::gib(1))));
}

#[test]
fn a_group_outside_the_mount_is_seen_as_the_mount() {
    for path in ["/../../other", "/docker/0123"] {
        let (cpus, _) = limits(&[
            ("/proc/self/cgroup", &format!("0::{path}\n")),
            ("/proc/self/mountinfo", "30 24 0:26 /mine /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("/sys/fs/cgroup/cpu.max", "400000 100000\n"),
        ]);
        assert_eq!(cpus, Fact::Known(Some(4.0)), "{path}");
    }
}

#[test]
fn garbage_is_unknown_with_the_file_named() {
    let (cpus, memory) = limits(&[
        ("/proc/self/cgroup", "0::/a\n"),
        ("/sys/fs/cgroup/a/cpu.max", "99999999999999999999999 1\n"),
        ("/sys/fs/cgroup/a/memory.max", "plenty\n"),
    ]);
    assert_eq!(cpus.why(), Some("/sys/fs/cgroup/a/cpu.max: expected 'max' or a quota and a period but found '99999999999999999999999 1'"));
    assert_eq!(memory.why(), Some("/sys/fs/cgroup/a/memory.max: expected 'max' or a number of bytes but found 'plenty'"));
}

#[test]
fn without_a_membership_the_limits_are_unknown() {
    let (cpus, memory) = limits(&[]);
    assert!(cpus.why().is_some_and(|why| why.starts_with("/proc/self/cgroup could not be read")));
    assert!(memory.why().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A chain of nested groups gives the least of their limits, wherever in the chain it is set.
    #[test]
    fn nesting_gives_the_least(limits in proptest::collection::vec(proptest::option::of(1_u64..1 << 40), 1..8)) {
        let folder = tempfile::tempdir().unwrap();
        let mut group = String::new();
        for (level, limit) in limits.iter().enumerate() {
            group.push_str(&format!("/g{level}"));
            let path = folder.path().join(format!("sys/fs/cgroup{group}"));
            std::fs::create_dir_all(&path).unwrap();
            let text = limit.map_or("max".to_owned(), |limit| limit.to_string());
            std::fs::write(path.join("memory.max"), text).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("proc/self")).unwrap();
        std::fs::write(folder.path().join("proc/self/cgroup"), format!("0::{group}\n")).unwrap();
        prop_assert_eq!(memory(Tree::new(folder.path())), Fact::Known(limits.iter().flatten().min().copied().map(Bytes)));
    }

    #[test]
    fn no_content_upsets_the_reader(membership in ".*", quota in ".*", limit in ".*", table in ".*") {
        let folder = tree_of(&[
            ("/proc/self/cgroup", &format!("0::/a\n3:cpu,memory:/{membership}\n{membership}")),
            ("/proc/self/mountinfo", &table),
            ("/sys/fs/cgroup/a/cpu.max", &quota),
            ("/sys/fs/cgroup/a/memory.max", &limit),
        ]);
        let tree = Tree::new(folder.path());
        let _ = (cpus(tree), memory(tree));
    }
}
