//! What SQLite promises on top: durabilities, several processes, and what it says when the disk fails it.
