//! Corrupts the text of a spec: bits, pieces, lines, marks of YAML, numbers that are none.

use scalequest_engine::training::rng::KeyedRng;

const MARKS: [&str; 19] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    "\n",
    "\t",
    "\"",
    "'",
    "&a ",
    "*a",
    "!!int ",
    "|\n",
    "\u{0}",
    "\u{1F642}",
    "\u{feff}",
    "---\n",
    "null",
];

const NUMBERS: [&str; 11] = [
    "-1",
    "-0",
    "0",
    "1e999",
    "99999999999999999999",
    "0x7f",
    ".nan",
    "-.inf",
    "1_000",
    "~",
    "true",
];

/// Corrupts one place.
pub(super) fn corrupt(bytes: &mut Vec<u8>, draws: &mut KeyedRng) {
    if bytes.is_empty() {
        return bytes.extend(b"spec:");
    }
    let (at, length) = (draws.below(bytes.len()), 1 + draws.below(24));
    let end = (at + length).min(bytes.len());
    match draws.below(8) {
        0 => bytes[at] ^= 1 << draws.below(8),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.truncate(at),
        3 => {
            let part = bytes[at..end].to_vec();
            let there = draws.below(bytes.len());
            bytes.splice(there..there, part);
        }
        4 => drop(bytes.splice(at..at, MARKS[draws.below(MARKS.len())].bytes())),
        5 => {
            // A whole line, twice.
            let start = bytes[..at]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |position| position + 1);
            let end = bytes[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |position| at + position + 1);
            let line = bytes[start..end].to_vec();
            bytes.splice(start..start, line);
        }
        6 => {
            // A comment at the end of the line, which changes nothing.
            let end = bytes[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |position| at + position);
            bytes.splice(end..end, b" # why".iter().copied());
        }
        _ => drop(bytes.splice(at..end, NUMBERS[draws.below(NUMBERS.len())].bytes())),
    }
}
