//! Replaces a value of a spec by one that no field wants, or renames, repeats and adds members.

use scalequest_engine::training::rng::KeyedRng;
use serde_json::{Value, json};

/// Changes one place.
pub(super) fn insert(value: &mut Value, draws: &mut KeyedRng) {
    // Down to a place that is drawn.
    let mut place = value;
    for _ in 0..draws.below(7) {
        let next = match &*place {
            Value::Object(members) if !members.is_empty() => draws.below(members.len()),
            Value::Array(items) if !items.is_empty() => draws.below(items.len()),
            _ => break,
        };
        place = match place {
            Value::Object(members) => members.values_mut().nth(next).expect("a member"),
            Value::Array(items) => &mut items[next],
            _ => unreachable!("looked at above"),
        };
    }
    match (draws.below(5), place) {
        (0, Value::Object(members)) if !members.is_empty() => {
            let name = members
                .keys()
                .nth(draws.below(members.len()))
                .expect("a member")
                .clone();
            let member = members.shift_remove(&name).expect("a member");
            // Renamed, by a letter, or gone.
            if draws.below(2) == 0 {
                members.insert(format!("{name}s"), member);
            }
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            let again = items[draws.below(items.len())].clone();
            (0..1 + draws.below(80)).for_each(|_| items.push(again.clone()));
        }
        (2, Value::Object(members)) => drop(members.insert("surprise".into(), strange(draws))),
        (_, place) => *place = strange(draws),
    }
}

fn strange(draws: &mut KeyedRng) -> Value {
    match draws.below(21) {
        0 => json!(null),
        1 => json!(true),
        2 => json!(-1),
        3 => json!(0),
        4 => json!(i64::MAX),
        5 => json!(u64::MAX),
        6 => json!(1e308),
        7 => json!(-0.5),
        8 => json!(""),
        9 => json!("x".repeat(5000)),
        10 => json!("\u{0}\u{202e}ü"),
        11 => json!("9".repeat(60)),
        12 => json!("-1.5"),
        13 => json!([]),
        14 => json!({}),
        // Lists within lists.
        15 => (0..60).fold(json!(1), |inside, _| json!([inside])),
        16 => json!({"name": "a", "path": "b", "uri": "c", "hub": {}}),
        17 => json!(["en", "en", 3]),
        18 => json!("s3://"),
        19 => json!(7.0),
        _ => json!("s3://bucket/\n"),
    }
}
