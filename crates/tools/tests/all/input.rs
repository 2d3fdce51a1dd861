use ambidex_core::ErrorKind;
use ambidex_tools::input::{schema_from, schema_of};
use serde_json::json;

#[test]
fn the_short_form_becomes_a_schema() {
    let schema = schema_from(&json!({
        "id": "integer",
        "tags": "string[]",
        "note": "string?",
        "size": {"type": "integer", "minimum": 1, "default": 10},
    }));
    assert_eq!(
        schema.unwrap(),
        json!({
            "type": "object",
            "properties": {
                "id": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "note": {"type": "string"},
                "size": {"type": "integer", "minimum": 1, "default": 10},
            },
            "required": ["id", "tags"],
            "additionalProperties": false,
        })
    );
}

#[test]
fn a_schema_stays_one() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let mut closed = schema.clone();
    closed["additionalProperties"] = json!(false);
    assert_eq!(schema_from(&schema).unwrap(), closed);
}

#[test]
fn a_wrong_word_names_the_argument_and_the_types() {
    let error = schema_from(&json!({"id": "int"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    assert!(error.message().contains("`input.id`: `int`") && error.message().contains("integer"), "{error}");
    assert!(schema_from(&json!({"id": 3})).unwrap_err().message().contains("`input.id`"));
    assert!(schema_from(&json!("string")).unwrap_err().message().contains("`input` is a table"));
}

#[derive(schemars::JsonSchema)]
#[allow(dead_code)]
struct Tree {
    children: Vec<Tree>,
}

#[derive(schemars::JsonSchema)]
#[serde(tag = "kind")]
#[allow(dead_code)]
enum Shape {
    Circle { radius: f64 },
    Square { side: f64 },
}

#[test]
fn types_that_recur_refer_to_themselves_within_the_schema() {
    let schema = schema_of::<Tree>();
    assert_eq!(schema["type"], "object");
    let validator = ambidex_tools::Validator::new(&schema).unwrap();
    assert_eq!(validator.check(&json!({"children": [{"children": []}]})), Ok(()));
    assert!(validator.check(&json!({"children": [{}]})).is_err());
}

#[test]
fn alternatives_are_closed_each() {
    let validator = ambidex_tools::Validator::new(&schema_of::<Shape>()).unwrap();
    assert_eq!(validator.check(&json!({"kind": "Circle", "radius": 1.0})), Ok(()));
    assert!(validator.check(&json!({"kind": "Circle", "radius": 1.0, "side": 2.0})).is_err());
}
