use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use ambidex_core::{Context, Error, ErrorKind, Tool};
use ambidex_tools::files::{self, Root};
use ambidex_tools::{BlockingPool, BlockingTool};
use serde_json::{Value, json};

struct Folder {
    outer: tempfile::TempDir,
    root: Root,
    pool: BlockingPool,
}

impl Folder {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("root");
        fs::create_dir_all(folder.join("src/deep")).unwrap();
        fs::write(outer.path().join("secret.txt"), "the secret").unwrap();
        for (name, text) in [
            ("a.txt", "one\ntwo\nthree\n"),
            ("src/b.rs", "fn two() {}\n// Two again\n"),
            ("src/deep/c.rs", "nothing"),
            (".hidden", "two"),
            (".gitignore", "ignored\n"),
            ("ignored", "two"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        fs::write(folder.join("data.bin"), b"two\0two").unwrap();
        let root = Root::new(&folder).unwrap();
        Self { outer, root, pool: BlockingPool::new(1) }
    }

    async fn call(&self, tool: BlockingTool, arguments: Value) -> Result<String, Error> {
        let context = Context::detached().with_threads(Arc::new(self.pool.clone()));
        tool.call(arguments, context).await.map(|output| output.to_text())
    }

    async fn read(&self, arguments: Value) -> Result<String, Error> {
        self.call(files::read_file(&self.root), arguments).await
    }

    async fn list(&self, arguments: Value) -> Result<String, Error> {
        self.call(files::list_files(&self.root), arguments).await
    }

    async fn search(&self, arguments: Value) -> Result<String, Error> {
        self.call(files::search_files(&self.root), arguments).await
    }
}

#[tokio::test]
async fn a_file_is_read_whole_or_by_lines() {
    let folder = Folder::new();
    assert_eq!(folder.read(json!({"path": "a.txt"})).await.unwrap(), "one\ntwo\nthree\n");
    assert_eq!(folder.read(json!({"path": "./src/../a.txt"})).await.unwrap(), "one\ntwo\nthree\n");
    let absolute = folder.root.path().join("a.txt");
    assert_eq!(folder.read(json!({"path": absolute})).await.unwrap(), "one\ntwo\nthree\n");
    assert_eq!(folder.read(json!({"path": "a.txt", "first_line": 3})).await.unwrap(), "three\n");
    assert_eq!(
        folder.read(json!({"path": "a.txt", "first_line": 2, "lines": 1})).await.unwrap(),
        "two\n[the file goes on; read it with first_line = 3]\n"
    );
    let beyond = folder.read(json!({"path": "a.txt", "first_line": 9})).await.unwrap_err();
    assert!(beyond.message().contains("`a.txt` has 3 lines"), "{beyond}");
    fs::write(folder.root.path().join("empty"), "").unwrap();
    assert_eq!(folder.read(json!({"path": "empty"})).await.unwrap(), "");
}

#[tokio::test]
async fn a_long_file_is_read_in_pieces_that_join() {
    let folder = Folder::new();
    let text: String = (0..30_000).map(|n| format!("line {n} é\n")).collect();
    fs::write(folder.root.path().join("long"), &text).unwrap();
    let (mut joined, mut next, mut pieces) = (String::new(), 1, 0);
    loop {
        let piece = folder.read(json!({"path": "long", "first_line": next, "lines": 100_000})).await.unwrap();
        assert!(piece.len() <= 129 * 1024);
        pieces += 1;
        match piece.rsplit_once("[the file goes on; read it with first_line = ") {
            Some((piece, rest)) => {
                joined.push_str(piece);
                next = rest.trim_end_matches("]\n").parse().unwrap();
            }
            None => {
                joined.push_str(&piece);
                break;
            }
        }
    }
    assert!(pieces > 2 && joined == text, "{pieces} pieces, {} bytes of {}", joined.len(), text.len());
}

#[tokio::test]
async fn a_line_longer_than_all_room_is_cut() {
    let folder = Folder::new();
    fs::write(folder.root.path().join("line"), format!("{}\nnext\n", "x".repeat(1_000_000))).unwrap();
    let told = folder.read(json!({"path": "line"})).await.unwrap();
    assert!(told.len() < 129 * 1024 && told.ends_with("[the file goes on; read it with first_line = 2]\n"));
    assert_eq!(folder.read(json!({"path": "line", "first_line": 2})).await.unwrap(), "next\n");
}

#[tokio::test]
async fn nothing_outside_is_read() {
    let folder = Folder::new();
    let root = folder.root.path();
    symlink(folder.outer.path().join("secret.txt"), root.join("link")).unwrap();
    symlink(folder.outer.path(), root.join("out")).unwrap();
    symlink("a.txt", root.join("inside")).unwrap();
    let paths = [
        "../secret.txt",
        "src/../../secret.txt",
        "/etc/passwd",
        "link",
        "out/secret.txt",
        "src/../../root/../secret.txt",
    ];
    for path in paths {
        let error = folder.read(json!({"path": path})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArguments, "{path}: {error}");
        assert!(error.message().contains("outside the folder"), "{path}: {error}");
    }
    assert!(folder.list(json!({"path": "out"})).await.unwrap_err().message().contains("outside"));
    assert!(
        folder
            .search(json!({"path": "..", "pattern": "secret"}))
            .await
            .unwrap_err()
            .message()
            .contains("outside")
    );
    let found = folder.search(json!({"pattern": "secret"})).await.unwrap();
    assert_eq!(found, "no matches\n");
    // A link that stays inside is followed.
    assert_eq!(folder.read(json!({"path": "inside"})).await.unwrap(), "one\ntwo\nthree\n");
    assert!(folder.read(json!({"path": "a\u{0}"})).await.unwrap_err().message().contains("NUL"));
}

#[tokio::test]
async fn what_is_no_text_file_is_named() {
    let folder = Folder::new();
    let told = |error: Error| error.message().to_owned();
    assert!(
        told(folder.read(json!({"path": "data.bin"})).await.unwrap_err()).contains("binary file of 7 bytes")
    );
    assert!(told(folder.read(json!({"path": "src"})).await.unwrap_err()).contains("is a folder"));
    let gone = told(folder.read(json!({"path": "gone"})).await.unwrap_err());
    assert!(gone.starts_with("there is no `gone` (No such file or directory, os error 2);"), "{gone}");
    let made = std::process::Command::new("mkfifo").arg(folder.root.path().join("pipe")).status().unwrap();
    assert!(made.success());
    // Nobody writes to it; whoever waited would wait for ever.
    assert!(told(folder.read(json!({"path": "pipe"})).await.unwrap_err()).contains("pipe"));
}

#[tokio::test]
async fn a_listing_is_sorted_and_leaves_out_what_is_ignored() {
    let folder = Folder::new();
    let all = folder.list(json!({})).await.unwrap();
    let names: Vec<&str> = all.lines().map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(names, ["a.txt", "data.bin", "src/b.rs", "src/deep/c.rs"]);
    assert!(all.starts_with("a.txt (14 bytes)\n"), "{all}");
    assert_eq!(folder.list(json!({"glob": "*.rs"})).await.unwrap().lines().count(), 2);
    assert_eq!(folder.list(json!({"path": "src", "depth": 1})).await.unwrap(), "src/b.rs (25 bytes)\n");
    assert_eq!(folder.list(json!({"glob": "*.none"})).await.unwrap(), "no files\n".trim_end());
    assert!(folder.list(json!({"glob": "{"})).await.unwrap_err().message().contains("`glob`"));
}

#[tokio::test]
async fn a_search_finds_lines_with_their_place() {
    let folder = Folder::new();
    assert_eq!(
        folder.search(json!({"pattern": "two"})).await.unwrap(),
        "a.txt:2: two\nsrc/b.rs:1: fn two() {}\n"
    );
    assert_eq!(
        folder.search(json!({"pattern": "TWO", "ignore_case": true, "path": "src"})).await.unwrap(),
        "src/b.rs:1: fn two() {}\nsrc/b.rs:2: // Two again\n"
    );
    // As text a pattern has no signs; as an expression it has.
    assert_eq!(folder.search(json!({"pattern": "t.o"})).await.unwrap(), "no matches\n");
    assert_eq!(folder.search(json!({"pattern": "^t.o$", "regex": true})).await.unwrap(), "a.txt:2: two\n");
    assert_eq!(folder.search(json!({"pattern": "two", "path": "a.txt"})).await.unwrap(), "a.txt:2: two\n");
    let one = folder.search(json!({"pattern": "two", "max_results": 1})).await.unwrap();
    assert!(one.starts_with("a.txt:2: two\n[there are more"), "{one}");
    let wrong = folder.search(json!({"pattern": "(", "regex": true})).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidArguments);
}

#[tokio::test]
async fn a_long_line_and_a_large_file_do_not_flood_the_answer() {
    let folder = Folder::new();
    fs::write(folder.root.path().join("long"), format!("needle{}\n", "é".repeat(10_000))).unwrap();
    let large = fs::File::create(folder.root.path().join("large")).unwrap();
    large.set_len(9 * 1024 * 1024).unwrap();
    let found = folder.search(json!({"pattern": "needle"})).await.unwrap();
    assert!(found.len() < 500 && found.contains("long:1: needleé") && found.contains("[...]"), "{found}");
    assert!(found.contains("[not searched: 1 files: large (9437184 bytes)]"), "{found}");
}

#[test]
fn a_root_is_a_folder_that_exists() {
    let folder = Folder::new();
    let missing = Root::new(folder.outer.path().join("gone")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::ConfigInvalid);
    assert!(Root::new(folder.outer.path().join("secret.txt")).unwrap_err().message().contains("is a file"));
}

#[test]
fn the_tools_read_and_are_named() {
    let folder = Folder::new();
    let names = files::all(&folder.root).map(|tool| {
        assert_eq!(tool.spec().effect, ambidex_core::tool::EffectClass::Read);
        assert!(tool.blocks());
        tool.spec().name.clone()
    });
    assert_eq!(names, ["read_file", "list_files", "search_files"]);
}
