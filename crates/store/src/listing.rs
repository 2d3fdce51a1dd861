//! The query behind a listing of runs, for both databases.

use ambidex_core::store::{RunCursor, RunPage, RunQuery, RunSummary};

use crate::rows::signed;

/// A query whose parameters are numbered in the order they stand in.
pub(crate) struct Listing {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<Parameter>,
    limit: usize,
}

pub(crate) enum Parameter {
    Text(String),
    Number(i64),
}

impl Listing {
    /// Columns: id, status, agent, thread, created, epoch, owner, lease, time of the last record, records.
    pub(crate) fn new(query: &RunQuery) -> Self {
        let limit = query.limit.clamp(1, 1000);
        let sql = "SELECT id, status, agent, thread, created, epoch, owner, lease,
             coalesce((SELECT at FROM records WHERE run = runs.no ORDER BY seq DESC LIMIT 1), created),
             coalesce((SELECT max(seq) + 1 FROM records WHERE run = runs.no), 0)
             FROM runs WHERE true";
        let mut listing = Self { sql: sql.into(), parameters: vec![], limit };
        for (column, wanted) in [("id", &query.run), ("agent", &query.agent), ("thread", &query.thread)] {
            if let Some(wanted) = wanted {
                listing.sql.push_str(&format!(" AND {column} = "));
                listing.place(Parameter::Text(wanted.clone()));
            }
        }
        if !query.status.is_empty() {
            listing.sql.push_str(" AND status IN (");
            for (index, status) in query.status.iter().enumerate() {
                listing.sql.push_str(if index > 0 { ", " } else { "" });
                listing.place(Parameter::Text(status.as_str().into()));
            }
            listing.sql.push(')');
        }
        if let Some(RunCursor { created, id }) = &query.cursor {
            listing.sql.push_str(" AND (created, id) < (");
            listing.place(Parameter::Number(signed(*created)));
            listing.sql.push_str(", ");
            listing.place(Parameter::Text(id.clone()));
            listing.sql.push(')');
        }
        // One more than is shown says whether there is a next page.
        listing.sql.push_str(&format!(" ORDER BY created DESC, id DESC LIMIT {}", limit + 1));
        listing
    }

    fn place(&mut self, parameter: Parameter) {
        self.parameters.push(parameter);
        self.sql.push_str(&format!("${}", self.parameters.len()));
    }

    pub(crate) fn page(&self, mut runs: Vec<RunSummary>) -> RunPage {
        let more = runs.len() > self.limit;
        runs.truncate(self.limit);
        let last = runs.last().filter(|_| more);
        let next = last.map(|run| RunCursor { created: run.created, id: run.id.clone() });
        RunPage { runs, next }
    }
}
