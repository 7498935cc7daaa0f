//! A budget for repeated attempts, shared by retries and hedges: [`Budget`].
//!
//! A retry adds load to a dependency at the moment when it fails. With three attempts per call, a
//! dependency that fails every call receives three times its usual load, and cannot recover. A
//! budget bounds this factor for all callers together: it limits the *repeats*, that is, retries
//! and hedges, to a share of the calls.
//!
//! # Examples
//!
//! ```
//! use mainstay::budget::Budget;
//! use mainstay::retry::Retry;
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let budget = Budget::builder().name("search").build()?; // 20 % of the calls in flight
//! let retry = Retry::builder().budget(&budget).build()?;
//! assert_eq!(retry.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
//! assert_eq!(budget.snapshot().denials, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! | kind | repeats that are allowed | reads the clock |
//! |---|---|---|
//! | [`of_calls_in_flight`](BudgetBuilder::of_calls_in_flight), the default | a share of the calls in flight, at least 3 | no |
//! | [`of_recent_calls`](BudgetBuilder::of_recent_calls) | a share of the calls of a window, plus a reserve per second | once per call |
//! | [`of_all_calls`](BudgetBuilder::of_all_calls) | a share of all calls, plus a capacity | no |
//!
//! A call is in flight from its first attempt until the caller has the result, including the waits
//! between attempts. A retry counts as in flight during its backoff, so that a backlog of waiting
//! retries cannot start at the same time.
//!
//! An exhausted budget suppresses the next repeat. It does not stop a running attempt. The caller
//! receives the error of the operation. The denial is counted in [`BudgetSnapshot::denials`] and
//! reported as an event.
//!
//! With `of_recent_calls`, each call makes a deposit, and each repeat is a withdrawal. The window
//! consists of two halves. A deposit expires at the end of the half after the one in which it was
//! made, so it can be used for half a window to a whole window. Each half holds at most 40,000
//! repeats.
//!
//! Each dependency needs a budget of its own. [`KeyedBudget`] holds one per key, for a client of many
//! dependencies.
//!
//! # Observability
//!
//! Events of kind `exhausted` with the field `cost`.
//!
//! # Cancel safety
//!
//! In a budget of calls in flight, dropping the future of a call ends the call and its repeats. In
//! the other kinds of budget, the withdrawals are not refunded.
//!
//! # Performance
//!
//! The state is one word of 64 bits. In a budget of calls in flight, each call and each repeat
//! changes it at its start and at its end; in the other kinds, only at its start. The check and the
//! withdrawal are one atomic step, so concurrent repeats never exceed the budget.

mod config;
mod keyed;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod permit;
mod shared;
mod state;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;
mod words;

pub use config::BudgetBuilder;
pub use keyed::{KeyedBudget, KeyedBudgetBuilder, KeyedBudgetSnapshot};
pub use permit::{BudgetCall, BudgetExhausted, BudgetPermit};

use crate::error::{ConfigError, Error};
use crate::sync::PlainArc;
use shared::Shared;
use std::fmt;
use std::mem::discriminant;
use std::panic::{RefUnwindSafe, UnwindSafe};

const POLICY: &str = "budget";

/// A budget for repeated attempts, shared by all retries and hedges of one dependency. See the
/// [module](self).
///
/// Cloning is cheap, and all clones share one budget.
#[derive(Clone)]
pub struct Budget(PlainArc<Shared>);

// The state and the counters are changed before an observer is called, so its panic leaves them
// valid.
impl UnwindSafe for Budget {}
impl RefUnwindSafe for Budget {}

/// The state and the counters of a [`Budget`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetSnapshot {
    /// How many repeats of cost 1 may start now.
    pub available: u64,
    /// The number of repeats that were granted since the budget was built.
    pub grants: u64,
    /// The number of repeats that were denied since the budget was built; in
    /// [shadow mode](BudgetBuilder::shadow), of those that would have been denied.
    pub denials: u64,
}

impl Budget {
    /// Creates a builder. Default: repeats may be 20 % of the calls in flight, and at least 3.
    pub fn builder() -> BudgetBuilder {
        BudgetBuilder::new()
    }

    /// Starts a call, which the budget counts. Retries and hedges with this budget call this method
    /// themselves.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let budget = Budget::builder().percent(50).of_calls_in_flight(0).build()?;
    /// assert!(budget.try_acquire().is_err());
    /// let calls = [budget.start_call(), budget.start_call()];
    /// assert!(budget.try_acquire().is_ok());
    /// # drop(calls);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn start_call(&self) -> BudgetCall {
        self.0.start_call();
        BudgetCall::new(self.clone())
    }

    /// Acquires a permit for one repeat. Never waits.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let budget = Budget::builder().of_calls_in_flight(1).build()?;
    /// let permit = budget.try_acquire().expect("the first is granted");
    /// assert!(budget.try_acquire().is_err());
    /// drop(permit);
    /// assert!(budget.try_acquire().is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BudgetExhausted`] if the budget does not cover a repeat.
    pub fn try_acquire(&self) -> Result<BudgetPermit, BudgetExhausted> {
        self.try_acquire_n(1)
    }

    /// Acquires a permit for one repeat that counts as `cost` repeats. Never waits.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let budget = Budget::builder().of_calls_in_flight(3).build()?;
    /// let permit = budget.try_acquire_n(2).expect("3 are available");
    /// assert!(budget.try_acquire_n(2).is_err());
    /// # drop(permit);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BudgetExhausted`] if the budget does not cover the cost.
    pub fn try_acquire_n(&self, cost: u32) -> Result<BudgetPermit, BudgetExhausted> {
        match self.0.start_repeat(cost) {
            Some(cost) => Ok(BudgetPermit::new(self.clone(), cost)),
            None => Err(BudgetExhausted { name: self.0.name }),
        }
    }

    /// Returns the cost of a repeat after `result`:
    /// [`timeout_cost`](BudgetBuilder::timeout_cost) after a timeout, otherwise 1.
    ///
    /// ```
    /// # use mainstay::{Budget, Error, TimedOut};
    /// # use std::time::Duration;
    /// let budget = Budget::builder().timeout_cost(5).build()?;
    /// let timed_out = TimedOut::new("search", Duration::from_secs(1));
    /// let cost = budget.cost_after(&Err::<(), Error<()>>(timed_out.into()));
    /// assert_eq!(cost, 5);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn cost_after<T, E>(&self, result: &Result<T, Error<E>>) -> u32 {
        match result {
            Err(Error::Timeout(_)) => self.0.config().timeout_cost,
            _ => 1,
        }
    }

    /// Applies the percentage, the numbers of the kind and the `timeout_cost` of `config`, while
    /// the budget is in use.
    ///
    /// The calls and the repeats in flight and the balances are kept. A balance above a smaller
    /// capacity is reduced to it; a larger capacity or reserve is not granted at once, but fills
    /// with later calls or with the next half of the window. After this method returns, all
    /// decisions use the new settings. The name, the clock, the observer and the shadow mode of
    /// `config` are not applied.
    ///
    /// ```
    /// # use mainstay::Budget;
    /// let budget = Budget::builder().of_calls_in_flight(3).build()?;
    /// let permit = budget.try_acquire();
    /// budget.reconfigure(&Budget::builder().of_calls_in_flight(2))?;
    /// assert_eq!(budget.snapshot().available, 1);
    /// # drop(permit);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error and changes nothing in these cases:
    ///
    /// * A setting is out of range.
    /// * `config` is of another kind than the budget.
    /// * The budget belongs to a [`KeyedBudget`], whose settings are fixed.
    pub fn reconfigure(&self, config: &BudgetBuilder) -> Result<(), ConfigError> {
        let new = config.config()?;
        if self.0.keyed {
            let accepted = "a budget that does not belong to a key";
            return Err(ConfigError::new("reconfigure", self.name(), accepted));
        }
        if discriminant(&new.rule) != discriminant(&self.0.config().rule) {
            return Err(config.kind_error());
        }
        self.0.reconfigure(new);
        Ok(())
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the current state and counters.
    #[must_use]
    pub fn snapshot(&self) -> BudgetSnapshot {
        BudgetSnapshot {
            available: self.0.available(),
            grants: self.0.grants(),
            denials: self.0.denials(),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::builder().build().expect("the defaults are in range")
    }
}

impl From<&Budget> for Budget {
    fn from(budget: &Budget) -> Self {
        budget.clone()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
