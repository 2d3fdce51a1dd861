//! Durations, sizes, templates, inputs.

use ambidex_config::{Duration, Size, Template, TemplatePart, input_schema};
use serde_json::json;

#[test]
fn durations_are_read_and_written() {
    for (text, millis, written) in [
        ("500ms", 500, "500ms"),
        ("5s", 5_000, "5s"),
        ("1m30s", 90_000, "1m30s"),
        ("90s", 90_000, "1m30s"),
        ("24h", 86_400_000, "1d"),
        ("36h", 129_600_000, "36h"),
        ("2d", 172_800_000, "2d"),
        ("1.5s", 1_500, "1500ms"),
        ("0s", 0, "0s"),
        (" 1h5ms ", 3_600_005, "1h5ms"),
    ] {
        let duration: Duration = text.parse().unwrap();
        assert_eq!((duration.get().as_millis(), duration.to_string().as_str()), (millis, written), "{text}");
        assert_eq!(written.parse::<Duration>().unwrap(), duration);
        assert_eq!(
            serde_json::from_str::<Duration>(&serde_json::to_string(&duration).unwrap()).unwrap(),
            duration
        );
    }
    for text in [
        "",
        "5",
        "s",
        "5 s",
        "-5s",
        "1s1m",
        "1s1s",
        "1.5m3s",
        "5x",
        "1..5s",
        "99999999999999999999s",
        "999999999999999999d",
    ] {
        assert!(text.parse::<Duration>().is_err(), "{text}");
    }
}

#[test]
fn sizes_are_read_and_written() {
    for (text, bytes, written) in [
        ("512", 512, "512B"),
        ("64KiB", 65_536, "64KiB"),
        ("1 mib", 1 << 20, "1MiB"),
        ("10MB", 10_000_000, "10000000B"),
    ] {
        let size: Size = text.parse().unwrap();
        assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, written), "{text}");
        assert_eq!(written.parse::<Size>().unwrap(), size);
    }
    for text in ["", "big", "1.5MiB", "-1", "1 parsec", "99999999999GiB"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn a_name_in_braces_is_a_placeholder_and_doubled_braces_are_text() {
    let parts = |text: &str| Template::parse(text).unwrap().parts().to_vec();
    let text = |text: &str| TemplatePart::Text(text.into());
    let input = |name: &str| TemplatePart::Input(name.into());
    assert_eq!(parts("a/{id}/b{x-1}"), [text("a/"), input("id"), text("/b"), input("x-1")]);
    assert_eq!(parts("{a}{b}"), [input("a"), input("b")]);
    assert_eq!(parts("[a-z]{{2,3}} {{{{{id}}}"), [text("[a-z]{2,3} {{"), input("id"), text("}")]);
    assert_eq!(parts("é{{ü}}{id}"), [text("é{ü}"), input("id")]);
    assert!(parts("").is_empty());
    for text in ["{", "}", "{id", "id}", "{}", "{a b}", "{\"a\": 1}", "{{id}"] {
        assert!(Template::parse(text).is_err(), "{text}");
    }
}

#[test]
fn short_inputs_become_a_closed_object() {
    let schema = input_schema(&json!({
        "id": "integer", "names": "string[]", "note": "string?", "tags": "string[]?", "x": "any", "y": { "type": "string[]", "default": [] },
        "size": { "type": "integer?", "minimum": 1 },
        "unit": { "type": "string", "enum": ["c", "f"], "optional": true },
        "point": { "type": "object", "properties": { "a": { "type": "number" } } }
    }));
    assert_eq!(
        schema.unwrap(),
        json!({
            "type": "object",
            "properties": {
                "id": { "type": "integer" },
                "names": { "type": "array", "items": { "type": "string" } },
                "note": { "type": "string" },
                "tags": { "type": "array", "items": { "type": "string" } },
                "x": {},
                "y": { "type": "array", "items": { "type": "string" }, "default": [] },
                "size": { "type": "integer", "minimum": 1 },
                "unit": { "type": "string", "enum": ["c", "f"] },
                "point": { "type": "object", "properties": { "a": { "type": "number" } } }
            },
            "required": ["id", "names", "x", "point"],
            "additionalProperties": false
        })
    );
}

#[test]
fn a_whole_schema_is_taken_as_it_is() {
    let schema = json!({ "type": "object", "properties": { "a": {} }, "minProperties": 1 });
    assert_eq!(input_schema(&schema).unwrap(), schema);
    assert_eq!(input_schema(&json!({ "properties": {} })).unwrap()["type"], "object");
    assert!(input_schema(&json!({ "properties": {}, "type": "array" })).is_err());
    assert!(input_schema(&json!("string")).is_err());
    let error = input_schema(&json!({ "a": "strin" })).unwrap_err();
    assert_eq!((error.name.as_str(), error.suggestion), ("a", Some("string")));
}
