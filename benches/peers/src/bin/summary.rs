//! One table of all primitives: the cost of each path, that of the best peer, and their ratio.
//!
//! Runs the chosen tables of the other binaries, which must have been built. Exits with 1 if a
//! ratio exceeds the expected one by more than 20 %.

use std::process::{Command, ExitCode};

use peers::ONLY;

/// One line of the summary.
struct Path {
    name: &'static str,
    binary: &'static str,
    title: &'static str,
    ours: &'static str,
    /// The beginnings of the names of the peers.
    peers: &'static [&'static str],
    /// The expected ratio: 1 if mainstay is ahead of every peer, more for an accepted loss.
    expected: f64,
}

const fn path(
    name: &'static str,
    [binary, title, ours]: [&'static str; 3],
    peers: &'static [&'static str],
    expected: f64,
) -> Path {
    Path { name, binary, title, ours, peers, expected }
}

const BREAKERS: &[&str] = &["recloser", "failsafe", "tower-resilience", "seatbelt"];
const CHANNELS: &[&str] = &["kanal", "crossfire", "crossbeam-channel", "flume"];
const WORKERS: &[&str] =
    &["crossbeam-channel", "rusty_pool", "threadpool", "rayon", "tokio spawn_blocking"];
const OBJECTS: &[&str] =
    &["lockfree-object-pool", "opool", "object-pool", "sharded-slab", "crossbeam ArrayQueue"];
const SEMAPHORES: &[&str] = &["tokio", "async-lock"];

/// Figures of two or more threads vary between runs of the same program.
const PATHS: &[Path] = &[
    path(
        "breaker, closed",
        ["breaker", "closed breaker, one call that succeeds, 1 thread", "mainstay, count window"],
        BREAKERS,
        1.0,
    ),
    path(
        "breaker, closed, 8 threads",
        [
            "breaker",
            "closed breaker, shared by 8 threads; per call of one thread",
            "mainstay, count window",
        ],
        BREAKERS,
        1.0,
    ),
    path(
        "breaker, rejection",
        ["breaker", "open breaker, one rejection, 1 thread", "mainstay"],
        BREAKERS,
        1.2,
    ),
    path(
        "rate limiter, granted",
        [
            "rate",
            "one token, granted, 1 threads share it; per call of one thread",
            "mainstay, std clock",
        ],
        &["governor, std clock", "leaky-bucket"],
        1.0,
    ),
    path(
        "rate limiter, granted, 8 threads",
        [
            "rate",
            "one token, granted, 8 threads share it; per call of one thread",
            "mainstay, std clock",
        ],
        &["governor, std clock", "leaky-bucket"],
        1.1,
    ),
    path(
        "rate limiter, denied",
        [
            "rate",
            "one token, denied by a limiter of 1 threads; per call of one thread",
            "mainstay, std clock",
        ],
        &["governor, std clock", "leaky-bucket"],
        1.1,
    ),
    path(
        "keyed limiter, a million keys",
        [
            "rate",
            "one token of one of 1000000 keys, 1 threads; per call of one thread",
            "mainstay, std clock",
        ],
        &["governor, std clock"],
        1.1,
    ),
    path(
        "bulkhead, try",
        ["concurrency", "concurrency: admit + release, one thread", "bulkhead"],
        &["tokio"],
        1.0,
    ),
    path(
        "semaphore, await",
        ["wait", "semaphore: acquire().await + release, one task", "mainstay"],
        SEMAPHORES,
        1.0,
    ),
    path(
        "semaphore, 8 threads",
        ["wait", "semaphore of 8: try_acquire + release on 8 threads", "mainstay"],
        SEMAPHORES,
        1.0,
    ),
    path(
        "oneshot",
        ["wait", "oneshot: make, send, receive, on one thread", "mainstay"],
        &["tokio", "oneshot"],
        1.0,
    ),
    path(
        "ring, push + pop",
        ["ring", "push + pop of u64, one thread", "mainstay Ring"],
        &["crossbeam ArrayQueue", "concurrent-queue", "crossfire"],
        1.0,
    ),
    path(
        "channel, 1 to 1",
        ["channel", "1P1C of u64, waiting; per item", "mainstay channel"],
        CHANNELS,
        1.0,
    ),
    path(
        "channel, 4 to 4",
        ["channel", "4P4C of u64, waiting; per item", "mainstay channel"],
        CHANNELS,
        1.0,
    ),
    path(
        "channel, ping-pong",
        ["channel", "ping-pong between two threads; per round trip", "mainstay channel"],
        CHANNELS,
        1.1,
    ),
    path(
        "channel of 1,024, ping-pong",
        ["channel", "ping-pong through channels of 1,024; per round trip", "mainstay channel"],
        CHANNELS,
        1.1,
    ),
    path(
        "broadcast, 10 subscribers",
        ["broadcast", "overwriting, 10 subscribers, one thread", "mainstay"],
        &["tokio", "async-broadcast"],
        1.0,
    ),
    path(
        "hedge, measured delay",
        ["policies", "hedge around a ready future, 1 thread", "mainstay, measured delay"],
        &["tower"],
        1.0,
    ),
    path(
        "cache hit, blocking",
        ["policies", "cache hit, 1 thread", "mainstay on quick_cache, blocking"],
        &["moka"],
        1.0,
    ),
    path(
        "object pool, 4 KiB",
        ["object_pool", "get + put of 4 KiB, 1 threads", "mainstay"],
        OBJECTS,
        1.0,
    ),
    path(
        "object pool, 4 KiB, 8 threads",
        ["object_pool", "get + put of 4 KiB, 8 threads", "mainstay"],
        OBJECTS,
        1.0,
    ),
    path(
        "resource pool, idle resource",
        ["resource_pool", "get + put of an idle resource, one task", "mainstay"],
        &["deadpool", "bb8"],
        1.0,
    ),
    path(
        "resource pool, tasks wait",
        ["resource_pool", "32 tasks on 16 resources, each held over one yield", "mainstay"],
        &["deadpool", "bb8"],
        1.0,
    ),
    path(
        "worker pool, empty jobs",
        ["worker_pool", "submit to done, 0 µs of work a job, 1 submitting", "mainstay"],
        WORKERS,
        1.0,
    ),
    path(
        "worker pool, 2 µs jobs",
        ["worker_pool", "submit to done, 2 µs of work a job, 1 submitting", "mainstay"],
        WORKERS,
        1.1,
    ),
    path(
        "pipeline of three",
        [
            "pipeline",
            "a ready future through a pipeline, 1 thread",
            "mainstay timeout+retry+breaker",
        ],
        &["seatbelt"],
        1.0,
    ),
    path(
        "Tower, timeout and retry",
        [
            "tower",
            "timeout, retry, breaker around a ready service, 1 thread",
            "mainstay, timeout and retry only",
        ],
        &["tower's own"],
        1.1,
    ),
];

fn main() -> ExitCode {
    let mut binaries: Vec<&str> = PATHS.iter().map(|path| path.binary).collect();
    binaries.dedup();
    let outputs: Vec<(&str, String)> =
        binaries.into_iter().map(|binary| (binary, run(binary))).collect();
    println!(
        "{:<34} {:>9} {:>9}  {:<30} {:>6} {:>9}",
        "ns per operation", "mainstay", "best peer", "", "ratio", "expected"
    );
    let mut is_as_expected = true;
    for path in PATHS {
        let output = outputs.iter().find(|(binary, _)| *binary == path.binary);
        let medians = medians(&output.expect("every binary was run").1, path.title);
        let ours = medians.iter().find(|(name, _)| name == path.ours).expect("a row of ours").1;
        let is_peer = |name: &str| path.peers.iter().any(|peer| name.starts_with(peer));
        let (peer, best) = medians
            .iter()
            .filter(|(name, _)| is_peer(name))
            .min_by(|one, other| one.1.total_cmp(&other.1))
            .expect("a row of a peer");
        let ratio = ours / best;
        let exceeds = ratio > path.expected * 1.2;
        is_as_expected &= !exceeds;
        println!(
            "{:<34} {ours:>9.1} {best:>9.1}  {peer:<30} {ratio:>6.2} {:>9.2}{}",
            path.name,
            path.expected,
            if exceeds { "  exceeded by more than 20 %" } else { "" }
        );
    }
    if is_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the chosen tables of a binary, and returns its output.
fn run(binary: &str) -> String {
    let chosen = PATHS.iter().filter(|path| path.binary == binary);
    let titles: Vec<&str> = chosen.map(|path| path.title).collect();
    let directory = std::env::current_exe().expect("this program has a path");
    let program = directory.with_file_name(binary);
    eprintln!("{binary} …");
    let output = Command::new(&program).env(ONLY, titles.join("\n")).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{}: {error}; run `cargo build --release --bins` first", program.display())
    });
    assert!(output.status.success(), "{binary}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the tables are text")
}

/// Returns the names and medians of the table with the title `title`.
fn medians(output: &str, title: &str) -> Vec<(String, f64)> {
    let rows = output.lines().skip_while(|line| !line.starts_with(&format!("{title} ("))).skip(2);
    let row = |line: &str| {
        // Name, median, best, worst, ratio and unit; a name can contain spaces.
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.len().checked_sub(5)?;
        Some((words[..name].join(" "), words[name].parse().ok()?))
    };
    rows.map_while(row).collect()
}
