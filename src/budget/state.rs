//! The arithmetic of a budget: its state in one word, and the transitions of that word.
//!
//! All functions are pure. Amounts are integers: a share is a whole percentage, and a balance is
//! counted in hundredths of a repeat, so no rounding can grant more than the share.

use crate::time::Instant;

/// How a budget decides whether a repeat may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The repeats in flight may be `percent` % of the calls in flight, or `min` if that is more.
    ///
    /// The word is `[calls 32 | repeats 32]`.
    InFlight { percent: u32, min: u32 },
    /// Each call deposits `percent` hundredths. A deposit expires after one to two halves of the
    /// window. Each half begins with `reserve` hundredths.
    ///
    /// The word is `[half 20 | previous half's balance 22 | current half's balance 22]`.
    Deposits { percent: u32, reserve: u64, half_nanos: u64 },
    /// Each call deposits `percent` hundredths, up to `capacity` hundredths. Deposits do not
    /// expire, and the bucket starts full.
    ///
    /// The word is the balance.
    Bucket { percent: u32, capacity: u64 },
}

/// The balance of one repeat, in hundredths.
pub(super) const REPEAT: u64 = 100;
/// The largest number of repeats in the balance of one half of a window.
pub(super) const MAX_BALANCE: u64 = 40_000;

const ONE_CALL: u64 = 1 << 32;
const HALF_BITS: u32 = 20;
const BALANCE_BITS: u32 = 22;
/// A reading that lags by less than this number of halves is taken for that of a delayed thread,
/// and is ignored. If a reading lags by more, the clock was set back, and the balances follow it.
const MAX_LATE: u64 = 1024;

const _: () = assert!(MAX_BALANCE * REPEAT < 1 << BALANCE_BITS);
const _: () = assert!(HALF_BITS + 2 * BALANCE_BITS == 64);

/// The number of the current half of the window, and the balances of the previous and the current
/// half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Balances {
    /// A word stores its lowest bits.
    half: u64,
    previous: u64,
    current: u64,
}

impl Balances {
    const fn unpack(word: u64) -> Self {
        let mask = (1 << BALANCE_BITS) - 1;
        Self {
            half: word >> (2 * BALANCE_BITS),
            previous: word >> BALANCE_BITS & mask,
            current: word & mask,
        }
    }

    const fn pack(self) -> u64 {
        self.half << (2 * BALANCE_BITS) | self.previous << BALANCE_BITS | self.current
    }

    /// Advances to the half `to`. A balance that is older than one half expires.
    const fn advance(self, to: u64, reserve: u64) -> Self {
        let halves = 1 << HALF_BITS;
        match to.wrapping_sub(self.half) % halves {
            0 => self,
            1 => Self { half: to, previous: self.current, current: reserve },
            // The reading is that of a delayed thread. Nothing changes, so that the reserve of a
            // half is granted only once.
            steps if steps > halves - MAX_LATE => self,
            // The clock was set back far, or the budget was unused for more than half of the range
            // of `half`. The reserve is granted only in the next half.
            steps if steps > halves / 2 => Self { half: to, previous: 0, current: 0 },
            _ => Self { half: to, previous: reserve, current: reserve },
        }
    }
}

impl Rule {
    /// Returns the initial word.
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

    /// Returns the word after a call has started.
    pub(super) fn start_call(self, word: u64, now: Instant) -> u64 {
        match self {
            Self::InFlight { .. } => word + ONE_CALL,
            Self::Deposits { percent, reserve, half_nanos } => {
                let mut balances =
                    Balances::unpack(word).advance(half_of(now, half_nanos), reserve);
                let max = MAX_BALANCE * REPEAT;
                balances.current = (balances.current + u64::from(percent)).min(max);
                balances.pack()
            }
            Self::Bucket { percent, capacity } => (word + u64::from(percent)).min(capacity),
        }
    }

    /// Returns the word after a call has ended.
    pub(super) const fn end_call(self, word: u64) -> u64 {
        match self {
            Self::InFlight { .. } => word - ONE_CALL,
            Self::Deposits { .. } | Self::Bucket { .. } => word,
        }
    }

    /// Returns the word after a repeat of the given cost has started, or `None` if the budget is
    /// exhausted.
    pub(super) fn start_repeat(self, word: u64, now: Instant, cost: u32) -> Option<u64> {
        let price = u64::from(cost) * REPEAT;
        match self {
            Self::InFlight { percent, min } => {
                let (repeats, limit) = in_flight(word, percent, min);
                (repeats + u64::from(cost) <= limit).then(|| word + u64::from(cost))
            }
            Self::Deposits { reserve, half_nanos, .. } => {
                let Balances { half, previous, current } =
                    Balances::unpack(word).advance(half_of(now, half_nanos), reserve);
                // The older balance is spent first, because it expires first.
                let from_previous = previous.min(price);
                let current = current.checked_sub(price - from_previous)?;
                Some(Balances { half, previous: previous - from_previous, current }.pack())
            }
            Self::Bucket { .. } => word.checked_sub(price),
        }
    }

    /// Returns the word after a repeat of the given cost has ended.
    pub(super) fn end_repeat(self, word: u64, cost: u32) -> u64 {
        match self {
            Self::InFlight { .. } => word - u64::from(cost),
            Self::Deposits { .. } | Self::Bucket { .. } => word,
        }
    }

    /// Returns how many repeats of cost 1 may start now.
    pub(super) fn available(self, word: u64, now: Instant) -> u64 {
        match self {
            Self::InFlight { percent, min } => {
                let (repeats, limit) = in_flight(word, percent, min);
                limit.saturating_sub(repeats)
            }
            Self::Deposits { reserve, half_nanos, .. } => {
                let balances = Balances::unpack(word).advance(half_of(now, half_nanos), reserve);
                (balances.previous + balances.current) / REPEAT
            }
            Self::Bucket { .. } => word / REPEAT,
        }
    }

    /// Returns whether `word` is that of a new budget.
    pub(super) fn is_as_new(self, word: u64, now: Instant) -> bool {
        match self {
            Self::InFlight { .. } | Self::Bucket { .. } => word == self.initial(now),
            Self::Deposits { reserve, half_nanos, .. } => {
                let balances = Balances::unpack(word).advance(half_of(now, half_nanos), reserve);
                (balances.previous, balances.current) == (reserve, reserve)
            }
        }
    }

    /// Returns whether the start of a call or a repeat depends on the time.
    pub(super) const fn needs_time(self) -> bool {
        matches!(self, Self::Deposits { .. })
    }
}

/// Returns the number of repeats in flight, and the limit on it.
fn in_flight(word: u64, percent: u32, min: u32) -> (u64, u64) {
    let (calls, repeats) = (word >> 32, word & (ONE_CALL - 1));
    (repeats, (calls * u64::from(percent) / 100).max(min.into()))
}

const fn half_of(now: Instant, half_nanos: u64) -> u64 {
    now.as_nanos() / half_nanos
}
