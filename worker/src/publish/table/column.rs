//! Columns from iterators, by type.

use std::sync::Arc;

use arrow_array::{
    BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields};

use super::Column;

/// Strings.
pub fn text<'a>(name: &str, values: impl Iterator<Item = &'a str>) -> Column {
    (
        Field::new(name, DataType::Utf8, false),
        Arc::new(StringArray::from_iter_values(values)),
    )
}

/// Optional strings.
pub fn maybe_text<'a>(name: &str, values: impl Iterator<Item = Option<&'a str>>) -> Column {
    (
        Field::new(name, DataType::Utf8, true),
        Arc::new(values.collect::<StringArray>()),
    )
}

/// 64-bit integers.
pub fn long(name: &str, values: impl Iterator<Item = i64>) -> Column {
    (
        Field::new(name, DataType::Int64, false),
        Arc::new(Int64Array::from_iter_values(values)),
    )
}

/// 32-bit integers.
pub fn int(name: &str, values: impl Iterator<Item = i32>) -> Column {
    (
        Field::new(name, DataType::Int32, false),
        Arc::new(Int32Array::from_iter_values(values)),
    )
}

/// Optional real numbers.
pub fn maybe_real(name: &str, values: impl Iterator<Item = Option<f64>>) -> Column {
    (
        Field::new(name, DataType::Float64, true),
        Arc::new(values.collect::<Float64Array>()),
    )
}

/// Booleans.
pub fn boolean(name: &str, values: impl Iterator<Item = bool>) -> Column {
    let values: Vec<bool> = values.collect();
    (
        Field::new(name, DataType::Boolean, false),
        Arc::new(BooleanArray::from(values)),
    )
}

/// Chats of two messages: the user's and the assistant's.
pub fn chat<'a>(name: &str, turns: impl Iterator<Item = (&'a str, &'a str)>) -> Column {
    let turns: Vec<_> = turns.collect();
    let roles = StringArray::from_iter_values(turns.iter().flat_map(|_| ["user", "assistant"]));
    let contents = StringArray::from_iter_values(
        turns
            .iter()
            .flat_map(|(user, assistant)| [*user, *assistant]),
    );
    let fields = Fields::from(vec![
        Field::new("role", DataType::Utf8, false),
        Field::new("content", DataType::Utf8, false),
    ]);
    let messages = StructArray::new(
        fields.clone(),
        vec![Arc::new(roles), Arc::new(contents)],
        None,
    );
    let element = Arc::new(Field::new("element", DataType::Struct(fields), false));
    let offsets = OffsetBuffer::from_lengths(turns.iter().map(|_| 2));
    let list = ListArray::new(element.clone(), offsets, Arc::new(messages), None);
    (
        Field::new(name, DataType::List(element), false),
        Arc::new(list),
    )
}
