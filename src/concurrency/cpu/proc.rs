//! The files of `/proc`: busy time of the processors, and pressure.

use std::time::Duration;

/// The busy time and the total time of some processors, each added up over the processors, in ticks
/// of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessorTime {
    pub(super) processors: u32,
    pub(super) busy: u64,
    pub(super) total: u64,
}

impl ProcessorTime {
    /// Adds up the times in `stat`, the text of `/proc/stat`, over the processors for which
    /// `allowed` returns true.
    pub(super) fn of(stat: &str, allowed: impl Fn(u32) -> bool) -> Option<Self> {
        let mut sum = Self::default();
        for line in stat.lines() {
            let Some((number, times)) =
                line.strip_prefix("cpu").and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            // The first line, `cpu`, is the sum of all.
            if let Ok(number) = number.parse()
                && allowed(number)
            {
                sum.add(times)?;
            }
        }
        (sum.processors > 0).then_some(sum)
    }

    /// Adds the times of one processor: user, nice, system, idle, waiting for I/O, interrupts, soft
    /// interrupts, stolen by the hypervisor. Times of guests, which follow, are part of `user`.
    fn add(&mut self, times: &str) -> Option<()> {
        let times: Vec<u64> = times
            .split_ascii_whitespace()
            .take(8)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let idle = times.get(3)?.saturating_add(*times.get(4)?);
        let total = times.iter().fold(0, |sum: u64, time| sum.saturating_add(*time));
        self.processors += 1;
        self.busy = self.busy.saturating_add(total - idle);
        self.total = self.total.saturating_add(total);
        Some(())
    }

    /// Returns the busy share of the time since `earlier`.
    pub(super) fn busy_share(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|total| *total > 0)?;
        let busy = self.busy.saturating_sub(earlier.busy).min(total);
        Some(busy as f64 / total as f64)
    }
}

/// The ranges of processors that the process may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AllowedProcessors(Vec<(u32, u32)>);

impl AllowedProcessors {
    /// Parses the line `Cpus_allowed_list` of `/proc/self/status`, such as `0-3,8`.
    pub(super) fn of(status: &str) -> Option<Self> {
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        list.trim().split(',').map(range).collect::<Option<_>>().map(Self)
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }
}

/// Parses the time in which at least one thread waited, from the text of `cpu.pressure` or
/// `/proc/pressure/cpu`.
pub(super) fn waiting_time(pressure: &str) -> Option<Duration> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|field| field.strip_prefix("total="))?;
    Some(Duration::from_micros(total.parse().ok()?))
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const STAT: &str = "cpu  1997907 299617 554306 2481924 11420 0 5248 1245 0 0\n\
        cpu0 973443 146031 268206 1280179 3360 0 1627 609 0 0\n\
        cpu1 1024463 153585 286099 1201745 8059 0 3621 636 0 0\n\
        intr 63634461 0 0 0\n\
        ctxt 192364710\n\
        btime 1795604506\n";

    #[test]
    fn the_busy_time_of_the_allowed_processors_is_added_up() {
        let (busy0, idle0) = (973_443 + 146_031 + 268_206 + 1627 + 609, 1_280_179 + 3360);
        let (busy1, idle1) = (1_024_463 + 153_585 + 286_099 + 3621 + 636, 1_201_745 + 8059);
        let time =
            |processors, busy, idle| Some(ProcessorTime { processors, busy, total: busy + idle });
        assert_eq!(ProcessorTime::of(STAT, |_| true), time(2, busy0 + busy1, idle0 + idle1));
        assert_eq!(ProcessorTime::of(STAT, |number| number == 1), time(1, busy1, idle1));
        assert_eq!(ProcessorTime::of(STAT, |_| false), None);
        for broken in ["", "cpu  1 2 3 4 5 6 7 8\n", "cpu0 1 2 3\n", "cpu0 1 2 x 4 5 6 7 8\n"] {
            assert_eq!(ProcessorTime::of(broken, |_| true), None, "{broken:?}");
        }
        let huge = format!("cpu0 {0} 2 3 {0} {0} 6 7 8", u64::MAX);
        assert_eq!(ProcessorTime::of(&huge, |_| true), time(1, 0, u64::MAX));
        // Times of guests are not added again.
        assert_eq!(ProcessorTime::of("cpu0 1 2 3 4 5 6 7 8 100 100", |_| true), time(1, 27, 9));
    }

    #[test]
    fn the_busy_share_is_computed_for_the_time_between_two_readings() {
        let time = |busy, total| ProcessorTime { processors: 1, busy, total };
        for (earlier, later, expected) in [
            (time(100, 1000), time(150, 1100), Some(0.5)),
            (time(100, 1000), time(100, 1100), Some(0.0)),
            (time(100, 1000), time(200, 1100), Some(1.0)),
            (time(100, 1000), time(150, 1000), None), // no time has passed
            (time(100, 1000), time(50, 900), None),   // a processor was removed
            (time(100, 1000), time(50, 1100), Some(0.0)),
            (time(100, 1000), time(300, 1100), Some(1.0)),
        ] {
            assert_eq!(later.busy_share(earlier), expected, "{earlier:?} {later:?}");
        }
    }

    #[test]
    fn the_list_of_allowed_processors_is_parsed() {
        let status = |list| format!("Name:\tcat\nCpus_allowed:\t10f\nCpus_allowed_list:\t{list}\n");
        for (list, expected) in [
            ("0-1", Some(vec![(0, 1)])),
            ("7", Some(vec![(7, 7)])),
            ("0-3,8,10-11", Some(vec![(0, 3), (8, 8), (10, 11)])),
            ("", None),
            ("0-x", None),
        ] {
            let parsed = AllowedProcessors::of(&status(list));
            assert_eq!(parsed, expected.map(AllowedProcessors), "{list:?}");
        }
        assert_eq!(AllowedProcessors::of("Name:\tcat\n"), None);
        let allowed = AllowedProcessors(vec![(0, 3), (8, 8)]);
        let numbers: Vec<u32> = (0..10).filter(|number| allowed.contains(*number)).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 8]);
    }

    #[test]
    fn the_waiting_time_is_parsed() {
        let pressure = "some avg10=1.71 avg60=4.82 avg300=8.52 total=7882409524\n\
            full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        for (pressure, expected) in [
            (pressure, Some(7_882_409_524)),
            ("some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", Some(5)),
            ("full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", None),
            ("some avg10=0.00\n", None),
            ("some total=x\n", None),
            ("", None),
        ] {
            assert_eq!(waiting_time(pressure), expected.map(Duration::from_micros), "{pressure:?}");
        }
    }
}
