//! The exponential function, of our own so that it gives the same bits on every machine: a polynomial in
//! separate multiplications and additions, which no compiler may fuse.

/// `e^x`, within 2 words in the last place above -87; zero below, where f32 has no normal numbers left.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // x = n ln 2 + r with |r| <= ln(2) / 2; adding and subtracting 1.5 * 2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.0e-1;
    let p = p * (r * r) + r + 1.0;
    // The lowest bits of `shifted` are n, and the exponent of a float begins at bit 23.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { p * scale }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn within_two_units_of_precision() {
        for step in -86_999..88_000 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "at {x}: {error}");
        }
        assert_eq!(
            (exp(0.0), exp(-100.0), exp(f32::NEG_INFINITY)),
            (1.0, 0.0, 0.0)
        );
    }
}
