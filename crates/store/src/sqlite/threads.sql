CREATE TABLE threads (
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  -- Null: forgotten, but for what its forks share.
  id TEXT UNIQUE,
  title TEXT NOT NULL,
  session TEXT,
  agent TEXT,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  ttl INTEGER,
  expires INTEGER,
  version INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  -- Where it parted, as its users see it.
  parent TEXT,
  parent_messages INTEGER,
  -- Whose messages come before its own, and how many.
  base INTEGER,
  base_messages INTEGER NOT NULL DEFAULT 0,
  summary TEXT,
  metadata TEXT NOT NULL,
  -- The run whose turn it is.
  holder TEXT
) STRICT;
CREATE INDEX threads_by_time ON threads (updated, id) WHERE id IS NOT NULL;
CREATE INDEX threads_by_session ON threads (session, updated, id) WHERE session IS NOT NULL;
CREATE INDEX threads_by_base ON threads (base) WHERE base IS NOT NULL;
CREATE INDEX threads_expiring ON threads (expires) WHERE expires IS NOT NULL;

-- Only ever appended to.
CREATE TABLE messages (
  no INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  number INTEGER NOT NULL,
  run TEXT,
  at INTEGER NOT NULL,
  message TEXT NOT NULL,
  UNIQUE (thread, number)
) STRICT;

-- Of messages by their number, of titles by that of the thread, negative.
CREATE VIRTUAL TABLE words USING fts5(
  text, content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 0"
);

-- Runs that wait for their turn, first come first.
CREATE TABLE line (
  no INTEGER PRIMARY KEY AUTOINCREMENT, thread INTEGER NOT NULL, run TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX line_by_thread ON line (thread, no);

-- What runs were told and have not heard of.
CREATE TABLE signals (
  no INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, kind TEXT NOT NULL, message TEXT, words TEXT
) STRICT;
CREATE INDEX signals_by_run ON signals (run, no);

CREATE TABLE sessions (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  version INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  ttl INTEGER,
  expires INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_time ON sessions (updated, id);
CREATE INDEX sessions_expiring ON sessions (expires) WHERE expires IS NOT NULL;

-- Messages of a thread that a run was given, and where they belong in its input.
ALTER TABLE runs ADD COLUMN shared_thread INTEGER;
ALTER TABLE runs ADD COLUMN shared_place INTEGER;
ALTER TABLE runs ADD COLUMN shared_from INTEGER;
ALTER TABLE runs ADD COLUMN shared_until INTEGER;
