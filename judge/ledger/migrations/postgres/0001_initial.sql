-- One row per version that this schema was brought to; the highest is the ledger's.
CREATE TABLE plumbline_ledger (
  version integer PRIMARY KEY,
  migrated_at timestamptz NOT NULL DEFAULT now()
);

-- Content-addressed JSON: rubrics, weights, questions, as they were when they were used.
CREATE TABLE documents (
  key bytea PRIMARY KEY CHECK (length(key) = 16),
  kind text NOT NULL,
  body text NOT NULL
);

CREATE TABLE answers (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  question_id text NOT NULL,
  model text NOT NULL,
  sample integer NOT NULL CHECK (sample >= 0),
  occasion text NOT NULL,
  answer text NOT NULL,
  answer_hash bytea NOT NULL CHECK (length(answer_hash) = 16),
  question bytea REFERENCES documents (key),
  finish_reason text,
  usage text,
  generation text,
  created_at text NOT NULL,
  UNIQUE (question_id, model, sample, occasion)
);
CREATE INDEX answers_by_model ON answers (model);

-- What was paid for: one row per finished request. A retried unit adds a row with the next generation.
CREATE TABLE calls (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key bytea NOT NULL CHECK (length(key) = 16),
  generation integer NOT NULL CHECK (generation >= 0),
  parent bytea CHECK (length(parent) = 16),
  purpose text NOT NULL,
  model text NOT NULL,
  sample integer NOT NULL,
  occasion text NOT NULL,
  request bytea NOT NULL,
  response bytea NOT NULL,
  status_code integer NOT NULL,
  prompt_tokens bigint,
  cached_tokens bigint,
  completion_tokens bigint,
  cost double precision,
  latency_s double precision NOT NULL,
  attempts integer NOT NULL CHECK (attempts >= 1),
  started_at text NOT NULL,
  UNIQUE (key, generation)
);
-- The bodies come compressed; the server need not try again.
ALTER TABLE calls ALTER request SET STORAGE EXTERNAL, ALTER response SET STORAGE EXTERNAL;
CREATE INDEX calls_by_parent ON calls (parent);

-- Tries that failed (429, 5xx, resets, time-outs, ...); their unit stays open until a call exists.
CREATE TABLE attempts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key bytea NOT NULL CHECK (length(key) = 16),
  error text NOT NULL,
  status_code integer,
  detail text NOT NULL,
  latency_s double precision NOT NULL,
  at text NOT NULL
);
CREATE INDEX attempts_by_key ON attempts (key);

CREATE TABLE verdicts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  call_key bytea CHECK (length(call_key) = 16),
  generation integer NOT NULL,
  parser integer NOT NULL,
  question_id text NOT NULL,
  model text NOT NULL,
  answer_sample integer NOT NULL,
  answer_hash bytea CHECK (length(answer_hash) = 16),
  question_hash bytea CHECK (length(question_hash) = 16),
  criterion text NOT NULL,
  judge text NOT NULL,
  ruler text NOT NULL,
  sample integer NOT NULL,
  occasion text NOT NULL,
  status text NOT NULL CHECK (status IN ('scored', 'not_applicable', 'unscored')),
  reason text,
  level double precision,
  scale_min double precision NOT NULL,
  scale_max double precision NOT NULL,
  score double precision CHECK (score BETWEEN 0 AND 1),
  evidence text NOT NULL,
  rationale text NOT NULL,
  detail text NOT NULL,
  repaired boolean NOT NULL,
  created_at text NOT NULL,
  CHECK ((status = 'scored') = (score IS NOT NULL AND level IS NOT NULL)),
  CHECK ((status = 'unscored') = (reason IS NOT NULL))
);
-- The question belongs to the identity: a reworded one gives another verdict on the same answer.
CREATE UNIQUE INDEX verdicts_identity ON verdicts (
  question_id, model, answer_sample, coalesce(answer_hash, ''::bytea), criterion, judge, ruler,
  sample, occasion, generation, parser, coalesce(question_hash, ''::bytea)
);
CREATE INDEX verdicts_by_call ON verdicts (call_key);
CREATE INDEX verdicts_by_ruler ON verdicts (ruler);

CREATE TABLE ratings (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  question_id text NOT NULL,
  model text NOT NULL,
  sample integer NOT NULL CHECK (sample >= 0),
  criterion text NOT NULL,
  rater text NOT NULL,
  rating double precision NOT NULL,
  scale_min double precision NOT NULL,
  scale_max double precision NOT NULL,
  "when" text,
  note text,
  created_at text NOT NULL,
  UNIQUE (question_id, model, sample, criterion, rater),
  CHECK (rating BETWEEN scale_min AND scale_max)
);

CREATE TABLE runs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run text NOT NULL UNIQUE,
  kind text NOT NULL,
  body text NOT NULL,
  started_at text NOT NULL
);

CREATE TABLE run_answers (
  run bigint NOT NULL REFERENCES runs (id),
  answer bigint NOT NULL REFERENCES answers (id),
  question bytea NOT NULL REFERENCES documents (key),
  PRIMARY KEY (run, answer)
);

-- What a model endpoint was found to accept; the newest row per model counts.
CREATE TABLE capabilities (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  model text NOT NULL,
  body text NOT NULL,
  created_at text NOT NULL
);

-- Work in progress; the only table whose rows are changed and deleted.
CREATE TABLE claims (
  key bytea PRIMARY KEY CHECK (length(key) = 16),
  generation integer NOT NULL,
  owner text NOT NULL,
  expires double precision NOT NULL
);

-- Append-only, enforced here: a statement that would change, delete or overwrite fails, even if it
-- would touch no row.
CREATE FUNCTION plumbline_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON plumbline_ledger
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON documents
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON answers
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON calls
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON attempts
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON verdicts
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ratings
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runs
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON run_answers
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON capabilities
EXECUTE FUNCTION plumbline_append_only();
