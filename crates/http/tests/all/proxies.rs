use std::sync::{Arc, Mutex};

use ambidex_http::{Client, HttpErrorKind as Kind, Proxy, Request, Url, Version};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use crate::{
    http2::{authority, echo_path, https},
    support::{Server, builder, read_request},
};

type Heads = Arc<Mutex<Vec<String>>>;

/// Opens tunnels for whoever knows the password; answers other requests itself.
async fn proxy() -> (Server, Heads) {
    let heads = Heads::default();
    let seen = heads.clone();
    let server = Server::start(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            while let Some((head, _)) = read_request(&mut stream).await {
                seen.lock().unwrap().push(head.clone());
                // user:pass
                if !head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz") {
                    let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                } else if let Some(target) = head.strip_prefix("CONNECT ") {
                    let target = target.split(' ').next().unwrap();
                    let mut upstream = TcpStream::connect(target).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    copy_bidirectional(&mut stream, &mut upstream).await.ok();
                    return;
                } else {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nproxied").await.unwrap();
                }
            }
        }
    })
    .await;
    (server, heads)
}

fn through(server: &Server, credentials: &str, except: &str) -> Proxy {
    Proxy::Through { url: format!("http://{credentials}{}", server.address), except: except.to_owned() }
}

#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let authority = authority();
    let target = echo_path(authority.acceptor(&["http/1.1"])).await;
    let (proxy, heads) = proxy().await;
    let client = Client::builder()
        .proxy(through(&proxy, "user:pass@", ""))
        .tls(authority.tls.clone())
        .build()
        .unwrap();
    for _ in 0..2 {
        let response = client.send(Request::get(https(&target, "/x?secret=1"))).await.unwrap();
        assert_eq!(response.collect(99).await.unwrap(), "/x?secret=1");
    }
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 1, "one tunnel for both: {heads:?}");
    let host = format!("localhost:{}", target.address.port());
    assert!(heads[0].starts_with(&format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n")), "{heads:?}");
    assert!(!heads[0].contains("secret"));
}

#[tokio::test]
async fn plain_http_is_asked_for_by_its_whole_url() {
    let (proxy, heads) = proxy().await;
    let client = Client::builder().proxy(through(&proxy, "user:pass@", "")).build().unwrap();
    let url = Url::parse("http://plain.test:81/x?y=1").unwrap();
    let response = client.send(Request::get(url)).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(response.collect(99).await.unwrap(), "proxied");
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with("GET http://plain.test:81/x?y=1 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("host: plain.test:81\r\n"), "{heads:?}");
}

#[tokio::test]
async fn excepted_hosts_are_reached_directly() {
    let target = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ndirect").await;
    let (proxy, heads) = proxy().await;
    let client = Client::builder().proxy(through(&proxy, "", "127.0.0.0/8")).build().unwrap();
    assert_eq!(client.send(target.get()).await.unwrap().collect(9).await.unwrap(), "direct");
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_without_its_credentials() {
    let (proxy, _) = proxy().await;
    let url = Url::parse("https://target.test/?secret=1").unwrap();
    let tls = authority();
    let send = async |proxy: Proxy| {
        let client = Client::builder().proxy(proxy).tls(tls.tls.clone()).build().unwrap();
        client.send(Request::get(url.clone())).await.unwrap_err()
    };
    let refused = send(through(&proxy, "user:wrong@", "")).await;
    assert_eq!(refused.kind(), Kind::Proxy);
    assert!(refused.to_string().contains("407") && !refused.retry_may_help(), "{refused}");

    let garbage = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"220 mail ready\r\n\r\n").await.ok();
    })
    .await;
    let garbled = send(through(&garbage, "user:pass@", "")).await;
    assert!(garbled.to_string().contains("not HTTP"), "{garbled}");

    let closing = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
    })
    .await;
    let closed = send(through(&closing, "user:pass@", "")).await;
    assert!(closed.to_string().contains("closed"), "{closed}");

    let eager = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nextra").await.ok();
    })
    .await;
    let injected = send(through(&eager, "user:pass@", "")).await;
    assert_eq!(injected.kind(), Kind::Proxy);

    let socks =
        send(Proxy::Through { url: "socks5://user:pass@127.0.0.1:1".to_owned(), except: String::new() });
    let unsupported = socks.await;
    assert!(unsupported.to_string().contains("socks5"), "{unsupported}");

    let gone =
        send(Proxy::Through { url: "http://user:pass@127.0.0.1:1".to_owned(), except: String::new() }).await;
    assert_eq!(gone.kind(), Kind::Proxy);
    for error in [refused, garbled, closed, injected, unsupported, gone] {
        let text = format!("{error:?} {error}");
        assert_eq!(error.kind(), Kind::Proxy, "{text}");
        assert!(!error.may_have_been_sent(), "{text}");
        assert!(
            !text.contains("user:pass@") && !text.contains("wrong") && !text.contains("secret"),
            "{text}"
        );
    }
}

#[test]
fn a_proxy_url_that_cannot_be_read_is_refused_at_the_door() {
    let proxy = Proxy::Through { url: "::".to_owned(), except: String::new() };
    assert_eq!(builder().proxy(proxy).build().unwrap_err().kind(), Kind::Configuration);
}

/// Runs twice: this test starts itself again with the environment set.
#[tokio::test]
async fn the_environment_names_the_proxy() {
    let name = "proxies::the_environment_names_the_proxy";
    if std::env::var_os("AMBIDEX_HTTP_CHILD").is_some() {
        let client = Client::builder().build().unwrap();
        let url = Url::parse("http://plain.test/").unwrap();
        let response = client.send(Request::get(url.clone())).await.unwrap();
        assert_eq!(response.collect(99).await.unwrap(), "proxied");
        // A client for public addresses does not let a proxy resolve names.
        let inside = vec!["127.0.0.1:1".parse().unwrap()];
        let strict = Client::builder().allow_private(false).resolve_to("plain.test", inside).build().unwrap();
        assert_eq!(strict.send(Request::get(url)).await.unwrap_err().kind(), Kind::AddressRefused);
        return;
    }
    let (proxy, heads) = proxy().await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).env("AMBIDEX_HTTP_CHILD", "1");
    for unset in ["http_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
        child.env_remove(unset);
    }
    child.env("HTTP_PROXY", format!("http://user:pass@{}", proxy.address));
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(heads.lock().unwrap().len(), 1);
}
