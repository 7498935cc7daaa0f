//! Measured costs beside those of other crates, and where mainstay is slower.
//!
//! All figures are medians of 15 interleaved rounds in one process, in nanoseconds per operation of
//! one thread, on a 2-core AMD EPYC on which one reading of the system clock takes 21.5 ns. Compare
//! ratios within a table only: figures of two and more threads vary by half between runs. The
//! programs are in the repository: `cd benches/peers && cargo run --release --bin breaker` (or
//! `rate`, `ring`, `channel`, `wait`, `concurrency`, `object_pool`, `resource_pool`, `worker_pool`,
//! `pipeline`, `tower`).
//!
//! # Circuit breaker
//!
//! One successful call of a closed breaker:
//!
//! | | 1 thread | 2 share it | 8 share it |
//! |---|---|---|---|
//! | **mainstay**, count window | 3.1 | 5.8 | 18 |
//! | **mainstay**, one call in 100 fails | 8.8 | 24 | 94 |
//! | **mainstay**, time window (reads the clock) | 35 | 65 | 205 |
//! | recloser | 14.8 | 90 | 1,062 |
//! | failsafe, consecutive failures (no window) | 21 | 48 | 248 |
//! | failsafe, rate over time (reads the clock) | 82 | 175 | 705 |
//! | seatbelt | 110 | 227 | 904 |
//! | tower-resilience | 226 | 557 | 221,534 |
//!
//! While a count window contains only successes, a success is a few loads and writes nothing
//! shared.
//!
//! *Slower:* the rejection of an open breaker takes 35.8 (failsafe 33.4, recloser 30.7), most of it
//! the clock reading.
//!
//! # Pipeline and Tower
//!
//! | | mainstay | others |
//! |---|---|---|
//! | timeout, retry, breaker around a ready future | 32 | seatbelt 146 |
//! | the same, boxed | 72 | |
//! | a breaker as a Tower layer | 26 | seatbelt 111, tower-resilience 251 |
//! | timeout, retry, breaker as Tower layers | 84 | seatbelt 216, tower-resilience 528 |
//! | the breaker's layer, 2 clones / 8 clones on as many threads | 117 / 413 | seatbelt 242 / 999 |
//!
//! *Slower:* timeout and retry alone as Tower layers take 55.5, tower's own 49.6.
//!
//! # Rate limiter
//!
//! | | mainstay | governor | leaky-bucket |
//! |---|---|---|---|
//! | granted, system clock, 1 / 8 threads | 30.7 / 201 | 32.5 / 212 | 40 / 346 |
//! | granted, clock that stands still, 1 / 8 threads | 7.1 / 216 | 7.8 / 170 | |
//! | granted, `quanta` clock, 1 / 8 threads | 10.4 / 241 | 9.7 / 220 | |
//! | denied, system clock; the wait read | 27.8; 34.5 | 27.9; 55.8 | 40 |
//! | denied, clock that stands still | 5.8 | 3.4 | |
//! | one of 1,000 keys, system clock | 46 | 50 | |
//! | one of 1,000,000 keys, system clock, 1 / 8 threads | 229 / 525 | 216 / 563 | |
//! | one of 1,000,000 keys, clock that stands still | 203 | 103 | |
//! | bytes per key of 8 bytes, 1,000,000 keys | 52 | 36 | |
//!
//! *Slower:* wherever the clock is left out, denials without the clock, and a million keys on one
//! thread. A key takes 52 bytes, because the number of keys is bounded and keys are forgotten.
//!
//! # Ring and channel
//!
//! A queue of 1,024 `u64`; one thread that pushes and pops, then threads that wait (queues that
//! cannot wait yield):
//!
//! | | push + pop | 1P1C | 2P2C | 4P4C |
//! |---|---|---|---|---|
//! | **mainstay** `channel` | | 5.6 | 16.9 | 14.0 |
//! | **mainstay** `channel`, batches of 32 | | 1.1 | 6.6 | 6.8 |
//! | **mainstay** `Ring` | 10.4 | 7.5 | 13.3 | 16.6 |
//! | crossfire | 10.9 | 10.0 | 16.5 | 19.3 |
//! | crossbeam `ArrayQueue` | 12.4 | 8.3 | 16.0 | 16.3 |
//! | kanal | 11.9 | 40.6 | 16.9 | 21.2 |
//! | crossbeam-channel | 15.3 | 12.6 | 26.2 | 26.7 |
//! | flume | 25.1 | 73 | 31 | 45 |
//! | rtrb (one producer, one consumer only) | 2.1 | 1.8 | | |
//!
//! Polling an empty ring takes 1.2 (`ArrayQueue` 5.8), pushing into a full one 0.8 (6.1).
//!
//! *Slower:* two producers with two consumers are level with crossfire; one round trip between two
//! threads takes 388 (crossbeam-channel 274); a batch of one costs 1.1 times a single push and pop;
//! a queue for one producer and one consumer such as rtrb is five times as fast.
//!
//! # Semaphore
//!
//! | | mainstay | tokio | async-lock |
//! |---|---|---|---|
//! | `try_acquire` and release | 9.9 | 22.8 | 28.1 |
//! | `acquire().await` and release | 10.4 | 39.1 | 30.0 |
//! | a semaphore of 8, 2 / 8 threads | 49 / 195 | 66 / 581 | 88 / 439 |
//!
//! # Object pool
//!
//! Getting a 4 KiB buffer and returning it:
//!
//! | | 1 thread | 2 threads | 8 threads |
//! |---|---|---|---|
//! | **mainstay** | 4.1 | 4.2 | 16.6 |
//! | lockfree-object-pool, linear | 12.5 | 94 | 344 |
//! | opool | 13.7 | 37 | 162 |
//! | object-pool | 21.4 | 95 | 303 |
//! | sharded-slab | 29.1 | 30 | 118 |
//! | plain allocation | 28.8 | 29 | 115 |
//!
//! *Slower:* objects taken on one thread and returned on another take 10 (`ArrayQueue` 7.3).
//!
//! # Worker pool
//!
//! Two workers, one submitting thread, a queue of 1,024 jobs, from submission to completion:
//!
//! | work in a job | mainstay | channel + threads | rusty_pool | threadpool | rayon `spawn` | tokio `spawn_blocking` |
//! |---|---|---|---|---|---|---|
//! | none | 41.5 | 86 | 116 | 139 | 189 | 363 |
//! | 0.2 µs | 144 | 273 | 252 | 286 | 291 | 610 |
//! | 2 µs | 1,064 | 1,619 | 2,030 (best 1,046) | 2,017 (1,075) | 2,081 (1,070) | 1,347 |
//! | 20 µs | 10,092 | 9,978 | 19,806 (10,049) | 16,702 (9,832) | 19,638 (9,871) | 10,305 |
//! | 2 µs, two submitting threads | 1,121 | 1,693 | 1,089 | 1,164 | 1,156 | 2,195 |
//!
//! rusty_pool, threadpool and rayon have no bound. Their submitter never waits; it then polls for
//! the end of the jobs on one of the two cores, which doubles most rounds. Their best round is in
//! parentheses.
//!
//! mainstay allocates nothing per job, the others once.
//!
//! With a queue of 64 jobs of 2 µs, the processor time per job is 16 % above the work; with 16 jobs
//! it is half as much again, because every few jobs a submitter must be woken. With 1,024 jobs it
//! is 5 %.
//!
//! # Bulkhead and adaptive limiter
//!
//! | | bulkhead | semaphore | tokio's semaphore | adaptive limiter |
//! |---|---|---|---|---|
//! | `try_acquire` and release | 15.0 | 9.6 | 21.6 | 67 (two clock readings: 47) |
//! | `acquire().await` and release | 28.5 | 17.4 | 52 | |
//! | 8 threads share 20 permits | 209 | 200 | 224 | 566 |
//!
//! # Resource pool
//!
//! | | mainstay | deadpool | bb8 |
//! |---|---|---|---|
//! | get and put an idle resource, one task | 91 | 166 | 195 |
//! | the same, blocking | 102 | 176 | |
//! | 32 tasks on 16 resources, each held over one yield | 897 | 294 | 325 |
//! | the same, tokio's clock | 617 | | |
//!
//! Get and put read the clock twice, which takes half of the time. *Slower:* when tasks wait. Each
//! wait allocates the channel through which it receives its resource, and arms a timer for the
//! acquire timeout; a timer of the system clock wakes the timer thread. deadpool has no timeout by
//! default.
