//! Angles of the rotary embedding, the same bits on every machine: sine and cosine come from a polynomial
//! of our own in f64, not from the platform's mathematics library, and are f32 whatever the model's type
//! (in bf16 the cosines would be wrong by more than 1 below position 300).

use std::f64::consts::FRAC_2_PI;

/// Pi / 2 in two parts: the first has 33 significant bits, so that small multiples of it are exact.
const HALF_PI_HIGH: f64 = f64::from_bits(0x3ff9_21fb_5440_0000);
const HALF_PI_LOW: f64 = f64::from_bits(0x3dd0_b461_1a62_6331);

/// Cosine and sine of `position * frequency` for every frequency.
///
/// The angle is rounded to f32 first, as the models' own implementation rounds it in training.
pub fn angles(position: u32, frequencies: &[f32]) -> impl Iterator<Item = (f32, f32)> + '_ {
    frequencies.iter().map(move |frequency| {
        let (sin, cos) = sin_cos(f64::from(position as f32 * frequency));
        (cos as f32, sin as f32)
    })
}

/// Sine and cosine of an angle of at most a few million, within 2e-16 or so.
fn sin_cos(angle: f64) -> (f64, f64) {
    let quarter_turns = (angle * FRAC_2_PI).round();
    let x = (angle - quarter_turns * HALF_PI_HIGH) - quarter_turns * HALF_PI_LOW;
    // Taylor series on [-pi/4, pi/4]: the first terms left out are below 1e-17.
    let square = x * x;
    let series = |coefficients: &[f64]| {
        coefficients
            .iter()
            .rev()
            .fold(0.0, |sum, c| sum * square + c)
    };
    let sin = x * series(&SIN);
    let cos = series(&COS);
    match quarter_turns.rem_euclid(4.0) as u8 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

const SIN: [f64; 9] = [
    1.0,
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5_040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
    -1.0 / 1_307_674_368_000.0,
    1.0 / 355_687_428_096_000.0,
];

const COS: [f64; 9] = [
    1.0,
    -1.0 / 2.0,
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40_320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
    1.0 / 20_922_789_888_000.0,
];

#[cfg(test)]
mod tests {
    use super::sin_cos;

    #[test]
    fn sine_and_cosine_match_the_platform() {
        for step in 0..400_000 {
            let angle = f64::from(step) * 0.3701;
            let (sin, cos) = sin_cos(angle);
            assert!(
                (sin - angle.sin()).abs() < 1e-11 && (cos - angle.cos()).abs() < 1e-11,
                "at {angle}"
            );
        }
    }
}
