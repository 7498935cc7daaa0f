//! The cgroups of the process: where their files are, and what the files contain.
//!
//! A quota can be set at any level, from the cgroup of the process to the root of the hierarchy,
//! and each level counts the usage of all processes below it.

use std::time::Duration;

/// The files of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cgroup {
    V1 { quota: String, period: String, usage: String },
    V2 { max: String, stat: String, pressure: String },
}

/// The quota of a cgroup and the processor time that it has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QuotaUsage {
    /// In processors: the processor time per unit of time.
    pub(super) quota: f64,
    pub(super) used: Duration,
}

impl Cgroup {
    /// Returns the cgroup of the process, followed by those that contain it. `cgroups` is the text
    /// of `/proc/self/cgroup`, and `mounts` that of `/proc/self/mountinfo`.
    pub(super) fn levels(cgroups: &str, mounts: &str) -> Vec<Self> {
        // If version 1 has the `cpu` controller, version 2 does not.
        if let Some(path) = v1_path(cgroups, "cpu") {
            let quota = directories(path, mount(mounts, "cgroup", Some("cpu")));
            // `cpu` and `cpuacct` can be in one hierarchy or in two. If the process has different
            // paths in them, no usage belongs to the quota.
            let usage = match v1_path(cgroups, "cpuacct") {
                Some(same) if same == path => mount(mounts, "cgroup", Some("cpuacct")),
                _ => None,
            };
            let pairs = quota.into_iter().zip(directories(path, usage));
            return pairs.map(|(quota, usage)| Self::v1(&quota, &usage)).collect();
        }
        let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
        let path = unified.unwrap_or("/");
        directories(path, mount(mounts, "cgroup2", None)).iter().map(|dir| Self::v2(dir)).collect()
    }

    pub(super) fn v1(quota: &str, usage: &str) -> Self {
        Self::V1 {
            quota: format!("{quota}/cpu.cfs_quota_us"),
            period: format!("{quota}/cpu.cfs_period_us"),
            usage: format!("{usage}/cpuacct.usage"),
        }
    }

    pub(super) fn v2(directory: &str) -> Self {
        Self::V2 {
            max: format!("{directory}/cpu.max"),
            stat: format!("{directory}/cpu.stat"),
            pressure: format!("{directory}/cpu.pressure"),
        }
    }

    /// Reads the quota and the usage. Returns `None` if there is no quota.
    pub(super) fn quota_usage(&self, read: impl Fn(&str) -> Option<String>) -> Option<QuotaUsage> {
        match self {
            Self::V1 { quota, period, usage } => Some(QuotaUsage {
                quota: v1_quota(&read(quota)?, &read(period)?)?,
                used: v1_usage(&read(usage)?)?,
            }),
            Self::V2 { max, stat, .. } => {
                Some(QuotaUsage { quota: v2_quota(&read(max)?)?, used: v2_usage(&read(stat)?)? })
            }
        }
    }
}

/// Returns the path of the cgroup of the process in the version 1 hierarchy of `controller`.
fn v1_path<'a>(cgroups: &'a str, controller: &str) -> Option<&'a str> {
    cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// Returns the root and the mount point of the hierarchy with the type `file_system`: `cgroup` for
/// version 1, where it must have the `controller`, or `cgroup2` for version 2.
fn mount<'a>(
    mounts: &'a str,
    file_system: &str,
    controller: Option<&str>,
) -> Option<(&'a str, &'a str)> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let has = |name: &str| options.split(',').any(|option| option == name);
        if kind != file_system || !controller.is_none_or(has) {
            return None;
        }
        let mut left = left.split(' ').skip(3);
        Some((left.next()?, left.next()?))
    })
}

/// Returns the directories of the cgroup `path` and of those that contain it, as far as they are
/// mounted.
fn directories(path: &str, mount: Option<(&str, &str)>) -> Vec<String> {
    let Some((root, mount_point)) = mount else { return Vec::new() };
    // A container can have its own cgroup as the root of the mount. Then `path` begins with the
    // root, or is outside of the root and not mounted. In the second case, the directory of the
    // mount is used.
    let mut path = match root {
        "/" => path,
        root => path.strip_prefix(root).unwrap_or(""),
    }
    .trim_end_matches('/');
    let mut directories = vec![format!("{mount_point}{path}")];
    while let Some((parent, _)) = path.rsplit_once('/') {
        directories.push(format!("{mount_point}{parent}"));
        path = parent;
    }
    directories
}

/// Parses `cpu.max`: `max 100000` or `150000 100000`. Returns `None` if there is no quota.
fn v2_quota(max: &str) -> Option<f64> {
    let (quota, period) = max.trim().split_once(' ')?;
    ratio(quota, period)
}

/// Parses `cpu.cfs_quota_us`, which is -1 if there is no quota, and `cpu.cfs_period_us`.
fn v1_quota(quota: &str, period: &str) -> Option<f64> {
    ratio(quota.trim(), period.trim())
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// Parses `cpu.stat`.
fn v2_usage(stat: &str) -> Option<Duration> {
    let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(Duration::from_micros(usage.parse().ok()?))
}

/// Parses `cpuacct.usage`.
fn v1_usage(usage: &str) -> Option<Duration> {
    Some(Duration::from_nanos(usage.trim().parse().ok()?))
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_quota_and_usage_are_parsed() {
        for (max, expected) in [
            ("max 100000\n", None),
            ("150000 100000\n", Some(1.5)),
            ("50000 100000", Some(0.5)),
            ("0 100000", None),
            ("100000 0", None),
            ("100000", None),
            ("", None),
        ] {
            assert_eq!(v2_quota(max), expected, "{max:?}");
        }
        for (quota, period, expected) in [
            ("-1\n", "100000\n", None),
            ("200000\n", "100000\n", Some(2.0)),
            ("200000", "", None),
            ("", "100000", None),
        ] {
            assert_eq!(v1_quota(quota, period), expected, "{quota:?} {period:?}");
        }
        let stat = "usage_usec 65230741\nuser_usec 49002938\nsystem_usec 16227803\nnr_periods 0\n";
        for (stat, expected) in
            [(stat, Some(65_230_741)), ("user_usec 1\n", None), ("usage_usec x\n", None)]
        {
            assert_eq!(v2_usage(stat), expected.map(Duration::from_micros), "{stat:?}");
        }
        for (usage, expected) in [("27915301468943\n", Some(27_915_301_468_943)), ("", None)] {
            assert_eq!(v1_usage(usage), expected.map(Duration::from_nanos), "{usage:?}");
        }
    }
}
