//! A folder for the demo: this repository where we stand in one, else a small one made for it.

use std::io;
use std::path::{Path, PathBuf};

/// Files of the example, by path.
const FILES: [(&str, &str); 8] = [
    (
        "README.md",
        "# Ferry\n\nFerry books seats on small boats. Two crates: `ledger` keeps the seats, `quay` is the \
         command line.\n\n    cargo run -p quay -- book 3\n\nIt is an example that `ambidex demo` made; it is \
         removed again at the end.\n",
    ),
    (
        "ARCHITECTURE.md",
        "# How Ferry is built\n\n`quay` parses a command and calls `ledger`.\n`ledger` owns all state.\n",
    ),
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n\n[workspace.package]\nedition = \"2024\"\n",
    ),
    (
        "crates/ledger/Cargo.toml",
        "[package]\nname = \"ledger\"\nversion = \"0.1.0\"\nedition.workspace = true\n",
    ),
    (
        "crates/ledger/src/lib.rs",
        "//! Seats and who has them.\n\npub struct Ledger {\n    free: u32,\n}\n\nimpl Ledger {\n    pub fn new(seats: u32) -> Self {\n        \
         Self { free: seats }\n    }\n\n    // TODO: a seat that is not paid after an hour is free again.\n    \
         pub fn book(&mut self, seats: u32) -> Result<(), String> {\n        match self.free.checked_sub(seats) {\n            \
         Some(left) => {\n                self.free = left;\n                Ok(())\n            }\n            \
         None => Err(format!(\"only {} seats are free\", self.free)),\n        }\n    }\n}\n\n\
         #[test]\nfn a_full_boat_takes_nobody() {\n    assert!(Ledger::new(1).book(2).is_err());\n}\n\n\
         #[test]\nfn seats_are_taken() {\n    assert!(Ledger::new(2).book(2).is_ok());\n}\n",
    ),
    (
        "crates/quay/Cargo.toml",
        "[package]\nname = \"quay\"\nversion = \"0.1.0\"\nedition.workspace = true\n\n[dependencies]\nledger = { path = \"../ledger\" }\n",
    ),
    (
        "crates/quay/src/main.rs",
        "//! `quay book SEATS`.\n\nfn main() {\n    // FIXME: says nothing when the number is missing.\n    \
         let seats = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);\n    \
         let mut ledger = ledger::Ledger::new(12);\n    match ledger.book(seats) {\n        \
         Ok(()) => println!(\"booked {seats}\"),\n        Err(why) => eprintln!(\"{why}\"),\n    }\n}\n",
    ),
    ("crates/quay/tests/book.rs", "#[test]\nfn books() {\n    assert_eq!(2 + 2, 4);\n}\n"),
];

/// Removed again when it is dropped, if it was made.
pub struct Folder {
    path: PathBuf,
    made: bool,
}

impl Folder {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.made {
            // What is left in the system's folder for temporary files is the system's to remove.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

pub fn folder() -> io::Result<Folder> {
    let here = PathBuf::from(".");
    if here.join("Cargo.toml").is_file() && here.join("crates").is_dir() {
        return Ok(Folder { path: here, made: false });
    }
    // `create_dir` refuses a name that somebody has put there already.
    let path = std::env::temp_dir().join(format!("ambidex-demo-{}", std::process::id()));
    std::fs::create_dir(&path)?;
    let folder = Folder { path, made: true };
    for (name, text) in FILES {
        let file = folder.path.join(name);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(file, text)?;
    }
    Ok(folder)
}
