//! Scenario: a log collector. Lines arrive over a socket, are parsed, converted to JSON and written
//! to a file, in three stages on three threads. Each record needs an entry and each batch a buffer;
//! the program runs with new ones and with pooled ones, and prints the difference.
//!
//! ```text
//! cargo run --release --example log_pipeline                      # about ten seconds
//! cargo run --release --example log_pipeline -- --short           # about one
//! cargo run --release --example log_pipeline -- --file my.log     # your own logfmt lines
//! ```
#![allow(unsafe_code)] // for the counting allocator at the end

use mainstay::object_pool::{ObjectPool, Recycle};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::{DerefMut, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

/// A buffer of this size is written to the file.
const BATCH: usize = 64 * 1024;

/// The number of entries passed between threads at a time.
const PAGE: usize = 128;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let input = Input::from_arguments()?;

    // A returned entry or buffer is cleared and keeps its memory, unless an unusually large record
    // made it grow beyond `max_capacity`. `max_idle` is the number of entries in flight between the
    // first two threads.
    let entries =
        ObjectPool::builder(Entry::default).max_capacity(16 * 1024).max_idle(16 * PAGE).build()?;
    let new_buffer = || Vec::with_capacity(BATCH + 4096);
    let buffers = ObjectPool::builder(new_buffer).max_capacity(2 * BATCH).build()?;

    let rounds = if input.short { 1 } else { 3 };
    let mut without = Outcome::default();
    let mut with = Outcome::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}: without pooling");
        without.better(collect(&input, Box::<Entry>::default, new_buffer)?);
        eprintln!("round {round} of {rounds}: with pooling");
        with.better(collect(&input, || entries.get(), || buffers.get())?);
    }
    eprintln!("counting allocations");
    without.allocations = counting(|| collect(&input, Box::<Entry>::default, new_buffer))?;
    with.allocations = counting(|| collect(&input, || entries.get(), || buffers.get()))?;

    println!("\n{} records, best of {rounds} rounds\n", with.records);
    println!("                    records/s   allocations/record");
    println!(
        "without pooling  {:>12.0}   {:>18.4}",
        without.rate(),
        without.allocations_per_record()
    );
    println!("with pooling     {:>12.0}   {:>18.4}", with.rate(), with.allocations_per_record());
    println!("\nfaster by a factor of {:.2}", with.rate() / without.rate());
    let (entries, buffers) = (entries.snapshot(), buffers.snapshot());
    println!(
        "entries created: {:>6} for {:>9} records",
        entries.created,
        entries.hits + entries.misses
    );
    println!(
        "buffers created: {:>6} for {:>9} batches",
        buffers.created,
        buffers.hits + buffers.misses
    );
    Ok(())
}

/// Runs the collector. `entry` and `buffer` provide new or pooled values, which return to their
/// pool, if any, when they are dropped.
fn collect<E, B>(
    input: &Input,
    entry: impl Fn() -> E + Sync,
    buffer: impl Fn() -> B + Sync,
) -> Result<Outcome, Failure>
where
    E: DerefMut<Target = Entry> + Send,
    B: Writable + Send,
{
    let source = input.open()?;
    let target = Scratch::new()?;
    let started = Instant::now();
    let (parsed, to_serialize) = sync_channel::<Vec<E>>(8);
    let (full, to_write) = sync_channel::<B>(8);

    let records = thread::scope(|scope| -> Result<u64, Failure> {
        // Parse.
        let parser = scope.spawn(|| -> Result<u64, Failure> {
            let parsed = parsed;
            let mut lines = BufReader::with_capacity(BATCH, source);
            let mut records = 0;
            loop {
                let mut page = Vec::with_capacity(PAGE);
                while page.len() < PAGE {
                    let mut entry = entry();
                    if lines.read_line(&mut entry.line)? == 0 {
                        break;
                    }
                    entry.parse();
                    page.push(entry);
                }
                if page.is_empty() {
                    return Ok(records);
                }
                records += page.len() as u64;
                parsed.send(page).map_err(|_| "the serializer is gone")?;
            }
        });

        // Serialize. The entries were taken from the pool on the parser's thread and return on this
        // one.
        let serializer = scope.spawn(|| -> Result<(), Failure> {
            let full = full;
            let mut batch = buffer();
            for entry in to_serialize.into_iter().flatten() {
                let text = batch.bytes();
                entry.write_json(text);
                if text.len() >= BATCH {
                    full.send(std::mem::replace(&mut batch, buffer()))
                        .map_err(|_| "the writer is gone")?;
                }
            }
            full.send(batch).map_err(|_| "the writer is gone")?;
            Ok(())
        });

        // Write. The buffers were taken on the serializer's thread.
        let mut file = File::create(&target.0)?;
        for mut batch in to_write {
            file.write_all(batch.bytes())?;
        }
        serializer.join().expect("the serializer does not panic")?;
        parser.join().expect("the parser does not panic")
    })?;
    Ok(Outcome { records, seconds: started.elapsed().as_secs_f64(), allocations: 0 })
}

/// One record: the received line and the positions of its fields.
#[derive(Default)]
struct Entry {
    line: String,
    fields: Vec<(Range<usize>, Range<usize>)>,
}

/// Clears both fields. The larger of their capacities decides whether the pool keeps the entry.
impl Recycle for Entry {
    fn recycle(&mut self) {
        self.line.clear();
        self.fields.clear();
    }

    fn capacity(&self) -> usize {
        self.line.capacity().max(self.fields.capacity())
    }
}

impl Entry {
    /// Parses the `key=value` and `key="value with spaces"` of a logfmt line.
    fn parse(&mut self) {
        let line = self.line.trim_end();
        let mut at = 0;
        while let Some(length) = line[at..].find('=') {
            let key = at..at + length;
            let start = key.end + 1;
            let (value, next) = match line[start..].strip_prefix('"') {
                Some(quoted) => {
                    let end = start + 1 + quoted.find('"').unwrap_or(quoted.len());
                    (start + 1..end, end + 2)
                }
                None => {
                    let end = start + line[start..].find(' ').unwrap_or(line.len() - start);
                    (start..end, end + 1)
                }
            };
            self.fields.push((key, value));
            if !line.is_char_boundary(next) || next >= line.len() {
                break;
            }
            at = next;
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut separator = b'{';
        for (key, value) in &self.fields {
            out.push(separator);
            write_string(&self.line[key.clone()], out);
            out.push(b':');
            write_string(&self.line[value.clone()], out);
            separator = b',';
        }
        out.extend_from_slice(if self.fields.is_empty() { b"{}\n" } else { b"}\n" });
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => write!(out, "\\u{byte:04x}").expect("writing to a Vec succeeds"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A new or a pooled buffer.
trait Writable {
    fn bytes(&mut self) -> &mut Vec<u8>;
}

impl Writable for Vec<u8> {
    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }
}

impl Writable for mainstay::object_pool::PooledObject<'_, Vec<u8>> {
    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }
}

struct Input {
    file: Option<PathBuf>,
    short: bool,
}

impl Input {
    fn from_arguments() -> Result<Self, Failure> {
        let mut input = Self { file: None, short: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--short" => input.short = true,
                "--help" => {
                    println!(
                        "--short: a tenth of the records, one round\n\
                         --file PATH: your own logfmt lines"
                    );
                    std::process::exit(0);
                }
                "--file" => {
                    input.file = Some(arguments.next().ok_or("--file takes a path")?.into());
                }
                other => return Err(format!("unknown argument {other}; see --help").into()),
            }
        }
        Ok(input)
    }

    /// Opens the file, or a socket whose peer sends log lines as fast as it can.
    fn open(&self) -> Result<Box<dyn Read + Send>, Failure> {
        if let Some(path) = &self.file {
            return Ok(Box::new(File::open(path)?));
        }
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let blocks = if self.short { 40 } else { 400 };
        thread::spawn(move || log_to(address, blocks));
        Ok(Box::new(listener.accept()?.0))
    }
}

fn log_to(collector: std::net::SocketAddr, blocks: usize) {
    const MESSAGES: [&str; 4] =
        ["order placed", "payment accepted", "card refused, will ask again", "shipped"];
    let mut block = String::new();
    for i in 0_usize..2_000 {
        let (level, message) = (["info", "info", "warn", "debug"][i % 4], MESSAGES[i / 3 % 4]);
        block += &format!(
            "time=2026-01-01T12:{:02}:{:02}.{:03}Z level={level} target=shop.checkout \
             message=\"{message}\" order={} customer={} amount={}.{:02} latency_ms={}\n",
            i / 60 % 60,
            i % 60,
            i * 7 % 1000,
            48_000 + i,
            i * 31 % 5_000,
            i % 300,
            i % 100,
            i * i % 90,
        );
    }
    let logging = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(collector)?;
        (0..blocks).try_for_each(|_| stream.write_all(block.as_bytes()))
    };
    if let Err(error) = logging() {
        eprintln!("the logging service: {error}");
    }
}

/// A file that is removed when the value is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let name = format!("log_pipeline-{}.json", std::process::id());
        let path: &Path = &std::env::temp_dir().join(name);
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Default)]
struct Outcome {
    records: u64,
    seconds: f64,
    allocations: u64,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    fn allocations_per_record(&self) -> f64 {
        self.allocations as f64 / self.records as f64
    }

    /// Keeps the better of two rounds.
    fn better(&mut self, other: Self) {
        if self.records == 0 || other.rate() > self.rate() {
            *self = other;
        }
    }
}

/// Counts the allocations of `work` on all threads. The timed rounds are not counted, because
/// counting would slow down the one that allocates more.
fn counting(work: impl FnOnce() -> Result<Outcome, Failure>) -> Result<u64, Failure> {
    let before = allocator::ALLOCATIONS.load(Relaxed);
    allocator::COUNTING.store(true, Relaxed);
    let outcome = work();
    allocator::COUNTING.store(false, Relaxed);
    outcome.map(|_| allocator::ALLOCATIONS.load(Relaxed) - before)
}

mod allocator {
    use super::Relaxed;
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicBool, AtomicU64};

    pub(super) static COUNTING: AtomicBool = AtomicBool::new(false);
    pub(super) static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: every call is forwarded to the system allocator.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if COUNTING.load(Relaxed) {
                ALLOCATIONS.fetch_add(1, Relaxed);
            }
            // SAFETY: the caller upholds the contract of `GlobalAlloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            if COUNTING.load(Relaxed) {
                ALLOCATIONS.fetch_add(1, Relaxed);
            }
            // SAFETY: the caller upholds the contract of `GlobalAlloc`.
            unsafe { System.realloc(at, layout, size) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: the caller upholds the contract of `GlobalAlloc`.
            unsafe { System.dealloc(at, layout) }
        }
    }
}
