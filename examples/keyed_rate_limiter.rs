//! Keyed rate limiter: a limit for each tenant, with a bound on the number of tenants remembered.

use mainstay::{KeyedRateLimiter, Quota};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tenants = KeyedRateLimiter::<String>::builder(Quota::per_second(5))
        .name("tenant")
        .max_keys(100_000) // idle tenants are removed first
        .quota_by(|tenant: &String| match tenant.starts_with("gold-") {
            true => Quota::per_second(100).burst(20),
            false => Quota::per_second(5).burst(5),
        })
        .build()?;

    for tenant in ["gold-1", "free-1"] {
        let granted = (0..30).filter(|_| tenants.try_acquire(tenant).is_ok()).count();
        println!("{tenant}: {granted} of 30 requests granted");
    }

    // A denial has the data of a `429` response: `Retry-After` and `RateLimit-*`.
    let denied = tenants.try_acquire_n("free-1", 5).unwrap_err();
    println!("free-1: retry after {} s", denied.retry_after_secs().unwrap_or(1));
    println!("{} tenants are remembered", tenants.snapshot().keys);
    Ok(())
}
