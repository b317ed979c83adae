//! The clock of reconciles, read once each.

/// Returns the time now, in milliseconds since 1970.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
