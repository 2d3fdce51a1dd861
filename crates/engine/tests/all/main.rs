//! The driver: what it promises when it is killed, cancelled, limited, watched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod agent_tools;
mod batch;
mod blocking;
mod breaking;
mod cancel;
#[path = "../../../store/tests/all/cluster.rs"]
#[allow(dead_code)]
mod cluster;
mod compaction;
mod deadly;
mod durable;
mod flows;
mod graph_adversary;
mod graph_attacks;
mod graph_children;
mod graph_history;
mod graph_nodes;
mod graph_recovery;
mod graph_runs;
mod graph_snapshots;
mod graph_world;
mod handoff;
mod hooks;
mod human;
mod kill;
mod late;
mod leaks;
mod limits;
mod merge;
mod mortal;
mod nested;
mod process;
mod project;
mod project_routes;
mod questions;
mod recovering;
mod replay;
mod routes;
mod slow_store;
mod support;
mod team;
mod team_deaths;
mod team_merges;
mod team_upstream;
mod team_world;
mod threads;
mod threads_at_once;
mod threads_ended;
mod watched_store;
mod watching;
mod workflows;
