//! Which step follows which.
//!
//! A step without needs starts with the workflow, and one with needs when they are done. A step that some `go` names
//! runs only when it is chosen, unless every such `go` stands behind it: then it leads back, and the step is reached
//! as any other.

use std::collections::{BTreeSet, HashMap};

use ambidex_config::Workflow;
use ambidex_core::graph::END;

/// By the places of steps in their list.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub index: HashMap<String, usize>,
    /// Where the workflow begins.
    pub starts: Vec<usize>,
    /// Steps that follow when a step is done, because they need it.
    pub follows: Vec<Vec<usize>>,
    /// Steps that a step may choose; `None` is the end.
    pub chooses: Vec<Vec<Option<usize>>>,
    /// Steps that run only when they are chosen.
    pub chosen: Vec<bool>,
    /// Steps that must have run before a step does, whichever way led there.
    pub before: Vec<BTreeSet<usize>>,
    /// Who may choose a step.
    pub choosers: Vec<Vec<usize>>,
    /// All that a step may lead to, on any way.
    pub reaches: Vec<BTreeSet<usize>>,
}

impl Order {
    /// Names that stand for no step are left out: others report them.
    pub(super) fn new(workflow: &Workflow) -> Self {
        let steps = &workflow.steps;
        let count = steps.len();
        let mut index = HashMap::new();
        for (at, step) in steps.iter().enumerate() {
            index.entry(step.id.clone()).or_insert(at);
        }
        let place = |name: &String| index.get(name).copied();
        let needs: Vec<Vec<usize>> =
            steps.iter().map(|step| step.needs.iter().filter_map(place).collect()).collect();
        let mut chooses: Vec<Vec<Option<usize>>> = vec![vec![]; count];
        let mut choosers: Vec<Vec<usize>> = vec![vec![]; count];
        for (at, step) in steps.iter().enumerate() {
            for choice in &step.choose {
                let target = if choice.go == END { None } else { place(&choice.go) };
                if target.is_none() && choice.go != END {
                    continue;
                }
                if !chooses[at].contains(&target) {
                    chooses[at].push(target);
                    if let Some(target) = target {
                        choosers[target].push(at);
                    }
                }
            }
        }
        let before = before(&needs, &choosers);
        let mut order = Self {
            index,
            starts: vec![],
            follows: vec![vec![]; count],
            chooses,
            chosen: vec![false; count],
            before,
            choosers,
            reaches: vec![],
        };
        for (at, needed) in needs.iter().enumerate() {
            let choosers = &order.choosers[at];
            if needed.is_empty() {
                if choosers.is_empty() || at == 0 {
                    order.starts.push(at);
                } else {
                    order.chosen[at] = true;
                }
                continue;
            }
            let leads_back = |chooser: &usize| *chooser == at || order.before[*chooser].contains(&at);
            order.chosen[at] = !choosers.is_empty() && !choosers.iter().all(leads_back);
            if !order.chosen[at] {
                needed.iter().for_each(|need| order.follows[*need].push(at));
            }
        }
        order.reaches = (0..count).map(|at| order.reached(at)).collect();
        order
    }

    /// What one step leads to at once.
    pub(super) fn next(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        self.follows[at].iter().copied().chain(self.chooses[at].iter().flatten().copied())
    }

    fn reached(&self, from: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut stack: Vec<usize> = self.next(from).collect();
        while let Some(at) = stack.pop() {
            if reached.insert(at) {
                stack.extend(self.next(at));
            }
        }
        reached
    }

    /// Whether a path from the start leads to a step.
    pub(super) fn is_reached(&self, at: usize) -> bool {
        self.starts.iter().any(|start| *start == at || self.reaches[*start].contains(&at))
    }
}

/// For each step those that must have run before. Of a step that is only chosen, what all who choose it have behind
/// them.
fn before(needs: &[Vec<usize>], choosers: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let count = needs.len();
    let all: BTreeSet<usize> = (0..count).collect();
    let is_chosen = |at: usize| needs[at].is_empty() && !choosers[at].is_empty() && at != 0;
    let mut before: Vec<BTreeSet<usize>> =
        (0..count).map(|at| if is_chosen(at) { all.clone() } else { BTreeSet::new() }).collect();
    // Sets of needs grow and those of choices shrink; a fixed number of rounds reaches every step.
    for _ in 0..=2 * count {
        let mut changed = false;
        for at in 0..count {
            let through = |other: &usize| {
                let mut set = before[*other].clone();
                set.insert(*other);
                set
            };
            let found: BTreeSet<usize> = if is_chosen(at) {
                let mut sets = choosers[at].iter().map(through);
                let first = sets.next().unwrap_or_default();
                sets.fold(first, |a, b| a.intersection(&b).copied().collect())
            } else {
                needs[at].iter().flat_map(through).collect()
            };
            if found != before[at] {
                before[at] = found;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    before
}

/// The first circle that `needs` make, as names.
pub(super) fn circle_of_needs(workflow: &Workflow) -> Option<Vec<String>> {
    let index: HashMap<&str, usize> =
        workflow.steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
    let needs = |at: usize| -> Vec<usize> {
        let needs = workflow.steps[at].needs.iter().filter_map(|need| index.get(need.as_str()).copied());
        // Of a step that needs itself the names tell.
        needs.filter(|need| *need != at).collect()
    };
    let mut done = vec![false; workflow.steps.len()];
    for start in 0..workflow.steps.len() {
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((at, next)) = way.last_mut() {
            let at = *at;
            let Some(need) = (!done[at]).then(|| needs(at).get(*next).copied()).flatten() else {
                done[at] = true;
                way.pop();
                continue;
            };
            *next += 1;
            if let Some(from) = way.iter().position(|(step, _)| *step == need) {
                let mut names: Vec<String> =
                    way[from..].iter().map(|(step, _)| workflow.steps[*step].id.clone()).collect();
                names.push(workflow.steps[need].id.clone());
                return Some(names);
            }
            if !done[need] {
                way.push((need, 0));
            }
        }
    }
    None
}
