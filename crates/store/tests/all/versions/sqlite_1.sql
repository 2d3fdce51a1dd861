-- The file as version 1 made it.
PRAGMA application_id = 1097687672;
PRAGMA user_version = 1;
CREATE TABLE definitions (no INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, text TEXT NOT NULL) STRICT;

CREATE TABLE runs (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  definition INTEGER NOT NULL,
  agent TEXT NOT NULL,
  thread TEXT,
  status TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  owner TEXT,
  lease INTEGER NOT NULL DEFAULT 0,
  due INTEGER,
  -- When it wants to be driven, were it not for the lease: 0 is always; null, never by itself.
  wake INTEGER,
  created INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_time ON runs (created, id);
CREATE INDEX runs_by_status ON runs (status, created, id);
CREATE INDEX runs_by_thread ON runs (thread, created, id) WHERE thread IS NOT NULL;
CREATE INDEX runs_ready ON runs (max(wake, lease)) WHERE wake IS NOT NULL;

-- Only ever appended to. A step writes to one page of it, and to no other while the run's standing is the same.
CREATE TABLE records (
  run INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  v INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (run INTEGER PRIMARY KEY, seq INTEGER NOT NULL, state BLOB NOT NULL) STRICT;

CREATE TABLE questions (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  run TEXT NOT NULL,
  due INTEGER,
  question TEXT NOT NULL,
  answer TEXT,
  -- Counts answers, so that what came since can be read.
  answered INTEGER,
  withdrawn INTEGER NOT NULL DEFAULT 0,
  taken INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX questions_by_run ON questions (run);
CREATE INDEX questions_open ON questions (no) WHERE answer IS NULL AND withdrawn = 0;
CREATE INDEX questions_answered ON questions (answered) WHERE answered IS NOT NULL;

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('answers', 0);
