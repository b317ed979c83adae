//! `scalequest recipes`: the tables of defaults.

use scalequest_core::nearest::nearest;
use scalequest_core::recipe::recipes as tables;

use super::{CommandError, text};

/// Lists the recipes, or returns the table of one.
pub fn recipes(name: Option<&str>) -> Result<String, CommandError> {
    let Some(name) = name else {
        return Ok(list());
    };
    tables()
        .iter()
        .find(|table| table.name.eq_ignore_ascii_case(name))
        .map(|table| table.yaml.to_string())
        .ok_or_else(|| unknown(name))
}

fn list() -> String {
    let rows: Vec<_> = tables()
        .iter()
        .map(|table| vec![table.name.to_string(), table.summary.trim().to_string()])
        .collect();
    format!(
        "{}\nA recipe is a table of defaults; what your spec sets wins. Show one in full: scalequest recipes {}\n",
        text::table(&rows, &[]),
        tables()[0].name
    )
}

fn unknown(name: &str) -> CommandError {
    let names: Vec<_> = tables().iter().map(|table| table.name).collect();
    let hint = nearest(name, names.iter().copied())
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    let message = format!(
        "`{name}` is no recipe: the recipes are {}{hint}",
        names.join(", ")
    );
    CommandError::input("NAME", message)
}
