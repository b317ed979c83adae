//! `preferences`: the pairs of QPO, question against question, without a prompt.

use scalequest_crds::protocol::rows::{Direction, PreferenceRow};

use super::column::{long, text};
use super::{Column, Table};

/// The table of preference pairs.
pub struct Preferences;

impl Table for Preferences {
    type Row = PreferenceRow;

    fn columns(rows: &[PreferenceRow]) -> Vec<Column> {
        vec![
            long("id", rows.iter().map(|row| row.id)),
            text("generator", rows.iter().map(|row| row.generator.as_str())),
            text(
                "direction",
                rows.iter().map(|row| direction_name(row.direction)),
            ),
            text("chosen", rows.iter().map(|row| row.chosen.as_str())),
            text("rejected", rows.iter().map(|row| row.rejected.as_str())),
        ]
    }
}

/// Returns a direction's name in files.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Solvability => "Solvability",
        Direction::Difficulty => "Difficulty",
    }
}
