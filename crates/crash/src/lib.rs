//! What is left of runs after their process was killed, the power was cut, or their lease was lost.
//!
//! [`round`] kills processes ([`worker`]) over one store and looks at what the next one makes of what they left;
//! [`failpoint`] names the places, [`store`] sees them pass by, [`ledger`] is the world in which tools do what they
//! do, [`facts`] compares the three, [`table`] is all of it. [`pair`] has two processes on one store,
//! [`outage`] a server that goes away. [`power`] cuts
//! the power: [`record`] writes down what a process does to its files, and [`disk`] says what may be left of it.

pub mod cluster;
pub mod disk;
pub mod facts;
pub mod failpoint;
pub mod ledger;
pub mod outage;
pub mod pair;
pub mod place;
pub mod power;
pub mod random;
pub mod record;
pub mod round;
pub mod store;
pub mod table;
pub mod worker;
pub mod workload;
