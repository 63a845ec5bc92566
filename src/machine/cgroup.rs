//! Limits of the control groups this process is in.
//!
//! A **control group** is a folder; groups nest, and a process gets the tightest limit of its own group and all groups around it. Version 2
//! has one tree for everything (`cpu.max`, `memory.max`); version 1 has one tree per controller (`cpu.cfs_quota_us` over
//! `cpu.cfs_period_us`, `memory.limit_in_bytes`); a hybrid system mounts both, with a controller alive in one of them. A container sees
//! only the part of the tree that was mounted for it: the walk starts at the process's group and ends at the mount.
//!
//! No limit is a fact too: `Known(None)`. Files and rules: Linux, `admin-guide/cgroup-v2` and `admin-guide/cgroup-v1`.

use std::path::{Path, PathBuf};

use crate::units::Bytes;

use super::tree::{Tree, shorten};
use super::{Fact, mounts};

/// Version 1 writes "no limit" as the largest multiple of the page size below 2^63; no machine has a quarter of that.
const NO_LIMIT: u64 = 1 << 61;

/// Groups nest to a handful of levels; more is a loop or an attack.
const MOST_LEVELS: usize = 64;

/// CPU time granted, in processors.
pub(super) fn cpus(tree: Tree<'_>) -> Fact<Option<f64>> {
    tightest(tree, "cpu", |group, version| match version {
        Version::One => quota_v1(tree, group),
        Version::Two => quota_v2(tree, &group.join("cpu.max")),
    })
}

/// Memory granted.
pub(super) fn memory(tree: Tree<'_>) -> Fact<Option<Bytes>> {
    let limit = tightest(tree, "memory", |group, version| match version {
        Version::One => smaller(bytes(tree, &group.join("memory.limit_in_bytes"))?, hierarchical(tree, group)),
        Version::Two => bytes(tree, &group.join("memory.max")),
    });
    limit.map(|limit| limit.map(Bytes))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A limit read from one group: `Ok(None)` where it sets none.
type Limit<T> = Result<Option<T>, String>;

fn smaller<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Limit<T> {
    Ok(match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (one, other) => one.or(other),
    })
}

/// The tightest limit over every group from the process's own up to the mount, in both versions.
fn tightest<T: PartialOrd>(tree: Tree<'_>, controller: &str, limit: impl Fn(&Path, Version) -> Limit<T>) -> Fact<Option<T>> {
    let membership = match tree.text("/proc/self/cgroup") {
        Fact::Known(text) => text,
        Fact::Unknown { unknown } => return Fact::unknown(unknown),
    };
    let mut best = None;
    for (group, top, version) in chains(tree, controller, &membership) {
        for folder in group.ancestors().take(MOST_LEVELS) {
            match limit(folder, version).and_then(|found| smaller(best.take(), found)) {
                Ok(tighter) => best = tighter,
                Err(why) => return Fact::unknown(why),
            }
            if folder == top {
                break;
            }
        }
    }
    Fact::Known(best)
}

/// For each version that may hold the controller: the process's group, the mount it lies under, the version.
fn chains(tree: Tree<'_>, controller: &str, membership: &str) -> Vec<(PathBuf, PathBuf, Version)> {
    let table = mounts::read(tree);
    let table = table.known().map_or(&[][..], Vec::as_slice);
    let mut chains = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let version = match (number, controllers) {
            ("0", "") => Version::Two,
            _ if controllers.split(',').any(|name| name == controller) => Version::One,
            _ => continue,
        };
        let mount = table.iter().rev().find(|mount| match version {
            Version::Two => mount.kind == "cgroup2",
            Version::One => mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller),
        });
        let (top, root) = mount.map_or_else(
            || match version {
                Version::Two => (PathBuf::from("/sys/fs/cgroup"), "/"),
                Version::One => (Path::new("/sys/fs/cgroup").join(controller), "/"),
            },
            |mount| (PathBuf::from(&mount.point), mount.root.as_str()),
        );
        chains.push((below(&top, root, path), top, version));
    }
    chains
}

/// Where a group lies under its mount. A group outside of what is mounted (a container that kept the host's path) is seen as the mount itself.
fn below(top: &Path, root: &str, path: &str) -> PathBuf {
    let inside = Path::new(path).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
    let plain = inside.components().all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if plain { top.join(inside) } else { top.to_path_buf() }
}

/// A file's one line; `None` where the group has no such file (the root group has none).
fn line(tree: Tree<'_>, path: &Path) -> Option<String> {
    tree.text(path).known().map(|text| text.trim().to_owned())
}

fn quota_v2(tree: Tree<'_>, path: &Path) -> Limit<f64> {
    let Some(text) = line(tree, path) else { return Ok(None) };
    let mut words = text.split_whitespace();
    match (words.next(), words.next().unwrap_or("100000")) {
        (Some("max"), _) => Ok(None),
        (Some(quota), period) => ratio(quota, period).ok_or_else(|| wrong(path, "'max' or a quota and a period", &text)),
        (None, _) => Err(wrong(path, "'max' or a quota and a period", &text)),
    }
}

fn quota_v1(tree: Tree<'_>, group: &Path) -> Limit<f64> {
    let path = group.join("cpu.cfs_quota_us");
    let Some(quota) = line(tree, &path) else { return Ok(None) };
    if quota == "-1" {
        return Ok(None);
    }
    let period = line(tree, &group.join("cpu.cfs_period_us")).unwrap_or_else(|| "100000".to_owned());
    ratio(&quota, &period).ok_or_else(|| wrong(&path, "a quota in microseconds", &quota))
}

/// Quota over period, where both are positive.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a scheduling period are far below 2^53")]
fn ratio(quota: &str, period: &str) -> Option<Option<f64>> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| Some(quota as f64 / period as f64))
}

fn bytes(tree: Tree<'_>, path: &Path) -> Limit<u64> {
    let Some(text) = line(tree, path) else { return Ok(None) };
    if text == "max" {
        return Ok(None);
    }
    let limit: u64 = text.parse().map_err(|_| wrong(path, "'max' or a number of bytes", &text))?;
    Ok((limit < NO_LIMIT).then_some(limit))
}

/// Version 1 also says what all groups around this one leave, even those that are not mounted here.
fn hierarchical(tree: Tree<'_>, group: &Path) -> Option<u64> {
    let text = line(tree, &group.join("memory.stat"))?;
    let limit = text.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?.trim().parse().ok()?;
    (limit < NO_LIMIT).then_some(limit)
}

fn wrong(path: &Path, expected: &str, found: &str) -> String {
    format!("{}: expected {expected} but found '{}'", path.display(), shorten(found))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
