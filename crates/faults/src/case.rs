//! The rows of the table.

use ambidex_fake_provider::{Fault, Wire};

/// Which attempts a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strikes {
    /// The first attempt of every turn; of a fault the model is told about, its first call.
    First,
    Always,
}

/// One row: a fault, the format it is sent in, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub fault: Fault,
    pub wire: Wire,
    pub strikes: Strikes,
}

impl Case {
    /// Every row there is, in the order of the faults.
    pub fn all() -> Vec<Case> {
        let mut all = Vec::new();
        for &fault in Fault::all() {
            for wire in Wire::ALL.into_iter().filter(|wire| fault.applies_to(*wire, true)) {
                for strikes in [Strikes::First, Strikes::Always] {
                    all.push(Case { fault, wire, strikes });
                }
            }
        }
        all
    }

    /// Where the row stands, for messages.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.fault.name(), self.wire.as_str(), self.strikes.as_str())
    }
}

impl Strikes {
    pub fn as_str(self) -> &'static str {
        match self {
            Strikes::First => "first",
            Strikes::Always => "always",
        }
    }
}
