//! The machine by its rules, one file per kind.

mod approvals;
mod calls;
mod cancelling;
mod compaction;
mod endings;
mod events;
mod limits;
mod output;
mod people;
mod recovery;
mod steering;
mod time;
