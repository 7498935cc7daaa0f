//! The load signal on files of real systems: containers, services and machines.

use super::cgroup::Cgroup;
use super::sampler::ReadFile;
use super::{CpuLoad, CpuLoadSnapshot};
use crate::time::ManualClock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Files in memory.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<HashMap<String, String>>>);

impl Files {
    fn set(&self, path: &str, text: &str) {
        self.0.lock().unwrap().insert(path.into(), text.into());
    }

    fn reader(&self) -> ReadFile {
        let files = self.clone();
        Box::new(move |path| files.0.lock().unwrap().get(path).cloned())
    }
}

/// Kubernetes with cgroup v2: the container has a cgroup namespace.
const V2_NAMESPACE: (&str, &str) = (
    "0::/\n",
    "733 732 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n",
);

/// A systemd service with cgroup v2.
const V2_SERVICE: (&str, &str) = (
    "0::/system.slice/api.service\n",
    "26 25 0:23 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 \
     rw,nsdelegate,memory_recursiveprot\n",
);

/// Docker with cgroup v1: the root of the mount is the container's cgroup.
const V1_DOCKER: (&str, &str) = (
    "12:memory:/docker/4f1e\n5:cpu,cpuacct:/docker/4f1e\n1:name=systemd:/docker/4f1e\n0::/system\n",
    "715 712 0:32 /docker/4f1e /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
     716 712 0:33 /docker/4f1e /sys/fs/cgroup/cpu,cpuacct ro master:15 - cgroup cgroup \
     rw,cpu,cpuacct\n\
     717 712 0:27 / /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n",
);

/// A machine with the two controllers of cgroup v1 in hierarchies of their own.
const V1_SEPARATE: (&str, &str) = (
    "3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/\n",
    "31 24 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
     32 24 0:28 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n\
     39 24 0:35 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
);

#[test]
fn the_files_of_all_levels_are_found() {
    let both = "/sys/fs/cgroup/cpu,cpuacct";
    let v2 = |directory: &str| Cgroup::v2(&format!("/sys/fs/cgroup{directory}"));
    for ((cgroups, mounts), expected) in [
        (V2_NAMESPACE, vec![v2("")]),
        (V2_SERVICE, vec![v2("/system.slice/api.service"), v2("/system.slice"), v2("")]),
        (V1_DOCKER, vec![Cgroup::v1(both, both)]),
        // A cgroup of version 1 that is not below the root of the mount.
        (("5:cpu,cpuacct:/\n", V1_DOCKER.1), vec![Cgroup::v1(both, both)]),
        (
            ("5:cpu,cpuacct:/docker/4f1e/worker\n", V1_DOCKER.1),
            vec![Cgroup::v1(&format!("{both}/worker"), &format!("{both}/worker")), {
                Cgroup::v1(both, both)
            }],
        ),
        (V1_SEPARATE, vec![Cgroup::v1("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuacct")]),
        // The usage of another cgroup would be wrong.
        (("2:cpuacct:/a\n1:cpu:/\n", V1_SEPARATE.1), vec![]),
        ((V2_SERVICE.0, ""), vec![]),
        (("", ""), vec![]),
        (("garbage", "garbage\n - \na - cgroup2"), vec![]),
    ] {
        assert_eq!(Cgroup::levels(cgroups, mounts), expected, "{cgroups:?}");
    }
}

const SECOND: Duration = Duration::from_secs(1);

struct System {
    files: Files,
    time: ManualClock,
    cpu: CpuLoad,
}

impl System {
    /// Creates a system with these files. The interval is one second.
    fn new((cgroups, mounts): (&str, &str), files: &[(&str, &str)]) -> Self {
        let all = Files::default();
        all.set("/proc/self/cgroup", cgroups);
        all.set("/proc/self/mountinfo", mounts);
        files.iter().for_each(|(path, text)| all.set(path, text));
        let time = ManualClock::new();
        let builder = CpuLoad::builder().max_pressure(0.5).interval(SECOND).clock(time.clock());
        Self { cpu: builder.build_with(all.reader()).unwrap(), files: all, time }
    }

    /// Returns the figures one second later, with these files.
    fn next(&self, files: &[(&str, &str)]) -> CpuLoadSnapshot {
        files.iter().for_each(|(path, text)| self.files.set(path, text));
        self.time.advance(SECOND);
        self.cpu.snapshot()
    }
}

fn snapshot(usage: Option<f64>, pressure: Option<f64>, overloaded: bool) -> CpuLoadSnapshot {
    CpuLoadSnapshot { usage, pressure, overloaded }
}

#[test]
fn the_usage_of_a_quota_of_version_2() {
    const STAT: &str = "/sys/fs/cgroup/cpu.stat";
    const MAX: &str = "/sys/fs/cgroup/cpu.max";
    let system = System::new(V2_NAMESPACE, &[(MAX, "200000 100000"), (STAT, "usage_usec 5000000")]);
    assert_eq!(system.cpu.snapshot(), snapshot(None, None, false), "one reading is no average");
    assert_eq!(system.next(&[(STAT, "usage_usec 6500000")]), snapshot(Some(0.75), None, false));
    assert_eq!(system.next(&[(STAT, "usage_usec 8500000")]), snapshot(Some(1.0), None, true));
    // The quota was raised.
    let raised = [(MAX, "400000 100000"), (STAT, "usage_usec 10500000")];
    assert_eq!(system.next(&raised), snapshot(Some(0.5), None, false));
    // The counter was reset.
    assert_eq!(system.next(&[(STAT, "usage_usec 1")]), snapshot(Some(0.0), None, false));
    assert_eq!(system.next(&[(MAX, "max 100000")]), snapshot(None, None, false));
}

#[test]
fn the_quota_of_a_level_above_applies_too() {
    let (own, above) = ("/sys/fs/cgroup/system.slice/api.service", "/sys/fs/cgroup/system.slice");
    let files = |own_used: &str, above_used: &str| {
        [
            (format!("{own}/cpu.max"), "50000 100000".to_owned()),
            (format!("{own}/cpu.stat"), format!("usage_usec {own_used}")),
            (format!("{above}/cpu.max"), "100000 100000".to_owned()),
            (format!("{above}/cpu.stat"), format!("usage_usec {above_used}")),
        ]
    };
    let system = System::new(V2_SERVICE, &[]);
    let next = |own_used: &str, above_used: &str| {
        files(own_used, above_used).iter().for_each(|(path, text)| system.files.set(path, text));
        system.next(&[])
    };
    next("0", "0");
    assert_eq!(next("100000", "900000"), snapshot(Some(0.9), None, true));
}

#[test]
fn the_usage_of_a_quota_of_version_1() {
    let path = |file: &str| format!("/sys/fs/cgroup/cpu,cpuacct/{file}");
    let (quota, period, usage) =
        (path("cpu.cfs_quota_us"), path("cpu.cfs_period_us"), path("cpuacct.usage"));
    let system =
        System::new(V1_DOCKER, &[(&quota, "50000"), (&period, "100000"), (&usage, "1000")]);
    assert_eq!(system.next(&[(&usage, "450001000")]), snapshot(Some(0.9), None, true));
    assert_eq!(system.next(&[(&quota, "-1")]), snapshot(None, None, false));
}

#[test]
fn without_a_quota_the_busy_share_of_the_processors_counts() {
    const STAT: &str = "/proc/stat";
    let first = "cpu 0\ncpu0 100 0 0 100 0 0 0 0\ncpu1 100 0 0 100 0 0 0 0";
    let files = [(STAT, first), ("/sys/fs/cgroup/cpu.max", "max 100000")];
    let system = System::new(V2_NAMESPACE, &files);
    let second = "cpu 0\ncpu0 200 0 0 100 0 0 0 0\ncpu1 150 0 0 150 0 0 0 0";
    assert_eq!(system.next(&[(STAT, second)]), snapshot(Some(0.75), None, false));
    // Only processor 0 may be used.
    let third = "cpu 0\ncpu0 300 0 0 100 0 0 0 0\ncpu1 150 0 0 250 0 0 0 0";
    system.files.set("/proc/self/status", "Cpus_allowed_list:\t0\n");
    system.next(&[]);
    assert_eq!(system.next(&[(STAT, third)]), snapshot(Some(1.0), None, true));
}

#[test]
fn a_quota_of_more_than_all_processors_is_none() {
    let files = |busy, usage| {
        [
            ("/proc/stat", format!("cpu0 {busy} 0 0 0 0 0 0 0")),
            ("/sys/fs/cgroup/cpu.max", "200000 100000".to_owned()),
            ("/sys/fs/cgroup/cpu.stat", format!("usage_usec {usage}")),
        ]
    };
    let system = System::new(V2_NAMESPACE, &[]);
    let next = |busy, usage| {
        files(busy, usage).iter().for_each(|(path, text)| system.files.set(path, text));
        system.next(&[])
    };
    next(0, 0);
    assert_eq!(next(100, 500_000), snapshot(Some(1.0), None, true), "others use the processor");
    system.files.set("/sys/fs/cgroup/cpu.max", "100000 100000");
    system.files.set("/sys/fs/cgroup/cpu.stat", "usage_usec 600000");
    let all = system.next(&[("/proc/stat", "cpu0 200 0 0 0 0 0 0 0")]);
    assert_eq!(all, snapshot(Some(1.0), None, true), "a quota of all processors");
}

#[test]
fn the_pressure_of_the_cgroup_precedes_that_of_the_machine() {
    const MACHINE: &str = "/proc/pressure/cpu";
    const OWN: &str = "/sys/fs/cgroup/cpu.pressure";
    let zero = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0";
    let system = System::new(V2_NAMESPACE, &[(MACHINE, zero), (OWN, zero)]);
    let files = [(MACHINE, "some total=900000"), (OWN, "some total=400000")];
    assert_eq!(system.next(&files), snapshot(None, Some(0.4), false));
    assert_eq!(system.next(&[(OWN, "some total=1000000")]), snapshot(None, Some(0.6), true));
    system.time.advance(SECOND); // an average over two seconds
    assert_eq!(system.next(&[(OWN, "some total=1800000")]), snapshot(None, Some(0.4), false));

    let system = System::new(V1_SEPARATE, &[(MACHINE, zero)]);
    assert_eq!(system.next(&[(MACHINE, "some total=900000")]), snapshot(None, Some(0.9), true));
}

#[test]
fn the_files_are_read_once_per_interval() {
    let (files, time) = (Files::default(), ManualClock::new());
    let reads = Arc::new(Mutex::new(0));
    let (read, counted) = (files.reader(), Arc::clone(&reads));
    let reader: ReadFile = Box::new(move |path| {
        *counted.lock().unwrap() += usize::from(path == "/proc/stat");
        read(path)
    });
    let cpu = CpuLoad::builder().clock(time.clock()).build_with(reader).unwrap();
    for (advance, expected) in [(0, 1), (499, 1), (1, 2), (499, 2), (1, 3), (60_000, 4), (0, 4)] {
        time.advance(Duration::from_millis(advance));
        assert!(!cpu.clone().is_overloaded());
        assert_eq!(*reads.lock().unwrap(), expected, "after {advance} ms");
    }
}

#[test]
fn no_files_no_signal() {
    let system = System::new(("", ""), &[]);
    assert_eq!(system.next(&[]), snapshot(None, None, false));
    assert_eq!(system.next(&[("/proc/stat", "garbage")]), snapshot(None, None, false));
}

#[test]
fn settings_out_of_range_are_rejected() {
    let builder = CpuLoad::builder;
    for (builder, field) in [
        (builder().max_usage(0.0), "max_usage"),
        (builder().max_usage(1.01), "max_usage"),
        (builder().max_usage(f64::NAN), "max_usage"),
        (builder().max_pressure(0.0), "max_pressure"),
        (builder().max_pressure(2.0), "max_pressure"),
        (builder().interval(Duration::from_millis(99)), "interval"),
        (builder().interval(Duration::from_secs(61)), "interval"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
}

/// Whatever this system has, the figures are shares.
#[test]
fn the_figures_of_this_system_are_shares() {
    let time = ManualClock::new();
    let cpu = CpuLoad::builder().clock(time.clock()).build().unwrap();
    time.advance(SECOND);
    let CpuLoadSnapshot { usage, pressure, .. } = cpu.snapshot();
    for figure in [usage, pressure].into_iter().flatten() {
        assert!((0.0..=10.0).contains(&figure), "{figure}");
    }
    if cfg!(target_os = "linux") {
        assert!(format!("{cpu:?}").starts_with("CpuLoad"));
    }
}
