//! Where boxes stand: each in a layer below all that lead to it, and within a layer near what leads to it.

use super::Sketch;

/// A box, or a place where a long edge passes a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Box(usize),
    /// The end of the workflow.
    End,
    Pass(usize),
}

pub(super) struct Layers {
    pub rows: Vec<Vec<Cell>>,
    /// Of boxes; the end has the last.
    pub layer: Vec<usize>,
}

impl Layers {
    pub(super) fn new(sketch: &Sketch) -> Self {
        let count = sketch.boxes.len();
        let forward = |edge: &&super::Edge| !edge.back && edge.to.is_some_and(|to| to != edge.from);
        let mut layer = vec![0; count];
        // Choices may lead in circles that no step stands at the head of: a bounded number of rounds settles the rest.
        for _ in 0..count {
            let mut changed = false;
            for edge in sketch.edges.iter().filter(forward) {
                if let Some(to) = edge.to
                    && layer[to] <= layer[edge.from]
                    && layer[edge.from] + 1 < count
                {
                    layer[to] = layer[edge.from] + 1;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let last = layer.iter().copied().max().map_or(0, |last| last + 1);
        let mut rows: Vec<Vec<Cell>> = vec![vec![]; last + 1];
        for (at, row) in layer.iter().enumerate() {
            rows[*row].push(Cell::Box(at));
        }
        rows[last].push(Cell::End);
        let mut layers = Self { rows, layer };
        layers.add_passes(sketch);
        layers.sort(sketch);
        layers
    }

    pub(super) fn of(&self, to: Option<usize>) -> usize {
        to.map_or(self.rows.len() - 1, |to| self.layer[to])
    }

    /// Whether an edge goes downwards.
    pub(super) fn goes_down(&self, edge: &super::Edge) -> bool {
        self.of(edge.to) > self.layer[edge.from]
    }

    fn add_passes(&mut self, sketch: &Sketch) {
        for (at, edge) in sketch.edges.iter().enumerate() {
            if self.goes_down(edge) {
                for row in self.layer[edge.from] + 1..self.of(edge.to) {
                    self.rows[row].push(Cell::Pass(at));
                }
            }
        }
    }

    /// Each row by the middle of what leads to its cells, a few times up and down.
    fn sort(&mut self, sketch: &Sketch) {
        for round in 0..6 {
            let rows: Vec<usize> = (0..self.rows.len()).collect();
            let rows: Vec<usize> = if round % 2 == 0 { rows } else { rows.into_iter().rev().collect() };
            for row in rows {
                let weigh = |cell: &Cell| self.weight(sketch, row, *cell, round % 2 == 0);
                let mut cells: Vec<(f64, usize, Cell)> = self.rows[row]
                    .iter()
                    .enumerate()
                    .map(|(at, cell)| (weigh(cell).unwrap_or(at as f64), at, *cell))
                    .collect();
                cells.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                self.rows[row] = cells.into_iter().map(|(_, _, cell)| cell).collect();
            }
        }
    }

    fn weight(&self, sketch: &Sketch, row: usize, cell: Cell, down: bool) -> Option<f64> {
        let near = if down { row.checked_sub(1)? } else { row + 1 };
        let cells = self.rows.get(near)?;
        let mut places = Vec::new();
        for (at, edge) in sketch.edges.iter().enumerate().filter(|(_, edge)| self.goes_down(edge)) {
            let ends_here = match cell {
                Cell::Pass(of) => of == at,
                Cell::Box(of) => {
                    if down {
                        edge.to == Some(of)
                    } else {
                        edge.from == of
                    }
                }
                Cell::End => down && edge.to.is_none(),
            };
            let passes = |other: &Cell| match other {
                Cell::Pass(of) => *of == at,
                Cell::Box(of) => {
                    if down {
                        edge.from == *of
                    } else {
                        edge.to == Some(*of)
                    }
                }
                Cell::End => !down && edge.to.is_none(),
            };
            if ends_here && let Some(place) = cells.iter().position(passes) {
                // In shares of the row, so that rows of different lengths compare.
                places.push((place as f64 + 0.5) / cells.len() as f64);
            }
        }
        let count = self.rows[row].len() as f64;
        (!places.is_empty()).then(|| places.iter().sum::<f64>() / places.len() as f64 * count - 0.5)
    }
}
