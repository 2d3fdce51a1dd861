use ambidex_core::ToolOutput;
use ambidex_core::cap::KEPT;
use ambidex_tools::cap::{HeadAndTail, keep};
use serde_json::json;

#[test]
fn what_fits_is_kept_as_it_is() {
    let output = ToolOutput::Json(json!({"a": [1, 2]}));
    assert_eq!(keep(output.clone()), output);
}

#[test]
fn of_a_long_text_head_and_tail_are_kept() {
    let text = format!("BEGIN{}END", "é".repeat(400_000));
    let kept = keep(ToolOutput::Text(text)).to_text();
    assert!(kept.starts_with("BEGIN") && kept.ends_with("END") && kept.contains("bytes left out"));
    assert!(kept.len() < KEPT + 100);
}

#[test]
fn json_over_the_limit_becomes_text() {
    let kept = keep(ToolOutput::Json(json!(vec![1; KEPT])));
    assert!(matches!(kept, ToolOutput::Text(text) if text.contains("bytes left out")));
}

#[test]
fn a_stream_of_any_chunking_keeps_the_same_head_and_tail() {
    let bytes: Vec<u8> = (0..10_000_u32).flat_map(|n| format!("{n}é ").into_bytes()).collect();
    let whole = |size: usize| {
        let mut kept = HeadAndTail::new(1_000);
        bytes.chunks(size).for_each(|chunk| kept.push(chunk));
        assert_eq!(kept.total(), bytes.len() as u64);
        assert_eq!(kept.left_out(), bytes.len() as u64 - 1_000);
        kept.into_text()
    };
    let expected = whole(bytes.len());
    assert!(expected.starts_with("0é 1é ") && expected.ends_with("9999é "));
    assert!(!expected.contains('\u{fffd}'));
    for size in [1, 7, 499, 500, 501, 4096] {
        assert_eq!(whole(size), expected, "chunks of {size}");
    }
}

#[test]
fn a_stream_that_fits_is_whole() {
    let mut kept = HeadAndTail::new(10);
    for byte in "0123é6789".bytes() {
        kept.push(&[byte]);
    }
    assert_eq!(kept.left_out(), 0);
    assert_eq!(kept.into_text(), "0123é6789");
}
