//! Checks the source against the architecture: which module may import which, which may name the
//! standard library's synchronization, and where `unsafe` may be used.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module imports only from layers below its own; modules of one layer
/// do not import each other.
const LAYERS: &[&[&str]] = &[
    &["sync", "time", "random", "share"],
    &["wait", "error", "outcome", "event", "policy"],
    &["window", "backoff", "ring", "keyed", "codel", "budget", "singleflight"],
    PRIMITIVES,
    &["pipeline"],
    &["tower", "telemetry", "docs"],
];

const PRIMITIVES: &[&str] = &[
    "breaker",
    "retry",
    "fallback",
    "hedge",
    "timeout",
    "object_pool",
    "worker_pool",
    "rate",
    "concurrency",
    "coalesce",
    "cache",
    "batch",
    "chaos",
    "deadline",
    "resource_pool",
    "event_bus",
];

/// Imports allowed between modules of one layer: the importer, the imported, and the reason.
const ALLOWED_WITHIN_A_LAYER: &[(&str, &str, &str)] = &[
    ("time", "sync", "a manual clock guards its sleepers with a lock"),
    ("random", "sync", "a seeded source counts in an atomic"),
    ("event", "error", "an event carries the name of its policy, as a rejection does"),
    ("outcome", "error", "a classifier reads the error"),
    ("policy", "error", "a guard returns a rejection"),
    ("budget", "keyed", "the budgets of many dependencies are stored by key"),
    ("singleflight", "keyed", "the running executions are stored by key"),
    ("policy", "outcome", "a guard records an outcome"),
];

/// Files and folders (with a trailing slash) that may contain `unsafe`.
const MAY_BE_UNSAFE: &[&str] = &[
    "sync/",
    "wait/",
    "ring/broadcast/slots.rs",
    "ring/core/batch.rs",
    "ring/core/slots.rs",
    "object_pool/",
    "worker_pool/job.rs",
];

struct Source {
    path: String,
    module: String,
    /// Lines of code with their numbers, without comments and test modules.
    lines: Vec<(usize, String)>,
}

impl Source {
    /// Whether the whole file is test code.
    fn is_test(&self) -> bool {
        let file = self.path.rsplit('/').next().unwrap();
        let in_folder = |folder: &str| self.path.split('/').any(|part| part == folder);
        file == "loom.rs" || file == "tests.rs" || in_folder("tests") || in_folder("loom")
    }
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

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Returns the first path segment after every `crate::` of a line, also inside a brace list.
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

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_listed_module_exists() {
    let sources = sources();
    let exists = |module: &&str| sources.iter().any(|source| source.module == *module);
    let faults: Vec<_> = LAYERS
        .iter()
        .copied()
        .flatten()
        .filter(|module| !exists(module))
        .map(|module| format!("LAYERS lists `{module}`, which src/ does not contain"))
        .collect();
    assert_none(&faults);
}

#[test]
fn modules_import_only_from_layers_below() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| s.module != "lib") {
        let Some(own) = layer(&source.module) else {
            faults.push(format!(
                "{}: list `{}` in LAYERS of tests/layering.rs",
                source.path, source.module
            ));
            continue;
        };
        for (number, line) in &source.lines {
            for name in imports(line).iter().filter(|name| **name != source.module) {
                let allowed = ALLOWED_WITHIN_A_LAYER
                    .iter()
                    .any(|(from, to, _)| *from == source.module && to == name);
                match layer(name) {
                    Some(other) if other < own || allowed => {}
                    _ => faults.push(format!(
                        "{}:{number}: `{}` (layer {own}) may not import `{name}`",
                        source.path, source.module
                    )),
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn pipeline_names_primitives_only_in_its_verbs() {
    let mut faults = Vec::new();
    for source in sources() {
        if source.module == "pipeline" && source.path != "pipeline/verbs.rs" {
            for (number, line) in &source.lines {
                for name in imports(line).iter().filter(|name| PRIMITIVES.contains(&name.as_str()))
                {
                    faults.push(format!("{}:{number}: names `{name}`", source.path));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn only_sync_names_the_platform() {
    const PLATFORM: &[&str] = &[
        "std::sync::",
        "core::sync::",
        "parking_lot::",
        "loom::",
        "std::thread::park",
        "std::time::Instant",
    ];
    let mut faults = Vec::new();
    // Tests drive threads and loom themselves.
    for source in sources().iter().filter(|s| s.module != "sync" && !s.is_test()) {
        for (number, line) in &source.lines {
            for name in PLATFORM.iter().filter(|name| line.contains(**name)) {
                // `time` alone reads the machine's clock.
                if source.module == "time" && *name == "std::time::Instant" {
                    continue;
                }
                faults.push(format!(
                    "{}:{number}: names `{name}`; use crate::sync or crate::time",
                    source.path
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn unsafe_is_used_only_where_it_is_allowed() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let allowed = MAY_BE_UNSAFE.iter().any(|place| source.path.starts_with(place));
        for (number, line) in &source.lines {
            let permits = line.contains("allow(unsafe_code)");
            let uses = line
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .any(|word| word == "unsafe");
            if (uses || permits) && !allowed {
                faults.push(format!("{}:{number}: unsafe outside {MAY_BE_UNSAFE:?}", source.path));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_checks_find_what_they_search_for() {
    assert_eq!(imports("use crate::{error::Error, time::Clock};"), ["error", "time"]);
    assert_eq!(imports("let x: crate::sync::Arc<crate::time::Clock>;"), ["sync", "time"]);
    assert!(layer("sync") < layer("error") && layer("error") < layer("breaker"));
    let sources = sources();
    assert!(sources.iter().any(|s| s.path == "sync/live.rs" && !s.is_test()));
    assert!(sources.iter().any(|s| s.path == "sync/loom.rs" && s.is_test()));
    assert!(sources.iter().flat_map(|s| &s.lines).any(|(_, line)| line.contains("std::sync::")));
}
