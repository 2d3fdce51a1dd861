//! What Ambidex makes of every fault of a provider: each fault of the strict fake provider, in both wire
//! formats, on the first attempts or on all, met by an agent whose task takes three turns and three tool
//! calls, over real sockets.
//!
//! [`case`] names the rows, [`scenario`] is the task, [`run`] carries one row out and writes down what was
//! seen, [`expected`] says what is due, [`verdict`] compares the two, and [`table`] is all of it.

pub mod case;
pub mod expected;
pub mod limits;
pub mod run;
pub mod scenario;
pub mod seen;
pub mod table;
pub mod verdict;

pub use case::{Case, Strikes};
pub use run::{Connect, Endpoint, Provider};
pub use seen::Row;
pub use table::Table;
pub use verdict::{Kind, Violation};
