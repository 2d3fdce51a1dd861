//! Names that may have been meant.

use ambidex_core::suggest::nearest;

#[test]
fn a_name_is_near_when_few_of_its_letters_differ() {
    let known = ["read_file", "write_file", "look"];
    let found = |unknown| nearest(unknown, known);
    for (unknown, meant) in
        [("readfile", "read_file"), ("READ_FILES", "read_file"), ("wite_fle", "write_file"), ("loko", "look")]
    {
        assert_eq!(found(unknown), Some(meant), "{unknown}");
    }
    for unknown in ["", "l", "search", &"look".repeat(100_000)] {
        assert_eq!(found(unknown), None);
    }
    assert_eq!(nearest("look", []), None);
    assert_eq!(nearest("b", ["ab", "bc"]), Some("ab"), "the first of two as near");
}
