use std::time::{Duration, SystemTime};

use ambidex_http::{HeaderMap, retry_after};

fn read(headers: &[(&'static str, &str)]) -> Option<Duration> {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    retry_after(&headers, now)
}

#[test]
fn every_form_of_retry_after() {
    for (value, wait) in [
        ("0", Some(0)),
        ("2", Some(2_000)),
        (" 2 ", Some(2_000)),
        ("1.5", Some(1_500)),
        (".25", Some(250)),
        ("-3", Some(0)),
        ("86400", Some(86_400_000)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60_000)),
        ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10_000)),
        ("Sun Nov  6 08:49:38 1994", Some(1_000)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("", None),
        (".", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("2s", None),
        ("0x10", None),
        ("Xxx, 99 Nov 1994 08:49:37 GMT", None),
    ] {
        assert_eq!(read(&[("retry-after", value)]), wait.map(Duration::from_millis), "{value:?}");
    }
    assert_eq!(read(&[]), None);
    let huge = "9".repeat(40);
    assert_eq!(read(&[("retry-after", &huge)]), Some(Duration::MAX));
}

#[test]
fn milliseconds_come_first_when_they_can_be_read() {
    let both = |ms| read(&[("retry-after", "7"), ("retry-after-ms", ms)]);
    assert_eq!(both("250"), Some(Duration::from_millis(250)));
    assert_eq!(both("0.5"), Some(Duration::from_micros(500)));
    assert_eq!(both("-1"), Some(Duration::ZERO));
    assert_eq!(both("soon"), Some(Duration::from_secs(7)));
}
