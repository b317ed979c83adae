//! How long to wait before a server is asked again: what it says itself, or a pause that doubles.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest that a server may have us wait by its `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The pause after the first attempt where the server names none; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The pause before the attempt after attempt number `attempts` (from 1), where the server named none.
pub fn pause_after(attempts: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(16)))
        .min(Duration::from_secs(30))
}

/// What `Retry-After` asks for: seconds, or a date, at a time that is `now_seconds` after 1970.
pub fn pause_named(text: &str, now_seconds: i64) -> Option<Duration> {
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
        .then(|| Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_PAUSE.as_secs_f64())))
}

/// Seconds since 1970.
pub fn now_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_to_ask_again_in_seconds_or_as_a_date() {
        let cases = [
            ("7", Some(Duration::from_secs(7))),
            ("0.5", Some(Duration::from_millis(500))),
            (
                "Thu, 01 Jan 1970 00:17:00 GMT",
                Some(Duration::from_secs(20)),
            ),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(Duration::ZERO)),
            ("1e9", Some(LONGEST_PAUSE)),
            ("-3", Some(Duration::ZERO)),
            ("soon", None),
            ("", None),
            ("NaN", None),
            ("inf", None),
        ];
        for (text, expected) in cases {
            assert_eq!(pause_named(text, 1_000), expected, "{text}");
        }
    }

    #[test]
    fn pauses_grow_up_to_half_a_minute() {
        let pauses: Vec<_> = (1..12).map(pause_after).collect();
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(*pauses.last().unwrap(), Duration::from_secs(30));
    }
}
