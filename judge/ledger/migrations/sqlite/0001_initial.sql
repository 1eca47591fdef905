-- Content-addressed JSON: rubrics, weights, questions, as they were when they were used.
CREATE TABLE documents (
  key BLOB PRIMARY KEY CHECK (length(key) = 16),
  kind TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE answers (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  question_id TEXT NOT NULL,
  model TEXT NOT NULL,
  sample INTEGER NOT NULL CHECK (sample >= 0),
  occasion TEXT NOT NULL,
  answer TEXT NOT NULL,
  answer_hash BLOB NOT NULL CHECK (length(answer_hash) = 16),
  question BLOB REFERENCES documents (key),
  finish_reason TEXT,
  usage TEXT,
  generation TEXT,
  created_at TEXT NOT NULL,
  UNIQUE (question_id, model, sample, occasion)
) STRICT;
CREATE INDEX answers_by_model ON answers (model);

-- What was paid for: one row per finished request. A retried unit adds a row with the next generation.
CREATE TABLE calls (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  key BLOB NOT NULL CHECK (length(key) = 16),
  generation INTEGER NOT NULL CHECK (generation >= 0),
  parent BLOB CHECK (length(parent) = 16),
  purpose TEXT NOT NULL,
  model TEXT NOT NULL,
  sample INTEGER NOT NULL,
  occasion TEXT NOT NULL,
  request BLOB NOT NULL,
  response BLOB NOT NULL,
  status_code INTEGER NOT NULL,
  prompt_tokens INTEGER,
  cached_tokens INTEGER,
  completion_tokens INTEGER,
  cost REAL,
  latency_s REAL NOT NULL,
  attempts INTEGER NOT NULL CHECK (attempts >= 1),
  started_at TEXT NOT NULL,
  UNIQUE (key, generation)
) STRICT;
CREATE INDEX calls_by_parent ON calls (parent);

-- Tries that failed (429, 5xx, resets, time-outs, ...); their unit stays open until a call exists.
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  key BLOB NOT NULL CHECK (length(key) = 16),
  error TEXT NOT NULL,
  status_code INTEGER,
  detail TEXT NOT NULL,
  latency_s REAL NOT NULL,
  at TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_by_key ON attempts (key);

CREATE TABLE verdicts (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  call_key BLOB CHECK (length(call_key) = 16),
  generation INTEGER NOT NULL,
  parser INTEGER NOT NULL,
  question_id TEXT NOT NULL,
  model TEXT NOT NULL,
  answer_sample INTEGER NOT NULL,
  answer_hash BLOB CHECK (length(answer_hash) = 16),
  question_hash BLOB CHECK (length(question_hash) = 16),
  criterion TEXT NOT NULL,
  judge TEXT NOT NULL,
  ruler TEXT NOT NULL,
  sample INTEGER NOT NULL,
  occasion TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('scored', 'not_applicable', 'unscored')),
  reason TEXT,
  level REAL,
  scale_min REAL NOT NULL,
  scale_max REAL NOT NULL,
  score REAL CHECK (score BETWEEN 0 AND 1),
  evidence TEXT NOT NULL,
  rationale TEXT NOT NULL,
  detail TEXT NOT NULL,
  repaired INTEGER NOT NULL CHECK (repaired IN (0, 1)),
  created_at TEXT NOT NULL,
  CHECK ((status = 'scored') = (score IS NOT NULL AND level IS NOT NULL)),
  CHECK ((status = 'unscored') = (reason IS NOT NULL))
) STRICT;
-- The question belongs to the identity: a reworded one gives another verdict on the same answer.
CREATE UNIQUE INDEX verdicts_identity ON verdicts (
  question_id, model, answer_sample, ifnull(answer_hash, x''), criterion, judge, ruler, sample,
  occasion, generation, parser, ifnull(question_hash, x'')
);
CREATE INDEX verdicts_by_call ON verdicts (call_key);
CREATE INDEX verdicts_by_ruler ON verdicts (ruler);

CREATE TABLE ratings (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  question_id TEXT NOT NULL,
  model TEXT NOT NULL,
  sample INTEGER NOT NULL CHECK (sample >= 0),
  criterion TEXT NOT NULL,
  rater TEXT NOT NULL,
  rating REAL NOT NULL,
  scale_min REAL NOT NULL,
  scale_max REAL NOT NULL,
  "when" TEXT,
  note TEXT,
  created_at TEXT NOT NULL,
  UNIQUE (question_id, model, sample, criterion, rater),
  CHECK (rating BETWEEN scale_min AND scale_max)
) STRICT;

CREATE TABLE runs (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  run TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  body TEXT NOT NULL,
  started_at TEXT NOT NULL
) STRICT;

CREATE TABLE run_answers (
  run INTEGER NOT NULL REFERENCES runs (id),
  answer INTEGER NOT NULL REFERENCES answers (id),
  question BLOB NOT NULL REFERENCES documents (key),
  PRIMARY KEY (run, answer)
) STRICT, WITHOUT ROWID;

-- What a model endpoint was found to accept; the newest row per model counts.
CREATE TABLE capabilities (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  model TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;

-- Work in progress; the only table whose rows are changed and deleted.
CREATE TABLE claims (
  key BLOB PRIMARY KEY CHECK (length(key) = 16),
  generation INTEGER NOT NULL,
  owner TEXT NOT NULL,
  expires REAL NOT NULL
) STRICT;

-- Append-only, enforced here: no UPDATE, no DELETE, and no INSERT OR REPLACE over an existing row
-- (replacing deletes without firing delete triggers, so such an insert is ignored instead).
CREATE TRIGGER documents_no_update BEFORE UPDATE ON documents
BEGIN SELECT RAISE(ABORT, 'documents is append-only'); END;
CREATE TRIGGER documents_no_delete BEFORE DELETE ON documents
BEGIN SELECT RAISE(ABORT, 'documents is append-only'); END;
CREATE TRIGGER documents_no_replace BEFORE INSERT ON documents
WHEN EXISTS (SELECT 1 FROM documents WHERE key = NEW.key)
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER answers_no_update BEFORE UPDATE ON answers
BEGIN SELECT RAISE(ABORT, 'answers is append-only'); END;
CREATE TRIGGER answers_no_delete BEFORE DELETE ON answers
BEGIN SELECT RAISE(ABORT, 'answers is append-only'); END;
CREATE TRIGGER answers_no_replace BEFORE INSERT ON answers
WHEN EXISTS (SELECT 1 FROM answers WHERE id = NEW.id OR (
    question_id = NEW.question_id AND model = NEW.model
    AND sample = NEW.sample AND occasion = NEW.occasion
  ))
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER calls_no_update BEFORE UPDATE ON calls
BEGIN SELECT RAISE(ABORT, 'calls is append-only'); END;
CREATE TRIGGER calls_no_delete BEFORE DELETE ON calls
BEGIN SELECT RAISE(ABORT, 'calls is append-only'); END;
CREATE TRIGGER calls_no_replace BEFORE INSERT ON calls
WHEN EXISTS (SELECT 1 FROM calls WHERE id = NEW.id OR (key = NEW.key AND generation = NEW.generation))
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER attempts_no_update BEFORE UPDATE ON attempts
BEGIN SELECT RAISE(ABORT, 'attempts is append-only'); END;
CREATE TRIGGER attempts_no_delete BEFORE DELETE ON attempts
BEGIN SELECT RAISE(ABORT, 'attempts is append-only'); END;
CREATE TRIGGER attempts_no_replace BEFORE INSERT ON attempts
WHEN EXISTS (SELECT 1 FROM attempts WHERE id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER verdicts_no_update BEFORE UPDATE ON verdicts
BEGIN SELECT RAISE(ABORT, 'verdicts is append-only'); END;
CREATE TRIGGER verdicts_no_delete BEFORE DELETE ON verdicts
BEGIN SELECT RAISE(ABORT, 'verdicts is append-only'); END;
CREATE TRIGGER verdicts_no_replace BEFORE INSERT ON verdicts
WHEN EXISTS (SELECT 1 FROM verdicts WHERE id = NEW.id OR (
    question_id = NEW.question_id AND model = NEW.model AND answer_sample = NEW.answer_sample
    AND ifnull(answer_hash, x'') = ifnull(NEW.answer_hash, x'') AND criterion = NEW.criterion
    AND judge = NEW.judge AND ruler = NEW.ruler AND sample = NEW.sample AND occasion = NEW.occasion
    AND generation = NEW.generation AND parser = NEW.parser
    AND ifnull(question_hash, x'') = ifnull(NEW.question_hash, x'')
  ))
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER ratings_no_update BEFORE UPDATE ON ratings
BEGIN SELECT RAISE(ABORT, 'ratings is append-only'); END;
CREATE TRIGGER ratings_no_delete BEFORE DELETE ON ratings
BEGIN SELECT RAISE(ABORT, 'ratings is append-only'); END;
CREATE TRIGGER ratings_no_replace BEFORE INSERT ON ratings
WHEN EXISTS (SELECT 1 FROM ratings WHERE id = NEW.id OR (
    question_id = NEW.question_id AND model = NEW.model AND sample = NEW.sample
    AND criterion = NEW.criterion AND rater = NEW.rater
  ))
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER runs_no_update BEFORE UPDATE ON runs
BEGIN SELECT RAISE(ABORT, 'runs is append-only'); END;
CREATE TRIGGER runs_no_delete BEFORE DELETE ON runs
BEGIN SELECT RAISE(ABORT, 'runs is append-only'); END;
CREATE TRIGGER runs_no_replace BEFORE INSERT ON runs
WHEN EXISTS (SELECT 1 FROM runs WHERE id = NEW.id OR run = NEW.run)
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER run_answers_no_update BEFORE UPDATE ON run_answers
BEGIN SELECT RAISE(ABORT, 'run_answers is append-only'); END;
CREATE TRIGGER run_answers_no_delete BEFORE DELETE ON run_answers
BEGIN SELECT RAISE(ABORT, 'run_answers is append-only'); END;
CREATE TRIGGER run_answers_no_replace BEFORE INSERT ON run_answers
WHEN EXISTS (SELECT 1 FROM run_answers WHERE run = NEW.run AND answer = NEW.answer)
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER capabilities_no_update BEFORE UPDATE ON capabilities
BEGIN SELECT RAISE(ABORT, 'capabilities is append-only'); END;
CREATE TRIGGER capabilities_no_delete BEFORE DELETE ON capabilities
BEGIN SELECT RAISE(ABORT, 'capabilities is append-only'); END;
CREATE TRIGGER capabilities_no_replace BEFORE INSERT ON capabilities
WHEN EXISTS (SELECT 1 FROM capabilities WHERE id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;
