//! Mermaid, as documents and pages show it.

use super::{Kind, Sketch};

pub(super) fn draw(sketch: &Sketch) -> String {
    let mut out = String::from("flowchart TD\n");
    out.push_str("    start([start])\n");
    for (at, step) in sketch.boxes.iter().enumerate() {
        let mut text = format!("<b>{}</b>", escaped(&step.id));
        if step.kind != Kind::Choose {
            text.push_str(&format!("<br/>{}", escaped(&step.does)));
        }
        for note in &step.notes {
            text.push_str(&format!("<br/><i>{}</i>", escaped(note)));
        }
        let (open, close) = match step.kind {
            Kind::Agent => ("[", "]"),
            Kind::Tool => ("[/", "/]"),
            Kind::Parallel => ("[[", "]]"),
            Kind::Human => ("[\\", "/]"),
            Kind::Flow => ("[(", ")]"),
            Kind::Wait => ("([", "])"),
            Kind::Choose => ("{", "}"),
        };
        out.push_str(&format!("    s{at}{open}\"{text}\"{close}\n"));
    }
    out.push_str("    done([end])\n");
    for start in &sketch.starts {
        out.push_str(&format!("    start --> s{start}\n"));
    }
    for edge in &sketch.edges {
        let to = edge.to.map_or_else(|| "done".to_owned(), |to| format!("s{to}"));
        let arrow = if edge.back { "-.->" } else { "-->" };
        let label = edge.label.as_ref().map_or_else(String::new, |label| format!("|\"{}\"|", escaped(label)));
        out.push_str(&format!("    s{} {arrow}{label} {to}\n", edge.from));
    }
    out
}

/// Within quotes, as Mermaid and the HTML that it makes take it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' => out.push_str("#35;"),
            '`' => out.push_str("#96;"),
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
