//! Protocol buffers as they lie in a file: numbered fields of four kinds, read one after the other. It knows no message.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// An integer, a truth value or one of an enumeration.
    Integer(u64),
    /// Four bytes.
    Four([u8; 4]),
    /// Eight bytes.
    Eight([u8; 8]),
    /// A text, or a message of its own.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The truth value that it is.
    pub(super) fn is_true(self) -> bool {
        matches!(self, Self::Integer(number) if number != 0)
    }
}

/// Reads the fields of a message: each one's number and value. `Err` says at which byte it is none.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let count = usize::try_from(count).ok()?;
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first; the upper bit says that more follow.
    fn integer(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(*self.take(1)?.first()?);
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.integer()?;
        let value = match key & 7 {
            0 => Value::Integer(self.integer()?),
            1 => Value::Eight(self.take(8)?.try_into().ok()?),
            2 => {
                let length = self.integer()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Four(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        Some(self.field().ok_or_else(|| {
            // Nothing behind a damaged field can be trusted.
            self.at = self.bytes.len();
            format!("no field at byte {start} of {}", self.bytes.len())
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Fields, Value};

    #[test]
    fn fields_of_every_kind_are_read() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7,
            8,
        ];
        let fields: Vec<_> = Fields::of(&bytes).map(Result::unwrap).collect();
        assert_eq!(
            fields,
            [
                (1, Value::Integer(150)),
                (2, Value::Bytes(b"hi")),
                (3, Value::Four([1, 2, 3, 4])),
                (4, Value::Eight([1, 2, 3, 4, 5, 6, 7, 8])),
            ]
        );
        for cut in [2, 4, 6, 9, 15] {
            let found: Vec<_> = Fields::of(&bytes[..cut]).collect();
            assert!(found.last().unwrap().is_err(), "{cut}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_end_reading(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
