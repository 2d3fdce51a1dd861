//! The table holds, and would notice if it did not.

mod naive;
mod notices;
mod table;
