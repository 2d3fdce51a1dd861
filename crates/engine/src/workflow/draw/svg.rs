//! SVG: boxes in layers, edges as curves between them. Colours work on light and on dark pages.

use std::collections::HashMap;
use std::fmt::Write;

use super::layers::{Cell, Layers};
use super::{Box, Edge, Kind, Sketch, short};

const PAD: f64 = 24.0;
const GAP_X: f64 = 32.0;
const GAP_Y: f64 = 56.0;
const LINE: f64 = 16.0;
const CHAR: f64 = 6.9;
const NARROWEST: f64 = 120.0;
/// Characters of a label.
const LABEL: usize = 30;
/// A place where an edge passes a layer.
const PASS: f64 = 18.0;

#[derive(Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

impl Place {
    fn middle(self) -> f64 {
        self.x + self.w / 2.0
    }
}

pub(super) fn draw(sketch: &Sketch) -> String {
    let layers = Layers::new(sketch);
    let (places, width, height) = places(sketch, &layers);
    let backs = sketch.edges.iter().filter(|edge| !layers.goes_down(edge)).count() as f64;
    let backwards = sketch.edges.iter().filter(|edge| !layers.goes_down(edge));
    let widest = backwards.filter_map(|edge| edge.label.as_deref()).map(label_width).fold(0.0, f64::max);
    let right = width + if backs > 0.0 { 24.0 + 16.0 * backs + widest } else { 0.0 };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right:.0} {height:.0}\" width=\"{right:.0}\" \
         height=\"{height:.0}\" role=\"img\" aria-label=\"{}\">",
        escaped(&sketch.title)
    );
    out.push_str(STYLE);
    let _ = writeln!(out, "<rect class=\"page\" width=\"{right:.0}\" height=\"{height:.0}\" rx=\"8\"/>");
    let _ = writeln!(out, "<text class=\"title\" x=\"{PAD}\" y=\"34\">{}</text>", escaped(&sketch.title));
    if !sketch.inputs.is_empty() {
        let inputs = short(&sketch.inputs.join(", "), ((right - 2.0 * PAD) / CHAR) as usize);
        let _ = writeln!(out, "<text class=\"note\" x=\"{PAD}\" y=\"52\">{}</text>", escaped(&inputs));
    }
    let mut labels = String::new();
    let mut lane = 0.0;
    for (at, edge) in sketch.edges.iter().enumerate() {
        if layers.goes_down(edge) {
            down(&mut out, &mut labels, sketch, &layers, &places, (at, edge));
        } else {
            back(&mut out, &mut labels, &places, edge, width + 12.0 + 16.0 * lane);
            lane += 1.0;
        }
    }
    for start in &sketch.starts {
        if let Some(place) = places.get(&Key::Box(*start)) {
            let (x, y) = (place.middle(), place.y);
            let _ = writeln!(out, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"/>", y - 22.0);
            let _ = writeln!(out, "<path class=\"edge\" d=\"M{x:.1} {:.1} V{:.1}\"/>", y - 18.0, y - 4.0);
        }
    }
    for (at, step) in sketch.boxes.iter().enumerate() {
        if let Some(place) = places.get(&Key::Box(at)) {
            drawn(&mut out, step, *place);
        }
    }
    if let Some(end) = places.get(&Key::End) {
        let (x, y) = (end.middle(), end.y + end.h / 2.0);
        let _ = writeln!(out, "<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\"/>");
        let _ = writeln!(out, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>");
    }
    out.push_str(&labels);
    out.push_str("</svg>\n");
    out
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Box(usize),
    End,
    Pass(usize, usize),
}

fn places(sketch: &Sketch, layers: &Layers) -> (HashMap<Key, Place>, f64, f64) {
    let size = |cell: &Cell| match cell {
        Cell::Box(at) => size(&sketch.boxes[*at]),
        Cell::End => (24.0, 24.0),
        Cell::Pass(_) => (PASS, 0.0),
    };
    let widths: Vec<f64> = layers
        .rows
        .iter()
        .map(|row| {
            let gaps = GAP_X * row.len().saturating_sub(1) as f64;
            row.iter().map(|cell| size(cell).0).sum::<f64>() + gaps
        })
        .collect();
    let title = sketch.title.chars().count() as f64 * 9.5;
    let width = widths.iter().copied().fold(title, f64::max) + 2.0 * PAD;
    let mut places = HashMap::new();
    let mut y = 96.0;
    for (row, cells) in layers.rows.iter().enumerate() {
        let tallest = cells.iter().map(|cell| size(cell).1).fold(0.0, f64::max);
        let mut x = (width - widths[row]) / 2.0;
        for cell in cells {
            let (w, h) = size(cell);
            let key = match cell {
                Cell::Box(at) => Key::Box(*at),
                Cell::End => Key::End,
                Cell::Pass(edge) => Key::Pass(*edge, row),
            };
            let (h, top) =
                if matches!(cell, Cell::Pass(_)) { (tallest, y) } else { (h, y + (tallest - h) / 2.0) };
            places.insert(key, Place { x, y: top, w, h });
            x += w + GAP_X;
        }
        y += tallest + GAP_Y;
    }
    (places, width, y - GAP_Y + PAD)
}

fn lines(step: &Box) -> Vec<(&'static str, String)> {
    let mut lines = vec![("name", step.id.clone())];
    if step.kind != Kind::Choose {
        lines.push(("does", short(&step.does, 40)));
    }
    lines.extend(step.notes.iter().map(|note| ("note", short(note, 44))));
    lines
}

fn size(step: &Box) -> (f64, f64) {
    let lines = lines(step);
    let longest = lines.iter().map(|(_, line)| line.chars().count()).max().unwrap_or_default() as f64;
    let narrowest = if step.kind == Kind::Choose { 84.0 } else { NARROWEST };
    let w = (longest * CHAR + 28.0).max(narrowest);
    let w = if step.kind == Kind::Choose { w + 24.0 } else { w };
    (w, lines.len() as f64 * LINE + 18.0)
}

fn drawn(out: &mut String, step: &Box, place: Place) {
    let Place { x, y, w, h } = place;
    let kind = match step.kind {
        Kind::Agent => "agent",
        Kind::Tool => "tool",
        Kind::Parallel => "parallel",
        Kind::Human => "human",
        Kind::Flow => "flow",
        Kind::Wait => "wait",
        Kind::Choose => "choose",
    };
    let many =
        step.kind == Kind::Parallel || step.notes.first().is_some_and(|note| note.starts_with("each "));
    if many {
        let _ = writeln!(
            out,
            "<rect class=\"box {kind}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"8\"/>",
            x + 5.0,
            y + 5.0
        );
    }
    if step.kind == Kind::Choose {
        let (left, right, cut) = (x, x + w, 14.0);
        let middle = y + h / 2.0;
        let _ = writeln!(
            out,
            "<path class=\"box {kind}\" d=\"M{left:.1} {middle:.1} L{:.1} {y:.1} H{:.1} L{right:.1} {middle:.1} L{:.1} {:.1} H{:.1} Z\"/>",
            left + cut,
            right - cut,
            right - cut,
            y + h,
            left + cut
        );
    } else {
        let round = if step.kind == Kind::Wait { h / 2.0 } else { 8.0 };
        let _ = writeln!(
            out,
            "<rect class=\"box {kind}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"{round:.1}\"/>"
        );
    }
    for (number, (class, line)) in lines(step).into_iter().enumerate() {
        let baseline = y + 9.0 + LINE * (number as f64 + 0.75);
        let _ = writeln!(
            out,
            "<text class=\"{class} mid\" x=\"{:.1}\" y=\"{baseline:.1}\">{}</text>",
            place.middle(),
            escaped(&line)
        );
    }
}

/// A curve from one layer to the next, through the places where the edge passes others.
fn down(
    out: &mut String,
    labels: &mut String,
    sketch: &Sketch,
    layers: &Layers,
    places: &HashMap<Key, Place>,
    (at, edge): (usize, &Edge),
) {
    let Some(from) = places.get(&Key::Box(edge.from)) else { return };
    let Some(to) = places.get(&edge.to.map_or(Key::End, Key::Box)) else { return };
    // Edges of one box leave it side by side, in the order of where they go.
    let leaving = sketch.out(edge.from).filter(|other| layers.goes_down(other));
    let goal = |edge: &Edge| {
        let row = layers.layer[edge.from] + 1;
        let number = sketch.edges.iter().position(|other| std::ptr::eq(other, edge)).unwrap_or_default();
        let next = if layers.of(edge.to) == row {
            edge.to.map_or(Key::End, Key::Box)
        } else {
            Key::Pass(number, row)
        };
        places.get(&next).map_or(0.0, |place| place.middle())
    };
    let mut goals: Vec<f64> = leaving.map(&goal).collect();
    goals.sort_by(f64::total_cmp);
    let own = goals.iter().position(|other| *other == goal(edge)).unwrap_or_default() as f64;
    let spread = (from.w * 0.5 / goals.len() as f64).min(48.0);
    let x = from.middle() + (own - (goals.len() as f64 - 1.0) / 2.0) * spread;
    let mut path = format!("M{x:.1} {:.1}", from.y + from.h);
    let (mut px, mut py) = (x, from.y + from.h);
    let mut curve = |path: &mut String, x: f64, y: f64| {
        let half = (y - py) / 2.0;
        let _ = write!(path, " C{px:.1} {:.1} {x:.1} {:.1} {x:.1} {y:.1}", py + half, y - half);
        (px, py) = (x, y);
    };
    for row in layers.layer[edge.from] + 1..layers.of(edge.to) {
        if let Some(pass) = places.get(&Key::Pass(at, row)) {
            curve(&mut path, pass.middle(), pass.y);
            let _ = write!(path, " V{:.1}", pass.y + pass.h);
            curve(&mut path, pass.middle(), pass.y + pass.h);
        }
    }
    curve(&mut path, to.middle(), to.y - 4.0);
    let class = if edge.chosen { "edge chosen" } else { "edge" };
    let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\"/>");
    if let Some(text) = &edge.label {
        let stagger = if (own as usize).is_multiple_of(2) { 18.0 } else { 34.0 };
        let toward = x + (goal(edge) - x) * if stagger > 20.0 { 0.65 } else { 0.25 };
        label(labels, toward, from.y + from.h + stagger, text);
    }
}

/// Around the right side, up to where it leads.
fn back(out: &mut String, labels: &mut String, places: &HashMap<Key, Place>, edge: &Edge, lane: f64) {
    let Some(from) = places.get(&Key::Box(edge.from)) else { return };
    let Some(to) = edge.to.and_then(|to| places.get(&Key::Box(to))) else { return };
    let (x1, y1) = (from.x + from.w, from.y + from.h / 2.0);
    let (x2, y2) =
        (to.x + to.w + 4.0, to.y + to.h / 2.0 + if edge.to == Some(edge.from) { -10.0 } else { 0.0 });
    let r = 10.0;
    let _ = writeln!(
        out,
        "<path class=\"edge back\" d=\"M{x1:.1} {y1:.1} H{:.1} Q{lane:.1} {y1:.1} {lane:.1} {:.1} V{:.1} Q{lane:.1} {y2:.1} {:.1} {y2:.1} H{x2:.1}\"/>",
        lane - r,
        y1 - r,
        y2 + r,
        lane - r
    );
    if let Some(text) = &edge.label {
        label(labels, lane + label_width(text) / 2.0 - 8.0, y1 - (y1 - y2) / 2.0, text);
    }
}

fn label_width(text: &str) -> f64 {
    short(text, LABEL).chars().count() as f64 * 6.2 + 10.0
}

fn label(labels: &mut String, x: f64, y: f64, text: &str) {
    let w = label_width(text);
    let text = short(text, LABEL);
    let _ = writeln!(
        labels,
        "<rect class=\"tag\" x=\"{:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"16\" rx=\"4\"/><text class=\"label mid\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
        x - w / 2.0,
        y - 11.5,
        y,
        escaped(&text)
    );
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

const STYLE: &str = "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0 0.8 L7 4 L0 7.2 Z\" fill=\"#64748b\"/></marker></defs>
<style>
.page{fill:#fbfcfe}
text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1e293b}
.title{font-size:17px;font-weight:600}
.name{font-size:13px;font-weight:600}
.does{font-size:12px;fill:#334155}
.note{font-size:11px;fill:#64748b}
.label{font-size:10.5px;fill:#334155}
.mid{text-anchor:middle}
.box{stroke-width:1.3}
.agent{fill:#e8f0fe;stroke:#4f7fd9}
.tool{fill:#e9f7ef;stroke:#3f9c6b}
.parallel{fill:#eef0ff;stroke:#6b6fd8}
.human{fill:#fff4e0;stroke:#d99a2b}
.flow{fill:#f3ebfb;stroke:#9461c9}
.wait{fill:#f1f5f9;stroke:#7b8aa0}
.choose{fill:#fdeef0;stroke:#cf6679}
.edge{fill:none;stroke:#64748b;stroke-width:1.3;marker-end:url(#arrow)}
.chosen{stroke-dasharray:none}
.back{stroke-dasharray:5 4}
.tag{fill:#ffffff;stroke:#e2e8f0}
.dot{fill:#475569}
.ring{fill:none;stroke:#475569;stroke-width:1.3}
</style>
";
