//! The arithmetic of a budget: its state in one word, and the transitions of that word.
//!
//! All functions are pure. Amounts are integers: a share is a whole percentage, and a balance is
//! counted in hundredths of a repeat, so no rounding can grant more than the share. A state takes
//! 60 bits; the other bits of the word are the epoch of the settings.

use crate::sync::STATE_BITS;
use crate::time::Instant;
use std::time::Duration;

/// How a budget decides whether a repeat may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The repeats in flight may be `percent` % of the calls in flight, or `min` if that is more.
    ///
    /// The state is `[calls 30 | repeats 30]`. A billion calls in flight do not fit into memory.
    InFlight { percent: u32, min: u32 },
    /// Each call deposits `percent` hundredths. A deposit expires after one to two halves of the
    /// window. Each half begins with `reserve` hundredths.
    ///
    /// The state is `[half 16 | previous half's balance 22 | current half's balance 22]`.
    Deposits { percent: u32, reserve: u64, half_nanos: u64 },
    /// Each call deposits `percent` hundredths, up to `capacity` hundredths. Deposits do not
    /// expire, and the bucket starts full.
    ///
    /// The state is the balance.
    Bucket { percent: u32, capacity: u64 },
}

/// The balance of one repeat, in hundredths.
pub(super) const REPEAT: u64 = 100;
/// The largest number of repeats in the balance of one half of a window.
pub(super) const MAX_BALANCE: u64 = 40_000;

const ONE_CALL: u64 = 1 << (STATE_BITS / 2);
const HALF_BITS: u32 = 16;
/// The range of the number of a half.
const HALVES: u64 = 1 << HALF_BITS;
const BALANCE_BITS: u32 = 22;
/// A reading that lags by less than this number of halves is taken for that of a delayed thread,
/// and is ignored. If a reading lags by more, the clock was set back, and the balances follow it.
const MAX_LATE: u64 = 1024;

const _: () = assert!(MAX_BALANCE * REPEAT < 1 << BALANCE_BITS);
const _: () = assert!(HALF_BITS + 2 * BALANCE_BITS == STATE_BITS);

/// The number of the current half of the window, and the balances of the previous and the current
/// half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Balances {
    /// A state stores its lowest bits.
    half: u64,
    previous: u64,
    current: u64,
}

impl Balances {
    const fn unpack(state: u64) -> Self {
        let mask = (1 << BALANCE_BITS) - 1;
        Self {
            half: state >> (2 * BALANCE_BITS),
            previous: state >> BALANCE_BITS & mask,
            current: state & mask,
        }
    }

    const fn pack(self) -> u64 {
        let half = self.half % HALVES;
        half << (2 * BALANCE_BITS) | self.previous << BALANCE_BITS | self.current
    }

    /// Advances to the half `to`. A balance that is older than one half expires.
    const fn advance(self, to: u64, reserve: u64) -> Self {
        match to.wrapping_sub(self.half) % HALVES {
            0 => self,
            1 => Self { half: to, previous: self.current, current: reserve },
            // The reading is that of a delayed thread. Nothing changes, so that the reserve of a
            // half is granted only once.
            steps if steps > HALVES - MAX_LATE => self,
            // The clock was set back far, or the budget was unused for more than half of the range
            // of `half`. The reserve is granted only in the next half.
            steps if steps > HALVES / 2 => Self { half: to, previous: 0, current: 0 },
            _ => Self { half: to, previous: reserve, current: reserve },
        }
    }
}

impl Rule {
    /// Returns the initial state.
    pub(super) const fn initial(self, now: Instant) -> u64 {
        match self {
            Self::InFlight { .. } => 0,
            Self::Deposits { reserve, half_nanos, .. } => {
                let half = half_of(now, half_nanos);
                Balances { half, previous: reserve, current: reserve }.pack()
            }
            Self::Bucket { capacity, .. } => capacity,
        }
    }

    /// Returns the state after a call has started.
    pub(super) fn start_call(self, state: u64, now: Instant) -> u64 {
        match self {
            Self::InFlight { .. } => state + ONE_CALL,
            Self::Deposits { percent, reserve, half_nanos } => {
                let mut balances =
                    Balances::unpack(state).advance(half_of(now, half_nanos), reserve);
                let max = MAX_BALANCE * REPEAT;
                balances.current = (balances.current + u64::from(percent)).min(max);
                balances.pack()
            }
            Self::Bucket { percent, capacity } => (state + u64::from(percent)).min(capacity),
        }
    }

    /// Returns the state after a call has ended.
    pub(super) const fn end_call(self, state: u64) -> u64 {
        match self {
            Self::InFlight { .. } => state - ONE_CALL,
            Self::Deposits { .. } | Self::Bucket { .. } => state,
        }
    }

    /// Returns the state after a repeat of the given cost has started, or `None` if the budget is
    /// exhausted.
    pub(super) fn start_repeat(self, state: u64, now: Instant, cost: u32) -> Option<u64> {
        let price = u64::from(cost) * REPEAT;
        match self {
            Self::InFlight { percent, min } => {
                let (repeats, limit) = in_flight(state, percent, min);
                (repeats + u64::from(cost) <= limit).then(|| state + u64::from(cost))
            }
            Self::Deposits { reserve, half_nanos, .. } => {
                let Balances { half, previous, current } =
                    Balances::unpack(state).advance(half_of(now, half_nanos), reserve);
                // The older balance is spent first, because it expires first.
                let from_previous = previous.min(price);
                let current = current.checked_sub(price - from_previous)?;
                Some(Balances { half, previous: previous - from_previous, current }.pack())
            }
            Self::Bucket { .. } => state.checked_sub(price),
        }
    }

    /// Returns the state after a repeat of the given cost has ended.
    pub(super) fn end_repeat(self, state: u64, cost: u32) -> u64 {
        match self {
            Self::InFlight { .. } => state - u64::from(cost),
            Self::Deposits { .. } | Self::Bucket { .. } => state,
        }
    }

    /// Returns how many repeats of cost 1 may start now.
    pub(super) fn available(self, state: u64, now: Instant) -> u64 {
        match self {
            Self::InFlight { percent, min } => {
                let (repeats, limit) = in_flight(state, percent, min);
                limit.saturating_sub(repeats)
            }
            Self::Deposits { reserve, half_nanos, .. } => {
                let balances = Balances::unpack(state).advance(half_of(now, half_nanos), reserve);
                (balances.previous + balances.current) / REPEAT
            }
            Self::Bucket { .. } => state / REPEAT,
        }
    }

    /// Returns whether `state` is that of a new budget.
    pub(super) fn is_as_new(self, state: u64, now: Instant) -> bool {
        match self {
            Self::InFlight { .. } | Self::Bucket { .. } => state == self.initial(now),
            Self::Deposits { reserve, half_nanos, .. } => {
                let balances = Balances::unpack(state).advance(half_of(now, half_nanos), reserve);
                (balances.previous, balances.current) == (reserve, reserve)
            }
        }
    }

    /// Returns `state` as a state of this rule, which replaces `old` at `now`. Both rules are of one
    /// kind.
    pub(super) fn convert(self, old: Self, state: u64, now: Instant) -> u64 {
        match (old, self) {
            (
                Self::Deposits { reserve, half_nanos, .. },
                Self::Deposits { half_nanos: new, .. },
            ) => {
                let half = half_of(now, half_nanos);
                let balances = Balances::unpack(state).advance(half, reserve);
                // If `now` is late, the half of the balances begins later. Its reserve must not be
                // granted again.
                let late = balances.half.wrapping_sub(half) % HALVES;
                let now = now + Duration::from_nanos(late.saturating_mul(half_nanos));
                Balances { half: half_of(now, new), ..balances }.pack()
            }
            (_, Self::Bucket { capacity, .. }) => state.min(capacity),
            (_, Self::InFlight { .. } | Self::Deposits { .. }) => state,
        }
    }

    /// Returns whether the start of a call or a repeat depends on the time.
    pub(super) const fn needs_time(self) -> bool {
        matches!(self, Self::Deposits { .. })
    }
}

/// Returns the number of repeats in flight, and the limit on it.
fn in_flight(state: u64, percent: u32, min: u32) -> (u64, u64) {
    let (calls, repeats) = (state / ONE_CALL, state % ONE_CALL);
    (repeats, (calls * u64::from(percent) / 100).max(min.into()))
}

const fn half_of(now: Instant, half_nanos: u64) -> u64 {
    now.as_nanos() / half_nanos
}
