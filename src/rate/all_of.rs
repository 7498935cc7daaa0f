//! Several limits at once.

use super::core::Core;
use super::{Answer, POLICY, RateLimiter, Refused};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::sync::PlainArc;
use std::future::Ready;
use std::time::Duration;

/// Limiters that must all agree: tokens are taken from each of them, or from none.
///
/// First all are asked, and only if none objects is anything taken; so what one limiter refuses costs the
/// others nothing. Should another caller get between, what was taken so far is
/// [given back](RateLimiter::refund). A refusal names the limiter that bound: of those that object, the one
/// for which one would have to wait longest.
///
/// A limiter that stands in it several times is asked for as many times `n`, at most for `u32::MAX`.
///
/// It never waits: who stands in several lines at once holds up all of them.
///
/// ```
/// use mainstay::rate::{AllOf, Quota, RateLimiter};
///
/// let everybody = RateLimiter::builder(Quota::per_second(5_000)).name("everybody").build()?;
/// let second = RateLimiter::builder(Quota::per_second(10)).name("10 a second").build()?;
/// // Up to 1,099 on the first day: the burst, and what comes back.
/// let day = RateLimiter::builder(Quota::per_day(1_000).burst(100)).name("1,000 a day").build()?;
/// let limits = AllOf::new([&second, &day, &everybody]);
/// if let Err(refused) = limits.try_acquire() {
///     println!("{} is used up", refused.policy());
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AllOf {
    members: PlainArc<[Member]>,
}

/// A limiter, and how often it stands in the group. Each is there once: or it would object to the second
/// taking of those that it had agreed to one by one.
#[derive(Clone, Debug)]
struct Member {
    limiter: RateLimiter,
    times: u32,
}

/// How often a call asks all of them, if others come between each time. Of two groups that share limiters
/// neither may get on while each holds what the other lacks.
const ROUNDS: usize = 16;

impl AllOf {
    /// All of `limiters`, which may also be used by themselves and in other groups. None at all object to
    /// nothing.
    #[must_use]
    pub fn new<'a>(limiters: impl IntoIterator<Item = &'a RateLimiter>) -> Self {
        let mut members: Vec<Member> = Vec::new();
        for limiter in limiters {
            match members.iter_mut().find(|member| PlainArc::ptr_eq(&member.limiter.0, &limiter.0))
            {
                Some(member) => member.times = member.times.saturating_add(1),
                None => members.push(Member { limiter: limiter.clone(), times: 1 }),
            }
        }
        Self { members: members.into() }
    }

    /// Takes a token from each, or from none.
    ///
    /// # Errors
    /// One of them has none, or others wait for it.
    pub fn try_acquire(&self) -> Result<(), Refused> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens from each, or from none.
    ///
    /// # Errors
    /// One of them has not as many, or others wait for it.
    pub fn try_acquire_n(&self, n: u32) -> Result<(), Refused> {
        self.admit(n, Context::new())
    }

    fn admit(&self, n: u32, cx: Context) -> Result<(), Refused> {
        let mut objection = None;
        for _ in 0..ROUNDS {
            objection = self.objection(n, cx);
            if objection.is_some() {
                break;
            }
            objection = take(&self.members, n, cx);
            if objection.is_none() {
                break;
            }
            // Somebody came between, and got what was asked for.
        }
        objection.map_or(Ok(()), |(limiter, answer)| Err(limiter.shared().refuse(answer)))
    }

    /// Who objects, of several the one for which one would have to wait longest.
    fn objection<'a>(&'a self, n: u32, mut cx: Context) -> Option<(&'a RateLimiter, Answer)> {
        let objects = |member: &'a Member| {
            let Member { limiter, times } = member;
            let n = n.saturating_mul(*times);
            let answer =
                at_its_time(limiter, &mut cx, |core, now| core.would_take(n, now)).err()?;
            Some((limiter, answer))
        };
        let wait = |(_, answer): &(_, Answer)| answer.retry_after().unwrap_or(Duration::MAX);
        self.members.iter().filter_map(objects).max_by_key(wait)
    }
}

/// Takes from all of `members`, or from none; then it says who refused.
fn take(members: &[Member], n: u32, mut cx: Context) -> Option<(&RateLimiter, Answer)> {
    let (Member { limiter, times }, others) = members.split_first()?;
    let own = n.saturating_mul(*times);
    match at_its_time(limiter, &mut cx, |core, now| core.take(own, now)) {
        Err(answer) => Some((limiter, answer)),
        Ok(answer) => take(others, n, cx).inspect(|_| limiter.refund(&answer, own)),
    }
}

/// Limiters by one clock share a reading of it.
fn at_its_time<R>(limiter: &RateLimiter, cx: &mut Context, act: impl FnOnce(&Core, u64) -> R) -> R {
    let shared = limiter.shared();
    *cx = cx.on(&shared.clock);
    act(&shared.core, shared.nanos(cx.now()))
}

impl Policy for AllOf {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, "all_of")
    }
}

impl<T: Send, E: Send> Guard<T, E> for AllOf {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        self.admit(1, cx).map_err(Into::into)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for AllOf {
    type OwnedPermit = ();
    type AdmitFuture = Ready<Result<(), Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        self.admit(1, cx)
            .map_or_else(|refused| Admission::Rejected(refused.into()), Admission::Admitted)
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}
