//! Measured costs compared with other crates, and where mainstay is slower.
//!
//! All figures are medians of 15 interleaved rounds in one process, in nanoseconds per operation of
//! one thread, on a 2-core AMD EPYC on which one reading of the system clock takes 20 to 24 ns.
//! Compare ratios within a table only: figures of two and more threads vary by half between runs.
//! The programs are in the repository: `cd benches/peers && cargo run --release --bin breaker` (or
//! `rate`, `ring`, `channel`, `broadcast`, `wait`, `concurrency`, `object_pool`, `resource_pool`,
//! `worker_pool`, `pipeline`, `tower`). After `cargo build --release --bins`, `--bin summary`
//! prints one table of all primitives in three minutes; `--bin growth` draws the picture below.
//!
//! # Growth
//!
//! Costs by the number of threads that share one object, of keys, and of slots:
//!
//! <div>
#![doc = include_str!("growth.svg")]
//! </div>
//!
//! Threads that change one word wait for its cache line. The breaker's threads do not, because a
//! success writes nothing shared. A map of ten million keys is larger than the caches, so each call
//! waits for memory.
//!
//! # Circuit breaker
//!
//! One successful call of a closed breaker, which all threads share:
//!
//! | | 1 thread | 2 threads | 8 threads |
//! |---|---|---|---|
//! | **mainstay**, count window | 3.3 | 3.6 | 14 |
//! | **mainstay**, one call in 100 fails | 8.7 | 26 | 125 |
//! | **mainstay**, time window (reads the clock) | 34 | 58 | 384 |
//! | recloser | 14.3 | 196 | 1,232 |
//! | failsafe, consecutive failures (no window) | 20 | 81 | 275 |
//! | failsafe, rate over time (reads the clock) | 78 | 205 | 1,016 |
//! | seatbelt | 107 | 212 | 2,830 |
//! | tower-resilience | 214 | 67,727 | 279,156 |
//!
//! While a count window contains only successes, recording a success takes a few loads and writes
//! no shared memory.
//!
//! *Slower:* the rejection of an open breaker takes 32.2 (failsafe 30.6, recloser 28.3), most of it
//! the clock reading.
//!
//! # Pipeline and Tower
//!
//! | | mainstay | others |
//! |---|---|---|
//! | timeout, retry, breaker around a ready future | 41 | seatbelt 149 |
//! | the same, boxed | 88 | |
//! | timeout, retry, breaker, bulkhead and rate limiter | 67 | |
//! | a breaker as a Tower layer | 27 | seatbelt 115, tower-resilience 226 |
//! | timeout, retry, breaker as Tower layers | 91 | seatbelt 223, tower-resilience 527 |
//! | the breaker's layer, 2 / 8 clones on 2 / 8 threads | 102 / 420 | seatbelt 275 / 1,135 |
//!
//! *Slower:* timeout and retry alone as Tower layers take 52.5, tower's own 51.1: the future
//! of a call owns a handle to the retry, whose reference count is changed twice, for about 10.
//!
//! # Rate limiter
//!
//! | | mainstay | governor | leaky-bucket |
//! |---|---|---|---|
//! | granted, system clock, 1 / 8 threads | 30.0 / 208 | 31.7 / 225 | 39 / 463 |
//! | granted, manual clock, 1 / 8 threads | 6.9 / 174 | 7.5 / 178 | |
//! | granted, `quanta` clock, 1 / 8 threads | 10.1 / 198 | 9.4 / 195 | |
//! | denied, system clock; the same, and reading the wait | 26.6; 33.1 | 26.8; 53.6 | 39 |
//! | denied, manual clock | 5.6 | 3.3 | |
//! | one of 1,000 keys, system clock | 47 | 49 | |
//! | one of 1,000,000 keys, system clock, 1 / 8 threads | 262 / 608 | 251 / 642 | |
//! | one of 1,000,000 keys, manual clock | 248 | 137 | |
//! | bytes per key of 8 bytes, 1,000,000 keys | 52 | 36 | |
//!
//! *Slower:* grants with a `quanta` clock, by 1.02 to 1.07; denials with a manual clock, because a
//! denial carries all figures of the decision; a million keys on one thread. A key takes more
//! memory, because the number of keys is bounded and unused keys are removed.
//!
//! # Ring and channel
//!
//! A queue of 1,024 `u64`. The first column is one thread that pushes and pops. In the others
//! (1P1C: one producer, one consumer) the threads wait; with a queue that cannot wait, they yield
//! in a loop, or pause with [`SpinWait`](crate::ring::SpinWait):
//!
//! | | push + pop | 1P1C | 2P2C | 4P4C |
//! |---|---|---|---|---|
//! | **mainstay** `channel` | | 5.6 | 11 | 12 |
//! | **mainstay** `channel`, batches of 32 | | 1.1 | 2.3 | 2.9 |
//! | **mainstay** `Ring`, `SpinWait` | 9.7 | 7.3 | 12 | 20 |
//! | **mainstay** `Ring`, yielding | | 8.0 | 17 | 43 |
//! | crossfire | 10.1 | 9.7 | 16 | 23 |
//! | crossbeam `ArrayQueue`, yielding | 12.0 | 8.9 | 10 | 16 |
//! | kanal | 11.5 | 49 | 18 | 25 |
//! | crossbeam-channel | 14.8 | 31 | 43 | 80 |
//! | flume | 24.2 | 77 | 88 | 87 |
//! | rtrb (one producer, one consumer only) | 2.0 | 1.6 | | |
//!
//! Polling an empty ring takes 1.0 (`ArrayQueue` 5.6), pushing into a full one 0.8 (5.9).
//!
//! One round trip between two threads takes about as long as with crossbeam-channel (ratios of
//! medians 0.80 to 1.09 in five runs), through channels of one slot and of 1,024.
//!
//! *Slower:* a batch of one costs 1.1 times a single push and pop; a queue for one producer and one
//! consumer such as rtrb is five times as fast on one thread. A loop that polls a `Ring` with a
//! single `spin_loop` between attempts takes 1.2 to 1.5 times as long as one that polls an
//! `ArrayQueue`, whose failed attempts take five times as long; with
//! [`SpinWait`](crate::ring::SpinWait), the ring takes 1.05 to 1.6 times as long as the channel.
//!
//! # Broadcast
//!
//! One item that 1, 10 or 1,000 subscribers receive. In the first rows one thread sends 32 items,
//! then receives them as each subscriber. In the rows of tasks, each subscriber is a task that
//! waits, on one thread.
//!
//! | | 1 | 10 | 1,000 |
//! |---|---|---|---|
//! | **mainstay** `broadcast`, overwriting | 21.0 | 114 | 10,305 |
//! | tokio `broadcast` | 36.0 | 133 | 10,964 |
//! | async-broadcast, overwriting | 40.6 | 139 | 10,979 |
//! | **mainstay** `broadcast`, waiting for the slowest | 17.8 | 74 | 6,536 |
//! | **mainstay** `broadcast`, the same in batches | 13.4 | 29 | 1,754 |
//! | bus | 27.7 | 85 | 6,547 |
//! | async-broadcast | 58.9 | 156 | 10,981 |
//! | tasks: **mainstay**, overwriting | 33.4 | 169 | 15,325 |
//! | tasks: **mainstay**, waiting for the slowest | 29.0 | 123 | 10,759 |
//! | tasks: tokio | 49.8 | 239 | 21,425 |
//! | tasks: async-broadcast | 105 | 333 | 25,343 |
//!
//! *Slower:* ten subscribers that block a thread each, on two cores, take 1.6 to 2.1 times as long
//! as with bus, whose producer sleeps for up to 100 µs when the ring is full. With one such
//! subscriber, bus takes 1.2 to 1.3 times as long.
//!
//! # Semaphore
//!
//! | | mainstay | tokio | async-lock |
//! |---|---|---|---|
//! | `try_acquire` and release | 9.6 | 21.4 | 27.1 |
//! | `acquire().await` and release | 10.1 | 38.9 | 29.2 |
//! | a semaphore of 8, 2 / 8 threads | 32 / 142 | 63 / 278 | 154 / 922 |
//!
//! # Object pool
//!
//! Getting a 4 KiB buffer and returning it:
//!
//! | | 1 thread | 2 threads | 8 threads |
//! |---|---|---|---|
//! | **mainstay** | 4.2 | 4.7 | 16.7 |
//! | lockfree-object-pool, linear | 12.5 | 97 | 308 |
//! | opool | 13.7 | 257 | 174 |
//! | object-pool | 21.4 | 95 | 289 |
//! | sharded-slab | 29.2 | 31 | 119 |
//! | plain allocation | 28.8 | 30 | 116 |
//!
//! *Slower:* an object that is taken on one thread and returned on another takes 33.8 (`ArrayQueue`
//! 20.5). In the best round it takes 11.3 (`ArrayQueue` 7.0).
//!
//! # Worker pool
//!
//! Two workers, one submitting thread, a queue of 1,024 jobs, from submission to completion:
//!
//! | work per job | mainstay | channel + threads | rusty_pool | threadpool | rayon `spawn` | tokio `spawn_blocking` |
//! |---|---|---|---|---|---|---|
//! | none | 48.9 | 84 | 117 | 131 | 186 | 350 |
//! | 0.2 µs | 152 | 299 | 266 (best 173) | 299 (221) | 310 (209) | 514 |
//! | 2 µs | 1,225 | 1,854 | 2,213 (1,212) | 1,413 (1,282) | 1,329 (1,290) | 2,575 |
//! | 20 µs | 10,665 | 10,512 | 11,960 (10,409) | 12,344 (10,482) | 10,624 (10,497) | 18,966 |
//!
//! rusty_pool, threadpool and rayon have unbounded queues. Their submitter never waits for room; it
//! then polls for the completion of the jobs on one of the two cores, which slows some rounds.
//! Their best round is in parentheses.
//!
//! mainstay allocates nothing per job, the others once.
//!
//! With jobs of 2 µs and a queue of 1,024, the processor time per job exceeds the work by 5 %; with
//! a queue of 64, by 16 %; with a queue of 16, by half, because every few jobs a submitter must be
//! woken.
//!
//! # Bulkhead and adaptive limiter
//!
//! | | bulkhead | semaphore | tokio's semaphore | adaptive limiter |
//! |---|---|---|---|---|
//! | `try_acquire` and release | 9.9 | 10.0 | 22.3 | 70 (two clock readings: 49) |
//! | `acquire().await` and release, polled once | 11.0 | 10.0 | | |
//! | the same in `block_on` | 23.0 | 17.5 | 53 | |
//! | 8 threads share 20 permits | 181 | 165 | 274 | 579 |
//!
//! A call through a partition takes 23, because it locks a mutex twice.
//!
//! *Slower:* a bulkhead's future in an executor, by 5 ns. It returns a permit or a rejection, which
//! has four words and is passed in memory; a semaphore returns its permit in registers.
//!
//! The adaptive limiter reads the clock at both ends of a call, which is most of its time here. Its
//! own part is 21 ns, of which three atomic changes are 15: two of its semaphore and one of its
//! histogram.
//!
//! # Resource pool
//!
//! | | mainstay | deadpool | bb8 | mobc |
//! |---|---|---|---|---|
//! | get and put an idle resource, one task | 89 | 178 | 193 | 1,208 |
//! | the same, blocking | 96 | 178 | | |
//! | 32 tasks on 16 resources, each held over one yield | 246 | 280 | 300 | 1,144 |
//! | 256 tasks on 16 resources | 257 | 294 | 373 | 1,138 |
//! | 32 / 256 tasks, tokio's clock | 365 / 383 | | | |
//! | an acquire that is cancelled | 212 | 110 | 252 | 941 |
//!
//! A server that is down for a second while 64 tasks acquire, through 16 connections at most:
//!
//! | | mainstay | deadpool | bb8 | mobc |
//! |---|---|---|---|---|
//! | connection attempts per second, while it is down | 6 | 7,648 | 32 | 7,456 |
//! | connections attempted at a time | 2 | 16 | 16 | 16 |
//! | the last task is served, ms after the restart | 755 | 2 | 206 | 3 |
//!
//! A get and a put read the clock twice, which takes half of the time. With the system clock, the
//! timer of a wait stays armed for the next waiter in the same slot of the queue. *Slower:* with
//! tokio's clock, when tasks wait, because each wait arms a timer; a cancelled acquire; and the
//! first connection after an outage, because the pool pauses between attempts. deadpool has no
//! timeout by default.
//!
//! # Budget, hedge, coalescing and cache
//!
//! | | |
//! |---|---|
//! | a retry alone around a ready future, in a chain of futures | 19 |
//! | the same with a budget of all calls / of calls in flight / of recent calls | 28 / 35 / 52 |
//! | a hedge with a fixed / measured delay | 56 / 89 |
//! | a fallback | 5 |
//! | coalescing: the call that starts the operation / a call that joins it | 265 / 75 |
//! | cache hit, a single value / `quick_cache` | 71 / 72 |
//! | chaos that is off, as a guard / with errors | 2.7 / 1.2 |
//!
//! A hedge and a cache hit read the clock once, a hedge with a measured delay twice. In one run with
//! peers, a hedge with a measured delay took 88 (tower 147), a cache hit 53 (moka 121), and a
//! coalesced execution of its own 274 (async_singleflight 371). *Slower:* a retry around a ready
//! future takes 12, backon's 8.
//!
//! # Timers
//!
//! Arming a timer and dropping it before it fires, which nearly every timeout around a pending
//! operation does, reads the clock twice (47) and takes, in total:
//!
//! | | 1 thread | 2 threads |
//! |---|---|---|
//! | **mainstay**, system clock | 86 | 95 |
//! | `tokio::time::sleep` | 142 | 373 |
