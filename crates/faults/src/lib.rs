//! What Ambidex makes of every fault of a provider: each fault of the strict fake provider, in all wire
//! formats, on the first attempts or on all, met by an agent whose task takes three turns and three tool
//! calls, over real sockets.
//!
//! [`case`] names the rows, [`scenario`] is the task, [`run`] carries one row out and writes down what was
//! seen, [`expected`] says what is due, [`verdict`] compares the two, [`table`] is all of it, [`report`] how it is
//! printed, and [`peers`] what other libraries make of the same.

pub mod case;
pub mod expected;
pub mod limits;
pub mod peers;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seen;
pub mod table;
pub mod verdict;

pub use case::{Case, Strikes};
pub use peers::Peers;
pub use report::Report;
pub use run::{Connect, Endpoint, Provider};
pub use seen::Row;
pub use table::Table;
pub use verdict::{Kind, Violation};
