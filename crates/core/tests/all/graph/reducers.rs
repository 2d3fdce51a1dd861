//! How fields take updates.

use ambidex_core::graph::{Reducer, State};
use serde_json::{Value, json};

fn folded(reducer: Reducer, values: &[Value]) -> Result<Value, String> {
    let mut state = State::new();
    for value in values {
        reducer.apply(&mut state, "f", value)?;
    }
    Ok(state["f"].clone())
}

#[test]
fn every_reducer_takes_one_value_after_another() {
    let cases = [
        (Reducer::Last, json!([1, "a", null]), json!(null)),
        (Reducer::First, json!([1, 2]), json!(1)),
        (Reducer::First, json!([null, 2, 3]), json!(2)),
        (Reducer::Append, json!([1, [2], null]), json!([1, [2], null])),
        (Reducer::Extend, json!([[1], [2, 3], []]), json!([1, 2, 3])),
        (Reducer::Add, json!([1, 2]), json!(3)),
        (Reducer::Add, json!([1, 0.5]), json!(1.5)),
        (Reducer::Add, json!([i64::MAX, 1]), json!(9_223_372_036_854_775_808_u64)),
        (Reducer::Add, json!([u64::MAX, 1]), json!(18_446_744_073_709_551_616.0)),
        (Reducer::Add, json!(["a", "b"]), json!("ab")),
        (Reducer::Merge, json!([{"a": 1, "b": 1}, {"b": 2, "c": 2}]), json!({"a": 1, "b": 2, "c": 2})),
        (Reducer::Max, json!([2, 5, 3]), json!(5)),
        (Reducer::Max, json!([2.5, 2]), json!(2.5)),
        (Reducer::Min, json!([2, -5, 3]), json!(-5)),
        (Reducer::Min, json!(["b", "a", "c"]), json!("a")),
        (Reducer::Union, json!([[1, 2], [2, 3]]), json!([1, 2, 3])),
        (Reducer::And, json!([true, false, true]), json!(false)),
        (Reducer::Or, json!([false, true]), json!(true)),
        (Reducer::Add, json!([null, 4, null]), json!(4)),
        (Reducer::Extend, json!([[1], null]), json!([1])),
    ];
    for (reducer, values, wanted) in cases {
        let values: Vec<_> = values.as_array().unwrap().clone();
        assert_eq!(folded(reducer, &values), Ok(wanted), "{reducer:?} of {values:?}");
    }
}

#[test]
fn a_value_of_another_kind_is_an_error_and_changes_nothing() {
    let cases = [
        (Reducer::Append, json!([1]), json!({})),
        (Reducer::Extend, json!(1), json!([])),
        (Reducer::Merge, json!(1), json!({})),
        (Reducer::Add, json!("a"), json!(1)),
        (Reducer::Max, json!("a"), json!(1)),
        (Reducer::Union, json!(1), json!([1])),
        (Reducer::And, json!(1), json!(true)),
    ];
    for (reducer, value, there) in cases {
        let mut state = State::from_iter([("f".to_owned(), there.clone())]);
        let fault = reducer.apply(&mut state, "f", &value).unwrap_err();
        assert!(fault.starts_with("the field `f` is folded by `"), "{fault}");
        assert_eq!(state["f"], there);
    }
    assert!(folded(Reducer::Extend, &[json!(1)]).is_err() && folded(Reducer::Merge, &[json!(1)]).is_err());
}
