//! The guards of a budget: [`BudgetCall`], [`BudgetPermit`], and the error [`BudgetExhausted`].

use super::Budget;
use std::fmt;

/// A call that a [`Budget`] counts; returned by [`Budget::start_call`].
///
/// Hold it until the caller has its result. A budget of calls in flight counts the call until the
/// guard is dropped; the other kinds count it when it starts, and do not change when the guard is
/// dropped.
#[must_use = "hold it until the call has ended: dropping it ends the call in the budget"]
pub struct BudgetCall(Budget);

/// The permit of one repeat; returned by [`Budget::try_acquire`].
///
/// Hold it from the decision to repeat, including a wait before the repeat, until the repeat has
/// ended. A budget of calls in flight counts the repeat until the permit is dropped. The other
/// kinds withdraw the cost when the permit is acquired, and do not refund it.
#[must_use = "hold it until the repeat has ended: dropping it ends the repeat in the budget"]
pub struct BudgetPermit {
    budget: Budget,
    cost: u32,
}

/// The error of [`Budget::try_acquire`]: the budget does not cover another repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetExhausted {
    pub(super) name: &'static str,
}

impl BudgetCall {
    pub(super) const fn new(budget: Budget) -> Self {
        Self(budget)
    }
}

impl Drop for BudgetCall {
    fn drop(&mut self) {
        self.0.0.end_call();
    }
}

impl BudgetPermit {
    pub(super) const fn new(budget: Budget, cost: u32) -> Self {
        Self { budget, cost }
    }

    /// Returns the cost of the repeat; 0 if it was granted only because of the
    /// [shadow mode](super::BudgetBuilder::shadow).
    #[must_use]
    pub const fn cost(&self) -> u32 {
        self.cost
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        self.budget.0.end_repeat(self.cost);
    }
}

impl BudgetExhausted {
    /// Returns the name of the budget.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for BudgetExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget for repeats is exhausted ({})", self.name)
    }
}

impl std::error::Error for BudgetExhausted {}

impl fmt::Debug for BudgetCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetCall").finish_non_exhaustive()
    }
}

impl fmt::Debug for BudgetPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetPermit").field("cost", &self.cost).finish_non_exhaustive()
    }
}
