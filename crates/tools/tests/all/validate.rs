use ambidex_core::ErrorKind;
use ambidex_tools::Validator;
use serde_json::{Value, json};

fn faults(schema: Value, value: Value) -> String {
    Validator::new(&schema).unwrap().check(&value).unwrap_err()
}

fn refused(schema: Value) -> String {
    let error = Validator::new(&schema).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    error.message().to_owned()
}

#[test]
fn a_value_that_matches_has_no_faults() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    assert_eq!(Validator::new(&schema).unwrap().check(&json!({"n": 3})), Ok(()));
}

#[test]
fn every_fault_says_where_what_and_what_is_expected() {
    let schema = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1},
            "unit": {"enum": ["c", "f"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
        "additionalProperties": false,
    });
    let told = faults(schema, json!({"days": 0, "unit": "k", "tags": ["a", 7], "extra": true}));
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "`/days`: expected at least 1, found 0",
            "`/tags/1`: expected string, found 7",
            "`/unit`: expected one of [\"c\",\"f\"], found \"k\"",
            "the value: `city` is missing",
            "the value: `extra` not expected; leave it out",
        ]
    );
}

#[test]
fn more_than_five_faults_are_counted() {
    let told = faults(json!({"items": {"type": "string"}}), json!([1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(told.lines().count(), 6);
    assert!(told.ends_with("and 2 more"), "{told}");
}

#[test]
fn a_huge_value_is_not_quoted_whole() {
    let told = faults(json!({"type": "integer"}), json!("ü".repeat(100_000)));
    assert!(told.len() < 400, "{} bytes", told.len());
    let told = faults(json!({"type": "integer"}), json!(vec![0; 10_000]));
    assert_eq!(told, "the value: expected integer, found an array of 10000");
}

#[test]
fn alternatives_say_what_each_wants() {
    let schema = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
    let told = faults(schema, json!(4));
    assert!(told.contains("expected string") && told.contains("expected null"), "{told}");
}

#[test]
fn references_within_the_schema_are_followed() {
    let schema = json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}});
    assert!(faults(schema, json!("x")).contains("expected integer"));
}

#[test]
fn references_to_other_documents_are_refused() {
    for place in
        ["http://127.0.0.1:1/schema.json", "https://example.com/s", "file:///etc/passwd", "other.json"]
    {
        let told = refused(json!({"$ref": place}));
        assert!(
            told.contains("outside of it, which is never fetched") && told.contains("#/$defs/NAME"),
            "{place}: {told}"
        );
    }
}

#[test]
fn what_is_no_schema_is_refused() {
    assert!(refused(json!("string")).contains("is an object"));
    assert!(refused(json!({"type": "text"})).contains("cannot be used"));
    assert!(refused(json!({"pattern": "("})).contains("cannot be used"));
}

#[test]
fn a_pattern_with_look_ahead_works_and_gives_up_in_bounded_time() {
    let schema = json!({"type": "string", "pattern": "^(?=.*\\d)(a+)+$"});
    let validator = Validator::new(&schema).unwrap();
    assert!(validator.check(&json!("b")).is_err());
    // Exponential without a limit of steps.
    assert!(validator.check(&json!(format!("{}1!", "a".repeat(60)))).is_err());
}
