//! The table of codes in the manual is the one in the code.

use std::path::Path;

use ambidex_core::ErrorKind;

const BEGIN: &str = "<!-- codes: from the code, by `make docs` -->\n";
const END: &str = "<!-- end of codes -->";

#[test]
fn manual_lists_every_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the codes");
    let (_, after) = rest.split_once(END).expect("the mark behind the codes");
    let rows: String = ErrorKind::ALL
        .iter()
        .map(|(kind, meaning, retryable)| {
            format!("| `{}` | {meaning} | {} |\n", kind.code(), if *retryable { "yes" } else { "" })
        })
        .collect();
    let wanted =
        format!("{before}{BEGIN}\n| code | | a retry may help |\n|---|---|---|\n{rows}\n{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == wanted, "docs/errors.md is not what the code says; run: make docs");
}
