//! How long a request may still take. It goes along with every call, so that nobody works for an answer that nobody
//! waits for.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// How long a call may take when nothing else was said, and the longest that is granted.
pub const CALL_MAX: Duration = Duration::from_secs(30);

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `work` as part of a request that ends at `deadline`: every call in it says how much time is left. Inside work
/// that has to end earlier it ends with that.
pub async fn within<F: Future>(deadline: Instant, work: F) -> F::Output {
    DEADLINE.scope(deadline.min(current()), work).await
}

/// When the request that this runs in ends; [`CALL_MAX`] from now if nobody said.
#[must_use]
pub fn current() -> Instant {
    let latest = Instant::now().checked_add(CALL_MAX);
    let said = DEADLINE.try_with(|deadline| *deadline).ok();
    match (said, latest) {
        (Some(said), Some(latest)) => said.min(latest),
        (Some(said), None) => said,
        (None, latest) => latest.unwrap_or_else(Instant::now),
    }
}

/// The value of `grpc-timeout` for what is left, at least a millisecond.
pub(crate) fn to_header(left: Duration) -> String {
    format!("{}m", left.min(CALL_MAX).as_millis().max(1))
}

/// What a `grpc-timeout` says: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
pub(crate) fn of_header(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_they_are_written() {
        for ms in [1, 20, 999, 30_000] {
            let left = Duration::from_millis(ms);
            assert_eq!(of_header(&to_header(left)), Some(left));
        }
        assert_eq!(of_header(&to_header(Duration::from_secs(90))), Some(CALL_MAX));
        assert_eq!(of_header("7H"), Some(Duration::from_secs(7 * 3600)));
        for bad in ["", "m", "1", "123456789m", "-1m", "1x", "1 m", "１m"] {
            assert_eq!(of_header(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn work_inside_can_not_have_longer() {
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(within(soon, async { current() }).await, soon);
        let far = Instant::now() + Duration::from_secs(3600);
        assert_eq!(within(soon, within(far, async { current() })).await, soon);
        assert!(within(far, async { current() }).await <= Instant::now() + CALL_MAX);
    }
}
