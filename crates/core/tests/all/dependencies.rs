//! The core stays light: no HTTP, no runtime.

use std::collections::BTreeSet;
use std::process::Command;

/// `name` or `name/feature`, of everything the core is built with.
fn tree() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "ambidex-core", "--edges", "normal,features", "--prefix", "none"])
        .args(["--target", "all", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        match words.next()? {
            "feature" => Some(format!("{name}/{}", words.next()?.trim_matches('"'))),
            _ => Some(name),
        }
    };
    text.lines().filter_map(entry).collect()
}

#[test]
fn the_core_has_no_http_and_of_tokio_only_sync() {
    let tree = tree();
    assert!(
        tree.contains("ambidex-core") && tree.contains("tokio") && tree.contains("serde_json"),
        "{tree:?}"
    );
    let of =
        |prefix: &str| tree.iter().filter(|entry| entry.starts_with(prefix)).cloned().collect::<Vec<_>>();
    assert_eq!(of("tokio/"), ["tokio/default", "tokio/sync"], "`default` is empty");
    assert_eq!(of("tokio-util/"), [""; 0]);
    let barred = [
        "http",
        "hyper",
        "h2",
        "reqwest",
        "ureq",
        "rustls",
        "ring",
        "openssl",
        "native-tls",
        "tower",
        "axum",
        "mio",
        "socket2",
        "async-std",
        "smol",
        "chrono",
        "time",
        "rand",
        "getrandom",
    ];
    for crate_name in tree.iter().filter(|entry| !entry.contains('/')) {
        let stem = |barred: &str| crate_name == barred || crate_name.starts_with(&format!("{barred}-"));
        assert!(!barred.iter().any(|name| stem(name)), "the core pulls in {crate_name}");
    }
}
