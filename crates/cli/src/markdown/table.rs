//! Tables: drawn when all rows are there.

use crate::console::columns;
use crate::paint::Paint;

use super::inline::Inline;
use super::wrap::Wrap;

/// Draws the rows of a table, or gives them back as they are where they do not fit.
pub fn draw(rows: &[String], paint: Paint, width: usize) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(|row| split(row)).collect();
    let has_rule = cells.get(1).is_some_and(|row| is_rule(row));
    let shown: Vec<&Vec<String>> =
        cells.iter().enumerate().filter(|(at, _)| !(has_rule && *at == 1)).map(|(_, row)| row).collect();
    let count = shown.iter().map(|row| row.len()).max().unwrap_or(0);
    let plain: Vec<Vec<usize>> = shown
        .iter()
        .map(|row| row.iter().map(|cell| columns(&inline(cell, Paint::default()))).collect())
        .collect();
    let widths: Vec<usize> = (0..count)
        .map(|column| plain.iter().filter_map(|row| row.get(column)).copied().max().unwrap_or(0))
        .collect();
    if count == 0 || widths.iter().sum::<usize>() + 3 * count > width {
        return rows.iter().map(|row| format!("{row}\n")).collect();
    }
    let mut out = String::new();
    for (at, row) in shown.iter().enumerate() {
        let mut line = String::new();
        for (column, width) in widths.iter().enumerate() {
            if column > 0 {
                line.push_str(&paint.dim(" │ "));
            }
            let cell = row.get(column).map_or("", String::as_str);
            let mut text = inline(cell, if at == 0 && has_rule { Paint::default() } else { paint });
            if at == 0 && has_rule {
                text = paint.bold(&text);
            }
            line.push_str(&text);
            let used = columns(&inline(cell, Paint::default()));
            line.push_str(&" ".repeat(width.saturating_sub(used)));
        }
        out.push_str(line.trim_end());
        out.push('\n');
        if at == 0 && has_rule {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            out.push_str(&paint.dim(&rule.join("─┼─")));
            out.push('\n');
        }
    }
    out
}

fn split(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|');
    let mut cells = vec![String::new()];
    let (mut escaped, mut code) = (false, false);
    for c in row.chars() {
        let Some(last) = cells.last_mut() else { break };
        match c {
            '|' if std::mem::take(&mut escaped) => {
                last.pop();
                last.push('|');
            }
            '|' if !code => cells.push(String::new()),
            _ => {
                code ^= c == '`';
                escaped = c == '\\';
                last.push(c);
            }
        }
    }
    if cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

fn is_rule(row: &[String]) -> bool {
    !row.is_empty()
        && row.iter().all(|cell| cell.contains('-') && cell.chars().all(|c| matches!(c, '-' | ':')))
}

fn inline(text: &str, paint: Paint) -> String {
    let mut wrap = Wrap::new(paint, usize::MAX);
    let (mut inline, mut out) = (Inline::default(), String::new());
    for c in text.chars() {
        inline.push(c, &mut wrap, &mut out);
    }
    inline.end(&mut wrap, &mut out);
    wrap.end_word(&mut out);
    out
}
