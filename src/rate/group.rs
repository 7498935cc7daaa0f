//! Requests that several limiters must grant: [`RateLimiterGroup`].

use super::engine::Engine;
use super::grant::RateLimitStatus;
use super::timeline::Nanos;
use super::{Denied, POLICY, RateLimiter};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::sync::PlainArc;
use std::future::Ready;
use std::time::Duration;

/// A group of limiters that must all grant a request: tokens are taken from each of them, or from
/// none.
///
/// All members are checked first, and tokens are taken only if every member has enough. A request
/// that one limiter denies therefore takes nothing from the others. If another thread takes tokens
/// between the check and the grant, the tokens taken so far are [refunded](RateLimiter::refund).
/// The error names the limiter with the longest `retry_after`.
///
/// If a limiter is in the group several times, each request takes its tokens that many times.
///
/// With [`with_keys`](Self::with_keys), a group also takes tokens of a key, such as a tenant.
///
/// A group has no waiting methods: a waiter in several queues at once would delay all of them.
///
/// ```
/// use mainstay::rate::{Quota, RateLimiter, RateLimiterGroup};
///
/// let shared = RateLimiter::builder(Quota::per_second(5_000)).name("all tenants").build()?;
/// let second = RateLimiter::builder(Quota::per_second(10)).name("10 a second").build()?;
/// // Up to 1,099 on the first day: the burst, and the tokens that become available during the day.
/// let day = RateLimiter::builder(Quota::per_day(1_000).burst(100)).name("1,000 a day").build()?;
/// let limits = RateLimiterGroup::new([&second, &day, &shared]);
/// if let Err(denied) = limits.try_acquire() {
///     println!("{} is exceeded", denied.policy());
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RateLimiterGroup {
    members: PlainArc<[Member]>,
}

/// A limiter, and how many times it is in the group. A limiter that was passed twice is stored as
/// one member. Two members could both pass the check when there are tokens for only one of them.
#[derive(Clone, Debug)]
struct Member {
    limiter: RateLimiter,
    times: u32,
}

/// The maximum number of times that a request checks all members again after another thread took
/// the tokens. Without a bound, two groups that share limiters could take each other's tokens
/// forever.
const MAX_ROUNDS: usize = 16;

impl RateLimiterGroup {
    /// Creates a group of `limiters`. The limiters may also be used on their own and in other
    /// groups. An empty group grants every request.
    ///
    /// ```
    /// # use mainstay::{Quota, RateLimiter, RateLimiterGroup};
    /// let per_second = RateLimiter::new(Quota::per_second(5))?;
    /// let per_hour = RateLimiter::new(Quota::per_hour(1000))?;
    /// let both = RateLimiterGroup::new([&per_second, &per_hour]);
    /// assert!(both.try_acquire().is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
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

    /// Takes one token from each limiter, or from none of them.
    ///
    /// # Errors
    /// Returns an error if one of the limiters has no token or has waiters.
    pub fn try_acquire(&self) -> Result<(), Denied> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens from each limiter, or from none of them.
    ///
    /// ```
    /// use mainstay::rate::{Quota, RateLimiter, RateLimiterGroup};
    ///
    /// let (small, large) =
    ///     (RateLimiter::new(Quota::per_hour(5))?, RateLimiter::new(Quota::per_hour(50))?);
    /// let group = RateLimiterGroup::new([&small, &large]);
    /// assert!(group.try_acquire_n(6).is_err());
    /// assert_eq!(large.peek().remaining(), 50);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if one of the limiters has fewer than `n` tokens or has waiters.
    pub fn try_acquire_n(&self, n: u32) -> Result<(), Denied> {
        self.admit(n, Context::new())
    }

    fn admit(&self, n: u32, cx: Context) -> Result<(), Denied> {
        self.admit_with(n, cx, || Ok(()))
    }

    /// Takes `n` tokens from each limiter and calls `last`, or takes none: if `last` returns an
    /// error, the tokens are refunded.
    pub(super) fn admit_with(
        &self,
        n: u32,
        cx: Context,
        mut last: impl FnMut() -> Result<(), Denied>,
    ) -> Result<(), Denied> {
        let mut taken = Ok(());
        for _ in 0..MAX_ROUNDS {
            taken = match self.check(n, cx) {
                Some((limiter, status)) => return Err(limiter.0.deny(status)),
                None => take(&self.members, n, cx, &mut last),
            };
            if !matches!(taken, Err(Refusal::Limiter(..))) {
                break;
            }
            // Another thread took the tokens after the check.
        }
        taken.map_err(|refusal| match refusal {
            Refusal::Limiter(limiter, status) => limiter.0.deny(status),
            Refusal::Last(denied) => denied,
        })
    }

    /// Returns the limiter that would deny the request, or the one with the longest `retry_after`
    /// if there are several.
    fn check<'a>(&'a self, n: u32, mut cx: Context) -> Option<(&'a RateLimiter, RateLimitStatus)> {
        let denies = |member: &'a Member| {
            let Member { limiter, times } = member;
            let n = n.saturating_mul(*times);
            let (engine, now) = at_one_time(limiter, &mut cx);
            Some((limiter, engine.would_take(n, now).err()?))
        };
        let wait =
            |(_, status): &(_, RateLimitStatus)| status.retry_after().unwrap_or(Duration::MAX);
        self.members.iter().filter_map(denies).max_by_key(wait)
    }
}

/// Why the tokens of a request were not taken.
enum Refusal<'a> {
    /// A limiter denied the request. Not reported yet.
    Limiter(&'a RateLimiter, RateLimitStatus),
    /// The last step failed.
    Last(Denied),
}

/// Takes `n` tokens from all of `members` and calls `last`, or takes none.
fn take<'a>(
    members: &'a [Member],
    n: u32,
    mut cx: Context,
    last: &mut impl FnMut() -> Result<(), Denied>,
) -> Result<(), Refusal<'a>> {
    let Some((Member { limiter, times }, others)) = members.split_first() else {
        return last().map_err(Refusal::Last);
    };
    let own = n.saturating_mul(*times);
    let (engine, now) = at_one_time(limiter, &mut cx);
    match engine.take(own, now) {
        Err(status) => Err(Refusal::Limiter(limiter, status)),
        Ok(grant) => take(others, n, cx, last).inspect_err(|_| limiter.refund(&grant, own)),
    }
}

/// Returns the engine of a limiter and the current time. Limiters that share a clock share one
/// reading of it.
fn at_one_time<'a>(limiter: &'a RateLimiter, cx: &mut Context) -> (&'a Engine, Nanos) {
    let shared = &*limiter.0;
    *cx = cx.on(shared.timeline.clock());
    let now = shared.timeline.nanos(cx.now());
    (&shared.engine, shared.engine.check_clock(now, || shared.timeline.now()))
}

impl Policy for RateLimiterGroup {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, "rate_limiter_group").limits_load()
    }
}

/// Each call takes one token from each limiter.
impl<T: Send, E: Send> Guard<T, E> for RateLimiterGroup {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        self.admit(1, cx).map_err(Into::into)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for RateLimiterGroup {
    type OwnedPermit = ();
    type AdmitFuture = Ready<Result<(), Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        self.admit(1, cx)
            .map_or_else(|denied| Admission::Rejected(denied.into()), Admission::Admitted)
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}
