//! Those who wait, in order of arrival.
//!
//! Nobody is handed anything: whoever is at the head takes for himself, when his time has come or
//! something has changed in his favour. So one who goes away, at whatever moment, wastes nothing, and only
//! the head needs a timer.

use super::answer::Answer;
use super::core::Core;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::{Mutex, MutexGuard};
use crate::wait::{WaiterKey, WaiterList};
use std::task::Waker;

#[derive(Debug)]
pub(super) struct Line {
    members: Mutex<Members>,
    /// Tokens that all of them wait for; changes under the lock, and is read for estimates without.
    queued: AtomicU64,
}

/// The word says that somebody waits whenever there is a member; it begins and ceases to under this lock.
#[derive(Debug)]
pub(super) struct Members {
    list: WaiterList<Member>,
    count: usize,
}

#[derive(Debug)]
struct Member {
    cost: u32,
    /// `None`: has been woken, and will look.
    waker: Option<Waker>,
}

/// Somebody to be woken, or nobody. That runs the code of others: after every lock.
#[must_use]
pub(super) struct Head(Option<Waker>);

impl Head {
    pub(super) fn wake(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            members: Mutex::new(Members { list: WaiterList::new(), count: 0 }),
            queued: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock()
    }

    /// Tokens waited for.
    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().count
    }
}

impl Members {
    /// The head is to look again.
    pub(super) fn wake_head(&mut self) -> Head {
        Head(self.list.front_mut().and_then(|member| member.waker.take()))
    }
}

/// What leads to a limiter's core and keeps it alive.
pub(super) trait Hold {
    fn core(&self) -> &Core;
}

impl Hold for &Core {
    fn core(&self) -> &Core {
        self
    }
}

/// One wait, from the first look to the end; dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Turn<H: Hold> {
    hold: H,
    cost: u32,
    key: Option<WaiterKey>,
}

/// What came of a look.
#[derive(Debug)]
pub(super) enum Look {
    Granted(Answer),
    Refused(Answer),
    /// Look again when woken, or at this time, in nanoseconds since the origin.
    Wait(Option<u64>),
}

impl<H: Hold> Turn<H> {
    pub(super) const fn new(hold: H, cost: u32) -> Self {
        Self { hold, cost, key: None }
    }

    pub(super) const fn cost(&self) -> u32 {
        self.cost
    }

    /// Takes the tokens, enters the line for them, or stays in it. Whoever could not be served by
    /// `deadline` is refused instead of entering.
    pub(super) fn look(&mut self, nanos: u64, deadline: Option<u64>, waker: &Waker) -> Look {
        // Cloning and dropping a waker runs the code of others: outside the lock, which is declared after
        // it and so released before.
        let mut waker = Some(waker.clone());
        let core = self.hold.core();
        let mut line = core.line.lock();
        if let Some(key) = self.key
            && !line.list.is_front(key)
        {
            if let Some(member) = line.list.get_mut(key) {
                std::mem::swap(&mut member.waker, &mut waker);
            }
            return Look::Wait(None);
        }
        // Whoever is not in the line yet is the head of an empty one.
        let own = usize::from(self.key.is_some());
        let others = line.count > own;
        let head = own == 1 || !others;
        loop {
            let word = core.word();
            let plan = core.plan(word);
            let before = core.before();
            let free = self.cost == 0 || plan.is_unlimited();
            let behind = if head { 0 } else { core.line.queued() };
            let ahead = word.arrival().saturating_add(plan.large_cost(behind));
            let due = match plan.is_ordinary(self.cost) {
                true => plan.nanos(plan.due(ahead, self.cost)),
                false => None,
            };
            let next = match free {
                true => Some(word.arrival()),
                false if due.is_none() || !head => None,
                false => plan.take(word.arrival(), plan.units(nanos), self.cost),
            };
            let late =
                own == 0 && deadline.is_some_and(|deadline| due.is_none_or(|due| due > deadline));
            let stay = next.is_none() && due.is_some() && !late;
            // Whatever changes in favour of those who wait (a refund, another plan) takes the lock first, so
            // that none of it is missed. Only takers come between, and the swap notices them.
            let changed = next.map_or(word, |next| word.with_arrival(next)).waiting(stay || others);
            if !core.swap(word, changed) {
                continue;
            }
            if stay {
                match self.key.and_then(|key| line.list.get_mut(key)) {
                    Some(member) => std::mem::swap(&mut member.waker, &mut waker),
                    None => self.key = Some(core.line.enter(&mut line, self.cost, waker.take())),
                }
                return Look::Wait(due.filter(|_| head));
            }
            let (next_head, _member) = self
                .key
                .take()
                .map_or_else(|| (Head(None), None), |key| core.line.leave(&mut line, key));
            drop(line);
            next_head.wake();
            let (ahead, granted) = next.map_or((ahead, 0), |next| (next, self.cost));
            let answer = Answer { plan, ahead, now: nanos, wanted: self.cost, granted, before };
            return if next.is_some() { Look::Granted(answer) } else { Look::Refused(answer) };
        }
    }

    /// Leaves the line.
    pub(super) fn give_up(&mut self) {
        let Some(key) = self.key.take() else { return };
        let core = self.hold.core();
        let mut line = core.line.lock();
        let (head, _member) = core.line.leave(&mut line, key);
        if line.count == 0 {
            core.nobody_waits();
        }
        drop(line);
        head.wake();
    }
}

impl Line {
    fn enter(&self, line: &mut Members, cost: u32, waker: Option<Waker>) -> WaiterKey {
        line.count += 1;
        self.queued.fetch_add(cost.into(), Relaxed);
        line.list.push_back(Member { cost, waker })
    }

    /// Whoever is to be woken, the next if it was the head; and the one who left, to be dropped outside the
    /// lock.
    fn leave(&self, line: &mut Members, key: WaiterKey) -> (Head, Option<Member>) {
        let was_head = line.list.is_front(key);
        let member = line.list.remove(key);
        if let Some(member) = &member {
            line.count -= 1;
            self.queued.fetch_sub(member.cost.into(), Relaxed);
        }
        (if was_head { line.wake_head() } else { Head(None) }, member)
    }
}

impl<H: Hold> Drop for Turn<H> {
    fn drop(&mut self) {
        self.give_up();
    }
}
