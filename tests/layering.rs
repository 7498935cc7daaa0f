//! Holds the source against the architecture: who may import whom, who may touch the machine, and
//! where `unsafe` may stand.

use std::fs;
use std::path::{Path, PathBuf};

/// Floor by floor. A module imports only from floors below its own; rooms of one floor do not know
/// each other.
const FLOORS: &[&[&str]] = &[
    &["sync", "time", "random", "share"],
    &["wait", "error", "outcome", "event", "policy"],
    &["window", "backoff", "ring", "budget", "keyed"],
    &[
        "breaker",
        "retry",
        "timeout",
        "hedge",
        "fallback",
        "object_pool",
        "worker_pool",
        "resource_pool",
        "rate",
        "concurrency",
        "coalesce",
        "batch",
        "chaos",
    ],
    &["pipeline"],
    &["tower", "telemetry", "registry", "docs"],
];

/// Neighbours that may know each other although they share a floor, and why.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("time", "sync", "a manual clock guards its timers with a lock"),
    ("random", "sync", "a seeded source counts in an atomic"),
    ("event", "error", "an event names its source as a rejection does"),
    ("outcome", "error", "what counts as failure is told from the error"),
    ("policy", "error", "a guard answers with a rejection"),
    ("policy", "outcome", "a guard settles by outcome"),
];

const UNSAFE_HOMES: &[&str] =
    &["sync/", "wait/", "ring/core.rs", "object_pool/", "worker_pool/job.rs"];

struct Source {
    path: String,
    module: String,
    /// Code lines with their numbers: no comments, no test modules.
    lines: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            let module = path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let lines = text
                .lines()
                .enumerate()
                .take_while(|(_, line)| !line.starts_with("mod tests {"))
                .map(|(i, line)| (i + 1, line.split("//").next().unwrap().to_owned()))
                .filter(|(_, line)| !line.trim().is_empty())
                .collect();
            Source { path, module, lines }
        })
        .collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The first path segments after every `crate::` of a line, also inside a brace list.
fn imports(line: &str) -> Vec<String> {
    let ident =
        |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    line.match_indices("crate::")
        .flat_map(|(at, pat)| {
            let rest = &line[at + pat.len()..];
            match rest.strip_prefix('{') {
                Some(list) => list.split(',').map(|item| ident(item.trim())).collect(),
                None => vec![ident(rest)],
            }
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn modules_import_only_from_below() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| s.module != "lib") {
        let Some(own) = floor(&source.module) else {
            faults.push(format!(
                "{}: give `{}` a floor in tests/layering.rs",
                source.path, source.module
            ));
            continue;
        };
        for (number, line) in &source.lines {
            for name in imports(line).iter().filter(|name| **name != source.module) {
                let known = NEIGHBOURS.iter().any(|(a, b, _)| *a == source.module && b == name);
                match floor(name) {
                    Some(other) if other < own || known => {}
                    _ => faults.push(format!(
                        "{}:{number}: `{}` (floor {own}) may not import `{name}`",
                        source.path, source.module
                    )),
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn composition_names_single_policies_only_in_its_verbs() {
    let rooms = FLOORS[3];
    let mut faults = Vec::new();
    for source in sources() {
        if source.module == "pipeline" && source.path != "pipeline/verbs.rs" {
            for (number, line) in &source.lines {
                for name in imports(line).iter().filter(|name| rooms.contains(&name.as_str())) {
                    faults.push(format!("{}:{number}: names `{name}`", source.path));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn only_sync_touches_the_machine() {
    const MACHINE: &[&str] = &[
        "std::sync::",
        "core::sync::",
        "parking_lot::",
        "loom::",
        "std::thread::park",
        "std::time::Instant",
    ];
    let mut faults = Vec::new();
    for source in sources() {
        // Models drive loom themselves; time/ alone reads the machine's clock.
        if source.module == "sync" || source.path.ends_with("/loom.rs") {
            continue;
        }
        for (number, line) in &source.lines {
            for name in MACHINE.iter().filter(|name| line.contains(**name)) {
                if source.module == "time" && *name == "std::time::Instant" {
                    continue;
                }
                faults.push(format!(
                    "{}:{number}: names `{name}`; go through crate::sync or crate::time",
                    source.path
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn unsafe_stays_at_home() {
    let mut faults = Vec::new();
    for source in sources() {
        let home = UNSAFE_HOMES.iter().any(|home| source.path.starts_with(home));
        for (number, line) in &source.lines {
            let grants = line.contains("allow(unsafe_code)");
            // A folder's mod.rs grants it to a file below, lib.rs to a folder: the file itself is what counts.
            let says = line
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .any(|word| word == "unsafe");
            if (says || grants) && !home {
                faults.push(format!("{}:{number}: unsafe outside {UNSAFE_HOMES:?}", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(imports("use crate::{error::Error, time::Clock};"), ["error", "time"]);
    assert_eq!(imports("let x: crate::sync::Arc<crate::time::Clock>;"), ["sync", "time"]);
    assert!(floor("sync") < floor("error") && floor("error") < floor("breaker"));
    assert!(sources().iter().any(|s| s.path == "sync/live.rs"));
    assert!(sources().iter().flat_map(|s| &s.lines).any(|(_, line)| line.contains("std::sync::")));
}
