-- Version 2: threads and sessions. Whoever locks a thread and a run locks the thread first.

CREATE TABLE threads (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Null: forgotten, but for what its forks share.
  id text COLLATE "C" UNIQUE,
  title text NOT NULL,
  words text[] NOT NULL,
  session text COLLATE "C",
  agent text,
  created bigint NOT NULL,
  updated bigint NOT NULL,
  ttl bigint,
  expires bigint,
  version bigint NOT NULL,
  messages bigint NOT NULL,
  -- Where it parted, as its users see it.
  parent text,
  parent_messages bigint,
  -- Whose messages come before its own, and how many.
  base bigint,
  base_messages bigint NOT NULL DEFAULT 0,
  summary text,
  metadata text NOT NULL,
  -- The run whose turn it is.
  holder text
) WITH (fillfactor = 80);
CREATE INDEX threads_by_time ON threads (updated, id) WHERE id IS NOT NULL;
CREATE INDEX threads_by_session ON threads (session, updated, id) WHERE session IS NOT NULL;
CREATE INDEX threads_by_base ON threads (base) WHERE base IS NOT NULL;
CREATE INDEX threads_expiring ON threads (expires) WHERE expires IS NOT NULL;
CREATE INDEX threads_words ON threads USING gin (words);

-- Only ever appended to.
CREATE TABLE messages (
  thread bigint NOT NULL,
  number bigint NOT NULL,
  run text,
  at bigint NOT NULL,
  message text NOT NULL,
  words text[] NOT NULL,
  PRIMARY KEY (thread, number)
);
CREATE INDEX messages_words ON messages USING gin (words);

-- Runs that wait for their turn, first come first.
CREATE TABLE line (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  thread bigint NOT NULL,
  run text COLLATE "C" NOT NULL UNIQUE
);
CREATE INDEX line_by_thread ON line (thread, no);

-- What runs were told and have not heard of.
CREATE TABLE signals (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  message text,
  words text
);
CREATE INDEX signals_by_run ON signals (run, no);

CREATE TABLE sessions (
  id text COLLATE "C" PRIMARY KEY,
  state text NOT NULL,
  version bigint NOT NULL,
  metadata text NOT NULL,
  created bigint NOT NULL,
  updated bigint NOT NULL,
  ttl bigint,
  expires bigint
);
CREATE INDEX sessions_by_time ON sessions (updated, id);
CREATE INDEX sessions_expiring ON sessions (expires) WHERE expires IS NOT NULL;

-- Messages of a thread that a run was given, and where they belong in its input.
ALTER TABLE runs ADD COLUMN shared_thread bigint, ADD COLUMN shared_place bigint,
  ADD COLUMN shared_from bigint, ADD COLUMN shared_until bigint;

-- Version 1 renewed the lease of a run that was let go of.
CREATE OR REPLACE FUNCTION renew_lease(_run text, _epoch bigint, _until bigint) RETURNS reply LANGUAGE plpgsql AS $$
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

-- The thread, locked, unless its time is over and nobody is at work on it.
CREATE FUNCTION alive_thread(_id text, _now bigint) RETURNS threads LANGUAGE plpgsql AS $$
DECLARE
  _row threads;
BEGIN
  SELECT * INTO _row FROM threads WHERE id = _id FOR UPDATE;
  IF _row.expires <= _now AND _row.holder IS NULL
     AND NOT EXISTS (SELECT 1 FROM line WHERE thread = _row.no) THEN
    RETURN NULL;
  END IF;
  RETURN _row;
END
$$;

-- Whoever is at work on it, or next.
CREATE FUNCTION held_by(_row threads) RETURNS text LANGUAGE sql AS $$
  SELECT coalesce(_row.holder, (SELECT run FROM line WHERE thread = _row.no ORDER BY no LIMIT 1))
$$;

CREATE FUNCTION split(_words text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(string_to_array(nullif(_words, ''), ' '), '{}')
$$;

-- Its messages go with the last that shares them.
CREATE FUNCTION forget_thread(_id text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  _next bigint;
  _base bigint;
BEGIN
  UPDATE threads SET id = NULL WHERE id = _id RETURNING no INTO _next;
  WHILE _next IS NOT NULL LOOP
    SELECT base INTO _base FROM threads WHERE no = _next AND id IS NULL
      AND NOT EXISTS (SELECT 1 FROM threads fork WHERE fork.base = _next);
    EXIT WHEN NOT FOUND;
    DELETE FROM messages WHERE thread = _next;
    DELETE FROM line WHERE thread = _next;
    DELETE FROM threads WHERE no = _next;
    _next := _base;
  END LOOP;
END
$$;

CREATE FUNCTION insert_thread(
  _id text, _title text, _words text, _session text, _agent text, _ttl bigint, _metadata text,
  _parent text, _count bigint, _summary text,
  _runs text[], _times bigint[], _messages text[], _indexes text[], _now bigint
) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row threads;
  _owner bigint;
  _elder threads;
BEGIN
  _row := alive_thread(_id, _now);
  IF _row.no IS NOT NULL THEN
    RETURN ROW('exists', NULL, NULL, NULL)::reply;
  END IF;
  IF _parent IS NOT NULL THEN
    _row := alive_thread(_parent, _now);
    IF _row.no IS NULL THEN
      RETURN ROW('unknown', NULL, _parent, NULL)::reply;
    ELSIF _count > _row.messages THEN
      RETURN ROW('too_far', _row.messages, NULL, NULL)::reply;
    ELSIF _count > 0 THEN
      -- Whoever has the last of them: chains of forks do not grow longer than they must.
      _owner := _row.no;
      LOOP
        SELECT * INTO _elder FROM threads WHERE no = _owner;
        EXIT WHEN _elder.base IS NULL OR _count > _elder.base_messages;
        _owner := _elder.base;
      END LOOP;
    END IF;
  END IF;
  -- One whose time is over makes room.
  PERFORM forget_thread(_id);
  INSERT INTO threads (id, title, words, session, agent, created, updated, ttl, expires, version, messages,
                       parent, parent_messages, base, base_messages, summary, metadata)
    VALUES (_id, _title, split(_words), _session, _agent, _now, _now, _ttl, _now + _ttl, 1,
            CASE WHEN _owner IS NULL THEN 0 ELSE _count END + cardinality(_messages),
            _parent, _count, _owner, CASE WHEN _owner IS NULL THEN 0 ELSE _count END, _summary, _metadata)
    ON CONFLICT DO NOTHING RETURNING * INTO _row;
  IF NOT FOUND THEN
    -- Somebody else has made it in this moment.
    RETURN ROW('exists', NULL, NULL, NULL)::reply;
  END IF;
  INSERT INTO messages
    SELECT _row.no, _row.base_messages + t.place - 1, t.run, coalesce(t.at, _now), t.message, split(t.words)
    FROM unnest(_runs, _times, _messages, _indexes) WITH ORDINALITY AS t (run, at, message, words, place);
  RETURN ROW('done', _row.no, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION change_thread(
  _id text, _title text, _words text, _set_session boolean, _session text, _set_agent boolean, _agent text,
  _set_ttl boolean, _ttl bigint, _metadata text, _version bigint, _summary text, _now bigint
) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row threads := alive_thread(_id, _now);
  _held text;
BEGIN
  IF _row.no IS NULL THEN
    RETURN ROW('unknown', NULL, _id, NULL)::reply;
  END IF;
  IF _version IS NOT NULL THEN
    _held := held_by(_row);
    IF _held IS NOT NULL THEN
      RETURN ROW('held', NULL, _held, NULL)::reply;
    ELSIF _row.version <> _version THEN
      RETURN ROW('changed', NULL, NULL, NULL)::reply;
    END IF;
  END IF;
  UPDATE threads SET
    title = coalesce(_title, title),
    words = CASE WHEN _title IS NULL THEN words ELSE split(_words) END,
    session = CASE WHEN _set_session THEN _session ELSE session END,
    agent = CASE WHEN _set_agent THEN _agent ELSE agent END,
    ttl = CASE WHEN _set_ttl THEN _ttl ELSE ttl END,
    metadata = coalesce(_metadata, metadata),
    summary = CASE WHEN _version IS NULL THEN summary ELSE _summary END,
    version = version + (_version IS NOT NULL)::int,
    updated = _now,
    expires = _now + CASE WHEN _set_ttl THEN _ttl ELSE ttl END
    WHERE no = _row.no;
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

-- Behind what is there; the row is the caller's to change.
CREATE FUNCTION insert_messages(_no bigint, _first bigint, _run text, _at bigint, _messages text[], _indexes text[])
RETURNS void LANGUAGE sql AS $$
  INSERT INTO messages
    SELECT _no, _first + t.place - 1, _run, _at, t.message, split(t.words)
    FROM unnest(_messages, _indexes) WITH ORDINALITY AS t (message, words, place)
$$;

CREATE FUNCTION append_messages(_id text, _version bigint, _messages text[], _indexes text[], _now bigint)
RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row threads := alive_thread(_id, _now);
  _held text;
BEGIN
  IF _row.no IS NULL THEN
    RETURN ROW('unknown', NULL, _id, NULL)::reply;
  END IF;
  _held := held_by(_row);
  IF _held IS NOT NULL THEN
    RETURN ROW('held', NULL, _held, NULL)::reply;
  ELSIF _row.version <> _version THEN
    RETURN ROW('changed', NULL, NULL, NULL)::reply;
  END IF;
  PERFORM insert_messages(_row.no, _row.messages, NULL, _now, _messages, _indexes);
  UPDATE threads SET messages = messages + cardinality(_messages), version = version + 1, updated = _now,
    expires = _now + ttl WHERE no = _row.no;
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION delete_thread(_id text) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row threads;
  _held text;
BEGIN
  SELECT * INTO _row FROM threads WHERE id = _id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN ROW('unknown', NULL, _id, NULL)::reply;
  END IF;
  _held := held_by(_row);
  IF _held IS NOT NULL THEN
    RETURN ROW('held', NULL, _held, NULL)::reply;
  END IF;
  PERFORM forget_thread(_id);
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION stir() RETURNS void LANGUAGE sql AS $$
  SELECT pg_notify(current_schema() || '_threads', '')
$$;

CREATE FUNCTION tell_run(_id text, _run text, _kind text, _message text, _words text)
RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row threads;
  _no bigint;
BEGIN
  SELECT * INTO _row FROM threads WHERE id = _id FOR UPDATE;
  IF _row.holder IS DISTINCT FROM _run THEN
    RETURN ROW('changed', NULL, NULL, NULL)::reply;
  END IF;
  INSERT INTO signals (run, kind, message, words) VALUES (_run, _kind, _message, _words) RETURNING no INTO _no;
  PERFORM stir();
  RETURN ROW('done', _no, NULL, NULL)::reply;
END
$$;

-- A batch with what it does to its run's thread: both or neither.
CREATE FUNCTION commit_on_thread(
  _run text, _epoch bigint, _expected bigint, _malformed boolean,
  _hash text, _definition text, _agent text, _label text, _created bigint,
  _seqs bigint[], _versions bigint[], _times bigint[], _kinds text[],
  _asked_ids text[], _asked_runs text[], _asked_dues bigint[], _asked text[],
  _withdrawn text[], _taken text[],
  _status text, _due bigint, _owner text, _until bigint, _snapshot_seq bigint, _snapshot bytea,
  _thread text, _at bigint,
  _new boolean, _title text, _title_words text, _session text, _thread_agent text, _ttl bigint, _metadata text,
  _waits boolean, _stop text,
  _begins boolean, _known bigint, _known_version bigint, _place bigint, _from bigint, _to bigint,
  _heard bigint[], _ends boolean, _unheard text, _messages text[], _indexes text[]
) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row threads;
  _held text;
  _reply reply;
  _late text[];
  _late_words text[];
BEGIN
  -- A new thread is nobody's row yet: one after another makes it.
  IF _new THEN
    PERFORM pg_advisory_xact_lock(4707176, hashtext(current_schema() || '/' || _thread));
  END IF;
  _row := alive_thread(_thread, _at);
  -- Whoever lost the run is told so first.
  IF EXISTS (SELECT 1 FROM runs WHERE id = _run AND epoch <> _epoch) THEN
    RETURN ROW('fenced', NULL, NULL, NULL)::reply;
  END IF;
  IF _begins AND _row.no IS NULL AND _known IS NOT NULL THEN
    RETURN ROW('changed', NULL, NULL, NULL)::reply;
  ELSIF _begins AND _row.no IS NOT NULL THEN
    _held := held_by(_row);
    IF _held <> _run THEN
      RETURN ROW('held', NULL, _held, NULL)::reply;
    ELSIF _known IS DISTINCT FROM _row.no OR _known_version IS DISTINCT FROM _row.version THEN
      RETURN ROW('changed', NULL, NULL, NULL)::reply;
    END IF;
  END IF;
  IF _ends AND _unheard = 'refuse' AND EXISTS (
    SELECT 1 FROM signals WHERE run = _run AND kind = 'message' AND no <> ALL (_heard)) THEN
    RETURN ROW('unheard', NULL, NULL, NULL)::reply;
  END IF;

  _reply := commit_batch(
    _run, _epoch, _expected, _malformed, _hash, _definition, _agent, _label, _created,
    _seqs, _versions, _times, _kinds, _asked_ids, _asked_runs, _asked_dues, _asked, _withdrawn, _taken,
    _status, _due, _owner, _until, _snapshot_seq, _snapshot);
  IF _reply.outcome <> 'done' THEN
    RETURN _reply;
  END IF;

  DELETE FROM signals WHERE run = _run AND no = ANY (_heard);
  IF _row.no IS NULL AND _new THEN
    PERFORM insert_thread(_thread, _title, _title_words, _session, _thread_agent, _ttl, _metadata,
                          NULL, NULL, NULL, '{}', '{}', '{}', '{}', _at);
    _row := alive_thread(_thread, _at);
  END IF;
  IF _row.no IS NULL THEN
    -- Nobody has it any more; the run's end stands all the same.
    DELETE FROM signals WHERE run = _run;
    RETURN _reply;
  END IF;
  IF _waits THEN
    IF _row.holder IS NOT NULL AND _stop IS NOT NULL THEN
      INSERT INTO signals (run, kind) VALUES (_row.holder, _stop);
    END IF;
    INSERT INTO line (thread, run) VALUES (_row.no, _run) ON CONFLICT DO NOTHING;
  END IF;
  IF _begins THEN
    DELETE FROM line WHERE run = _run;
    UPDATE threads SET holder = _run, agent = coalesce(_thread_agent, agent) WHERE no = _row.no
      RETURNING * INTO _row;
    IF _to > _from THEN
      UPDATE runs SET shared_thread = _row.no, shared_place = _place, shared_from = _from, shared_until = _to
        WHERE id = _run;
    END IF;
  END IF;
  IF _ends THEN
    DELETE FROM line WHERE run = _run;
    IF _row.holder = _run THEN
      IF _unheard = 'keep' THEN
        SELECT coalesce(array_agg(message ORDER BY no), '{}'), coalesce(array_agg(words ORDER BY no), '{}')
          INTO _late, _late_words FROM signals WHERE run = _run AND kind = 'message';
        _messages := _messages || _late;
        _indexes := _indexes || _late_words;
      END IF;
      PERFORM insert_messages(_row.no, _row.messages, _run, _at, _messages, _indexes);
      UPDATE threads SET messages = messages + cardinality(_messages),
        version = version + (cardinality(_messages) > 0)::int, updated = _at, expires = _at + ttl, holder = NULL
        WHERE no = _row.no;
    END IF;
    DELETE FROM signals WHERE run = _run;
  END IF;
  -- A run that hears may come to rest with it; a step that does nothing of its own only wakes those who look on.
  IF _waits OR _ends OR NOT _begins THEN
    PERFORM stir();
  END IF;
  RETURN _reply;
END
$$;

CREATE FUNCTION create_session(_id text, _state text, _metadata text, _ttl bigint, _now bigint)
RETURNS reply LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sessions VALUES (_id, _state, 1, _metadata, _now, _now, _ttl, _now + _ttl)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, version = 1, metadata = excluded.metadata,
      created = excluded.created, updated = excluded.updated, ttl = excluded.ttl, expires = excluded.expires
    WHERE sessions.expires <= _now;
  RETURN ROW(CASE WHEN FOUND THEN 'done' ELSE 'exists' END, NULL, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION change_session(
  _id text, _version bigint, _state text, _metadata text, _set_ttl boolean, _ttl bigint, _now bigint
) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row sessions;
BEGIN
  SELECT * INTO _row FROM sessions WHERE id = _id AND (expires IS NULL OR expires > _now) FOR UPDATE;
  IF NOT FOUND THEN
    RETURN ROW('unknown', NULL, _id, NULL)::reply;
  ELSIF _row.version <> _version THEN
    RETURN ROW('version', _row.version, NULL, NULL)::reply;
  END IF;
  UPDATE sessions SET state = coalesce(_state, state), version = version + (_state IS NOT NULL)::int,
    metadata = coalesce(_metadata, metadata), ttl = CASE WHEN _set_ttl THEN _ttl ELSE ttl END, updated = _now,
    expires = _now + CASE WHEN _set_ttl THEN _ttl ELSE ttl END WHERE id = _id;
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION delete_session(_id text) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row threads;
  _held text;
BEGIN
  PERFORM 1 FROM sessions WHERE id = _id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN ROW('unknown', NULL, _id, NULL)::reply;
  END IF;
  FOR _row IN SELECT * FROM threads WHERE session = _id AND id IS NOT NULL ORDER BY no FOR UPDATE LOOP
    _held := held_by(_row);
    IF _held IS NOT NULL THEN
      RETURN ROW('held', NULL, _held, NULL)::reply;
    END IF;
  END LOOP;
  PERFORM forget_thread(id) FROM threads WHERE session = _id AND id IS NOT NULL;
  DELETE FROM sessions WHERE id = _id;
  RETURN ROW('done', NULL, NULL, NULL)::reply;
END
$$;

CREATE FUNCTION sweep(_now bigint, _limit bigint) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _id text;
  _swept bigint := 0;
BEGIN
  FOR _id IN SELECT t.id FROM threads t WHERE t.id IS NOT NULL AND t.expires <= _now AND t.holder IS NULL
      AND NOT EXISTS (SELECT 1 FROM line WHERE line.thread = t.no) LIMIT _limit FOR UPDATE SKIP LOCKED LOOP
    PERFORM forget_thread(_id);
    _swept := _swept + 1;
  END LOOP;
  FOR _id IN SELECT s.id FROM sessions s WHERE s.expires <= _now LIMIT greatest(_limit - _swept, 0) LOOP
    IF (delete_session(_id)).outcome = 'done' THEN
      _swept := _swept + 1;
    END IF;
  END LOOP;
  RETURN ROW('done', _swept, NULL, NULL)::reply;
END
$$;

-- Runs that ended long ago, a few at a time. What they left on threads stays.
CREATE FUNCTION forget_runs(_before bigint, _limit bigint) RETURNS reply LANGUAGE plpgsql AS $$
DECLARE
  _row runs;
  _forgotten bigint := 0;
BEGIN
  FOR _row IN SELECT * FROM runs WHERE status IN ('succeeded', 'failed', 'cancelled') AND created < _before
      AND (SELECT at FROM records WHERE run = runs.no ORDER BY seq DESC LIMIT 1) < _before
      -- An open parent may have yet to take over what its child came to. The database's JSON has no zeros.
      AND NOT EXISTS (
        SELECT 1 FROM records first JOIN runs parent
          ON parent.id = replace(first.kind, '\u0000', '\u0020')::json->'accepted'->>'parent'
        WHERE first.run = runs.no AND first.seq = 0
          AND parent.status NOT IN ('succeeded', 'failed', 'cancelled'))
      ORDER BY created, id LIMIT _limit FOR UPDATE SKIP LOCKED LOOP
    DELETE FROM events WHERE log IN (SELECT no FROM logs WHERE run = _row.id);
    DELETE FROM logs WHERE run = _row.id;
    DELETE FROM records WHERE run = _row.no;
    DELETE FROM snapshots WHERE run = _row.no;
    DELETE FROM questions WHERE run = _row.id;
    DELETE FROM runs WHERE no = _row.no;
    _forgotten := _forgotten + 1;
  END LOOP;
  RETURN ROW('done', _forgotten, NULL, NULL)::reply;
END
$$;
