//! Backoff between attempts at a request: the server's `Retry-After`, or an exponential backoff.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bound of a server's `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Backoff after the first attempt.
const INITIAL_BACKOFF: Duration = Duration::from_millis(500);

/// Upper bound of the exponential backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Returns the exponential backoff after attempt number `attempts` (from 1), for servers that send no `Retry-After`.
pub fn backoff(attempts: u32) -> Duration {
    INITIAL_BACKOFF
        .saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(16)))
        .min(MAX_BACKOFF)
}

/// Parses a `Retry-After` header, by which servers throttle their clients: seconds, or a date, which is relative to `now_seconds`
/// after 1970. `None` if it is neither.
pub fn parse_retry_after(text: &str, now_seconds: i64) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new()
                .parse_timestamp(text)
                .ok()?;
            (date.as_second() - now_seconds) as f64
        }
    };
    (seconds.is_finite())
        .then(|| Duration::from_secs_f64(seconds.clamp(0.0, MAX_RETRY_AFTER.as_secs_f64())))
}

/// Returns the seconds since 1970.
pub fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_date() {
        let cases = [
            ("7", Some(Duration::from_secs(7))),
            ("0.5", Some(Duration::from_millis(500))),
            (
                "Thu, 01 Jan 1970 00:17:00 GMT",
                Some(Duration::from_secs(20)),
            ),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(Duration::ZERO)),
            ("1e9", Some(MAX_RETRY_AFTER)),
            ("-3", Some(Duration::ZERO)),
            ("soon", None),
            ("", None),
            ("NaN", None),
            ("inf", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_retry_after(text, 1_000), expected, "{text}");
        }
    }

    #[test]
    fn backoff_grows_up_to_its_maximum() {
        let pauses: Vec<_> = (1..12).map(backoff).collect();
        assert_eq!(pauses[0], INITIAL_BACKOFF);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(*pauses.last().unwrap(), MAX_BACKOFF);
    }
}
