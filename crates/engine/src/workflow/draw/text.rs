//! A drawing for a terminal of 80 columns: steps from top to bottom, and where each leads.

use super::{Kind, Sketch, short};

const WIDTH: usize = 76;

pub(super) fn draw(sketch: &Sketch) -> String {
    let mut out = format!("{}\n", sketch.title);
    if !sketch.inputs.is_empty() {
        out.push_str(&format!("  input  {}\n", sketch.inputs.join(", ")));
    }
    let order = order(sketch);
    for (row, at) in order.iter().enumerate() {
        let step = &sketch.boxes[*at];
        let sign = match step.kind {
            Kind::Agent => "●",
            Kind::Tool => "■",
            Kind::Parallel => "≡",
            Kind::Human => "?",
            Kind::Flow => "▣",
            Kind::Wait => "◔",
            Kind::Choose => "◆",
        };
        out.push('\n');
        let start = if sketch.starts.contains(at) { "▶ " } else { "  " };
        out.push_str(&format!(
            "{start}{sign} {}  {}\n",
            step.id,
            short(&step.does, WIDTH - 6 - step.id.len())
        ));
        for line in notes(&step.notes) {
            out.push_str(&format!("  │   {line}\n"));
        }
        let edges: Vec<_> = sketch.out(*at).collect();
        for (number, edge) in edges.iter().enumerate() {
            let corner = if number + 1 == edges.len() { "└" } else { "├" };
            let to = edge.to.map_or("end", |to| sketch.boxes[to].id.as_str());
            let next = edge.to.is_some() && order.get(row + 1) == edge.to.as_ref();
            let back = if edge.back { " ↑" } else { "" };
            let label = match &edge.label {
                Some(label) if label == "else" => "  else".to_owned(),
                Some(label) => format!("  if {}", short(label, WIDTH - 14 - to.len())),
                None => String::new(),
            };
            let arrow = if next { "─▼" } else { "─▶" };
            out.push_str(&format!("  {corner}{arrow} {to}{back}{label}\n"));
        }
    }
    out
}

/// Notes side by side, as many as fit in a line.
fn notes(notes: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for note in notes {
        match lines.last_mut() {
            Some(line) if line.chars().count() + note.chars().count() + 3 <= WIDTH - 8 => {
                line.push_str(" · ");
                line.push_str(note);
            }
            _ => lines.push(note.clone()),
        }
    }
    lines
}

/// Each step behind those that lead to it, and near them.
fn order(sketch: &Sketch) -> Vec<usize> {
    let layers = super::layers::Layers::new(sketch);
    let mut order: Vec<usize> = (0..sketch.boxes.len()).collect();
    order.sort_by_key(|at| (layers.layer[*at], *at));
    order
}
