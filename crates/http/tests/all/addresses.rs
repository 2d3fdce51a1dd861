use ambidex_http::{AddressClass, HttpErrorKind, Proxy, Request, Url};

use crate::support::{Server, builder};

#[test]
fn every_special_range_has_its_class_at_both_ends() {
    use AddressClass::*;
    for (class, addresses) in [
        (Unspecified, "0.0.0.0 0.255.255.255 ::"),
        (Loopback, "127.0.0.0 127.255.255.255 ::1"),
        (Private, "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255"),
        (Private, "fc00:: fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fd00:ec2::254"),
        (LinkLocal, "169.254.0.0 169.254.169.254 169.254.255.255 fe80:: febf:ffff::1"),
        (SiteLocal, "fec0:: feff:ffff::1"),
        (CarrierNat, "100.64.0.0 100.127.255.255 100.100.100.200"),
        (Documentation, "192.0.2.0 192.0.2.255 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1 3fff:fff::1"),
        (Benchmarking, "198.18.0.0 198.19.255.255 2001:2::1"),
        (Multicast, "224.0.0.0 239.255.255.255 ff00:: ff02::1"),
        (Broadcast, "255.255.255.255"),
        (CloudService, "168.63.129.16"),
        (Transition, "::ffff:127.0.0.1 ::ffff:8.8.8.8 ::127.0.0.1 ::8.8.8.8 ::ffff:0:8.8.8.8 ::2"),
        (Transition, "64:ff9b::8.8.8.8 64:ff9b::7f00:1 64:ff9b:1::1 64:ff9b:1:ffff::1"),
        (Transition, "2002:7f00:1:: 2002:808:808::1 2001::1 2001:0:ffff::1 192.88.99.1"),
        (Reserved, "192.0.0.0 192.0.0.192 192.0.0.255 240.0.0.0 255.255.255.254"),
        (Reserved, "100::1 2001:10::1 2001:20::1 2001:1ff::1 4000::1 5f00::1 1::1 64:ff9b:2::1 e000::1"),
        (Public, "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255"),
        (Public, "128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255"),
        (Public, "192.169.0.0 192.0.1.0 192.0.3.0 198.17.255.255 198.20.0.0 223.255.255.255"),
        (Public, "2001:200::1 2001:4860:4860::8888 2606:4700::1111 2003::1 2a00::1 2001:db9::1 3ffe::1"),
    ] {
        for address in addresses.split(' ') {
            let found = AddressClass::of(address.parse().expect(address));
            assert_eq!(found, class, "{address}");
            assert_eq!(found.is_public(), class == Public, "{address}");
        }
    }
}

#[tokio::test]
async fn without_permission_nothing_private_is_reached_in_any_notation() {
    let server = Server::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let port = server.address.port();
    let client = builder()
        .allow_private(false)
        .resolve_to("inside.test", vec![server.address])
        .resolve_to("mixed.test", vec!["8.8.8.8:9".parse().unwrap(), server.address])
        .build()
        .unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "inside.test",
        "INSIDE.test",
        "mixed.test",
    ] {
        let url = Url::parse(&format!("http://{host}:{port}/?secret=1")).unwrap();
        let error = client.send(Request::get(url)).await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::AddressRefused, "{host}: {error}");
        assert!(!error.may_have_been_sent() && !error.retry_may_help(), "{host}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert_eq!(server.accepted(), 0);
    assert_eq!(client.census().opened, 0);
}

#[tokio::test]
async fn with_permission_private_addresses_are_reached() {
    let server = Server::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let client = builder().resolve_to("inside.test", vec![server.address]).build().unwrap();
    let url = Url::parse("http://inside.test/").unwrap();
    assert_eq!(client.send(Request::get(url)).await.unwrap().status(), 204);
}

#[test]
fn a_proxy_cannot_go_around_the_rules() {
    let through = Proxy::Through { url: "http://127.0.0.1:1".to_owned(), except: String::new() };
    let error = builder().proxy(through).allow_private(false).build().unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Configuration);
}
