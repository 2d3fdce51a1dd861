//! The table of codes.

use std::collections::BTreeSet;
use std::time::Duration;

use ambidex_core::{Error, ErrorKind};

#[test]
fn the_table_has_every_kind_once_and_its_code_is_its_name_on_the_wire() {
    let schema = schemars::schema_for!(ErrorKind).to_value();
    let mut kinds: Vec<String> = vec![];
    collect(&schema, &mut kinds);
    let table: Vec<_> = ErrorKind::ALL.iter().map(|(kind, _, _)| kind.code().to_owned()).collect();
    assert_eq!(table.iter().collect::<BTreeSet<_>>().len(), table.len(), "a kind stands twice");
    assert_eq!(table.iter().collect::<BTreeSet<_>>(), kinds.iter().collect(), "the table is not complete");
    for (kind, meaning, retryable) in ErrorKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
        assert_eq!(serde_json::from_value::<ErrorKind>(kind.code().into()).unwrap(), *kind);
        assert_eq!(kind.to_string(), kind.code());
        assert_eq!(kind.retryable(), *retryable);
        assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{meaning}");
    }
}

/// Names of a unit enum, whether they stand in one list or, for their comments, in several.
fn collect(schema: &serde_json::Value, names: &mut Vec<String>) {
    let strings = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    names.extend(strings(&schema["enum"]).iter().filter_map(|name| name.as_str().map(Into::into)));
    names.extend(schema["const"].as_str().map(str::to_owned));
    strings(&schema["oneOf"]).iter().for_each(|one| collect(one, names));
}

#[test]
fn an_error_keeps_what_it_knows_through_its_json() {
    let error = Error::new(ErrorKind::RateLimited, "slow down")
        .with_provider("openai")
        .with_status(429)
        .with_request_id(Some("req-1".into()))
        .with_retry_after(Some(Duration::from_millis(1500)))
        .context("the second attempt");
    let text = serde_json::to_string(&error).unwrap();
    let read: Error = serde_json::from_str(&text).unwrap();
    assert_eq!(read, error);
    assert_eq!(read.to_string(), "rate_limited: the second attempt: slow down (request req-1)");
    assert_eq!(format!("{read:?}"), read.to_string());
    assert_eq!((read.code(), read.provider(), read.status()), ("rate_limited", Some("openai"), Some(429)));
    assert_eq!((read.retry_after(), read.is_retryable()), (Some(Duration::from_millis(1500)), true));
    assert!(!read.retryable(false).is_retryable());
    assert_eq!(
        serde_json::to_string(&Error::cancelled()).unwrap(),
        r#"{"code":"cancelled","message":"cancelled","retryable":false}"#
    );
}
