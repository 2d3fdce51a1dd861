-- Version 1. Never edited once released: a later version adds a file of its own.
-- The functions check before they write, so that one that refuses leaves nothing behind and does not spoil the
-- transaction it shares with others. Whoever locks a run and its questions locks the run first.

CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO counters VALUES ('syncs', 0);

CREATE TABLE definitions (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  hash text COLLATE "C" NOT NULL UNIQUE,
  text text NOT NULL
);

CREATE TABLE runs (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  definition bigint NOT NULL,
  agent text NOT NULL,
  thread text,
  status text NOT NULL,
  epoch bigint NOT NULL,
  owner text,
  lease bigint NOT NULL DEFAULT 0,
  due bigint,
  -- When it wants to be driven, were it not for the lease: 0 is always; null, never by itself.
  wake bigint,
  created bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX runs_by_time ON runs (created, id);
CREATE INDEX runs_by_status ON runs (status, created, id);
CREATE INDEX runs_by_thread ON runs (thread, created, id) WHERE thread IS NOT NULL;
CREATE INDEX runs_ready ON runs (greatest(wake, lease)) WHERE wake IS NOT NULL;

-- Only ever appended to.
CREATE TABLE records (
  run bigint NOT NULL,
  seq bigint NOT NULL,
  v bigint NOT NULL,
  epoch bigint NOT NULL,
  at bigint NOT NULL,
  kind text NOT NULL,
  PRIMARY KEY (run, seq)
);

CREATE TABLE snapshots (run bigint PRIMARY KEY, seq bigint NOT NULL, state bytea NOT NULL);

CREATE TABLE questions (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  run text COLLATE "C" NOT NULL,
  due bigint,
  question text NOT NULL,
  answer text,
  withdrawn boolean NOT NULL DEFAULT false,
  taken boolean NOT NULL DEFAULT false
);
CREATE INDEX questions_by_run ON questions (run);
CREATE INDEX questions_open ON questions (no) WHERE answer IS NULL AND NOT withdrawn;

CREATE TABLE logs (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run text COLLATE "C" NOT NULL UNIQUE,
  last bigint NOT NULL,
  epoch bigint NOT NULL
) WITH (fillfactor = 80);
CREATE TABLE events (log bigint NOT NULL, seq bigint NOT NULL, event text NOT NULL, PRIMARY KEY (log, seq));

CREATE TYPE reply AS (outcome text, number bigint, first text, second text);

CREATE FUNCTION wake_of(_run text, _status text, _due bigint) RETURNS bigint LANGUAGE sql AS $$
  SELECT CASE _status
    WHEN 'queued' THEN 0
    WHEN 'running' THEN 0
    WHEN 'paused' THEN _due
    WHEN 'waiting' THEN least(_due, (
      SELECT min(CASE WHEN answer IS NULL THEN due ELSE 0 END) FROM questions
      WHERE run = _run AND NOT taken AND NOT withdrawn))
  END
$$;

CREATE FUNCTION commit_batch(
  _run text, _epoch bigint, _expected bigint, _malformed boolean,
  _hash text, _definition text, _agent text, _thread text, _created bigint,
  _seqs bigint[], _versions bigint[], _times bigint[], _kinds text[],
  _asked_ids text[], _asked_runs text[], _asked_dues bigint[], _asked text[],
  _withdrawn text[], _taken text[],
  _status text, _due bigint, _owner text, _until bigint, _snapshot_seq bigint, _snapshot bytea
) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _before runs;
  _after runs;
  _next bigint;
  _pinned bigint;
BEGIN
  SELECT * INTO _before FROM runs WHERE id = _run FOR UPDATE;
  IF NOT FOUND THEN
    IF _hash IS NULL OR _expected <> 0 OR _epoch <> 1 THEN
      RETURN ROW('unknown', NULL, NULL, NULL)::reply;
    ELSIF _malformed THEN
      RETURN ROW('malformed', NULL, NULL, NULL)::reply;
    END IF;
    INSERT INTO definitions (hash, text) VALUES (_hash, _definition) ON CONFLICT DO NOTHING;
    SELECT no INTO _pinned FROM definitions WHERE hash = _hash;
    INSERT INTO runs (id, definition, agent, thread, status, epoch, wake, created)
      VALUES (_run, _pinned, _agent, _thread, 'running', 1, 0, _created)
      ON CONFLICT DO NOTHING RETURNING * INTO _before;
    IF NOT FOUND THEN
      -- Somebody else has begun it in this moment.
      SELECT * INTO _before FROM runs WHERE id = _run FOR UPDATE;
    END IF;
  END IF;
  IF _before.epoch <> _epoch THEN
    RETURN ROW('fenced', NULL, NULL, NULL)::reply;
  END IF;
  SELECT coalesce(max(seq) + 1, 0) INTO _next FROM records WHERE run = _before.no;
  IF _next <> _expected THEN
    RETURN ROW('conflict', _next, NULL, NULL)::reply;
  ELSIF _malformed THEN
    RETURN ROW('malformed', NULL, NULL, NULL)::reply;
  END IF;

  INSERT INTO records SELECT _before.no, t.seq, t.v, _epoch, t.at, t.kind
    FROM unnest(_seqs, _versions, _times, _kinds) AS t (seq, v, at, kind);
  IF cardinality(_asked_ids) > 0 THEN
    INSERT INTO questions (id, run, due, question)
      SELECT * FROM unnest(_asked_ids, _asked_runs, _asked_dues, _asked) ON CONFLICT DO NOTHING;
  END IF;
  IF cardinality(_withdrawn) > 0 THEN
    UPDATE questions SET withdrawn = true WHERE id = ANY (_withdrawn) AND answer IS NULL;
  END IF;
  IF cardinality(_taken) > 0 THEN
    UPDATE questions SET taken = true WHERE id = ANY (_taken);
  END IF;
  IF _snapshot IS NOT NULL THEN
    INSERT INTO snapshots VALUES (_before.no, _snapshot_seq, _snapshot)
      ON CONFLICT (run) DO UPDATE SET seq = excluded.seq, state = excluded.state;
  END IF;
  _after := _before;
  IF _until IS NOT NULL THEN
    _after.lease := _until;
    _after.owner := CASE WHEN _until > 0 THEN _owner END;
  END IF;
  IF _status IS NOT NULL THEN
    _after.status := _status;
    _after.due := _due;
    IF _status IN ('succeeded', 'failed', 'cancelled') THEN
      _after.lease := 0;
      _after.owner := NULL;
      UPDATE questions SET withdrawn = true WHERE run = _run AND answer IS NULL AND NOT withdrawn;
    END IF;
  END IF;
  _after.wake := wake_of(_run, _after.status, _after.due);
  -- A step that changes none of it writes records alone.
  IF _after IS DISTINCT FROM _before THEN
    UPDATE runs SET status = _after.status, due = _after.due, wake = _after.wake,
      owner = _after.owner, lease = _after.lease WHERE no = _before.no;
  END IF;
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION claim_run(_run text, _owner text, _until bigint, _now bigint)
RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row runs;
BEGIN
  SELECT * INTO _row FROM runs WHERE id = _run FOR UPDATE;
  IF NOT FOUND THEN
    RETURN ROW('unknown', NULL, NULL, NULL)::reply;
  ELSIF _row.owner IS NOT NULL AND _row.lease > _now AND _row.owner <> _owner THEN
    RETURN ROW('owned', _row.lease, _row.owner, NULL)::reply;
  END IF;
  UPDATE runs SET epoch = epoch + 1, lease = _until, owner = CASE WHEN _until > 0 THEN _owner END
    WHERE no = _row.no;
  RETURN ROW('done', _row.epoch + 1, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION renew_lease(_run text, _epoch bigint, _until bigint) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row runs;
BEGIN
  SELECT * INTO _row FROM runs WHERE id = _run FOR UPDATE;
  IF NOT FOUND THEN
    RETURN ROW('unknown', NULL, NULL, NULL)::reply;
  ELSIF _row.epoch <> _epoch OR (_row.owner IS NULL AND _until > 0) THEN
    RETURN ROW('fenced', NULL, NULL, NULL)::reply;
  ELSIF _row.owner IS NOT NULL THEN
    UPDATE runs SET lease = _until, owner = CASE WHEN _until > 0 THEN owner END WHERE no = _row.no;
  END IF;
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

-- A question of the run has changed.
CREATE FUNCTION rouse(_run text) RETURNS void LANGUAGE sql AS $$
  UPDATE runs SET wake = wake_of(id, status, due)
  WHERE id = _run AND wake IS DISTINCT FROM wake_of(id, status, due)
$$;

CREATE FUNCTION ask_question(_id text, _run text, _due bigint, _question text)
RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row questions;
BEGIN
  PERFORM 1 FROM runs WHERE id = _run FOR UPDATE;
  INSERT INTO questions (id, run, due, question) VALUES (_id, _run, _due, _question) ON CONFLICT DO NOTHING;
  PERFORM rouse(_run);
  SELECT * INTO _row FROM questions WHERE id = _id;
  RETURN ROW(CASE WHEN _row.withdrawn THEN 'withdrawn' ELSE 'done' END, NULL, _row.question, _row.answer)::reply;
END
$$;

CREATE FUNCTION withdraw_question(_id text) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row questions;
BEGIN
  PERFORM 1 FROM runs WHERE id = (SELECT run FROM questions WHERE id = _id) FOR UPDATE;
  SELECT * INTO _row FROM questions WHERE id = _id FOR UPDATE;
  IF FOUND AND _row.answer IS NULL THEN
    UPDATE questions SET withdrawn = true WHERE id = _id;
    PERFORM rouse(_row.run);
  END IF;
  RETURN ROW('done', NULL, _row.answer, NULL)::reply;
END
$$;

CREATE FUNCTION answer_question(_id text, _answer text) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row questions;
BEGIN
  PERFORM 1 FROM runs WHERE id = (SELECT run FROM questions WHERE id = _id) FOR UPDATE;
  SELECT * INTO _row FROM questions WHERE id = _id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN ROW('unknown', NULL, NULL, NULL)::reply;
  ELSIF _row.withdrawn THEN
    RETURN ROW('withdrawn', NULL, NULL, NULL)::reply;
  ELSIF _row.answer IS NOT NULL THEN
    RETURN ROW('answered', NULL, NULL, NULL)::reply;
  END IF;
  UPDATE questions SET answer = _answer WHERE id = _id;
  PERFORM rouse(_row.run);
  -- What is too long to be told is looked up by those who hear it.
  PERFORM pg_notify(current_schema() || '_answers', CASE WHEN octet_length(_id) < 7000 THEN _id ELSE '' END);
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION append_events(_run text, _epoch bigint, _events text[]) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row logs;
BEGIN
  INSERT INTO logs (run, last, epoch) VALUES (_run, 0, _epoch) ON CONFLICT DO NOTHING;
  SELECT * INTO _row FROM logs WHERE run = _run FOR UPDATE;
  IF _row.epoch > _epoch THEN
    RETURN ROW('fenced', NULL, NULL, NULL)::reply;
  END IF;
  INSERT INTO events SELECT _row.no, _row.last + t.place, t.event
    FROM unnest(_events) WITH ORDINALITY AS t (event, place);
  UPDATE logs SET last = last + cardinality(_events), epoch = _epoch WHERE no = _row.no;
  RETURN ROW('done', _row.last + 1, NULL, NULL)::reply;
END
$$;

-- So that what was committed without waiting for the disk is there: a commit that waits takes it along.
CREATE FUNCTION sync_now() RETURNS reply LANGUAGE plpgsql AS $$
BEGIN
  SET LOCAL synchronous_commit = on;
  UPDATE counters SET value = value + 1 WHERE name = 'syncs';
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;
