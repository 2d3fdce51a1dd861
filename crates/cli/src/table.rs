//! Plain columns.

use crate::console::columns;
use crate::paint::Paint;

/// Rows under a bold head, each column as wide as its widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>], paint: Paint) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| columns(cell));
        cells.chain([columns(head[at])]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            let gap = width.saturating_sub(columns(&cell)) + 2;
            line.push_str(&cell);
            line.push_str(&" ".repeat(gap));
        }
        line.trim_end().to_owned()
    };
    let mut out = paint.bold(&line(&mut head.iter().map(|name| (*name).to_owned())));
    out.push('\n');
    for row in rows {
        out.push_str(&line(&mut row.iter().cloned()));
        out.push('\n');
    }
    out
}
