//! `scalequest recipes`: the tables of defaults.

use std::fmt::Write;

use scalequest_crds::protocol::exit_codes;

use super::{CliError, text};
use scalequest_core::nearest::nearest;
use scalequest_core::recipe::recipes as tables;

/// Lists the recipes, or prints the table of one.
pub fn recipes(name: Option<&str>) -> Result<i32, CliError> {
    match name {
        None => text::print(&list())?,
        Some(name) => {
            let table = tables()
                .iter()
                .find(|table| table.name.eq_ignore_ascii_case(name))
                .ok_or_else(|| unknown(name))?;
            text::print(table.yaml)?;
        }
    }
    Ok(exit_codes::run::DONE)
}

fn list() -> String {
    let rows: Vec<_> = tables()
        .iter()
        .map(|table| vec![table.name.to_string(), table.summary.trim().to_string()])
        .collect();
    let mut out = text::table(&rows, &[]);
    let _ = writeln!(
        out,
        "\nA recipe is a table of defaults; what your spec sets wins. Show one in full: scalequest recipes {}",
        tables()[0].name
    );
    out
}

fn unknown(name: &str) -> CliError {
    let names: Vec<_> = tables().iter().map(|table| table.name).collect();
    let hint = nearest(name, names.iter().copied())
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    CliError::input(
        "NAME",
        format!(
            "`{name}` is no recipe: the recipes are {}{hint}",
            names.join(", ")
        ),
    )
}
