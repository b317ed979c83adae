//! Exact numbers: parses integers, decimals, fractions, mixed numbers and powers of ten, and formats each in one way only. It
//! expects normalized LaTeX (see `expression`), and fails rather than round.

/// A rational number in lowest terms, the denominator positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    numerator: i128,
    denominator: i128,
}

impl Number {
    /// Parses all of `text` as a number; `None` if it is anything else or too large to be exact.
    pub fn parse(text: &str) -> Option<Number> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest.trim_start()),
            None => (false, text),
        };
        let number = mixed(text).or_else(|| scaled(text))?;
        Some(if negative {
            Number {
                numerator: -number.numerator,
                ..number
            }
        } else {
            number
        })
    }

    /// Multiplies by an integer; `None` on overflow.
    pub fn checked_mul(self, factor: i128) -> Option<Number> {
        Number::new(self.numerator.checked_mul(factor)?, self.denominator)
    }

    fn new(numerator: i128, denominator: i128) -> Option<Number> {
        if denominator == 0 || numerator == i128::MIN || denominator == i128::MIN {
            return None;
        }
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs()) as i128
            * denominator.signum();
        Some(Number {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        })
    }

    fn checked_add(self, other: Number) -> Option<Number> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Number::new(
            left.checked_add(right)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    fn checked_div(self, other: Number) -> Option<Number> {
        Number::new(
            self.numerator.checked_mul(other.denominator)?,
            self.denominator.checked_mul(other.numerator)?,
        )
    }
}

impl std::fmt::Display for Number {
    /// Formats an integer or a terminating decimal in digits (`1000`, `-0.5`), every other number as `p/q`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut rest, mut places) = (self.denominator, [0_u32; 2]);
        for (place, prime) in places.iter_mut().zip([2, 5]) {
            while rest % prime == 0 {
                rest /= prime;
                *place += 1;
            }
        }
        let digits = places[0].max(places[1]) as usize;
        let scaled = 10_i128
            .checked_pow(digits as u32)
            .and_then(|ten| self.numerator.checked_mul(ten / self.denominator));
        match scaled {
            _ if self.denominator == 1 => write!(f, "{}", self.numerator),
            Some(scaled) if rest == 1 => {
                let all = format!("{:0width$}", scaled.unsigned_abs(), width = digits + 1);
                let (whole, fraction) = all.split_at(all.len() - digits);
                write!(f, "{}{whole}.{fraction}", if scaled < 0 { "-" } else { "" })
            }
            _ => write!(f, "{}/{}", self.numerator, self.denominator),
        }
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// `3`, `3/4`, `\frac{3}{4}`, `2 1/2` and `2\frac{1}{2}`.
fn mixed(text: &str) -> Option<Number> {
    if let Some(number) = fraction(text).or_else(|| decimal(text)) {
        return Some(number);
    }
    let split = text.find(" ").or_else(|| text.find("\\frac"))?;
    let (whole, rest) = text.split_at(split);
    let digits_only = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    (digits_only && !rest.trim().is_empty())
        .then(|| decimal(whole)?.checked_add(proper(rest.trim())?))
        .flatten()
}

/// A fraction of unsigned parts below one: the second part of a mixed number.
fn proper(text: &str) -> Option<Number> {
    fraction(text).filter(|number| number.numerator > 0 && number.numerator < number.denominator)
}

fn fraction(text: &str) -> Option<Number> {
    let (top, bottom) = match text.strip_prefix("\\frac{") {
        Some(rest) => {
            let (top, rest) = rest.split_once('}')?;
            (top, rest.strip_prefix('{')?.strip_suffix('}')?)
        }
        None => text.split_once('/')?,
    };
    signed_decimal(top)?.checked_div(signed_decimal(bottom)?)
}

fn signed_decimal(text: &str) -> Option<Number> {
    let text = text.trim();
    match text.strip_prefix('-') {
        Some(rest) => decimal(rest)?.checked_mul(-1),
        None => decimal(text),
    }
}

/// `1.5*10^3`.
fn scaled(text: &str) -> Option<Number> {
    let (number, power) = text.split_once("*10^")?;
    let power: i32 = power.trim_matches(['{', '}']).parse().ok()?;
    let ten = 10_i128.checked_pow(power.unsigned_abs())?;
    if power < 0 {
        decimal(number)?.checked_div(Number::new(ten, 1)?)
    } else {
        decimal(number)?.checked_mul(ten)
    }
}

/// `12`, `1,000`, `0.5`, `.5`, `3.`; unsigned.
fn decimal(text: &str) -> Option<Number> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = without_separators(whole)?;
    if (whole.is_empty() && fraction.is_empty())
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let numerator = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    Number::new(
        numerator,
        10_i128.checked_pow(fraction.len().try_into().ok()?)?,
    )
}

/// Digits, grouped in threes by commas or not at all.
fn without_separators(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next().unwrap_or_default();
    let rest: Vec<_> = groups.collect();
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let grouped = rest.is_empty()
        || (1..=3).contains(&first.len()) && rest.iter().all(|group| group.len() == 3);
    (digits(first) && rest.iter().all(|group| digits(group)) && grouped)
        .then(|| text.replace(',', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        let cases = [
            ("1,000", "1000"),
            ("1000.00", "1000"),
            ("007", "7"),
            ("-3", "-3"),
            ("+3", "3"),
            (".5", "0.5"),
            ("1/2", "0.5"),
            (r"\frac{1}{2}", "0.5"),
            (r"-\frac{1}{2}", "-0.5"),
            (r"\frac{-1}{2}", "-0.5"),
            ("2/6", "1/3"),
            ("4/2", "2"),
            ("2 1/2", "2.5"),
            (r"2\frac{1}{2}", "2.5"),
            ("1.5*10^3", "1500"),
            ("2*10^{-2}", "0.02"),
            ("0", "0"),
            ("-0.0", "0"),
            ("1,234,567.5", "1234567.5"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Number::parse(text)
                    .map(|number| number.to_string())
                    .as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn other_text_is_no_number() {
        let cases = [
            "",
            "-",
            ".",
            "x",
            "1/0",
            "1,00",
            "12,34",
            "1 2",
            "1.2.3",
            "3x",
            "2 5/3",
            "1/2/3",
            r"\frac{1}{x}",
            "1,,000",
            "1e400000",
            "99999999999999999999999999999999999999999",
        ];
        for text in cases {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
