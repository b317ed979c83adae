//! Chooses a place in a spec: a value, and the schema that it has to fit.

use scalequest_engine::training::rng::KeyedRng;
use serde_json::Value;

/// How far down to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// To a value that holds no others, other than in `metadata`.
    Leaf,
    /// To a mapping or list, at any depth.
    Inside,
}

/// A value of the spec and its schema; `Null` where the schema says nothing of it.
pub(super) fn choose<'a, 's>(
    spec: &'a mut Value,
    schema: &'s Value,
    depth: Depth,
    draws: &mut KeyedRng,
) -> (&'a mut Value, &'s Value) {
    let (mut place, mut shape) = (&mut spec["spec"], &schema["properties"]["spec"]);
    loop {
        if depth == Depth::Inside && draws.below(3) == 0 {
            return (place, shape);
        }
        let next: Option<(usize, &'s Value)> = match &*place {
            Value::Object(members) if !members.is_empty() => {
                let index = draws.below(members.len());
                let name = members
                    .keys()
                    .nth(index)
                    .map(String::as_str)
                    .unwrap_or_default();
                let of_member = match shape["properties"].get(name) {
                    Some(property) => property,
                    None => &shape["additionalProperties"],
                };
                holds(depth, &members[name]).then_some((index, of_member))
            }
            Value::Array(items) if !items.is_empty() => {
                let index = draws.below(items.len());
                holds(depth, &items[index]).then_some((index, &shape["items"]))
            }
            _ => None,
        };
        let Some((index, of_next)) = next else {
            return (place, shape);
        };
        place = match place {
            Value::Object(members) => members.values_mut().nth(index).expect("counted above"),
            Value::Array(items) => &mut items[index],
            _ => unreachable!("looked at above"),
        };
        shape = of_next;
    }
}

/// Whether a walk to this depth may enter the value.
fn holds(depth: Depth, value: &Value) -> bool {
    depth == Depth::Leaf || value.is_object() || value.is_array()
}
