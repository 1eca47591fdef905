-- What kind of score a verdict gives, and what log-probabilities said about it.
ALTER TABLE verdicts ADD COLUMN kind text NOT NULL DEFAULT 'samples';
ALTER TABLE verdicts ADD COLUMN allowed_mass double precision
  CHECK (allowed_mass BETWEEN 0 AND 1);
ALTER TABLE verdicts ADD COLUMN sd double precision CHECK (sd >= 0);

-- What happened to batches of requests at a server, as events: submitted, collected, failed, ...
CREATE TABLE batches (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  batch text NOT NULL,
  model text NOT NULL,
  status text NOT NULL,
  body text NOT NULL,
  created_at text NOT NULL
);
CREATE INDEX batches_by_model ON batches (model);

-- What people decided about answers that were put before them.
CREATE TABLE reviews (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  escalation bytea NOT NULL CHECK (length(escalation) = 16),
  decision text NOT NULL,
  reviewer text NOT NULL,
  note text NOT NULL,
  created_at text NOT NULL
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON batches
EXECUTE FUNCTION plumbline_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reviews
EXECUTE FUNCTION plumbline_append_only();
