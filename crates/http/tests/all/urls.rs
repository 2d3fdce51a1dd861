use ambidex_http::{Client, HeaderValue, HttpErrorKind, Proxy, Request, Url, header};

#[test]
fn a_url_is_absolute_http_without_credentials() {
    for (text, problem) in [
        ("", "cannot be read"),
        ("/path", "no scheme"),
        ("example.com", "no scheme"),
        ("ftp://example.com/", "scheme `ftp`"),
        ("file:///etc/passwd", ""),
        ("http://user:secret@example.com/", "credentials"),
        ("http://user@example.com/", "credentials"),
        ("http:///path", ""),
        ("http://[]/", ""),
        ("http://host:99999/", ""),
        ("http://host:/", "port"),
        ("http://host/a b", "cannot be read"),
        ("http://bücher.example/", "cannot be read"),
    ] {
        let error = Url::parse(text).expect_err(text);
        assert_eq!(error.kind(), HttpErrorKind::InvalidUrl, "{text}");
        assert!(error.to_string().contains(problem), "{text}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_url_shows_its_parts_and_hides_its_query() {
    let url = Url::parse("https://Example.com/v1/x?key=secret#part").unwrap();
    assert!(url.is_https());
    assert_eq!((url.host(), url.port()), ("Example.com", 443));
    assert_eq!(url.path_and_query(), "/v1/x?key=secret");
    assert_eq!(url.to_string(), "https://Example.com/v1/x");
    assert!(!format!("{url:?}").contains("secret"));
    let url = Url::parse("http://[::1]:8080").unwrap();
    assert_eq!((url.host(), url.port(), url.path_and_query()), ("::1", 8080, "/"));
}

#[test]
fn debug_shows_no_secret() {
    let request = Request::post(Url::parse("https://host/?key=secret").unwrap())
        .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret"))
        .body("secret");
    let proxy = Proxy::Through { url: "http://user:secret@host".to_owned(), except: String::new() };
    let builder = Client::builder().proxy(proxy);
    let text = format!("{request:?} {builder:?} {:?}", builder.clone().build().unwrap());
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("authorization") && text.contains("6 bytes"), "{text}");
}
